//! Three nodes with their disks, and what befalls them.

use crate::node::{Disk, Node, Running, start};
use quorate_env::sim::SimWorld;
use quorate_proto::{
    Key, NodeId, ShardId,
    placement::{Operation, OperationState, PlacementReply, PlacementRequest},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long founding and each split may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows of an engine.
pub type Data = BTreeSet<(quorate_storage::Family, bytes::Bytes, bytes::Bytes)>;

#[derive(Clone)]
pub struct Cluster {
    pub world: SimWorld,
    pub running: Running,
    pub nodes: Vec<NodeId>,
    disks: Arc<BTreeMap<NodeId, Disk>>,
}

impl Cluster {
    /// Founds a cluster and has the driver divide the key space at `splits`.
    ///
    /// # Errors
    /// When a node cannot be started, or the driver does not get it done.
    pub async fn found(world: SimWorld, nodes: u64, splits: &[Key]) -> Result<Cluster, String> {
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let cluster = Cluster {
            running: Running::default(),
            disks: Arc::new(nodes.iter().map(|&node| (node, Disk::new())).collect()),
            nodes,
            world,
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
        let node = start(&self.world, id, &self.disks[&id], &self.nodes).await?;
        self.running.insert(node);
        Ok(())
    }

    /// The shards that hold keys, as some running node knows them.
    pub fn shards(&self) -> Vec<ShardId> {
        let known = |id| self.running.get(id).map(|node| node.coordinator.router().shards());
        let shards = self.running.ids().into_iter().filter_map(known).max_by_key(Vec::len);
        shards.unwrap_or_default().into_iter().map(|(descriptor, _)| descriptor.id).collect()
    }

    /// Cuts a node's power, now or at one of the next await points of its tasks.
    pub async fn crash(&self, id: NodeId, polls: u64) {
        if polls == 0 {
            self.running.remove(id);
            self.world.crash(id).await;
        } else {
            self.world.crash_after_polls(id, polls, Duration::from_secs(1)).await;
            self.running.remove(id);
        }
        let torn = self.world.random().range(0..self.disks[&id].log.waiting() as u64 + 1);
        self.disks[&id].crash(torn as usize);
    }

    /// Who leads a shard, as the nodes themselves see it.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let leads =
            |node: &Node| node.shards.reports().iter().any(|report| report.shard == shard && report.leader);
        self.running.ids().into_iter().find(|&id| self.running.get(id).as_ref().is_some_and(leads))
    }

    /// What a node's engine holds of user data; equal on all replicas once all is quiet.
    pub fn data(&self, id: NodeId) -> Data {
        use quorate_storage::Family;
        let keep = |(family, _, _): &(Family, _, _)| matches!(family, Family::Data | Family::Intent);
        self.disks[&id].engine.dump().into_iter().filter(keep).collect()
    }
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
