//! A whole node, wired as the binary wires it, over an engine and a log that lose what was not synced.

use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_consensus::{Consensus, ConsensusConfig};
use quorate_env::Env;
use quorate_env::sim::SimWorld;
use quorate_proto::{
    Key, KvError, NodeId, ReplicaId, ShardDescriptor,
    kv::{ShardOp, ShardReply},
    placement::{MapUpdate, ReplicaCommand},
};
use quorate_shard_server::{Peers, ShardConfig, ShardServer};
use quorate_storage::{MemEngine, MemLog};
use quorate_txn::{Coordinator, Router, TxnConfig, route::SendOptions};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What survives a crash, as far as it was synced.
#[derive(Clone)]
pub struct Disk {
    pub engine: Arc<MemEngine>,
    pub log: MemLog,
}

impl Disk {
    pub fn new() -> Self {
        Disk { engine: Arc::new(MemEngine::new()), log: MemLog::new() }
    }

    /// The machine has lost its power: `torn` of the log writes that waited made it to the disk.
    pub fn crash(&self, torn: usize) {
        self.engine.crash();
        self.log.crash(torn);
    }

    /// The log as the next life of the node opens it: each sync takes a while of the node's own time.
    fn open_log(&self, env: &Env) -> MemLog {
        let weak = Arc::downgrade(env.scope());
        let later = move |sync: Box<dyn FnOnce() + Send>| {
            let Some(scope) = weak.upgrade() else { return };
            let micros = scope.random().range(50..1500);
            scope.spawn("disk.sync", async move {
                quorate_env::time::sleep(Duration::from_micros(micros)).await;
                sync();
            });
        };
        self.log.reopen(Some(Arc::new(later)))
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// The parts of a running node.
#[derive(Clone)]
pub struct Node {
    pub env: Env,
    pub shards: Arc<ShardServer>,
    pub coordinator: Arc<Coordinator>,
}

/// Other shards, reached by the coordinator's router.
struct Routed(Arc<Router>);

#[async_trait]
impl Peers for Routed {
    async fn shard_call(&self, _key: &Key, op: ShardOp) -> Result<ShardReply, KvError> {
        let deadline = self.0.env().boottime() + Duration::from_secs(3);
        let options = SendOptions { deadline, attempt: Duration::from_secs(1), follower: false };
        self.0.send(op, options).await.map(|sent| sent.reply).map_err(|failed| failed.error)
    }
}

/// Starts a node on its disk; `founding` are the shards that it founds if it does not have them yet.
///
/// # Errors
/// When a replica cannot be opened.
pub async fn start(
    world: &SimWorld,
    id: NodeId,
    disk: &Disk,
    founding: &[ShardDescriptor],
) -> Result<Node, KvError> {
    let env = world.start(id, "simulated");
    let booted: Arc<OnceLock<Result<Node, KvError>>> = Arc::default();
    let (slot, disk, founding) = (booted.clone(), disk.clone(), founding.to_vec());
    // Inside the node, so that whatever is spawned on the way belongs to it.
    let boot = {
        let env = env.clone();
        env.clone().spawn("node.boot", async move {
            let _ = slot.set(boot(env, disk, founding).await);
        })
    };
    let _ = boot.join().await;
    let crashed = || Err(KvError::Internal { why: "crashed while starting".into() });
    booted.get().cloned().unwrap_or_else(crashed)
}

async fn boot(env: Env, disk: Disk, founding: Vec<ShardDescriptor>) -> Result<Node, KvError> {
    let config = TxnConfig::default();
    let consensus = Consensus::start(env.clone(), Arc::new(disk.open_log(&env)), ConsensusConfig::default());
    let router = Router::with_source(env.clone(), None, config.unavailable_after);
    let peers = Arc::new(Routed(router.clone()));
    let shards =
        ShardServer::start(env.clone(), disk.engine, consensus, peers, ShardConfig::default()).await?;
    for descriptor in &founding {
        shards.command(ReplicaCommand::CreateShard { descriptor: descriptor.clone() }).await.result?;
    }
    router.update(&MapUpdate { version: 1, changed: founding, full: true, ..MapUpdate::default() });
    let coordinator = Coordinator::new(env.clone(), router, config);
    Ok(Node { env, shards, coordinator })
}

/// Replica ids of the founding copies: the shard's number and the node's.
pub fn founding_replica(shard: u64, node: NodeId) -> ReplicaId {
    ReplicaId(shard * 100 + node.0)
}

/// The nodes that are up, shared by clients, nemesis and checks.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<std::collections::BTreeMap<NodeId, Node>>>);

impl Running {
    pub fn insert(&self, node: Node) {
        self.0.lock().insert(node.env.node(), node);
    }

    pub fn remove(&self, id: NodeId) -> Option<Node> {
        self.0.lock().remove(&id)
    }

    pub fn get(&self, id: NodeId) -> Option<Node> {
        self.0.lock().get(&id).cloned()
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.0.lock().keys().copied().collect()
    }

    /// One of them, drawn.
    pub fn any(&self, world: &SimWorld) -> Option<Node> {
        let nodes = self.0.lock();
        let at = world.random().range(0..nodes.len() as u64) as usize;
        nodes.values().nth(at).cloned()
    }
}
