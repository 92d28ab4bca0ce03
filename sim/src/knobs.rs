//! What a run is made of, drawn from its seed: limits small enough to be met, times short enough to cross one another.

mod schedulers;
mod table;

use crate::work::Kind;
use schedulers::Schedulers;
pub use table::{names, set_usual, unusual};

use quorate_consensus::ConsensusConfig;
use quorate_env::sim::SimConfig;
use quorate_proto::placement::PlacementChange;
use quorate_shard_server::ShardConfig;
use quorate_txn::TxnConfig;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::time::Duration;

/// All that is drawn but the plan.
#[derive(Clone, Debug)]
pub struct Settings {
    pub world: SimConfig,
    pub knobs: Knobs,
    /// Clocks are off by up to this part of their bound.
    pub skew_part: u32,
}

#[derive(Clone, Debug)]
pub struct Knobs {
    /// Three, or more: then copies of shards move as well.
    pub nodes: u64,
    pub consensus: ConsensusConfig,
    pub shard: ShardConfig,
    pub txn: TxnConfig,
    /// For how long old versions are kept.
    pub gc_ttl: Duration,
    /// A node silent for so long has its copies made elsewhere.
    pub repair_after: Duration,
    /// What shards do by themselves.
    pub schedulers: Schedulers,
    /// Zones that the nodes stand in; 0: none says where it is.
    pub zones: u64,
    /// What is asked for of the places of all keys.
    pub placing: Option<PlacementChange>,
    pub clients: u64,
    /// What they work on beside the bank.
    pub workloads: Vec<Kind>,
}

/// With a larger ε readers bear the uncertainty instead (DESIGN §4).
const COMMIT_WAIT: Duration = Duration::from_millis(10);

/// No lock may be left a while after the last transaction.
const LOCK_REVIEW: Duration = Duration::from_secs(2);

impl Settings {
    /// As in the absence of any seed.
    fn usual(seed: u64) -> Self {
        let knobs = Knobs {
            nodes: 3,
            consensus: ConsensusConfig::default(),
            shard: ShardConfig { lock_review: LOCK_REVIEW, ..ShardConfig::default() },
            txn: TxnConfig { parallel_commit: true, ..TxnConfig::default() },
            gc_ttl: Duration::from_secs(4 * 3600),
            repair_after: Duration::from_secs(8),
            schedulers: Schedulers::off(),
            zones: 0,
            placing: None,
            clients: 4,
            workloads: Vec::new(),
        };
        Settings { world: SimConfig { clock_drift_ppm: 10, ..SimConfig::new(seed) }, knobs, skew_part: 10 }
    }

    /// Works out what follows from the knobs.
    pub fn settled(mut self) -> Self {
        self.world.clock_skew = self.world.clock_bound / self.skew_part;
        self
    }

    /// Whether ε is small enough for commits to wait it out, so that real-time order is promised.
    pub fn commits_wait(&self) -> bool {
        self.world.clock_bound <= COMMIT_WAIT
    }
}

struct Draw(StdRng);

impl Draw {
    fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }

    /// In half of all runs another value than the usual one.
    fn vary<T>(&mut self, usual: &mut T, draw: impl FnOnce(&mut StdRng) -> T) {
        if self.chance(0.5) {
            *usual = draw(&mut self.0);
        }
    }

    fn millis(&mut self, usual: &mut Duration, range: std::ops::Range<u64>) {
        self.vary(usual, |rng| Duration::from_millis(rng.random_range(range)));
    }
}

/// Four nodes under the usual settings, to which nothing happens by itself; parallel commit under even seeds.
pub fn calm(seed: u64) -> Settings {
    let mut settings = Settings { world: SimConfig::new(seed), ..Settings::usual(seed) };
    settings.knobs.nodes = 4;
    settings.knobs.txn.parallel_commit = seed.is_multiple_of(2);
    settings
}

/// The settings of a seed.
pub fn draw(seed: u64) -> Settings {
    let mut draw = Draw(StdRng::seed_from_u64(seed ^ 0x6b_6e6f_6273));
    let mut settings = Settings::usual(seed);
    settings.skew_part = draw.0.random_range(6..30);
    let Settings { world, knobs, .. } = &mut settings;
    draw.vary(&mut world.shake, |rng| rng.random_range(0.0..0.4));
    draw.millis(&mut world.clock_bound, 10..100);
    draw.vary(&mut world.contention, |rng| rng.random_range(0.0..1.0));
    knobs.nodes = if draw.chance(0.4) { draw.0.random_range(4..8) } else { 3 };
    knobs.clients = draw.0.random_range(2..9);
    draw_consensus(&mut draw, &mut knobs.consensus);
    draw_shard(&mut draw, &mut knobs.shard);
    draw_txn(&mut draw, &mut knobs.txn);
    // Short enough for garbage under load, and audits of the past that come too late.
    if draw.chance(0.7) {
        knobs.gc_ttl = Duration::from_secs(draw.0.random_range(1..6));
        draw.vary(&mut knobs.shard.gc_page_versions, |rng| rng.random_range(1..30));
    }
    // Short enough for records to go while others still ask for them.
    if draw.chance(0.5) {
        knobs.shard.retention = Duration::from_millis(draw.0.random_range(200..5000));
        knobs.txn.commit_window = Duration::from_secs(draw.0.random_range(2..10));
    }
    // Shorter than many an outage.
    draw.vary(&mut knobs.repair_after, |rng| Duration::from_secs(rng.random_range(1..20)));
    // None in some runs, three at most: each is to have enough clients.
    let workloads = draw.0.random_range(0..4);
    knobs.workloads = Kind::ALL.choose_multiple(&mut draw.0, workloads).copied().collect();
    schedulers::draw(&mut draw, knobs);
    settings
}

fn draw_consensus(draw: &mut Draw, consensus: &mut ConsensusConfig) {
    draw.millis(&mut consensus.quiet_after, 50..3000);
    draw.millis(&mut consensus.housekeeping, 50..2000);
    draw.vary(&mut consensus.keep_entries, |rng| rng.random_range(5..300));
    draw.millis(&mut consensus.propose_timeout, 100..5000);
}

fn draw_shard(draw: &mut Draw, shard: &mut ShardConfig) {
    draw.millis(&mut shard.intent_patience, 1..200);
    draw.millis(&mut shard.lock_patience, 10..1000);
    draw.millis(&mut shard.coordinator_silence, 1500..5000);
    draw.millis(&mut shard.flush_interval, 50..5000);
    draw.millis(&mut shard.closing_target, 20..2000);
    draw.vary(&mut shard.max_locks, |rng| rng.random_range(0..8));
    draw.vary(&mut shard.max_scan_rows, |rng| rng.random_range(1..50));
    draw.vary(&mut shard.ts_cache_bytes, |rng| rng.random_range(0..4000));
}

fn draw_txn(draw: &mut Draw, txn: &mut TxnConfig) {
    draw.vary(&mut txn.page_rows, |rng| rng.random_range(1..50));
    draw.vary(&mut txn.max_unresolved, |rng| rng.random_range(1..10));
    draw.vary(&mut txn.max_read_spans, |rng| rng.random_range(1..6));
    draw.millis(&mut txn.stale_after, 1..100);
    draw.vary(&mut txn.memory_bytes, |rng| rng.random_range(0..2000));
    draw.vary(&mut txn.parallel_commit, |_| false);
}
