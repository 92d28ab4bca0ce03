//! The SQL server of a node: listens, admits connections, knows the live sessions, and hands each its surroundings.

use crate::{
    catalog::{Catalog, Sequences},
    session::cancel::Sessions,
};
use async_trait::async_trait;
use quorate_env::{Env, PlacementClient};
use quorate_proto::{
    NodeId, ShardDescriptor, Timestamp,
    placement::{NodeInfo, PlacementError, PlacementReply, PlacementRequest},
};
use quorate_txn::Coordinator;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch};

/// What placement last said about the catalog (PROTOCOL 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaLease {
    /// Present version. Placement raises it around every change of the catalog; the catalog itself lies in the key space.
    pub version: u64,
    /// Commits of statements that used the version reported by this node, or the next, lie below this.
    pub until: Timestamp,
}

/// What the SQL server wants to know of the node it runs on and of the cluster. The binary implements it over its
/// heartbeats and its shard map.
pub trait ClusterInfo: Send + Sync + 'static {
    /// Follows the answers to the node's heartbeats.
    fn schema(&self) -> watch::Receiver<SchemaLease>;
    /// All statements on this node now use the catalog as of `version` or later; the next heartbeat says so, and should
    /// be sent at once, because somebody's schema change waits for it.
    fn report_schema(&self, version: u64);
    /// The shard map as the node has it, with the last known leaders.
    fn shards(&self) -> Vec<(ShardDescriptor, Option<NodeId>)>;
    fn nodes(&self) -> Vec<NodeInfo>;
}

/// What the frontend asks of the placement driver; behind a trait so that tests can answer it.
#[async_trait]
pub trait Placement: Send + Sync + 'static {
    async fn request(
        &self,
        request: PlacementRequest,
        timeout: Duration,
    ) -> Result<PlacementReply, PlacementError>;
}

#[async_trait]
impl Placement for PlacementClient {
    async fn request(
        &self,
        request: PlacementRequest,
        timeout: Duration,
    ) -> Result<PlacementReply, PlacementError> {
        PlacementClient::request(self, request, timeout).await
    }
}

#[derive(Clone, Debug)]
pub struct SqlConfig {
    /// `HOST:PORT`; port 0 takes a free one.
    pub listen: String,
    /// Further clients get 53300.
    pub max_connections: usize,
    /// Admit everyone who can connect, wherever from; without it only loopback addresses are admitted (there are no
    /// passwords yet).
    pub insecure: bool,
    /// A client that has not said who it is after this long is dropped.
    pub startup_timeout: Duration,
    /// Larger messages close the connection (bytes).
    pub max_message: usize,
    /// Longer statements are refused with 54000 (bytes).
    pub max_statement: usize,
}

impl Default for SqlConfig {
    fn default() -> Self {
        SqlConfig {
            listen: "127.0.0.1:0".into(),
            max_connections: 1000,
            insecure: false,
            startup_timeout: Duration::from_secs(60),
            max_message: 256 << 20,
            max_statement: 16 << 20,
        }
    }
}
