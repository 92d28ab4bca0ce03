//! What a run is made of, drawn from its seed: limits small enough to be met, times short enough to cross one another.

use quorate_consensus::ConsensusConfig;
use quorate_env::sim::SimConfig;
use quorate_shard_server::ShardConfig;
use quorate_txn::TxnConfig;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Knobs {
    /// Three, or more: then copies of shards move as well.
    pub nodes: u64,
    pub consensus: ConsensusConfig,
    pub shard: ShardConfig,
    pub txn: TxnConfig,
    /// For how long old versions are kept.
    pub gc_ttl: Duration,
    /// Troubles before peace.
    pub rounds: u64,
    pub clients: u64,
    /// Whether clocks jump beyond their bound.
    pub clock_jumps: bool,
    /// Whether real-time order is promised: clocks keep their bound, and it is small enough for commits to wait it out.
    pub real_time: bool,
}

/// With a larger ε readers bear the uncertainty instead (DESIGN §4).
const COMMIT_WAIT: Duration = Duration::from_millis(10);

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

/// Four nodes under the usual settings, to which nothing happens by itself.
pub fn calm(seed: u64) -> (SimConfig, Knobs) {
    let knobs = Knobs {
        nodes: 4,
        consensus: ConsensusConfig::default(),
        shard: ShardConfig::default(),
        txn: TxnConfig { parallel_commit: seed.is_multiple_of(2), ..TxnConfig::default() },
        gc_ttl: Duration::from_secs(4 * 3600),
        rounds: 0,
        clients: 0,
        clock_jumps: false,
        real_time: true,
    };
    (SimConfig::new(seed), knobs)
}

/// The world and the knobs of a seed.
pub fn draw(seed: u64) -> (SimConfig, Knobs) {
    let mut draw = Draw(StdRng::seed_from_u64(seed ^ 0x6b_6e6f_6273));
    let mut world = SimConfig::new(seed);
    draw.vary(&mut world.shake, |rng| rng.random_range(0.0..0.4));
    draw.millis(&mut world.clock_bound, 10..100);
    world.clock_skew = world.clock_bound / draw.0.random_range(10..30);
    world.clock_drift_ppm = 10;
    let (mut consensus, mut shard, mut txn) =
        (ConsensusConfig::default(), ShardConfig::default(), TxnConfig::default());
    draw.millis(&mut consensus.quiet_after, 50..3000);
    draw.millis(&mut consensus.housekeeping, 50..2000);
    draw.vary(&mut consensus.keep_entries, |rng| rng.random_range(5..300));
    draw.millis(&mut consensus.propose_timeout, 100..5000);
    draw.millis(&mut shard.intent_patience, 1..200);
    draw.millis(&mut shard.lock_patience, 10..1000);
    draw.millis(&mut shard.coordinator_silence, 1500..5000);
    draw.millis(&mut shard.flush_interval, 50..5000);
    draw.vary(&mut shard.max_locks, |rng| rng.random_range(0..4));
    draw.vary(&mut shard.max_scan_rows, |rng| rng.random_range(1..50));
    draw.vary(&mut shard.ts_cache_bytes, |rng| rng.random_range(0..4000));
    draw.vary(&mut txn.page_rows, |rng| rng.random_range(1..50));
    draw.vary(&mut txn.max_unresolved, |rng| rng.random_range(1..10));
    draw.vary(&mut txn.max_read_spans, |rng| rng.random_range(1..6));
    draw.millis(&mut txn.stale_after, 1..100);
    draw.vary(&mut txn.memory_bytes, |rng| rng.random_range(0..2000));
    txn.parallel_commit = true;
    draw.vary(&mut txn.parallel_commit, |_| false);
    let clock_jumps = seed % 5 == 4;
    let mut knobs = Knobs {
        nodes: if draw.chance(0.3) { draw.0.random_range(4..6) } else { 3 },
        consensus,
        shard,
        txn,
        gc_ttl: Duration::from_secs(4 * 3600),
        rounds: draw.0.random_range(3..8),
        clients: draw.0.random_range(2..9),
        clock_jumps,
        real_time: !clock_jumps && world.clock_bound <= COMMIT_WAIT,
    };
    draw.millis(&mut knobs.shard.closing_target, 20..2000);
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
    draw.vary(&mut world.contention, |rng| rng.random_range(0.0..1.0));
    (world, knobs)
}
