//! The real network between nodes: gRPC streams that stay open.
//!
//! Each node dials every peer once per lane ([`lane`]) and sends its requests and messages there; answers come back on
//! the same stream. A request that was written to a broken stream is lost, one that still waited was definitely not
//! sent; nothing is ever sent twice. Everything that waits for a stream leaves in one batch ([`outbox`]).

mod accept;
mod ask;
mod lane;
mod outbox;

pub use ask::ask;

use crate::{
    Clock, Handler, PeerStatus, Transport, TransportError, rpc::in_process, scope::Scope, time,
    transport::Handlers, watch,
};
use async_trait::async_trait;
use bytes::Bytes;
use lane::{Lane, deepest};
use parking_lot::Mutex;
use quorate_proto::{
    NodeId, Timestamp, WIRE_VERSION,
    link::{Hello, link_server::LinkServer},
    rpc::Service,
};
use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};

/// The largest body of a frame.
pub const MAX_BODY: usize = 64 << 20;
/// The largest batch: one body too many may join.
const MAX_MESSAGE: usize = 2 * MAX_BODY;
/// Bytes in flight per stream; a snapshot chunk or a page of rows fits.
const WINDOW: u32 = 8 << 20;
/// A silent connection is probed after this long, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Limits of the transport.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Frames that may wait for one peer and lane; more are not sent.
    pub queue_frames: usize,
    /// Bytes that may wait for one peer and lane.
    pub queue_bytes: usize,
    /// Requests of one service in progress; more are refused.
    pub inbound_requests: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        NetConfig { queue_frames: 16_384, queue_bytes: 64 << 20, inbound_requests: 16_384 }
    }
}

/// Who this node is, as its streams need to know it.
struct Identity {
    node: NodeId,
    incarnation: u64,
    cluster: Mutex<String>,
    clock: Arc<Clock>,
    scope: Arc<Scope>,
}

impl Identity {
    fn hello(&self, to: NodeId, lane: u32) -> Hello {
        Hello {
            node_id: self.node.0,
            incarnation: self.incarnation,
            cluster_id: self.cluster.lock().clone(),
            wire_version: WIRE_VERSION,
            to_node_id: to.0,
            lane,
        }
    }

    /// Takes over the clock reading that came with a batch; 0 is none.
    fn observe(&self, from: NodeId, hlc: u64) {
        if hlc != 0
            && let Err(error) = self.clock.observe(Timestamp(hlc))
        {
            tracing::debug!(peer = from.0, "{error}");
        }
    }
}

/// Why the peer that greets so must be turned away.
fn greeting_error(hello: &Hello, own: &Identity) -> Option<String> {
    let cluster = own.cluster.lock();
    if !cluster.is_empty() && !hello.cluster_id.is_empty() && *cluster != hello.cluster_id {
        return Some(format!("node {} belongs to cluster {cluster}, not {}", own.node, hello.cluster_id));
    }
    (hello.wire_version < WIRE_VERSION)
        .then(|| format!("wire version {} is too old for {WIRE_VERSION}", hello.wire_version))
}

fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// A connection to the node at `address`, or why there is none.
#[expect(clippy::disallowed_methods, reason = "the real transport")]
async fn connect(address: &str) -> Result<Channel, String> {
    endpoint(address)?.connect().await.map_err(|error| deepest(&error))
}

type Lanes = [Arc<Lane>; 2];

pub(crate) struct RealTransport {
    identity: Arc<Identity>,
    config: NetConfig,
    handlers: Arc<Handlers>,
    peers: parking_lot::RwLock<BTreeMap<NodeId, Lanes>>,
    stopped: watch::Sender<bool>,
}

impl RealTransport {
    pub(crate) fn new(
        node: NodeId,
        incarnation: u64,
        cluster: String,
        clock: Arc<Clock>,
        scope: Arc<Scope>,
        config: NetConfig,
    ) -> Arc<Self> {
        Arc::new(RealTransport {
            identity: Arc::new(Identity { node, incarnation, cluster: Mutex::new(cluster), clock, scope }),
            config,
            handlers: Arc::default(),
            peers: Default::default(),
            stopped: watch::Sender::new(false),
        })
    }

