//! From the coordinator's errors to what the client sees.

use super::cancel::Sessions;
use crate::{
    error::{SqlError, SqlState},
    types::{Datum, PgType, TimeZone},
};
use quorate_proto::{
    Key, KvError, NodeId, Room, ShardId, Space, Timestamp, TxnId,
    key::prefix,
    kv::{Party, Stuck},
};
use quorate_txn::TxnError;

/// SQLSTATEs of DESIGN §7 that PostgreSQL does not have.
pub const QUORUM_UNAVAILABLE: SqlState = SqlState("57Q01");

/// What a client can do about 40003.
const UNKNOWN_OUTCOME: &str = "It may have committed. After SET quorate.idempotency_key = '…' a transaction can be run again as \
     it is, and happens once. Without, it is harmless to run again if it inserts a row under a key of its own, such as an id of \
     the request: only one of the two can commit, and the other fails with 23505.";

/// What makes rarer that something has changed since it was read.
const LOCK_FIRST: &str =
    "One whose first statement locks what it will read and change (SELECT … FOR UPDATE) waits instead.";

/// What a lost lock means.
const LOCKS_DIE: &str = "Locks live in the memory of the leader of a row's shard; its node has died or was cut off. Nothing \
     was overwritten.";

/// Translates; keys inside are still bytes, see [`KEY`].
pub fn from_txn(error: TxnError) -> SqlError {
    let told = from_kv(&error.error, Some(error.txn));
    match (&error.error, error.shard, &told.detail) {
        (KvError::TxnAborted { .. } | KvError::BoundPassed { .. }, Some(shard), Some(detail)) => {
            let detail = format!("{detail} Shard {shard} says so.");
            told.detail(detail)
        }
        _ => told,
    }
}

