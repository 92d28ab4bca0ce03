//! The extended protocol: statements are parsed once, bound to parameters as portals, and executed piece by piece.

use super::{
    Session,
    cursor::Declared,
    functions::relation_text,
    guard::{catch, guarded},
    parse::{self, Command},
    plan::{Body, Planned, Prepared},
    replay::Step,
    run::{self, Outcome},
    simple::utf8,
    stack::{Deep, is_deep},
    tx::Tx,
};
use crate::{
    error::{SqlError, SqlState},
    types::{Datum, PgType},
    wire::{
        backend,
        connection::Io,
        encode::{RowFormat, format_of},
        frontend::{Frontend, Target},
        io::Outbox,
    },
};
use bytes::Bytes;
use std::sync::Arc;

/// A statement with its parameters.
pub struct Portal {
    /// None: an empty statement.
    pub(super) step: Option<Step>,
    pub(super) state: State,
    /// How it was declared, if it was.
    pub(super) cursor: Option<Declared>,
}

pub(super) enum State {
    Fresh,
    /// Some rows have been sent.
    Running(Outcome),
    Done,
}

fn name(raw: &Bytes) -> Result<String, SqlError> {
    utf8(raw).map(ToString::to_string)
}

impl Session {
    /// Parse, Bind, Describe, Execute and Close. After an error the rest up to Sync is skipped.
    pub async fn extended(&mut self, message: Frontend, io: &mut Io) -> Result<(), SqlError> {
        self.begin_batch().await?;
        let result = match message {
            Frontend::Parse { name: statement, sql, types } => {
                self.parse(name(&statement)?, &sql, &types, &mut io.outbox).await
            }
            Frontend::Bind { portal, statement, formats, parameters, results } => {
                let bind = Bind { formats, parameters, results };
                self.bind(name(&portal)?, &name(&statement)?, bind, &mut io.outbox).await
            }
            Frontend::Describe(Target::Statement, statement) => {
                self.describe_statement(&name(&statement)?, &mut io.outbox).await
            }
            Frontend::Describe(Target::Portal, portal) => {
                self.describe_portal(&name(&portal)?, &mut io.outbox)
            }
            Frontend::Execute { portal, max_rows } => self.execute(&name(&portal)?, max_rows, io).await,
            Frontend::Close(target, raw) => {
                match target {
                    Target::Statement => drop(self.prepared.remove(&name(&raw)?)),
                    Target::Portal => drop(self.portals.remove(&name(&raw)?)),
                }
                backend::close_complete(&mut io.outbox.buffer);
                Ok(())
            }
            _ => Err(SqlError::internal("not a message of the extended protocol")),
        };
        result.map_err(|error| self.named(error))
    }

    /// The end of a pipeline.
    pub async fn sync(&mut self, io: &mut Io) {
        // Whoever pipelines statements learns of the commit after their tags.
        self.completed = None;
        self.finish_batch(Ok(()), io).await;
    }

