//! What goes wrong: the steps of the run's plan, one after the other, or over one another.

mod lanes;

use crate::{
    cluster::Cluster,
    plan::{Change, Outage, Plan, Trouble},
};
use lanes::Lanes;
use quorate_env::{
    sim::NetworkFaults,
    timeline::{self, Happening},
};
use quorate_proto::{NodeId, ShardDescriptor, placement::Operation};
use std::{collections::BTreeMap, time::Duration};

/// What looks after a node's process starts it again after so long.
const START_AGAIN: Duration = Duration::from_millis(500);

/// How often each sort of trouble struck.
pub type Struck = BTreeMap<&'static str, u64>;

/// Troubles the cluster. Fault points fire all the while, if they are to.
pub async fn run(cluster: &Cluster, plan: &Plan, fault_points: bool) -> Struck {
    let mut struck = Struck::new();
    let world = &cluster.world;
    world.set_faults(fault_points);
    let mut lanes = Lanes::default();
    for step in &plan.steps {
        world.sleep(step.pause).await;
        lanes.wait(&step.trouble).await;
        if lanes.leaves_nodes_alone() {
            cluster.see_off().await;
        }
        tracing::info!(at = world.elapsed().as_secs_f64(), step = step.number, what = %step.trouble, "strikes");
        scene(|| format!("step {}: {}", step.number, step.trouble));
        let (there, trouble) = (cluster.clone(), step.trouble.clone());
        let strike = world.spawn("sim.trouble", async move { strike(&there, &trouble).await });
        lanes.take(&step.trouble, strike);
        if !plan.overlapping {
            lanes.wait_for_all().await;
        }
        *struck.entry(step.trouble.name()).or_default() += 1;
    }
    lanes.wait_for_all().await;
    world.sleep(plan.rest).await;
    world.set_faults(false);
    struck
}

/// What concerns all, for the timeline.
fn scene(what: impl FnOnce() -> String) {
    timeline::tell(|| Happening { what: what(), ..Happening::default() });
}

async fn strike(cluster: &Cluster, trouble: &Trouble) {
    let world = &cluster.world;
    match trouble {
        Trouble::LeaderCrash { shard, outage } => {
            down_and_up(cluster, leader(cluster, *shard), *outage).await
        }
        Trouble::Crash { node, outage } => down_and_up(cluster, pick(cluster, *node), *outage).await,
        Trouble::CrashOfAll { down, surviving } => all_down_and_up(cluster, *down, surviving).await,
        Trouble::CrashInPartition { cut_off: alone, crashed, outage } => {
            cut_off(cluster, &[pick(cluster, *alone)]);
            down_and_up(cluster, pick(cluster, *crashed), *outage).await;
            world.heal();
        }
        Trouble::Partition { shard, lasts } => {
            cut_off(cluster, &[leader(cluster, *shard)]);
            world.sleep(*lasts).await;
            world.heal();
        }
        Trouble::OneWayCut { from, to, lasts } => {
            let (from, to) = (pick(cluster, *from), pick(cluster, *to));
            if from != to {
                world.cut(from, to);
            }
            world.sleep(*lasts).await;
            world.heal();
        }
        Trouble::PairCut { one, other, lasts } => {
            world.partition(&[pick(cluster, *one)], &[pick(cluster, *other)]);
            world.sleep(*lasts).await;
            world.heal();
        }
        Trouble::Sides { node, nodes, lasts } => {
            let side: Vec<NodeId> = (0..*nodes).map(|n| pick(cluster, node + n)).collect();
            cut_off(cluster, &side);
            world.sleep(*lasts).await;
            world.heal();
        }
        Trouble::BadNetwork { faults, lasts } => {
            world.set_network(faults.clone());
            world.sleep(*lasts).await;
            world.set_network(NetworkFaults::default());
        }
        // A process stopped for a while, or a machine without time for it.
        Trouble::Pause { shard, lasts } => {
            let id = leader(cluster, *shard);
            world.pause(id);
            world.sleep(*lasts).await;
            world.resume(id);
        }
        Trouble::SlowDisk { node, times, lasts } => {
            let id = pick(cluster, *node);
            cluster.slow_disk(id, *times);
            world.sleep(*lasts).await;
            cluster.slow_disk(id, 1);
        }
        Trouble::FullDisk { node, nodes, stuck, lasts } => {
            let full: Vec<NodeId> = (0..*nodes).map(|n| pick(cluster, node + n)).collect();
            full.iter().for_each(|id| cluster.fill_disk(*id, *stuck));
            world.sleep(*lasts).await;
            full.iter().for_each(|id| cluster.free_disk(*id));
        }
        // Always the same disk, also when another node has left meanwhile; where disks go bad no node is replaced.
        Trouble::BadBlock { node, family, place } => cluster.spoil_block(NodeId(node + 1), *family, *place),
        Trouble::ClockJump { node, micros, lasts } => {
            let id = pick(cluster, *node);
            world.jump_clock(id, *micros);
            world.sleep(*lasts).await;
            world.jump_clock(id, -*micros);
        }
        Trouble::ClockShift { node, share, lasts } => {
            let id = pick(cluster, *node);
            let micros = share * world.clock_bound().as_micros() as i64 / 1000;
            world.jump_clock(id, micros);
            world.sleep(*lasts).await;
            world.jump_clock(id, -micros);
        }
        Trouble::Replacement { node } => {
            if let Err(why) = cluster.replace(pick(cluster, *node)).await {
                tracing::error!("a new node does not start: {why}");
            }
        }
        Trouble::Departure { node } => cluster.decommission(pick(cluster, *node)),
        Trouble::Operation { asker, change } => {
            if let Some(operation) = operation(cluster, change) {
                cluster.begin(pick(cluster, *asker), operation);
            }
        }
    }
}

