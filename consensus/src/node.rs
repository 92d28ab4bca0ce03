//! All groups of one node.

use crate::driver::{LivenessService, drive, publish, raft_config, update};
use crate::frontiers::Tracker;
use crate::group::Group;
use crate::node_state::NodeState;
use crate::raft::apply::Machine;
use crate::raft::log::{Log, install, remove};
use crate::raft::network::Network;
use crate::raft::payload::decode_membership;
use crate::raft::types::{StoredMembership, log_id, uniform};
use crate::receive::RaftService;
use crate::shared::Shared;
use crate::snapshot::SnapshotService;
use crate::{ConsensusConfig, FOUNDING_POSITION, Membership, OpenError, StateMachine};
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver as _;
use parking_lot::Mutex;
use quorate_env::{Env, Service, planted, scope};
use quorate_proto::{KvError, LogPosition, Replica, ReplicaId, ReplicaRole, ShardId};
use quorate_storage::{GroupKey, LogState, LogStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Replicas that are opened or closed at a time.
const OPENING: usize = 64;

/// In which state a replica is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It was open before: log, vote and applied state are on disk. Repeating one of the others on such a replica is
    /// the same as this.
    Existing,
    /// A group that did not exist before. Every founder gets the same members and starts from the same synthetic state
    /// (log trimmed up to [`FOUNDING_POSITION`]), so that whoever joins later needs a snapshot. The state machine must hold
    /// the founding state already, durably, with [`FOUNDING_POSITION`] as applied position and [`founding_membership`] as
    /// its membership.
    Founding { members: Vec<Replica> },
    /// Empty; waits to be added and for the leader's snapshot.
    Learner,
}

/// The membership that a state machine stores with its founding state.
///
/// # Panics
/// Without a single voter.
pub fn founding_membership(members: &[Replica]) -> Membership {
    crate::raft::types::membership(&StoredMembership::new(Some(log_id(FOUNDING_POSITION)), uniform(members)))
}

/// All groups of one node; registers the services `Raft`, `Snapshot` and `Liveness`.
pub struct Consensus {
    pub(crate) node: Arc<NodeState>,
    log: Arc<dyn LogStore>,
    groups: Mutex<BTreeMap<ShardId, Arc<Group>>>,
    /// Opening and closing, one at a time of a shard: it has one replica on a node. Shards share them.
    opening: [tokio::sync::Mutex<()>; OPENING],
}

impl Consensus {
    pub fn start(env: Env, log: Arc<dyn LogStore>, config: ConsensusConfig) -> Arc<Consensus> {
        let node = NodeState::new(env.clone(), config);
        let transport = env.transport();
        transport.serve(Service::Raft, Arc::new(RaftService(node.clone())));
        transport.serve(Service::Snapshot, Arc::new(SnapshotService(node.clone())));
        transport.serve(Service::Liveness, Arc::new(LivenessService(node.clone())));
        env.spawn("consensus.driver", drive(node.clone())).detach();
        let (groups, opening) = (Mutex::default(), std::array::from_fn(|_| tokio::sync::Mutex::default()));
        let consensus = Arc::new(Consensus { node, log, groups, opening });
        env.spawn("consensus.make_way", crate::make_way::run(env.clone(), Arc::downgrade(&consensus)))
            .detach();
        consensus
    }

