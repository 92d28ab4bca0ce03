//! The deadlock detector (PROTOCOL 19): the leader of one named shard keeps the edges that waiters of all shards tell it
//! once a wait lasts, and finds the circles that close across shards. Circles inside a shard are found there, at once
//! ([`crate::lock_table`]).
//!
//! Nothing here is replicated: whoever still waits tells its edges again twice a second, and those not told again expire.
//! A false or a missed circle costs a retry or half a second. A pure core.

use quorate_proto::kv::{Blocked, Party, Stuck, Waits};
use quorate_proto::{Key, ShardId, Timestamp, TxnId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Between two reports of one waiter. With the wait before the first it bounds how long a circle lasts: the youngest, who is to
/// break it, may have reported just before it was closed.
pub const REPORT_EVERY: Duration = Duration::from_millis(500);
/// What was not told again for so long is no longer true, or will be told again.
const EXPIRY: Duration = Duration::from_millis(1250);
/// Transactions remembered; of more, those that report are answered and forgotten.
const MAX_TXNS: usize = 20_000;

#[derive(Debug, Default)]
pub struct Detector {
    txns: BTreeMap<TxnId, Waiting>,
    sweep_at: Duration,
}

#[derive(Debug)]
struct Waiting {
    attempt: u32,
    started: Timestamp,
    session: Option<u32>,
    /// By the shard in which it waits: until when that counts, and for whom it waits.
    edges: BTreeMap<ShardId, (Duration, Vec<Blocked>)>,
}

impl Detector {
    /// Takes a report in. The circle that the reporter must break, being the youngest in it; empty if there is none, or
    /// another's to break (which reports as well).
    pub fn report(&mut self, report: &Waits, now: Duration) -> Vec<Stuck> {
        self.sweep(now);
        if self.txns.get(&report.txn).is_some_and(|known| known.attempt > report.attempt) {
            return Vec::new();
        }
        if self.txns.len() >= MAX_TXNS && !self.txns.contains_key(&report.txn) {
            return Vec::new();
        }
        let Waits { attempt, started, session, .. } = *report;
        let fresh = || Waiting { attempt, started, session, edges: BTreeMap::new() };
        let waiting = self.txns.entry(report.txn).or_insert_with(fresh);
        if waiting.attempt < report.attempt {
            *waiting = fresh();
        }
        if report.blocked.is_empty() {
            waiting.edges.remove(&report.shard);
            if waiting.edges.is_empty() {
                self.txns.remove(&report.txn);
            }
            return Vec::new();
        }
        waiting.edges.insert(report.shard, (now + EXPIRY, report.blocked.clone()));
        self.circle(report.txn, now)
            .filter(|circle| {
                self.youngest(circle) == Some(report.txn) && !quorate_env::planted!("shard.circle_unnoticed")
            })
            .map(|circle| self.stuck(&circle, now))
            .unwrap_or_default()
    }

    /// A circle with all that is known of those in it.
    fn stuck(&self, circle: &[TxnId], now: Duration) -> Vec<Stuck> {
        let next = circle.iter().cycle().skip(1);
        let stuck = |(txn, next): (&TxnId, &TxnId)| {
            let at = self.blocked(*txn, now).find(|blocked| blocked.by.contains(next));
            let session = self.txns.get(txn).and_then(|waiting| waiting.session);
            let key = at.map_or_else(Key::default, |blocked| blocked.key.clone());
            Stuck { who: Party { txn: *txn, session }, key }
        };
        circle.iter().zip(next).map(stuck).collect()
    }

    fn sweep(&mut self, now: Duration) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + EXPIRY;
        self.txns.retain(|_, waiting| {
            waiting.edges.retain(|_, (until, _)| now < *until);
            !waiting.edges.is_empty()
        });
    }

    fn youngest(&self, circle: &[TxnId]) -> Option<TxnId> {
        circle.iter().copied().max_by_key(|id| (self.txns.get(id).map(|waiting| waiting.started), *id))
    }

    fn blocked(&self, txn: TxnId, now: Duration) -> impl Iterator<Item = &Blocked> + '_ {
        let edges = self.txns.get(&txn).into_iter().flat_map(|waiting| waiting.edges.values());
        edges.filter(move |(until, _)| now < *until).flat_map(|(_, blocked)| blocked)
    }

    fn blockers(&self, txn: TxnId, now: Duration) -> impl Iterator<Item = TxnId> + '_ {
        self.blocked(txn, now).flat_map(|blocked| blocked.by.iter().copied())
    }

    /// The transactions from `start` to one that waits for it.
    fn circle(&self, start: TxnId, now: Duration) -> Option<Vec<TxnId>> {
        let mut came_from = BTreeMap::new();
        let mut seen = BTreeSet::from([start]);
        let mut todo = vec![start];
        while let Some(txn) = todo.pop() {
            for blocker in self.blockers(txn, now) {
                if blocker == start {
                    let back = std::iter::successors(Some(txn), |at| came_from.get(at).copied());
                    let mut circle: Vec<TxnId> = back.collect();
                    circle.reverse();
                    return Some(circle);
                }
                if seen.insert(blocker) {
                    came_from.insert(blocker, txn);
                    todo.push(blocker);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(txn: u128, attempt: u32, shard: u64, blockers: &[u128]) -> Waits {
        Waits {
            keeper: quorate_proto::Key::default(),
            txn: TxnId(txn),
            attempt,
            started: Timestamp(txn as u64),
            shard: ShardId(shard),
            blocked: blockers.iter().map(|by| Blocked { key: key(*by), by: vec![TxnId(*by)] }).collect(),
            session: Some(txn as u32),
        }
    }

    fn key(locked_by: u128) -> Key {
        Key::from(locked_by.to_string().into_bytes())
    }

    /// Those in the circle, of whom each stands before the lock of the next.
    fn ids(circle: Vec<Stuck>) -> Vec<u128> {
        for (stuck, next) in circle.iter().zip(circle.iter().cycle().skip(1)) {
            assert_eq!((&stuck.key, stuck.who.session), (&key(next.who.txn.0), Some(stuck.who.txn.0 as u32)));
        }
        circle.into_iter().map(|stuck| stuck.who.txn.0).collect()
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_youngest_of_a_circle_across_shards_is_told() {
        let mut detector = Detector::default();
        assert_eq!(ids(detector.report(&report(1, 0, 1, &[2]), S)), []);
        assert_eq!(ids(detector.report(&report(3, 0, 3, &[1]), S)), []);
        assert_eq!(ids(detector.report(&report(2, 0, 2, &[3]), S)), [], "another's to break");
        assert_eq!(ids(detector.report(&report(1, 0, 1, &[2]), S)), []);
        assert_eq!(ids(detector.report(&report(3, 0, 3, &[1]), S)), [3, 1, 2]);
    }

    #[test]
    fn one_that_waits_in_two_shards_has_both_edges() {
        let mut detector = Detector::default();
        assert_eq!(ids(detector.report(&report(1, 0, 1, &[9]), S)), []);
        assert_eq!(ids(detector.report(&report(1, 0, 2, &[2]), S)), []);
        assert_eq!(ids(detector.report(&report(2, 0, 1, &[1]), S)), [2, 1]);
    }

    #[test]
    fn what_ended_or_is_old_or_of_an_earlier_attempt_closes_no_circle() {
        let mut detector = Detector::default();
        detector.report(&report(1, 0, 1, &[2]), S);
        detector.report(&report(1, 0, 1, &[]), S);
        assert_eq!(ids(detector.report(&report(2, 0, 2, &[1]), S)), [], "withdrawn");
        detector.report(&report(1, 0, 1, &[2]), S);
        assert_eq!(ids(detector.report(&report(2, 0, 2, &[1]), S + EXPIRY)), [], "expired");
        detector.report(&report(1, 0, 1, &[2]), 10 * S);
        detector.report(&report(1, 1, 3, &[7]), 10 * S);
        assert_eq!(ids(detector.report(&report(2, 0, 2, &[1]), 10 * S)), [], "of an earlier attempt");
        assert_eq!(ids(detector.report(&report(1, 0, 1, &[2]), 10 * S)), [], "a late report of one");
    }
}
