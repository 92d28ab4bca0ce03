//! What a transaction, a scan and the coordinator itself can be told.

use quorate_proto::{Timestamp, kv::LockRequest};
use std::time::Duration;

/// Isolation levels, each as PostgreSQL's users know it (DESIGN §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Reads are proven unchanged up to the commit timestamp.
    #[default]
    Serializable,
    /// One snapshot; only keys written or locked are proven, and whoever wants to change or lock a row that has changed
    /// since gets a conflict: the first to commit wins.
    RepeatableRead,
    /// One snapshot a statement ([`crate::Txn::begin_statement`]); only keys written or locked are proven.
    ReadCommitted,
}

/// How a transaction begins.
#[derive(Clone, Debug, Default)]
pub struct TxnOptions {
    pub isolation: Isolation,
    /// Writes and locks are refused.
    pub read_only: bool,
    /// A historical transaction (`AS OF SYSTEM TIME`): read-only at exactly this timestamp, from any replica whose closed
    /// timestamp covers it.
    pub read_ts: Option<Timestamp>,
    /// Whose it is, for those who look: a number of the gateway's own.
    pub owner: Option<u32>,
    /// The transaction may live this long; default [`TxnConfig::max_age`].
    pub deadline: Option<Duration>,
    /// Longest wait for one lock; none: as long as it takes.
    pub lock_timeout: Option<Duration>,
    /// The commit timestamp must lie below this ([`crate::Txn::set_commit_before`]).
    pub commit_before: Option<Timestamp>,
}

impl TxnOptions {
    /// Reads at `ts` and changes nothing.
    pub fn as_of(ts: Timestamp) -> Self {
        TxnOptions { read_only: true, read_ts: Some(ts), ..Self::default() }
    }
}

/// How a scan runs.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// From the greatest key to the smallest.
    pub reverse: bool,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Lock every row found: under `Serializable` the newest, otherwise those that the snapshot shows, as [`crate::Txn::get`]
    /// does. The gaps between them are protected by proof at commit, under `Serializable` only.
    pub lock: Option<LockRequest>,
    /// Rows found are candidates, of which those are locked that matter: the commit does not prove that the span has not changed.
    pub loose: bool,
}

/// Limits of the coordinator; the defaults suit production.
#[derive(Clone, Debug)]
pub struct TxnConfig {
    /// A shard without a quorum for this long makes requests fail (`KvError::QuorumUnavailable`).
    pub unavailable_after: Duration,
    /// Longest life of a transaction without a deadline of its own.
    pub max_age: Duration,
    /// A commit is decided within this (a large one has more, by its size) or not at all: shards refuse its writes and its
    /// decision afterwards, and keep its record at least until then (PROTOCOL 12).
    pub commit_window: Duration,
    /// Commits across shards are staged where that is possible, and acknowledged after one round of consensus
    /// (`docs/parallel-commit.md`).
    pub parallel_commit: bool,
    /// For how long an ambiguous decision is asked for before the client is told that it is unknown.
    pub ambiguity_bound: Duration,
    /// Between two heartbeats of an undecided transaction.
    pub heartbeat: Duration,
    /// A transaction older than this commits at the present time instead of its read timestamp, as closed timestamps
    /// would push it there anyway (half the closing target; PROTOCOL 18).
    pub stale_after: Duration,
    /// Intents of this gateway's commits that are not resolved yet; above it commits wait.
    pub max_unresolved: usize,
    /// A wait for a lock ends when the deadlock detector could not be asked for so long, whatever its own limit (PROTOCOL 19).
    pub unwatched_wait: Duration,
    /// Read spans kept one by one; above it neighbours are merged into wider ones.
    pub max_read_spans: usize,
    /// Bytes of keys and values that a transaction may change.
    pub max_buffer_bytes: usize,
    /// Bytes of these, and of the names of what is locked, that a transaction holds in memory; the rest lies in scratch space.
    pub memory_bytes: usize,
    /// Rows of one page of a scan.
    pub page_rows: u64,
    /// Bytes of one page of a scan.
    pub page_bytes: u64,
    /// Repetitions of [`Coordinator::run`](crate::Coordinator::run) before the error is handed up.
    pub max_attempts: u32,
}

impl Default for TxnConfig {
    fn default() -> Self {
        TxnConfig {
            unavailable_after: Duration::from_secs(5),
            max_age: Duration::from_secs(24 * 3600),
            commit_window: Duration::from_secs(60),
            parallel_commit: true,
            ambiguity_bound: Duration::from_secs(15),
            heartbeat: Duration::from_secs(1),
            stale_after: Duration::from_millis(100),
            max_unresolved: 100_000,
            unwatched_wait: Duration::from_secs(60),
            max_read_spans: 1024,
            max_buffer_bytes: 2 << 30,
            memory_bytes: 8 << 20,
            page_rows: 4096,
            page_bytes: 512 << 10,
            max_attempts: 50,
        }
    }
}
