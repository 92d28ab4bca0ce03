//! A whole node, wired as the binary wires it, over an engine and a log that lose what was not synced.

use crate::knobs::Knobs;
use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_consensus::Consensus;
use quorate_env::sim::SimWorld;
use quorate_env::{Env, PlacementClient};
use quorate_placement::{Founding, Host};
use quorate_proto::{
    Key, KvError, NodeId, Replica, ReplicaId, ReplicaRole, ShardId,
    kv::{ShardOp, ShardReply},
    placement::{Leaving, NodeInfo, PlacementReply, PlacementRequest, ReplicaReport},
};
use quorate_shard_server::{Peers, ShardServer};
use quorate_storage::{CachedEngine, MemEngine, MemLog, engine::mem::MemFault};
use quorate_txn::{Coordinator, MemoryScratch, Router, route::SendOptions};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// A client gives up waiting for an answer after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two heartbeats to the placement driver.
const PULSE: Duration = Duration::from_millis(500);

/// What survives a crash, as far as it was synced.
#[derive(Clone)]
pub struct Disk {
    pub engine: Arc<MemEngine>,
    pub log: MemLog,
    /// How many times longer than usual a sync takes.
    slowness: Arc<AtomicU64>,
    full: Arc<AtomicBool>,
}

impl Disk {
    pub fn new() -> Self {
        Disk {
            engine: Arc::new(MemEngine::new()),
            log: MemLog::new(),
            slowness: Arc::new(AtomicU64::new(1)),
            full: Arc::default(),
        }
    }

    /// The machine has lost its power: `torn` of the log writes that waited made it to the disk.
    pub fn crash(&self, torn: usize) {
        self.engine.crash();
        self.log.crash(torn);
    }

    /// From now on each sync takes so many times longer than usual.
    pub fn slow_down(&self, times: u64) {
        self.slowness.store(times, Ordering::Relaxed);
    }

