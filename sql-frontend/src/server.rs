//! The SQL server of a node: listens, admits connections, knows the live sessions, and hands each its surroundings.

use crate::{
    advisory,
    catalog::{
        Catalog, Sequences,
        rowid::{MAX_NODE, RowIds},
    },
    exec::{Engine, EngineConfig},
    session::{cancel::Sessions, crowd},
    wire,
};
use async_trait::async_trait;
use quorate_env::{Env, PlacementClient, gate::Gate, watch};
use quorate_proto::{
    NodeId, ShardDescriptor, ShardId, Timestamp,
    placement::{Leaving, NodeInfo, PlacementError, PlacementReply, PlacementRequest},
};
use quorate_txn::Coordinator;
use socket2::{SockRef, TcpKeepalive};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

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
    /// Whether this node is to leave: then it takes no new clients, or even sends those away that it has.
    fn leaving(&self) -> watch::Receiver<Leaving>;
    /// Up to when each replica on this node can answer alone.
    fn closed(&self) -> Vec<(ShardId, Timestamp)>;
    /// The cluster setting of this name, as far as the node has heard.
    fn idempotency_ttl(&self) -> Option<Duration>;
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
    /// Working memory of all statements together (bytes).
    pub query_memory: usize,
    /// How long a schema change waits for transactions that use the state before it.
    pub schema_patience: Duration,
    /// How long advisory locks outlive the last sign of life of the node whose sessions hold them.
    pub advisory_lease: Duration,
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
            query_memory: 256 << 20,
            schema_patience: Duration::from_secs(60),
            advisory_lease: Duration::from_secs(15),
        }
    }
}

/// What all sessions of a node share.
pub struct Shared {
    pub env: Env,
    pub coordinator: Arc<Coordinator>,
    pub placement: Arc<dyn Placement>,
    pub cluster: Arc<dyn ClusterInfo>,
    pub catalog: Arc<Catalog>,
    pub sequences: Arc<Sequences>,
    pub row_ids: RowIds,
    pub engine: Arc<Engine>,
    pub advisory: Arc<advisory::Keeper>,
    pub sessions: Arc<Sessions>,
    /// What begins on this node goes through here.
    pub gate: Arc<Gate>,
    pub config: SqlConfig,
    plans: AtomicU64,
}

impl Shared {
    /// A statement is planned; one that runs with a plan that was kept is not.
    pub fn planned(&self) {
        self.plans.fetch_add(1, Ordering::Relaxed);
        quorate_env::count!("quorate_sql_plans_total");
    }

    /// How often that was.
    pub fn plans(&self) -> u64 {
        self.plans.load(Ordering::Relaxed)
    }
}

/// The SQL server of a node. Dropping it leaves it running; it ends with the node.
pub struct SqlServer {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl SqlServer {
    /// Listens and serves until the node shuts down.
    ///
    /// # Errors
    /// If the address cannot be bound, or the configuration makes no sense.
    pub async fn start(
        env: Env,
        coordinator: Arc<Coordinator>,
        placement: Arc<PlacementClient>,
        cluster: Arc<dyn ClusterInfo>,
        config: SqlConfig,
    ) -> io::Result<Arc<SqlServer>> {
        Self::start_with(env, coordinator, placement, cluster, config).await
    }

    /// The same with anything that answers for the placement driver.
    pub async fn start_with(
        env: Env,
        coordinator: Arc<Coordinator>,
        placement: Arc<dyn Placement>,
        cluster: Arc<dyn ClusterInfo>,
        config: SqlConfig,
    ) -> io::Result<Arc<SqlServer>> {
        if env.node().0 > MAX_NODE {
            let why = format!("a node that serves SQL has an id of at most {MAX_NODE}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        #[expect(clippy::disallowed_methods, reason = "clients connect here, no nodes")]
        let listener = TcpListener::bind(&config.listen).await?;
        let address = listener.local_addr()?;
        let engine = Engine::new(EngineConfig { memory: config.query_memory, ..EngineConfig::default() })
            .map_err(|error| io::Error::other(error.to_string()))?;
        let (coordinating, patience) = (coordinator.clone(), config.schema_patience);
        let catalog = Catalog::new(env.clone(), coordinating, cluster.clone(), placement.clone(), patience);
        let shared = Arc::new(Shared {
            sequences: Sequences::new(env.clone(), coordinator.clone()),
            row_ids: RowIds::new(env.clone()),
            sessions: Sessions::new(env.node(), config.max_connections),
            advisory: advisory::Keeper::new(env.clone(), coordinator.clone(), config.advisory_lease),
            env: env.clone(),
            coordinator,
            placement,
            cluster,
            catalog: catalog.clone(),
            gate: crowd::gate(&env, engine.clone()),
            engine,
            config,
            plans: AtomicU64::new(0),
        });
        let clock = env.clone();
        crate::func::set_clock(move || clock.clock().physical().unix_micros() as i64);
        catalog.start();
        crate::ddl::job::start(&shared);
        crate::session::expiry::start(&shared);
        let accepting = shared.clone();
        env.spawn("sql.accept", async move { accept(accepting, listener).await }).detach();
        Ok(Arc::new(SqlServer { shared, address }))
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancels what a session of this node runs, for the node's RPC service; whether it was found.
    pub fn cancel(&self, pid: u32, secret: u32) -> bool {
        self.shared.sessions.cancel(pid, secret)
    }

    /// Ends whatever statements run on this node, which is about to go; their clients are told so.
    pub fn end_statements(&self) {
        for session in self.shared.sessions.all() {
            session.cancel.end();
        }
    }

    pub fn sessions(&self) -> usize {
        self.shared.sessions.all().len()
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// A client whose machine or network has gone says nothing. It is asked after so long a silence, so many times, so far apart; then
/// its session ends with all that it holds. (A client that is only slow is answered for by its kernel.)
const SILENCE: Duration = Duration::from_secs(30);
const QUESTIONS: u32 = 3;
const APART: Duration = Duration::from_secs(10);

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(APART).with_retries(QUESTIONS);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let env = shared.env.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = env.shutdown().wait() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = prepare(&stream) {
                    tracing::debug!(%error, "a client has gone at once");
                    continue;
                }
                let (reading, writing) = stream.into_split();
                let shared = shared.clone();
                env.spawn("sql.session", async move {
                    wire::connection::serve(shared, Box::new(reading), Box::new(writing), peer).await;
                })
                .detach();
            }
            Err(error) => {
                // Out of file descriptors, most likely: the ones in use must end first.
                tracing::warn!(%error, "could not accept an SQL connection");
                env.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the options of a real socket")]
    async fn a_client_that_says_nothing_is_asked_whether_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (_client, accepted) = tokio::join!(client, listener.accept());
        let (stream, _) = accepted.unwrap();
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), APART);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), QUESTIONS);
    }
}