pub fn from_kv(error: &KvError, own: Option<TxnId>) -> SqlError {
    let state = state(error);
    let new = |message: &str| SqlError::new(state, message);
    match error {
        KvError::Conflict { key, other, their_ts, our_ts } => serialization("changed", LOCK_FIRST).detail(format!(
            "{} was changed by {} at {}, after this transaction had read at {}.",
            describe_key(key),
            writer(*other),
            time_of(*their_ts),
            time_of(*our_ts),
        )),
        KvError::LockLost { key, locked, change } => serialization("lock_lost", LOCKS_DIE).detail(format!(
            "{} was locked by this transaction as of {}. The lock was lost, and {} changed it at {}.",
            describe_key(key),
            time_of(*locked),
            writer(change.by),
            time_of(change.ts),
        )),
        KvError::Uncertain { key, value_ts } => serialization("uncertain", "A smaller clock bound makes this rarer.")
            .detail(format!(
                "{} has a value at {} that may precede the read of {}.",
                describe_key(key),
                time_of(*value_ts),
                this(own),
            )),
        KvError::BoundPassed { needed, bound } => {
            serialization("schema_lease", "It is seldom met by transactions shorter than a few seconds.").detail(format!(
                "The commit of {} would lie at {}, beyond {}, where the node's lease on the schema, or on an advisory lock, ends.",
                this(own),
                time_of(*needed),
                time_of(*bound)
            ))
        }
        KvError::TxnAborted { txn, why } => {
            let who = if own == Some(*txn) { format!("This transaction, {txn},") } else { format!("Transaction {txn}") };
            serialization("aborted", "Shorter transactions are aborted less often.")
                .detail(format!("{who} was aborted: {why}."))
        }
        KvError::BelowGcThreshold { read_ts, threshold } => new("snapshot too old")
            .detail(format!("It reads at {}, below {}.", time_of(*read_ts), time_of(*threshold)))
            .hint(format!(
                "Old versions there have been removed: the oldest time that can be read is {} ({threshold}). The setting gc_ttl \
                 says how long they are kept.",
                // Rounded up: at that time it can be read.
                datetime(threshold.unix_micros() + 1),
            )),
        KvError::LockTimeout { key, holder } => {
            new("canceling statement due to lock timeout").detail(held(key, holder.as_ref()))
        }
        KvError::WaitUnwatched { key, holder } => new("canceling statement due to lock timeout")
            .detail(format!(
                "{} Nobody could be asked whether those who wait wait for one another.",
                held(key, holder.as_ref())
            ))
            .hint("The first shard, whose leader looks for circles, has not answered; quorate.shards shows its mode."),
        KvError::LockNotAvailable { key, holder } => {
            new(&format!("could not obtain lock on row{}", describe(ROW, key))).detail(held(key, holder.as_ref()))
        }
        KvError::Deadlock { cycle } => deadlock(cycle, own),
        KvError::Exists { key } => new("duplicate key value violates unique constraint").detail(describe_key(key)),
        KvError::QuorumUnavailable { shard, missing, for_micros } => {
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            new(&format!("shard {shard} has no quorum")).detail(format!(
                "For {:.1} s its replicas on nodes {} have not been reached.",
                *for_micros as f64 / 1e6,
                missing.join(", ")
            ))
            .hint(
                "Bring the missing nodes back, or wait for the repair; quorate.shards shows the modes. If they are lost for good, \
                 `quorate shard recover` tells what can be done.",
            )
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
        KvError::DiskFull { shard, nodes } => disk_full(*shard, nodes),
        KvError::TooManyLocks { shard, most } => new("too many row locks")
            .detail(format!("Shard {shard} keeps {most} locks at most, of all transactions together."))
            .hint("Lock fewer rows at a time. UPDATE and DELETE without locks of their own are not bound by this."),
        KvError::ClockFenced { .. } => {
            new("the node serves nothing because its clock cannot be trusted").detail(format!("{error}."))
        }
        KvError::Forgotten { .. } => {
            new("the outcome of the transaction is unknown").detail("Its record may have been removed since.")
        }
        KvError::TxnCommitted { .. } | KvError::BadRequest { .. } | KvError::Internal { .. } => {
            new(&error.to_string())
        }
    }
}

fn disk_full(shard: ShardId, nodes: &[(NodeId, Space)]) -> SqlError {
    let names: Vec<String> = nodes.iter().map(|(node, _)| node.to_string()).collect();
    let (disks, are) = if names.len() == 1 { ("disk of node", "is") } else { ("disks of nodes", "are") };
    let left = nodes.iter().map(|(node, space)| {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!(
            "node {node} has {:.1} MiB left, of a reserve of {:.1} MiB",
            mib(space.free),
            mib(space.reserve)
        )
    });
    let left: Vec<String> = left.collect();
    let what = nodes.iter().map(|(_, space)| space.room).max().unwrap_or_default();
    let goes_on = if what == Room::Full { "Reads go on." } else { "Reads and deletions go on." };
    SqlError::new(SqlState::DISK_FULL, format!("the {disks} {} {are} full", names.join(", ")))
        .detail(format!("Nothing was written to shard {shard}: {}.", left.join("; ")))
        .hint(format!(
            "{goes_on} Writes go on by themselves once there is space; quorate.nodes shows what is left."
        ))
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
        "53100" => SqlState::DISK_FULL,
        "53200" => SqlState::OUT_OF_MEMORY,
        _ => SqlState::INTERNAL_ERROR,
    }
}

/// As a time, and to the last bit as `AS OF SYSTEM TIME` takes it.
fn time_of(ts: Timestamp) -> String {
    format!("{} ({ts})", datetime(ts.unix_micros()))
}

fn datetime(unix_micros: u64) -> String {
    Datum::Timestamptz(unix_micros as i64).to_text(PgType::Timestamptz, &TimeZone::UTC)
}

fn writer(txn: Option<TxnId>) -> String {
    txn.map_or("a transaction no longer known".into(), |txn| format!("transaction {txn}"))
}

fn this(own: Option<TxnId>) -> String {
    own.map_or("this transaction".into(), |own| format!("this transaction, {own}"))
}

