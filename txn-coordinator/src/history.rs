//! What this gateway still remembers of the transactions that it coordinated.
//!
//! The durable proof of a transaction is its record beside the anchor key; a record is found by `(anchor, id)`. The id
//! alone does not lead there, so the gateway remembers the anchors of its latest transactions, in memory and bounded.

use parking_lot::Mutex;
use quorate_proto::{Key, LogPosition, ShardId, Timestamp, TxnId};
use std::collections::{BTreeMap, VecDeque};

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed(Timestamp),
    Aborted,
    /// Undecided; its coordinator may still commit it.
    Pending,
    /// Nobody may claim either: its record may have been removed, or nobody knows where it was.
    Unknown,
}

/// Certificates of a transaction (DESIGN §2), as far as this gateway met them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub txn: TxnId,
    pub anchor: Key,
    pub outcome: Outcome,
    /// Where each participant prepared.
    pub prepared: Vec<(ShardId, LogPosition)>,
    /// The entry that decided, and its shard.
    pub decided: Option<(ShardId, LogPosition)>,
}

/// The latest transactions that tried to commit something, oldest out first.
pub struct History {
    inner: Mutex<Ring>,
    capacity: usize,
}

#[derive(Default)]
struct Ring {
    by_id: BTreeMap<TxnId, Evidence>,
    order: VecDeque<TxnId>,
}

impl History {
    pub fn new(capacity: usize) -> Self {
        History { inner: Mutex::default(), capacity }
    }

    /// Adds or replaces.
    pub fn record(&self, evidence: Evidence) {
        let mut ring = self.inner.lock();
        let id = evidence.txn;
        if ring.by_id.insert(id, evidence).is_none() {
            ring.order.push_back(id);
            if ring.order.len() > self.capacity
                && let Some(oldest) = ring.order.pop_front()
            {
                ring.by_id.remove(&oldest);
            }
        }
    }

    /// Nothing of it happened.
    pub fn forget(&self, id: TxnId) {
        let mut ring = self.inner.lock();
        if ring.by_id.remove(&id).is_some()
            && let Some(at) = ring.order.iter().rposition(|other| *other == id)
        {
            ring.order.remove(at);
        }
    }

    pub fn get(&self, id: TxnId) -> Option<Evidence> {
        self.inner.lock().by_id.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_replaceable() {
        let history = History::new(2);
        let make = |id, outcome| Evidence {
            txn: TxnId(id),
            anchor: Key::from("a"),
            outcome,
            prepared: Vec::new(),
            decided: None,
        };
        history.record(make(1, Outcome::Pending));
        history.record(make(2, Outcome::Pending));
        history.record(make(2, Outcome::Aborted));
        assert_eq!(history.get(TxnId(1)).map(|e| e.outcome), Some(Outcome::Pending));
        history.record(make(3, Outcome::Pending));
        assert_eq!(history.get(TxnId(1)), None);
        assert_eq!(history.get(TxnId(2)).map(|e| e.outcome), Some(Outcome::Aborted));
    }
}
