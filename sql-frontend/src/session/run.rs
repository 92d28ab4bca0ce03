//! Running planned statements and sending what they return.

use super::{
    Session,
    functions::relation_text,
    names::Names,
    parse::Command,
    plan::{Body, Planned, modification},
    replay::Step,
};
use crate::{
    bind::OutColumn,
    catalog::{Snapshot, TableState},
    dml,
    error::{SqlError, SqlState},
    exec::{self, ExecContext, Held},
    types::{Datum, PgType, datum_at, write_binary_at, write_text_at},
    wire::{
        backend::{self, Field},
        connection::gone,
        encode::{RowFormat, Scratch, put_row},
        io::Outbox,
    },
};
use bytes::BufMut;
use datafusion::arrow::{array::ArrayRef, record_batch::RecordBatch};
use futures::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use quorate_txn::Isolation;
use sqlparser::ast::Statement;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// Longest wait for a table that is being rewritten.
const REWRITE: Duration = Duration::from_secs(600);

/// Columns as the client is told of them.
pub fn fields(columns: &[OutColumn]) -> Vec<Field> {
    columns
        .iter()
        .map(|column| Field {
            name: column.name.clone(),
            table: column.origin.map_or(0, |(table, _)| crate::catalog::virtuals::oid::table(table)),
            column: column.origin.map_or(0, |(_, column)| column as i16),
            type_oid: column.ty.oid(),
            type_size: column.ty.len(),
            typmod: column.typmod,
        })
        .collect()
}

pub type Batches = BoxStream<'static, Result<RecordBatch, SqlError>>;

/// What a statement returns, to be fetched as the client asks for it.
pub enum Rows {
    /// From the relational engine, as it makes them. (The lock is never waited for; it makes the stream shareable.)
    Stream {
        stream: Mutex<Batches>,
        batch: Option<(RecordBatch, usize)>,
        /// All that is left has been read already.
        kept: bool,
    },
    /// All of them, with the memory that they are counted for where they may be many.
    Ready { rows: VecDeque<Vec<Datum>>, held: Option<Held> },
}

/// Result of a statement.
pub struct Outcome {
    /// None: no rows (and no description of them).
    pub rows: Option<Rows>,
    /// The command's tag; `{}` stands for the number of rows sent.
    pub tag: String,
}

impl Outcome {
    pub fn done(tag: impl Into<String>) -> Self {
        Outcome { rows: None, tag: tag.into() }
    }

    pub fn rows(rows: Vec<Vec<Datum>>, tag: impl Into<String>) -> Self {
        Outcome { rows: Some(Rows::Ready { rows: rows.into(), held: None }), tag: tag.into() }
    }

    /// Of a statement that has changed rows.
    fn changed(returning: bool, returned: dml::Returned, tag: String) -> Self {
        if !returning {
            return Outcome::done(tag);
        }
        let dml::Returned { rows, held } = returned;
        Outcome { rows: Some(Rows::Ready { rows: rows.into(), held }), tag }
    }
}

/// Sends at most `max` rows; how many, and whether there may be more.
pub async fn send_rows(
    rows: &mut Rows,
    max: usize,
    format: &RowFormat<'_>,
    out: &mut Outbox,
) -> Result<(usize, bool), SqlError> {
    let mut scratch = Scratch::default();
    let mut sent = 0;
    match rows {
        Rows::Ready { rows, held } => {
            while sent < max {
                let Some(row) = rows.pop_front() else {
                    *held = None;
                    return Ok((sent, false));
                };
                put_row(&mut out.buffer, &row, format, &mut scratch);
                sent += 1;
                out.relieve().await.map_err(|_| gone())?;
            }
        }
        Rows::Stream { stream, batch, .. } => {
            while sent < max {
                let Some((current, at)) = batch else {
                    match stream.get_mut().next().await {
                        Some(next) => *batch = Some((next?, 0)),
                        None => return Ok((sent, false)),
                    }
                    continue;
                };
                let end = current.num_rows().min(at.saturating_add(max - sent));
                while *at < end {
                    put_batch_row(current, *at, format, &mut scratch, out)?;
                    *at += 1;
                    sent += 1;
                    if out.buffer.len() >= 32 << 10 {
                        out.relieve().await.map_err(|_| gone())?;
                    }
                }
                if *at == current.num_rows() {
                    *batch = None;
                }
            }
        }
    }
    Ok((sent, true))
}