    async fn parse(
        &mut self,
        name: String,
        sql: &Bytes,
        types: &[u32],
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        if !name.is_empty() && self.prepared.contains_key(&name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let sql: Arc<str> = Arc::from(utf8(sql)?);
        self.check_length(&sql)?;
        let mut notices = Vec::new();
        let mut all = catch(|| parse::parse_noting(&sql, &mut notices))?;
        self.notify(&notices, out);
        if all.len() > 1 {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let declared = declared_types(types)?;
        let command = all.pop().map(|parsed| Arc::new(parsed.command));
        self.prepare(name, sql, command, declared).await?;
        backend::parse_complete(&mut out.buffer);
        Ok(())
    }

    /// Plans (so that errors come now) and keeps a statement.
    pub(super) async fn prepare(
        &mut self,
        name: String,
        sql: Arc<str>,
        command: Option<Arc<Command>>,
        declared: Vec<Option<PgType>>,
    ) -> Result<(), SqlError> {
        let mut planned = None;
        if let Some(command) = &command {
            if !ends_transaction(command) {
                self.check_failed()?;
            }
            planned = Some(self.plan(&sql, command, &declared).await?);
            self.finish_statement();
        }
        let prepared = Prepared { sql, command, declared, planned: planned.into() };
        self.prepared.insert(name, Arc::new(prepared));
        Ok(())
    }

    pub(super) fn find_prepared(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.prepared.get(name).cloned().ok_or_else(|| {
            let text = if name.is_empty() {
                "unnamed prepared statement does not exist".to_string()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            SqlError::new(SqlState::INVALID_STATEMENT_NAME, text)
        })
    }

    /// The prepared statement's plan against the present catalog; `None` for an empty one.
    pub(super) async fn plan_of(&mut self, prepared: &Prepared) -> Result<Option<Arc<Planned>>, SqlError> {
        let Some(command) = &prepared.command else { return Ok(None) };
        // What a cursor gives shows when it is fetched from: another may have its name by now.
        let known = prepared.planned.lock().clone().filter(|_| !matches!(**command, Command::Fetch(_)));
        let planned = match known {
            Some(planned) if ends_transaction(command) => planned,
            Some(planned) => self.fresh_plan(&planned).await?,
            None => self.plan(&prepared.sql, command, &prepared.declared).await?,
        };
        self.finish_statement();
        *prepared.planned.lock() = Some(planned.clone());
        Ok(Some(planned))
    }

    async fn bind(
        &mut self,
        portal: String,
        statement: &str,
        bind: Bind,
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        let prepared = self.find_prepared(statement)?;
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{portal}\" already exists"),
            ));
        }
        if let Some(command) = &prepared.command
            && !ends_transaction(command)
        {
            self.check_failed()?;
            // A portal lives in a transaction.
            self.ensure_tx();
        }
        let Some(planned) = self.plan_of(&prepared).await? else {
            bind.parameters(statement, &[], self.settings.zone(), &|_| None)?;
            self.portals.insert(portal, Portal { step: None, state: State::Fresh, cursor: None });
            backend::bind_complete(&mut out.buffer);
            return Ok(());
        };
        let named = |name: &str| crate::bind::Catalog::regclass(&self.names(self.snapshot()), name);
        let params = bind.parameters(statement, &planned.params, self.settings.zone(), &named)?;
        let columns = planned.columns.as_ref().map_or(0, Vec::len);
        if bind.results.len() > 1 && bind.results.len() != columns {
            return Err(SqlError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but query has {columns} columns",
                    bind.results.len()
                ),
            ));
        }
        let step = Step {
            planned,
            params: params.into(),
            formats: bind.results.into(),
            describe: false,
            alone: false,
            part: None,
        };
        self.portals.insert(portal, Portal { step: Some(step), state: State::Fresh, cursor: None });
        backend::bind_complete(&mut out.buffer);
        Ok(())
    }

    async fn describe_statement(&mut self, name: &str, out: &mut Outbox) -> Result<(), SqlError> {
        let prepared = self.find_prepared(name)?;
        let planned = self.plan_of(&prepared).await?;
        let params = planned.as_ref().map_or(&[][..], |planned| &planned.params);
        let oids: Vec<u32> = params.iter().map(|ty| ty.oid()).collect();
        backend::parameter_description(&mut out.buffer, &oids);
        match planned.as_ref().and_then(|planned| planned.columns.as_ref()) {
            Some(columns) => backend::row_description(&mut out.buffer, &run::fields(columns), |_| 0),
            None => backend::no_data(&mut out.buffer),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str, out: &mut Outbox) -> Result<(), SqlError> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let step = portal.step.as_ref();
        match step.and_then(|step| Some((step.planned.columns.as_ref()?, &step.formats))) {
            Some((columns, formats)) => {
                backend::row_description(&mut out.buffer, &run::fields(columns), |i| format_of(formats, i));
            }
            None => backend::no_data(&mut out.buffer),
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, max_rows: i32, io: &mut Io) -> Result<(), SqlError> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let Some(step) = portal.step.clone() else {
            backend::empty_query(&mut io.outbox.buffer);
            return Ok(());
        };
        self.note_work(&step.planned.sql);
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let command = step.planned.command.clone();
        match (&portal.state, &*command) {
            (State::Done, _) => {
                self.check_failed()?;
                if let Some(tag) = no_more_rows(&step.planned) {
                    self.complete(tag, &mut io.outbox);
                    return Ok(());
                }
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("portal \"{name}\" cannot be run"),
                ));
            }
            (State::Running(_), _) => return self.resume(name, step, max_rows, io).await,
            (State::Fresh, _) => portal.state = State::Done,
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
            let inner = self.execute_prepared(&step.planned.sql, name, arguments, &mut io.outbox).await?;
            return self.run_step(Step { describe: false, ..inner }, io).await;
        }
        if let Some(result) = self.cursor_command(&command, Some(step.formats.clone()), io).await {
            return result;
        }
        if max_rows <= 0 || step.planned.columns.is_none() {
            return self.run_step(step, io).await;
        }
        self.start_portal(name, step, max_rows, io).await
    }

    /// A portal that is fetched from in pieces: its transaction cannot be run again unseen.
    async fn start_portal(
        &mut self,
        name: &str,
        step: Step,
        max_rows: i32,
        io: &mut Io,
    ) -> Result<(), SqlError> {
        self.ensure_tx();
        self.refuse_under_key("fetching rows in pieces")?;
        self.open_mut()?.log.close();
        let stop = self.stop();
        let outcome = {
            let Io { inbox, outbox } = &mut *io;
            let run = async {
                let planned = self.ready_plan(&step.planned).await?;
                self.run(&planned, &step.params, false, outbox).await
            };
            let run = Deep::new(is_deep(&step.planned.sql), run);
            guarded(&stop, Some(inbox), run).await?
        };
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = State::Running(outcome);
        }
        self.resume(name, step, max_rows, io).await
    }

    async fn resume(&mut self, name: &str, step: Step, max_rows: i32, io: &mut Io) -> Result<(), SqlError> {
        self.check_failed()?;
        let stop = self.stop();
        let zone = *self.settings.zone();
        let max = if max_rows <= 0 { usize::MAX } else { max_rows as usize };
        let types = step.planned.types();
        let names = self.relation_names(&types);
        let relation = |oid| relation_text(names.as_ref(), oid);
        let Some(portal) = self.portals.get_mut(name) else { return Err(no_portal(name)) };
        let State::Running(outcome) = &mut portal.state else { return Err(no_portal(name)) };
        let format = RowFormat { types: &types, formats: &step.formats, zone: &zone, relation: &relation };
        let (sent, more) = match &mut outcome.rows {
            Some(rows) => {
                let Io { inbox, outbox } = &mut *io;
                let send = Deep::new(is_deep(&step.planned.sql), run::send_rows(rows, max, &format, outbox));
                guarded(&stop, Some(inbox), send).await?
            }
            None => (0, false),
        };
        let tag = outcome.tag.replace("{}", &sent.to_string());
        self.take_over(&mut io.outbox)?;
        if more {
            backend::portal_suspended(&mut io.outbox.buffer);
            return Ok(());
        }
        // A query that has ended may be fetched from again, and is empty.
        if !matches!(step.planned.body, Body::Query(_))
            && let Some(portal) = self.portals.get_mut(name)
        {
            portal.state = State::Done;
        }
        self.finish_statement();
        self.complete(&tag, &mut io.outbox);
        Ok(())
    }
}

