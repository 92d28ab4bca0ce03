//! Transactions under an idempotency key happen once (PROTOCOL 17): with the key, the same statements again get the answers that
//! the first commit's client got, and run nothing.
//!
//! The first statement on data looks for the key's record. Without one the statements run, and their answers go into the record,
//! which the commit writes on condition that there is still none. With one, each statement must be what it was then. A record that
//! is too old to count is removed first.

use super::{
    Session, Tx,
    answer::Form,
    expiry,
    outcome::{self, Answer, Done, Record},
    plan::Body,
    replay::Step,
    run::describe,
};
use crate::{
    error::{SqlError, SqlState},
    server::Shared,
    types::{Datum, TimeZone},
    wire::io::Outbox,
};
use quorate_proto::Key;
use quorate_txn::{Guarantee, Txn, TxnOptions};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Bytes of answers that a record keeps; of larger ones it says only that they were given.
const KEPT: usize = 64 << 10;

/// A transaction's key is another's, by its statements.
pub const OTHER_STATEMENTS: SqlState = SqlState("25Q01");
/// The transaction is aborted for good.
pub const ABORTED: SqlState = SqlState("25Q02");
/// The transaction has committed, and its answers cannot be given again.
pub const ANSWERS_LOST: SqlState = SqlState("25Q03");

/// Whether the transaction is under a key: settled by its first statement on data.
#[derive(Default)]
pub enum Once {
    #[default]
    Unsettled,
    Keyless,
    Keyed(Box<Keyed>),
}

/// A transaction under a key.
pub struct Keyed {
    key: Arc<str>,
    place: Key,
    phase: Phase,
}

enum Phase {
    /// The record has not been looked for.
    Unknown,
    /// It is the first. None: answers that cannot be kept.
    First { answers: Option<Vec<Answer>>, bytes: usize, writes: bool },
    /// It has happened; so many of its statements were answered again.
    Again { done: Done, answered: usize },
}

impl Once {
    pub fn is_settled(&self) -> bool {
        !matches!(self, Once::Unsettled)
    }

    /// An answer's guarantee with what the key adds to it.
    pub fn added_to(&self, guarantee: Guarantee) -> String {
        let kept = matches!(self, Once::Keyed(_));
        format!("{guarantee}, {}", if kept { "once" } else { "none" })
    }

    /// The transaction starts over.
    pub fn start_over(&mut self) {
        if let Once::Keyed(keyed) = self {
            keyed.phase = Phase::Unknown;
        }
    }

    /// Something was answered that a record does not hold.
    pub fn spoil(&mut self) {
        if let Once::Keyed(keyed) = self
            && let Phase::First { answers, .. } = &mut keyed.phase
        {
            *answers = None;
        }
    }

    /// Before the commit: the record goes with what was written. True if the transaction has committed long ago, and nothing is to
    /// be done.
    pub fn seal(&self, txn: &Txn) -> Result<bool, SqlError> {
        let Once::Keyed(keyed) = self else { return Ok(false) };
        match &keyed.phase {
            Phase::Again { done: Done { answers: Some(answers), .. }, answered }
                if *answered < answers.len() =>
            {
                Err(keyed.other_statements())
            }
            Phase::Again { .. } => Ok(true),
            Phase::First { answers, writes: true, .. } => {
                let done = Done { txn: txn.id(), answers: answers.clone(), began: txn.started() };
                if !quorate_env::planted!("sql.key_unconditional") {
                    txn.check_absent(keyed.place.clone());
                }
                txn.put(keyed.place.clone(), Record::Committed(done).encode());
                Ok(false)
            }
            Phase::First { .. } | Phase::Unknown => Ok(false),
        }
    }

    /// What a failed commit is for who may run it again under its key: nobody needs to wonder whether it happened.
    pub fn explained(&self, error: SqlError, exists: Option<&Key>) -> SqlError {
        let Once::Keyed(keyed) = self else { return error };
        if exists == Some(&keyed.place) {
            return happened_meanwhile();
        }
        if error.sqlstate != SqlState::STATEMENT_COMPLETION_UNKNOWN {
            return error;
        }
        let mut retry = run_again("whether the transaction has committed is not known");
        retry.detail = error.detail.filter(|_| exists.is_none());
        retry
    }
}

