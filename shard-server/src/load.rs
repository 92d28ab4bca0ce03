//! How busy a shard is: counted by its leader as requests come, and told with the node's heartbeats.
//!
//! A request costs two additions; one in many leaves the keys that it asked for, too. All the rest is worked out when a heartbeat
//! asks, and comes to nothing while nobody asks for the shard.

use crate::{cut, eval::for_each_key, eval::for_each_span, replica::Replica};
use parking_lot::Mutex;
use quorate_proto::{
    Key, Span,
    kv::ShardOp,
    placement::{Cut, ShardLoad},
};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Rates are taken over at least so long,
const WINDOW: Duration = Duration::from_secs(1);
/// and of each of them this part stays for the next.
const FADE: f64 = 0.8;
/// So many requests are remembered by their keys, which shall be those of the last few seconds.
const SAMPLES: usize = 128;
const SAMPLED_SECONDS: f64 = 4.0;
/// From so many requests a second on a key is looked for that halves them.
const BUSY: u64 = 16;

#[derive(Default)]
pub(crate) struct Load {
    reads: AtomicU64,
    writes: AtomicU64,
    /// Requests until one leaves its keys.
    until: AtomicI64,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// Of the range under which it was counted: halves begin anew, and so does who merges.
    version: u64,
    since: Duration,
    reads: f64,
    writes: f64,
    samples: VecDeque<Span>,
    /// One request in so many leaves its keys, on average.
    stride: u64,
    dice: u64,
    cut: Option<Cut>,
    cut_at: Option<Duration>,
}

impl Load {
    pub fn note(&self, op: &ShardOp) {
        match op {
            ShardOp::Read(_) | ShardOp::Refresh(_) => self.reads.fetch_add(1, Relaxed),
            ShardOp::CommitLocal(_) | ShardOp::Prepare(_) => self.writes.fetch_add(1, Relaxed),
            _ => return,
        };
        if self.until.fetch_sub(1, Relaxed) == 0 {
            let mut tally = self.tally.lock();
            let dice = tally.roll();
            tally.samples.extend(asked(op, dice));
            if tally.samples.len() > SAMPLES {
                tally.samples.pop_front();
            }
            // Never by a fixed step, which requests that come in turns would fool.
            let steps = 2 * tally.stride.max(1) - 1;
            let until = tally.roll() % steps;
            self.until.store(until as i64, Relaxed);
        }
    }

    /// Reads and writes a second, as told.
    fn rates(&self, now: Duration, version: u64, leads: bool) -> (u64, u64) {
        let mut tally = self.tally.lock();
        if !leads || tally.version != version {
            *tally = Tally { version, since: now, dice: tally.dice, ..Tally::default() };
            self.reads.store(0, Relaxed);
            self.writes.store(0, Relaxed);
            return (0, 0);
        }
        let passed = now.saturating_sub(tally.since);
        if passed >= WINDOW {
            tally.since = now;
            let windows = i32::try_from(passed.as_secs()).unwrap_or(i32::MAX);
            let stays = FADE.powi(windows);
            let fade = |rate: f64, count: &AtomicU64| {
                let now = count.swap(0, Relaxed) as f64 / passed.as_secs_f64();
                let rate = rate * stays + now * (1.0 - stays);
                if rate < 0.5 { 0.0 } else { rate }
            };
            tally.reads = fade(tally.reads, &self.reads);
            tally.writes = fade(tally.writes, &self.writes);
            let all = tally.reads + tally.writes;
            tally.stride = (all * SAMPLED_SECONDS / SAMPLES as f64) as u64;
            if all == 0.0 {
                tally.samples.clear();
            }
        }
        (coarse(tally.reads), coarse(tally.writes))
    }

    /// Looked for anew at most once per interval.
    fn cut(&self, now: Duration, every: Duration, find: impl FnOnce(&[Span]) -> Option<Cut>) -> Option<Cut> {
        let samples: Vec<Span> = {
            let tally = self.tally.lock();
            if tally.cut_at.is_some_and(|at| now < at + every) {
                return tally.cut.clone();
            }
            tally.samples.iter().cloned().collect()
        };
        let found = find(&samples);
        let mut tally = self.tally.lock();
        tally.cut_at = Some(now);
        tally.cut.clone_from(&found);
        found
    }
}

impl Tally {
    /// The same in every run.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.dice >> 33
    }
}

/// One of the things that a request asks for.
fn asked(op: &ShardOp, dice: u64) -> Option<Span> {
    let mut keys: Vec<&Key> = Vec::new();
    for_each_key(op, |key| keys.push(key));
    let key = *keys.get((dice % keys.len().max(1) as u64) as usize)?;
    let mut span = None;
    for_each_span(op, |asked| {
        if asked.start == *key {
            span = Some(asked.clone());
        }
    });
    Some(span.unwrap_or_else(|| Span::point(key)))
}

