//! Circles of waiters inside one shard's lock table, found the moment they close. Those across shards are found by
//! [`crate::detector`].

use super::{LockTable, Turn, WaiterId, Wakes, clash};
use quorate_proto::TxnId;
use quorate_proto::kv::{Blocked, LockMode, Stuck, TxnMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl LockTable {
    /// Whom a waiter waits for. Of those before it in line only the nearest: whoever stands before an exclusive one is
    /// waited for by that one already.
    pub(super) fn blockers(&self, id: WaiterId) -> BTreeSet<TxnId> {
        let mut found = BTreeSet::new();
        let Some(waiter) = self.waiters.get(&id) else { return found };
        let Some(entry) = self.keys.get(&waiter.key) else { return found };
        let holders =
            entry.holders.iter().filter(|h| waiter.mode.map_or(h.intent, |mode| clash(h.mode, mode)));
        found.extend(holders.map(|h| h.txn.id));
        if let Some(mode) = waiter.mode {
            let ahead = entry.queue.iter().rev().skip_while(|other| **other != id).skip(1);
            for other in ahead.filter_map(|other| self.waiters.get(other)) {
                let Some(theirs) = other.mode.filter(|theirs| clash(*theirs, mode)) else { continue };
                found.extend(other.txn.as_ref().map(|txn| txn.id));
                if theirs == LockMode::Exclusive {
                    break;
                }
            }
        }
        if let Some(txn) = &waiter.txn {
            found.remove(&txn.id);
        }
        found
    }

    /// Whom a transaction waits for in this shard and where, by all its requests here.
    pub fn blocked(&self, txn: TxnId) -> Vec<Blocked> {
        let waiters = self.waiting.get(&txn).into_iter().flatten();
        let blocked = waiters.filter_map(|id| {
            let by: Vec<TxnId> = self.blockers(*id).into_iter().collect();
            let key = self.waiters.get(id)?.key.clone();
            (!by.is_empty()).then_some(Blocked { key, by })
        });
        blocked.collect()
    }

    /// Whose wait it is, unless it is over or nobody's.
    pub fn waiter(&self, id: WaiterId) -> Option<Arc<TxnMeta>> {
        self.waiters.get(&id)?.txn.clone()
    }

    /// Looks for a circle of waiters that `start` closes, and breaks it: the youngest in it leaves with the circle.
    pub(super) fn break_deadlock(&mut self, start: WaiterId) -> Wakes {
        let mut wakes = Wakes::new();
        let circle = if quorate_env::planted!("shard.local_circle_unnoticed") {
            Vec::new()
        } else {
            self.circle(start)
        };
        let stuck = circle.iter().filter_map(|(id, txn)| {
            let key = self.waiters.get(id)?.key.clone();
            Some(Stuck { who: txn.party(), key })
        });
        let stuck: Vec<Stuck> = stuck.collect();
        let youngest = circle.iter().max_by_key(|(_, txn)| (txn.started, txn.id)).map(|(id, _)| *id);
        if let Some(victim) = youngest {
            self.leave(victim, &mut wakes);
            wakes.insert(0, (victim, Turn::Deadlock(stuck)));
        }
        wakes
    }

    /// The waiters from `start` to one who waits for it; empty if there is no circle.
    fn circle(&self, start: WaiterId) -> Vec<(WaiterId, Arc<TxnMeta>)> {
        let Some(target) = self.waiters.get(&start).and_then(|w| w.txn.as_ref()).map(|txn| txn.id) else {
            return Vec::new();
        };
        // Nobody can wait for one who holds nothing and stands in one line only.
        if !self.held.contains_key(&target) && self.waiting.get(&target).is_none_or(|all| all.len() == 1) {
            return Vec::new();
        }
        let mut came_from: BTreeMap<WaiterId, WaiterId> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![start];
        while let Some(waiter) = todo.pop() {
            for blocker in self.blockers(waiter) {
                if blocker == target {
                    let back = std::iter::successors(Some(waiter), |at| came_from.get(at).copied());
                    let member = |id: WaiterId| Some((id, self.waiters.get(&id)?.txn.clone()?));
                    let mut circle: Vec<_> = back.filter_map(member).collect();
                    circle.reverse();
                    return circle;
                }
                if seen.insert(blocker) {
                    for next in self.waiting.get(&blocker).into_iter().flatten() {
                        came_from.insert(*next, waiter);
                        todo.push(*next);
                    }
                }
            }
        }
        Vec::new()
    }
}
