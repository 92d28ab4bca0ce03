//! Fake shards on simulated nodes, for the coordinator's tests: leaders that evaluate as real ones do, without consensus.

#![allow(dead_code)]

pub mod graph;
pub mod history;
pub mod store;

use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_env::{
    Env, NodeId, rpc,
    sim::{SimConfig, SimWorld},
};
use quorate_proto::{
    Key, KvError, ReplicaId, ShardId, Timestamp, Value,
    kv::{LockMode, LockRequest, ReadResult, ShardOp, ShardReply, ShardRequest, WaitPolicy},
    placement::MapUpdate,
};
use quorate_txn::{Coordinator, MemoryScratch, Router, TxnConfig, route::MapSource};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use store::{Step, Store};

/// Waits longer than this for a lock end with an error.
const LOCK_CAP: Duration = Duration::from_millis(400);
/// Of a plain read, for intents.
const READER_CAP: Duration = Duration::from_secs(2);
/// This node's transactions keep nothing in memory, as large ones do.
pub const FRUGAL: NodeId = NodeId(3);
/// Silence after which an undecided transaction is aborted by others.
const LIVENESS: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct FakeShards {
    pub world: SimWorld,
    pub store: Arc<Mutex<Store>>,
    pub coordinators: Arc<Mutex<BTreeMap<NodeId, Arc<Coordinator>>>>,
    pub faults: Arc<Mutex<Faults>>,
    config: TxnConfig,
}

