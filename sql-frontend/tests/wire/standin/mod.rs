//! A node with SQL over a stand-in for everything below the coordinator.

pub mod shard;

use async_trait::async_trait;
use quorate_env::{Env, EnvConfig, PlacementClient};
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, Span, Timestamp,
    placement::{
        MapUpdate, NodeInfo, OperationState, OperationStatus, PlacementError, PlacementReply,
        PlacementRequest,
    },
};
use quorate_sql::server::{ClusterInfo, Placement, SchemaLease, SqlConfig, SqlServer};
use quorate_txn::{Coordinator, Router, TxnConfig};
use shard::{SHARD, Shard};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

/// Placement and cluster in one.
pub struct World {
    env: Env,
    schema: watch::Sender<SchemaLease>,
    reported: watch::Sender<u64>,
    ids: AtomicU64,
}

impl ClusterInfo for World {
    fn schema(&self) -> watch::Receiver<SchemaLease> {
        self.schema.subscribe()
    }

    fn report_schema(&self, version: u64) {
        self.reported.send_replace(version);
    }

    fn shards(&self) -> Vec<(ShardDescriptor, Option<NodeId>)> {
        vec![(descriptor(), Some(NodeId(1)))]
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        vec![]
    }
}

#[async_trait]
impl Placement for World {
    async fn request(
        &self,
        request: PlacementRequest,
        limit: Duration,
    ) -> Result<PlacementReply, PlacementError> {
        match request {
            PlacementRequest::AllocateIds { count, .. } => {
                Ok(PlacementReply::Ids(self.ids.fetch_add(count, Ordering::Relaxed)))
            }
            PlacementRequest::AdvanceSchema { to } => {
                let present = self.schema.borrow().version;
                if to == present {
                    return Ok(PlacementReply::SchemaAdvanced(to));
                }
                if to != present + 1 {
                    return Err(PlacementError::Refused("not the next version".into()));
                }
                let mut reported = self.reported.subscribe();
                let waited = self.env.timeout(limit, reported.wait_for(|version| *version + 1 >= to)).await;
                if waited.is_err() {
                    return Err(PlacementError::Ambiguous("no answer in time".into()));
                }
                self.schema.send_modify(|lease| lease.version = lease.version.max(to));
                Ok(PlacementReply::SchemaAdvanced(to))
            }
            PlacementRequest::Start(_) => Ok(PlacementReply::Started(1)),
            PlacementRequest::Operation { id, .. } => Ok(PlacementReply::Operations(vec![OperationStatus {
                id,
                operation: quorate_proto::placement::Operation::Scatter { span: Span::ALL },
                state: OperationState::Done,
                step: String::new(),
                started: Timestamp::ZERO,
                updated: Timestamp::ZERO,
                origin: "sql".into(),
            }])),
            PlacementRequest::Nodes => Ok(PlacementReply::Nodes(vec![])),
            PlacementRequest::Replicas => Ok(PlacementReply::Replicas(vec![])),
            PlacementRequest::Settings => Ok(PlacementReply::Settings(vec![("a".into(), "b".into())])),
            other => Err(PlacementError::Refused(format!("{other:?}"))),
        }
    }
}

fn descriptor() -> ShardDescriptor {
    ShardDescriptor {
        id: SHARD,
        span: Span::ALL,
        version: 1,
        config_epoch: 1,
        replicas: vec![Replica { id: ReplicaId(1), node: NodeId(1), role: ReplicaRole::Voter }],
    }
}

pub struct Node {
    pub env: Env,
    pub server: Arc<SqlServer>,
    pub shard: Arc<Shard>,
}

impl Node {
    pub async fn start() -> Node {
        Self::start_with(SqlConfig::default()).await
    }

    pub async fn start_with(config: SqlConfig) -> Node {
        let env = Env::real(EnvConfig::new(NodeId(1))).unwrap();
        let shard = Shard::start(&env);
        let client = Arc::new(PlacementClient::new(env.clone(), vec![NodeId(1)]));
        let router = Router::new(env.clone(), client);
        router.update(&MapUpdate {
            version: 1,
            changed: vec![descriptor()],
            removed: vec![],
            full: true,
            leaders: vec![(SHARD, NodeId(1))],
        });
        let coordinator = Coordinator::new(env.clone(), router, TxnConfig::default());
        let world = Arc::new(World {
            env: env.clone(),
            schema: watch::Sender::new(SchemaLease { version: 1, until: Timestamp::MAX }),
            reported: watch::Sender::new(0),
            ids: AtomicU64::new(100),
        });
        let server =
            SqlServer::start_with(env.clone(), coordinator, world.clone(), world, config).await.unwrap();
        Node { env, server, shard }
    }

    pub async fn connect(&self) -> Client {
        let port = self.server.address().port();
        let config = format!("host=127.0.0.1 port={port} user=root dbname=quorate");
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        self.env
            .spawn("test.client", async move {
                let _ = connection.await;
            })
            .detach();
        client
    }
}
