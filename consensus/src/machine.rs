//! What a group needs from the state it replicates.

use crate::Leadership;
use bytes::Bytes;
use futures::future::BoxFuture;
use quorate_proto::{LogPosition, NodeId, Replica, ReplicaId};
use quorate_storage::StorageError;
use std::any::Any;
use std::fmt;

/// The members of a group as one entry of its log sets them.
///
/// Stored by the state machine with the entry's position (PROTOCOL 8) and handed back by [`StateMachine::applied`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Position of the entry that set it.
    pub position: LogPosition,
    /// What the state machine stores; only `consensus` can read it.
    pub encoded: Bytes,
    /// All members with their final roles. While `joint`, both the outgoing and the incoming voters are voters.
    pub replicas: Vec<Replica>,
    /// Two configurations are active: a change is under way.
    pub joint: bool,
}

impl Membership {
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.replicas.iter().find(|r| r.id == replica).map(|r| r.node)
    }
}

/// One committed entry.
#[derive(Clone, Debug)]
pub struct Entry {
    pub position: LogPosition,
    /// The term in which the proposer evaluated the command; equals `position.term` whenever `command` is present.
    pub evaluated_term: u64,
    /// Absent for a leader's blank entry, for a membership entry, and for a command evaluated in another term
    /// (PROTOCOL 4): store the position all the same.
    pub command: Option<Bytes>,
    /// Present for a membership entry: store it in the same batch as the position.
    pub membership: Option<Membership>,
}

/// What a state machine holds when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Position of the last entry applied; zero when nothing was ever applied or restored.
    pub position: LogPosition,
    /// [`Membership::encoded`] of the last membership applied, with the position it had.
    pub membership: Option<(LogPosition, Bytes)>,
}

/// An error that only this replica meets (a disk error, a failed checksum, a broken invariant). It stops the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal(pub String);

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fatal {}

/// The replicated state of one group on one node. Calls come from one task at a time, except [`Self::flushed`],
/// [`Self::snapshot`] and [`Self::leadership`], which may come from others meanwhile. None may block for long.
pub trait StateMachine: Send + Sync + 'static {
    /// What was found at open. Everything after it is applied again from the log.
    fn applied(&self) -> Applied;

    /// Whether the entries can be applied now. If not, this group waits, and no other; it is asked again and again.
    fn may_apply(&self, _entries: &[Entry]) -> bool {
        true
    }

    /// Applies committed entries in their order and returns one reply each, in the same order (an empty one for entries
    /// without a command). An error that every replica meets alike belongs into the reply.
    fn apply(&self, entries: &[Entry]) -> Result<Vec<Bytes>, Fatal>;

    /// Whether there is space for what entries change. While there is none they wait, and nobody else with them.
    fn has_room(&self) -> bool {
        true
    }

    /// The replica's log does not read back: it stops.
    fn damaged(&self, error: &StorageError) {
        let _ = error;
    }

    /// F: the applied state up to here is durable without the log. The log is trimmed up to it at most.
    fn flushed(&self) -> LogPosition;

    /// Opens a consistent view of the state for a replica that the log can no longer bring up to date.
    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Fatal>;

    /// Starts to take in a snapshot. Nothing changes before [`SnapshotSink::finish`]; dropping the sink forgets it.
    fn restore(&self) -> Result<Box<dyn SnapshotSink>, Fatal>;

    /// Called on a leader that is about to hand over in good order; what comes back is dropped when another leads, or
    /// nobody has taken over.
    fn before_hand_over(&self) -> BoxFuture<'_, Box<dyn Any + Send>> {
        Box::pin(std::future::ready(Box::new(()) as Box<dyn Any + Send>))
    }

    /// Called at every change of leadership, before watchers of [`crate::Group::leadership`] see it. Must be quick.
    fn leadership(&self, leadership: &Leadership);
}

/// Chunks of a consistent state, of which `position` is the last entry.
pub trait SnapshotSource: Send {
    fn position(&self) -> LogPosition;
    /// The membership as of `position`, with the position of its own entry.
    fn membership(&self) -> (LogPosition, Bytes);
    /// The next chunk, of about a quarter of a MiB; `None` at the end. May read from disk.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, Fatal>;
}

/// Takes in the chunks of a [`SnapshotSource`], in order.
pub trait SnapshotSink: Send {
    fn chunk(&mut self, chunk: Bytes) -> Result<(), Fatal>;
    /// All chunks are in. What may fail harmlessly, fails here.
    fn seal(&mut self) -> Result<(), Fatal> {
        Ok(())
    }
    /// Replaces the whole state by what came in, atomically and durably, with `position` as applied position and F.
    fn finish(self: Box<Self>, position: LogPosition, membership: Membership) -> Result<(), Fatal>;
}
