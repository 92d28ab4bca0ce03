//! What the parts of one replica share: openraft's glue, the message handlers, the driver and the public [`crate::Group`].

use crate::frontiers::{Cut, Tracker};
use crate::lease::{Ack, Standing};
use crate::node_state::NodeState;
use crate::raft::apply::Machine;
use crate::raft::types::{StoredMembership, Types};
use crate::{Leadership, Lease, Membership, StateMachine};
use openraft::Raft;
use parking_lot::Mutex;
use quorate_env::{Env, planted, watch};
use quorate_proto::{LogPosition, NodeId, ReplicaId, Room, ShardId, Space, Timestamp};
use quorate_storage::{GroupKey, LogStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// How often it is looked whether there is room again.
const NO_ROOM_LOOK: Duration = Duration::from_millis(100);

pub(crate) type RaftHandle = Raft<Types, Machine>;

pub(crate) struct Shared {
    pub env: Env,
    pub node: Arc<NodeState>,
    pub key: GroupKey,
    pub log: Arc<dyn LogStore>,
    pub machine: Arc<dyn StateMachine>,
    pub frontiers: Mutex<Tracker>,
    pub elections: Mutex<Elections>,
    pub leadership: watch::Sender<Leadership>,
    /// The newest membership in the log, committed or not.
    pub members: Mutex<Arc<Members>>,
    pub pace: Mutex<crate::pacing::Pace>,
    /// Appends of which streams are expected from whom; see [`crate::receive`].
    pub inbound: Mutex<Vec<Inbound>>,
    /// Wakes the task that publishes leadership.
    pub changed: Notify,
    raft: OnceLock<RaftHandle>,
    durable: watch::Sender<LogPosition>,
    applied: watch::Sender<LogPosition>,
    /// Boottime of the last proposal, in microseconds.
    activity: AtomicU64,
    /// The driver looks at it at its next step, or only later, unless it is stirred.
    rests: AtomicBool,
    stirs: AtomicU64,
    /// Boottime (microseconds) before which trimming and the like need not be looked after.
    pub tidy_after: AtomicU64,
    /// The last index that openraft was asked to trim the log up to.
    pub trim_asked: AtomicU64,
    stopped: AtomicBool,
}

pub(crate) struct Inbound {
    pub from: NodeId,
    pub stream: u64,
    pub next: u64,
}

/// A leadership that this replica has seen an append of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub term: u64,
    pub replica: ReplicaId,
    pub node: NodeId,
    /// Of the leader's process: support of a later one does not bind this group.
    pub incarnation: u64,
    /// It has ended by its own word (hand-over, step-down).
    pub released: bool,
}

/// Promises around votes and leases. One lock, so that a vote and a lease never cross.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    pub known: Option<Known>,
    /// Acknowledgements by replica id, while leading.
    pub acks: BTreeMap<u64, Ack>,
    /// No lease in terms up to this one: handed over, voted against, or released.
    pub barred: u64,
    /// Boottime at which the newest term was barred by this replica's own word.
    pub barred_at: Duration,
    /// Votes that openraft is deciding; no lease meanwhile.
    pub pending_votes: u32,
    /// The group was founded in this life of the process, so no earlier life can have promised anything about it.
    pub founded: bool,
    /// Position of the newest blank entry applied: its term's leader may evaluate.
    pub blank: LogPosition,
    /// The largest clock reading that voters reported of earlier leaders, by candidacy term.
    pub clocks: (u64, Timestamp),
}

/// A membership as the lease and the driver need it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    pub view: Option<Membership>,
    pub configs: Vec<BTreeSet<u64>>,
    pub nodes: BTreeMap<u64, NodeId>,
}

impl Members {
    pub fn new(stored: &StoredMembership) -> Self {
        Members {
            view: Some(crate::raft::types::membership(stored)),
            configs: stored.membership().get_joint_config().clone(),
            nodes: stored.nodes().map(|(id, member)| (*id, NodeId(member.node))).collect(),
        }
    }

    pub fn voters(&self) -> BTreeSet<u64> {
        self.configs.iter().flatten().copied().collect()
    }

    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.configs.iter().any(|config| config.contains(&replica.0))
    }

    /// Whether the replicas that satisfy the condition are a majority of every active configuration.
    pub fn is_quorum(&self, holds: impl Fn(u64) -> bool) -> bool {
        !self.configs.is_empty()
            && self.configs.iter().all(|c| c.iter().filter(|id| holds(**id)).count() > c.len() / 2)
    }
}

