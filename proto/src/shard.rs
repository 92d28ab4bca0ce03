//! Shard descriptors: which keys, which copies, at which epochs.

use crate::{Key, LogPosition, NodeId, ReplicaId, ShardId, Span, Timestamp};
use minicbor::{Decode, Encode};

/// What a copy of a shard may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ReplicaRole {
    /// Votes and holds data.
    #[n(0)]
    Voter,
    /// Holds data and is caught up; has no vote (yet).
    #[n(1)]
    Learner,
    /// Votes and holds the log, no data (PROTOCOL 27).
    #[n(2)]
    Witness,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Replica {
    #[n(0)]
    pub id: ReplicaId,
    #[n(1)]
    pub node: NodeId,
    #[n(2)]
    pub role: ReplicaRole,
}

/// One entry of the shard map. `version` rises when the key range changes, `config_epoch` when the members do; the one
/// with the greater `(version, config_epoch)` is the newer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShardDescriptor {
    #[n(0)]
    pub id: ShardId,
    #[n(1)]
    pub span: Span,
    #[n(2)]
    pub version: u64,
    #[n(3)]
    pub config_epoch: u64,
    #[n(4)]
    pub replicas: Vec<Replica>,
}

impl ShardDescriptor {
    pub fn epochs(&self) -> (u64, u64) {
        (self.version, self.config_epoch)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.span.contains(key)
    }

    pub fn replica_on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|r| r.node == node)
    }

    pub fn voters(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.role != ReplicaRole::Learner)
    }
}

/// An entry of a shard's log behind which nothing is read or written there, so that its left neighbour may take its keys over
/// (PROTOCOL 26). Only the neighbour's log decides whether it does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seal {
    /// The shard that it seals, as it is then.
    #[n(0)]
    pub right: ShardDescriptor,
    #[n(1)]
    pub left: ShardId,
    /// The left's version for which it counts: once the left is at a later one it has taken the keys over, or never will.
    #[n(2)]
    pub left_version: u64,
    /// Of the entry.
    #[n(3)]
    pub position: LogPosition,
    /// Above everything that was read in the shard.
    #[n(4)]
    pub low_water: Timestamp,
    /// K of the shard.
    #[n(5)]
    pub closed: Timestamp,
    #[n(6)]
    pub gc_threshold: Timestamp,
    #[n(7)]
    pub record_threshold: Timestamp,
}
