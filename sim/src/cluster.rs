//! The nodes with their disks, and what befalls them.

use crate::departure::Departure;
use crate::knobs::Knobs;
use crate::node::{Disk, Node, Running, start};
use parking_lot::Mutex;
use quorate_env::{
    sim::SimWorld,
    timeline::{self, Happening},
};
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span,
    placement::{Operation, OperationState, PlacementReply, PlacementRequest, ReplicaReport},
};
use quorate_storage::{Family, FamilyRange};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long founding and each split may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that a node keeps free on its disk.
const RESERVE: u64 = 1 << 20;
/// Rows of a bad block.
const BLOCK: usize = 4;

/// Rows of an engine.
pub type Data = BTreeSet<(Family, bytes::Bytes, bytes::Bytes)>;

#[derive(Clone)]
pub struct Cluster {
    pub world: SimWorld,
    pub running: Running,
    /// Who founds the placement driver: three, so that others can take their places.
    founders: Arc<Vec<NodeId>>,
    /// Who belongs to it now; a node's successor stands in its place.
    members: Arc<Mutex<Vec<NodeId>>>,
    pub knobs: Arc<Knobs>,
    pub departure: Arc<Departure>,
    disks: Arc<Mutex<BTreeMap<NodeId, Disk>>>,
}

impl Cluster {
    /// Founds a cluster and has the driver divide the key space at `splits`.
    ///
    /// # Errors
    /// When a node cannot be started, or the driver does not get it done.
    pub async fn found(world: SimWorld, knobs: Knobs, splits: &[Key]) -> Result<Cluster, String> {
        let nodes: Vec<NodeId> = (1..=knobs.nodes).map(NodeId).collect();
        let cluster = Cluster {
            running: Running::default(),
            disks: Arc::default(),
            departure: Arc::default(),
            members: Arc::new(Mutex::new(nodes.clone())),
            founders: Arc::new(nodes[..3].to_vec()),
            world,
            knobs: Arc::new(knobs),
        };
        for node in nodes {
            cluster.start(node).await?;
        }
        let first = cluster.running.get(cluster.founders[0]).ok_or("the first node is down")?;
        let deadline = cluster.world.elapsed() + PATIENCE;
        while first.coordinator.router().shards().is_empty() {
            if cluster.world.elapsed() > deadline {
                return Err("no first shard was founded".into());
            }
            cluster.world.sleep(Duration::from_millis(100)).await;
        }
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        let knobs = &cluster.knobs;
        let times = [("gc_ttl", knobs.gc_ttl), ("placement.repair_after", knobs.repair_after)];
        let times = times.map(|(name, time)| (name, seconds(time)));
        for (name, value) in times.into_iter().chain(knobs.schedulers.0.clone()) {
            let set = PlacementRequest::SetSetting { name: name.into(), value };
            let told = first.driver.request(set, PATIENCE).await;
            told.map_err(|why| format!("{name} cannot be set: {why}"))?;
        }
        if let Some(change) = knobs.placing.clone() {
            let asked = PlacementRequest::Configure { span: Span::ALL, change: Some(change) };
            let told = first.driver.request(asked, PATIENCE).await;
            told.map_err(|why| format!("no places can be asked for: {why}"))?;
        }
        for at in splits {
            carry_out(&first, Operation::Split { at: at.clone() }).await?;
        }
        Ok(cluster)
    }

