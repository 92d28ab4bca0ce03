//! Which cluster the node belongs to: found by its `--join` addresses, founded by `quorate init`, kept in `node.json`.

use super::{
    gateway::Gateway,
    identity::{DataDir, Identity},
};
use crate::admin;
use parking_lot::Mutex;
use quorate_env::{Env, rpc};
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole,
    placement::{NodeAnswer, NodeCommand, NodeInfo, NodeReply},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long `init` waits for the nodes that it was told of.
const FOUNDING_PATIENCE: Duration = Duration::from_secs(60);
const CALL_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// With more nodes than this to choose from, the first ones carry the placement driver.
const MAX_DRIVERS: usize = 5;
/// Role bit of [`NodeInfo::roles`].
const PLACEMENT_ROLE: u8 = 1;

pub struct Membership {
    env: Env,
    gateway: Gateway,
    data: DataDir,
    info: NodeInfo,
    join: Vec<String>,
    identity: Mutex<Identity>,
    /// Nodes met so far, by address.
    met: Mutex<BTreeMap<String, NodeInfo>>,
    joined: watch::Sender<bool>,
    founding: tokio::sync::Mutex<()>,
}

impl Membership {
    pub fn start(env: &Env, data: DataDir, identity: Identity, info: NodeInfo, join: &[String]) -> Arc<Self> {
        for peer in &identity.peers {
            env.transport().set_address(NodeId(peer.node), peer.address.clone());
        }
        let joined = watch::Sender::new(!identity.cluster_id.is_empty());
        let join = join.iter().filter(|a| **a != info.rpc_address).cloned().collect();
        let membership = Arc::new(Membership {
            env: env.clone(),
            gateway: Gateway::default(),
            data,
            info,
            join,
            identity: Mutex::new(identity),
            met: Mutex::default(),
            joined,
            founding: tokio::sync::Mutex::default(),
        });
        let answering = membership.clone();
        rpc::serve(env, move |_, command: NodeCommand| {
            let membership = answering.clone();
            async move { NodeAnswer { result: membership.answer(command).await } }
        });
        let looking = membership.clone();
        env.spawn("membership", async move { looking.look_for_nodes().await }).detach();
        membership
    }

    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    pub fn info(&self) -> &NodeInfo {
        &self.info
    }

    pub fn placement_nodes(&self) -> Vec<NodeId> {
        self.identity.lock().placement.iter().map(|m| NodeId(m.node)).collect()
    }

