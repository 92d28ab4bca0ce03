//! The real network between nodes: gRPC streams that stay open.

use crate::{
    Clock, Handler, PeerStatus, Transport, TransportError, rpc::in_process, scope::Scope, transport::Handlers,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::{NodeId, rpc::Service};
use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

/// Limits of the transport.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Frames that may wait for one peer; more are not sent.
    pub queue_frames: usize,
    /// Bytes that may wait for one peer.
    pub queue_bytes: usize,
    /// Requests of one service in progress; more are refused.
    pub inbound_requests: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        NetConfig { queue_frames: 16_384, queue_bytes: 64 << 20, inbound_requests: 16_384 }
    }
}

pub(crate) struct RealTransport {
    node: NodeId,
    handlers: Handlers,
    peers: Mutex<BTreeMap<NodeId, String>>,
    cluster: Mutex<String>,
}

impl RealTransport {
    pub(crate) fn new(
        node: NodeId,
        _incarnation: u64,
        cluster: String,
        _clock: Arc<Clock>,
        _scope: Arc<Scope>,
        _config: NetConfig,
    ) -> Arc<Self> {
        Arc::new(RealTransport {
            node,
            handlers: Handlers::default(),
            peers: Mutex::default(),
            cluster: Mutex::new(cluster),
        })
    }

    pub(crate) async fn listen(&self, _address: &str) -> io::Result<SocketAddr> {
        todo!()
    }

    pub(crate) fn stop(&self) {
        self.handlers.clear();
    }
}

#[async_trait]
impl Transport for RealTransport {
    fn send(&self, _to: NodeId, _service: Service, _body: Bytes) {}

    async fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        if to == self.node {
            let handler = self.handler(service);
            let handler =
                handler.ok_or_else(|| TransportError::Refused(format!("no {service:?} service here")))?;
            let future = Box::pin(async move { handler.call(to, body).await });
            return Ok(in_process(future, timeout).await??);
        }
        Err(TransportError::NotSent("not connected".into()))
    }

    fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        self.handlers.set(service, handler);
    }

    fn handler(&self, service: Service) -> Option<Arc<dyn Handler>> {
        self.handlers.get(service)
    }

    fn set_address(&self, node: NodeId, address: String) {
        self.peers.lock().insert(node, address);
    }

    fn addresses(&self) -> Vec<(NodeId, String)> {
        self.peers.lock().iter().map(|(node, address)| (*node, address.clone())).collect()
    }

    fn forget(&self, node: NodeId) {
        self.peers.lock().remove(&node);
    }

    fn peer(&self, node: NodeId) -> Option<PeerStatus> {
        let address = self.peers.lock().get(&node)?.clone();
        Some(PeerStatus { address, connected: false, incarnation: None })
    }

    fn set_cluster(&self, id: String) {
        *self.cluster.lock() = id;
    }

    fn cluster(&self) -> String {
        self.cluster.lock().clone()
    }
}
