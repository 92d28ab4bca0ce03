//! A scan under way: entries, rows, locks, batches.

use super::engine::MAX_BATCH_ROWS;
use super::lookup;
use super::read::{How, KvRead, Page, ScanRequest};
use super::scan::ScanExec;
use crate::catalog::{IndexDescriptor, TableDescriptor};
use crate::error::SqlError;
use crate::row::{RowDecoder, entry};
use crate::types::{Datum, PgType, to_array};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::Count;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use quorate_proto::{Key, Span, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows of the first batch; each further one may be four times as large.
const FIRST_BATCH_ROWS: usize = 64;

/// A scan under way.
pub(super) struct Run {
    read: Arc<dyn KvRead>,
    table: Arc<TableDescriptor>,
    /// The secondary index that is followed to the rows.
    follow: Option<IndexDescriptor>,
    decoder: RowDecoder,
    types: Vec<PgType>,
    decoded_schema: SchemaRef,
    width: usize,
    filter: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    /// How rows are read in the end.
    how: How,
    /// How they are looked for before that.
    searching: How,
    reverse: bool,
    /// Rows still wanted.
    left: Option<usize>,
    /// Not yet begun, the next one last.
    spans: Vec<Span>,
    /// All spans are single keys of rows: read them together.
    points: bool,
    pages: Option<BoxStream<'static, Result<Page, SqlError>>>,
    /// Of which part of a span these are, where a filter decides how much is to be read.
    part: Option<Part>,
    batch_rows: usize,
    rows_read: Count,
    /// To be narrowed by the filters of joins before the first read.
    narrow: Option<ScanExec>,
}

/// The first entries of a span.
struct Part {
    /// Not yet read.
    span: Span,
    limit: u64,
    count: u64,
}

impl Part {
    fn read(&mut self, page: &Page, reverse: bool) {
        self.count += page.len() as u64;
        match page.last() {
            Some((key, _)) if reverse => self.span.end = Some(key.clone()),
            Some((key, _)) => self.span.start = key.successor(),
            None => {}
        }
    }

    /// What is behind it, if there was more than the part.
    fn rest(&self) -> Option<Span> {
        (self.count >= self.limit && !self.span.is_empty()).then(|| self.span.clone())
    }
}

impl Run {
    pub fn new(exec: &ScanExec, read: Arc<dyn KvRead>, rows_read: Count) -> DfResult<Self> {
        let index = exec.index();
        let direct = if exec.access.index == 0 || exec.lock.is_some() {
            None
        } else {
            RowDecoder::for_index(&exec.table, index, &exec.decoded)?
        };
        let follow = (exec.access.index > 0 && direct.is_none()).then(|| index.clone());
        let decoder = match direct {
            Some(decoder) => decoder,
            None => RowDecoder::for_rows(&exec.table, &exec.decoded)?,
        };
        let searching = if exec.is_loose() { How::Loose } else { How::Plain };
        let mut spans = exec.access.spans.clone();
        if !exec.reverse {
            spans.reverse();
        }
        Ok(Run {
            read,
            table: Arc::clone(&exec.table),
            follow,
            decoder,
            types: exec.decoded.iter().map(|at| exec.table.columns[*at].ty).collect(),
            decoded_schema: Arc::clone(&exec.decoded_schema),
            width: exec.width,
            filter: exec.filter.clone(),
            schema: Arc::clone(&exec.schema),
            how: exec.lock.clone().map_or(searching.clone(), How::Lock),
            searching,
            reverse: exec.reverse,
            left: exec.fetch,
            points: exec.access.points && exec.access.index == 0,
            spans,
            pages: None,
            part: None,
            batch_rows: FIRST_BATCH_ROWS,
            rows_read,
            narrow: (!exec.joins.is_empty()).then(|| exec.clone()),
        })
    }

    /// Joins above have read their other side by now.
    fn narrow(&mut self) -> DfResult<()> {
        let Some(exec) = self.narrow.take() else { return Ok(()) };
        let output = &exec.decoded[..exec.width];
        if let Some(access) = lookup::narrow(&exec.table, &exec.access, &exec.joins, output)? {
            self.points = access.points && access.index == 0;
            self.spans = access.spans;
            if !exec.reverse {
                self.spans.reverse();
            }
        }
        Ok(())
    }

    pub async fn next(&mut self) -> DfResult<Option<RecordBatch>> {
        self.narrow()?;
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            let Some(entries) = self.entries().await? else { return Ok(None) };
            self.rows_read.add(entries.len());
            let rows = match &self.follow {
                Some(index) => {
                    let keys = row_keys(&self.table, index, &entries)?;
                    rows_of(&self.read, keys, self.first().clone()).await?
                }
                None => entries,
            };
            let batch =
                if self.locks_late() { self.lock_matching(rows).await? } else { self.matching(&rows)? };
            let batch = self.put_out(batch)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }

    /// Whether rows are locked only once they are known to match: where the keys alone do not say so, locking all that is
    /// read would stop others for nothing.
    fn locks_late(&self) -> bool {
        matches!(self.how, How::Lock(_)) && self.filter.is_some() && !self.points
    }

    /// How rows are read at first.
    fn first(&self) -> &How {
        if self.locks_late() { &self.searching } else { &self.how }
    }

    /// Locks those of the rows that match, and keeps those that still do: a locking read gives the newest state. No more
    /// are locked than are wanted, unless some are skipped or match no more.
    async fn lock_matching(&mut self, rows: Page) -> DfResult<RecordBatch> {
        let batch = self.decode(&rows)?;
        let keep = self.mask(&batch)?;
        let keys = rows
            .into_iter()
            .enumerate()
            .filter(|(at, _)| keep.as_ref().is_none_or(|k| k.is_valid(*at) && k.value(*at)));
        let mut keys: VecDeque<Key> = keys.map(|(_, (key, _))| key).collect();
        let mut wanted = self.left.unwrap_or(usize::MAX);
        let mut locked = Vec::new();
        while wanted > 0 && !keys.is_empty() {
            let next = keys.drain(..wanted.min(MAX_BATCH_ROWS).min(keys.len())).collect();
            let found = rows_of(&self.read, next, self.how.clone()).await?;
            let batch = self.matching(&found)?;
            wanted -= batch.num_rows().min(wanted);
            locked.push(batch);
        }
        Ok(concat_batches(&self.decoded_schema, &locked)?)
    }

    /// The next entries of the index.
    async fn entries(&mut self) -> Result<Option<Page>, SqlError> {
        if self.points {
            return self.lookups().await;
        }
        let mut out = Page::new();
        let wanted = self.batch_rows;
        self.batch_rows = (self.batch_rows * 4).min(MAX_BATCH_ROWS);
        while out.len() < wanted {
            if self.pages.is_none() {
                let Some(span) = self.spans.pop() else { break };
                let limit = self.limit_on(&span);
                let how = if self.follow.is_some() { &self.searching } else { self.first() }.clone();
                self.pages = Some(self.read.scan(ScanRequest { span, reverse: self.reverse, limit, how }));
            }
            let Some(pages) = &mut self.pages else { break };
            match pages.try_next().await? {
                Some(page) => {
                    if let Some(part) = &mut self.part {
                        part.read(&page, self.reverse);
                    }
                    out.extend(page);
                    if self.left.is_some_and(|left| self.filter.is_none() && out.len() >= left) {
                        break;
                    }
                }
                None => {
                    self.pages = None;
                    self.spans.extend(self.part.as_ref().and_then(Part::rest));
                }
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }

    /// Entries to ask for at once. A limit on rows is one on entries unless a filter may drop some: then parts of a span are
    /// read, each larger than the one before, until there are enough.
    fn limit_on(&mut self, span: &Span) -> Option<u64> {
        let left = self.left? as u64;
        if self.filter.is_none() {
            return Some(left);
        }
        let limit = self.part.as_ref().map_or(FIRST_BATCH_ROWS as u64, |part| part.limit.saturating_mul(4));
        self.part = Some(Part { span: span.clone(), limit, count: 0 });
        Some(limit)
    }

    /// Rows by their whole keys.
    async fn lookups(&mut self) -> Result<Option<Page>, SqlError> {
        while !self.spans.is_empty() {
            let from = self.spans.len().saturating_sub(MAX_BATCH_ROWS);
            let keys: Vec<Key> = self.spans.drain(from..).rev().map(|span| span.start).collect();
            let page = rows_of(&self.read, keys, self.how.clone()).await?;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    fn decode(&self, rows: &[(Key, Value)]) -> DfResult<RecordBatch> {
        let mut columns: Vec<Vec<Datum>> =
            self.types.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        let mut row = Vec::with_capacity(self.types.len());
        for (key, value) in rows {
            self.decoder.decode(key, value, &mut row)?;
            for (column, datum) in columns.iter_mut().zip(row.drain(..)) {
                column.push(datum);
            }
        }
        let arrays = columns
            .iter()
            .zip(&self.types)
            .map(|(c, ty)| to_array(c, *ty))
            .collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.decoded_schema), arrays, &options)?)
    }

    fn mask(&self, batch: &RecordBatch) -> DfResult<Option<BooleanArray>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        let keep = filter.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(Some(keep.as_boolean().clone()))
    }

    fn matching(&self, rows: &[(Key, Value)]) -> DfResult<RecordBatch> {
        let batch = self.decode(rows)?;
        Ok(match self.mask(&batch)? {
            Some(keep) => filter_record_batch(&batch, &keep)?,
            None => batch,
        })
    }

    /// As many rows as are still wanted, and only the columns that were asked for.
    fn put_out(&mut self, batch: RecordBatch) -> DfResult<RecordBatch> {
        let mut batch = batch;
        if let Some(left) = &mut self.left {
            let taken = batch.num_rows().min(*left);
            *left -= taken;
            batch = batch.slice(0, taken);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns()[..self.width].to_vec();
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// The keys of the rows that index entries point to.
fn row_keys(table: &TableDescriptor, index: &IndexDescriptor, entries: &Page) -> Result<Vec<Key>, SqlError> {
    entries.iter().map(|(key, value)| entry::row_key_of_entry(table, index, key, value)).collect()
}

/// Rows by their keys. One that is gone is left out (with a lock the newest state is read).
async fn rows_of(read: &Arc<dyn KvRead>, keys: Vec<Key>, how: How) -> Result<Page, SqlError> {
    let values = read.get_many(&keys, how).await?;
    Ok(keys.into_iter().zip(values).filter_map(|(k, v)| Some((k, v?))).collect())
}
