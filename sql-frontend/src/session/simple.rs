//! The simple protocol: a text with any number of statements, run as one implicit transaction unless it says otherwise.

use super::{
    Session,
    guard::{catch, guarded},
    parse::{self, Command, Parsed},
    plan::{Body, Planned},
    replay::Step,
    stack::{Deep, is_deep},
    tx::Tx,
};
use crate::{
    error::{SqlError, SqlState},
    fast::normalize::{Normalized, normalize},
    types::{Datum, PgType},
    wire::{backend, connection::Io, io::Outbox},
};
use bytes::Bytes;
use std::sync::Arc;

/// Longest text whose plan is kept.
const CACHED_TEXT: usize = 4096;

pub fn utf8(raw: &Bytes) -> Result<&str, SqlError> {
    std::str::from_utf8(raw).map_err(|error| {
        let at = error.valid_up_to();
        let bad: Vec<String> = raw[at..].iter().take(4).map(|b| format!("0x{b:02x}")).collect();
        SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" ")),
        )
    })
}

/// Whether the statement does not need the relational engine.
fn direct(planned: &Planned) -> bool {
    planned.fast.is_some()
        || matches!(&planned.body, Body::Insert(insert) if insert.values.is_some() && insert.on_conflict.is_none())
}

impl Session {
    /// Answers a Query message, errors included, up to ReadyForQuery.
    pub async fn simple_query(&mut self, raw: &Bytes, io: &mut Io) {
        self.completed = None;
        let result = match self.begin_batch().await {
            Ok(()) => self.run_text(raw, io).await,
            Err(error) => Err(error),
        };
        self.finish_batch(result, io).await;
    }

    /// The client's turn is over. A cancel request that came meanwhile, or that ended what ran before, is of no concern any more.
    pub(super) async fn begin_batch(&mut self) -> Result<(), SqlError> {
        if !std::mem::take(&mut self.at_rest) {
            return Ok(());
        }
        self.admission.entry.cancel.reset();
        self.enter().await
    }

    /// Answers a Query message that could not be read.
    pub async fn refuse(&mut self, error: SqlError, io: &mut Io) {
        self.finish_batch(Err(error), io).await;
    }

    pub(super) async fn finish_batch(&mut self, result: Result<(), SqlError>, io: &mut Io) {
        if let Err(error) = result {
            let error = self.named(error);
            self.report(&error, &mut io.outbox);
        }
        if let Err(error) = self.end_implicit(&mut io.outbox).await {
            // What could not be committed was not done.
            if let Some(tag) = self.completed.take() {
                io.outbox.take_back(tag);
            }
            let error = self.named(error);
            self.report(&error, &mut io.outbox);
        }
        if let Tx::Open(open) = &mut self.tx {
            let freed = std::mem::take(&mut open.freed);
            self.await_release(freed).await;
        }
        self.note_rest();
        self.pass = None;
        self.at_rest = true;
        backend::ready_for_query(&mut io.outbox.buffer, self.status());
        if io.outbox.flush().await.is_err() {
            self.over = true;
        }
    }

    async fn run_text(&mut self, raw: &Bytes, io: &mut Io) -> Result<(), SqlError> {
        let sql: Arc<str> = Arc::from(utf8(raw)?);
        self.check_length(&sql)?;
        self.note_work(&sql);
        if let Some(planned) = self.known_text(&sql) {
            return self.run_step(Step::of_text(planned, Arc::new([]), true), io).await;
        }
        if let Some(bound) = self.bounds.get(&sql).cloned()
            && let Some(result) = self.control(&bound, &mut io.outbox).await
        {
            return result;
        }
        // A statement under a key is told from others by its text.
        let shape = if self.settings.idempotency_key().is_none() { normalize(&sql) } else { None };
        if let Some(shape) = &shape
            && let Some(step) = self.known_shape(shape)
        {
            return self.run_step(step, io).await;
        }
        let mut notices = Vec::new();
        let all = catch(|| parse::parse_noting(&sql, &mut notices))?;
        self.notify(&notices, &mut io.outbox);
        if all.is_empty() {
            backend::empty_query(&mut io.outbox.buffer);
            return Ok(());
        }
        // A text that there is something to say about is parsed each time.
        let alone = all.len() == 1 && notices.is_empty();
        for parsed in all {
            // Not after the last one: its tag is taken back if the commit fails.
            io.outbox.relieve().await.map_err(|_| crate::wire::connection::gone())?;
            self.run_parsed(&sql, parsed, alone, shape.as_ref(), io).await?;
        }
        Ok(())
    }

