//! The simulated world: several nodes on one thread, under one seed, in virtual time.
//!
//! A node gets an [`Env`] like a real one; its tasks belong to a scope that [`SimWorld::crash`] drops at their await
//! points. Everything that happens (polls of tasks, deliveries, crashes) goes into a trace hash: two runs of one seed
//! must end with the same. One run per process when the code under test also uses the system's entropy, which the
//! binary must then make deterministic (the `sim` crate does).

mod network;
mod trace;
pub(crate) mod virtual_time;

pub use network::NetworkFaults;
pub(crate) use trace::hash_bytes;

use crate::{
    Clock, Env, Scope, Shutdown, Task,
    contention::Contention,
    env::Inner,
    fault::{Drawn, Faults},
    measure,
    random::Random,
    space::SpaceWatch,
    tempo::TempoWatch,
    time,
};
use network::{Network, SimTransport};
use parking_lot::Mutex;
use quorate_proto::{NodeId, rpc::Service};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};
use tokio::sync::Notify;
use trace::Trace;
use virtual_time::VirtualTime;

/// Where simulated physical clocks start: 2025-01-01 UTC, in microseconds since 2020.
const START_MICROS: u64 = 157_852_800_000_000;
/// Virtual time since boot at the start.
pub const START: Duration = Duration::from_secs(1000);
/// More polls than this without any progress of time is a livelock.
const LIVELOCK_POLLS: u64 = 500_000;

/// What a run is drawn from.
#[derive(Clone, Debug)]
pub struct SimConfig {
    pub seed: u64,
    /// ε of all nodes.
    pub clock_bound: Duration,
    /// Each node's clock is set off by up to this much, either way.
    pub clock_skew: Duration,
    /// And runs fast or slow by up to this many millionths.
    pub clock_drift_ppm: u64,
    pub network: NetworkFaults,
    /// How often a task that could run is put off instead, so that others go first.
    pub shake: f64,
    /// What nodes are told of how much the processors are fought over.
    pub contention: f64,
    /// Whether fault points fire from the start ([`SimWorld::set_faults`]).
    pub faults: bool,
    /// What says which points are armed, and how often each fires.
    pub fault_seed: u64,
    /// Those that never fire.
    pub without_points: BTreeSet<String>,
    /// Virtual time after which the run is given up.
    pub limit: Duration,
}

