//! Which cluster the node belongs to: found by its `--join` addresses, founded by `quorate init`, kept in `node.json`.

use super::{
    gateway::Gateway,
    identity::{DataDir, Identity},
};
use crate::admin;
use anyhow::{Result, bail};
use parking_lot::Mutex;
use quorate_env::{Env, rpc, watch};
use quorate_placement::Founding;
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole,
    placement::{DriverMembers, Founder, NodeAnswer, NodeCommand, NodeInfo, NodeReply},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long `init` waits for the nodes that it was told of.
const FOUNDING_PATIENCE: Duration = Duration::from_secs(60);
const CALL_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What a node tells of the driver's members is some heartbeats old. That this node must not join stands once nobody has said
/// otherwise for so long.
const DOUBT: Duration = Duration::from_secs(5);
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
    met: Mutex<BTreeMap<String, Met>>,
    /// The nodes of the cluster, as the driver has told.
    known: Mutex<Vec<NodeInfo>>,
    standing: watch::Sender<Standing>,
    /// Since when (boot time) it has been told of members with which it must not join.
    refused_since: Mutex<Option<Duration>>,
    founding: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Met {
    info: NodeInfo,
    data_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Part of no cluster yet.
    Outside,
    Inside,
    /// It must not become part of its cluster again, for this reason.
    Refused(String),
}

impl Membership {
    /// # Errors
    /// If the data directory cannot be given its name.
    pub fn start(
        env: &Env,
        data: DataDir,
        mut identity: Identity,
        info: NodeInfo,
        join: &[String],
    ) -> Result<Arc<Self>> {
        if identity.data_id.is_empty() {
            identity.data_id = format!("{:032x}", env.random_u128());
            data.save(&identity)?;
        }
        for peer in &identity.peers {
            env.transport().set_address(NodeId(peer.node), peer.address.clone());
        }
        let inside = !identity.cluster_id.is_empty();
        let standing = watch::Sender::new(if inside { Standing::Inside } else { Standing::Outside });
        let join = join.iter().filter(|a| **a != info.rpc_address).cloned().collect();
        let membership = Arc::new(Membership {
            env: env.clone(),
            gateway: Gateway::default(),
            data,
            info,
            join,
            identity: Mutex::new(identity),
            met: Mutex::default(),
            known: Mutex::default(),
            standing,
            refused_since: Mutex::default(),
            founding: tokio::sync::Mutex::default(),
        });
        let answering = membership.clone();
        rpc::serve(env, move |_, command: NodeCommand| {
            let membership = answering.clone();
            async move { NodeAnswer { result: membership.answer(command).await } }
        });
        let looking = membership.clone();
        env.spawn("membership", async move { looking.look_for_nodes().await }).detach();
        Ok(membership)
    }

    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    /// What the node is, as others are told.
    pub fn info(&self) -> NodeInfo {
        self.info.clone()
    }

    /// Who carries the placement driver, as far as known.
    pub fn driver(&self) -> DriverMembers {
        self.identity.lock().driver()
    }

    /// Returns once the node belongs to a cluster.
    ///
    /// # Errors
    /// When it must not become part of the one that it has found.
    pub async fn in_cluster(&self) -> Result<()> {
        let mut standing = self.standing.subscribe();
        // The sender lives as long as `self`.
        let _ = standing.wait_for(|standing| *standing != Standing::Outside).await;
        match &*self.standing.borrow() {
            Standing::Refused(why) => bail!("{why}"),
            _ => Ok(()),
        }
    }

    /// What this node has to do with the founding of the placement driver; `None` if nothing, or if another node has taken its place.
    pub fn founding(&self) -> Option<Founding> {
        let identity = self.identity();
        identity.founded()?;
        let members = identity.founders().into_iter().map(|founder| founder.replica).collect();
        Some(Founding { members, done: identity.placement_made })
    }

    /// From now on this node's copy of the placement driver is either here or lost.
    ///
    /// # Errors
    /// If that cannot be made durable.
    pub fn note_placement_made(&self) -> Result<()> {
        let mut identity = self.identity.lock();
        if identity.placement_made {
            return Ok(());
        }
        let next = Identity { placement_made: true, ..identity.clone() };
        self.data.save(&next)?;
        *identity = next;
        Ok(())
    }

