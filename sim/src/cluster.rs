//! The nodes with their disks, and what befalls them.

use crate::knobs::Knobs;
use crate::node::{Disk, Node, Running, start};
use quorate_env::{
    sim::SimWorld,
    timeline::{self, Happening},
};
use quorate_proto::{
    Key, NodeId, ShardDescriptor, ShardId, Span,
    placement::{Operation, OperationState, PlacementReply, PlacementRequest},
};
use quorate_storage::{Family, FamilyRange};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long founding and each split may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows of an engine.
pub type Data = BTreeSet<(Family, bytes::Bytes, bytes::Bytes)>;

#[derive(Clone)]
pub struct Cluster {
    pub world: SimWorld,
    pub running: Running,
    pub nodes: Vec<NodeId>,
    pub knobs: Arc<Knobs>,
    disks: Arc<BTreeMap<NodeId, Disk>>,
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
            disks: Arc::new(nodes.iter().map(|&node| (node, Disk::new())).collect()),
            nodes,
            world,
            knobs: Arc::new(knobs),
        };
        for &node in &cluster.nodes {
            cluster.start(node).await?;
        }
        let first = cluster.running.get(cluster.nodes[0]).ok_or("the first node is down")?;
        let deadline = cluster.world.elapsed() + PATIENCE;
        while first.coordinator.router().shards().is_empty() {
            if cluster.world.elapsed() > deadline {
                return Err("no first shard was founded".into());
            }
            cluster.world.sleep(Duration::from_millis(100)).await;
        }
        let ttl = format!("{}s", cluster.knobs.gc_ttl.as_secs());
        let set = PlacementRequest::SetSetting { name: "gc_ttl".into(), value: ttl };
        first.driver.request(set, PATIENCE).await.map_err(|why| format!("gc_ttl cannot be set: {why}"))?;
        for at in splits {
            carry_out(&first, Operation::Split { at: at.clone() }).await?;
        }
        Ok(cluster)
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// When it cannot open what its disk holds.
    pub async fn start(&self, id: NodeId) -> Result<(), String> {
        match start(&self.world, id, &self.disks[&id], &self.nodes, &self.knobs).await {
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
        newest.into_values().collect()
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
        self.disks[&id].slow_down(times);
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
        let torn = (self.disks[&id].log.waiting() as u64 + 1) * surviving / 1001;
        self.disks[&id].crash(torn as usize);
    }

    /// Who leads a shard, as the nodes themselves see it.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let leads =
            |node: &Node| node.shards.reports().iter().any(|report| report.shard == shard && report.leader);
        self.running.ids().into_iter().find(|&id| self.running.get(id).as_ref().is_some_and(leads))
    }

    /// What a node's engine holds of a shard; equal on all its replicas once all is quiet.
    pub fn data(&self, id: NodeId, span: &Span) -> Data {
        let dump = self.disks[&id].engine.dump();
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
fn about(node: NodeId, what: &str) {
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
