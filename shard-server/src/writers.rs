//! Who has committed lately, by the times of the commits. Versions do not carry their writers; a transaction that has to give
//! way to one is told whose it was as long as its node remembers.
//!
//! Only for people: nothing is decided by it. A node enters what it applies, of records and of intents that are resolved, so
//! that whoever leads next knows it too; that is in memory, bounded, and gone after a restart.

use parking_lot::{Mutex, MutexGuard};
use quorate_proto::{Timestamp, TxnId};
use std::collections::VecDeque;

/// Commits that a node remembers, of all its shards: half a MiB, in parts so that a look through one is short.
const PARTS: usize = 64;
const IN_PART: usize = 256;

pub(crate) struct Writers([Mutex<VecDeque<(Timestamp, TxnId)>>; PARTS]);

impl Default for Writers {
    fn default() -> Self {
        Writers(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Writers {
    fn part(&self, ts: Timestamp) -> MutexGuard<'_, VecDeque<(Timestamp, TxnId)>> {
        self.0[ts.micros() as usize % PARTS].lock()
    }

    /// To be entered before its versions can be met.
    pub fn enter(&self, ts: Timestamp, txn: TxnId) {
        let mut latest = self.part(ts);
        if latest.back() == Some(&(ts, txn)) {
            return;
        }
        if latest.len() >= IN_PART {
            latest.pop_front();
        }
        latest.push_back((ts, txn));
    }

    /// Who wrote the versions of this time; `None` if that is forgotten, or there were two.
    pub fn of(&self, ts: Timestamp) -> Option<TxnId> {
        let latest = self.part(ts);
        let mut found = latest.iter().filter(|(at, _)| *at == ts).map(|(_, txn)| *txn);
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_nobody_is_taken_for_another() {
        let writers = Writers::default();
        let at = Timestamp::from_micros;
        let last = (PARTS * IN_PART) as u64;
        for n in 0..=last {
            writers.enter(at(n), TxnId(u128::from(n)));
        }
        assert_eq!(writers.of(at(0)), None, "forgotten");
        assert_eq!(writers.of(at(1)), Some(TxnId(1)));
        assert_eq!(writers.of(at(last)), Some(TxnId(u128::from(last))));
        writers.enter(at(9), TxnId(9));
        assert_eq!(writers.of(at(9)), Some(TxnId(9)), "in two shards");
        writers.enter(at(9), TxnId(8));
        assert_eq!(writers.of(at(9)), None, "two at one time, of other keys");
    }
}