    /// Takes the addresses that the driver tells.
    pub fn learn(&self, nodes: &[NodeInfo]) {
        for node in nodes.iter().filter(|n| n.id != self.info.id) {
            self.env.transport().set_address(node.id, node.rpc_address.clone());
        }
        *self.known.lock() = nodes.to_vec();
        self.remember("the addresses of the nodes", |identity| identity.set_peers(nodes));
    }

    /// Takes in who carries the driver.
    pub fn learn_driver(&self, members: &DriverMembers) {
        self.remember("who carries the placement driver", |identity| identity.set_driver(members));
    }

    /// Saves what was heard, if it is news. What is lost is heard again.
    fn remember(&self, what: &str, change: impl FnOnce(&mut Identity) -> bool) {
        let changed = {
            let mut identity = self.identity.lock();
            change(&mut identity).then(|| identity.clone())
        };
        if let Some(identity) = changed
            && let Err(error) = self.data.save(&identity)
        {
            tracing::warn!(%error, what, "it was not saved");
        }
    }

    /// Nodes that have left for good are peers no more: their clocks do not count (PROTOCOL 21), and nobody connects to them.
    pub fn forget(&self, gone: &[NodeId]) {
        for node in gone.iter().filter(|node| self.env.transport().peer(**node).is_some()) {
            tracing::info!(%node, "it has left the cluster, and is forgotten");
            self.env.transport().forget(*node);
        }
        self.remember("that nodes have left for good", |identity| identity.forget(gone));
    }

    /// The other nodes: as the driver tells of them, or as they were met.
    fn nodes(&self) -> Vec<NodeInfo> {
        let met = self.met.lock().values().map(|met| met.info.clone()).collect::<Vec<_>>();
        let told = self.known.lock().clone();
        let all: BTreeMap<NodeId, NodeInfo> =
            met.into_iter().chain(told).map(|node| (node.id, node)).collect();
        all.into_values().filter(|node| node.id != self.info.id).collect()
    }

    async fn answer(&self, command: NodeCommand) -> Result<NodeReply, String> {
        match command {
            NodeCommand::Describe => {
                let identity = self.identity();
                Ok(NodeReply::Described {
                    info: self.info(),
                    placement: identity.founders(),
                    driver: identity.driver(),
                    data_id: identity.data_id,
                    cluster_id: identity.cluster_id,
                    nodes: self.nodes(),
                })
            }
            NodeCommand::Init => self.found().await.map(NodeReply::Initialized),
            NodeCommand::Adopt { cluster_id, placement, nodes } => {
                let driver = DriverMembers::default();
                self.adopt(&cluster_id, &placement, &driver, &nodes).map(|()| NodeReply::Done)
            }
            NodeCommand::CancelSession { pid, secret } => self.gateway.cancel(pid, secret),
            NodeCommand::Transactions => self.gateway.transactions(),
            NodeCommand::Closed => self.gateway.closed(),
            NodeCommand::Sessions => self.gateway.sessions_under_way(),
            NodeCommand::Signal { pid, signal } => self.gateway.signal(pid, signal),
        }
    }

    /// Durable before it is answered, so that a founder that was told never forgets it.
    fn adopt(
        &self,
        cluster_id: &str,
        founders: &[Founder],
        driver: &DriverMembers,
        nodes: &[NodeInfo],
    ) -> Result<(), String> {
        {
            let mut identity = self.identity.lock();
            if identity.cluster_id == cluster_id {
                return Ok(());
            }
            if !identity.cluster_id.is_empty() {
                return Err(format!("node {} belongs to cluster {}", self.info.id, identity.cluster_id));
            }
            if let Err(why) = identity.may_join(founders, driver) {
                self.standing.send_replace(Standing::Refused(why.clone()));
                return Err(why);
            }
            let mut next = identity.clone();
            next.cluster_id = cluster_id.to_owned();
            next.set_founders(founders);
            next.set_driver(driver);
            next.set_peers(nodes);
            self.data.save(&next).map_err(|error| format!("cannot save the identity: {error:#}"))?;
            *identity = next;
        }
        for node in nodes.iter().filter(|n| n.id != self.info.id) {
            self.env.transport().set_address(node.id, node.rpc_address.clone());
        }
        self.env.transport().set_cluster(cluster_id.to_owned());
        tracing::info!(cluster_id, "joined the cluster");
        self.standing.send_replace(Standing::Inside);
        Ok(())
    }