fn happened_meanwhile() -> SqlError {
    run_again("a transaction under the same idempotency key has committed meanwhile")
}

fn run_again(text: &str) -> SqlError {
    SqlError::new(SqlState::SERIALIZATION_FAILURE, text)
        .hint("Run it again under its idempotency key: it happens once.")
        .because("idempotency_key")
}

/// A retry is answered without running anything, and this would not be done.
pub fn refused_under_key(what: &str) -> SqlError {
    SqlError::unsupported(format!("{what} under an idempotency key"))
}

fn answers_lost(key: &str) -> SqlError {
    let text = format!("the transaction with the idempotency key \"{key}\" has committed");
    SqlError::new(ANSWERS_LOST, text).hint("quorate.transaction_outcome tells when it committed.")
}

/// Whether the statement failed of what it found, and not of the session's or the node's state.
fn is_of_data(error: &SqlError) -> bool {
    !["08", "53", "57"].iter().any(|class| error.sqlstate.0.starts_with(class))
}

impl Keyed {
    fn other_statements(&self) -> SqlError {
        SqlError::new(
            OTHER_STATEMENTS,
            format!("the idempotency key \"{}\" belongs to a transaction of other statements", self.key),
        )
        .detail("That transaction has committed.")
        .hint("Each transaction needs a key of its own. RESET quorate.idempotency_key to go on without one.")
    }

    fn aborted(&self) -> SqlError {
        SqlError::new(
            ABORTED,
            format!("the transaction with the idempotency key \"{}\" was aborted for good", self.key),
        )
    }

    /// The phase that the record calls for.
    async fn look(&self, shared: &Shared, txn: &Txn) -> Result<Phase, SqlError> {
        let horizon = expiry::horizon(shared);
        let found = outcome::find(txn, &self.place).await?;
        Ok(match found.filter(|_| !quorate_env::planted!("sql.key_not_looked_for")) {
            Some((_, at)) if at < horizon && !quorate_env::planted!("sql.old_keys_count") => {
                expiry::remove(shared, std::slice::from_ref(&self.place), horizon).await?;
                // Nothing has been answered yet: the transaction begins again, without it.
                let text = format!(
                    "what happened under the idempotency key \"{}\" does not count any more",
                    self.key
                );
                return Err(
                    SqlError::new(SqlState::SERIALIZATION_FAILURE, text).hint("Run the transaction again.")
                );
            }
            None => Phase::First { answers: Some(Vec::new()), bytes: 0, writes: false },
            Some((Record::Committed(done), _)) => {
                quorate_env::count!("quorate_sql_answered_again_total");
                Phase::Again { done, answered: 0 }
            }
            Some((Record::Aborted(_), _)) => {
                return Err(self.aborted());
            }
        })
    }

    /// The answer to a statement that was given when the transaction happened.
    fn again(&mut self, step: &Step) -> Result<Option<Answer>, SqlError> {
        let Phase::Again { done, answered } = &mut self.phase else { return Ok(None) };
        let Some(answers) = &done.answers else {
            return Err(answers_lost(&self.key)
                .detail("Its answers were not kept: they were large, or a statement of it had failed."));
        };
        let same = |answer: &&Answer| answer.statement == fingerprint(step);
        let any = quorate_env::planted!("sql.other_statements_answered");
        let answer = answers.get(*answered).filter(|answer| any || same(answer)).cloned();
        *answered += 1;
        answer.map(Some).ok_or_else(|| self.other_statements())
    }
}

/// Tells one statement from another, with its parameters; by which protocol it comes, and in which form it wants its rows, is no
/// matter.
fn fingerprint(step: &Step) -> [u8; 16] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let sql = &step.planned.sql;
    let text = step.part.clone().and_then(|range| sql.get(range)).unwrap_or(sql);
    part(text.trim_matches(|c: char| c == ';' || c.is_ascii_whitespace()).as_bytes());
    for (param, ty) in step.params.iter().zip(&step.planned.params) {
        part(&ty.oid().to_le_bytes());
        match param {
            Datum::Null => part(&[]),
            value => part(value.to_text(*ty, &TimeZone::UTC).as_bytes()),
        }
    }
    let mut print = [0; 16];
    print.copy_from_slice(&hash.finalize()[..16]);
    print
}

