//! Errors that cross the wire. Each has one class, which says what the caller may do, and one SQLSTATE.

use crate::{
    Key, NodeId, ShardDescriptor, ShardId, Space, Timestamp, TxnId,
    kv::{Party, Stuck},
};
use minicbor::{Decode, Encode};

/// What a caller may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing happened; the transaction can be run again from its start.
    RetryTransaction,
    /// Nothing happened; ask again, perhaps elsewhere.
    Reroute,
    /// It may or may not have happened; find out, do not repeat blindly.
    Ambiguous,
    /// It did not happen and will not by asking again.
    Permanent,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum KvError {
    /// Not the leader; `leader` when known.
    #[n(0)]
    #[error("node is not the leader of shard {shard}")]
    NotLeader {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        leader: Option<NodeId>,
    },
    /// The sender's epochs are old (or the shard is gone); the newer descriptors that this node knows for the keys.
    #[n(1)]
    #[error("the request was routed by an old shard map")]
    StaleRoute {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        newer: Vec<ShardDescriptor>,
    },
    /// The replica exists but cannot serve yet (starting, catching up, blank entry not applied).
    #[n(2)]
    #[error("shard {shard} is not ready: {why}")]
    NotReady {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        why: String,
    },
    /// Something that was read or checked has changed since.
    #[n(3)]
    #[error("key {key:?} changed at {their_ts}, after {our_ts}")]
    Conflict {
        #[n(0)]
        key: Key,
        /// Who changed it, where that is known; or perhaps the very transaction, of which this is a late copy.
        #[n(1)]
        other: Option<TxnId>,
        #[n(2)]
        their_ts: Timestamp,
        #[n(3)]
        our_ts: Timestamp,
    },
    /// A value inside the uncertainty interval; move the read timestamp up to `value_ts` and go on.
    #[n(4)]
    #[error("key {key:?} has a value at {value_ts} that may precede the read")]
    Uncertain {
        #[n(0)]
        key: Key,
        #[n(1)]
        value_ts: Timestamp,
    },
    /// A commit would carry a timestamp beyond what a lease or a schema version allows.
    #[n(5)]
    #[error("the commit timestamp {needed} would pass its bound {bound}")]
    BoundPassed {
        #[n(0)]
        needed: Timestamp,
        #[n(1)]
        bound: Timestamp,
    },
    #[n(6)]
    #[error("waited too long for the lock on {key:?}")]
    LockTimeout {
        #[n(0)]
        key: Key,
        #[n(1)]
        holder: Option<Party>,
    },
    /// `NOWAIT`.
    #[n(7)]
    #[error("{key:?} is locked by another transaction")]
    LockNotAvailable {
        #[n(0)]
        key: Key,
        #[n(1)]
        holder: Option<Party>,
    },
    #[n(8)]
    #[error("deadlock: {cycle:?}")]
    Deadlock {
        #[n(0)]
        cycle: Vec<Stuck>,
    },
    /// The record says aborted (by recovery, a deadlock, or its deadline).
    #[n(9)]
    #[error("transaction {txn} was aborted: {why}")]
    TxnAborted {
        #[n(0)]
        txn: TxnId,
        #[n(1)]
        why: String,
    },
    /// The record already says committed at this timestamp (a repeated copy met its done-record).
    #[n(10)]
    #[error("transaction {txn} is already committed at {ts}")]
    TxnCommitted {
        #[n(0)]
        txn: TxnId,
        #[n(1)]
        ts: Timestamp,
    },
    /// `CheckKind::Absent` met a live version.
    #[n(11)]
    #[error("key {key:?} exists")]
    Exists {
        #[n(0)]
        key: Key,
    },
    #[n(12)]
    /// What it asks for may have been removed (PROTOCOL 24).
    #[error("the read at {read_ts} lies below the garbage collection threshold {threshold}")]
    BelowGcThreshold {
        #[n(0)]
        read_ts: Timestamp,
        #[n(1)]
        threshold: Timestamp,
    },
    #[n(13)]
    #[error("shard {shard} has no quorum; not reached: {missing:?}")]
    QuorumUnavailable {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        missing: Vec<NodeId>,
        /// Microseconds for which this has lasted.
        #[n(2)]
        for_micros: u64,
    },
    /// Proposed, and then lost sight of.
    #[n(14)]
    #[error("outcome unknown: {why}")]
    Ambiguous {
        #[n(0)]
        why: String,
    },
    /// Time ran out before anything was proposed.
    #[n(15)]
    #[error("timed out: {why}")]
    Timeout {
        #[n(0)]
        why: String,
    },
    /// Nothing was done; come back after the hint.
    #[n(16)]
    #[error("overloaded: {what}")]
    Overloaded {
        #[n(0)]
        what: String,
        #[n(1)]
        retry_after_millis: u64,
    },
    /// The node's clock strays beyond the bound, or cannot be compared with others; it serves nothing (PROTOCOL 21).
    #[n(17)]
    #[error("node {node} is fenced: {why}")]
    ClockFenced {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        why: String,
    },
    /// The peer cannot be reached, and the request was not handed over.
    #[n(18)]
    #[error("node {node} cannot be reached: {why}")]
    Unreachable {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        why: String,
    },
    /// The request makes no sense to a shard.
    #[n(19)]
    #[error("bad request: {why}")]
    BadRequest {
        #[n(0)]
        why: String,
    },
    /// A disk error, a failed checksum, a broken invariant. The replica that met it has stopped.
    #[n(20)]
    #[error("internal error: {why}")]
    Internal {
        #[n(0)]
        why: String,
    },
    /// A request so late that the record which would tell what became of its transaction may have been removed. This copy was
    /// not carried out; an earlier one may have been.
    #[n(21)]
    #[error("what became of transaction {txn} is not known any more")]
    Forgotten {
        #[n(0)]
        txn: TxnId,
    },
    /// A key that the transaction had locked has changed all the same: the lock was lost, with its leader or otherwise.
    #[n(22)]
    #[error("key {key:?} changed at {}, though it had been locked at {locked}", change.ts)]
    LockLost {
        #[n(0)]
        key: Key,
        /// As of this time it was known not to have changed.
        #[n(1)]
        locked: Timestamp,
        /// Boxed: it would make all results larger.
        #[n(2)]
        change: Box<Change>,
    },
    /// Refused before anything was proposed: the disks of these nodes are too full for it, and no leader could do without.
    #[n(23)]
    #[error("the disks of nodes {:?} are full", nodes.iter().map(|(node, _)| node.0).collect::<Vec<_>>())]
    DiskFull {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        nodes: Vec<(NodeId, Space)>,
    },
    /// A lock that must be held or refused: the shard's leader keeps no more.
    #[n(24)]
    #[error("shard {shard} keeps {most} locks at most")]
    TooManyLocks {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        most: u64,
    },
    /// [`KvError::LockTimeout`], and all the while the deadlock detector could not be asked: it may be a circle (PROTOCOL 19).
    #[n(25)]
    #[error("waited too long for the lock on {key:?}, and nobody looked for circles")]
    WaitUnwatched {
        #[n(0)]
        key: Key,
        #[n(1)]
        holder: Option<Party>,
    },
}

