//! Groups on real sockets, real disks and real time, three nodes in one process.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{ListMachine, Machine, REPLICAS, replicas};
use quorate_consensus::{Consensus, ConsensusConfig, ProposeError, Start};
use quorate_env::{Env, EnvConfig, NodeId};
use quorate_proto::{ReplicaId, ShardId};
use quorate_storage::{FileLog, FileLogOptions, LogStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Node {
    env: Env,
    log: Arc<dyn LogStore>,
    consensus: Arc<Consensus>,
}

struct Cluster {
    directory: tempfile::TempDir,
    nodes: BTreeMap<u64, Node>,
    addresses: BTreeMap<u64, String>,
    machines: BTreeMap<(u64, ShardId), Arc<ListMachine>>,
}

impl Cluster {
    async fn new() -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let mut cluster = Cluster {
            directory,
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            machines: BTreeMap::new(),
        };
        for node in 1..=3 {
            cluster.boot(node).await;
        }
        cluster
    }

    async fn boot(&mut self, node: u64) {
        let config = EnvConfig { clock_bound: Duration::from_millis(10), ..EnvConfig::new(NodeId(node)) };
        let env = Env::real(config).unwrap();
        let path = self.directory.path().join(node.to_string());
        let spawn = env.clone();
        let options = FileLogOptions { segment_size: 4 << 20, ..FileLogOptions::default() };
        let log =
            FileLog::open(&path, options, &|name, body| spawn.spawn_thread(name, body).map(drop)).unwrap();
        let consensus = Consensus::start(env.clone(), log.clone(), ConsensusConfig::default());
        let address = env.listen("127.0.0.1:0").await.unwrap().to_string();
        self.addresses.insert(node, address);
        self.nodes.insert(node, Node { env, log, consensus });
        for (id, node) in &self.nodes {
            for (other, address) in self.addresses.iter().filter(|(other, _)| *other != id) {
                node.env.transport().set_address(NodeId(*other), address.clone());
            }
        }
    }

    async fn found(&mut self, shard: ShardId) {
        let members = replicas(1..=3);
        for member in &members {
            let machine = ListMachine::founded(&members);
            self.machines.insert((member.node.0, shard), machine.clone());
            let start = Start::Founding { members: members.clone() };
            let consensus = &self.nodes[&member.node.0].consensus;
            consensus.open(shard, member.id, start, Arc::new(Machine(machine))).await.unwrap();
        }
    }

    fn leader(&self, shard: ShardId) -> Option<(u64, u64)> {
        let claims = self.nodes.iter().filter_map(|(id, node)| {
            let l = node.consensus.group(shard)?.leadership().borrow().clone();
            l.ready.then_some((l.term, *id))
        });
        claims.max().map(|(term, node)| (node, term))
    }

    fn describe(&self, shard: ShardId) -> String {
        let mut text = String::new();
        for (id, node) in &self.nodes {
            let fenced = node.env.clock().is_fenced();
            if let Some(group) = node.consensus.group(shard) {
                let leadership = group.leadership().borrow().clone();
                text += &format!(
                    "\n{id} fenced {fenced} {:?} {leadership:?} {:?}",
                    group.mode(),
                    group.frontiers()
                );
            }
        }
        text
    }

    async fn wait_leader(&self, shard: ShardId, within: Duration) -> (u64, u64) {
        let until = quorate_env::time::now() + within;
        loop {
            if let Some(found) = self.leader(shard) {
                return found;
            }
            assert!(
                quorate_env::time::now() < until,
                "no leader of {shard} within {within:?}: {}",
                self.describe(shard)
            );
            quorate_env::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn write(&self, shard: ShardId, value: String) {
        let until = quorate_env::time::now() + 20 * SECOND;
        loop {
            assert!(quorate_env::time::now() < until, "cannot write to {shard}");
            if let Some((node, term)) = self.leader(shard) {
                let group = self.nodes[&node].consensus.group(shard).unwrap();
                match group.propose(term, Bytes::from(value.clone())).await {
                    Ok(_) => return,
                    Err(ProposeError::Ambiguous(why)) => panic!("{why}"),
                    Err(_) => {}
                }
            }
            quorate_env::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As a crash would, except that what was written stays written.
    fn kill(&mut self, node: u64) {
        let node = self.nodes.remove(&node).unwrap();
        node.env.kill();
        node.log.close();
    }

    async fn restart(&mut self, node: u64) {
        self.boot(node).await;
        let shards: Vec<ShardId> =
            self.machines.keys().filter(|(n, _)| *n == node).map(|(_, shard)| *shard).collect();
        for shard in shards {
            let machine = self.machines[&(node, shard)].survivor();
            self.machines.insert((node, shard), machine.clone());
            let consensus = &self.nodes[&node].consensus;
            let replica = ReplicaId(node + REPLICAS);
            consensus.open(shard, replica, Start::Existing, Arc::new(Machine(machine))).await.unwrap();
        }
    }
}

/// Shows what `RUST_LOG` asks for; errors by default.
fn logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_survive_a_node_on_real_disks_and_sockets() {
    logs();
    let mut cluster = Cluster::new().await;
    let shards: Vec<ShardId> = (1..=8).map(ShardId).collect();
    for shard in &shards {
        cluster.found(*shard).await;
    }
    for shard in &shards {
        cluster.wait_leader(*shard, 5 * SECOND).await;
    }
    for round in 0..20 {
        let writes = shards.iter().map(|shard| cluster.write(*shard, format!("a{round}")));
        futures::future::join_all(writes).await;
    }
    cluster.kill(1);
    let died = quorate_env::time::now();
    for shard in &shards {
        cluster.wait_leader(*shard, 5 * SECOND).await;
    }
    println!("all 8 groups have leaders after {:?}", quorate_env::time::now() - died);
    for round in 0..20 {
        let writes = shards.iter().map(|shard| cluster.write(*shard, format!("b{round}")));
        futures::future::join_all(writes).await;
    }
    cluster.restart(1).await;
    let until = quorate_env::time::now() + 15 * SECOND;
    while !shards.iter().all(|shard| cluster.machines[&(1, *shard)].values().len() == 40) {
        assert!(quorate_env::time::now() < until, "the restarted node does not catch up");
        quorate_env::time::sleep(Duration::from_millis(20)).await;
    }
    for shard in &shards {
        let all: Vec<_> = (1..=3).map(|n| cluster.machines[&(n, *shard)].values()).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(all[0].len(), 40);
    }
}

/// By hand: `cargo test --release -p quorate-consensus --test real -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_groups_cost() {
    logs();
    let mut cluster = Cluster::new().await;
    let groups = std::env::var("QUORATE_GROUPS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let shards: Vec<ShardId> = (1..=groups).map(ShardId).collect();
    let started = quorate_env::time::now();
    for shard in &shards {
        cluster.found(*shard).await;
    }
    for shard in &shards {
        cluster.wait_leader(*shard, 20 * SECOND).await;
    }
    println!("{groups} groups × 3 founded and led after {:?}", quorate_env::time::now() - started);
    let mut led = BTreeMap::<u64, u64>::new();
    for shard in &shards {
        *led.entry(cluster.wait_leader(*shard, 10 * SECOND).await.0).or_default() += 1;
    }
    println!("leaders by node: {led:?}");
    quorate_env::time::sleep(6 * SECOND).await;
    let quiet = |cluster: &Cluster| {
        let groups = cluster.nodes.values().flat_map(|n| n.consensus.groups());
        groups.filter(|g| g.is_quiet()).count()
    };
    println!("quiet replicas: {}", quiet(&cluster));
    let (before, at) = (cpu(), quorate_env::time::now());
    quorate_env::time::sleep(10 * SECOND).await;
    let share = (cpu() - before).as_secs_f64() / (quorate_env::time::now() - at).as_secs_f64();
    println!("idle: {:.1} % of one core, all three nodes", share * 100.0);

    for (clients, each) in [(1usize, 300usize), (16, 100), (128, 50)] {
        let (before, at) = (cpu(), quorate_env::time::now());
        let fsyncs = |c: &Cluster| c.nodes.values().map(|n| n.log.fsyncs()).sum::<u64>();
        let synced = fsyncs(&cluster);
        let work = (0..clients).map(|client| {
            let (cluster, shards) = (&cluster, &shards);
            async move {
                let mut took = Vec::new();
                for n in 0..each {
                    let shard = shards[(client * 7 + n) % 8];
                    let begun = quorate_env::time::now();
                    cluster.write(shard, "x".repeat(128)).await;
                    took.push(quorate_env::time::now() - begun);
                }
                took
            }
        });
        let mut took: Vec<Duration> = futures::future::join_all(work).await.concat();
        took.sort();
        let (elapsed, used) = (quorate_env::time::now() - at, cpu() - before);
        let writes = took.len();
        println!(
            "{clients:4} clients on 8 groups: {:6.0} writes/s, p50 {:?}, p99 {:?}, {:.0} µs CPU a write, {:.1} fsyncs a write",
            writes as f64 / elapsed.as_secs_f64(),
            took[writes / 2],
            took[writes * 99 / 100],
            used.as_micros() as f64 / writes as f64,
            (fsyncs(&cluster) - synced) as f64 / writes as f64,
        );
    }
    quorate_env::time::sleep(6 * SECOND).await;
    cluster.kill(1);
    let died = quorate_env::time::now();
    for shard in &shards {
        cluster.wait_leader(*shard, 10 * SECOND).await;
    }
    println!(
        "after a node's death all groups have ready leaders again: {:?}",
        quorate_env::time::now() - died
    );
}
