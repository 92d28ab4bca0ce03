//! Three simulated nodes with shard servers, and a client that finds the leader.

use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_consensus::{Consensus, ConsensusConfig};
use quorate_env::sim::{SimConfig, SimWorld};
use quorate_env::{Env, NodeId};
use quorate_proto::kv::*;
use quorate_proto::placement::{ReplicaCommand, ReplicaReply};
use quorate_proto::{
    Key, KvError, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span, Timestamp, TxnId, Value,
};
use quorate_shard_server::{Peers, ShardConfig, ShardServer};
use quorate_storage::{MemEngine, MemLog};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

#[derive(Clone, Default)]
pub struct Servers(Arc<Mutex<BTreeMap<NodeId, Arc<ShardServer>>>>);

impl Servers {
    pub fn get(&self, node: u64) -> Arc<ShardServer> {
        self.0.lock().get(&NodeId(node)).cloned().expect("the node is up")
    }

    fn all(&self) -> Vec<Arc<ShardServer>> {
        self.0.lock().values().cloned().collect()
    }

    /// The newest leader of the shard that owns `key`, and its descriptor.
    pub fn leader(&self, key: &Key) -> Option<(NodeId, ShardDescriptor, u64)> {
        let servers: Vec<_> = self.0.lock().iter().map(|(node, server)| (*node, server.clone())).collect();
        let reports =
            servers.iter().flat_map(|(node, server)| server.reports().into_iter().map(|r| (*node, r)));
        reports
            .filter(|(_, report)| report.leader && report.descriptor.contains(key))
            .max_by_key(|(_, report)| (report.descriptor.version, report.term))
            .map(|(node, report)| (node, report.descriptor, report.term))
    }

    /// Sends to whoever leads, for up to ten seconds.
    pub async fn send(&self, key: &Key, op: ShardOp) -> Result<ShardReply, KvError> {
        for _ in 0..1000 {
            if let Some((node, descriptor, _)) = self.leader(key) {
                match self.send_to(node.0, &descriptor, op.clone()).await {
                    Err(
                        KvError::NotLeader { .. } | KvError::NotReady { .. } | KvError::StaleRoute { .. },
                    ) => {}
                    other => return other,
                }
            }
            quorate_env::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody leads the shard of {key:?}");
    }

    pub async fn send_to(&self, node: u64, to: &ShardDescriptor, op: ShardOp) -> Result<ShardReply, KvError> {
        let request = ShardRequest { shard: to.id, version: to.version, config_epoch: to.config_epoch, op };
        self.get(node).handle(request).await.result
    }

    pub async fn command(&self, node: u64, command: ReplicaCommand) -> Result<ReplicaReply, KvError> {
        self.get(node).command(command).await.result
    }
}

#[async_trait]
impl Peers for Servers {
    async fn shard_call(&self, key: &Key, op: ShardOp) -> Result<ShardReply, KvError> {
        self.send(key, op).await
    }
}

pub struct Cluster {
    pub sim: SimWorld,
    pub servers: Servers,
    /// Of nodes that are started from now on.
    pub config: ShardConfig,
    disks: BTreeMap<u64, (MemEngine, MemLog)>,
}

impl Cluster {
    pub async fn start(sim: SimWorld, nodes: u64) -> Cluster {
        let mut cluster = Cluster {
            sim,
            servers: Servers::default(),
            config: ShardConfig::default(),
            disks: BTreeMap::new(),
        };
        for node in 1..=nodes {
            cluster.disks.insert(node, (MemEngine::new(), MemLog::new()));
            cluster.up(node).await;
        }
        cluster
    }

    pub fn engine(&self, node: u64) -> MemEngine {
        self.disks[&node].0.clone()
    }

    pub fn log(&self, node: u64) -> MemLog {
        self.disks[&node].1.clone()
    }