    /// The nodes that belong to it, up or down.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.lock().clone()
    }

    fn disk(&self, id: NodeId) -> Disk {
        self.disks.lock().entry(id).or_default().clone()
    }

    /// A node burns down, and one that was never seen before comes in its place.
    ///
    /// # Errors
    /// When that one cannot be started.
    pub async fn replace(&self, id: NodeId) -> Result<(), String> {
        self.crash(id, 0, 0).await;
        let successor = {
            let mut members = self.members.lock();
            let successor = NodeId(self.disks.lock().keys().map(|node| node.0).max().unwrap_or_default() + 1);
            members.iter_mut().filter(|member| **member == id).for_each(|member| *member = successor);
            successor
        };
        self.start(successor).await
    }

    /// It has left: it is stopped, and not started again.
    pub async fn dismiss(&self, id: NodeId) {
        self.members.lock().retain(|member| *member != id);
        self.crash(id, 0, 0).await;
    }

    /// Whether a member of the placement driver serves no more.
    fn driver_is_bereft(&self) -> bool {
        let running: Vec<Node> =
            self.running.ids().into_iter().filter_map(|id| self.running.get(id)).collect();
        let held: BTreeSet<_> =
            running.iter().filter_map(|node| Some(node.host.placement()?.replica())).collect();
        let told = running.iter().filter_map(|node| Some(node.host.placement()?.members()));
        let newest = told.max_by_key(|members| members.at);
        newest.is_none_or(|members| members.replicas.iter().any(|member| !held.contains(&member.id)))
    }

    /// Shards that still count on a copy that serves no more: its node is gone for good, or it is damaged. So may the placement driver.
    pub fn bereft(&self) -> Vec<ShardId> {
        let bereft = |shard: &ShardDescriptor| !shard.replicas.iter().all(|replica| self.serves(replica));
        let driver = self.driver_is_bereft().then_some(ShardId::PLACEMENT);
        driver.into_iter().chain(self.descriptors().iter().filter(|s| bereft(s)).map(|s| s.id)).collect()
    }

    /// Who has copies of what, `*` behind those that serve no more and `?` behind learners.
    pub fn map_in_words(&self) -> String {
        let copy = |replica: &Replica| {
            let learns = if replica.role == ReplicaRole::Learner { "?" } else { "" };
            let serves = if self.serves(replica) { "" } else { "*" };
            format!("{}@{}{learns}{serves}", replica.id, replica.node)
        };
        let shard = |shard: &ShardDescriptor| {
            let copies: Vec<String> = shard.replicas.iter().map(copy).collect();
            format!(
                "{} from {:?} v{}.{}: {}",
                shard.id,
                shard.span.start,
                shard.version,
                shard.config_epoch,
                copies.join(" ")
            )
        };
        self.descriptors().iter().map(shard).collect::<Vec<_>>().join("; ")
    }

    /// All copies that running nodes hold.
    pub fn copies(&self) -> Vec<(NodeId, ShardId, ReplicaId)> {
        let held = |id| self.running.get(id).map(|node| (id, node.shards.reports()));
        let all = self.running.ids().into_iter().filter_map(held);
        all.flat_map(|(id, reports)| {
            reports.into_iter().map(move |report| (id, report.shard, report.replica))
        })
        .collect()
    }

    /// Locks and intents that leaders know of, where there are any.
    pub fn locks(&self) -> Vec<(NodeId, ShardId, usize)> {
        let known = |id| self.running.get(id).map(|node| (id, node.shards.locks()));
        let all = self.running.ids().into_iter().filter_map(known);
        all.flat_map(|(id, locks)| locks.into_iter().map(move |(shard, locks)| (id, shard, locks))).collect()
    }

    fn serves(&self, replica: &Replica) -> bool {
        let node = self.running.get(replica.node);
        let serves = |report: &ReplicaReport| report.replica == replica.id && report.is_sound();
        node.is_some_and(|node| node.shards.reports().iter().any(serves))
    }

    /// The operations that the driver has not ended, and how far they are.
    pub async fn under_way(&self) -> Vec<String> {
        let Some(node) = self.running.any(&self.world) else { return Vec::new() };
        match node.driver.request(PlacementRequest::Operations, Duration::from_secs(5)).await {
            Ok(PlacementReply::Operations(all)) => {
                let running = all.into_iter().filter(|status| status.state == OperationState::Running);
                running.map(|status| format!("{:?}: {}", status.operation, status.step)).collect()
            }
            other => vec![format!("{other:?}")],
        }
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// When it cannot open what its disk holds.
    pub async fn start(&self, id: NodeId) -> Result<(), String> {
        if self.has_left(id) {
            return Ok(());
        }
        match start(&self.world, id, &self.disk(id), &self.founders, &self.knobs).await {
            Ok(node) => {
                self.running.insert(node);
                about(id, "is up");
            }
            Err(why) => {
                // Its process ends; it may be started again.
                self.world.crash(id).await;
                return Err(why);
            }
        }
        Ok(())
    }

    /// The shards that hold keys, as the best informed of the running nodes knows each.
    pub fn descriptors(&self) -> Vec<ShardDescriptor> {
        let known = |id| self.running.get(id).map(|node| node.coordinator.router().shards());
        let mut newest: BTreeMap<ShardId, ShardDescriptor> = BTreeMap::new();
        for (descriptor, _) in self.running.ids().into_iter().filter_map(known).flatten() {
            let epochs = |of: &ShardDescriptor| (of.version, of.config_epoch);
            let place = newest.entry(descriptor.id).or_insert_with(|| descriptor.clone());
            if epochs(place) < epochs(&descriptor) {
                *place = descriptor;
            }
        }
        // Who has not heard of a merge knows of a shard that is gone.
        let all: Vec<ShardDescriptor> = newest.into_values().collect();
        let gone = |of: &ShardDescriptor| {
            all.iter().any(|other| other.version > of.version && other.span.overlaps(&of.span))
        };
        all.iter().filter(|shard| !gone(shard)).cloned().collect()
    }

    /// Has a node ask the driver to begin something; what becomes of it is its own affair.
    pub fn begin(&self, asker: NodeId, operation: Operation) {
        if let Some(node) = self.running.get(asker) {
            self.world
                .spawn("sim.operation", async move {
                    if let Err(why) = carry_out(&node, operation).await {
                        tracing::info!(why, "an operation came to nothing");
                    }
                })
                .detach();
        }
    }

    pub fn slow_disk(&self, id: NodeId, times: u64) {
        self.disk(id).slow_down(times);
    }

    /// Only the reserve is left of a node's disk, or nothing. The node sees it at once.
    pub fn fill_disk(&self, id: NodeId, stuck: bool) {
        self.disk(id).fill(stuck);
        self.tell_space(id, if stuck { 0 } else { RESERVE / 2 }, stuck);
    }

    pub fn free_disk(&self, id: NodeId) {
        self.disk(id).fill(false);
        self.tell_space(id, 2 * RESERVE, false);
    }

    pub fn is_full(&self, id: NodeId) -> bool {
        self.disk(id).is_full()
    }

    pub fn spoil_block(&self, id: NodeId, family: Family, place: u64) {
        self.disk(id).engine.corrupt_block(family, place, BLOCK);
        about(id, "has a bad block");
    }

    fn tell_space(&self, id: NodeId, free: u64, stuck: bool) {
        if let Some(node) = self.running.get(id) {
            node.env.space().tell(free, RESERVE, stuck);
        }
    }

    /// Cuts a node's power, now or at one of the next await points of its tasks. Of the log's writes that wait, so many
    /// thousandths survive.
    pub async fn crash(&self, id: NodeId, polls: u64, surviving: u64) {
        if polls == 0 {
            self.running.remove(id);
            self.world.crash(id).await;
        } else {
            self.world.crash_after_polls(id, polls, Duration::from_secs(1)).await;
            self.running.remove(id);
        }
        about(id, "has lost its power");
        // Any number of them, none and all included, is as likely as the others.
        let disk = self.disk(id);
        let torn = (disk.log.waiting() as u64 + 1) * surviving / 1001;
        disk.crash(torn as usize);
    }

    /// Who leads a shard, as the nodes themselves see it.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let leads =
            |node: &Node| node.shards.reports().iter().any(|report| report.shard == shard && report.leader);
        self.running.ids().into_iter().find(|&id| self.running.get(id).as_ref().is_some_and(leads))
    }

    /// What a node's engine holds of a shard; equal on all its replicas once all is quiet.
    pub fn data(&self, id: NodeId, span: &Span) -> Data {
        let dump = self.disk(id).engine.dump();
        let of = |family| {
            let range = FamilyRange::of_span(family, span);
            dump.iter().filter(move |(of, key, _)| {
                *of == family && *key >= range.start && range.end.as_ref().is_none_or(|end| key < end)
            })
        };
        Family::KEYED.into_iter().flat_map(of).cloned().collect()
    }
}

