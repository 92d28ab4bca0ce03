//! SQL's cursors: portals that `DECLARE` opens and `FETCH` reads.
//!
//! A cursor's rows are what its query found when it was declared. They are read as they are fetched, but before the same
//! transaction writes, what is left of them is read to the end and kept.

use super::{
    Session,
    extended::{Portal, State},
    functions::relation_text,
    guard::guarded,
    parse::{Command, Declare, Direction, Fetch},
    plan::Planned,
    replay::Step,
    run::{self, Batches, Outcome, Rows},
    stack::{Deep, is_deep},
};
use crate::{
    bind::OutColumn,
    error::{SqlError, SqlState},
    exec::Engine,
    types::Datum,
    wire::{
        backend,
        connection::Io,
        encode::{RowFormat, format_of},
        io::Outbox,
    },
};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// What `pg_cursors` shows.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: String,
    pub statement: Arc<str>,
    pub binary: bool,
    pub scroll: bool,
    /// Microseconds since 1970.
    pub created: i64,
}

impl Session {
    /// `DECLARE`, within its statement's run.
    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        sql: &Arc<str>,
        inner: &Arc<Planned>,
        params: &[Datum],
    ) -> Result<Outcome, SqlError> {
        if declare.hold {
            return Err(SqlError::unsupported("a cursor that outlives its transaction (WITH HOLD)"));
        }
        if !self.is_in_explicit_tx() {
            return Err(SqlError::new(
                SqlState::NO_ACTIVE_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if self.portals.contains_key(&declare.name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", declare.name),
            ));
        }
        self.refuse_under_key("a cursor")?;
        // What is fetched cannot be taken back.
        self.open_mut()?.log.close();
        let ctx = self.exec_context(self.snapshot())?;
        let outcome = self.run_data(inner, params, &ctx).await?;
        let formats: Arc<[i16]> = if declare.binary { Arc::new([1]) } else { Arc::new([]) };
        let step = Step {
            planned: inner.clone(),
            params: params.into(),
            formats,
            describe: false,
            alone: false,
            part: None,
        };
        let cursor = Declared {
            name: declare.name.clone(),
            statement: sql.clone(),
            binary: declare.binary,
            scroll: declare.scroll,
            created: self.shared.env.clock().physical().unix_micros() as i64,
        };
        let portal = Portal { step: Some(step), state: State::Running(outcome), cursor: Some(cursor) };
        self.portals.insert(declare.name.clone(), portal);
        Ok(Outcome::done("DECLARE CURSOR"))
    }

    /// The columns that a `FETCH` returns; none if there is no such cursor.
    pub(super) fn fetched_columns(&self, fetch: &Fetch) -> Option<Vec<OutColumn>> {
        let step = self.portals.get(&fetch.name)?.step.as_ref()?;
        step.planned.columns.clone().filter(|_| !fetch.moves)
    }

    /// `FETCH` and `MOVE`. In the simple protocol the rows are described first.
    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        formats: Option<Arc<[i16]>>,
        io: &mut Io,
    ) -> Result<(), SqlError> {
        let name = &fetch.name;
        let step = self.portals.get(name).and_then(|portal| portal.step.clone());
        let step = step.ok_or_else(|| no_cursor(name))?;
        let max = match fetch.direction {
            Direction::All => usize::MAX,
            Direction::Forward(count) if count > 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err(SqlError::unsupported("fetching otherwise than forward")),
        };
        let columns = step.planned.columns.as_deref().unwrap_or_default();
        let describe = formats.is_none() && !fetch.moves;
        let formats = formats.unwrap_or_else(|| step.formats.clone());
        if describe {
            let fields = run::fields(columns);
            backend::row_description(&mut io.outbox.buffer, &fields, |i| format_of(&formats, i));
        }
        let stop = self.stop();
        let zone = *self.settings.zone();
        let types = step.planned.types();
        let names = self.relation_names(&types);
        let relation = |oid| relation_text(names.as_ref(), oid);
        let format = RowFormat { types: &types, formats: &formats, zone: &zone, relation: &relation };
        let mut count = 0;
        let portal = self.portals.get_mut(name).ok_or_else(|| no_cursor(name))?;
        if let State::Running(Outcome { rows: Some(rows), .. }) = &mut portal.state {
            let Io { inbox, outbox } = &mut *io;
            let read = async {
                match fetch.moves {
                    true => skip_rows(rows, max).await,
                    false => run::send_rows(rows, max, &format, outbox).await.map(|(sent, _)| sent),
                }
            };
            let read = Deep::new(is_deep(&step.planned.sql), read);
            count = guarded(&stop, Some(inbox), read).await?;
        }
        self.take_over(&mut io.outbox)?;
        let verb = if fetch.moves { "MOVE" } else { "FETCH" };
        self.complete(&format!("{verb} {count}"), &mut io.outbox);
        Ok(())
    }

    /// Carries out what concerns a cursor that is there.
    pub(super) async fn cursor_command(
        &mut self,
        command: &Command,
        formats: Option<Arc<[i16]>>,
        io: &mut Io,
    ) -> Option<Result<(), SqlError>> {
        match command {
            Command::Fetch(fetch) => Some(self.fetch(fetch, formats, io).await),
            Command::Close(name) => Some(self.close_cursor(name.as_deref(), &mut io.outbox)),
            _ => None,
        }
    }

    /// `CLOSE`.
    pub(super) fn close_cursor(&mut self, name: Option<&str>, out: &mut Outbox) -> Result<(), SqlError> {
        let Some(name) = name else {
            self.portals.clear();
            self.complete("CLOSE CURSOR ALL", out);
            return Ok(());
        };
        self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        self.complete("CLOSE CURSOR", out);
        Ok(())
    }

    pub(super) fn declared_cursors(&self) -> Vec<Declared> {
        self.portals.values().filter_map(|portal| portal.cursor.clone()).collect()
    }

    /// Before a write: keeps what the open cursors are still to give.
    pub(super) async fn keep_cursors(&mut self) -> Result<(), SqlError> {
        for portal in self.portals.values_mut() {
            let State::Running(Outcome { rows: Some(Rows::Stream { stream, kept, .. }), .. }) =
                &mut portal.state
            else {
                continue;
            };
            if !*kept {
                keep(stream.get_mut(), &self.shared.engine).await?;
                *kept = true;
            }
        }
        Ok(())
    }
}