    pub(super) fn check_length(&self, sql: &str) -> Result<(), SqlError> {
        if sql.len() > self.shared.config.max_statement {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("statement of {} bytes is too long", sql.len()),
            )
            .detail(format!("At most {} bytes are allowed.", self.shared.config.max_statement)));
        }
        Ok(())
    }

    async fn run_parsed(
        &mut self,
        sql: &Arc<str>,
        parsed: Parsed,
        alone: bool,
        shape: Option<&Normalized>,
        io: &mut Io,
    ) -> Result<(), SqlError> {
        let command = Arc::new(parsed.command);
        let bound =
            matches!(*command, Command::Begin(..) | Command::Commit { .. } | Command::Rollback { .. });
        if bound && alone && sql.len() <= CACHED_TEXT {
            if self.bounds.len() >= super::CACHED_BOUNDS {
                self.bounds.pop_first();
            }
            self.bounds.insert(sql.clone(), command.clone());
        }
        if let Some(result) = self.control(&command, &mut io.outbox).await {
            return result;
        }
        self.check_failed()?;
        if let Command::Copy(copy) = &*command {
            self.ensure_tx();
            return self.copy(copy, io).await;
        }
        if let Command::Execute { name, arguments } = &*command {
            let step = self.execute_prepared(sql, name, arguments, &mut io.outbox).await?;
            return self.run_step(step, io).await;
        }
        if let Some(result) = self.cursor_command(&command, None, io).await {
            return result;
        }
        self.ensure_tx();
        let planned = self.plan(sql, &command, &[]).await?;
        if let Some(missing) = planned.params.first() {
            let _ = missing;
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        let past = matches!(*command, Command::Past(..));
        if let Some(shape) = shape.filter(|_| alone && !past) {
            self.learn_shape(shape, &planned).await;
        } else if alone && sql.len() <= CACHED_TEXT && !matches!(planned.body, Body::Utility) {
            if self.plans.len() >= super::CACHED_PLANS {
                self.plans.pop_first();
            }
            self.plans.insert(sql.clone(), planned.clone());
        }
        let part = (!alone).then_some(parsed.range);
        self.run_step(Step { part, ..Step::of_text(planned, Arc::new([]), alone) }, io).await
    }

    /// The plan of the same text, if its tables are what they were.
    fn known_text(&mut self, sql: &Arc<str>) -> Option<Arc<Planned>> {
        let planned = self.plans.get(sql)?.clone();
        let fresh = self.snapshot().still_has(&planned.tables);
        if !fresh {
            self.plans.remove(sql);
        }
        fresh.then_some(planned)
    }

    /// The plan of a text that differed in its literals, with the literals of this one.
    fn known_shape(&mut self, shape: &Normalized) -> Option<Step> {
        let planned = self.shapes.get(&shape.key)?.clone()?;
        if !self.snapshot().still_has(&planned.tables) {
            self.shapes.remove(&shape.key);
            return None;
        }
        let mut params = Vec::with_capacity(shape.literals.len());
        for (literal, ty) in shape.literals.iter().zip(&planned.params) {
            // What cannot be read goes the ordinary way, which finds the words for it.
            params.push(Datum::from_text(*ty, &literal.text, -1, self.settings.zone()).ok()?);
        }
        Some(Step::of_text(planned, params.into(), true))
    }

    /// Keeps a plan for all statements that look like this one, if it goes straight to a key.
    async fn learn_shape(&mut self, shape: &Normalized, planned: &Planned) {
        if self.shapes.len() >= super::CACHED_PLANS {
            self.shapes.pop_first();
        }
        let mut learned = None;
        if direct(planned) && !self.shapes.contains_key(&shape.key) {
            let declared: Vec<Option<PgType>> = shape.literals.iter().map(|literal| literal.ty).collect();
            let sql: Arc<str> = Arc::from(shape.sql());
            let command =
                parse::parse(&sql).ok().and_then(|mut all| all.pop()).map(|parsed| Arc::new(parsed.command));
            if let Some(command) = command {
                learned = self.plan(&sql, &command, &declared).await.ok();
            }
        }
        let same = |general: &Arc<Planned>| {
            let types = |p: &Planned| {
                p.columns.iter().flatten().map(|c| (c.name.clone(), c.ty, c.typmod)).collect::<Vec<_>>()
            };
            direct(general)
                && general.params.len() == shape.literals.len()
                && types(general) == types(planned)
        };
        self.shapes.insert(shape.key.clone(), learned.filter(same));
    }

    /// 25P02 in a failed transaction.
    pub(super) fn check_failed(&self) -> Result<(), SqlError> {
        match &self.tx {
            Tx::Open(open) if open.failed => Err(SqlError::new(
                SqlState::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }

    /// Runs a step, again if it must be and can be, and remembers it.
    pub(super) async fn run_step(&mut self, step: Step, io: &mut Io) -> Result<(), SqlError> {
        self.check_failed()?;
        self.ensure_tx();
        let stop = self.stop();
        let (start, measured) = (self.shared.env.boottime(), self.is_measured(&step));
        let Io { inbox, outbox } = io;
        let run = Deep::new(is_deep(&step.planned.sql), self.attempt(&step, outbox));
        guarded(&stop, Some(inbox), run).await?;
        if measured { self.tell_spent(&step, start, outbox).await } else { Ok(()) }
    }

    async fn attempt(&mut self, step: &Step, out: &mut Outbox) -> Result<(), SqlError> {
        let start = out.position();
        match self.execute_until_settled(step, start, out).await {
            Ok(()) => {
                let end = out.position();
                if let Tx::Open(open) = &mut self.tx {
                    open.log.push(step.clone(), start..end);
                }
                Ok(())
            }
            Err(error) => {
                self.finish_statement();
                let error = self.unless_happened(error).await;
                let result = self.retry(error, Some((step, start)), out).await;
                if result.is_err()
                    && let Tx::Open(open) = &mut self.tx
                {
                    open.once.spoil();
                }
                result
            }
        }
    }

    /// Commands that end, begin or mark transactions; they run whatever state the session is in.
    pub(super) async fn control(
        &mut self,
        command: &Command,
        out: &mut Outbox,
    ) -> Option<Result<(), SqlError>> {
        let result = match command {
            Command::Begin(modes, tag) => match self.check_failed() {
                Ok(()) => self.begin_explicit(modes, out).map(|()| *tag),
                Err(error) => Err(error),
            },
            Command::Commit { chain } => self.end(true, *chain, out).await,
            Command::Rollback { chain } => self.end(false, *chain, out).await,
            Command::Savepoint(name) => match self.check_failed() {
                Ok(()) => self.savepoint(name.clone()).map(|()| "SAVEPOINT"),
                Err(error) => Err(error),
            },
            Command::Release(name) => match self.check_failed() {
                Ok(()) => self.release(name).map(|()| "RELEASE"),
                Err(error) => Err(error),
            },
            Command::RollbackTo(name) => self.rollback_to(name, out).await.map(|()| "ROLLBACK"),
            _ => return None,
        };
        Some(result.map(|tag| backend::command_complete(&mut out.buffer, tag)))
    }

    async fn end(&mut self, commit: bool, chain: bool, out: &mut Outbox) -> Result<&'static str, SqlError> {
        let modes = match &self.tx {
            Tx::Open(open) if open.explicit => parse::Modes {
                isolation: Some(open.level),
                read_only: Some(open.read_only),
                deferrable: Some(open.deferrable),
                as_of: None,
                // Each transaction needs its own.
                idempotency_key: None,
            },
            _ if chain => {
                let what = if commit { "COMMIT" } else { "ROLLBACK" };
                return Err(SqlError::new(
                    SqlState::NO_ACTIVE_TRANSACTION,
                    format!("{what} AND CHAIN can only be used in transaction blocks"),
                ));
            }
            _ => {
                let text = "there is no transaction in progress";
                self.warn(out, SqlState::NO_ACTIVE_TRANSACTION, text);
                // What the batch has done so far ends here, too.
                parse::Modes::default()
            }
        };
        let failed = matches!(&self.tx, Tx::Open(open) if open.failed);
        let tag = if commit && !failed {
            if let Err(error) = self.commit(out).await {
                self.rollback(out).await;
                return Err(error);
            }
            "COMMIT"
        } else {
            self.rollback(out).await;
            "ROLLBACK"
        };
        if chain {
            self.begin_explicit(&modes, out)?;
        }
        Ok(tag)
    }
}
