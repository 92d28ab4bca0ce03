//! What all groups of a node share: promises between nodes, answers on their way back, and the list of groups.

use crate::ConsensusConfig;
use crate::agenda::Agenda;
use crate::campaigns::Campaigns;
use crate::shared::Shared;
use crate::snapshot::{Pace as SnapshotPace, Transfers};
use crate::support::{Granted, Received};
use crate::wire::{Answer, OneWay, Route};
use parking_lot::{Mutex, RwLock};
use quorate_env::{Env, watch};
use quorate_proto::rpc::{Service, encode};
use quorate_proto::{NodeId, Room, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

pub(crate) struct NodeState {
    pub env: Env,
    pub config: ConsensusConfig,
    pub granted: Mutex<Granted>,
    pub received: Mutex<Received>,
    /// Until then an earlier life of this process may have promises out.
    pub young_until: Duration,
    /// It is about to stop: it still votes, and campaigns no more.
    pub leaving: AtomicBool,
    /// It leads only where nobody else can.
    pub drains: watch::Sender<bool>,
    pub transfers: Transfers,
    pub snapshots_sent: SnapshotPace,
    pub snapshots_received: SnapshotPace,
    pub agenda: Mutex<Agenda>,
    pub campaigns: Mutex<Campaigns>,
    /// A campaign is decided, and another one waits for its room.
    pub room: Notify,
    groups: RwLock<BTreeMap<ShardId, Arc<Shared>>>,
    /// Worked out anew when a group or its members have changed.
    peers: Mutex<Option<Arc<BTreeSet<NodeId>>>>,
    answers: Mutex<BTreeMap<u64, mpsc::UnboundedSender<Answer>>>,
    next_stream: AtomicU64,
}

impl NodeState {
    pub fn new(env: Env, config: ConsensusConfig) -> Arc<Self> {
        let incarnation = env.incarnation();
        let young_until = env.boottime() + config.support;
        let pace = || SnapshotPace::new(config.snapshot_bytes_per_second);
        Arc::new(NodeState {
            granted: Mutex::new(Granted::new(incarnation, config.support)),
            received: Mutex::new(Received::new(incarnation)),
            young_until,
            leaving: AtomicBool::new(false),
            drains: watch::Sender::new(false),
            transfers: Transfers::default(),
            snapshots_sent: pace(),
            snapshots_received: pace(),
            agenda: Mutex::default(),
            campaigns: Mutex::default(),
            room: Notify::new(),
            groups: RwLock::default(),
            peers: Mutex::default(),
            answers: Mutex::default(),
            next_stream: AtomicU64::new(1),
            env,
            config,
        })
    }

    /// Otherwise others come first.
    pub fn is_fit_to_lead(&self) -> bool {
        self.env.space().room() == Room::Plenty && !*self.drains.borrow()
    }

    pub fn group(&self, shard: ShardId) -> Option<Arc<Shared>> {
        self.groups.read().get(&shard).cloned()
    }

    /// The replica that a message is for, if the node carries it.
    pub fn addressee(&self, route: &Route) -> Option<Arc<Shared>> {
        self.group(route.shard).filter(|shared| shared.replica() == route.to && !shared.is_stopped())
    }

    pub fn groups(&self) -> Vec<Arc<Shared>> {
        self.groups.read().values().cloned().collect()
    }

    pub fn insert(&self, shared: Arc<Shared>) {
        let shard = shared.shard();
        self.groups.write().insert(shard, shared);
        self.members_changed();
        self.agenda.lock().put(shard, Duration::ZERO);
    }

    pub fn forget(&self, shard: ShardId) {
        self.groups.write().remove(&shard);
        self.members_changed();
        self.agenda.lock().remove(shard);
        self.campaign_ended(shard);
    }

    /// To be called after the change.
    pub fn members_changed(&self) {
        *self.peers.lock() = None;
    }

    /// The nodes that share a group with this one.
    pub fn peers(&self) -> Arc<BTreeSet<NodeId>> {
        let mut known = self.peers.lock();
        if let Some(peers) = &*known {
            return peers.clone();
        }
        let mut peers = BTreeSet::new();
        for shared in self.groups.read().values() {
            peers.extend(shared.members().nodes.values().copied());
        }
        peers.remove(&self.env.node());
        let peers = Arc::new(peers);
        *known = Some(peers.clone());
        peers
    }

    /// Every group is looked at anew: a promise from node to node has changed.
    pub fn stir_all(&self) {
        self.groups().iter().for_each(|shared| shared.stir(|_| ()));
    }

    pub fn campaign_ended(&self, shard: ShardId) {
        if self.campaigns.lock().end(shard) {
            self.room.notify_one();
        }
    }

    pub fn send(&self, to: NodeId, message: &OneWay<'_>) {
        self.env.transport().send(to, Service::Raft, encode(message));
    }

    /// Opens a stream of appends: its name, and where its answers arrive.
    pub fn open_stream(self: &Arc<Self>) -> AnswerStream {
        let stream = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let (tx, answers) = mpsc::unbounded_channel();
        self.answers.lock().insert(stream, tx);
        AnswerStream { node: self.clone(), stream, answers }
    }

    /// A number that no other transfer of this process has.
    pub fn unique(&self) -> u64 {
        self.next_stream.fetch_add(1, Ordering::Relaxed)
    }

    pub fn answered(&self, answer: Answer) {
        if let Some(stream) = self.answers.lock().get(&answer.stream) {
            let _ = stream.send(answer);
        }
    }
}

/// Closes the stream when dropped.
pub(crate) struct AnswerStream {
    node: Arc<NodeState>,
    pub stream: u64,
    pub answers: mpsc::UnboundedReceiver<Answer>,
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        self.node.answers.lock().remove(&self.stream);
    }
}