/// Reads rows to their end. What is kept is counted until the last of it has been fetched.
async fn keep(rows: &mut Batches, engine: &Engine) -> Result<(), SqlError> {
    let held = engine.hold("cursor");
    let mut batches = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        held.grow(batch.get_array_memory_size()).map_err(|error| {
            error.hint("What is left of a cursor is kept before a write: fetch it or close the cursor first.")
        })?;
        batches.push(batch);
    }
    *rows = futures::stream::iter(batches)
        .map(move |batch| {
            let _until_the_end = &held;
            Ok(batch)
        })
        .boxed();
    Ok(())
}

/// Passes over at most `max` rows; how many.
async fn skip_rows(rows: &mut Rows, max: usize) -> Result<usize, SqlError> {
    match rows {
        Rows::Ready { rows, .. } => Ok(rows.drain(..max.min(rows.len())).count()),
        Rows::Stream { stream, batch, .. } => {
            let mut skipped = 0;
            while skipped < max {
                let Some((current, at)) = batch else {
                    match stream.get_mut().next().await {
                        Some(next) => *batch = Some((next?, 0)),
                        None => break,
                    }
                    continue;
                };
                let step = (max - skipped).min(current.num_rows() - *at);
                *at += step;
                skipped += step;
                if *at == current.num_rows() {
                    *batch = None;
                }
            }
            Ok(skipped)
        }
    }
}

fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