impl Session {
    /// Answers a statement that has happened under the transaction's key from the record; whether it did.
    pub(super) async fn answer_again(&mut self, step: &Step, out: &mut Outbox) -> Result<bool, SqlError> {
        if matches!(step.planned.body, Body::Utility) {
            if step.planned.writes {
                self.refuse_under_key("a change of the schema")?;
            }
            return Ok(false);
        }
        self.settle_key()?;
        let shared = self.shared.clone();
        let open = self.open_mut()?;
        let Once::Keyed(keyed) = &mut open.once else { return Ok(false) };
        if let Phase::Unknown = keyed.phase {
            keyed.phase = keyed.look(&shared, &open.txn).await?;
        }
        let Some(answer) = keyed.again(step)? else { return Ok(false) };
        let key = keyed.key.clone();
        open.used = true;
        describe(step, &step.planned, out);
        let form = Form { types: &step.planned.types(), formats: &step.formats };
        form.put(&answer, &mut out.buffer).map_err(|error| answers_lost(&key).detail(error.message))?;
        self.complete(&answer.tag, out);
        Ok(true)
    }

    /// An error is no answer if the transaction has happened under its key since its first statement looked: what the statement ran
    /// into may be what it has itself done. Nor if somebody has had the key aborted since.
    pub(super) async fn unless_happened(&self, error: SqlError) -> SqlError {
        let Tx::Open(open) = &self.tx else { return error };
        let Once::Keyed(keyed) = &open.once else { return error };
        if !matches!(keyed.phase, Phase::First { .. }) || !is_of_data(&error) {
            return error;
        }
        // Its own snapshot may be from before.
        let now = self.shared.coordinator.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
        let found = outcome::find(&now, &keyed.place).await;
        now.rollback();
        match found {
            Ok(Some((Record::Committed(_), _))) => happened_meanwhile(),
            Ok(Some((Record::Aborted(_), _))) => keyed.aborted(),
            _ => error,
        }
    }

    /// From now on the transaction is under the key that is set, or under none.
    fn settle_key(&mut self) -> Result<(), SqlError> {
        let key = self.settings.idempotency_key().cloned();
        let user = self.admission.entry.user.clone();
        let open = self.open_mut()?;
        if !open.once.is_settled() {
            open.once = match key {
                // What only reads may be done again anyhow, as of another time.
                Some(key) if !open.read_only => {
                    let place = outcome::place(&user, &key);
                    Once::Keyed(Box::new(Keyed { key, place, phase: Phase::Unknown }))
                }
                _ => Once::Keyless,
            };
        }
        Ok(())
    }

    /// Keeps the answer to a statement whose output began at `start`, as far as it can be given again.
    pub(super) fn keep_answer(&mut self, step: &Step, start: u64, tag: &str, out: &Outbox) {
        let Tx::Open(open) = &mut self.tx else { return };
        let Once::Keyed(keyed) = &mut open.once else { return };
        let Phase::First { answers, bytes, writes } = &mut keyed.phase else { return };
        if matches!(step.planned.body, Body::Utility) {
            return;
        }
        *writes |= step.planned.writes;
        *bytes += (out.position() - start) as usize;
        match (answers.as_mut(), out.since(start)) {
            (Some(answers), Some(rows)) if *bytes <= KEPT => answers.push(Answer {
                statement: fingerprint(step),
                rows: rows.to_vec(),
                tag: tag.to_string(),
                formats: step.formats.to_vec(),
            }),
            _ => *answers = None,
        }
    }

    /// 0A000 for what cannot be answered a second time, in a transaction under a key.
    pub(super) fn refuse_under_key(&mut self, what: &str) -> Result<(), SqlError> {
        self.settle_key()?;
        match &self.open()?.once {
            Once::Keyed(_) => Err(refused_under_key(what)),
            _ => Ok(()),
        }
    }

    /// The key cannot change under a transaction that has begun its work.
    pub(super) fn check_key_may_change(&self) -> Result<(), SqlError> {
        match &self.tx {
            Tx::Open(open) if open.once.is_settled() => Err(SqlError::new(
                SqlState::ACTIVE_TRANSACTION,
                "quorate.idempotency_key must be set before the transaction's first statement",
            )),
            _ => Ok(()),
        }
    }
}
