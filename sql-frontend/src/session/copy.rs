//! `COPY FROM STDIN` and `COPY TO STDOUT`: the dialogue with the client.

use super::{
    Session,
    guard::guarded,
    parse::{self, Command, Copy, CopySource},
    plan::{Body, Planned},
};
use crate::{
    bind::{BindContext, bind_expr_over_table},
    catalog::TableDescriptor,
    dml::{
        self, CHUNK, Change, Row, Writer,
        copy::{Fields, Splitter},
    },
    error::{SqlError, SqlState},
    exec::{self, program::Compiled},
    types::{Datum, PgType, TimeZone},
    wire::{
        backend::{self, Severity},
        connection::{Io, gone},
        frontend::Frontend,
        io::{Inbox, Lost, Outbox},
    },
};
use futures::TryStreamExt;
use std::sync::Arc;

impl Session {
    pub(super) async fn copy(&mut self, copy: &Copy, io: &mut Io) -> Result<(), SqlError> {
        self.refuse_under_key("COPY")?;
        // The client's data comes once.
        self.open_mut()?.log.close();
        let stop = self.stop();
        if copy.options.freeze && copy.from {
            if !self.is_in_explicit_tx() {
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "cannot perform COPY FREEZE because the table was not created or truncated in the current \
                     subtransaction",
                ));
            }
            let text = "COPY FREEZE has no effect: rows are never frozen";
            self.notice(&mut io.outbox, Severity::Notice, &SqlError::new(SqlState("00000"), text));
        }
        let result = if copy.from {
            let run = self.copy_from(copy, &mut io.inbox, &mut io.outbox);
            guarded(&stop, None, run).await
        } else {
            let Io { inbox, outbox } = &mut *io;
            let run = self.copy_to(copy, outbox);
            guarded(&stop, Some(inbox), run).await
        };
        self.finish_statement();
        let count = result?;
        self.complete(&format!("COPY {count}"), &mut io.outbox);
        Ok(())
    }

    async fn copy_from(&mut self, copy: &Copy, inbox: &mut Inbox, out: &mut Outbox) -> Result<u64, SqlError> {
        let CopySource::Table(name, columns) = &copy.source else {
            return Err(SqlError::internal("COPY FROM a query"));
        };
        if self.open()?.read_only {
            return Err(SqlError::new(
                SqlState::READ_ONLY_TRANSACTION,
                "cannot execute COPY FROM in a read-only transaction",
            ));
        }
        let table = match self.names(self.snapshot()).table(name) {
            Ok(table) => table,
            Err(_) => {
                self.refresh_catalog().await?;
                self.names(self.snapshot()).table(name)?
            }
        };
        let snapshot = self.wait_for_rewrite(self.snapshot(), &[table.id]).await?;
        let table = snapshot.tables.get(&table.id).cloned().unwrap_or(table);
        let ctx = self.exec_context(snapshot)?;
        let open = self.open_mut()?;
        open.used = true;
        open.pinned.bound(&[(table.id, table.version)]);
        self.begin_statement(true).await?;
        let writer =
            Writer::new(self.shared.clone(), self.open()?.txn.clone(), ctx, self.settings.lock_timeout());
        let mut target = Target::new(&writer, table, columns, *self.settings.zone())?;
        backend::copy_in_response(&mut out.buffer, target.columns.len());
        out.flush().await.map_err(|_| gone())?;
        let mut splitter = Splitter::new(copy.options.clone());
        let result = target.receive(&mut splitter, inbox).await;
        if let Err(error) = result {
            let context = match target.failed.or(target.reading.then_some(splitter.line)) {
                Some(line) => format!("COPY {}, line {line}", target.table.name),
                None => format!("COPY {}", target.table.name),
            };
            return Err(error.with_fields(|fields| {
                fields.context.get_or_insert(context);
            }));
        }
        Ok(target.count)
    }

    async fn copy_to(&mut self, copy: &Copy, out: &mut Outbox) -> Result<u64, SqlError> {
        let planned = self.plan_copy(copy).await?;
        self.settle_time(&planned, &[]).await?;
        let ctx = self.exec_context(self.snapshot())?;
        let open = self.open_mut()?;
        open.uses(&planned);
        self.begin_statement(false).await?;
        let Body::Query(query) = &planned.body else {
            return Err(SqlError::unsupported("COPY of what a statement that changes rows returns"));
        };
        let types = planned.types();
        let zone = *self.settings.zone();
        backend::copy_out_response(&mut out.buffer, types.len());
        let mut line = String::new();
        if copy.options.header {
            let names = planned.columns.iter().flatten().map(|c| Datum::Text(c.name.clone()));
            let names: Vec<Datum> = names.collect();
            let texts = vec![PgType::Text; names.len()];
            dml::copy::put_row(&mut line, &names, &texts, &copy.options, &zone);
            backend::copy_data(&mut out.buffer, line.as_bytes());
        }
        let mut count = 0;
        let mut batches = exec::execute(query, &[], &ctx);
        while let Some(batch) = batches.try_next().await? {
            for row in dml::rows_of(&batch, &types)? {
                line.clear();
                dml::copy::put_row(&mut line, &row, &types, &copy.options, &zone);
                backend::copy_data(&mut out.buffer, line.as_bytes());
                count += 1;
            }
            out.relieve().await.map_err(|_| gone())?;
        }
        self.take_over(out)?;
        backend::copy_done(&mut out.buffer);
        Ok(count)
    }

    async fn plan_copy(&mut self, copy: &Copy) -> Result<Arc<Planned>, SqlError> {
        let sql: Arc<str> = match &copy.source {
            CopySource::Query(query) => Arc::from(query.to_string()),
            CopySource::Table(name, columns) => {
                let quoted: Vec<String> =
                    columns.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
                let list = if quoted.is_empty() { "*".to_string() } else { quoted.join(", ") };
                Arc::from(format!("SELECT {list} FROM {name}"))
            }
        };
        let mut parsed = parse::parse(&sql)?;
        let command = match parsed.pop() {
            Some(one) => Arc::new(one.command),
            None => Arc::new(Command::Checkpoint),
        };
        self.plan(&sql, &command, &[]).await
    }
}