/// Three digits in base two: what is told changes only with the load, not with every heartbeat.
fn coarse(rate: f64) -> u64 {
    let whole = rate.round() as u64;
    let dropped = (u64::BITS - whole.leading_zeros()).saturating_sub(3);
    whole >> dropped << dropped
}

impl Replica {
    /// What its leader tells of it, `bytes` large.
    pub(crate) fn load(&self, leads: bool, bytes: u64) -> ShardLoad {
        let now = self.context.env.boottime();
        let (span, version) = {
            let state = self.state.load();
            (state.descriptor.span.clone(), state.descriptor.version)
        };
        let (reads, writes) = self.requests.rates(now, version, leads);
        if !leads {
            return ShardLoad::default();
        }
        let (engine, config) = (&*self.context.engine, &self.context.config);
        let busy = reads + writes >= BUSY;
        let by_load = || {
            let find = |samples: &[Span]| cut::by_load(engine, &span, samples);
            self.requests.cut(now, config.size_interval, find)
        };
        ShardLoad {
            reads,
            writes,
            load_cut: if busy { by_load() } else { None },
            size_cut: if bytes >= config.cut_from { self.size_cut(&span, version, bytes) } else { None },
        }
    }

    /// Looked for anew when the shard has grown or shrunk by a quarter.
    fn size_cut(&self, span: &Span, version: u64, bytes: u64) -> Option<Cut> {
        let mut known = self.size_cut.lock();
        let same = known
            .as_ref()
            .is_some_and(|known| known.version == version && known.bytes.abs_diff(bytes) <= known.bytes / 4);
        if !same {
            *known = Some(KnownCut { version, bytes, cut: cut::by_size(&*self.context.engine, span) });
        }
        known.as_ref().and_then(|known| known.cut.clone())
    }
}

/// As found for a range of so many bytes.
pub(crate) struct KnownCut {
    version: u64,
    bytes: u64,
    cut: Option<Cut>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Timestamp;
    use quorate_proto::kv::{ReadOp, ReadRequest};

    fn read(key: &str) -> ShardOp {
        let ts = Timestamp::ZERO;
        ShardOp::Read(ReadRequest {
            txn: None,
            read_ts: ts,
            uncertain_to: ts,
            may_forward: false,
            lock: None,
            ops: vec![ReadOp::Get(Key::from(key))],
            follower: false,
            number: 0,
            asked: ts,
        })
    }

    fn second(load: &Load, second: u64, requests: u64) -> u64 {
        for n in 0..requests {
            load.note(&read(if n % 2 == 0 { "a" } else { "b" }));
        }
        load.rates(Duration::from_secs(second), 1, true).0
    }

    #[test]
    fn a_rate_comes_within_seconds_and_goes_to_nothing() {
        let load = Load::default();
        load.rates(Duration::from_secs(1), 1, true);
        let told: Vec<u64> = (2..12).map(|n| second(&load, n, 1000)).collect();
        assert!(told.is_sorted() && told[9] >= 768 && told[9] <= 1000, "{told:?}");
        let told: Vec<u64> = (12..60).map(|n| second(&load, n, 0)).collect();
        assert!(told.iter().rev().is_sorted() && told[40] == 0, "{told:?}");
        assert!(load.tally.lock().samples.is_empty());
    }

    #[test]
    fn requests_that_come_in_turns_are_sampled_alike() {
        let load = Load::default();
        load.rates(Duration::from_secs(1), 1, true);
        (2..20).for_each(|n| assert!(second(&load, n, 4000) > 0));
        let tally = load.tally.lock();
        let first = tally.samples.iter().filter(|span| span.contains(b"a")).count();
        assert_eq!(tally.samples.len(), SAMPLES);
        assert!((SAMPLES / 4..SAMPLES * 3 / 4).contains(&first), "{first}");
    }

    #[test]
    fn halves_of_a_split_begin_anew_and_so_does_a_new_leader() {
        let load = Load::default();
        load.rates(Duration::from_secs(1), 1, true);
        assert!(second(&load, 2, 100) > 0);
        assert_eq!(load.rates(Duration::from_secs(3), 2, true), (0, 0));
        (0..100).for_each(|_| load.note(&read("a")));
        assert!(load.rates(Duration::from_secs(4), 2, true).0 > 0);
        assert_eq!(load.rates(Duration::from_secs(5), 2, false), (0, 0));
        assert_eq!(load.rates(Duration::from_secs(6), 2, true), (0, 0));
    }

    #[test]
    fn coarse_steps() {
        let steps = [0.2, 1.0, 7.4, 8.0, 9.0, 15.0, 1000.0].map(coarse);
        assert_eq!(steps, [0, 1, 7, 8, 8, 14, 896]);
    }
}