fn put_batch_row(
    batch: &RecordBatch,
    row: usize,
    format: &RowFormat<'_>,
    scratch: &mut Scratch,
    out: &mut Outbox,
) -> Result<(), SqlError> {
    let mut result = Ok(());
    backend::data_row(&mut out.buffer, batch.num_columns(), |out| {
        for (i, column) in batch.columns().iter().enumerate() {
            let ty = format.types[i];
            scratch.clear();
            let written = if format.code(i) == 1 {
                write_binary_at(column, row, ty, &mut scratch.binary)
            } else if ty == PgType::Regclass {
                write_relation_at(column, row, format, &mut scratch.text)
            } else {
                write_text_at(column, row, ty, format.zone, &mut scratch.text)
            };
            match written {
                Ok(true) => {
                    let raw = scratch.written();
                    out.put_u32(raw.len() as u32);
                    out.put_slice(raw);
                }
                Ok(false) => backend::null(out),
                Err(error) => {
                    result = Err(error);
                    return;
                }
            }
        }
    });
    result
}

/// The name of a relation; whether there is one.
fn write_relation_at(
    column: &ArrayRef,
    row: usize,
    format: &RowFormat<'_>,
    out: &mut String,
) -> Result<bool, SqlError> {
    let Datum::Oid(oid) = datum_at(column, row, PgType::Regclass)? else { return Ok(false) };
    out.push_str(&(format.relation)(oid));
    Ok(true)
}

/// The description of rows, where it belongs to the step's output.
pub fn describe(step: &Step, planned: &Planned, out: &mut Outbox) {
    if step.describe
        && let Some(columns) = &planned.columns
    {
        backend::row_description(&mut out.buffer, &fields(columns), |_| 0);
    }
}

impl Session {
    /// By which relations are named in rows of these types; None: nothing in them names one.
    pub(super) fn relation_names(&self, types: &[PgType]) -> Option<Names> {
        types.contains(&PgType::Regclass).then(|| self.names(self.snapshot()))
    }

    /// Runs a statement to its end, sending rows and tag. The description of rows goes ahead if the step says so.
    pub(super) async fn execute_step(&mut self, step: &Step, out: &mut Outbox) -> Result<(), SqlError> {
        if self.answer_again(step, out).await? {
            return Ok(());
        }
        let planned = self.ready_plan(&step.planned).await?;
        describe(step, &planned, out);
        let start = out.position();
        let measured = self.is_measured(step);
        let mut outcome = self.run(&planned, &step.params, measured, out).await?;
        let mut sent = 0;
        if let Some(rows) = &mut outcome.rows {
            let types = planned.types();
            let zone = *self.settings.zone();
            let names = self.relation_names(&types);
            let relation = |oid| relation_text(names.as_ref(), oid);
            let format =
                RowFormat { types: &types, formats: &step.formats, zone: &zone, relation: &relation };
            (sent, _) = send_rows(rows, usize::MAX, &format, out).await?;
        }
        self.take_over(out)?;
        self.finish_statement();
        let tag = outcome.tag.replace("{}", &sent.to_string());
        self.keep_answer(step, start, &tag, out);
        if !measured {
            self.complete(&tag, out);
        }
        Ok(())
    }

    pub(super) fn finish_statement(&mut self) {
        if let super::tx::Tx::Open(open) = &self.tx {
            open.pinned.end_statement();
        }
    }

    /// The plan, once its tables can be written and the catalog is as new as it must be.
    pub(super) async fn ready_plan(&mut self, planned: &Arc<Planned>) -> Result<Arc<Planned>, SqlError> {
        if planned.needs_newest_catalog() {
            self.refresh_catalog().await?;
        }
        if planned.writes {
            let tables: Vec<u64> = planned.tables.iter().map(|(id, _)| *id).collect();
            self.wait_for_rewrite(self.snapshot(), &tables).await?;
        }
        self.fresh_plan(planned).await
    }