    pub(crate) async fn listen(&self, address: &str) -> io::Result<SocketAddr> {
        #[expect(clippy::disallowed_methods, reason = "the real transport")]
        let listener = tokio::net::TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let acceptor = accept::Acceptor::new(
            self.identity.clone(),
            self.handlers.clone(),
            self.config.inbound_requests,
            self.stopped.subscribe(),
        );
        let service = LinkServer::from_arc(acceptor)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let router = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(service);
        let mut stopped = self.stopped.subscribe();
        self.identity.scope.spawn("net.accept", async move {
            let end = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, end).await {
                tracing::error!("no longer accepting peers: {error}");
            }
        });
        Ok(bound)
    }

    /// Waits until what was queued is written, at most `patience`.
    pub(crate) async fn drain(&self, patience: Duration) {
        let deadline = time::now() + patience;
        let drained =
            || self.peers.read().values().flatten().all(|lane| lane.is_drained() || !lane.is_connected());
        while !drained() && time::now() < deadline {
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends all streams and accepts no more.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        for lane in std::mem::take(&mut *self.peers.write()).into_values().flatten() {
            lane.set_address(None);
        }
        self.handlers.clear();
    }

    fn lane(&self, to: NodeId, service: Service) -> Option<Arc<Lane>> {
        Some(self.peers.read().get(&to)?[lane::number(service)].clone())
    }
}

#[async_trait]
impl Transport for RealTransport {
    fn send(&self, to: NodeId, service: Service, body: Bytes) {
        if to == self.identity.node {
            if let Some(handler) = self.handlers.get(service) {
                handler.one_way(to, body);
            }
        } else if let Some(lane) = self.lane(to, service) {
            lane.send(service, body);
        }
    }

    async fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        if to == self.identity.node {
            let handler = self.handlers.get(service);
            let handler =
                handler.ok_or_else(|| TransportError::Refused(format!("no {service:?} service here")))?;
            let future = Box::pin(async move { handler.call(to, body).await });
            return Ok(in_process(&self.identity.scope, future, timeout).await??);
        }
        let lane = self.lane(to, service);
        let lane = lane.ok_or_else(|| TransportError::NotSent(format!("node {to} is not known here")))?;
        if !matches!(service, Service::Raft | Service::Liveness | Service::Time) {
            crate::count!("quorate_env_calls_total");
        }
        lane.call(service, body, timeout).await
    }

    fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        self.handlers.set(service, handler);
    }

    fn handler(&self, service: Service) -> Option<Arc<dyn Handler>> {
        self.handlers.get(service)
    }

    fn set_address(&self, node: NodeId, address: String) {
        if node == self.identity.node || *self.stopped.borrow() {
            return;
        }
        let mut peers = self.peers.write();
        if let Some(lanes) = peers.get(&node) {
            lanes.iter().for_each(|lane| lane.set_address(Some(address.clone())));
            return;
        }
        let lanes = [0, 1].map(|number| {
            Lane::new(node, number, address.clone(), self.identity.clone(), self.config.clone())
        });
        for lane in &lanes {
            self.identity.scope.spawn("net.dial", lane.clone().run());
        }
        peers.insert(node, lanes);
    }

    fn addresses(&self) -> Vec<(NodeId, String)> {
        self.peers.read().iter().map(|(node, lanes)| (*node, lanes[0].address())).collect()
    }

    fn forget(&self, node: NodeId) {
        if let Some(lanes) = self.peers.write().remove(&node) {
            lanes.iter().for_each(|lane| lane.set_address(None));
        }
    }

    fn peer(&self, node: NodeId) -> Option<PeerStatus> {
        let lane = self.lane(node, Service::Kv)?;
        Some(PeerStatus {
            address: lane.address(),
            connected: lane.is_connected(),
            incarnation: lane.incarnation(),
        })
    }

    fn set_cluster(&self, id: String) {
        *self.identity.cluster.lock() = id;
    }

    fn cluster(&self) -> String {
        self.identity.cluster.lock().clone()
    }
}