    pub async fn up(&mut self, node: u64) -> Env {
        let env = self.sim.start(NodeId(node), "test");
        let (engine, log) = self.disks[&node].clone();
        let (servers, inner, config) = (self.servers.clone(), env.clone(), self.config.clone());
        let scope = env.scope().clone();
        let server = quorate_env::scope::within(&scope, async move {
            let log = Arc::new(log.reopen(None));
            let consensus = Consensus::start(inner.clone(), log, ConsensusConfig::default());
            ShardServer::start(inner, Arc::new(engine), consensus, Arc::new(servers), config).await
        });
        let server = server.await.expect("the server starts");
        self.servers.0.lock().insert(NodeId(node), server);
        env
    }

    pub async fn crash(&mut self, node: u64) {
        self.sim.crash(NodeId(node)).await;
        self.servers.0.lock().remove(&NodeId(node));
        let (engine, log) = &self.disks[&node];
        log.crash(0);
        engine.crash();
    }

    /// The disk of a node that is down is replaced by an empty one.
    pub fn replace_disk(&mut self, node: u64) {
        self.disks.insert(node, (MemEngine::new(), MemLog::new()));
    }

    /// Founds the first shard on these nodes and waits for its leader.
    pub async fn found(&self, nodes: &[u64]) -> ShardDescriptor {
        let replicas = nodes.iter().map(|node| member(*node, ReplicaRole::Voter)).collect();
        let descriptor =
            ShardDescriptor { id: ShardId::FIRST, span: Span::ALL, version: 1, config_epoch: 1, replicas };
        for node in nodes {
            let command = ReplicaCommand::CreateShard { descriptor: descriptor.clone() };
            self.servers.command(*node, command).await.expect("created");
        }
        self.leader("a").await;
        descriptor
    }

    /// Has the leader of the shard that owns `key` change its members.
    pub async fn change_members(&self, key: &str, members: Vec<Replica>) -> ShardDescriptor {
        let (leader, shard, _) = self.leader(key).await;
        let command =
            ReplicaCommand::ChangeMembers { shard: shard.id, config_epoch: shard.config_epoch, members };
        match self.servers.command(leader, command).await {
            Ok(ReplicaReply::Changed(shards)) => shards[0].clone(),
            other => panic!("the members were not changed: {other:?}"),
        }
    }

    pub async fn leader(&self, key: &str) -> (u64, ShardDescriptor, u64) {
        for _ in 0..2000 {
            if let Some((node, descriptor, term)) = self.servers.leader(&Key::from(key)) {
                return (node.0, descriptor, term);
            }
            self.sim.sleep(Duration::from_millis(10)).await;
        }
        panic!("no leader for {key}");
    }

    /// Waits until another node than `not` leads in a later term than `term`.
    pub async fn other_leader(&self, key: &str, not: u64, term: u64) -> (u64, ShardDescriptor, u64) {
        for _ in 0..3000 {
            let (node, descriptor, now) = self.leader(key).await;
            if node != not && now > term {
                return (node, descriptor, now);
            }
            self.sim.sleep(Duration::from_millis(10)).await;
        }
        panic!("no other leader for {key}");
    }

