//! The whole cluster under simulation: real consensus, placement, shards and transactions on simulated machines, under one seed.
//!
//! A run has two phases. In the first, clients work while crashes, partitions and a bad network strike, by a plan that is drawn
//! from the seed beforehand; then everything is healed, and the cluster must answer again, agree with itself and account for
//! all that was acknowledged. Two runs of one seed, in processes whose entropy follows from it too (the binary sees to that), end with
//! the same trace hash.
//!
//! Absent: SQL; above the coordinator, real processes are tested.

mod cluster;
mod deaths;
mod demand;
mod departure;
mod drawn;
mod errors;
mod facts;
mod knobs;
mod left_out;
mod nemesis;
mod node;
mod plan;
mod work;

pub use drawn::Drawn;
pub use errors::{Errors, collect as collect_errors};
pub use facts::Facts;
pub use left_out::{ALL, LeftOut, Numbers};

use cluster::Cluster;
use knobs::Knobs;
use quorate_env::sim::{SimError, SimOutcome, SimWorld};
use quorate_proto::Key;
use quorate_storage::Family;
use std::{collections::BTreeSet, time::Duration};
use work::Work;

/// How long schedulers may go on once nobody asks for anything, and how many seconds without an operation are their end: more
/// than they wait for anything.
const REST: Duration = Duration::from_secs(300);
const STILL: u32 = 30;
/// How often, a second apart, what is held is looked at until nothing is wrong with it.
const LOOKS: u32 = 10;

/// How long the driver may take to replace all copies of a node that is gone, once all is healed.
const REPAIR: Duration = Duration::from_secs(90);

/// How a seed went.
pub struct Report {
    pub trace_hash: u64,
    /// What happened, in lines.
    pub facts: Vec<String>,
    /// What must not happen; empty: passed.
    pub problems: Vec<String>,
}

/// Runs what a seed has drawn, on a thread that has drawn no entropy yet.
pub fn run(drawn: Drawn, errors: &Errors) -> Report {
    let (world, lines) = (drawn.settings.world.clone(), drawn.lines());
    let mut report = report(SimWorld::run(world, |world| scenario(world, drawn)), errors);
    report.facts.splice(0..0, lines);
    report.facts.push(facts::points());
    report.facts.push(facts::probes());
    report
}

/// Has a gateway die at each await point of a commit, on a thread that has drawn no entropy yet; parallel commit under even
/// seeds, plain two-phase commit under odd ones.
pub fn deaths(seed: u64, errors: &Errors) -> Report {
    let settings = knobs::calm(seed);
    report(SimWorld::run(settings.world, |world| dying(world, settings.knobs)), errors)
}

type Story = (Vec<String>, Vec<String>);

fn report(outcome: Result<SimOutcome<Story>, SimError>, errors: &Errors) -> Report {
    let logged = errors.take().into_iter().map(|error| format!("logged error: {error}"));
    match outcome {
        Ok(outcome) => {
            let (mut facts, mut problems) = outcome.value;
            problems.extend(logged);
            facts.push(facts::ended(outcome.elapsed, outcome.events));
            Report { trace_hash: outcome.trace_hash, facts, problems }
        }
        Err(error) => {
            let problems = std::iter::once(error.to_string()).chain(logged).collect();
            Report { trace_hash: 0, facts: Vec::new(), problems }
        }
    }
}

async fn scenario(world: SimWorld, drawn: Drawn) -> Story {
    let mut facts = Vec::new();
    match story(world, drawn, &mut facts).await {
        Ok(problems) => (facts, problems),
        Err(problem) => (facts, vec![problem]),
    }
}

async fn dying(world: SimWorld, knobs: Knobs) -> Story {
    let (mut facts, patience) = (Vec::new(), knobs.shard.gateway_silence);
    let cluster = Cluster::found(world, knobs, &deaths::keys()).await;
    let told = match cluster {
        Ok(cluster) => deaths::story(cluster, patience, &mut facts).await,
        Err(why) => Err(format!("the cluster cannot be founded: {why}")),
    };
    let problems = told.unwrap_or_else(|problem| vec![problem]);
    (facts, problems)
}

async fn story(world: SimWorld, drawn: Drawn, facts: &mut Vec<String>) -> Result<Vec<String>, String> {
    let knobs = drawn.settings.knobs.clone();
    let cluster = Cluster::found(world.clone(), knobs.clone(), &work::splits(&knobs.workloads)).await;
    let cluster = cluster.map_err(|why| format!("the cluster cannot be founded: {why}"))?;
    let work = Work::new(&cluster, &drawn.workloads(), drawn.real_time());
    work.open().await?;
    let clients = work.clients(knobs.clients);
    let struck = nemesis::run(&cluster, &drawn.plan, drawn.fault_points).await;
    nemesis::heal(&cluster).await?;
    let (after_heal, stuck) = demand::progress(&cluster, &work).await;
    work.close();
    for client in clients {
        client.join().await.map_err(|error| format!("a client: {error}"))?;
    }
    // Intents are resolved and followers catch up.
    world.sleep(Duration::from_secs(20)).await;
    repaired(&cluster).await?;
    cluster.departed(REPAIR).await?;
    let mut problems = work.settle().await?;
    // It may have met bad blocks that nobody had read before.
    repaired(&cluster).await?;
    // That reading may have cleared abandoned intents away.
    world.sleep(Duration::from_secs(5)).await;
    if knobs.schedulers.are_on() {
        come_to_rest(&cluster).await?;
    }
    problems.extend(stuck);
    problems.extend(whose(&cluster));
    problems.extend(left_over(&cluster).await);
    facts.extend(work.told());
    facts.push(format!("{after_heal} acknowledged after healing"));
    facts.push(struck.iter().map(|(what, n)| format!("{what}: {n}")).collect::<Vec<_>>().join(", "));
    Ok(problems)
}

