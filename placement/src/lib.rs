//! The placement driver: which nodes there are, which shard owns which keys on which nodes, ids, settings, the catalog
//! version, and the operations that change all this (DESIGN §8).
//!
//! It decides and versions; shards carry out and report. Its state ([`state`], pure) is replicated by a Raft group of its
//! own ([`machine`]), whose members are exchanged like those of a shard ([`host`] makes and removes the replicas); the leader answers
//! requests ([`service`]), keeps what need not be replicated ([`leader`]: heartbeats, reports, leases of the catalog version) and
//! carries operations out ([`run`]), each step of which may be repeated by the next leader. What to do is decided by pure functions ([`planner`]).
//!
//! Absent on purpose: it never reads user rows, never touches a replica but through [`quorate_proto::rpc::Service::Replica`],
//! and without a change it proposes nothing.

pub mod command;
mod horizon;
pub mod host;
pub mod leader;
mod leaving;
pub mod machine;
mod orders;
pub mod planner;
pub mod rules;
mod run;
pub mod service;
pub mod settings;
mod slowness;
pub mod state;
mod store;

pub use host::Host;

use machine::Machine;
use quorate_consensus::{Group, OpenError};
use quorate_env::Env;
use quorate_proto::{
    Key, KvError, NodeId, Replica, ReplicaId, ShardDescriptor, ShardId, Span, placement::DriverMembers,
};
use quorate_storage::StorageError;
use std::sync::Arc;

/// One replica of the driver.
pub struct Placement {
    env: Env,
    group: Arc<Group>,
    machine: Arc<Machine>,
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
    #[error("what a replica of the placement driver has left behind cannot be removed: {0}")]
    LeftBehind(#[from] KvError),
}

impl Placement {
    /// What an open replica does by itself.
    fn start(env: &Env, group: Arc<Group>, machine: Arc<Machine>) -> Arc<Placement> {
        let placement = Arc::new(Placement { env: env.clone(), group, machine, leading: Default::default() });
        env.spawn("placement.lead", leader::lead(placement.clone())).detach();
        env.spawn("placement.flush", machine::flush(env.clone(), placement.machine.clone())).detach();
        placement
    }

    /// It is a member no more: it leads nothing, and applies nothing any more.
    async fn end(&self) {
        *self.leading.lock() = None;
        self.machine.close();
        self.group.stop().await;
    }

    pub fn replica(&self) -> ReplicaId {
        self.machine.replica()
    }

    /// Who carries the driver, as far as that is committed.
    pub fn members(&self) -> DriverMembers {
        let (_, members) = self.group.members_now();
        DriverMembers { at: members.position, replicas: members.replicas, addresses: Vec::new() }
    }

    /// The driver's own group as its leader sees it, in the form in which plans are made for shards. It owns no keys.
    pub(crate) fn own(&self) -> ShardDescriptor {
        ShardDescriptor {
            id: ShardId::PLACEMENT,
            span: Span { start: Key::default(), end: Some(Key::default()) },
            version: 0,
            config_epoch: 0,
            replicas: self.group.members_now().0.replicas,
        }
    }

    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// The present leadership, if this replica leads and may answer.
    pub(crate) fn session(&self) -> Option<Arc<leader::Session>> {
        self.leading.lock().clone()
    }
}
