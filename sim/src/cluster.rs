//! Three nodes with their disks, and what befalls them.

use crate::node::{Disk, Node, Running, founding_replica, start};
use quorate_env::sim::SimWorld;
use quorate_proto::{Key, KvError, NodeId, Replica, ReplicaRole, ShardDescriptor, ShardId, Span};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

#[derive(Clone)]
pub struct Cluster {
    pub world: SimWorld,
    pub running: Running,
    pub nodes: Vec<NodeId>,
    pub shards: Arc<Vec<ShardDescriptor>>,
    disks: Arc<BTreeMap<NodeId, Disk>>,
}

impl Cluster {
    /// Founds a cluster whose key space is divided at `splits`.
    ///
    /// # Errors
    /// When a node cannot be started.
    pub async fn found(world: SimWorld, nodes: u64, splits: &[Key]) -> Result<Cluster, KvError> {
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let mut starts = vec![Key::MIN];
        starts.extend_from_slice(splits);
        let shards = starts.iter().enumerate().map(|(at, start)| {
            let id = at as u64 + 1;
            let replica =
                |&node: &NodeId| Replica { id: founding_replica(id, node), node, role: ReplicaRole::Voter };
            ShardDescriptor {
                id: ShardId(id),
                span: Span { start: start.clone(), end: starts.get(at + 1).cloned() },
                version: 1,
                config_epoch: 1,
                replicas: nodes.iter().map(replica).collect(),
            }
        });
        let cluster = Cluster {
            running: Running::default(),
            shards: Arc::new(shards.collect()),
            disks: Arc::new(nodes.iter().map(|&node| (node, Disk::new())).collect()),
            nodes,
            world,
        };
        for &node in &cluster.nodes {
            cluster.start(node).await?;
        }
        Ok(cluster)
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// When it cannot open what its disk holds.
    pub async fn start(&self, id: NodeId) -> Result<(), KvError> {
        let node = start(&self.world, id, &self.disks[&id], &self.shards).await?;
        self.running.insert(node);
        Ok(())
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
    pub fn data(&self, id: NodeId) -> Vec<(quorate_storage::Family, bytes::Bytes, bytes::Bytes)> {
        use quorate_storage::Family;
        let keep = |(family, _, _): &(Family, _, _)| matches!(family, Family::Data | Family::Intent);
        self.disks[&id].engine.dump().into_iter().filter(keep).collect()
    }
}
