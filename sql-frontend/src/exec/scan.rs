//! Reading a table: spans of one index, rows decoded into batches, filtered, projected.
//!
//! Rows stream: a batch holds what one or a few pages gave, at first few rows, later up to
//! [`super::engine::MAX_BATCH_ROWS`], so that a query with a small limit reads little. An index that does not hold all
//! wanted columns is followed to the rows, a batch of keys at a time.

use super::access::{self, Access};
use super::engine::{MAX_BATCH_ROWS, statement};
use super::program::physical_expr;
use super::read::{KvRead, Page, ScanRequest};
use super::source::StoredTable;
use crate::catalog::{IndexDescriptor, TableDescriptor};
use crate::error::SqlError;
use crate::row::{RowDecoder, entry};
use crate::types::{Datum, PgType, to_array};
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableScan};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{
    ConstExpr, EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use quorate_proto::kv::LockRequest;
use quorate_proto::{Key, Value};
use std::fmt;
use std::sync::Arc;

/// Rows of the first batch; each further one may be four times as large.
const FIRST_BATCH_ROWS: usize = 64;

/// A scan of one index of a table.
#[derive(Clone, Debug)]
pub struct ScanExec {
    table: Arc<TableDescriptor>,
    access: Access,
    lock: Option<LockRequest>,
    reverse: bool,
    fetch: Option<usize>,
    /// Positions in the table's columns that are decoded: the output's first, then what the filter needs.
    decoded: Vec<usize>,
    decoded_schema: SchemaRef,
    /// How many of `decoded` are the output.
    width: usize,
    filter: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Makes a scan executable: chooses the index and spans, compiles what filters are left.
pub(super) fn plan(
    source: &StoredTable,
    scan: &TableScan,
    props: &ExecutionProps,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let table = &source.table;
    let output: Vec<usize> = match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..table.columns.len()).collect(),
    };
    let position = |name: &str| table.columns.iter().position(|c| c.name == name);
    let all_wanted = with_columns(&output, &scan.filters, &position);
    let access = access::choose(table, &scan.filters, &all_wanted, props)?;
    let rest: Vec<Expr> = scan
        .filters
        .iter()
        .enumerate()
        .filter(|(at, _)| !access.settled.contains(at))
        .map(|(_, f)| f.clone())
        .collect();
    // What is written meanwhile may no longer meet the conditions of an index, so a locking scan checks the row itself.
    let rest = if source.lock.is_some() && access.index > 0 { scan.filters.clone() } else { rest };
    let decoded = with_columns(&output, &rest, &position);
    let full = datafusion::logical_expr::TableSource::schema(source);
    let decoded_schema = Arc::new(full.project(&decoded)?);
    let filter = match conjunction(rest) {
        Some(expr) => {
            let qualified = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &decoded_schema)?;
            Some(physical_expr(&expr, &qualified, props)?)
        }
        None => None,
    };
    let mut exec = ScanExec {
        table: Arc::clone(table),
        access,
        lock: source.lock.clone(),
        reverse: false,
        fetch: scan.fetch,
        width: output.len(),
        decoded,
        decoded_schema,
        filter,
        schema: Arc::clone(scan.projected_schema.inner()),
        properties: Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(scan.projected_schema.inner())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )),
        metrics: ExecutionPlanMetricsSet::new(),
    };
    exec.properties = Arc::new(exec.properties_now()?);
    Ok(Arc::new(exec))
}

fn with_columns(output: &[usize], filters: &[Expr], position: &dyn Fn(&str) -> Option<usize>) -> Vec<usize> {
    let mut all = output.to_vec();
    for filter in filters {
        let mut more: Vec<usize> = filter.column_refs().iter().filter_map(|c| position(&c.name)).collect();
        more.sort_unstable();
        for at in more {
            if !all.contains(&at) {
                all.push(at);
            }
        }
    }
    all
}

