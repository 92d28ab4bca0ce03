//! A node with SQL over a stand-in for everything below the coordinator.

mod rules;
pub mod shard;

use async_trait::async_trait;
use quorate_env::{Env, EnvConfig, PlacementClient, watch};
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, Span, Timestamp,
    placement::{
        Leaving, MapUpdate, NodeInfo, NodeState, NodeStatus, OperationState, OperationStatus, PlacementError,
        PlacementReply, PlacementRequest,
    },
};
use quorate_sql::server::{ClusterInfo, Placement, SchemaLease, SqlConfig, SqlServer};
use quorate_txn::{Coordinator, MemoryScratch, Router, TxnConfig};
use shard::{SHARD, Shard};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_postgres::{Client, NoTls};

/// Placement and cluster in one.
pub struct World {
    env: Env,
    schema: watch::Sender<SchemaLease>,
    /// By how much the driver's version of the catalog is ahead of what the node has heard.
    unheard: AtomicU64,
    reported: watch::Sender<u64>,
    ids: AtomicU64,
    /// Operations of the driver go on until this falls.
    held: AtomicBool,
    /// The setting `idempotency_ttl`, in milliseconds; 0: unknown.
    idempotency_ttl: AtomicU64,
    /// How far behind the present everything is closed, in milliseconds.
    behind: AtomicU64,
    pub leaving: watch::Sender<Leaving>,
    rules: rules::Rules,
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

    fn leaving(&self) -> watch::Receiver<Leaving> {
        self.leaving.subscribe()
    }

    /// The stand-in keeps all versions, and closes at once, unless it has fallen behind.
    fn closed(&self) -> Vec<(quorate_proto::ShardId, Timestamp)> {
        let behind = Duration::from_millis(self.behind.load(Ordering::SeqCst));
        vec![(SHARD, self.env.clock().physical().minus(behind))]
    }

    fn idempotency_ttl(&self) -> Option<Duration> {
        let millis = self.idempotency_ttl.load(Ordering::SeqCst);
        (millis > 0).then(|| Duration::from_millis(millis))
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
                let present = self.version();
                self.tell();
                if to == present {
                    return Ok(PlacementReply::SchemaVersion(to));
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
                Ok(PlacementReply::SchemaVersion(to))
            }
            PlacementRequest::WatchSchema { .. } => Ok(PlacementReply::SchemaVersion(self.version())),
            PlacementRequest::WatchMap { .. } => {
                let changed = self.shards().into_iter().map(|(shard, _)| shard).collect();
                Ok(PlacementReply::Map(MapUpdate { changed, full: true, ..MapUpdate::default() }))
            }
            PlacementRequest::Start(_) => Ok(PlacementReply::Started(1)),
            PlacementRequest::Operation { id, .. } => Ok(PlacementReply::Operations(vec![OperationStatus {
                id,
                operation: quorate_proto::placement::Operation::Scatter { span: Span::ALL },
                state: self.operation(),
                step: "moving house".into(),
                started: Timestamp::ZERO,
                updated: Timestamp::ZERO,
                origin: "sql".into(),
            }])),
            PlacementRequest::Nodes => Ok(PlacementReply::Nodes(vec![self.status()])),
            PlacementRequest::Replicas => Ok(PlacementReply::Replicas(vec![])),
            PlacementRequest::Settings => Ok(PlacementReply::Settings(vec![("a".into(), "b".into())])),
            PlacementRequest::Rules => Ok(self.rules.all()),
            PlacementRequest::Recoveries => Ok(PlacementReply::Recoveries(vec![])),
            PlacementRequest::Configure { span, change } => self.rules.configure(span, change),
            PlacementRequest::Forget(span) => Ok(self.rules.forget(&span)),
            PlacementRequest::Explain(asked) => rules::explain(asked),
            other => Err(PlacementError::Refused(format!("{other:?}"))),
        }
    }
}

impl World {
    /// The catalog's version by the driver.
    pub fn version(&self) -> u64 {
        self.schema.borrow().version + self.unheard.load(Ordering::SeqCst)
    }

    /// Somebody else has changed the schema, and this node has not heard of it.
    pub fn raise_unheard(&self) {
        self.unheard.fetch_add(1, Ordering::SeqCst);
    }

    /// The node hears of what is new.
    fn tell(&self) {
        let news = self.unheard.swap(0, Ordering::SeqCst);
        self.schema.send_modify(|lease| lease.version += news);
    }

    /// Until when the node may use its version of the catalog.
    pub fn set_lease(&self, until: Timestamp) {
        self.schema.send_modify(|lease| lease.until = until);
    }

    pub fn set_idempotency_ttl(&self, ttl: Option<Duration>) {
        self.idempotency_ttl.store(ttl.map_or(0, |ttl| ttl.as_millis() as u64), Ordering::SeqCst);
    }

    pub fn fall_behind(&self, by: Duration) {
        self.behind.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn hold_operations(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    fn operation(&self) -> OperationState {
        if self.held.load(Ordering::SeqCst) { OperationState::Running } else { OperationState::Done }
    }

    fn status(&self) -> NodeStatus {
        let info = NodeInfo {
            id: self.env.node(),
            incarnation: self.env.incarnation(),
            rpc_address: String::new(),
            sql_address: String::new(),
            http_address: String::new(),
            locality: vec![],
            roles: 7,
        };
        NodeStatus {
            info,
            state: NodeState::Live,
            last_heartbeat: Timestamp::ZERO,
            clock_offset_micros: 0,
            space: Default::default(),
            sessions: 0,
            replicas: 1,
            leaders: 1,
            schema_version: *self.reported.borrow(),
            carries_driver: true,
            tempo: Default::default(),
            slow: String::new(),
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
    pub world: Arc<World>,
}

impl Node {
    pub async fn start() -> Node {
        Self::start_with(SqlConfig::default()).await
    }

    pub async fn start_with(config: SqlConfig) -> Node {
        Self::start_under(config, TxnConfig::default()).await
    }

    pub async fn start_under(config: SqlConfig, txns: TxnConfig) -> Node {
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
        let coordinator = Coordinator::new(env.clone(), router, txns, Arc::new(MemoryScratch));
        let world = Arc::new(World {
            env: env.clone(),
            schema: watch::Sender::new(SchemaLease { version: 1, until: Timestamp::MAX }),
            unheard: AtomicU64::new(0),
            reported: watch::Sender::new(0),
            ids: AtomicU64::new(100),
            held: AtomicBool::new(false),
            idempotency_ttl: AtomicU64::new(0),
            behind: AtomicU64::new(1),
            leaving: watch::Sender::new(Leaving::No),
            rules: rules::Rules::default(),
        });
        let server = SqlServer::start_with(env.clone(), coordinator, world.clone(), world.clone(), config)
            .await
            .unwrap();
        Node { env, server, shard, world }
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
