//! The simulated network: delay, loss, repetition, reordering, one-way cuts.

use super::World;
use crate::{
    Clock, Handler, PeerStatus, Refusal, Scope, Transport, TransportError, rpc::in_process, time,
    transport::Handlers,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::{NodeId, Timestamp, rpc::Service};
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// A connection is given up after it has been silent for so long; then sending fails at once, and so do the calls on it.
const BROKEN_AFTER: Duration = Duration::from_secs(4);
/// How often a waiting call looks whether its connection has been given up.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What messages suffer.
#[derive(Clone, Debug)]
pub struct NetworkFaults {
    pub delay: Range<Duration>,
    /// Probability of a message being late by up to a hundred times the longest delay.
    pub late: f64,
    pub loss: f64,
    pub duplicate: f64,
    /// Probability of a message not waiting for those sent before it.
    pub reorder: f64,
}

impl Default for NetworkFaults {
    /// A quiet network: some delay, nothing else.
    fn default() -> Self {
        NetworkFaults {
            delay: Duration::from_micros(50)..Duration::from_micros(500),
            late: 0.0,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
        }
    }
}

pub(super) struct Network(Mutex<State>);

struct State {
    faults: NetworkFaults,
    nodes: BTreeMap<NodeId, Arc<SimTransport>>,
    links: BTreeMap<(NodeId, NodeId), Link>,
}

#[derive(Default)]
struct Link {
    cut_since: Option<Duration>,
    /// When the last message of each service arrives.
    last: BTreeMap<Service, Duration>,
}

impl Network {
    pub(super) fn new(faults: NetworkFaults) -> Self {
        Network(Mutex::new(State { faults, nodes: BTreeMap::new(), links: BTreeMap::new() }))
    }

    pub(super) fn attach(&self, node: NodeId, transport: Arc<SimTransport>) {
        self.0.lock().nodes.insert(node, transport);
    }

    pub(super) fn detach(&self, node: NodeId) {
        self.0.lock().nodes.remove(&node);
    }

    pub(super) fn detach_all(&self) {
        self.0.lock().nodes.clear();
    }

    pub(super) fn cut(&self, from: NodeId, to: NodeId, now: Duration) {
        self.0.lock().links.entry((from, to)).or_default().cut_since.get_or_insert(now);
    }

    pub(super) fn heal(&self) {
        self.0.lock().links.values_mut().for_each(|link| link.cut_since = None);
    }

    pub(super) fn set_faults(&self, faults: NetworkFaults) {
        self.0.lock().faults = faults;
    }

    fn node(&self, node: NodeId) -> Option<Arc<SimTransport>> {
        self.0.lock().nodes.get(&node).cloned()
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.0.lock().links.get(&(from, to)).is_some_and(|link| link.cut_since.is_some())
    }

    /// Cut in either direction for long enough that both ends know it.
    fn is_broken(&self, a: NodeId, b: NodeId, now: Duration) -> bool {
        let state = self.0.lock();
        [(a, b), (b, a)]
            .iter()
            .filter_map(|route| state.links.get(route)?.cut_since)
            .any(|since| now.saturating_sub(since) > BROKEN_AFTER)
    }
}

impl World {
    /// When the copies of a message arrive; none: it is lost.
    fn fate(&self, from: NodeId, to: NodeId, service: Service) -> Vec<Duration> {
        let now = self.time.now();
        let mut state = self.network.0.lock();
        let faults = state.faults.clone();
        let link = state.links.entry((from, to)).or_default();
        let mut arrivals = Vec::new();
        if link.cut_since.is_some() || self.random.chance(faults.loss) {
            return arrivals;
        }
        loop {
            let (least, most) = (faults.delay.start.as_micros() as u64, faults.delay.end.as_micros() as u64);
            let mut delay = self.random.range(least..most);
            if self.random.chance(faults.late) {
                delay += self.random.range(0..100 * most);
            }
            let mut at = now + Duration::from_micros(delay);
            if !self.random.chance(faults.reorder) {
                let last = link.last.entry(service).or_default();
                at = at.max(*last + Duration::from_micros(1));
                *last = at;
            }
            arrivals.push(at);
            if !self.random.chance(faults.duplicate) {
                return arrivals;
            }
        }
    }
}

impl World {
    /// A request or its answer got lost. A connection that loses something does not stand for long: it breaks, now or
    /// within the time that a silent one is given.
    fn lose(self: &Arc<Self>, callee: NodeId, caller: Caller) {
        let after = Duration::from_micros(self.random.range(0..BROKEN_AFTER.as_micros() as u64));
        self.outside.spawn("net.lost", async move {
            time::sleep(after).await;
            if let Some(caller) = caller.lock().take() {
                let _ = caller.send(Err(broken(callee)));
            }
        });
    }
}

fn broken(callee: NodeId) -> TransportError {
    TransportError::Lost(format!("the connection to node {callee} broke"))
}

/// One life of a node on the simulated network.
pub(crate) struct SimTransport {
    world: Arc<World>,
    node: NodeId,
    incarnation: u64,
    clock: Arc<Clock>,
    scope: Arc<Scope>,
    handlers: Handlers,
    peers: Mutex<BTreeMap<NodeId, String>>,
    /// Last incarnations heard of.
    incarnations: Mutex<BTreeMap<NodeId, u64>>,
    cluster: Mutex<String>,
}

impl SimTransport {
    pub(super) fn new(
        world: Arc<World>,
        node: NodeId,
        incarnation: u64,
        clock: Arc<Clock>,
        scope: Arc<Scope>,
        cluster: String,
    ) -> Arc<Self> {
        Arc::new(SimTransport {
            world,
            node,
            incarnation,
            clock,
            scope,
            handlers: Handlers::default(),
            peers: Mutex::default(),
            incarnations: Mutex::default(),
            cluster: Mutex::new(cluster),
        })
    }

    /// Drops the handlers, which hold the node's parts.
    pub(super) fn close(&self) {
        self.handlers.clear();
    }

    fn is_stranger(&self, other: &SimTransport) -> bool {
        let (own, theirs) = (self.cluster.lock().clone(), other.cluster.lock().clone());
        !own.is_empty() && !theirs.is_empty() && own != theirs
    }

    /// Notes what comes with every batch: the peer's incarnation and clock.
    fn greet(&self, from: NodeId, stamp: Stamp) {
        self.incarnations.lock().insert(from, stamp.incarnation);
        if let Some(hlc) = stamp.hlc {
            // Refused and counted when it is too far ahead.
            let _ = self.clock.observe(hlc);
        }
    }

    /// Waits for the answer for as long as the connection stands.
    async fn answer(&self, of: NodeId, mut receiver: oneshot::Receiver<Answer>) -> Answer {
        loop {
            match time::timeout(LOOK_EVERY, &mut receiver).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => return Err(broken(of)),
                Err(_) if self.world.network.is_broken(self.node, of, self.world.time.now()) => {
                    return Err(broken(of));
                }
                Err(_) => {}
            }
        }
    }

    fn stamp(&self) -> Stamp {
        let hlc = (!self.clock.is_fenced()).then(|| self.clock.now());
        Stamp { incarnation: self.incarnation, hlc }
    }
}