/// Waits until no shard counts on a copy that serves no more.
async fn repaired(cluster: &Cluster) -> Result<(), String> {
    let deadline = cluster.world.elapsed() + REPAIR;
    while !cluster.bereft().is_empty() {
        if cluster.world.elapsed() > deadline {
            let under_way = cluster.under_way().await;
            return Err(format!(
                "shards {:?} still count on a copy that serves no more; under way: {under_way:?}; the map: {}",
                cluster.bereft(),
                cluster.map_in_words()
            ));
        }
        cluster.world.sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// With nobody asking for anything, what happens by itself comes to an end.
async fn come_to_rest(cluster: &Cluster) -> Result<(), String> {
    let deadline = cluster.world.elapsed() + REST;
    let mut still = 0;
    while still < STILL {
        cluster.world.sleep(Duration::from_secs(1)).await;
        let under_way = cluster.under_way().await;
        still = if under_way.is_empty() { still + 1 } else { 0 };
        if cluster.world.elapsed() > deadline {
            return Err(format!(
                "the schedulers do not come to rest; under way: {under_way:?}; the map: {}",
                cluster.map_in_words()
            ));
        }
    }
    Ok(())
}

/// Every key has one owner, and nobody holds a copy of what is not his.
fn whose(cluster: &Cluster) -> Vec<String> {
    let shards = cluster.descriptors();
    let mut problems = Vec::new();
    let spans: BTreeSet<_> =
        shards.iter().map(|shard| (&shard.span.start, shard.span.end.as_ref())).collect();
    let ends: Vec<Option<&Key>> = spans.iter().map(|(_, end)| *end).collect();
    let starts: Vec<Option<&Key>> =
        spans.iter().skip(1).map(|(start, _)| Some(*start)).chain([None]).collect();
    let first = spans.first().map(|(start, _)| *start);
    if first != Some(&Key::MIN) || starts != ends || spans.len() != shards.len() {
        problems.push(format!("the shards do not have each key once: {spans:?}"));
    }
    let members: BTreeSet<_> =
        shards.iter().flat_map(|shard| shard.replicas.iter().map(|copy| (shard.id, copy.id))).collect();
    let strays = cluster.copies().into_iter().filter(|(_, shard, copy)| !members.contains(&(*shard, *copy)));
    problems.extend(strays.map(|(node, shard, copy)| {
        format!("node {node} holds copy {copy} of shard {shard}, which is no member")
    }));
    problems
}

/// What is wrong with what is held, also when looked at again: an entry of the work that nobody asks for, such as the removal of old
/// records, may be on its way to some copies during one look.
async fn left_over(cluster: &Cluster) -> Vec<String> {
    let mut looks = 0;
    loop {
        let problems = [replicas(cluster), locks(cluster)].concat();
        looks += 1;
        if problems.is_empty() || looks == LOOKS {
            return problems;
        }
        cluster.world.sleep(Duration::from_secs(1)).await;
    }
}

/// All replicas of a shard hold the same, and nothing is left undecided.
fn replicas(cluster: &Cluster) -> Vec<String> {
    let mut problems = Vec::new();
    for shard in cluster.descriptors() {
        let homes: Vec<_> = shard.replicas.iter().map(|replica| replica.node).collect();
        let data: Vec<_> = homes.iter().map(|node| cluster.data(*node, &shard.span)).collect();
        for (node, other) in homes.iter().zip(&data).skip(1) {
            if let Some(difference) = difference(&data[0], other) {
                let id = shard.id;
                problems.push(format!("shard {id}: nodes {} and {node} differ: {difference}", homes[0]));
            }
        }
        let intents: Vec<_> = data[0].iter().filter(|(family, _, _)| *family == Family::Intent).collect();
        if !intents.is_empty() {
            problems.push(format!("shard {}: intents are left: {intents:?}", shard.id));
        }
    }
    problems
}

/// Every transaction is over: none holds a lock.
fn locks(cluster: &Cluster) -> Vec<String> {
    let held = |(node, shard, locks)| format!("node {node}: {locks} locks are left in shard {shard}");
    cluster.locks().into_iter().map(held).collect()
}

/// What only one of two nodes has, in words.
fn difference(left: &cluster::Data, right: &cluster::Data) -> Option<String> {
    let only = |these: &cluster::Data, those: &cluster::Data| {
        let missing: Vec<_> = these.iter().filter(|row| !those.contains(*row)).collect();
        let shown: Vec<String> = missing
            .iter()
            .take(3)
            .map(|(family, key, value)| {
                format!("{family:?} {} = {}", key.escape_ascii(), value.escape_ascii())
            })
            .collect();
        (missing.len(), shown)
    };
    let (left, right) = (only(left, right), only(right, left));
    (left.0 + right.0 > 0).then(|| format!("{left:?} against {right:?}"))
}