    /// Returns once the node belongs to a cluster.
    pub async fn in_cluster(&self) {
        // The sender lives as long as `self`.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Takes the addresses that the driver tells.
    pub fn learn(&self, nodes: &[NodeInfo]) {
        for node in nodes.iter().filter(|n| n.id != self.info.id) {
            self.env.transport().set_address(node.id, node.rpc_address.clone());
        }
        let changed = {
            let mut identity = self.identity.lock();
            identity.set_peers(nodes).then(|| identity.clone())
        };
        if let Some(identity) = changed
            && let Err(error) = self.data.save(&identity)
        {
            tracing::warn!(%error, "the addresses of the nodes were not saved");
        }
    }

    async fn answer(&self, command: NodeCommand) -> Result<NodeReply, String> {
        match command {
            NodeCommand::Describe => {
                let identity = self.identity();
                Ok(NodeReply::Described {
                    info: self.info.clone(),
                    placement: identity.placement(),
                    cluster_id: identity.cluster_id,
                    nodes: self.met.lock().values().cloned().collect(),
                })
            }
            NodeCommand::Init => self.found().await.map(NodeReply::Initialized),
            NodeCommand::Adopt { cluster_id, placement, nodes } => {
                self.adopt(&cluster_id, &placement, &nodes).map(|()| NodeReply::Done)
            }
            NodeCommand::CancelSession { pid, secret } => self.gateway.cancel(pid, secret),
        }
    }

    /// Durable before it is answered, so that a founder that was told never forgets it.
    fn adopt(&self, cluster_id: &str, placement: &[Replica], nodes: &[NodeInfo]) -> Result<(), String> {
        {
            let mut identity = self.identity.lock();
            if identity.cluster_id == cluster_id {
                return Ok(());
            }
            if !identity.cluster_id.is_empty() {
                return Err(format!("node {} belongs to cluster {}", self.info.id, identity.cluster_id));
            }
            let mut next = identity.clone();
            next.cluster_id = cluster_id.to_owned();
            next.set_placement(placement);
            next.set_peers(nodes);
            self.data.save(&next).map_err(|error| format!("cannot save the identity: {error:#}"))?;
            *identity = next;
        }
        for node in nodes.iter().filter(|n| n.id != self.info.id) {
            self.env.transport().set_address(node.id, node.rpc_address.clone());
        }
        self.env.transport().set_cluster(cluster_id.to_owned());
        tracing::info!(cluster_id, "joined the cluster");
        self.joined.send_replace(true);
        Ok(())
    }

    /// Founds the cluster of this node and all it was told to join; asked again, goes on where an earlier try broke off.
    async fn found(&self) -> Result<String, String> {
        let _one = self.founding.lock().await;
        let nodes = self.everyone().await?;
        if self.identity().cluster_id.is_empty() {
            let drivers = nodes.iter().filter(|n| n.roles & PLACEMENT_ROLE != 0).take(MAX_DRIVERS);
            let mut placement: Vec<Replica> = drivers
                .enumerate()
                .map(|(n, node)| Replica {
                    id: ReplicaId(n as u64 + 1),
                    node: node.id,
                    role: ReplicaRole::Voter,
                })
                .collect();
            if placement.is_empty() {
                return Err("no node carries the role placement".into());
            }
            // An even number tolerates no more failures than the odd one below it.
            if placement.len() > 1 && placement.len().is_multiple_of(2) {
                placement.pop();
            }
            let cluster_id = format!("{:032x}", self.env.random_u128());
            self.adopt(&cluster_id, &placement, &nodes)?;
        }
        let identity = self.identity();
        for node in nodes.iter().filter(|n| n.id != self.info.id) {
            let command = NodeCommand::Adopt {
                cluster_id: identity.cluster_id.clone(),
                placement: identity.placement(),
                nodes: nodes.clone(),
            };
            let answer = admin::ask_node(&node.rpc_address, command);
            match self.env.timeout(CALL_PATIENCE, answer).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(format!("node {}: {error:#}", node.id)),
                Err(_) => return Err(format!("node {} does not answer", node.id)),
            }
        }
        Ok(identity.cluster_id)
    }

    /// This node and all it was told to join, by id.
    async fn everyone(&self) -> Result<Vec<NodeInfo>, String> {
        let deadline = self.env.boottime() + FOUNDING_PATIENCE;
        loop {
            let met = self.met.lock().clone();
            let missing: Vec<&String> = self.join.iter().filter(|a| !met.contains_key(*a)).collect();
            if missing.is_empty() {
                let mut nodes: Vec<NodeInfo> = met.into_values().collect();
                nodes.push(self.info.clone());
                nodes.sort_by_key(|n| n.id);
                if nodes.windows(2).any(|pair| pair[0].id == pair[1].id) {
                    return Err("two nodes have the same --node-id".into());
                }
                return Ok(nodes);
            }
            if self.env.boottime() > deadline {
                return Err(format!("not reached: {missing:?}"));
            }
            self.env.sleep(LOOK_AGAIN).await;
        }
    }

    /// Describes itself the nodes behind the `--join` addresses until all are met and the node belongs to a cluster.
    async fn look_for_nodes(&self) {
        while !self.env.shutdown().is_set() {
            let unknown: Vec<String> = {
                let met = self.met.lock();
                self.join
                    .iter()
                    .filter(|a| !met.contains_key(*a) || !*self.joined.borrow())
                    .cloned()
                    .collect()
            };
            if unknown.is_empty() {
                return;
            }
            for address in unknown {
                self.meet(&address).await;
            }
            self.env.sleep(LOOK_AGAIN).await;
        }
    }

    async fn meet(&self, address: &str) {
        let asked = admin::ask_node(address, NodeCommand::Describe);
        let Ok(Ok(NodeReply::Described { info, cluster_id, placement, nodes })) =
            self.env.timeout(CALL_PATIENCE, asked).await
        else {
            return;
        };
        if info.id == self.info.id {
            tracing::error!(address, "another node has this node's id");
            return;
        }
        self.env.transport().set_address(info.id, address.to_owned());
        self.met.lock().insert(address.to_owned(), info.clone());
        if !cluster_id.is_empty() && self.identity().cluster_id.is_empty() {
            let known: Vec<NodeInfo> = nodes.into_iter().chain([info]).collect();
            if let Err(why) = self.adopt(&cluster_id, &placement, &known) {
                tracing::error!(why, "cannot join the cluster");
            }
        }
    }
}
