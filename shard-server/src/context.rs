//! What all replicas of a node share, and which replicas there are. [`crate::registry`] alone adds and removes them.

use crate::{
    Peers, ShardConfig, closed::Closing, eval::room, flusher::Flush, gc::Collector, merge::Absorbed,
    news::News, replica::Replica, writers::Writers,
};
use parking_lot::{Mutex, RwLock};
use quorate_consensus::Consensus;
use quorate_env::{Env, gate::Gate};
use quorate_proto::{Key, NodeId, ShardDescriptor, ShardId, Span};
use quorate_storage::Engine;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub(crate) struct Context {
    pub env: Env,
    pub engine: Arc<dyn Engine>,
    pub consensus: Arc<Consensus>,
    pub peers: Arc<dyn Peers>,
    pub config: ShardConfig,
    pub flush: Flush,
    pub closing: Closing,
    pub collector: Collector,
    pub writers: Writers,
    pub news: News,
    /// Writes go through here before anything is done for them.
    pub writes: Arc<Gate>,
    pub(crate) replicas: RwLock<BTreeMap<ShardId, Arc<Replica>>>,
    pub(crate) absorbed: Mutex<Absorbed>,
    /// One creation or destruction at a time.
    pub(crate) registry: tokio::sync::Mutex<()>,
    /// Whose keys are whose stands still for whoever replaces or deletes ranges of keys.
    pub(crate) ranges: Mutex<()>,
    /// Since when no connection has stood to a gateway that someone asked for (on `Env::boottime`).
    silent: Mutex<BTreeMap<NodeId, Duration>>,
}

impl Context {
    pub(crate) fn new(
        env: Env,
        engine: Arc<dyn Engine>,
        consensus: Arc<Consensus>,
        peers: Arc<dyn Peers>,
        config: ShardConfig,
    ) -> Arc<Context> {
        Arc::new(Context {
            consensus,
            peers,
            flush: Flush::new(config.flush_bytes),
            closing: Closing::new(&env, config.closing_target),
            collector: Collector::default(),
            writers: Writers::default(),
            news: News::default(),
            writes: room::gate(&env, &engine, &config),
            engine,
            env,
            config,
            replicas: RwLock::default(),
            absorbed: Mutex::default(),
            registry: tokio::sync::Mutex::new(()),
            ranges: Mutex::new(()),
            silent: Mutex::default(),
        })
    }

    pub fn replica(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.replicas.read().get(&shard).cloned()
    }

    /// The shards of which there are replicas here, damaged ones too.
    pub fn held(&self) -> BTreeSet<ShardId> {
        self.replicas.read().keys().copied().collect()
    }

    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Other replicas on this node than `shard`'s that hold keys of the span.
    pub(crate) fn overlapping(&self, shard: ShardId, span: &Span) -> Vec<Arc<Replica>> {
        let overlaps = |r: &&Arc<Replica>| {
            r.shard != shard && !r.is_empty() && r.state.load().descriptor.span.overlaps(span)
        };
        self.replicas.read().values().filter(overlaps).cloned().collect()
    }

    /// What this node knows of who owns these keys now.
    pub(crate) fn owners<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<ShardDescriptor> {
        let mut keys: Vec<&Key> = keys.collect();
        let mut found: BTreeMap<ShardId, ShardDescriptor> = BTreeMap::new();
        for replica in self.replicas.read().values() {
            if keys.is_empty() {
                break;
            }
            let descriptor = &replica.state.load().descriptor;
            if !keys.iter().any(|key| descriptor.contains(key)) || replica.is_empty() {
                continue;
            }
            keys.retain(|key| !descriptor.contains(key));
            found.insert(descriptor.id, descriptor.clone());
        }
        found.into_values().collect()
    }

    /// Whether a transaction's coordinator is certainly or very probably gone: its process has restarted, or its node has
    /// been out of reach for a while. Undecided transactions may be aborted at any time, so an error here costs a retry.
    pub(crate) fn coordinator_is_over(&self, gateway: NodeId, incarnation: u64) -> bool {
        if gateway == self.env.node() {
            return incarnation != self.env.incarnation();
        }
        let peer = self.env.transport().peer(gateway);
        let mut silent = self.silent.lock();
        if let Some(peer) = &peer {
            if peer.connected {
                silent.remove(&gateway);
            }
            if peer.incarnation.is_some_and(|known| known != incarnation) {
                return true;
            }
            if peer.connected {
                return false;
            }
        }
        let now = self.env.boottime();
        now >= *silent.entry(gateway).or_insert(now) + self.config.gateway_silence
    }
}