/// The table that rows are copied into.
struct Target<'a> {
    writer: &'a Writer,
    table: Arc<TableDescriptor>,
    /// Positions of the fields' columns.
    columns: Vec<usize>,
    /// Values for the others: nothing, or an expression.
    defaults: Vec<(usize, Compiled)>,
    zone: TimeZone,
    checks: dml::Checks,
    count: u64,
    /// The line of the row that an error is about.
    failed: Option<u64>,
    /// The splitter is at work, whose line is the present one.
    reading: bool,
}

impl<'a> Target<'a> {
    fn new(
        writer: &'a Writer,
        table: Arc<TableDescriptor>,
        names: &[String],
        zone: TimeZone,
    ) -> Result<Self, SqlError> {
        let mut columns = Vec::new();
        if names.is_empty() {
            columns.extend((0..table.columns.len()).filter(|&at| !table.columns[at].hidden));
        }
        for name in names {
            let at = table.columns.iter().position(|c| c.name == *name && !c.hidden).ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
                )
            })?;
            if columns.contains(&at) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{name}\" specified more than once"),
                ));
            }
            columns.push(at);
        }
        let mut defaults = Vec::new();
        let view = super::view::SessionView::of(&writer.ctx)?;
        for (at, column) in table.columns.iter().enumerate() {
            let Some(default) = &column.default else { continue };
            if columns.contains(&at) {
                continue;
            }
            let ctx = BindContext {
                catalog: &view.names,
                sql: default,
                engine: &writer.ctx.engine,
                zone,
                param_types: &[],
            };
            let expr = parse::parse_expression(default)?;
            let program = bind_expr_over_table(&ctx, None, &expr, column.ty, column.typmod)?;
            defaults.push((at, program.compile(&[], &writer.ctx)?));
        }
        let checks = writer.checks(&table)?;
        Ok(Target { writer, table, columns, defaults, zone, checks, count: 0, failed: None, reading: false })
    }

    /// Reads to the end of the client's data, or to the first error: what the client sends until it hears of that is dropped
    /// by the message loop.
    async fn receive(&mut self, splitter: &mut Splitter, inbox: &mut Inbox) -> Result<(), SqlError> {
        let mut rows: Vec<(u64, Row)> = Vec::with_capacity(CHUNK);
        loop {
            let (data, done) = match inbox.message().await {
                Ok(Frontend::CopyData(data)) => (data, false),
                Ok(Frontend::CopyDone) => (Default::default(), true),
                Ok(Frontend::CopyFail(why)) => {
                    let why = String::from_utf8_lossy(&why);
                    return Err(SqlError::new(
                        SqlState::QUERY_CANCELED,
                        format!("COPY from stdin failed: {why}"),
                    ));
                }
                Ok(Frontend::Flush | Frontend::Sync) => continue,
                Ok(_) => {
                    let text = "unexpected message type during COPY from stdin";
                    return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, text));
                }
                Err(Lost::Closed) => return Err(gone()),
                Err(Lost::Protocol(error)) => return Err(error.into()),
            };
            splitter.push(&data)?;
            self.reading = true;
            let lines = splitter.rows(done)?;
            self.reading = false;
            for line in lines {
                self.failed = Some(line.number);
                rows.push((line.number, self.row(line.fields)?));
                self.failed = None;
                if rows.len() == CHUNK {
                    self.write(std::mem::take(&mut rows)).await?;
                }
            }
            if done {
                return self.write(rows).await;
            }
        }
    }

    fn row(&self, fields: Fields) -> Result<Row, SqlError> {
        let bad = |text: String| SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, text);
        if fields.len() > self.columns.len() {
            return Err(bad("extra data after last expected column".into()));
        }
        if fields.len() < self.columns.len() {
            let missing = &self.table.columns[self.columns[fields.len()]].name;
            return Err(bad(format!("missing data for column \"{missing}\"")));
        }
        let mut row = vec![Datum::Null; self.table.columns.len()];
        for (&at, field) in self.columns.iter().zip(fields) {
            if let Some(text) = field {
                let column = &self.table.columns[at];
                row[at] = Datum::from_text(column.ty, &text, column.typmod, &self.zone)?;
            }
        }
        Ok(row)
    }

    async fn write(&mut self, mut rows: Vec<(u64, Row)>) -> Result<(), SqlError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.writer.reserve(&self.table, rows.len()).await?;
        for (_, row) in &mut rows {
            for (at, default) in &self.defaults {
                row[*at] = default.row(&[])?.pop().unwrap_or(Datum::Null);
            }
            self.writer.fill_row_id(&self.table, row);
        }
        let all: Vec<&Row> = rows.iter().map(|(_, row)| row).collect();
        if let Err(error) = self.writer.check(&self.table, &self.checks, None, &all) {
            let fails = |row: &Row| self.writer.check(&self.table, &self.checks, None, &[row]).is_err();
            self.failed = rows.iter().find(|(_, row)| fails(row)).map(|(line, _)| *line);
            return Err(error);
        }
        self.count += rows.len() as u64;
        let changes: Vec<Change> =
            rows.into_iter().map(|(_, row)| Change { old: None, new: Some(row) }).collect();
        self.writer.apply(&self.table, &changes).await
    }
}
