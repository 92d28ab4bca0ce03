//! The Raft log of all groups of a node: entries, votes, committed and purge marks.
//!
//! What is appended is readable at once and durable when `done` is called. Operations of one group take effect, in memory
//! and on disk, in the order of the calls (PROTOCOL 7: votes and appends of a group share one order). `done` runs on the
//! writer's thread (or the caller's, in memory): it must be quick and must not call back into the log.

pub mod file;
mod group;
pub mod mem;

use crate::{Result, StorageError};
use bytes::Bytes;
use quorate_proto::{LogPosition, ReplicaId, ShardId};
use std::fmt;
use std::ops::Range;

/// Called once, when the operation is durable or has failed. An error other than [`StorageError::Misuse`] means that the
/// log is dead and the node must stop.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// How the log starts its threads; `&|name, body| env.spawn_thread(name, body).map(drop)` in a node.
pub type SpawnThread<'a> = &'a dyn Fn(&'static str, Box<dyn FnOnce() + Send>) -> std::io::Result<()>;

/// One replica's log. A rebuilt replica has a new id, hence an empty log and a fresh vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    pub shard: ShardId,
    pub replica: ReplicaId,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} replica {}", self.shard, self.replica)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub position: LogPosition,
    /// Opaque to the log.
    pub payload: Bytes,
}

/// What the log knows of a group; all of it as in memory, i.e. with what is not durable yet, except `durable`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Opaque; as last saved.
    pub vote: Option<Bytes>,
    pub committed: Option<LogPosition>,
    /// The last position that is no longer in the log; everything up to it was purged or came by snapshot.
    pub purged: Option<LogPosition>,
    /// E: the last position; equal to `purged` when the log holds no entry.
    pub last: Option<LogPosition>,
    /// D: up to here everything is durable.
    pub durable: Option<LogPosition>,
    /// Payloads of the entries that it holds.
    pub bytes: u64,
}

/// The log of all groups. A group comes into being with the first operation on it.
pub trait LogStore: Send + Sync + 'static {
    /// Entries that follow the last one without a gap ([`StorageError::Misuse`] otherwise; truncate a conflicting tail
    /// first). An empty append is a barrier: done when everything before it is durable.
    fn append(&self, group: GroupKey, entries: Vec<LogEntry>, done: Done);

    fn save_vote(&self, group: GroupKey, vote: Bytes, done: Done);

    /// Written along with what comes next; a crash may bring back an earlier mark, never a later one.
    fn save_committed(&self, group: GroupKey, committed: LogPosition);

    /// Removes `index` and everything after it.
    fn truncate_from(&self, group: GroupKey, index: u64, done: Done);

    /// Removes everything up to and including `to`. No effect if that is purged already. The caller has made sure that the
    /// state at `to` is durable without the log (`T ≤ F+1`).
    fn purge_to(&self, group: GroupKey, to: LogPosition, done: Done);

    /// A fresh start after a snapshot or at founding: drops all entries; purged = last = committed = `at`. `vote` replaces
    /// the vote if given.
    fn install(&self, group: GroupKey, at: LogPosition, vote: Option<Bytes>, done: Done);

    /// Forgets the group and all it wrote.
    fn remove_group(&self, group: GroupKey, done: Done);

    /// The entries with `range`'s indexes that the log holds, in order, at most `max_bytes` of payload (but at least one
    /// entry). Those purged or beyond the end are left out.
    fn read(&self, group: GroupKey, range: Range<u64>, max_bytes: u64) -> Result<Vec<LogEntry>>;

    /// Default for a group that does not exist.
    fn state(&self, group: GroupKey) -> LogState;

    /// All groups, ascending.
    fn groups(&self) -> Vec<GroupKey>;

    /// The term of the entry at the index: an entry's, or the purge mark's.
    fn term_at(&self, group: GroupKey, index: u64) -> Option<u64>;

    /// Why the log takes nothing any more; `None` while it lives.
    fn dead(&self) -> Option<StorageError>;

    /// Whether the log waits for space on its disk. What is appended meanwhile waits with it, and is done when there is
    /// some again.
    fn is_stuck(&self) -> bool;

    /// How often the log has waited for the disk since it was opened.
    fn fsyncs(&self) -> u64;

    /// Writes down what waits and stops the writer; later operations fail, and so does what waits for space. For an orderly
    /// end.
    fn close(&self);
}