    /// Whether nothing more fits on it.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
        self.log.stall(full);
        self.engine.fail(MemFault::Full, full);
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// The log as the next life of the node opens it: each sync takes a while of the node's own time.
    fn open_log(&self, env: &Env) -> MemLog {
        let weak = Arc::downgrade(env.scope());
        let slowness = self.slowness.clone();
        let later = move |sync: Box<dyn FnOnce() + Send>| {
            let Some(scope) = weak.upgrade() else { return };
            let micros = scope.random().range(50..1500) * slowness.load(Ordering::Relaxed);
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
    pub driver: Arc<PlacementClient>,
    pub coordinator: Arc<Coordinator>,
    /// Held so that the replica of the driver lives as long as the node.
    pub host: Arc<Host>,
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

/// The placement driver's members at first.
pub fn founders(nodes: &[NodeId]) -> Vec<Replica> {
    let replica = |&node: &NodeId| Replica { id: ReplicaId(node.0), node, role: ReplicaRole::Voter };
    nodes.iter().map(replica).collect()
}

/// Starts a node on its disk, for the first time or again.
///
/// # Errors
/// When it cannot open what the disk holds.
pub async fn start(
    world: &SimWorld,
    id: NodeId,
    disk: &Disk,
    nodes: &[NodeId],
    knobs: &Knobs,
) -> Result<Node, String> {
    let env = world.start(id, "simulated");
    let booted: Arc<OnceLock<Result<Node, String>>> = Arc::default();
    let (slot, disk, founders, knobs) = (booted.clone(), disk.clone(), founders(nodes), knobs.clone());
    // Inside the node, so that whatever is spawned on the way belongs to it.
    let boot = {
        let env = env.clone();
        env.clone().spawn("node.boot", async move {
            let _ = slot.set(boot(env, disk, founders, knobs).await);
        })
    };
    let _ = boot.join().await;
    booted.get().cloned().unwrap_or_else(|| Err("crashed while starting".into()))
}

async fn boot(env: Env, disk: Disk, founders: Vec<Replica>, knobs: Knobs) -> Result<Node, String> {
    let consensus = Consensus::start(env.clone(), Arc::new(disk.open_log(&env)), knobs.consensus);
    let nodes = founders.iter().map(|member| member.node).collect();
    let driver = Arc::new(PlacementClient::new(env.clone(), nodes));
    let router = Router::new(env.clone(), driver.clone());
    let peers = Arc::new(Routed(router.clone()));
    let engine = CachedEngine::over(disk.engine);
    let shards = ShardServer::start(env.clone(), engine.clone(), consensus.clone(), peers, knobs.shard)
        .await
        .map_err(|error| error.to_string())?;
    // A node that has lost its disk does not come back here.
    let founds = founders.iter().any(|member| member.node == env.node());
    let founding = founds.then_some(Founding { members: founders, done: false });
    let host = Host::start(env.clone(), consensus.clone(), engine, driver.clone(), founding).await;
    let host = host.map_err(|error| error.to_string())?;
    let coordinator = Coordinator::new(env.clone(), router.clone(), knobs.txn, Arc::new(MemoryScratch));
    let node = Node { env: env.clone(), shards, driver, coordinator, host };
    env.spawn("node.pulse", pulse(node.clone(), consensus, (knobs.gc_ttl, knobs.zones))).detach();
    Ok(node)
}

/// Tells the driver of the node and its replicas, and takes the shard map from its answers.
async fn pulse(node: Node, consensus: Arc<Consensus>, (gc_ttl, zones): (Duration, u64)) {
    let Node { env, shards, driver, coordinator, host } = node;
    let router = coordinator.router().clone();
    let mut acknowledged: BTreeMap<ShardId, ReplicaReport> = BTreeMap::new();
    let mut full = true;
    loop {
        // One that has gone can only be told by listing all that are left.
        let held = shards.held();
        full |= !acknowledged.keys().all(|shard| held.contains(shard));
        let mut changed = if full { shards.reports() } else { shards.news() };
        if full {
            acknowledged.clear();
        }
        changed.retain(|report| acknowledged.get(&report.shard) != Some(report));
        let request = PlacementRequest::Heartbeat {
            node: info(&env, zones),
            clock_offset_micros: env.clock().offset_micros(),
            space: env.space().get(),
            changed: changed.clone(),
            full,
            map_version: router.map_version(),
            schema_version: 0,
            holds: coordinator.holds(),
            sessions: 0,
            carries: host.carries(),
            tempo: env.tempo().get(env.boottime()),
        };
        match driver.request(request, 4 * PULSE).await {
            Ok(PlacementReply::Heartbeat {
                map, want_full, horizon, leaving, gone, driver: members, ..
            }) => {
                driver.learn(&members);
                consensus.drain(leaving != Leaving::No);
                if leaving == Leaving::Gone {
                    env.clock().retire();
                }
                gone.iter().for_each(|left| env.transport().forget(*left));
                router.update(&map);
                if let Some(horizon) = horizon {
                    shards.set_gc_horizon(horizon, gc_ttl);
                }
                acknowledged.extend(changed.into_iter().map(|report| (report.shard, report)));
                full = want_full;
            }
            _ => full = true,
        }
        env.sleep(PULSE).await;
    }
}

fn info(env: &Env, zones: u64) -> NodeInfo {
    let zone = env.node().0.checked_rem(zones).map(|zone| ("zone".to_owned(), zone.to_string()));
    NodeInfo {
        id: env.node(),
        incarnation: env.incarnation(),
        rpc_address: format!("sim:{}", env.node()),
        sql_address: String::new(),
        http_address: String::new(),
        locality: zone.into_iter().collect(),
        roles: 0b111,
    }
}

/// The nodes that are up, shared by clients, nemesis and checks.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<BTreeMap<NodeId, Node>>>);

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

/// Runs a client's work inside the node that it is connected to; `None` if the node dies meanwhile, or time runs out.
pub async fn on_node<T, F, Fut>(node: &Node, work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce(Node) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
{
    let task = node.env.spawn("client.session", work(node.clone()));
    quorate_env::time::timeout(PATIENCE, task.join()).await.ok()?.ok()
}