    /// Opens a replica and lets it take part.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        start: Start,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Arc<Group>, OpenError> {
        let _one = self.opening(shard).lock().await;
        if self.groups.lock().contains_key(&shard) {
            return Err(OpenError::AlreadyOpen(shard));
        }
        let key = GroupKey { shard, replica };
        let found = Found::look(key, &self.log.state(key), &start, machine.as_ref())?;
        let tracker = Tracker::open(found.last, found.committed, found.applied, found.trimmed);
        let shared = Shared::new(self.node.clone(), key, self.log.clone(), machine, tracker, found.founded);
        let storage = |error: String| OpenError::Storage { shard, why: error };
        if found.install {
            install(&shared, FOUNDING_POSITION).await.map_err(|e| storage(e.to_string()))?;
        }
        let running = Arc::new(AtomicBool::new(false));
        let state = Machine::new(shared.clone(), found.applied, found.membership, running.clone());
        let config = raft_config(&self.node.config, format!("shard {shard}"));
        let config = config.validate().map_err(|e| storage(e.to_string()))?;
        let building =
            Raft::new(replica.0, Arc::new(config), Network(shared.clone()), Log(shared.clone()), state);
        let env = &self.node.env;
        let raft = scope::within(env.scope(), building).await.map_err(|e| storage(e.to_string()))?;
        running.store(true, Ordering::Release);
        shared.set_raft(raft.clone());
        // Who leads and who votes must be known before the first message is let in.
        raft.with_raft_state(|_| ()).await.map_err(|e| storage(e.to_string()))?;
        let first = raft.server_metrics().borrow_watched().clone();
        update(&shared, &first);
        env.spawn("consensus.group", publish(shared.clone())).detach();
        let group = Group::new(shared.clone());
        self.groups.lock().insert(shard, group.clone());
        self.node.insert(shared.clone());
        if shared.members().voters().len() == 1 && shared.members().is_voter(replica) {
            group.campaign();
        }
        Ok(group)
    }

    pub(crate) fn log(&self) -> &dyn LogStore {
        &*self.log
    }

    fn opening(&self, shard: ShardId) -> &tokio::sync::Mutex<()> {
        &self.opening[shard.0 as usize % OPENING]
    }

    pub fn group(&self, shard: ShardId) -> Option<Arc<Group>> {
        self.groups.lock().get(&shard).cloned()
    }

    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Whether a replica of the shard has left a log or a vote on this node, be it open or not.
    pub fn has_log(&self, shard: ShardId) -> bool {
        self.log.groups().iter().any(|key| key.shard == shard)
    }

    /// Stops a replica; its log and vote stay.
    pub async fn close(&self, shard: ShardId) {
        let _one = self.opening(shard).lock().await;
        let group = self.groups.lock().remove(&shard);
        if let Some(group) = group {
            group.stop().await;
        }
    }

    /// Stops the shard's replica, if it is open, and deletes its log and vote, durably; also those that a crash has left
    /// behind. Its id must never be opened again.
    ///
    /// # Errors
    /// `Internal` if the log cannot be written.
    pub async fn remove(&self, shard: ShardId) -> Result<(), KvError> {
        let _one = self.opening(shard).lock().await;
        let group = self.groups.lock().remove(&shard);
        if let Some(group) = group {
            group.stop().await;
        }
        for key in self.log.groups().into_iter().filter(|key| key.shard == shard) {
            remove(&*self.log, key).await.map_err(|error| KvError::Internal { why: error.to_string() })?;
        }
        Ok(())
    }

    /// From now on this node leads only what is handed to it: before an orderly stop, so that it does not take back what an heir
    /// has not begun to lead yet, and then stops, which would cost the locks that went along.
    pub fn leave(&self) {
        self.node.leaving.store(true, Ordering::Relaxed);
    }

    /// Hands all leaderships of this node to others that can be reached, as before an orderly stop. Returns how many it
    /// still has.
    pub async fn hand_over(&self) -> usize {
        let leads = |group: &Arc<Group>| group.leadership().borrow().is_leader;
        let led = || self.groups().into_iter().filter(leads);
        let handing = led().filter_map(|group| {
            let heir = group.shared.fit_heir().or_else(|| group.shared.reachable_heir())?;
            Some(async move { group.transfer(heir).await })
        });
        futures::future::join_all(handing).await;
        led().count()
    }

    /// Stops all groups; nothing is deleted.
    pub async fn stop(&self) {
        let shards: Vec<ShardId> = self.groups.lock().keys().copied().collect();
        for shard in shards {
            self.close(shard).await;
        }
    }
}

/// What log and state machine hold when a replica is opened.
struct Found {
    last: LogPosition,
    committed: LogPosition,
    applied: LogPosition,
    trimmed: LogPosition,
    membership: StoredMembership,
    /// The log must first be given the founding position.
    install: bool,
    /// Nobody has ever voted in this group.
    founded: bool,
}

impl Found {
    fn look(
        key: GroupKey,
        log: &LogState,
        start: &Start,
        machine: &dyn StateMachine,
    ) -> Result<Found, OpenError> {
        let mismatch = |why: String| OpenError::Mismatch { shard: key.shard, why };
        let applied = machine.applied();
        let fresh = *log == LogState::default();
        let blank = applied.position == LogPosition::default();
        let founding =
            matches!(start, Start::Founding { .. }) && (fresh || planted!("consensus.founded_again"));
        let membership = match (&applied.membership, start) {
            (Some((at, raw)), _) => {
                let membership = decode_membership(raw).map_err(|e| mismatch(e.to_string()))?;
                StoredMembership::new(Some(log_id(*at)), membership)
            }
            (None, Start::Founding { members }) if members.iter().any(|r| r.role != ReplicaRole::Learner) => {
                StoredMembership::new(Some(log_id(FOUNDING_POSITION)), uniform(members))
            }
            (None, _) if blank => StoredMembership::default(),
            (None, _) => return Err(mismatch("the state machine has lost its membership".into())),
        };
        if founding && applied.position != FOUNDING_POSITION {
            let why = format!("a founding state at {}, not at {FOUNDING_POSITION}", applied.position);
            return Err(mismatch(why));
        }
        // A crash between the founding state and the founding of the log.
        let interrupted = fresh && applied.position == FOUNDING_POSITION;
        if fresh && !blank && !interrupted && !planted!("consensus.opened_without_log") {
            return Err(mismatch(format!("state at {} without a log", applied.position)));
        }
        let install = founding || interrupted;
        let at = |position: Option<LogPosition>| {
            if install { FOUNDING_POSITION } else { position.unwrap_or_default() }
        };
        Ok(Found {
            last: at(log.last),
            committed: at(log.committed),
            applied: applied.position,
            trimmed: at(log.purged),
            membership,
            install,
            founded: founding,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::payload::encode_membership;
    use quorate_proto::NodeId;

    #[test]
    fn the_founding_membership_reads_back() {
        let replica = |id, role| Replica { id: ReplicaId(id), node: NodeId(id + 1), role };
        let members = vec![
            replica(1, ReplicaRole::Voter),
            replica(2, ReplicaRole::Witness),
            replica(3, ReplicaRole::Learner),
        ];
        let founding = founding_membership(&members);
        assert_eq!(founding.position, FOUNDING_POSITION);
        assert_eq!(founding.replicas, members);
        assert!(!founding.joint);
        let decoded = decode_membership(&founding.encoded).unwrap();
        assert_eq!(encode_membership(&decoded), founding.encoded);
    }
}
