//! One stream that this node dials to a peer, with the calls that wait on it; dialled again whenever it breaks.

use super::{Identity, NetConfig, connect, greeting_error, outbox::Outbox};
use crate::{TransportError, time, watch};
use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::{
    NodeId,
    link::{Batch, Frame, frame::Kind, link_client::LinkClient},
    rpc::Service,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

type Answer = Result<Bytes, TransportError>;

/// Lane 0 carries everything but snapshots, which have lane 1 and a connection for themselves.
pub(crate) fn number(service: Service) -> usize {
    usize::from(service == Service::Snapshot)
}

pub(crate) struct Lane {
    pub(crate) peer: NodeId,
    pub(crate) number: u32,
    identity: Arc<Identity>,
    config: NetConfig,
    outbox: Arc<Outbox>,
    next_call: AtomicU64,
    state: Mutex<State>,
    /// The address to dial; none: the lane is over.
    address: watch::Sender<Option<String>>,
    /// Something was queued.
    wanted: Notify,
}

struct State {
    /// While `Ok`, frames are queued: connected, or dialling without a failure so far.
    usable: Result<(), String>,
    connected: bool,
    incarnation: Option<u64>,
    calls: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl Lane {
    pub(crate) fn new(
        peer: NodeId,
        number: u32,
        address: String,
        identity: Arc<Identity>,
        config: NetConfig,
    ) -> Arc<Self> {
        let outbox = Outbox::new(identity.scope.clone());
        Arc::new(Lane {
            peer,
            number,
            identity,
            config,
            outbox,
            next_call: AtomicU64::new(1),
            state: Mutex::new(State {
                usable: Ok(()),
                connected: false,
                incarnation: None,
                calls: BTreeMap::new(),
            }),
            address: watch::Sender::new(Some(address)),
            wanted: Notify::new(),
        })
    }

    pub(crate) fn set_address(&self, address: Option<String>) {
        self.address.send_if_modified(|known| {
            let changed = *known != address;
            *known = address;
            changed
        });
    }

    pub(crate) fn address(&self) -> String {
        self.address.borrow().clone().unwrap_or_default()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.lock().connected
    }

    pub(crate) fn incarnation(&self) -> Option<u64> {
        self.state.lock().incarnation
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    pub(crate) fn send(&self, service: Service, body: Bytes) {
        if self.state.lock().usable.is_err() || self.push(Kind::OneWay, service, 0, body).is_err() {
            crate::count!("quorate_env_net_dropped_messages_total");
        }
    }

    pub(crate) async fn call(&self, service: Service, body: Bytes, timeout: Duration) -> Answer {
        let call_id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if let Err(why) = &state.usable {
                return Err(TransportError::NotSent(format!("node {} cannot be reached: {why}", self.peer)));
            }
            state.calls.insert(call_id, sender);
            // Queued under the lock, so that a breaking stream finds the call and its frame together.
            if self.push(Kind::Request, service, call_id, body).is_err() {
                state.calls.remove(&call_id);
                let why = format!("the queue to node {} is full", self.peer);
                return Err(TransportError::NotSent(why));
            }
        }
        let waiting = Waiting { lane: self, call_id };
        let outcome = time::timeout(timeout, receiver).await;
        drop(waiting);
        match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(TransportError::Lost("the node is stopping".into())),
            Err(_) if self.outbox.withdraw(call_id) => {
                Err(TransportError::NotSent(format!("node {} took nothing for {timeout:?}", self.peer)))
            }
            Err(_) => {
                crate::count!("quorate_env_net_call_timeouts_total");
                Err(TransportError::Lost(format!("no answer of node {} within {timeout:?}", self.peer)))
            }
        }
    }

    fn push(
        &self,
        kind: Kind,
        service: Service,
        call_id: u64,
        body: Bytes,
    ) -> Result<(), super::outbox::Full> {
        if body.len() > super::MAX_BODY {
            return Err(super::outbox::Full);
        }
        let frame = Frame { kind: kind as i32, service: service as u32, call_id, body };
        self.outbox.push(frame, self.config.queue_frames, self.config.queue_bytes)?;
        if self.number != 0 {
            self.wanted.notify_one();
        }
        Ok(())
    }

    /// Dials until the lane is over.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut address = self.address.subscribe();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let Some(target) = address.borrow_and_update().clone() else { break };
            // Lane 0 stands at all times; another is dialled when it is needed, also after a dial that failed: only a
            // frame in the queue wakes it, so frames must be let in again.
            if self.number != 0 && self.outbox.is_empty() {
                self.state.lock().usable = Ok(());
                tokio::select! {
                    biased;
                    _ = address.changed() => {}
                    () = self.wanted.notified() => {}
                }
                continue;
            }
            let moved = async {
                let _ = address.changed().await;
            };
            let why = tokio::select! {
                biased;
                () = moved => "its address has changed".to_owned(),
                why = self.session(&target) => why,
            };
            let was_connected = self.state.lock().connected;
            tracing::debug!(peer = self.peer.0, lane = self.number, "disconnected: {why}");
            if was_connected {
                // The next attempt comes at once, and what is sent meanwhile waits for it.
                backoff = FIRST_BACKOFF;
                self.broken(&why, true);
                crate::count!("quorate_env_net_disconnects_total");
            } else {
                self.broken(&why, false);
                let pause = self.identity.scope.random.range(500..1000) as f64 / 1000.0;
                let _ = time::timeout(backoff.mul_f64(pause), address.changed()).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
        }
        self.broken("the peer was forgotten", false);
    }

    /// One connection from dialling to its end; says why it ended.
    async fn session(&self, address: &str) -> String {
        let dial = async {
            let mut client = LinkClient::new(connect(address).await?)
                .max_decoding_message_size(super::MAX_MESSAGE)
                .max_encoding_message_size(super::MAX_MESSAGE);
            let hello = self.identity.hello(self.peer, self.number);
            let outgoing = self.outbox.stream(hello, self.identity.clock.clone());
            let answer = client.exchange(outgoing).await.map_err(|status| status.message().to_owned())?;
            let mut incoming = answer.into_inner();
            let first = incoming.message().await.map_err(|status| status.message().to_owned())?;
            let hello = first.and_then(|batch| batch.hello).ok_or("the peer did not greet")?;
            if hello.node_id != self.peer.0 {
                return Err(format!("node {} answers at {address}", hello.node_id));
            }
            if let Some(why) = greeting_error(&hello, &self.identity) {
                return Err(why);
            }
            Ok((incoming, hello))
        };
        let (mut incoming, hello) = match time::timeout(DIAL_TIMEOUT, dial).await {
            Ok(Ok(session)) => session,
            Ok(Err(why)) => return why,
            Err(_) => return format!("no connection to {address} within {DIAL_TIMEOUT:?}"),
        };
        self.connected(hello.incarnation);
        loop {
            match incoming.message().await {
                Ok(Some(batch)) => self.answered(batch),
                Ok(None) => return "the peer closed the stream".into(),
                Err(status) => return status.message().to_owned(),
            }
        }
    }

    fn connected(&self, incarnation: u64) {
        let mut state = self.state.lock();
        state.usable = Ok(());
        state.connected = true;
        let before = state.incarnation.replace(incarnation);
        drop(state);
        self.outbox.open();
        if before.is_some_and(|before| before != incarnation) {
            tracing::info!(peer = self.peer.0, "the peer has restarted");
        }
        tracing::debug!(peer = self.peer.0, lane = self.number, "connected");
    }

    /// Ends the stream's calls: those not written yet definitely, the others with an unknown outcome.
    fn broken(&self, why: &str, usable: bool) {
        let mut state = self.state.lock();
        state.connected = false;
        state.usable = if usable { Ok(()) } else { Err(why.to_owned()) };
        let unsent = self.outbox.close();
        let mut calls = std::mem::take(&mut state.calls);
        drop(state);
        for frame in &unsent {
            if let Some(call) = calls.remove(&frame.call_id) {
                let _ = call.send(Err(TransportError::NotSent(format!("node {}: {why}", self.peer))));
            }
        }
        for call in calls.into_values() {
            let _ = call.send(Err(TransportError::Lost(format!("node {}: {why}", self.peer))));
        }
    }

    fn answered(&self, batch: Batch) {
        self.identity.observe(self.peer, batch.hlc);
        let mut state = self.state.lock();
        for frame in batch.frames {
            let Some(call) = state.calls.remove(&frame.call_id) else { continue };
            let _ = match frame.kind() {
                Kind::Reply => call.send(Ok(frame.body)),
                Kind::Refused => {
                    let why = String::from_utf8_lossy(&frame.body).into_owned();
                    call.send(Err(TransportError::Refused(why)))
                }
                _ => call.send(Err(TransportError::Lost("a frame of the wrong kind".into()))),
            };
        }
    }
}

/// Forgets the call when its caller is gone.
struct Waiting<'a> {
    lane: &'a Lane,
    call_id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.state.lock().calls.remove(&self.call_id);
    }
}

/// tonic says "transport error" and keeps the reason below.
pub(super) fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
