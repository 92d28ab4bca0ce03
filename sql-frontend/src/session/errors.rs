//! From the coordinator's errors to what the client sees.

use crate::{
    error::{SqlError, SqlState},
    types::{Datum, PgType, TimeZone},
};
use quorate_proto::{Key, KvError, Timestamp, TxnId};
use quorate_txn::TxnError;

/// SQLSTATEs of DESIGN §7 that PostgreSQL does not have.
pub const QUORUM_UNAVAILABLE: SqlState = SqlState("57Q01");

/// What a client can do about 40003.
const UNKNOWN_OUTCOME: &str = "It may have committed. After SET quorate.idempotency_key = '…' a transaction can be run again as \
     it is, and happens once. Without, it is harmless to run again if it inserts a row under a key of its own, such as an id of \
     the request: only one of the two can commit, and the other fails with 23505.";

/// Translates; keys inside are still bytes, see [`KEY`].
pub fn from_txn(error: TxnError) -> SqlError {
    from_kv(&error.error, Some(error.txn))
}

pub fn from_kv(error: &KvError, own: Option<TxnId>) -> SqlError {
    let state = state(error);
    let new = |message: &str| SqlError::new(state, message);
    match error {
        KvError::Conflict { key, other, their_ts, our_ts } => {
            let by = other.map_or("another transaction".to_string(), |t| format!("transaction {t}"));
            serialization("changed", "What it reads before it changes it, it can lock first (SELECT … FOR UPDATE): then it waits instead.")
                .detail(format!(
                    "{} was changed by {by} at {their_ts}, after this transaction had read it at {our_ts}.",
                    describe_key(key)
                ))
        }
        KvError::Uncertain { key, value_ts } => serialization("uncertain", "A smaller clock bound makes this rarer.")
            .detail(format!("{} has a value at {value_ts} that may precede the read.", describe_key(key))),
        KvError::BoundPassed { needed, bound } => {
            serialization("schema_lease", "It is seldom met by transactions shorter than a few seconds.").detail(format!(
                "The commit timestamp {needed} would lie beyond {bound}, where the node's lease on the schema, or on an advisory lock, ends."
            ))
        }
        KvError::TxnAborted { txn, why } => {
            let who = if own == Some(*txn) { "This transaction".into() } else { format!("Transaction {txn}") };
            serialization("aborted", "Shorter transactions are aborted less often.")
                .detail(format!("{who} was aborted: {why}."))
        }
        KvError::BelowGcThreshold { read_ts, threshold } => {
            let time = |ts: &Timestamp| datetime_of(*ts);
            new("snapshot too old")
                .detail(format!("It reads at {} ({read_ts}), below {}.", time(read_ts), time(threshold)))
                .hint(format!(
                    "Old versions there have been removed: the oldest time that can be read is {} ({threshold}). The setting \
                     gc_ttl says how long they are kept.",
                    time(threshold)
                ))
        }
        KvError::LockTimeout { key, holder } => with_holder(
            new("canceling statement due to lock timeout").detail(describe_key(key)),
            *holder,
        ),
        KvError::LockNotAvailable { key, holder } => {
            with_holder(new("could not obtain lock on row").detail(describe_key(key)), *holder)
        }
        KvError::Deadlock { cycle } => {
            let cycle: Vec<String> = cycle.iter().map(ToString::to_string).collect();
            new("deadlock detected")
                .detail(format!("These transactions wait for one another: {}.", cycle.join(", ")))
                .hint("Run the transaction again. Transactions that lock rows in the same order never meet this.")
                .because("deadlock")
        }
        KvError::Exists { key } => new("duplicate key value violates unique constraint").detail(describe_key(key)),
        KvError::QuorumUnavailable { shard, missing, for_micros } => {
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            new(&format!("shard {shard} has no quorum")).detail(format!(
                "For {:.1} s its replicas on nodes {} have not been reached.",
                *for_micros as f64 / 1e6,
                missing.join(", ")
            ))
            .hint("Bring the missing nodes back, or wait for the repair; quorate.shards shows the modes.")
        }
        KvError::NotLeader { .. } | KvError::StaleRoute { .. } | KvError::NotReady { .. } | KvError::Unreachable { .. } => {
            new("no leader of the shard could be reached").detail(format!("{error}."))
        }
        KvError::Ambiguous { why } => new("the outcome of the transaction is unknown")
            .detail(format!("{why}."))
            .hint(UNKNOWN_OUTCOME),
        KvError::Timeout { why } => new("the statement took too long").detail(format!("{why}.")),
        KvError::Overloaded { what, retry_after_millis } => {
            new("the cluster is overloaded").detail(format!("{what}; try again in {retry_after_millis} ms."))
        }
        KvError::ClockFenced { .. } => new("the node serves nothing because its clock strays").detail(format!("{error}.")),
        KvError::Forgotten { .. } => {
            new("the outcome of the transaction is unknown").detail("Its record may have been removed since.")
        }
        KvError::TxnCommitted { .. } | KvError::BadRequest { .. } | KvError::Internal { .. } => {
            new(&error.to_string())
        }
    }
}