    /// Founds the cluster of this node and all it was told to join; asked again, goes on where an earlier try broke off.
    async fn found(&self) -> Result<String, String> {
        let _one = self.founding.lock().await;
        let everyone = self.everyone().await?;
        if let Standing::Refused(why) = &*self.standing.borrow() {
            return Err(why.clone());
        }
        let nodes: Vec<NodeInfo> = everyone.iter().map(|met| met.info.clone()).collect();
        if self.identity().cluster_id.is_empty() {
            let founders = founders(&everyone)?;
            let cluster_id = format!("{:032x}", self.env.random_u128());
            self.adopt(&cluster_id, &founders, &DriverMembers::default(), &nodes)?;
        }
        let identity = self.identity();
        for node in nodes.iter().filter(|n| n.id != self.info.id) {
            let command = NodeCommand::Adopt {
                cluster_id: identity.cluster_id.clone(),
                placement: identity.founders(),
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
    async fn everyone(&self) -> Result<Vec<Met>, String> {
        let deadline = self.env.boottime() + FOUNDING_PATIENCE;
        loop {
            let met = self.met.lock().clone();
            let missing: Vec<&String> = self.join.iter().filter(|a| !met.contains_key(*a)).collect();
            if missing.is_empty() {
                let mut nodes: Vec<Met> = met.into_values().collect();
                nodes.push(Met { info: self.info.clone(), data_id: self.identity().data_id });
                nodes.sort_by_key(|met| met.info.id);
                if nodes.windows(2).any(|pair| pair[0].info.id == pair[1].info.id) {
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
                    .filter(|a| !met.contains_key(*a) || *self.standing.borrow() != Standing::Inside)
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
        let Ok(Ok(NodeReply::Described { info, cluster_id, placement, nodes, data_id, driver })) =
            self.env.timeout(CALL_PATIENCE, asked).await
        else {
            return;
        };
        if info.id == self.info.id {
            tracing::error!(address, "another node has this node's id");
            return;
        }
        self.env.transport().set_address(info.id, address.to_owned());
        if self.doubts(&placement, &driver) {
            return;
        }
        if !cluster_id.is_empty() && self.identity().cluster_id.is_empty() {
            let known: Vec<NodeInfo> = nodes.into_iter().chain([info.clone()]).collect();
            if let Err(why) = self.adopt(&cluster_id, &placement, &driver, &known) {
                tracing::error!(why, "cannot join the cluster");
            }
        }
        // After the cluster has been taken in: who has met all founds one of its own only if none of them has one.
        self.met.lock().insert(address.to_owned(), Met { info, data_id });
    }

    /// Whether the node would be refused by what one of its peers tells, and it is too early to believe that.
    fn doubts(&self, founders: &[Founder], driver: &DriverMembers) -> bool {
        let identity = self.identity();
        if !identity.cluster_id.is_empty() || identity.may_join(founders, driver).is_ok() {
            return false;
        }
        let now = self.env.boottime();
        now < *self.refused_since.lock().get_or_insert(now) + DOUBT
    }
}

/// Who is to carry the placement driver: the first nodes with the role, an odd number.
fn founders(nodes: &[Met]) -> Result<Vec<Founder>, String> {
    let drivers = nodes.iter().filter(|met| met.info.roles & PLACEMENT_ROLE != 0).take(MAX_DRIVERS);
    let founder = |(n, met): (usize, &Met)| Founder {
        replica: Replica { id: ReplicaId(n as u64 + 1), node: met.info.id, role: ReplicaRole::Voter },
        data_id: met.data_id.clone(),
    };
    let mut founders: Vec<Founder> = drivers.enumerate().map(founder).collect();
    if founders.is_empty() {
        return Err("no node carries the role placement".into());
    }
    // An even number tolerates no more failures than the odd one below it.
    if founders.len() > 1 && founders.len().is_multiple_of(2) {
        founders.pop();
    }
    Ok(founders)
}