impl ScanExec {
    fn index(&self) -> &IndexDescriptor {
        self.table.readable_indexes().nth(self.access.index).unwrap_or(&self.table.primary)
    }

    /// The order of the rows: the index's columns, as far as they are put out and their values compare as their keys do.
    fn ordering(&self) -> Vec<PhysicalSortExpr> {
        let mut order = Vec::new();
        let keys = self.index().columns.iter();
        // Entries of a non-unique index are ordered by the primary key behind their own columns.
        let primary =
            self.table.primary.columns.iter().filter(|_| self.access.index > 0 && !self.index().unique);
        for (at, key) in keys.chain(primary).enumerate() {
            let Some(position) = self.table.position(key.column) else { break };
            let Some(output) = self.decoded[..self.width].iter().position(|d| *d == position) else {
                if at < self.access.constant_columns {
                    continue;
                }
                break;
            };
            let column = &self.table.columns[position];
            if !column.ty.has_plain_equality() {
                break;
            }
            let descending = key.descending != self.reverse;
            let options = SortOptions { descending, nulls_first: !descending };
            order.push(PhysicalSortExpr::new(Arc::new(PhysicalColumn::new(&column.name, output)), options));
        }
        order
    }

    fn properties_now(&self) -> DfResult<PlanProperties> {
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&self.schema));
        let constants = self.index().columns[..self.access.constant_columns].iter().filter_map(|key| {
            let position = self.table.position(key.column)?;
            let output = self.decoded[..self.width].iter().position(|d| *d == position)?;
            let column: Arc<dyn PhysicalExpr> =
                Arc::new(PhysicalColumn::new(&self.table.columns[position].name, output));
            Some(ConstExpr::from(column))
        });
        let constants: Vec<ConstExpr> = constants.collect();
        equivalence.add_constants(constants)?;
        if let Some(order) = LexOrdering::new(self.ordering()) {
            equivalence.add_ordering(order);
        }
        Ok(PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ))
    }

    fn changed(&self, change: impl FnOnce(&mut Self)) -> DfResult<Arc<ScanExec>> {
        let mut exec = self.clone();
        change(&mut exec);
        exec.metrics = ExecutionPlanMetricsSet::new();
        exec.properties = Arc::new(exec.properties_now()?);
        Ok(Arc::new(exec))
    }

    /// Lines for `EXPLAIN`: what is read, and the conditions.
    pub fn explain(&self) -> (String, Vec<String>) {
        let table = &self.table;
        let mut title = if self.access.spans.is_empty() {
            "No Scan".to_string()
        } else if self.access.index == 0 {
            let whole = self.access.shown.is_empty();
            (if whole {
                "Full Scan"
            } else if self.access.points {
                "Key Lookup"
            } else {
                "Range Scan"
            })
            .to_string()
        } else {
            let kind = if self.access.covering { "Index Only Scan" } else { "Index Scan" };
            format!("{kind} using {}", self.index().name)
        };
        if self.reverse {
            title.push_str(" Backward");
        }
        title.push_str(&format!(" on {}", table.name));
        let mut lines = Vec::new();
        if !self.access.shown.is_empty() {
            lines.push(format!("Key: {}", self.access.shown.join(" AND ")));
        }
        if self.access.spans.len() > 1 {
            lines.push(format!("Spans: {}", self.access.spans.len()));
        }
        if let Some(filter) = &self.filter {
            lines.push(format!("Filter: {filter}"));
        }
        if let Some(fetch) = self.fetch {
            lines.push(format!("Limit: {fetch}"));
        }
        if let Some(lock) = &self.lock {
            lines.push(format!("Lock: {:?}", lock.mode));
        }
        (title, lines)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, lines) = self.explain();
        write!(f, "{title}")?;
        lines.iter().try_for_each(|line| write!(f, ", {line}"))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.filter.as_ref().map_or(Ok(TreeNodeRecursion::Continue), f)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let exec: Arc<dyn ExecutionPlan> = self.changed(|e| e.fetch = limit).ok()?;
        Some(exec)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    /// A scan can run backwards instead of being sorted.
    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> DfResult<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let backwards = self.changed(|e| e.reverse = !e.reverse)?;
        if self.fetch.is_none() && backwards.properties.eq_properties.ordering_satisfy(order.to_vec())? {
            return Ok(SortOrderPushdownResult::Exact { inner: backwards });
        }
        Ok(SortOrderPushdownResult::Unsupported)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let statement = statement(&context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows_read = MetricBuilder::new(&self.metrics).counter("rows_read", partition);
        let run = Run::new(self, Arc::clone(&statement.read), rows_read)?;
        let stream = futures::stream::try_unfold(run, |mut run| async move {
            Ok(run.next().await?.map(|batch| (batch, run)))
        });
        let stream = stream.inspect_ok(move |batch: &RecordBatch| metrics.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }
}