    /// Waits until `check` holds, at most 30 s.
    pub async fn until(&self, what: &str, check: impl Fn() -> bool) {
        for _ in 0..3000 {
            if check() {
                return;
            }
            self.sim.sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    }

    pub fn now(&self) -> Timestamp {
        let up = self.sim.up();
        let clock = |node: &NodeId| self.sim.env(*node).map(|env| env.clock().physical());
        up.iter().filter_map(clock).max().expect("a node is up")
    }

    /// Commits, and waits the commit out as a coordinator does (PROTOCOL 15).
    pub async fn put(&self, txn: u64, key: &str, value: &str) -> Result<ShardReply, KvError> {
        let op = commit_op(txn, self.now(), key, value);
        let reply = self.servers.send(&Key::from(key), op).await;
        if let Ok(ShardReply::Committed(ts, _)) = &reply {
            while self.now() <= ts.plus(Duration::from_millis(10)) {
                self.sim.sleep(Duration::from_millis(1)).await;
            }
        }
        reply
    }

    pub async fn get(&self, key: &str) -> Option<String> {
        let reply = self.servers.send(&Key::from(key), get_op(key, self.now())).await;
        value_of(reply.expect("the read is answered"))
    }

    pub fn servers_up(&self) -> usize {
        self.servers.all().len()
    }
}

pub fn member(node: u64, role: ReplicaRole) -> Replica {
    Replica { id: ReplicaId(node), node: NodeId(node), role }
}

pub fn meta(txn: u64, anchor: &str, now: Timestamp) -> TxnMeta {
    TxnMeta {
        id: TxnId(u128::from(txn)),
        anchor: Key::from(anchor),
        attempt: 0,
        started: now,
        deadline: now.plus(Duration::from_secs(600)),
        // A gateway that nobody ever hears of: its transactions may be finished by others.
        gateway: NodeId(99),
        incarnation: 1,
        session: None,
    }
}

pub fn commit_op(txn: u64, now: Timestamp, key: &str, value: &str) -> ShardOp {
    ShardOp::CommitLocal(CommitLocal {
        txn: meta(txn, key, now),
        read_ts: now,
        commit_ts: now,
        commit_before: Timestamp::MAX,
        refresh: Vec::new(),
        checks: Vec::new(),
        writes: vec![Write { key: Key::from(key), value: Some(Value::from(value)) }],
    })
}

pub fn prepare_op(txn: u64, anchor: &str, now: Timestamp, key: &str, value: &str) -> ShardOp {
    ShardOp::Prepare(Prepare {
        txn: meta(txn, anchor, now),
        read_ts: now,
        commit_ts: now,
        commit_before: Timestamp::MAX,
        refresh: Vec::new(),
        checks: Vec::new(),
        writes: vec![Write { key: Key::from(key), value: Some(Value::from(value)) }],
        staging: None,
    })
}

pub fn read_op(txn: Option<TxnMeta>, key: &str, read_ts: Timestamp, lock: Option<LockMode>) -> ShardOp {
    ShardOp::Read(ReadRequest {
        txn,
        read_ts,
        uncertain_to: read_ts,
        may_forward: false,
        lock: lock.map(|mode| LockRequest { mode, wait: WaitPolicy::Block(0), firm: false }),
        ops: vec![ReadOp::Get(Key::from(key))],
        follower: false,
        number: 0,
        asked: read_ts,
    })
}

pub fn get_op(key: &str, read_ts: Timestamp) -> ShardOp {
    read_op(None, key, read_ts, None)
}

pub fn value_of(reply: ShardReply) -> Option<String> {
    let ShardReply::Read(reply) = reply else { panic!("not a read: {reply:?}") };
    let ReadResult::Get(row) = &reply.results[0] else { panic!("not a get") };
    row.as_ref().map(|row| row.value.escape_ascii().to_string())
}

/// Runs a scenario on three nodes in a world of its own.
pub fn run<F, S>(seed: u64, scenario: S)
where
    S: FnOnce(Cluster) -> F + Send + 'static,
    F: std::future::Future<Output = ()> + Send + 'static,
{
    run_on(seed, 3, scenario);
}

/// The same on more nodes, of which some may be lost without fencing the clocks of the others.
pub fn run_on<F, S>(seed: u64, nodes: u64, scenario: S)
where
    S: FnOnce(Cluster) -> F + Send + 'static,
    F: std::future::Future<Output = ()> + Send + 'static,
{
    let config = SimConfig {
        clock_bound: Duration::from_millis(5),
        clock_skew: Duration::from_millis(1),
        ..SimConfig::new(seed)
    };
    let outcome =
        SimWorld::run(config, |sim| async move { scenario(Cluster::start(sim, nodes).await).await });
    outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}