/// The one at a place, counted round; `None`: there are none.
fn at<T>(list: &[T], place: u64) -> Option<&T> {
    list.get(place as usize % list.len().max(1))
}

fn pick(cluster: &Cluster, place: u64) -> NodeId {
    *at(&cluster.nodes(), place).expect("a cluster has nodes")
}

/// Who leads the shard at a place; if nobody does, a node as good as any.
fn leader(cluster: &Cluster, place: u64) -> NodeId {
    let shards = cluster.descriptors();
    let leader = at(&shards, place).and_then(|shard| cluster.leader(shard.id));
    leader.unwrap_or_else(|| pick(cluster, place))
}

fn operation(cluster: &Cluster, change: &Change) -> Option<Operation> {
    let shards = cluster.descriptors();
    let replica = |shard: &ShardDescriptor, place| at(&shard.replicas, place).map(|replica| replica.node);
    match *change {
        Change::Split { account, mark } => Some(Operation::Split { at: Change::key(account, mark) }),
        Change::SplitWork { workload, at: key } => {
            let workload = at(&cluster.knobs.workloads, workload)?;
            Some(Operation::Split { at: workload.key(key) })
        }
        Change::HandOver { shard, replica: place } => {
            let shard = at(&shards, shard)?;
            Some(Operation::TransferLeader { shard: shard.id, to: replica(shard, place)? })
        }
        Change::Merge { shard } => {
            let shards: Vec<_> = shards.iter().filter(|shard| !shard.span.start.is_empty()).collect();
            Some(Operation::Merge { at: at(&shards, shard)?.span.start.clone() })
        }
        Change::Move { shard, replica: place, to } => {
            let shard = at(&shards, shard)?;
            let holds = |node: &NodeId| shard.replicas.iter().any(|replica| replica.node == *node);
            let outside: Vec<NodeId> = cluster.nodes().into_iter().filter(|node| !holds(node)).collect();
            let (from, to) = (replica(shard, place)?, *at(&outside, to)?);
            Some(Operation::MoveReplica { shard: shard.id, from, to })
        }
    }
}

/// Ends all troubles and starts what is down.
pub async fn heal(cluster: &Cluster) -> Result<(), String> {
    scene(|| "all is healed".into());
    cluster.world.set_faults(false);
    cluster.world.heal();
    cluster.world.set_network(NetworkFaults::default());
    for id in cluster.nodes() {
        if cluster.running.get(id).is_none() {
            restart(cluster, id).await?;
        }
    }
    Ok(())
}

async fn restart(cluster: &Cluster, id: NodeId) -> Result<(), String> {
    cluster.start(id).await.map_err(|why| format!("node {id} does not start again: {why}"))
}

/// With nothing left on its disk a node does not start, and is started again.
async fn up(cluster: &Cluster, id: NodeId) {
    while let Err(error) = restart(cluster, id).await {
        if !cluster.is_full(id) {
            tracing::error!("{error}");
            return;
        }
        cluster.world.sleep(START_AGAIN).await;
    }
}

async fn down_and_up(cluster: &Cluster, id: NodeId, outage: Outage) {
    cluster.crash(id, outage.polls, outage.surviving).await;
    cluster.world.sleep(outage.down).await;
    up(cluster, id).await;
}

/// The power fails for all of them.
async fn all_down_and_up(cluster: &Cluster, down: Duration, surviving: &[u64]) {
    for (id, &surviving) in cluster.nodes().into_iter().zip(surviving.iter().cycle()) {
        cluster.crash(id, 0, surviving).await;
    }
    cluster.world.sleep(down).await;
    for id in cluster.nodes() {
        up(cluster, id).await;
    }
}

fn cut_off(cluster: &Cluster, side: &[NodeId]) {
    let others: Vec<NodeId> = cluster.nodes().into_iter().filter(|other| !side.contains(other)).collect();
    cluster.world.partition(side, &others);
}