/// What somebody has done to a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// Who, if that is known.
    #[n(0)]
    pub by: Option<TxnId>,
    #[n(1)]
    pub ts: Timestamp,
}

impl KvError {
    pub fn class(&self) -> ErrorClass {
        use KvError::*;
        match self {
            NotLeader { .. }
            | StaleRoute { .. }
            | NotReady { .. }
            | Unreachable { .. }
            | ClockFenced { .. } => ErrorClass::Reroute,
            Conflict { .. } | LockLost { .. } | Uncertain { .. } | BoundPassed { .. } | TxnAborted { .. } => {
                ErrorClass::RetryTransaction
            }
            Ambiguous { .. } | Forgotten { .. } => ErrorClass::Ambiguous,
            LockTimeout { .. }
            | LockNotAvailable { .. }
            | Deadlock { .. }
            | TxnCommitted { .. }
            | Exists { .. }
            | BelowGcThreshold { .. }
            | QuorumUnavailable { .. }
            | Timeout { .. }
            | Overloaded { .. }
            | DiskFull { .. }
            | TooManyLocks { .. }
            | WaitUnwatched { .. }
            | BadRequest { .. }
            | Internal { .. } => ErrorClass::Permanent,
        }
    }

    /// The SQLSTATE a client sees when nothing could be done about it.
    pub fn sqlstate(&self) -> &'static str {
        use KvError::*;
        match self {
            Conflict { .. } | LockLost { .. } | Uncertain { .. } | BoundPassed { .. } | TxnAborted { .. } => {
                "40001"
            }
            BelowGcThreshold { .. } => "72000",
            LockTimeout { .. } | LockNotAvailable { .. } | WaitUnwatched { .. } => "55P03",
            Deadlock { .. } => "40P01",
            Exists { .. } => "23505",
            QuorumUnavailable { .. }
            | NotLeader { .. }
            | StaleRoute { .. }
            | NotReady { .. }
            | Unreachable { .. } => "57Q01",
            ClockFenced { .. } => "57P03",
            Ambiguous { .. } | Forgotten { .. } => "40003",
            Timeout { .. } => "57014",
            Overloaded { .. } => "53000",
            DiskFull { .. } => "53100",
            TooManyLocks { .. } => "53200",
            TxnCommitted { .. } | BadRequest { .. } | Internal { .. } => "XX000",
        }
    }
}
