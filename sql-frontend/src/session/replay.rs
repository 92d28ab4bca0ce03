//! Running a transaction again when it could not be serialized, as long as the client has seen nothing of it.
//!
//! The log holds what has run in the transaction and where its output lies among what is still to be sent. To run it
//! again the output is taken back, the statements run in a fresh attempt, and what stood between their outputs (answers to
//! Parse, Bind, BEGIN) is put back around the new ones.

use super::{
    Session, Tx,
    errors::{count_conflict, is_retryable},
    plan::{Body, Planned},
};
use crate::{error::SqlError, error::SqlState, types::Datum, wire::io::Outbox};
use bytes::BytesMut;
use quorate_txn::{Isolation, Txn};
use std::{ops::Range, sync::Arc, time::Duration};

/// Attempts of one transaction.
const ATTEMPTS: u32 = 50;
/// Attempts of one statement before the whole transaction is tried again.
const STATEMENT_ATTEMPTS: u32 = 20;
/// Statements that are worth remembering.
const LOGGED: usize = 1000;

/// One execution of a statement.
#[derive(Clone)]
pub struct Step {
    pub planned: Arc<Planned>,
    pub params: Arc<[Datum]>,
    pub formats: Arc<[i16]>,
    /// Begin the output with a row description (the simple protocol).
    pub describe: bool,
    /// It is the whole of its text, and nothing else can follow in its implicit transaction.
    pub alone: bool,
    /// Where it stands in its plan's text, if that is a part only.
    pub part: Option<Range<usize>>,
}

impl Step {
    /// A statement of a text in the simple protocol.
    pub fn of_text(planned: Arc<Planned>, params: Arc<[Datum]>, alone: bool) -> Self {
        Step { planned, params, formats: Arc::new([]), describe: true, alone, part: None }
    }
}

#[derive(Default)]
pub struct Log {
    steps: Vec<(Step, Range<u64>)>,
    closed: bool,
    attempts: u32,
}

impl Log {
    pub fn push(&mut self, step: Step, output: Range<u64>) {
        if self.steps.len() >= LOGGED {
            self.close();
        }
        if !self.closed {
            self.steps.push((step, output));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.closed
    }

    /// Something has happened that cannot be repeated.
    pub fn close(&mut self) {
        self.closed = true;
        self.steps.clear();
    }

    /// Whether all of it can be run again unseen; `next` is where the failing statement's output began.
    fn is_replayable(&self, out: &Outbox, next: u64) -> bool {
        let first = self.steps.first().map_or(next, |(_, output)| output.start);
        !self.closed && self.attempts < ATTEMPTS && out.holds(first)
    }
}

impl Session {
    /// Executes a step. Under READ COMMITTED one that meets a conflict runs again by itself on a new snapshot, with the locks
    /// that it has, as long as the client has seen nothing of it: what the transaction has done before stands. Each time
    /// somebody else has got through.
    pub(super) async fn execute_until_settled(
        &mut self,
        step: &Step,
        start: u64,
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        for _ in 0..STATEMENT_ATTEMPTS {
            let Some(txn) = self.moving_txn(step) else { break };
            let (mark, effects) = (txn.savepoint(), self.locks.effects());
            let result = self.execute_step(step, out).await;
            let same = matches!(&self.tx, Tx::Open(open) if open.txn.id() == txn.id());
            let conflict = matches!(&result, Err(e) if e.sqlstate == SqlState::SERIALIZATION_FAILURE);
            let again = conflict && self.locks.effects() == effects;
            if !(again && same && txn.is_open() && out.holds(start)) {
                txn.release(mark);
                return result;
            }
            if let Err(error) = &result {
                count_conflict(error, "statement_retried");
            }
            txn.rollback_writes_to(mark);
            txn.release(mark);
            out.take_back(start);
            self.finish_statement();
        }
        self.execute_step(step, out).await
    }

    /// The transaction, if each of its statements has a snapshot of its own and the step is one that has.
    fn moving_txn(&self, step: &Step) -> Option<Txn> {
        let Tx::Open(open) = &self.tx else { return None };
        let moves = open.txn.isolation() == Isolation::ReadCommitted;
        (moves && !matches!(step.planned.body, Body::Utility | Body::Declare(_))).then(|| open.txn.clone())
    }