impl Shared {
    pub fn new(
        node: Arc<NodeState>,
        key: GroupKey,
        log: Arc<dyn LogStore>,
        machine: Arc<dyn StateMachine>,
        frontiers: Tracker,
        founded: bool,
    ) -> Arc<Self> {
        let (durable, _) = watch::channel(frontiers.durable_position());
        let (applied, _) = watch::channel(frontiers.applied());
        let (leadership, _) = watch::channel(Leadership::default());
        Arc::new(Shared {
            env: node.env.clone(),
            node,
            key,
            log,
            machine,
            frontiers: Mutex::new(frontiers),
            elections: Mutex::new(Elections { founded, ..Elections::default() }),
            leadership,
            members: Mutex::default(),
            pace: Mutex::default(),
            inbound: Mutex::default(),
            changed: Notify::new(),
            raft: OnceLock::new(),
            durable,
            applied,
            activity: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            stirs: AtomicU64::new(0),
            tidy_after: AtomicU64::new(0),
            trim_asked: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    pub fn shard(&self) -> ShardId {
        self.key.shard
    }

    pub fn replica(&self) -> ReplicaId {
        self.key.replica
    }

    pub fn set_raft(&self, raft: RaftHandle) {
        let _ = self.raft.set(raft);
    }

    /// `None` until openraft has started, and after the replica was stopped.
    pub fn raft(&self) -> Option<&RaftHandle> {
        if self.is_stopped() { None } else { self.raft.get() }
    }

    pub fn raft_even_if_stopped(&self) -> Option<&RaftHandle> {
        self.raft.get()
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// From now on nothing is proposed, answered or led here.
    pub fn mark_stopped(&self) {
        self.stopped.store(true, Ordering::Release);
        let mut elections = self.elections.lock();
        elections.barred = u64::MAX;
        drop(elections);
        // Those who wait look again, and find it stopped.
        self.durable.send_modify(|_| ());
        self.applied.send_modify(|_| ());
        self.changed.notify_one();
    }

    pub fn members(&self) -> Arc<Members> {
        self.members.lock().clone()
    }

    /// Called by the log writer.
    pub fn note_durable(&self, last: LogPosition, cut: Cut) {
        let moved = self.frontiers.lock().durable(last, cut);
        if let Some(durable) = moved {
            self.durable.send_replace(durable);
        }
    }

    /// Waits until the log is durable here up to `index`: A never passes D. `false` if the replica is stopped before.
    pub async fn wait_durable(&self, index: u64) -> bool {
        let mut durable = self.durable.subscribe();
        loop {
            // The tracker knows of snapshots as well.
            let here = self.frontiers.lock().durable_position().index >= index;
            if here || planted!("consensus.applied_before_durable") {
                return true;
            }
            if self.is_stopped() || durable.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Waits until the engine has room for what entries change. `false` if the replica is stopped before.
    pub async fn wait_room(&self) -> bool {
        while !self.machine.has_room() {
            if self.is_stopped() {
                return false;
            }
            quorate_env::probe!("consensus.waited_for_room");
            self.env.sleep(NO_ROOM_LOOK).await;
        }
        true
    }

    /// What the entries in the log take.
    pub fn log_bytes(&self) -> u64 {
        self.log.state(self.key).bytes
    }

    /// F: up to here the log may go.
    pub fn flushed(&self) -> LogPosition {
        if planted!("consensus.trimmed_before_flushed") {
            return self.frontiers.lock().applied();
        }
        self.machine.flushed()
    }

    pub fn note_applied(&self) {
        let applied = self.frontiers.lock().applied();
        self.applied.send_replace(applied);
    }

    pub fn applied_watch(&self) -> watch::Receiver<LogPosition> {
        self.applied.subscribe()
    }

    pub fn note_blank_applied(&self, at: LogPosition) {
        let mut elections = self.elections.lock();
        if at > elections.blank {
            elections.blank = at;
            drop(elections);
            self.changed.notify_one();
        }
    }

    pub fn note_activity(&self, now: Duration) {
        self.activity.fetch_max(now.as_micros() as u64, Ordering::Relaxed);
        if self.rests.load(Ordering::Relaxed) {
            self.stir(|_| ());
        }
    }

    pub fn last_activity(&self) -> Duration {
        Duration::from_micros(self.activity.load(Ordering::Relaxed))
    }

    /// For [`Self::look_again`]: what has stirred the group so far.
    pub fn stirs(&self) -> u64 {
        self.stirs.load(Ordering::SeqCst)
    }

    /// The driver looks at it then, or at its next step if something has stirred the group since `stirs` was read.
    pub fn look_again(&self, at: Duration, stirs: u64) {
        let mut agenda = self.node.agenda.lock();
        if self.is_stopped() {
            return;
        }
        self.rests.store(!at.is_zero(), Ordering::SeqCst);
        agenda.put(self.shard(), at);
        if self.stirs() != stirs {
            self.rests.store(false, Ordering::SeqCst);
            agenda.put(self.shard(), Duration::ZERO);
        }
    }

    /// Changes the pace, and has the driver look at it at its next step.
    pub fn stir(&self, change: impl FnOnce(&mut crate::pacing::Pace)) {
        change(&mut self.pace.lock());
        self.stirs.fetch_add(1, Ordering::SeqCst);
        if self.rests.swap(false, Ordering::SeqCst) {
            self.node.agenda.lock().put(self.shard(), Duration::ZERO);
        }
    }

    /// An acknowledgement of `replica` for a message of `ack.term`.
    pub fn note_ack(&self, replica: u64, ack: Ack) {
        let acks = &mut self.elections.lock().acks;
        if let Some(ack) = ack.after(acks.get(&replica)) {
            acks.insert(replica, ack);
        }
    }

    /// Runs `with` on the arithmetic of the lease of `term`.
    pub fn standing<R>(&self, elections: &Elections, term: u64, with: impl FnOnce(&Standing<'_>) -> R) -> R {
        let members = self.members();
        let received = self.node.received.lock();
        let standing = Standing {
            me: self.replica().0,
            term,
            configs: &members.configs,
            acks: &elections.acks,
            promise: &|voter| members.nodes.get(&voter).and_then(|node| received.promise(*node)).copied(),
        };
        with(&standing)
    }

    /// Another voter whose node answers.
    pub fn reachable_heir(&self) -> Option<ReplicaId> {
        let now = self.env.boottime();
        let members = self.members();
        let received = self.node.received.lock();
        let near = |voter: &u64| members.nodes.get(voter).is_some_and(|node| received.reaches(*node, now));
        members.voters().into_iter().find(|voter| *voter != self.replica().0 && near(voter)).map(ReplicaId)
    }

    /// The nodes among the members' whose disks stand in the way of new rows: this one, or so many that no quorum is left that
    /// has room.
    pub fn without_room(&self) -> Vec<(NodeId, Space)> {
        let own = (self.env.node(), self.env.space().get());
        if own.1.room > Room::Plenty {
            return vec![own];
        }
        let members = self.members();
        let heard = self.node.granted.lock();
        let space = |voter: u64| {
            let node = *members.nodes.get(&voter)?;
            Some((node, heard.space(node))).filter(|(_, space)| space.room > Room::Plenty)
        };
        if members.is_quorum(|voter| space(voter).is_none()) {
            return Vec::new();
        }
        members.voters().into_iter().filter_map(space).collect()
    }

    /// Another voter whose node answers, has room for new rows, and does not drain.
    pub fn fit_heir(&self) -> Option<ReplicaId> {
        let now = self.env.boottime();
        let members = self.members();
        let (received, heard) = (self.node.received.lock(), self.node.granted.lock());
        let fit = |voter: &u64| {
            let node = members.nodes.get(voter);
            node.is_some_and(|node| received.reaches(*node, now) && heard.is_fit_to_lead(*node))
        };
        members.voters().into_iter().find(|voter| *voter != self.replica().0 && fit(voter)).map(ReplicaId)
    }

    /// The lease as of now. Everything it rests on is looked at under the lock that votes take, too.
    pub fn lease(&self) -> Option<Lease> {
        let leadership = self.leadership.borrow().clone();
        let fenced = self.env.clock().is_fenced() && !planted!("consensus.fenced_lease");
        if !leadership.ready || self.is_stopped() || fenced {
            return None;
        }
        let elections = self.elections.lock();
        self.lease_of(&elections, leadership.term)
    }

    pub fn lease_of(&self, elections: &Elections, term: u64) -> Option<Lease> {
        let voting = elections.pending_votes > 0 && !planted!("consensus.lease_during_vote");
        if elections.barred >= term || voting {
            return None;
        }
        let now = self.env.boottime();
        let alone = now + self.node.config.support / 5 * 4;
        let until = self.standing(elections, term, |s| s.lease(now, self.env.clock().physical(), alone))?;
        Some(Lease { term, until })
    }
}
