//! What goes wrong, drawn from the seed.

use crate::{bank, cluster::Cluster, knobs::Knobs};
use quorate_env::sim::NetworkFaults;
use quorate_proto::{NodeId, placement::Operation};
use std::{collections::BTreeMap, time::Duration};

/// How often each sort of trouble struck.
pub type Struck = BTreeMap<&'static str, u64>;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Troubles the cluster, one trouble after the other, with quiet in between; a crash of a leader and a partition always
/// come first. Fault points fire all the while, and now and then shards are divided, led and placed anew.
pub async fn run(cluster: &Cluster, knobs: &Knobs) -> Struck {
    let mut struck = Struck::new();
    let world = &cluster.world;
    world.set_faults(true);
    for round in 0..knobs.rounds {
        world.sleep(millis(world.random().range(200..1500))).await;
        while world.random().chance(0.4) {
            *struck.entry(operation(cluster)).or_default() += 1;
            world.sleep(millis(world.random().range(0..300))).await;
        }
        let what = match round {
            0 => 0,
            1 => 2,
            _ => world.random().range(0..if knobs.clock_jumps { 10 } else { 9 }),
        };
        let name = match what {
            0 => crash_leader(cluster).await,
            1 => crash_any(cluster).await,
            2 => isolate_leader(cluster).await,
            3 => one_way(cluster).await,
            4 => bad_network(cluster).await,
            5 => crash_during_partition(cluster).await,
            6 => pause(cluster).await,
            7 => slow_disk(cluster).await,
            8 => crash_all(cluster).await,
            _ => clock_jump(cluster).await,
        };
        tracing::info!(at = world.elapsed().as_secs_f64(), name, "struck");
        *struck.entry(name).or_default() += 1;
    }
    world.set_faults(false);
    struck
}

/// The driver is told to change something.
fn operation(cluster: &Cluster) -> &'static str {
    let random = cluster.world.random();
    let shards = cluster.descriptors();
    if shards.is_empty() {
        return "nothing";
    }
    let shard = &shards[random.range(0..shards.len() as u64) as usize];
    let home = shard.replicas[random.range(0..shard.replicas.len() as u64) as usize].node;
    let outside: Vec<NodeId> =
        cluster.nodes.iter().copied().filter(|node| shard.replicas.iter().all(|r| r.node != *node)).collect();
    let (name, operation) = match random.range(0..3) {
        0 => ("split", Operation::Split { at: bank::some_key(random) }),
        1 if !outside.is_empty() => {
            let to = outside[random.range(0..outside.len() as u64) as usize];
            ("move", Operation::MoveReplica { shard: shard.id, from: home, to })
        }
        _ => ("hand-over", Operation::TransferLeader { shard: shard.id, to: home }),
    };
    cluster.begin(operation);
    name
}

/// Ends all troubles and starts what is down.
pub async fn heal(cluster: &Cluster) -> Result<(), String> {
    cluster.world.set_faults(false);
    cluster.world.heal();
    cluster.world.set_network(NetworkFaults::default());
    for &id in &cluster.nodes {
        if cluster.running.get(id).is_none() {
            restart(cluster, id).await?;
        }
    }
    Ok(())
}

async fn restart(cluster: &Cluster, id: NodeId) -> Result<(), String> {
    cluster.start(id).await.map_err(|why| format!("node {id} does not start again: {why}"))
}

fn some_leader(cluster: &Cluster) -> NodeId {
    let shards = cluster.descriptors();
    let drawn = cluster.world.random().range(0..shards.len() as u64) as usize;
    let leader = shards.get(drawn).and_then(|shard| cluster.leader(shard.id));
    leader.unwrap_or_else(|| some_node(cluster))
}

fn some_node(cluster: &Cluster) -> NodeId {
    cluster.nodes[cluster.world.random().range(0..cluster.nodes.len() as u64) as usize]
}

async fn down_and_up(cluster: &Cluster, id: NodeId) {
    let random = cluster.world.random();
    let polls = if random.chance(0.5) { random.range(1..500) } else { 0 };
    let downtime = millis(random.range(50..4000));
    cluster.crash(id, polls).await;
    cluster.world.sleep(downtime).await;
    if let Err(error) = restart(cluster, id).await {
        tracing::error!("{error}");
    }
}

async fn crash_leader(cluster: &Cluster) -> &'static str {
    down_and_up(cluster, some_leader(cluster)).await;
    "leader crash"
}

async fn crash_any(cluster: &Cluster) -> &'static str {
    down_and_up(cluster, some_node(cluster)).await;
    "crash"
}

fn others(cluster: &Cluster, id: NodeId) -> Vec<NodeId> {
    cluster.nodes.iter().copied().filter(|&other| other != id).collect()
}

async fn isolate_leader(cluster: &Cluster) -> &'static str {
    let leader = some_leader(cluster);
    cluster.world.partition(&[leader], &others(cluster, leader));
    cluster.world.sleep(millis(cluster.world.random().range(500..6000))).await;
    cluster.world.heal();
    "partition"
}

async fn one_way(cluster: &Cluster) -> &'static str {
    let (from, to) = (some_node(cluster), some_node(cluster));
    if from != to {
        cluster.world.cut(from, to);
    }
    cluster.world.sleep(millis(cluster.world.random().range(500..6000))).await;
    cluster.world.heal();
    "one-way cut"
}

async fn bad_network(cluster: &Cluster) -> &'static str {
    let random = cluster.world.random();
    let share = |most: u64| random.range(0..most) as f64 / 1000.0;
    cluster.world.set_network(NetworkFaults {
        delay: Duration::from_micros(50)..millis(random.range(1..20)),
        late: share(20),
        loss: share(50),
        duplicate: share(50),
        reorder: share(200),
    });
    cluster.world.sleep(millis(random.range(1000..5000))).await;
    cluster.world.set_network(NetworkFaults::default());
    "bad network"
}

async fn crash_during_partition(cluster: &Cluster) -> &'static str {
    let cut_off = some_node(cluster);
    cluster.world.partition(&[cut_off], &others(cluster, cut_off));
    down_and_up(cluster, some_node(cluster)).await;
    cluster.world.heal();
    "crash during partition"
}

/// A process stopped for a while, or a machine without time for it.
async fn pause(cluster: &Cluster) -> &'static str {
    let id = some_leader(cluster);
    cluster.world.pause(id);
    cluster.world.sleep(millis(cluster.world.random().range(100..5000))).await;
    cluster.world.resume(id);
    "pause"
}

async fn slow_disk(cluster: &Cluster) -> &'static str {
    let id = some_node(cluster);
    cluster.slow_disk(id, cluster.world.random().range(10..400));
    cluster.world.sleep(millis(cluster.world.random().range(500..4000))).await;
    cluster.slow_disk(id, 1);
    "slow disk"
}

/// The power fails for all of them.
async fn crash_all(cluster: &Cluster) -> &'static str {
    for &id in &cluster.nodes {
        cluster.crash(id, 0).await;
    }
    cluster.world.sleep(millis(cluster.world.random().range(50..1000))).await;
    for &id in &cluster.nodes {
        if let Err(error) = restart(cluster, id).await {
            tracing::error!("{error}");
        }
    }
    "crash of all"
}

async fn clock_jump(cluster: &Cluster) -> &'static str {
    let random = cluster.world.random();
    let id = some_node(cluster);
    let micros = random.range(1_000..2_000_000) as i64 * if random.chance(0.5) { 1 } else { -1 };
    cluster.world.jump_clock(id, micros);
    cluster.world.sleep(millis(random.range(500..4000))).await;
    cluster.world.jump_clock(id, -micros);
    "clock jump"
}