#[derive(Clone, Copy)]
struct Stamp {
    incarnation: u64,
    hlc: Option<Timestamp>,
}

/// The way back to a caller. Dropped without an answer (the callee has crashed), it breaks the caller's connection.
struct Replier {
    world: Arc<World>,
    from: NodeId,
    to: NodeId,
    service: Service,
    caller: Option<Caller>,
}

/// Shared by the copies of a request; the first that tells something takes it.
type Caller = Arc<Mutex<Option<oneshot::Sender<Answer>>>>;
type Answer = Result<Bytes, TransportError>;

impl Replier {
    fn reply(mut self, stamp: Stamp, outcome: Result<Bytes, Refusal>) {
        let Some(caller) = self.caller.take() else { return };
        let (world, from, to, service) = (self.world.clone(), self.from, self.to, self.service);
        // A copy of an answer changes nothing, so only the first is sent.
        let Some(at) = world.fate(from, to, service).first().copied() else {
            return world.lose(from, caller);
        };
        let outside = world.outside.clone();
        outside.spawn("net.reply", async move {
            time::sleep_until(at).await;
            world.until_resumed(to).await;
            if world.network.is_cut(from, to) {
                return world.lose(from, caller);
            }
            let Some(callee) = world.network.node(to) else { return };
            world.delivery(from, to, "reply", service, outcome.as_ref().map_or(&[][..], |body| body));
            callee.greet(from, stamp);
            if let Some(caller) = caller.lock().take() {
                let _ = caller.send(outcome.map_err(TransportError::from));
            }
        });
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        if self.world.is_closing() {
            return;
        }
        let Some(caller) = self.caller.take() else { return };
        let (world, from, to, service) = (self.world.clone(), self.from, self.to, self.service);
        let Some(at) = world.fate(from, to, service).first().copied() else {
            return world.lose(from, caller);
        };
        let outside = world.outside.clone();
        outside.spawn("net.broken", async move {
            time::sleep_until(at).await;
            if world.network.is_cut(from, to) {
                return world.lose(from, caller);
            }
            world.delivery(from, to, "broken", service, &[]);
            if let Some(caller) = caller.lock().take() {
                let _ = caller.send(Err(broken(from)));
            }
        });
    }
}