/// The tag for one more run of a portal that has given all its rows; none if it returns none.
fn no_more_rows(planned: &Planned) -> Option<&'static str> {
    planned.columns.as_ref()?;
    match planned.body {
        Body::Query(_) | Body::Nothing => Some("SELECT 0"),
        Body::Insert(_) => Some("INSERT 0 0"),
        Body::Update(_) => Some("UPDATE 0"),
        Body::Delete(_) => Some("DELETE 0"),
        Body::Explain { .. } => Some("EXPLAIN"),
        Body::Declare(_) | Body::Utility => None,
    }
}

/// What a Bind message brings along.
struct Bind {
    formats: Vec<i16>,
    parameters: Vec<Option<Bytes>>,
    results: Vec<i16>,
}

impl Bind {
    fn parameters(
        &self,
        statement: &str,
        types: &[PgType],
        zone: &crate::types::TimeZone,
        relation: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Vec<Datum>, SqlError> {
        let violation = |text: String| SqlError::new(SqlState::PROTOCOL_VIOLATION, text);
        if self.formats.len() > 1 && self.formats.len() != self.parameters.len() {
            return Err(violation(format!(
                "bind message has {} parameter formats but {} parameters",
                self.formats.len(),
                self.parameters.len()
            )));
        }
        if self.parameters.len() != types.len() {
            return Err(violation(format!(
                "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {}",
                self.parameters.len(),
                types.len()
            )));
        }
        let mut values = Vec::with_capacity(types.len());
        for (i, (raw, ty)) in self.parameters.iter().zip(types).enumerate() {
            values.push(match raw {
                None => Datum::Null,
                Some(raw) if format_of(&self.formats, i) == 1 => Datum::from_binary(*ty, raw, -1)?,
                Some(raw) if *ty == PgType::Regclass => relation_of(utf8(raw)?, zone, relation)?,
                Some(raw) => Datum::from_text(*ty, utf8(raw)?, -1, zone)?,
            });
        }
        Ok(values)
    }
}

/// A relation by its name or number.
fn relation_of(
    text: &str,
    zone: &crate::types::TimeZone,
    relation: &dyn Fn(&str) -> Option<u32>,
) -> Result<Datum, SqlError> {
    if text == "-" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())) {
        return Datum::from_text(PgType::Regclass, text, -1, zone);
    }
    relation(text).map(Datum::Oid).ok_or_else(|| super::names::no_relation(None, text))
}