    /// The plan itself if its tables are still what they were, or a new one of the same statement.
    pub(super) async fn fresh_plan(&mut self, planned: &Arc<Planned>) -> Result<Arc<Planned>, SqlError> {
        let snapshot = self.snapshot();
        if snapshot.still_has(&planned.tables) {
            return Ok(planned.clone());
        }
        let declared: Vec<Option<PgType>> = planned.params.iter().copied().map(Some).collect();
        let fresh = self.plan(&planned.sql, &planned.command, &declared).await?;
        let shape = |planned: &Planned| {
            let columns = planned.columns.as_ref()?;
            Some(columns.iter().map(|c| (c.name.clone(), c.ty, c.typmod)).collect::<Vec<_>>())
        };
        if shape(&fresh) != shape(planned) {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cached plan must not change result type",
            ));
        }
        Ok(fresh)
    }

    /// A table that is being moved to other indexes takes no writes; returns the catalog in which none of these is.
    pub(super) async fn wait_for_rewrite(
        &mut self,
        mut snapshot: Arc<Snapshot>,
        tables: &[u64],
    ) -> Result<Arc<Snapshot>, SqlError> {
        let deadline = self.shared.env.boottime() + REWRITE;
        loop {
            let busy = tables
                .iter()
                .filter_map(|id| snapshot.tables.get(id))
                .find(|table| table.state == TableState::Rewriting);
            let Some(table) = busy else { return Ok(snapshot) };
            if self.shared.env.boottime() > deadline {
                return Err(SqlError::new(
                    SqlState::LOCK_NOT_AVAILABLE,
                    format!("table \"{}\" is being rewritten", table.name),
                )
                .hint("quorate.jobs shows the schema changes under way."));
            }
            self.finish_statement();
            self.shared.env.sleep(Duration::from_millis(50)).await;
            self.refresh_catalog().await?;
            snapshot = self.snapshot();
        }
    }

    /// Starts a statement in the open transaction; `measured`: see [`Session::is_measured`].
    pub(super) async fn run(
        &mut self,
        planned: &Planned,
        params: &[Datum],
        measured: bool,
        out: &mut Outbox,
    ) -> Result<Outcome, SqlError> {
        self.settle_time(planned, params).await?;
        let snapshot = self.snapshot();
        let open = self.open_mut()?;
        if open.read_only && planned.writes {
            return Err(read_only(&planned.command));
        }
        open.uses(planned);
        quorate_env::count!("quorate_sql_statements_total");
        let queries = is_query(planned);
        if queries {
            self.begin_statement(planned.writes).await?;
        }
        let outcome = match &planned.body {
            Body::Declare(inner) => {
                let Command::Declare(declare) = &*planned.command else {
                    return Err(SqlError::internal("DECLARE of another statement"));
                };
                self.declare(declare, &planned.sql, inner, params).await?
            }
            Body::Utility => self.utility(&planned.command, &planned.sql, out).await?,
            Body::Explain { inner, analyze } => {
                let ctx = self.exec_context(snapshot)?;
                self.explain(inner, params, &ctx, *analyze, measured).await?
            }
            _ => {
                let ctx = self.exec_context(snapshot)?;
                self.run_data(planned, params, &ctx).await?
            }
        };
        if let super::tx::Tx::Open(open) = &self.tx
            && queries
        {
            self.guarantee = open.once.added_to(open.txn.guarantee());
        }
        Ok(outcome)
    }

    /// The snapshot of the statement that begins. What open cursors are still to give is kept before a write, and before they
    /// would give what has been committed since.
    pub(super) async fn begin_statement(&mut self, writes: bool) -> Result<(), SqlError> {
        let open = self.open_mut()?;
        open.queried = true;
        let moves = open.txn.isolation() == Isolation::ReadCommitted;
        if writes || moves {
            self.keep_cursors().await?;
        }
        self.open()?.txn.begin_statement();
        Ok(())
    }

    pub(super) async fn run_data(
        &self,
        planned: &Planned,
        params: &[Datum],
        ctx: &ExecContext,
    ) -> Result<Outcome, SqlError> {
        let txn = self.open()?.txn.clone();
        let lock_timeout = self.settings.lock_timeout();
        let writer = dml::Writer::new(self.shared.clone(), txn, ctx.clone(), lock_timeout);
        if let Some(point) = &planned.fast {
            let row = point.fetch(&writer.txn, params, ctx, lock_timeout).await?;
            return point_outcome(planned, &writer, row, params).await;
        }
        match &planned.body {
            Body::Query(query) => {
                let stream = exec::execute(query, params, ctx);
                Ok(Outcome {
                    rows: Some(Rows::Stream { stream: Mutex::new(stream), batch: None, kept: false }),
                    tag: "SELECT {}".into(),
                })
            }
            Body::Insert(insert) => {
                let (count, rows) = dml::insert::run(&writer, insert, params).await?;
                Ok(Outcome::changed(insert.returning.is_some(), rows, format!("INSERT 0 {count}")))
            }
            Body::Update(update) => {
                let (count, rows) = dml::update::run(&writer, update, params).await?;
                Ok(Outcome::changed(update.returning.is_some(), rows, format!("UPDATE {count}")))
            }
            Body::Delete(delete) => {
                let (count, rows) = dml::delete::run(&writer, delete, params).await?;
                Ok(Outcome::changed(delete.returning.is_some(), rows, format!("DELETE {count}")))
            }
            Body::Nothing => Ok(Outcome::rows(Vec::new(), "SELECT {}")),
            Body::Explain { .. } | Body::Declare(_) | Body::Utility => {
                Err(SqlError::internal("not a statement on data"))
            }
        }
    }
}

