//! The placement driver: which nodes there are, which shard owns which keys on which nodes, ids, settings, the catalog
//! version, and the operations that change all this (DESIGN §8).
//!
//! It decides and versions; shards carry out and report. Its state ([`state`], pure) is replicated by a Raft group of its
//! own on the nodes with the role ([`machine`]); the leader answers requests ([`service`]), keeps what need not be
//! replicated ([`leader`]: heartbeats, reports, leases of the catalog version) and carries operations out ([`run`]), each
//! step of which may be repeated by the next leader. What to do is decided by pure functions ([`planner`]).
//!
//! Absent on purpose: it never reads user rows, never touches a replica but through [`quorate_proto::rpc::Service::Replica`],
//! and without a change it proposes nothing.

pub mod command;
mod horizon;
pub mod leader;
mod leaving;
pub mod machine;
mod orders;
pub mod planner;
pub mod run;
pub mod service;
pub mod settings;
pub mod state;
mod store;

use machine::Machine;
use quorate_consensus::{Consensus, Group, OpenError, Start};
use quorate_env::{Env, planted};
use quorate_proto::{NodeId, Replica, ShardId};
use quorate_storage::{Engine, StorageError};
use std::sync::Arc;

/// One replica of the driver.
pub struct Placement {
    env: Env,
    group: Arc<Group>,
    machine: Arc<Machine>,
    founders: Vec<NodeId>,
    leading: parking_lot::Mutex<Option<Arc<leader::Session>>>,
}

/// Who founded the driver, and whether this node has done its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The same on all nodes.
    pub members: Vec<Replica>,
    /// This node has made its copy in an earlier life. If the copy is not there it is lost, with votes that it gave and
    /// entries that it acknowledged; one made anew under its id could elect a leader that lacks what is committed.
    pub done: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("node {0} is none of the placement driver's members")]
    NotAMember(NodeId),
    #[error(
        "node {0} has lost its copy of the placement driver, which must not be made anew under its old id; start the node \
         with an empty data directory under a new --node-id"
    )]
    Lost(NodeId),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Placement {
    /// Opens this node's replica of the driver (making it if that has not been done yet) and serves requests.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        env: Env,
        consensus: Arc<Consensus>,
        engine: Arc<dyn Engine>,
        mut founding: Founding,
    ) -> Result<Arc<Placement>, StartError> {
        let node = env.node();
        // The state is durable before the log begins, and the log before the copy counts as made.
        let has_log = consensus.has_log(ShardId::PLACEMENT);
        if founding.done && !has_log && !planted!("placement.lost_founder_starts") {
            return Err(StartError::Lost(node));
        }
        founding.done |= has_log;
        let machine = {
            let founding = founding.clone();
            env.blocking("placement.open", move || Machine::open(engine, node, &founding)).await?
        };
        let replica = machine.replica();
        let start = match machine.fresh() {
            true => Start::Founding { members: founding.members.clone() },
            false => Start::Existing,
        };
        let group = consensus.open(ShardId::PLACEMENT, replica, start, machine.clone()).await?;
        let founders = founding.members.iter().map(|member| member.node).collect();
        let placement =
            Arc::new(Placement { env: env.clone(), group, machine, founders, leading: Default::default() });
        service::serve(&placement);
        env.spawn("placement.lead", leader::lead(placement.clone())).detach();
        env.spawn("placement.flush", machine::flush(env.clone(), placement.machine.clone())).detach();
        Ok(placement)
    }

    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// The present leadership, if this replica leads and may answer.
    pub(crate) fn session(&self) -> Option<Arc<leader::Session>> {
        self.leading.lock().clone()
    }
}