/// With the cause in a word for counters, and what makes it rarer.
fn serialization(cause: &'static str, remedy: &str) -> SqlError {
    SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .hint(format!("The transaction might succeed if retried. {remedy}"))
        .because(cause)
}

/// A line for each who waits; a session that waits for its own transaction is that transaction.
fn deadlock(cycle: &[Stuck], own: Option<TxnId>) -> SqlError {
    let first = cycle.iter().position(|stuck| Some(stuck.who.txn) == own).unwrap_or_default();
    let (mut lines, mut sessions) = (Vec::new(), Vec::new());
    for at in first..first + cycle.len() {
        let (stuck, next) = (&cycle[at % cycle.len()], &cycle[(at + 1) % cycle.len()]);
        sessions.extend(stuck.who.session.filter(|pid| !sessions.contains(pid)));
        if stuck.key.is_empty() {
            continue;
        }
        let by = match next.who.session.filter(|_| next.key.is_empty()) {
            Some(pid) => session_of(pid),
            None => party(&next.who),
        };
        let (who, lock) = (party(&stuck.who), describe(LOCK, &stuck.key));
        lines.push(format!("{}{} waits for {lock}; blocked by {by}.", who[..1].to_uppercase(), &who[1..]));
    }
    let advisory = cycle.iter().any(|stuck| stuck.key.first() == Some(&prefix::ADVISORY));
    let what = if advisory { "take their locks" } else { "lock rows" };
    SqlError::new(SqlState::DEADLOCK_DETECTED, "deadlock detected")
        .detail(lines.join("\n"))
        .hint(format!(
            "Run the transaction again. Transactions that {what} in the same order never meet this."
        ))
        .because("deadlock")
        .with_fields(|fields| fields.sessions = sessions)
}

/// Who stands before a lock.
fn held(key: &Key, holder: Option<&Party>) -> String {
    let holder = holder.map_or("another transaction".into(), party);
    format!("{} is locked by {holder}.", describe_key(key))
}

/// As `quorate.transactions` and `pg_stat_activity` list them.
fn party(party: &Party) -> String {
    let session = party.session.map(|pid| format!(" ({})", session_of(pid))).unwrap_or_default();
    format!("transaction {}{session}", party.txn)
}

pub fn session_of(pid: u32) -> String {
    format!("session {pid} on node {}", Sessions::node_of(pid))
}

/// What stands before a key's bytes in a text, until the session puts what they mean in its place. No text of a user begins so.
pub const KEY: &str = "\u{1}key:";
/// The same for the lock of a key, within a sentence.
pub const LOCK: &str = "\u{1}lock:";

/// The same for the relation of a locked row, in a message.
pub const ROW: &str = "\u{1}row:";

/// A key for a detail, see [`KEY`].
pub fn describe_key(key: &Key) -> String {
    describe(KEY, key)
}

