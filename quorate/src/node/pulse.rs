//! The node's heartbeat to the placement driver, and what its answers bring: the shard map, other nodes' addresses, the
//! schema lease.

use super::{http::Health, membership::Membership};
use parking_lot::RwLock;
use quorate_consensus::Consensus;
use quorate_env::{Env, PlacementClient, watch};
use quorate_placement::{
    Host,
    settings::{self, CLOSING_TARGET, GC_TTL, IDEMPOTENCY_TTL, Setting},
};
use quorate_proto::{
    NodeId, Room, ShardDescriptor, ShardId, Timestamp,
    placement::{Carries, Leaving, NodeInfo, PlacementReply, PlacementRequest, ReplicaReport, ShardMode},
};
use quorate_shard_server::ShardServer;
use quorate_sql::server::{ClusterInfo, SchemaLease};
use quorate_txn::{Coordinator, Router};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

const INTERVAL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Pulse {
    env: Env,
    driver: Arc<PlacementClient>,
    router: Arc<Router>,
    shards: Arc<ShardServer>,
    consensus: Arc<Consensus>,
    membership: Arc<Membership>,
    /// What the driver says is decided about this node.
    leaving: watch::Sender<Leaving>,
    nodes: RwLock<Vec<NodeInfo>>,
    schema: watch::Sender<SchemaLease>,
    reported_schema: AtomicU64,
    hurry: Notify,
    serving: AtomicBool,
    /// Version of the cluster settings that are followed here.
    settings: AtomicU64,
    /// The setting `gc_ttl`, in microseconds.
    gc_ttl: AtomicU64,
    /// The setting `idempotency_ttl`, in microseconds; 0 before it is known.
    idempotency_ttl: AtomicU64,
    coordinator: OnceLock<Arc<Coordinator>>,
    /// The node's part in the placement driver.
    host: OnceLock<Arc<Host>>,
}

impl Pulse {
    pub fn new(
        env: &Env,
        driver: Arc<PlacementClient>,
        router: Arc<Router>,
        shards: Arc<ShardServer>,
        consensus: Arc<Consensus>,
        membership: Arc<Membership>,
    ) -> Arc<Self> {
        Arc::new(Pulse {
            env: env.clone(),
            driver,
            router,
            shards,
            consensus,
            membership,
            leaving: watch::Sender::new(Leaving::No),
            nodes: RwLock::default(),
            schema: watch::Sender::new(SchemaLease { version: 0, until: Timestamp::ZERO }),
            reported_schema: AtomicU64::new(0),
            hurry: Notify::new(),
            serving: AtomicBool::new(false),
            settings: AtomicU64::new(u64::MAX),
            gc_ttl: AtomicU64::new(0),
            idempotency_ttl: AtomicU64::new(0),
            coordinator: OnceLock::new(),
            host: OnceLock::new(),
        })
    }

    /// The next heartbeat at once.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// From now on `/health` may say yes.
    pub fn set_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// From now on heartbeats tell of the driver's replica here.
    pub fn set_host(&self, host: Arc<Host>) {
        let _ = self.host.set(host);
    }

    /// The coordinator, too, follows the cluster settings.
    pub fn set_coordinator(&self, coordinator: Arc<Coordinator>) {
        let _ = self.coordinator.set(coordinator);
        self.settings.store(u64::MAX, Ordering::SeqCst);
    }

