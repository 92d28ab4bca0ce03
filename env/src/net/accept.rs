//! Answers the streams that peers have dialled.

use super::{Identity, greeting_error, outbox::Outbox};
use crate::{transport::Handlers, watch};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use quorate_proto::{
    NodeId,
    link::{Batch, Frame, frame::Kind, link_server::Link},
    rpc::Service,
};
use std::{pin::Pin, sync::Arc};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct Acceptor {
    identity: Arc<Identity>,
    handlers: Arc<Handlers>,
    /// Requests in progress, by service: the waiting ones of one must not keep those of another out.
    permits: Vec<Arc<Semaphore>>,
    stopped: watch::Receiver<bool>,
}

impl Acceptor {
    pub(crate) fn new(
        identity: Arc<Identity>,
        handlers: Arc<Handlers>,
        inbound_requests: usize,
        stopped: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let permits = (0..16).map(|_| Arc::new(Semaphore::new(inbound_requests))).collect();
        Arc::new(Acceptor { identity, handlers, permits, stopped })
    }

    /// Reads one peer's stream to its end.
    async fn read(self: Arc<Self>, from: NodeId, mut incoming: Streaming<Batch>, answers: Answers) {
        let outbox = &answers.0;
        let mut stopped = self.stopped.clone();
        loop {
            let message = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                message = incoming.message() => message,
            };
            match message {
                Ok(Some(batch)) => {
                    self.identity.observe(from, batch.hlc);
                    for frame in batch.frames {
                        self.frame(from, frame, outbox);
                    }
                }
                Ok(None) => break,
                Err(status) => {
                    tracing::debug!(peer = from.0, "stream broken: {}", status.message());
                    break;
                }
            }
        }
    }

    fn frame(&self, from: NodeId, frame: Frame, outbox: &Arc<Outbox>) {
        match frame.kind() {
            Kind::OneWay => {
                if let Some(handler) = Service::from_u32(frame.service).and_then(|s| self.handlers.get(s)) {
                    handler.one_way(from, frame.body);
                }
            }
            Kind::Request => self.request(from, frame, outbox),
            // A request once begun is carried to its end: who waits for it is not all it concerns.
            Kind::Cancel | Kind::Reply | Kind::Refused => {}
        }
    }

    fn request(&self, from: NodeId, frame: Frame, outbox: &Arc<Outbox>) {
        let Frame { service, call_id, body, .. } = frame;
        let refuse = |why: &str| {
            reply(outbox, Kind::Refused, service, call_id, Bytes::copy_from_slice(why.as_bytes()))
        };
        let Some(handler) = Service::from_u32(service).and_then(|s| self.handlers.get(s)) else {
            return refuse("this node does not offer the service");
        };
        let Ok(permit) = self.permits[service as usize].clone().try_acquire_owned() else {
            crate::count!("quorate_env_net_overloaded_requests_total");
            return refuse("overloaded: too many requests in progress");
        };
        let outbox = outbox.clone();
        self.identity.scope.spawn("net.request", async move {
            let outcome = handler.call(from, body).await;
            drop(permit);
            match outcome {
                Ok(body) if body.len() > super::MAX_BODY => {
                    // It was carried out, so it must not look refused: the caller runs into its timeout.
                    tracing::error!(service, bytes = body.len(), "an answer is too large to be sent");
                }
                Ok(body) => reply(&outbox, Kind::Reply, service, call_id, body),
                Err(refusal) => reply(&outbox, Kind::Refused, service, call_id, refusal.0.into()),
            }
        });
    }
}

/// Ends the stream of answers when nobody reads the questions any more, also when the reader was stopped by force.
struct Answers(Arc<Outbox>);

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Answers are bounded by the requests in progress, not by the queue.
fn reply(outbox: &Outbox, kind: Kind, service: u32, call_id: u64, body: Bytes) {
    let frame = Frame { kind: kind as i32, service, call_id, body };
    let _ = outbox.push(frame, usize::MAX, usize::MAX);
}

#[async_trait::async_trait]
impl Link for Acceptor {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<Batch, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<Batch>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        if *self.stopped.borrow() {
            return Err(Status::unavailable("the node is stopping"));
        }
        let mut incoming = request.into_inner();
        let hello = incoming.message().await?.and_then(|batch| batch.hello);
        let hello = hello.ok_or_else(|| Status::invalid_argument("the first batch carries no greeting"))?;
        let own = self.identity.node;
        if hello.to_node_id != 0 && hello.to_node_id != own.0 {
            return Err(Status::failed_precondition(format!("this is node {own}, not {}", hello.to_node_id)));
        }
        if let Some(why) = greeting_error(&hello, &self.identity) {
            return Err(Status::failed_precondition(why));
        }
        let from = NodeId(hello.node_id);
        let outbox = Outbox::new(self.identity.scope.clone());
        let outgoing = outbox.stream(self.identity.hello(from, hello.lane), self.identity.clock.clone());
        outbox.open();
        let acceptor = Arc::new(Acceptor {
            identity: self.identity.clone(),
            handlers: self.handlers.clone(),
            permits: self.permits.clone(),
            stopped: self.stopped.clone(),
        });
        self.identity.scope.spawn("net.read", acceptor.read(from, incoming, Answers(outbox)));
        Ok(Response::new(Box::pin(outgoing.map(Ok))))
    }
}