/// A scan under way.
struct Run {
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
    lock: Option<LockRequest>,
    reverse: bool,
    /// Rows still wanted.
    left: Option<usize>,
    /// Not yet begun, the next one last.
    spans: Vec<quorate_proto::Span>,
    /// All spans are single keys of rows: read them together.
    points: bool,
    pages: Option<BoxStream<'static, Result<Page, SqlError>>>,
    batch_rows: usize,
    rows_read: Count,
}

impl Run {
    fn new(exec: &ScanExec, read: Arc<dyn KvRead>, rows_read: Count) -> DfResult<Self> {
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
            lock: exec.lock.clone(),
            reverse: exec.reverse,
            left: exec.fetch,
            points: exec.access.points && exec.access.index == 0,
            spans,
            pages: None,
            batch_rows: FIRST_BATCH_ROWS,
            rows_read,
        })
    }

    async fn next(&mut self) -> DfResult<Option<RecordBatch>> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            let Some(entries) = self.entries().await? else { return Ok(None) };
            self.rows_read.add(entries.len());
            let rows = match &self.follow {
                Some(index) => {
                    let keys = row_keys(&self.table, index, &entries)?;
                    rows_of(&self.read, keys, self.lock.clone()).await?
                }
                None => entries,
            };
            let batch = self.batch(&rows)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
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
                // The filter may drop rows, so a limit on rows is one on entries only without it.
                let limit = if self.filter.is_none() { self.left.map(|l| l as u64) } else { None };
                let lock = if self.follow.is_some() { None } else { self.lock.clone() };
                self.pages = Some(self.read.scan(ScanRequest { span, reverse: self.reverse, limit, lock }));
            }
            let Some(pages) = &mut self.pages else { break };
            match pages.try_next().await? {
                Some(page) => {
                    out.extend(page);
                    if self.left.is_some_and(|left| self.filter.is_none() && out.len() >= left) {
                        break;
                    }
                }
                None => self.pages = None,
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }

    /// Rows by their whole keys.
    async fn lookups(&mut self) -> Result<Option<Page>, SqlError> {
        while !self.spans.is_empty() {
            let from = self.spans.len().saturating_sub(MAX_BATCH_ROWS);
            let keys: Vec<Key> = self.spans.drain(from..).rev().map(|span| span.start).collect();
            let page = rows_of(&self.read, keys, self.lock.clone()).await?;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    fn batch(&mut self, rows: &[(Key, Value)]) -> DfResult<RecordBatch> {
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
        let mut batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.decoded_schema), arrays, &options)?;
        if let Some(filter) = &self.filter {
            let keep = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            batch = filter_record_batch(&batch, keep.as_boolean())?;
        }
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
async fn rows_of(
    read: &Arc<dyn KvRead>,
    keys: Vec<Key>,
    lock: Option<LockRequest>,
) -> Result<Page, SqlError> {
    let values = read.get_many(&keys, lock).await?;
    Ok(keys.into_iter().zip(values).filter_map(|(k, v)| Some((k, v?))).collect())
}