fn state(error: &KvError) -> SqlState {
    match error.sqlstate() {
        "40001" => SqlState::SERIALIZATION_FAILURE,
        "55P03" => SqlState::LOCK_NOT_AVAILABLE,
        "40P01" => SqlState::DEADLOCK_DETECTED,
        "23505" => SqlState::UNIQUE_VIOLATION,
        "57Q01" => QUORUM_UNAVAILABLE,
        "57P03" => SqlState::CANNOT_CONNECT_NOW,
        "40003" => SqlState::STATEMENT_COMPLETION_UNKNOWN,
        "57014" => SqlState::QUERY_CANCELED,
        "72000" => SqlState::SNAPSHOT_TOO_OLD,
        "53000" => SqlState::INSUFFICIENT_RESOURCES,
        _ => SqlState::INTERNAL_ERROR,
    }
}

fn datetime_of(ts: Timestamp) -> String {
    // Rounded up: at that time it can be read.
    let micros = ts.unix_micros() as i64 + 1;
    Datum::Timestamptz(micros).to_text(PgType::Timestamptz, &TimeZone::UTC)
}

/// With the cause in a word for counters, and what makes it rarer.
fn serialization(cause: &'static str, remedy: &str) -> SqlError {
    SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .hint(format!("The transaction might succeed if retried. {remedy}"))
        .because(cause)
}

fn with_holder(error: SqlError, holder: Option<TxnId>) -> SqlError {
    match holder {
        Some(holder) => error.hint(format!("It is held by transaction {holder}.")),
        None => error,
    }
}

/// What stands before a key's bytes in a detail, until the session puts what they mean in its place.
pub const KEY: &str = "key:";

/// A key for a detail, see [`KEY`].
pub fn describe_key(key: &Key) -> String {
    key.iter().fold(KEY.to_string(), |text, byte| text + &format!("{byte:02x}"))
}

/// Counts one that the `client` was told, or after which the statement or the transaction ran again unseen.
pub fn count_conflict(error: &SqlError, told: &'static str) {
    if is_retryable(error) {
        let cause = error.cause.unwrap_or("other");
        metrics::counter!("quorate_sql_conflicts_total", "cause" => cause, "told" => told).increment(1);
    }
}

/// Whether running the transaction again from its start may succeed.
pub fn is_retryable(error: &SqlError) -> bool {
    matches!(error.sqlstate, SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::settings::Settings;

    #[test]
    fn who_reads_too_far_back_is_told_how_far_he_can() {
        let threshold = Timestamp::from_unix_micros(1_795_000_000_000_000);
        let error = from_kv(&KvError::BelowGcThreshold { read_ts: threshold.prev(), threshold }, None);
        assert_eq!(error.sqlstate, SqlState::SNAPSHOT_TOO_OLD);
        assert!(!is_retryable(&error), "it will not become newer");
        let hint = error.hint.expect("there is something to do");
        assert!(hint.contains("2026-11-18 11:06:40.000001+00"), "{hint}");
        assert!(hint.contains(&threshold.to_string()), "{hint}");
    }

    #[test]
    fn the_hint_of_an_unknown_outcome_can_be_followed() {
        let error = from_kv(&KvError::Ambiguous { why: "no answer".into() }, None);
        assert_eq!(error.sqlstate, SqlState::STATEMENT_COMPLETION_UNKNOWN);
        let hint = error.hint.expect("there is something to do");
        assert!(hint.contains("23505"), "{hint}");
        let key = "quorate.idempotency_key";
        assert!(hint.contains(key), "{hint}");
        assert!(Settings::new("root").set(key, &["k".into()]).is_ok());
    }
}
