//! The network between nodes, as the rest of the database sees it.

use async_trait::async_trait;
use bytes::Bytes;
use quorate_proto::{NodeId, rpc::Service};
use std::{any::Any, sync::Arc, time::Duration};

/// Sends to and answers the other nodes. Nothing is ever sent twice by itself; a simulated network may repeat.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// One way and best effort. What arrives of the messages to one service of one node arrives in order, as long as the
    /// connection holds.
    fn send(&self, to: NodeId, service: Service, body: Bytes);

    /// Asks and waits. An answer that cannot come any more is not waited for until `timeout`: a connection that breaks, or
    /// has been silent for some seconds, ends its calls as lost. Dropping the future gives up waiting; the callee does not notice.
    /// A call to the own node runs the handler without any network.
    async fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError>;

    /// Registers who answers a service. Until then its requests are refused. A second one replaces the first.
    fn serve(&self, service: Service, handler: Arc<dyn Handler>);

    fn handler(&self, service: Service) -> Option<Arc<dyn Handler>>;

    /// Makes a peer known, or moves it. Connecting begins at once. The own node is left out.
    fn set_address(&self, node: NodeId, address: String);

    /// The known peers, without the own node, in order of their ids.
    fn addresses(&self) -> Vec<(NodeId, String)>;

    /// Ends the connection; the peer is unknown from now on.
    fn forget(&self, node: NodeId);

    /// How it stands with a known peer.
    fn peer(&self, node: NodeId) -> Option<PeerStatus>;

    /// From now on peers of another cluster are turned away.
    fn set_cluster(&self, id: String);

    /// Empty while the node belongs to none.
    fn cluster(&self) -> String;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub address: String,
    pub connected: bool,
    /// Of the process that was last heard of there; another one means that it has restarted.
    pub incarnation: Option<u64>,
}

/// Answers the requests of one service. Each call runs in its own task and is never cancelled by its caller.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// A [`Refusal`] says that nothing was done.
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal>;

    /// Takes a message that wants no answer. Called in the order of arrival; it must not block.
    fn one_way(&self, _from: NodeId, _body: Bytes) {}

    /// What `rpc::call` looks for to skip the encoding when the callee is the own node.
    fn typed(&self) -> Option<&(dyn Any + Send + Sync)> {
        None
    }
}

/// The callee did nothing, for this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Why there is no answer. Only [`TransportError::Lost`] leaves open whether the request was carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Never handed over: unknown peer, no connection, full queue.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The callee refused before doing anything.
    #[error("refused: {0}")]
    Refused(String),
    /// Handed over, and then no answer: time ran out, or the connection broke.
    #[error("lost: {0}")]
    Lost(String),
}

impl TransportError {
    /// The request was certainly not carried out.
    pub fn is_definite(&self) -> bool {
        !matches!(self, TransportError::Lost(_))
    }
}

impl From<Refusal> for TransportError {
    fn from(refusal: Refusal) -> Self {
        TransportError::Refused(refusal.0)
    }
}

/// Handlers by service.
#[derive(Default)]
pub(crate) struct Handlers(parking_lot::RwLock<[Option<Arc<dyn Handler>>; 16]>);

impl Handlers {
    pub(crate) fn set(&self, service: Service, handler: Arc<dyn Handler>) {
        self.0.write()[service as usize] = Some(handler);
    }

    pub(crate) fn get(&self, service: Service) -> Option<Arc<dyn Handler>> {
        self.0.read()[service as usize].clone()
    }

    /// Drops all handlers, and with them what they hold.
    pub(crate) fn clear(&self) {
        *self.0.write() = Default::default();
    }
}