    /// Beats to the node's end: what is still under way while it drains needs its schema lease.
    pub async fn beat(&self) {
        // What the driver has acknowledged of each replica.
        let mut acknowledged: BTreeMap<ShardId, ReplicaReport> = BTreeMap::new();
        let mut full = true;
        loop {
            let held = self.shards.held();
            let full_now = full || acknowledged.keys().any(|shard| !held.contains(shard));
            let mut changed = if full_now { self.shards.reports() } else { self.shards.news() };
            if full_now {
                acknowledged.clear();
            }
            changed.retain(|report| acknowledged.get(&report.shard) != Some(report));
            match self.send(changed.clone(), full_now).await {
                Some(wants_all) => {
                    acknowledged.extend(changed.into_iter().map(|report| (report.shard, report)));
                    full = wants_all;
                }
                None => full = true,
            }
            let pause = self.env.sleep(INTERVAL);
            tokio::select! {
                () = pause => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    /// One heartbeat; `None` when the driver did not answer, else whether it wants all replicas next time.
    async fn send(&self, changed: Vec<ReplicaReport>, full: bool) -> Option<bool> {
        let request = PlacementRequest::Heartbeat {
            node: self.membership.info(),
            clock_offset_micros: self.env.clock().offset_micros(),
            space: self.env.space().get(),
            changed,
            full,
            map_version: self.router.map_version(),
            schema_version: self.reported_schema.load(Ordering::SeqCst),
            holds: self.coordinator.get().and_then(|coordinator| coordinator.holds()),
            sessions: self.membership.gateway().sessions() as u64,
            carries: self.host.get().map_or(Carries::Unsaid, |host| host.carries()),
            tempo: self.env.tempo().get(self.env.boottime()),
        };
        match self.driver.request(request, PATIENCE).await {
            Ok(PlacementReply::Heartbeat {
                map,
                schema_version,
                schema_lease_until,
                nodes,
                want_full,
                settings_version,
                horizon,
                leaving,
                gone,
                driver,
            }) => {
                self.driver.learn(&driver);
                self.membership.learn_driver(&driver);
                self.follow_orders(leaving);
                self.router.update(&map);
                self.schema.send_if_modified(|lease| {
                    let news = lease.version != schema_version || lease.until != schema_lease_until;
                    *lease = SchemaLease { version: schema_version, until: schema_lease_until };
                    news
                });
                if *self.nodes.read() != nodes {
                    self.membership.learn(&nodes);
                    *self.nodes.write() = nodes;
                }
                self.membership.forget(&gone);
                self.follow_settings(settings_version).await;
                if let Some(horizon) = horizon {
                    let ttl = Duration::from_micros(self.gc_ttl.load(Ordering::Relaxed));
                    self.shards.set_gc_horizon(horizon, ttl);
                }
                Some(want_full)
            }
            Ok(other) => {
                tracing::error!(?other, "the placement driver answered a heartbeat with something else");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "no answer to the heartbeat");
                None
            }
        }
    }
}

impl Pulse {
    /// Leads nothing and lets nobody in while it is to leave; lives no longer in the cluster once it has.
    fn follow_orders(&self, leaving: Leaving) {
        if *self.leaving.borrow() == leaving {
            return;
        }
        tracing::info!(?leaving, "the placement driver says what is decided about this node");
        self.leaving.send_replace(leaving);
        self.consensus.drain(leaving != Leaving::No);
        if leaving == Leaving::Gone {
            self.env.clock().retire();
            self.membership.gateway().end_statements();
        }
    }

    fn part_in_driver(&self) -> String {
        let members: Vec<String> = self.driver.nodes().iter().map(NodeId::to_string).collect();
        match self.host.get().map(|host| host.carries()) {
            Some(Carries::Replica(replica)) => format!("replica {replica} is here"),
            _ => format!("on nodes {}", members.join(", ")),
        }
    }

    async fn follow_settings(&self, version: u64) {
        if self.settings.swap(version, Ordering::SeqCst) == version {
            return;
        }
        let answer = self.driver.request(PlacementRequest::Settings, PATIENCE).await;
        let Ok(PlacementReply::Settings(all)) = answer else {
            // Asked again at the next heartbeat.
            self.settings.store(u64::MAX, Ordering::SeqCst);
            return;
        };
        let told = |setting: &Setting| {
            let (_, value) = all.iter().find(|(name, _)| name == setting.name)?;
            settings::duration(value)
        };
        if let Some(ttl) = told(&GC_TTL) {
            self.gc_ttl.store(ttl.as_micros() as u64, Ordering::Relaxed);
        }
        if let Some(ttl) = told(&IDEMPOTENCY_TTL) {
            self.idempotency_ttl.store(ttl.as_micros() as u64, Ordering::Relaxed);
        }
        if let Some(target) = told(&CLOSING_TARGET) {
            self.shards.set_closing_target(target);
            if let Some(coordinator) = self.coordinator.get() {
                coordinator.set_closing_target(target);
            }
        }
    }
}

impl ClusterInfo for Pulse {
    fn schema(&self) -> watch::Receiver<SchemaLease> {
        self.schema.subscribe()
    }

    fn report_schema(&self, version: u64) {
        self.reported_schema.fetch_max(version, Ordering::SeqCst);
        self.hurry.notify_one();
    }

    fn shards(&self) -> Vec<(ShardDescriptor, Option<NodeId>)> {
        self.router.shards()
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.nodes.read().clone()
    }

    fn leaving(&self) -> watch::Receiver<Leaving> {
        self.leaving.subscribe()
    }

    fn closed(&self) -> Vec<(ShardId, Timestamp)> {
        self.shards.closed()
    }

    fn idempotency_ttl(&self) -> Option<Duration> {
        let micros = self.idempotency_ttl.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}

impl Health for Pulse {
    fn healthy(&self) -> Result<(), String> {
        match *self.leaving.borrow() {
            Leaving::No => {}
            Leaving::Draining => return Err("the node is draining, by an operator's order".into()),
            Leaving::Decommissioning => return Err("the node is being decommissioned".into()),
            Leaving::Gone => return Err("the node was decommissioned".into()),
        }
        if let Some(fence) = self.env.clock().fence() {
            return Err(format!("the clock is fenced: {fence:?}"));
        }
        if !self.serving.load(Ordering::Relaxed) {
            return Err("the node belongs to no cluster yet, or is starting".into());
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        self.healthy()?;
        let shards = self.router.shards();
        let without: Vec<String> =
            shards.iter().filter(|(_, leader)| leader.is_none()).map(|(d, _)| d.id.to_string()).collect();
        match (shards.is_empty(), without.is_empty()) {
            (true, _) => Err("no shard map yet".into()),
            (_, false) => Err(format!("no leader known for shards {}", without.join(", "))),
            _ => Ok(()),
        }
    }

    fn lacks(&self) -> Option<String> {
        let space = self.env.space().get();
        let goes_on = match space.room {
            Room::Plenty => return None,
            Room::Short => "it takes no new rows",
            Room::Full => "it takes no writes",
        };
        Some(format!("disk {}: {goes_on}; {} MiB are left", space.room, space.free >> 20))
    }

    fn replicas(&self) -> Vec<ReplicaReport> {
        self.shards.reports()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let info = self.membership.info();
        let reports = self.replicas();
        let led = reports.iter().filter(|r| r.leader).count();
        let off = reports.iter().filter(|r| r.mode != ShardMode::Target).count();
        vec![
            ("node".into(), info.id.to_string()),
            ("cluster".into(), self.membership.identity().cluster_id),
            ("health".into(), self.healthy().err().unwrap_or_else(|| "ok".into())),
            ("disk".into(), self.lacks().unwrap_or_else(|| "ok".into())),
            ("SQL".into(), info.sql_address.clone()),
            ("nodes known".into(), self.nodes.read().len().to_string()),
            ("placement driver".into(), self.part_in_driver()),
            ("replicas here".into(), reports.len().to_string()),
            ("of these led".into(), led.to_string()),
            ("of these not in mode TARGET".into(), off.to_string()),
            ("clock offset µs".into(), self.env.clock().offset_micros().to_string()),
        ]
    }
}