fn describe(mark: &str, key: &Key) -> String {
    key.iter().fold(mark.to_string(), |text, byte| text + &format!("{byte:02x}"))
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
    use quorate_proto::error::Change;

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
    fn who_has_to_give_way_is_told_for_whom_and_how_to_avoid_it() {
        let at = |micros: u64| Timestamp::from_unix_micros(1_795_000_000_000_000 + micros);
        let (key, other) = (Key::from("k"), Some(TxnId(7)));
        let changed = KvError::Conflict { key: key.clone(), other, their_ts: at(5), our_ts: at(3) };
        let error = from_kv(&changed, None);
        assert_eq!((error.sqlstate, error.cause), (SqlState::SERIALIZATION_FAILURE, Some("changed")));
        let detail = error.detail.expect("it says who and when");
        let by = format!("by transaction {} at 2026-11-18 11:06:40.000005+00 ({}), after", TxnId(7), at(5));
        assert!(detail.contains(&by), "{detail}");
        assert!(detail.ends_with(&format!("at 2026-11-18 11:06:40.000003+00 ({}).", at(3))), "{detail}");
        assert!(error.hint.is_some_and(|hint| hint.contains("FOR UPDATE")));

        let lost = KvError::LockLost { key, locked: at(3), change: Box::new(Change { by: None, ts: at(5) }) };
        let lost = from_kv(&lost, None);
        assert_eq!((lost.sqlstate, lost.cause), (SqlState::SERIALIZATION_FAILURE, Some("lock_lost")));
        assert!(
            lost.detail.is_some_and(|detail| detail.contains("a transaction no longer known changed it"))
        );
        assert!(lost.hint.is_some_and(|hint| hint.contains("leader") && !hint.contains("FOR UPDATE")));
    }

    #[test]
    fn who_is_aborted_or_too_late_is_told_by_what() {
        let at = |micros: u64| Timestamp::from_unix_micros(1_795_000_000_000_000 + micros);
        let told = |error| {
            from_txn(TxnError { error, txn: TxnId(7), shard: Some(ShardId(3)) }).detail.expect("it says why")
        };
        let aborted = told(KvError::TxnAborted { txn: TxnId(7), why: "its record says so".into() });
        let own =
            format!("This transaction, {}, was aborted: its record says so. Shard 3 says so.", TxnId(7));
        assert_eq!(aborted, own);
        let late = told(KvError::BoundPassed { needed: at(5), bound: at(3) });
        assert!(late.contains(&TxnId(7).to_string()) && late.ends_with("Shard 3 says so."), "{late}");
        let uncertain = told(KvError::Uncertain { key: Key::from("k"), value_ts: at(5) });
        assert!(
            uncertain.contains(&TxnId(7).to_string()) && uncertain.contains(&at(5).to_string()),
            "{uncertain}"
        );
    }

    #[test]
    fn a_circle_begins_with_the_own_transaction_and_says_what_kind_of_locks_it_is_about() {
        let stuck = |txn, key: &str| {
            let session = Some((1 << 20) + txn as u32);
            Stuck { who: Party { txn: TxnId(txn), session }, key: Key::from(key) }
        };
        let rows = vec![stuck(1, "a"), stuck(2, "b")];
        let error = from_kv(&KvError::Deadlock { cycle: rows }, Some(TxnId(2)));
        let line = |who, key: &str, by| {
            let of = |n: u128| format!("transaction {} (session {} on node 1)", TxnId(n), (1 << 20) + n);
            let line =
                format!("{} waits for {}; blocked by {}.", of(who), describe(LOCK, &Key::from(key)), of(by));
            line.replacen('t', "T", 1)
        };
        assert_eq!(error.detail, Some([line(2, "b", 1), line(1, "a", 2)].join("\n")));
        assert!(error.hint.is_some_and(|hint| hint.contains("lock rows")));

        // The second waits for the session of the first, which goes on with its transaction.
        let lock = std::str::from_utf8(&[prefix::ADVISORY]).unwrap().to_string();
        let mixed = vec![stuck(1, "a"), stuck(2, &lock), stuck(3, "")];
        let error = from_kv(&KvError::Deadlock { cycle: mixed }, Some(TxnId(1)));
        let detail = error.detail.unwrap();
        assert_eq!(detail.lines().count(), 2, "{detail}");
        assert!(detail.ends_with("blocked by session 1048579 on node 1."), "{detail}");
        assert!(error.hint.is_some_and(|hint| !hint.contains("rows")));
    }

    #[test]
    fn who_locks_too_much_is_told_to_lock_less() {
        let error = from_kv(&KvError::TooManyLocks { shard: ShardId(7), most: 200_000 }, None);
        assert_eq!(error.sqlstate, SqlState::OUT_OF_MEMORY);
        assert!(error.detail.is_some_and(|detail| detail.contains("Shard 7 keeps 200000 locks")));
        assert!(error.hint.is_some_and(|hint| hint.contains("fewer rows")));
        assert!(!is_retryable(&from_kv(&KvError::TooManyLocks { shard: ShardId(7), most: 1 }, None)));
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