/// For the timeline.
pub fn about(node: NodeId, what: &str) {
    timeline::tell(|| Happening { node: Some(node), what: what.into(), ..Happening::default() });
}

/// Has the driver carry out an operation, to its end.
async fn carry_out(node: &Node, operation: Operation) -> Result<(), String> {
    let what = format!("{operation:?}");
    let (driver, env) = (node.driver.clone(), node.env.clone());
    let work = async move {
        let deadline = env.boottime() + PATIENCE;
        let started = driver.request(PlacementRequest::Start(operation), PATIENCE).await;
        let id = match started {
            Ok(PlacementReply::Started(id)) => id,
            other => return Err(format!("{other:?}")),
        };
        while env.boottime() < deadline {
            let question = PlacementRequest::Operation { id, wait_millis: 1000 };
            match driver.request(question, Duration::from_secs(5)).await {
                Ok(PlacementReply::Operations(status)) => match status.first().map(|status| &status.state) {
                    Some(OperationState::Done) => return Ok(()),
                    Some(OperationState::Failed(why)) => return Err(why.clone()),
                    _ => {}
                },
                other => tracing::debug!(?other, "no news of the operation"),
            }
            env.sleep(Duration::from_millis(100)).await;
        }
        Err("it takes too long".into())
    };
    let done = node.env.spawn("sim.operation", work).join().await;
    done.map_err(|error| error.to_string()).flatten().map_err(|why| format!("{what}: {why}"))
}