/// What goes wrong besides the network.
#[derive(Default)]
pub struct Faults {
    /// Of a hundred answers, so many get lost after the work is done.
    pub lose_answers: u64,
    /// Loses the answers of the next requests of this kind.
    pub lose_next: Option<(&'static str, usize)>,
    /// Requests of this kind are carried out so much later.
    pub late: Option<(&'static str, Duration)>,
    /// Requests of this kind stand in line for so long, and are then told to come again.
    pub crowded: Option<(&'static str, Duration)>,
    /// Nobody looks for circles of waiters.
    pub unwatched: bool,
    /// The shards answer nothing any more.
    pub mute: bool,
    /// Kinds of requests that shards have got, in order (without background ones).
    pub seen: Vec<&'static str>,
}

pub fn kind(op: &ShardOp) -> &'static str {
    match op {
        ShardOp::Read(read) if read.lock.is_some() => "lock",
        ShardOp::Read(_) => "read",
        ShardOp::CommitLocal(_) => "local",
        ShardOp::Prepare(_) => "prepare",
        ShardOp::Decide(_) => "decide",
        ShardOp::Resolve(_) => "resolve",
        ShardOp::Refresh(_) => "refresh",
        ShardOp::QueryTxn(_) => "query",
        ShardOp::Heartbeat(_) => "heartbeat",
        ShardOp::ReleaseLocks(_) => "release",
        ShardOp::Waits(_) => "waits",
        ShardOp::Prevent(_) => "prevent",
        ShardOp::Settle(_) => "settle",
    }
}

struct Map(Arc<Mutex<Store>>);

#[async_trait]
impl MapSource for Map {
    async fn changes(&self, _after: u64) -> Option<MapUpdate> {
        let changed = self.0.lock().descriptors();
        Some(MapUpdate { version: 1, changed, full: false, ..MapUpdate::default() })
    }
}

impl FakeShards {
    pub fn start(world: SimWorld, starts: &[&str], nodes: u64, config: TxnConfig) -> Self {
        let ids: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let epsilon = Duration::from_millis(10);
        let shards = FakeShards {
            world,
            store: Arc::new(Mutex::new(Store::new(starts, &ids, epsilon))),
            coordinators: Arc::default(),
            faults: Arc::default(),
            config,
        };
        ids.into_iter().for_each(|id| shards.up(id));
        shards
    }

    pub fn up(&self, id: NodeId) {
        let env = self.world.start(id, "c");
        let shards = self.clone();
        let own = env.clone();
        rpc::serve(&env, move |_, request: ShardRequest| {
            let (shards, env) = (shards.clone(), own.clone());
            async move { shards.serve(&env, request).await }
        });
        let source = Some(Arc::new(Map(self.store.clone())) as Arc<dyn MapSource>);
        let router = Router::with_source(env.clone(), source, Duration::from_secs(5));
        let mut config = self.config.clone();
        if id == FRUGAL {
            config.memory_bytes = 0;
        }
        let coordinator = Coordinator::new(env, router, config, Arc::new(MemoryScratch));
        self.coordinators.lock().insert(id, coordinator);
    }

    /// Until all nodes have measured one another's clocks, before which they are fenced.
    pub async fn settled(&self) {
        let envs = || self.world.up().into_iter().filter_map(|id| self.world.env(id));
        self.world.sleep(Duration::from_secs(1)).await;
        while envs().any(|env| env.clock().is_fenced()) {
            self.world.sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn crash(&self, id: NodeId) {
        self.coordinators.lock().remove(&id);
        self.world.crash(id).await;
        let (now, heir) = (self.now(), self.world.up()[0]);
        let mut store = self.store.lock();
        let led: Vec<ShardId> =
            store.shards.iter().filter(|(_, s)| s.leader == id).map(|(id, _)| *id).collect();
        led.into_iter().for_each(|shard| store.move_leader(shard, heir, now));
    }

    pub fn now(&self) -> Timestamp {
        let up = self.world.up();
        self.world.env(up[0]).expect("up").clock().physical()
    }

    pub fn coordinator(&self, id: u64) -> Arc<Coordinator> {
        self.coordinators.lock()[&NodeId(id)].clone()
    }

    async fn serve(&self, env: &Env, request: ShardRequest) -> quorate_proto::kv::ShardAnswer {
        let (what, began) = (kind(&request.op), env.boottime());
        self.faults.lock().seen.push(what);
        let cap = match &request.op {
            ShardOp::Read(read) => match read.lock.as_ref().map(|lock| lock.wait) {
                Some(WaitPolicy::Block(millis)) => LOCK_CAP.min(Duration::from_millis(millis)),
                _ => Duration::from_secs(10),
            },
            _ => Duration::from_secs(10),
        };
        let late = self.faults.lock().late.filter(|(kind, _)| *kind == what);
        if let Some((_, by)) = late {
            env.sleep(by).await;
        }
        let crowded = self.faults.lock().crowded.filter(|(kind, _)| *kind == what);
        if let Some((_, wait)) = crowded {
            env.sleep(wait).await;
        }
        let mut pause = Duration::from_millis(1);
        let result = loop {
            if crowded.is_some() {
                break Err(KvError::Overloaded { what: "a shard".into(), retry_after_millis: 100 });
            }
            if self.faults.lock().mute {
                std::future::pending::<()>().await;
            }
            let now = env.clock().physical();
            let step = self.store.lock().handle(env.node(), &request, now);
            match step {
                Step::Done(result) => break result,
                Step::Wait { key, holder, lock } => {
                    let now = env.clock().physical();
                    self.store.lock().push(&key, &holder, lock, now, LIVENESS);
                    let plain = matches!(&request.op, ShardOp::Read(read) if read.lock.is_none());
                    let cap = match (plain, lock) {
                        (true, _) => READER_CAP,
                        (_, true) => cap.min(LOCK_CAP),
                        _ => cap,
                    };
                    if (plain || lock) && env.boottime() - began > cap {
                        let holder = Some(holder.party());
                        break Err(if self.faults.lock().unwatched {
                            KvError::WaitUnwatched { key, holder }
                        } else {
                            KvError::LockTimeout { key, holder }
                        });
                    }
                    if env.boottime() - began > cap {
                        break Err(KvError::Timeout { why: "an intent stays".into() });
                    }
                    env.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
            }
        };
        if matches!(what, "local" | "prepare" | "decide") {
            // A consensus round.
            env.sleep(Duration::from_micros(800)).await;
        }
        if let Ok(ShardReply::Read(reply)) = &result {
            // Whoever reveals a version waits for its time (PROTOCOL 15).
            let rows = reply.results.iter().flat_map(|result| match result {
                ReadResult::Get(row) => row.as_slice(),
                ReadResult::Scan(scan) => &scan.rows,
            });
            if let Some(met) = rows.map(|row| row.ts).max() {
                let clock = env.clock();
                let past = if clock.commit_wait() { met.plus(clock.bound()) } else { met };
                clock.wait_until_past(past).await;
            }
        }
        if self.loses(what) {
            env.sleep(Duration::from_secs(3600)).await;
        }
        quorate_proto::kv::ShardAnswer { result, newer: Vec::new() }
    }

    fn loses(&self, what: &'static str) -> bool {
        let mut faults = self.faults.lock();
        if let Some((kind, left)) = &mut faults.lose_next
            && *kind == what
            && *left > 0
        {
            *left -= 1;
            return true;
        }
        let odds = faults.lose_answers;
        drop(faults);
        odds > 0 && self.world.random().range(0..100) < odds
    }

    pub fn seen(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.faults.lock().seen)
    }

    /// What the client may rely on: the newest committed value.
    pub fn value(&self, key: &str) -> Option<String> {
        let store = self.store.lock();
        let (_, version) = store.versions.get(key.as_bytes())?.last_key_value()?;
        version.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

pub fn key(text: &str) -> Key {
    Key::from(text)
}

pub fn value(text: &str) -> Value {
    Value::from(text)
}

pub fn exclusive() -> Option<LockRequest> {
    Some(LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0), firm: false })
}

pub fn replica(id: u64) -> ReplicaId {
    ReplicaId(id)
}

/// Runs a scenario over shards that begin at `""`, `"h"` and `"p"`, on three nodes.
pub fn run<F>(config: SimConfig, scenario: impl FnOnce(FakeShards) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    run_as(config, TxnConfig::default(), scenario);
}

/// The same; `parallel` says whether commits are staged where that is possible.
pub fn run_with<F>(config: SimConfig, parallel: bool, scenario: impl FnOnce(FakeShards) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    run_as(config, TxnConfig { parallel_commit: parallel, ..TxnConfig::default() }, scenario);
}

/// The same with coordinators of this kind.
pub fn run_as<F>(config: SimConfig, txn: TxnConfig, scenario: impl FnOnce(FakeShards) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let seed = config.seed;
    let outcome = SimWorld::run(config, move |world| async move {
        let shards = FakeShards::start(world, &["", "h", "p"], 3, txn);
        shards.settled().await;
        scenario(shards).await;
    });
    outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}