/// Whether the statement sees the data; the others leave the isolation level open.
fn is_query(planned: &Planned) -> bool {
    planned.command.reaches_beyond_session() || !matches!(planned.body, Body::Utility)
}

/// What a statement on one row does with it.
async fn point_outcome(
    planned: &Planned,
    writer: &dml::Writer,
    row: Option<Vec<Datum>>,
    params: &[Datum],
) -> Result<Outcome, SqlError> {
    let rows: Vec<Vec<Datum>> = row.into_iter().collect();
    match &planned.body {
        Body::Query(_) => Ok(Outcome::rows(rows, "SELECT {}")),
        Body::Update(update) => {
            let mut returning = dml::Returning::new(update.returning.as_ref(), params, &writer.ctx)?;
            let mut count = 0;
            if !rows.is_empty() {
                let checks = writer.checks(&update.table)?;
                count = dml::update::write(writer, update, &checks, rows, &mut returning).await?;
            }
            Ok(Outcome::changed(update.returning.is_some(), returning.finish(), format!("UPDATE {count}")))
        }
        Body::Delete(delete) => {
            let mut returning = dml::Returning::new(delete.returning.as_ref(), params, &writer.ctx)?;
            let count = dml::delete::write(writer, delete, rows, &mut returning).await?;
            Ok(Outcome::changed(delete.returning.is_some(), returning.finish(), format!("DELETE {count}")))
        }
        _ => Err(SqlError::internal("a point read for a statement that reads nothing")),
    }
}

/// What PostgreSQL calls a query that locks rows.
fn locking(statement: &Statement) -> Option<String> {
    let Statement::Query(query) = statement else { return None };
    query.locks.first().map(|lock| format!("SELECT FOR {}", lock.lock_type))
}

fn read_only(command: &Command) -> SqlError {
    let what = match command {
        Command::Statement(statement) | Command::Past(statement, _) => {
            let (_, statement) = modification(statement);
            let text = statement.to_string();
            let mut words = text.split_whitespace();
            let first = words.next().unwrap_or_default().to_uppercase();
            match first.as_str() {
                "CREATE" | "DROP" | "ALTER" => {
                    format!("{first} {}", words.next().unwrap_or_default().to_uppercase())
                }
                _ => locking(statement).unwrap_or(first),
            }
        }
        _ => "this statement".into(),
    };
    SqlError::new(
        SqlState::READ_ONLY_TRANSACTION,
        format!("cannot execute {what} in a read-only transaction"),
    )
}
