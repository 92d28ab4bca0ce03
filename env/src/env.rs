//! [`Env`]: everything a node needs from the world.

use crate::{
    Clock, Shutdown, Task, Transport, contention::Contention, fault::Faults, measure, net, random::Random,
    scope::Scope, space::SpaceWatch, tempo::TempoWatch, time,
};
use quorate_proto::{KvError, NodeId};
use std::{future::Future, io, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

/// What a real node is made of.
#[derive(Clone, Debug)]
pub struct EnvConfig {
    pub node: NodeId,
    /// ε: how far two nodes' clocks may be apart (DESIGN §4).
    pub clock_bound: Duration,
    /// Empty while the node belongs to no cluster.
    pub cluster_id: String,
    /// Fault points to arm, as `name,name=probability`; `None` reads `QUORATE_FAULTS`.
    pub faults: Option<String>,
    pub net: net::NetConfig,
}

impl EnvConfig {
    pub fn new(node: NodeId) -> Self {
        EnvConfig {
            node,
            clock_bound: Duration::from_millis(1),
            cluster_id: String::new(),
            faults: None,
            net: net::NetConfig::default(),
        }
    }
}

/// One per node, cheap to clone; several of them live in one process under simulation.
#[derive(Clone)]
pub struct Env(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) clock: Arc<Clock>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) faults: Faults,
    pub(crate) contention: Contention,
    pub(crate) shutdown: Shutdown,
    pub(crate) space: SpaceWatch,
    pub(crate) tempo: TempoWatch,
    /// The real transport, which can listen.
    pub(crate) real: Option<Arc<net::RealTransport>>,
}

impl Env {
    /// A node on the real clock, network and scheduler. Needs a tokio runtime. It dials peers as soon as it knows them,
    /// and answers them after [`Env::listen`].
    ///
    /// # Errors
    /// If the fault list cannot be read.
    pub fn real(config: EnvConfig) -> io::Result<Env> {
        let faults = config.faults.or_else(|| std::env::var("QUORATE_FAULTS").ok()).unwrap_or_default();
        let faults =
            Faults::parse(&faults).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let random = Random::from_os();
        let incarnation = random.u64();
        let scope = Scope::new(config.node, random, None);
        let clock = Arc::new(Clock::real(config.clock_bound));
        let real = net::RealTransport::new(
            config.node,
            incarnation,
            config.cluster_id,
            clock.clone(),
            scope.clone(),
            config.net,
        );
        let env = Env(Arc::new(Inner {
            node: config.node,
            incarnation,
            clock,
            scope,
            transport: real.clone(),
            faults,
            contention: Contention::Measured,
            shutdown: Shutdown::default(),
            space: SpaceWatch::default(),
            tempo: TempoWatch::default(),
            real: Some(real),
        }));
        measure::start(&env);
        Ok(env)
    }

    /// Begins to answer peers at `address` (`host:port`; port 0 picks one) and returns the address taken.
    ///
    /// # Errors
    /// If the address cannot be bound. Under simulation there is nothing to bind.
    pub async fn listen(&self, address: &str) -> io::Result<SocketAddr> {
        match &self.0.real {
            Some(real) => real.listen(address).await,
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "a simulated node does not listen")),
        }
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// What a node says whose clock is fenced.
    pub fn clock_fenced(&self) -> KvError {
        let why =
            self.clock().fence().map_or_else(|| "its clock was fenced".into(), |fence| fence.to_string());
        KvError::ClockFenced { node: self.node(), why }
    }

    /// Drawn at the start of the process (of each life of a simulated node).
    pub fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    pub fn clock(&self) -> &Arc<Clock> {
        &self.0.clock
    }

    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.0.transport
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// What is left of the disk that the node's data lies on.
    pub fn space(&self) -> &SpaceWatch {
        &self.0.space
    }

    /// How fast the node's disk and network are of late.
    pub fn tempo(&self) -> &TempoWatch {
        &self.0.tempo
    }

    /// The node's tasks; see [`crate::scope`].
    pub fn scope(&self) -> &Arc<Scope> {
        &self.0.scope
    }

    pub fn is_simulated(&self) -> bool {
        self.0.real.is_none()
    }

    /// Time since boot, also over suspension; for leases and timeouts.
    pub fn boottime(&self) -> Duration {
        time::now()
    }

    pub async fn sleep(&self, duration: Duration) {
        time::sleep(duration).await;
    }

    pub async fn sleep_until_boottime(&self, at: Duration) {
        // A timer may fire early by this clock: it does not count the time of a suspension.
        while time::now() < at {
            time::sleep_until(at).await;
        }
    }

    /// # Errors
    /// [`time::Elapsed`] when `future` was not ready in time; it is dropped then.
    pub async fn timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> Result<F::Output, time::Elapsed> {
        time::timeout(duration, future).await
    }

    /// Starts a named task of this node. A panic in it is logged, counted and reported by [`Task::join`].
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(self.0.scope.spawn(name, future))
    }

    /// Starts an operating system thread.
    ///
    /// # Errors
    /// Under simulation always: there everything runs on one thread, and callers have an inline way.
    pub fn spawn_thread(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        if self.is_simulated() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "no threads under simulation"));
        }
        #[expect(clippy::disallowed_methods, reason = "the real one")]
        std::thread::Builder::new().name(name.to_owned()).spawn(body)
    }

    /// Runs what may block on a thread made for that; under simulation inline.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if self.is_simulated() {
            return body();
        }
        #[expect(clippy::disallowed_methods, reason = "the real one")]
        match tokio::task::spawn_blocking(body).await {
            Ok(value) => value,
            Err(error) if error.is_panic() => {
                tracing::error!(task = name, "blocking task panicked");
                std::panic::resume_unwind(error.into_panic())
            }
            // The runtime is going down, and the caller with it.
            Err(_) => std::future::pending().await,
        }
    }

    pub fn random_u64(&self) -> u64 {
        self.0.scope.random.u64()
    }

    pub fn random_u128(&self) -> u128 {
        self.0.scope.random.u128()
    }

    /// Uniform in `range`; its start if it is empty.
    pub fn random_range(&self, range: Range<u64>) -> u64 {
        self.0.scope.random.range(range)
    }

    /// Fills `bytes` with cryptographically strong random ones (in a real node).
    pub fn random_bytes(&self, bytes: &mut [u8]) {
        self.0.scope.random.fill(bytes);
    }

    /// `duration` ± up to a quarter of it, so that nodes do not act in step.
    pub fn jittered(&self, duration: Duration) -> Duration {
        duration.mul_f64(0.75 + 0.5 * (self.random_range(0..1024) as f64 / 1024.0))
    }

    /// How much the processors are fought over: which share of the time in which the node's threads could have run (those that
    /// [`crate::contention::watch_this_thread`] was called on) they waited for a processor, a moment ago. From 0 to 1.
    pub fn contention(&self) -> f64 {
        self.0.contention.share()
    }

    /// Whether the fault point fires now; see [`crate::fault`].
    pub fn fault(&self, point: &'static str) -> bool {
        self.0.faults.fires(point, &self.0.scope.random)
    }

    /// Begins the shutdown, lets what was queued for peers be written, and stops. Call it last.
    pub async fn close(&self) {
        self.shutdown().begin();
        if let Some(real) = &self.0.real {
            real.drain(Duration::from_millis(500)).await;
        }
        self.kill();
    }

    /// Stops all of the node's tasks where they stand and closes its connections, as a crash would. For tests.
    pub fn kill(&self) {
        self.0.scope.kill();
        if let Some(real) = &self.0.real {
            real.stop();
        }
    }
}
