//! What can become of a proposal.

use quorate_proto::{KvError, NodeId, ShardId};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Refused before anything was appended: definite.
    #[error("not the leader")]
    NotLeader { leader: Option<NodeId> },
    /// Appended in another term than the one it was evaluated in, and applied as nothing: definite.
    #[error("the leader's term changed between evaluation and append")]
    TermChanged,
    /// Refused before anything was appended, because no quorum answers: definite.
    #[error("no quorum for {since:?}; not reached: {missing:?}")]
    NoQuorum { missing: Vec<NodeId>, since: Duration },
    /// Appended, or perhaps appended, and lost sight of.
    #[error("{0}")]
    Ambiguous(String),
    /// The group is stopped here; refused before anything was appended: definite.
    #[error("the replica is stopped")]
    Stopped,
}

impl ProposeError {
    /// Nothing happened and nothing will.
    pub fn is_definite(&self) -> bool {
        !matches!(self, ProposeError::Ambiguous(_))
    }

    pub fn into_kv(self, shard: ShardId) -> KvError {
        match self {
            ProposeError::NotLeader { leader } => KvError::NotLeader { shard, leader },
            ProposeError::TermChanged => KvError::NotLeader { shard, leader: None },
            ProposeError::NoQuorum { missing, since } => {
                KvError::QuorumUnavailable { shard, missing, for_micros: since.as_micros() as u64 }
            }
            ProposeError::Ambiguous(why) => KvError::Ambiguous { why },
            ProposeError::Stopped => KvError::NotReady { shard, why: "the replica is stopped".into() },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("shard {0} is already open on this node")]
    AlreadyOpen(ShardId),
    /// The log, the applied state and [`crate::Start`] do not fit together.
    #[error("shard {shard}: {why}")]
    Mismatch { shard: ShardId, why: String },
    #[error("shard {shard}: {why}")]
    Storage { shard: ShardId, why: String },
}