    /// After an error of the transaction, or of `failed` whose output began where it says: either everything has run
    /// again (with `failed`, too) and the caller may go on, or the error stands.
    pub(super) async fn retry(
        &mut self,
        mut error: SqlError,
        failed: Option<(&Step, u64)>,
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        let mut begin = failed.map(|(_, start)| start);
        let failed = failed.map(|(step, _)| step);
        loop {
            let next = begin.unwrap_or(out.position());
            let Tx::Open(open) = &mut self.tx else { return Err(error) };
            // What the session has locked for itself it would lock twice; and it keeps it, so that a circle would close again.
            let deadlock = error.sqlstate == SqlState::DEADLOCK_DETECTED;
            let stays =
                open.locks.effects() != open.effects || deadlock && open.locks.holds_beyond_transaction();
            if !is_retryable(&error) || stays || open.locks.are_lost() || !open.log.is_replayable(out, next) {
                return Err(error);
            }
            // What the failing statement had written so far; later attempts clean up after themselves.
            if let Some(start) = begin.take() {
                out.take_back(start);
            }
            open.log.attempts += 1;
            let attempt = open.log.attempts;
            count_conflict(&error, "transaction_retried");
            if deadlock {
                // The locks must go, or the same cycle closes again.
                open.txn.rollback();
                open.locks.end_since(0).done().await;
                let options = quorate_txn::TxnOptions {
                    read_ts: open.past.map(|past| past.at),
                    ..super::tx::options(self.admission.entry.pid, open.txn.isolation(), open.read_only)
                };
                open.txn = self.shared.coordinator.begin(options);
            } else {
                open.txn = open.txn.restart();
            }
            open.once.start_over();
            open.overlay = None;
            open.after_commit.clear();
            if attempt > 1 {
                let most = 1u64 << attempt.min(7);
                let pause = self.shared.env.random_range(0..most * 1000);
                self.shared.env.sleep(Duration::from_micros(pause)).await;
            }
            match self.run_again(failed, out).await {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
    }

    async fn run_again(&mut self, failed: Option<&Step>, out: &mut Outbox) -> Result<(), SqlError> {
        let log = std::mem::take(&mut self.open_mut()?.log);
        let Some(first) = log.steps.first().map(|(_, output)| output.start) else {
            self.open_mut()?.log = log;
            return self.rerun_failed(failed, out).await;
        };
        let old = out.take_back(first).unwrap_or_default();
        let mut fresh = Log { attempts: log.attempts, ..Log::default() };
        let result = self.rerun_steps(&log, &old, first, &mut fresh, out).await;
        if result.is_err() {
            // A later attempt starts from the same log, and needs the same bytes around its steps.
            out.take_back(first);
            out.buffer.extend_from_slice(&old);
            fresh.steps = log.steps;
        }
        self.open_mut()?.log = fresh;
        result?;
        self.rerun_failed(failed, out).await
    }

    async fn rerun_steps(
        &mut self,
        log: &Log,
        old: &BytesMut,
        first: u64,
        fresh: &mut Log,
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        let mut copied = first;
        let between = |from: u64, to: u64| &old[(from - first) as usize..(to - first) as usize];
        for (step, output) in &log.steps {
            out.buffer.extend_from_slice(between(copied, output.start));
            copied = output.end;
            let start = out.position();
            self.execute_step(step, out).await?;
            fresh.steps.push((step.clone(), start..out.position()));
        }
        out.buffer.extend_from_slice(between(copied, first + old.len() as u64));
        Ok(())
    }

    async fn rerun_failed(&mut self, failed: Option<&Step>, out: &mut Outbox) -> Result<(), SqlError> {
        let Some(step) = failed else { return Ok(()) };
        let start = out.position();
        match self.execute_step(step, out).await {
            Ok(()) => {
                let end = out.position();
                self.open_mut()?.log.push(step.clone(), start..end);
                Ok(())
            }
            Err(error) => {
                out.take_back(start);
                Err(error)
            }
        }
    }
}
