//! All groups of one node.

use crate::{ConsensusConfig, Group, OpenError, StateMachine};
use quorate_env::Env;
use quorate_proto::{KvError, Replica, ReplicaId, ShardId};
use quorate_storage::LogStore;
use std::sync::Arc;

/// In which state a replica is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It was open before: log, vote and applied state are on disk. Repeating one of the others on such a replica is
    /// the same as this.
    Existing,
    /// A group that did not exist before. Every founder gets the same members and starts from the same synthetic state
    /// (log trimmed up to [`FOUNDING_POSITION`]), so that whoever joins later needs a snapshot. The state machine must hold
    /// the founding state already, with [`FOUNDING_POSITION`] as applied position.
    Founding { members: Vec<Replica> },
    /// Empty; waits to be added and for the leader's snapshot.
    Learner,
}

/// All groups of one node; registers the services `Raft`, `Snapshot` and `Liveness`.
pub struct Consensus {}

impl Consensus {
    pub fn start(env: Env, log: Arc<dyn LogStore>, config: ConsensusConfig) -> Arc<Consensus> {
        let _ = (env, log, config);
        todo!()
    }

    /// Opens a replica and lets it take part.
    pub async fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        start: Start,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Arc<Group>, OpenError> {
        let _ = (shard, replica, start, machine);
        todo!()
    }

    pub fn group(&self, shard: ShardId) -> Option<Arc<Group>> {
        let _ = shard;
        todo!()
    }

    pub fn groups(&self) -> Vec<Arc<Group>> {
        todo!()
    }

    /// Stops a replica and deletes its log and vote, durably. Its id must never be opened again.
    pub async fn remove(&self, shard: ShardId) -> Result<(), KvError> {
        let _ = shard;
        todo!()
    }

    /// Stops all groups; nothing is deleted.
    pub async fn stop(&self) {
        todo!()
    }
}