impl SimConfig {
    pub fn new(seed: u64) -> Self {
        SimConfig {
            seed,
            clock_bound: Duration::from_millis(10),
            clock_skew: Duration::from_millis(1),
            clock_drift_ppm: 20,
            network: NetworkFaults::default(),
            shake: 0.1,
            contention: 0.0,
            faults: false,
            fault_seed: seed,
            without_points: BTreeSet::new(),
            limit: Duration::from_secs(3600),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    #[error("stuck: no task can run, and no timer is set")]
    Stuck,
    #[error("the virtual time limit of {0:?} has passed")]
    TimeLimit(Duration),
    #[error("the scenario panicked or was aborted")]
    Failed,
    #[error("tasks panicked: {0:?}")]
    Panicked(Vec<String>),
    #[error("the runtime cannot be built: {0}")]
    Runtime(String),
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct SimOutcome<T> {
    pub value: T,
    pub trace_hash: u64,
    /// Traced events.
    pub events: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
}

/// Handle to the world; cheap to clone.
#[derive(Clone)]
pub struct SimWorld(Arc<World>);

pub(crate) struct World {
    config: SimConfig,
    time: Arc<VirtualTime>,
    random: Random,
    trace: Mutex<Trace>,
    /// The scenario's own tasks, and the messages under way.
    outside: Arc<Scope>,
    network: Network,
    nodes: Mutex<BTreeMap<NodeId, Node>>,
    panics: Mutex<Vec<String>>,
    polls: AtomicU64,
    faults: Arc<AtomicBool>,
    held_up: Mutex<BTreeMap<NodeId, HeldUp>>,
    /// Set at the end, when destructors must start nothing new.
    closing: AtomicBool,
}

struct Node {
    clock: Arc<SimClock>,
    /// The present life, if it is up.
    env: Option<Env>,
    hooks: Option<Arc<SimHooks>>,
    transport: Option<Arc<SimTransport>>,
}

impl SimWorld {
    /// Runs `scenario` to its end in a world of its own.
    ///
    /// # Errors
    /// When it gets stuck, takes too much virtual time, or anything panics.
    pub fn run<T, S, F>(config: SimConfig, scenario: S) -> Result<SimOutcome<T>, SimError>
    where
        T: Send + 'static,
        S: FnOnce(SimWorld) -> F,
        F: Future<Output = T> + Send + 'static,
    {
        let time = VirtualTime::new(config.seed, START);
        let _entered = virtual_time::enter(time.clone());
        let (stuck, fired) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let world = Arc::new_cyclic(|weak| World {
            time: time.clone(),
            random: Random::from_seed(config.seed),
            trace: Mutex::new(Trace::new(config.seed)),
            outside: Scope::new(
                NodeId(0),
                Random::from_seed(config.seed ^ 0x6f75_7473),
                Some(Arc::new(SimHooks::new(weak.clone(), NodeId(0)))),
            ),
            network: Network::new(config.network.clone()),
            nodes: Mutex::default(),
            panics: Mutex::default(),
            polls: AtomicU64::new(0),
            faults: Arc::new(AtomicBool::new(config.faults)),
            held_up: Mutex::default(),
            closing: AtomicBool::new(false),
            config,
        });
        let runtime = {
            let (time, stuck, fired, world) = (time.clone(), stuck.clone(), fired.clone(), world.clone());
            tokio::runtime::Builder::new_current_thread()
                .on_thread_park(move || {
                    world.polls.store(0, Ordering::Relaxed);
                    // Always something to wake: a timer may wake nobody (one that was polled once by hand, and whose task has
                    // not run since), and then the thread would sleep for good.
                    if time.advance() { fired.notify_one() } else { stuck.notify_one() }
                })
                .build()
                .map_err(|error| SimError::Runtime(error.to_string()))?
        };
        let handle = SimWorld(world.clone());
        let limit = world.config.limit;
        let next = async {
            loop {
                fired.notified().await;
            }
        };
        let outcome = runtime.block_on(async {
            let scenario = world.outside.spawn("scenario", scenario(handle));
            tokio::select! {
                biased;
                outcome = scenario => outcome.map_err(|_| SimError::Failed),
                () = stuck.notified() => Err(SimError::Stuck),
                () = next => unreachable!("goes on for ever"),
                () = time::sleep(limit) => Err(SimError::TimeLimit(limit)),
            }
        });
        let elapsed = time.now() - START;
        let (trace_hash, events) = world.trace.lock().finish();
        world.closing.store(true, Ordering::Relaxed);
        // Nodes first, so that what they hold is dropped while the runtime stands.
        let nodes = std::mem::take(&mut *world.nodes.lock());
        for node in nodes.values() {
            node.env.iter().for_each(|env| env.scope().kill());
            node.transport.iter().for_each(|transport| transport.close());
        }
        world.network.detach_all();
        world.outside.kill();
        drop(runtime);
        drop(nodes);
        let panics = std::mem::take(&mut *world.panics.lock());
        let value = match outcome {
            Err(SimError::Failed) if !panics.is_empty() => return Err(SimError::Panicked(panics)),
            other => other?,
        };
        if panics.is_empty() {
            Ok(SimOutcome { value, trace_hash, events, elapsed })
        } else {
            Err(SimError::Panicked(panics))
        }
    }

    /// Starts a node, for the first time or after a crash, on a fresh [`Env`]. All nodes that were ever started
    /// know one another.
    pub fn start(&self, id: NodeId, cluster: &str) -> Env {
        let world = &self.0;
        let mut nodes = world.nodes.lock();
        let node = nodes.entry(id).or_insert_with(|| Node {
            clock: Arc::new(SimClock::new(world)),
            env: None,
            hooks: None,
            transport: None,
        });
        assert!(node.env.is_none(), "node {id} is up already");
        let random = Random::from_seed(world.random.u64());
        let hooks = Arc::new(SimHooks::new(Arc::downgrade(world), id));
        let scope = Scope::new(id, random, Some(hooks.clone()));
        let incarnation = world.random.u64();
        let clock = Arc::new(Clock::simulated(node.clock.clone(), world.config.clock_bound));
        let transport = SimTransport::new(
            world.clone(),
            id,
            incarnation,
            clock.clone(),
            scope.clone(),
            cluster.to_owned(),
        );
        world.network.attach(id, transport.clone());
        let without = world.config.without_points.clone();
        let faults = Faults::Drawn(Drawn::new(world.faults.clone(), world.config.fault_seed, without));
        let env = Env(Arc::new(Inner {
            node: id,
            incarnation,
            clock,
            scope,
            transport: transport.clone(),
            faults,
            contention: Contention::Given(world.config.contention),
            shutdown: Shutdown::default(),
            space: SpaceWatch::default(),
            tempo: TempoWatch::default(),
            real: None,
        }));
        node.env = Some(env.clone());
        node.hooks = Some(hooks);
        node.transport = Some(transport);
        let known: Vec<NodeId> = nodes.keys().copied().collect();
        drop(nodes);
        for other in known {
            env.transport().set_address(other, format!("sim:{other}"));
            if let Some(peer) = self.env(other) {
                peer.transport().set_address(id, format!("sim:{id}"));
            }
        }
        world.event("start", id.0);
        measure::start(&env);
        env
    }

    /// The present life of a node, if it is up.
    pub fn env(&self, id: NodeId) -> Option<Env> {
        self.0.nodes.lock().get(&id)?.env.clone()
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.env(id).is_some()
    }

    /// All nodes that are up, in order.
    pub fn up(&self) -> Vec<NodeId> {
        self.0.nodes.lock().iter().filter(|(_, node)| node.env.is_some()).map(|(id, _)| *id).collect()
    }

    /// Stops a node now: its tasks are dropped where they stand, its messages under way may still arrive. Returns when
    /// all of its tasks are gone; disks are the caller's business.
    pub async fn crash(&self, id: NodeId) {
        let node = self
            .0
            .nodes
            .lock()
            .get_mut(&id)
            .and_then(|node| Some((node.env.take()?, node.transport.take(), node.hooks.take())));
        let Some((env, transport, _hooks)) = node else { return };
        self.0.event("crash", id.0);
        self.resume(id);
        self.0.network.detach(id);
        env.scope().kill();
        while !env.scope().is_empty() {
            tokio::task::yield_now().await;
        }
        transport.iter().for_each(|transport| transport.close());
    }

    /// Crashes a node at the await point that it reaches after this many polls of its tasks (or after `patience`).
    pub async fn crash_after_polls(&self, id: NodeId, polls: u64, patience: Duration) {
        let hooks = self.0.nodes.lock().get(&id).and_then(|node| node.hooks.clone());
        if let Some(hooks) = hooks {
            hooks.countdown.store(polls.max(1) as i64, Ordering::Relaxed);
            let _ = time::timeout(patience, hooks.died.notified()).await;
        }
        self.crash(id).await;
    }

    /// From now on nothing gets from one node to the other (one way).
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.0.event("cut", (from.0 << 32) | to.0);
        self.0.network.cut(from, to, self.0.time.now());
    }

    /// Cuts both ways between the groups.
    pub fn partition(&self, left: &[NodeId], right: &[NodeId]) {
        for &a in left {
            for &b in right.iter().filter(|&&b| b != a) {
                self.cut(a, b);
                self.cut(b, a);
            }
        }
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.0.event("heal", 0);
        self.0.network.heal();
    }

    /// From now on messages suffer so.
    pub fn set_network(&self, faults: NetworkFaults) {
        self.0.event("network", 0);
        self.0.network.set_faults(faults);
    }

    /// From now on fault points fire, or do not.
    pub fn set_faults(&self, on: bool) {
        self.0.event("faults", u64::from(on));
        self.0.faults.store(on, Ordering::Relaxed);
    }

    /// Holds a node up, as a stopped process or a starved machine is: none of its tasks runs until [`Self::resume`].
    /// Messages to it wait where they are handed over; its clocks go on.
    pub fn pause(&self, id: NodeId) {
        self.0.event("pause", id.0);
        self.0.held_up.lock().entry(id).or_default();
    }

    pub fn resume(&self, id: NodeId) {
        self.0.event("resume", id.0);
        let held_up = self.0.held_up.lock().remove(&id);
        if let Some(held_up) = held_up {
            held_up.tasks.into_iter().for_each(Waker::wake);
            held_up.messages.notify_waiters();
        }
    }

    /// Sets a node's physical clock forward or back by so much.
    pub fn jump_clock(&self, id: NodeId, micros: i64) {
        self.0.event("clock", micros as u64);
        if let Some(node) = self.0.nodes.lock().get(&id) {
            node.clock.offset_micros.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// ε.
    pub fn clock_bound(&self) -> Duration {
        self.0.config.clock_bound
    }

    /// How far a node's clock is from the world's, in microseconds.
    pub fn clock_offset(&self, id: NodeId) -> i64 {
        self.0.nodes.lock().get(&id).map_or(0, |node| node.clock.offset_now())
    }

    /// Virtual time since the world's start.
    pub fn elapsed(&self) -> Duration {
        self.0.time.now() - START
    }

    pub async fn sleep(&self, duration: Duration) {
        time::sleep(duration).await;
    }

    /// The scenario's own randomness.
    pub fn random(&self) -> &Random {
        &self.0.random
    }

    /// Starts a task of the scenario, which no crash touches.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(self.0.outside.spawn(name, future))
    }

    /// Adds an event of the scenario's own to the trace.
    pub fn event(&self, name: &'static str, value: u64) {
        self.0.event(name, value);
    }

    /// The hash of everything so far.
    pub fn trace_hash(&self) -> u64 {
        self.0.trace.lock().finish().0
    }
}

impl World {
    fn event(&self, name: &'static str, value: u64) {
        self.trace.lock().event(self.time.now(), 0, name, value);
    }

    fn delivery(&self, from: NodeId, to: NodeId, kind: &'static str, service: Service, body: &[u8]) {
        let mut trace = self.trace.lock();
        let route = (from.0 << 40) | (to.0 << 16) | service as u64;
        trace.event(self.time.now(), 0, kind, route ^ trace::hash_bytes(body).rotate_left(17));
    }

    /// Returns when the node is not, or no longer, held up.
    async fn until_resumed(&self, node: NodeId) {
        loop {
            let Some(messages) = self.held_up.lock().get(&node).map(|held_up| held_up.messages.clone())
            else {
                return;
            };
            messages.notified().await;
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// What a simulated node's scope tells its world, and asks of it.
pub(crate) struct SimHooks {
    world: std::sync::Weak<World>,
    node: NodeId,
    /// Polls until the node dies; 0 and below: never.
    countdown: AtomicI64,
    died: Notify,
}

/// What waits for a node that is held up.
#[derive(Default)]
struct HeldUp {
    tasks: Vec<Waker>,
    messages: Arc<Notify>,
}

impl SimHooks {
    fn new(world: std::sync::Weak<World>, node: NodeId) -> Self {
        SimHooks { world, node, countdown: AtomicI64::new(0), died: Notify::new() }
    }

    pub(crate) fn spawned(&self, _node: NodeId, task: &'static str) {
        if let Some(world) = self.world.upgrade() {
            world.trace.lock().event(world.time.now(), self.node.0, task, 1);
        }
    }

    pub(crate) fn panicked(&self, node: NodeId, task: &str, text: &str) {
        if let Some(world) = self.world.upgrade() {
            world.panics.lock().push(format!("node {node}, task {task}: {text}"));
        }
    }

    /// Called before each poll of a task. False: not now (the task was woken again, or has just died).
    pub(crate) fn may_run(&self, scope: &Arc<Scope>, task: &'static str, cx: &mut Context<'_>) -> bool {
        let Some(world) = self.world.upgrade() else { return true };
        let polls = world.polls.fetch_add(1, Ordering::Relaxed);
        assert!(polls < LIVELOCK_POLLS, "livelock: time stands still while node {} runs {task}", self.node);
        world.trace.lock().event(world.time.now(), self.node.0, task, 0);
        if self.node.0 == 0 {
            return true;
        }
        if let Some(held_up) = world.held_up.lock().get_mut(&self.node) {
            held_up.tasks.push(cx.waker().clone());
            return false;
        }
        if self.countdown.load(Ordering::Relaxed) > 0 && self.countdown.fetch_sub(1, Ordering::Relaxed) == 1 {
            world.trace.lock().event(world.time.now(), self.node.0, "die", 0);
            world.network.detach(self.node);
            scope.kill();
            self.died.notify_one();
            return false;
        }
        if world.random.chance(world.config.shake) {
            cx.waker().wake_by_ref();
            return false;
        }
        true
    }
}

/// A simulated node's physical clock.
pub(crate) struct SimClock {
    time: Arc<VirtualTime>,
    offset_micros: AtomicI64,
    drift_ppm: i64,
}

impl SimClock {
    fn new(world: &World) -> Self {
        let around = |limit: u64| world.random.range(0..2 * limit + 1) as i64 - limit as i64;
        SimClock {
            time: world.time.clone(),
            offset_micros: AtomicI64::new(around(world.config.clock_skew.as_micros() as u64)),
            drift_ppm: around(world.config.clock_drift_ppm),
        }
    }

    fn offset_now(&self) -> i64 {
        let elapsed = (self.time.now() - START).as_micros() as i64;
        self.offset_micros.load(Ordering::Relaxed) + elapsed * self.drift_ppm / 1_000_000
    }

    pub(crate) fn physical_micros(&self) -> u64 {
        let elapsed = (self.time.now() - START).as_micros() as u64;
        (START_MICROS + elapsed).saturating_add_signed(self.offset_now())
    }
}
