//! One group's replica on this node, as its users see it.

use crate::raft::types::position_or_zero;
use crate::shared::Shared;
use crate::{Leadership, Lease, Membership, ReadCertificate};
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use quorate_env::watch;
use quorate_proto::placement::{Frontiers, MemberProgress, ShardMode};
use quorate_proto::{KvError, LogPosition, NodeId, ReplicaId, ShardId, Space};
use std::sync::Arc;
use std::time::Duration;

/// Entries that a member may lack and still count as caught up.
const CAUGHT_UP: u64 = 64;

pub struct Group {
    pub(crate) shared: Arc<Shared>,
    /// One change of members at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Group {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Group { shared, changing: tokio::sync::Mutex::default() })
    }

    pub fn shard(&self) -> ShardId {
        self.shared.shard()
    }

    pub fn replica(&self) -> ReplicaId {
        self.shared.replica()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.subscribe()
    }

    /// The lease as of now; `None` when this replica does not lead, is not ready, or is not supported by a quorum.
    pub fn lease(&self) -> Option<Lease> {
        self.shared.lease()
    }

    /// Somebody has come here in search of the leader. Its replica may be gone although its node lives, and the word of that lost:
    /// it is asked, now and then.
    pub fn doubt_leader(&self) {
        let now = self.shared.env.boottime();
        if !self.shared.leadership.borrow().is_leader && self.shared.pace.lock().may_doubt(now) {
            crate::driver::doubt(&self.shared);
        }
    }

    /// Makes sure that a read evaluated on a snapshot taken after this returns misses nothing committed before it was called.
    /// By lease if there is one, else by read-index.
    ///
    /// # Errors
    /// `NotLeader`, `NotReady` (blank entry not applied), `QuorumUnavailable` (within a second or two), `ClockFenced`.
    pub async fn confirm_read(&self) -> Result<ReadCertificate, KvError> {
        let doubted = self.shared.env.fault("consensus.lease_doubted");
        if let Some(lease) = self.lease().filter(|_| !doubted) {
            return Ok(ReadCertificate::Lease(lease));
        }
        let shard = self.shard();
        let env = &self.shared.env;
        if env.clock().is_fenced() {
            return Err(env.clock_fenced());
        }
        let before = self.leading()?;
        let raft = self.shared.raft().ok_or_else(|| stopped(shard))?;
        quorate_env::count!("quorate_consensus_read_index_total");
        let patience = self.shared.node.config.quorum_patience;
        let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(patience);
        let started = env.boottime();
        // A replica whose vote waits for space on its disk does not answer.
        let asked = env.timeout(2 * patience, raft.get_read_linearizer(option)).await;
        let asked =
            asked.map_err(|_| KvError::NotReady { shard, why: "the replica does not answer".into() })?;
        let linearizer = asked.map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
                KvError::NotLeader { shard, leader: forward.leader_node.map(|m| NodeId(m.node)) }
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(quorum)) => {
                self.no_quorum(&quorum.got, env.boottime() - started)
            }
            RaftError::Fatal(_) => stopped(shard),
        })?;
        let upto = linearizer.read_log_id().index();
        let applied = self.wait_applied(upto, patience).await?;
        // The confirmation is of the leadership that openraft had then; the caller's must be the same.
        let after = self.leading()?;
        if after.term != before.term {
            return Err(KvError::NotLeader { shard, leader: None });
        }
        Ok(ReadCertificate::ReadIndex { term: after.term, applied })
    }

    fn leading(&self) -> Result<Leadership, KvError> {
        let leadership = self.shared.leadership.borrow().clone();
        let shard = self.shard();
        if !leadership.is_leader {
            return Err(KvError::NotLeader { shard, leader: leadership.leader.map(|(_, node)| node) });
        }
        if !leadership.ready {
            return Err(KvError::NotReady {
                shard,
                why: "the leader's first entry is not applied yet".into(),
            });
        }
        Ok(leadership)
    }

    /// Waits until everything up to `index` is applied here.
    ///
    /// # Errors
    /// `NotReady` if that takes longer than `timeout`, or the replica stops.
    pub async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<LogPosition, KvError> {
        let mut applied = self.shared.applied_watch();
        let waiting = async {
            loop {
                let now = self.shared.frontiers.lock().applied();
                if now.index >= index {
                    return Some(now);
                }
                if self.shared.is_stopped() || applied.changed().await.is_err() {
                    return None;
                }
            }
        };
        match self.shared.env.timeout(timeout, waiting).await {
            Ok(Some(position)) => Ok(position),
            Ok(None) => Err(stopped(self.shard())),
            Err(_) => {
                Err(KvError::NotReady { shard: self.shard(), why: format!("entry {index} is not applied") })
            }
        }
    }

    pub(crate) fn no_quorum(&self, got: &std::collections::BTreeSet<u64>, since: Duration) -> KvError {
        KvError::QuorumUnavailable {
            shard: self.shard(),
            missing: self.missing(got),
            for_micros: since.as_micros() as u64,
        }
    }

    /// The nodes of the voters that are not among `got`.
    pub(crate) fn missing(&self, got: &std::collections::BTreeSet<u64>) -> Vec<NodeId> {
        let members = self.shared.members();
        let away = |id: &u64| *id != self.replica().0 && !got.contains(id);
        members
            .voters()
            .iter()
            .filter(|id| away(id))
            .filter_map(|id| members.nodes.get(id))
            .copied()
            .collect()
    }

    /// Asks for an election now, through the pre-vote rule: nothing happens while a leader is supported.
    pub fn campaign(&self) {
        let now = self.shared.env.boottime();
        self.shared.stir(|pace| pace.campaign_now(now));
        if self.shared.may_campaign().is_ok()
            && !self.shared.env.clock().is_fenced()
            && let Some(raft) = self.shared.raft()
        {
            crate::driver::fire(raft.trigger().elect(true));
        }
    }

    /// Another replica of a group that was just founded is to lead it first: leaves it the time to. Two that campaign at once
    /// undo each other, and may both lead in turn.
    pub fn leave_to_another(&self) {
        self.shared.stir(|pace| pace.handed_over(self.shared.env.boottime()));
    }

    /// The nodes whose disks stand in the way of new rows; none while this one and a quorum have room.
    pub fn without_room(&self) -> Vec<(NodeId, Space)> {
        self.shared.without_room()
    }

    /// Whether somebody else could lead, and has room.
    pub fn has_fit_heir(&self) -> bool {
        self.shared.fit_heir().is_some()
    }

    /// E D C A F T as of now (K is the state machine's).
    pub fn frontiers(&self) -> Frontiers {
        self.shared.frontiers.lock().view(self.shared.machine.flushed())
    }

    /// What the leader knows of each member's log; empty elsewhere.
    pub fn progress(&self) -> Vec<MemberProgress> {
        use openraft::async_runtime::watch::WatchReceiver as _;
        let Some(raft) = self.shared.raft() else { return Vec::new() };
        let data = raft.data_metrics();
        let (replication, commit) = {
            let data = data.borrow_watched();
            let Some(replication) = data.replication.clone() else { return Vec::new() };
            (replication, position_or_zero(data.cluster_committed.as_ref()))
        };
        let members = self.members();
        let frontiers = self.frontiers();
        let progress = |replica: quorate_proto::Replica| {
            let matched = if replica.id == self.replica() {
                frontiers.durable.index
            } else {
                let known = replication.get(&replica.id.0).cloned().flatten();
                position_or_zero(known.as_ref()).index
            };
            MemberProgress { caught_up: matched > 0 && matched + CAUGHT_UP >= commit.index, replica, matched }
        };
        members.replicas.into_iter().map(progress).collect()
    }

    pub fn mode(&self) -> ShardMode {
        let leadership = self.shared.leadership.borrow().clone();
        let members = self.shared.members();
        let now = self.shared.env.boottime();
        let near = |id: u64| {
            id == self.replica().0
                || members.nodes.get(&id).is_some_and(|node| {
                    self.shared.node.received.lock().reaches(*node, now)
                        || self.shared.node.granted.lock().hears(*node, now)
                })
        };
        let frontiers = self.frontiers();
        if members.configs.is_empty() || frontiers.applied.index + CAUGHT_UP < frontiers.committed.index {
            return ShardMode::Recovery;
        }
        if !members.is_quorum(near) {
            return ShardMode::Degraded;
        }
        match (leadership.is_leader, leadership.leader) {
            (true, _) if self.lease().is_some() => ShardMode::Target,
            (false, Some(_)) if self.shared.supported_leader().is_some() => ShardMode::Target,
            _ => ShardMode::Election,
        }
    }

    /// The newest membership in the log, committed or not.
    pub fn members(&self) -> Membership {
        self.shared.members().view.clone().unwrap_or_else(nobody)
    }

    /// The newest membership in the log, and the newest that is known to be committed: never older than what
    /// [`Self::change_members`] has answered, while [`Self::members`] is told a moment later.
    pub fn members_now(&self) -> (Membership, Membership) {
        use openraft::async_runtime::watch::WatchReceiver as _;
        let Some(raft) = self.shared.raft_even_if_stopped() else { return (nobody(), nobody()) };
        let server = raft.server_metrics();
        let server = server.borrow_watched();
        let view = crate::raft::types::membership;
        (view(&server.membership_config), view(&server.committed_membership_config))
    }

    /// No heartbeats flow: nothing but the promises between nodes keeps the leader.
    pub fn is_quiet(&self) -> bool {
        self.shared.pace.lock().is_quiet()
    }

    /// The replica has stopped, by [`Self::stop`] or by a failure of its own.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// Stops this replica; its log stays.
    pub async fn stop(&self) {
        self.shared.mark_stopped();
        self.shared.node.forget(self.shard());
        if let Some(raft) = self.shared.raft_even_if_stopped() {
            let shutdown = raft.shutdown();
            let _ = quorate_env::scope::within(self.shared.env.scope(), shutdown).await;
        }
    }
}

fn nobody() -> Membership {
    Membership {
        position: LogPosition::default(),
        encoded: bytes::Bytes::new(),
        replicas: Vec::new(),
        joint: false,
    }
}

pub(crate) fn stopped(shard: ShardId) -> KvError {
    KvError::NotReady { shard, why: "the replica is stopped".into() }
}