fn declared_types(oids: &[u32]) -> Result<Vec<Option<PgType>>, SqlError> {
    oids.iter()
        .map(|&oid| match oid {
            // Unspecified, or the type of a literal whose type is to be found out.
            0 | 705 => Ok(None),
            oid => PgType::from_oid(oid)
                .map(Some)
                .ok_or_else(|| SqlError::unsupported(format!("a parameter of the type with OID {oid}"))),
        })
        .collect()
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

/// Allowed in a failed transaction.
fn ends_transaction(command: &Command) -> bool {
    matches!(command, Command::Commit { .. } | Command::Rollback { .. } | Command::RollbackTo(_))
}

impl Session {
    /// `EXECUTE name (…)`: the step it stands for.
    pub(super) async fn execute_prepared(
        &mut self,
        sql: &Arc<str>,
        name: &str,
        arguments: &[sqlparser::ast::Expr],
        _out: &mut Outbox,
    ) -> Result<Step, SqlError> {
        let prepared = self.find_prepared(name)?;
        self.ensure_tx();
        let Some(planned) = self.plan_of(&prepared).await? else {
            return Err(SqlError::internal("an empty prepared statement"));
        };
        if arguments.len() != planned.params.len() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .detail(format!(
                "Expected {} parameters but got {}.",
                planned.params.len(),
                arguments.len()
            )));
        }
        let snapshot = self.snapshot();
        let ctx = self.exec_context(snapshot.clone())?;
        let mut params = Vec::with_capacity(arguments.len());
        for (argument, ty) in arguments.iter().zip(&planned.params) {
            params.push(self.constant(sql, argument, *ty, -1, &snapshot, &ctx)?);
        }
        Ok(Step::of_text(planned, params.into(), false))
    }

    /// The value of an expression without columns.
    pub(super) fn constant(
        &self,
        sql: &str,
        expr: &sqlparser::ast::Expr,
        ty: PgType,
        typmod: i32,
        snapshot: &Arc<crate::catalog::Snapshot>,
        ctx: &crate::exec::ExecContext,
    ) -> Result<Datum, SqlError> {
        let names = self.names(snapshot.clone());
        let bind = crate::bind::BindContext {
            catalog: &names,
            sql,
            engine: &self.shared.engine,
            zone: *self.settings.zone(),
            param_types: &[],
        };
        let program = crate::bind::bind_expr_over_table(&bind, None, expr, ty, typmod)?;
        let mut values = program.evaluate(&[], &[], ctx)?;
        values.pop().ok_or_else(|| SqlError::internal("an expression without a value"))
    }

    pub(super) fn is_in_explicit_tx(&self) -> bool {
        matches!(&self.tx, Tx::Open(open) if open.explicit)
    }
}