#[async_trait]
impl Transport for SimTransport {
    fn send(&self, to: NodeId, service: Service, body: Bytes) {
        if to == self.node {
            if let Some(handler) = self.handlers.get(service) {
                handler.one_way(to, body);
            }
            return;
        }
        if self.scope.is_dead() || !self.peers.lock().contains_key(&to) {
            return;
        }
        let stamp = self.stamp();
        for at in self.world.fate(self.node, to, service) {
            let (world, from, body) = (self.world.clone(), self.node, body.clone());
            self.world.outside.spawn("net.message", async move {
                time::sleep_until(at).await;
                world.until_resumed(to).await;
                if world.network.is_cut(from, to) {
                    return;
                }
                let Some(callee) = world.network.node(to) else { return };
                world.delivery(from, to, "message", service, &body);
                callee.greet(from, stamp);
                if let Some(handler) = callee.handlers.get(service) {
                    callee.scope.enter(|| handler.one_way(from, body));
                }
            });
        }
    }

    async fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        if to == self.node {
            let handler = self.handlers.get(service);
            let handler =
                handler.ok_or_else(|| TransportError::Refused(format!("no {service:?} service here")))?;
            let future = Box::pin(async move { handler.call(to, body).await });
            return Ok(in_process(&self.scope, future, timeout).await??);
        }
        let not_sent = |why: &str| Err(TransportError::NotSent(format!("node {to} {why}")));
        if self.scope.is_dead() {
            return not_sent("is not called: the own node is down");
        }
        if !self.peers.lock().contains_key(&to) {
            return not_sent("is not known here");
        }
        let callee = self.world.network.node(to);
        if callee.is_none_or(|callee| self.is_stranger(&callee)) {
            time::sleep(Duration::from_micros(self.world.random.range(50..1000))).await;
            return not_sent("does not answer");
        }
        if self.world.network.is_broken(self.node, to, self.world.time.now()) {
            return not_sent("cannot be reached");
        }
        let (sender, receiver) = oneshot::channel();
        let caller = Arc::new(Mutex::new(Some(sender)));
        let stamp = self.stamp();
        let arrivals = self.world.fate(self.node, to, service);
        if arrivals.is_empty() {
            self.world.lose(to, caller.clone());
        }
        for at in arrivals {
            let (world, from, body) = (self.world.clone(), self.node, body.clone());
            let caller = caller.clone();
            self.world.outside.spawn("net.request", async move {
                time::sleep_until(at).await;
                world.until_resumed(to).await;
                if world.network.is_cut(from, to) {
                    return world.lose(to, caller);
                }
                let caller = Some(caller);
                let replier = Replier { world: world.clone(), from: to, to: from, service, caller };
                let Some(callee) = world.network.node(to) else { return };
                world.delivery(from, to, "request", service, &body);
                callee.greet(from, stamp);
                let Some(handler) = callee.handlers.get(service) else {
                    let refusal = Refusal("this node does not offer the service".into());
                    return replier.reply(callee.stamp(), Err(refusal));
                };
                let scope = callee.scope.clone();
                scope.spawn("net.handler", async move {
                    let outcome = handler.call(from, body).await;
                    let stamp = callee.stamp();
                    replier.reply(stamp, outcome);
                });
            });
        }
        // The copies hold the way back.
        match time::timeout(timeout, self.answer(to, receiver)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::Lost(format!("no answer of node {to} within {timeout:?}"))),
        }
    }

    fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        self.handlers.set(service, handler);
    }

    fn handler(&self, service: Service) -> Option<Arc<dyn Handler>> {
        self.handlers.get(service)
    }

    fn set_address(&self, node: NodeId, address: String) {
        if node != self.node {
            self.peers.lock().insert(node, address);
        }
    }

    fn addresses(&self) -> Vec<(NodeId, String)> {
        self.peers.lock().iter().map(|(node, address)| (*node, address.clone())).collect()
    }

    fn forget(&self, node: NodeId) {
        self.peers.lock().remove(&node);
    }

    fn peer(&self, node: NodeId) -> Option<PeerStatus> {
        let address = self.peers.lock().get(&node)?.clone();
        let world = &self.world;
        let connected =
            world.network.node(node).is_some() && !world.network.is_broken(self.node, node, world.time.now());
        Some(PeerStatus { address, connected, incarnation: self.incarnations.lock().get(&node).copied() })
    }

    fn set_cluster(&self, id: String) {
        *self.cluster.lock() = id;
    }

    fn cluster(&self) -> String {
        self.cluster.lock().clone()
    }
}
