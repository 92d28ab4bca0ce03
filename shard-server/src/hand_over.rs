//! Locks outlive a hand-over of leadership, told in order.
//!
//! *Before*: the leader latches the whole shard for writing. What is under way is applied then; what comes, releases of
//! locks and the garbage collector among it, waits, and is sent to the heir when that leads. The locks that transactions
//! asked for go down in entries of their own.
//! *Apply*: every replica keeps them in memory.
//! *After*: whoever leads next takes them over if its term's blank entry stands right behind the last of them. Nobody has led
//! in between then, so nobody has given or taken back a lock since. (A change of members just then costs the locks.) Who
//! waits for one comes by itself, and stands in line anew.
//! *A crash* on the way makes no difference: whoever is elected finds them in its log, or something else behind them. If
//! nobody takes over in time, this term still ends, for its lease is given up (PROTOCOL 2); until then nobody is let in. A
//! leader that could not write them all lets others in again, who may give locks back: what it has written counts for nothing.
//!
//! The right half of a split has its locks in the same way ([`crate::split`]), and so has the left neighbour of a merge those of
//! the keys that it takes over ([`crate::merge`]). A leader that dies takes the locks with it:
//! the check at commit stands in for them (PROTOCOL 13).

use crate::{
    command::{Command, HeldBy, LockImage},
    latch::{Access, LatchSet, RecordLatch},
    leader::{LatchGuard, Leader},
    lock_table::LockTable,
    replica::Replica,
};
use quorate_proto::{KvError, LogPosition, TxnId};
use std::{sync::Arc, time::Duration};

/// For what is under way to be applied. Leadership is handed over without the locks when that takes longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Entries of other shards wait behind larger ones.
const ENTRY_BYTES: usize = 128 << 10;
/// Who has locked more than fits into so many parts is waited for by splits and merges.
const LOCK_PARTS: usize = 32;

/// Nothing is evaluated while this is there.
pub(crate) struct Still {
    leader: Arc<Leader>,
    _latched: LatchGuard,
    /// Locks stand in the log.
    told: bool,
}

/// Keeps the shard still and writes its locks into the log. `None`: it leads no more, or cannot do so.
pub(crate) async fn prepare(replica: &Arc<Replica>) -> Option<Still> {
    let env = &replica.context.env;
    let leader = replica.leader().ok()?;
    // The locks of a sealed shard stand in its seal.
    replica.not_sealed(&replica.state.load()).ok()?;
    let span = replica.state.load().descriptor.span.clone();
    let set = LatchSet { spans: vec![(span.clone(), Access::Write)], ..LatchSet::default() };
    let Ok(Ok(mut latched)) = env.timeout(PATIENCE, leader.latch(set)).await else {
        quorate_env::probe!("shard.locks_not_handed_over");
        return None;
    };
    let (held, locks) = {
        let core = leader.core();
        (core.held(&span), core.locks.locks())
    };
    let parts = parts(held);
    let all = parts.len();
    for (part, held) in parts.into_iter().enumerate() {
        let mut command = Command::default();
        command.extras.locks = Some(LockImage { first: part == 0, held, last: part + 1 == all });
        match replica.propose(&leader, latched, command).await {
            Ok((_, back)) => latched = back,
            Err(error) => {
                tracing::info!(shard = replica.shard.0, locks, %error, "the locks are not handed over");
                return None;
            }
        }
    }
    let told = all > 0;
    if told {
        quorate_env::count!("quorate_shard_locks_handed_over_total", locks as u64);
    }
    Some(Still { leader, _latched: latched, told })
}

/// Cut into entries.
pub(crate) fn parts(held: Vec<HeldBy>) -> Vec<Vec<HeldBy>> {
    let mut parts: Vec<Vec<HeldBy>> = Vec::new();
    let mut room = 0;
    for HeldBy { txn, locks, numbers } in held {
        let mut owner = None;
        for ((key, mode), numbers) in locks.into_iter().zip(numbers) {
            let bytes = key.len() + 24;
            if room < bytes {
                parts.push(Vec::new());
                (room, owner) = (ENTRY_BYTES, None);
            }
            let part = parts.last_mut().expect("just made");
            let place = *owner.get_or_insert_with(|| {
                part.push(HeldBy { txn: txn.clone(), locks: Vec::new(), numbers: Vec::new() });
                room = room.saturating_sub(64 + txn.anchor.len());
                part.len() - 1
            });
            part[place].locks.push((key, mode));
            part[place].numbers.push(numbers);
            room = room.saturating_sub(bytes);
        }
    }
    parts
}

/// For an entry that does more than tell them; `None`: they are too many.
pub(crate) fn in_one(held: Vec<HeldBy>) -> Option<LockImage> {
    let parts = parts(held);
    if parts.len() > LOCK_PARTS {
        return None;
    }
    Some(LockImage { first: true, held: parts.into_iter().flatten().collect(), last: true })
}

impl Drop for Still {
    fn drop(&mut self) {
        if self.told && !self.leader.is_over() {
            quorate_env::probe!("shard.nobody_took_over");
            self.leader.end(None);
        }
    }
}

/// Locks for the next leader, if that is this replica.
pub(crate) struct Inherited {
    /// Its term must begin right behind this.
    last: LogPosition,
    whole: bool,
    locks: LockTable,
}

impl Inherited {
    fn after(before: Option<Self>, at: LogPosition, image: LockImage, now: Duration) -> Option<Self> {
        let mut locks = match before {
            _ if image.first => LockTable::default(),
            Some(before) if before.last.index + 1 == at.index => before.locks,
            // Something came between its parts.
            _ => return None,
        };
        locks.restore(image.held, now);
        Some(Inherited { last: at, whole: image.last, locks })
    }

    /// Whether nothing is missing, and nothing has happened before the blank entry at `index`.
    fn fits(&self, index: u64) -> bool {
        self.whole
            && (self.last.index + 1 == index || quorate_env::planted!("shard.returned_locks_come_back"))
    }
}

impl Replica {
    /// Latches that are in nobody's way but a hand-over's or a split's: the locks told there must stay what they are.
    pub(crate) async fn latch_against_hand_over(
        &self,
        leader: &Arc<Leader>,
        by: TxnId,
    ) -> Result<LatchGuard, KvError> {
        // A record moves with its key, and both latch this one in a span.
        let anchor = self.state.load().descriptor.span.start.clone();
        let record = Some(RecordLatch { txn: by, anchor, access: Access::Read });
        leader.latch(LatchSet { record, ..LatchSet::default() }).await
    }

    /// While an entry with locks is applied.
    pub(crate) fn inherit(&self, position: LogPosition, image: LockImage) {
        let now = self.context.env.boottime();
        let mut inherited = self.inherited.lock();
        *inherited = Inherited::after(inherited.take(), position, image, now);
    }

    /// The locks with which a term begins whose blank entry stands at `index`.
    pub(crate) fn take_inherited(&self, index: u64) -> LockTable {
        let inherited = self.inherited.lock().take().filter(|found| found.fits(index));
        let inherited = inherited.filter(|_| !quorate_env::planted!("shard.locks_not_taken_over"));
        if inherited.is_some() {
            quorate_env::probe!("shard.took_locks_over");
        }
        inherited.map(|found| found.locks).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::{Key, NodeId, Timestamp, kv::LockMode, kv::TxnMeta};

    fn held(txn: u128, keys: usize) -> HeldBy {
        let txn = TxnMeta {
            id: TxnId(txn),
            anchor: Key::from("a"),
            attempt: 0,
            started: Timestamp(1),
            deadline: Timestamp(9),
            gateway: NodeId(1),
            incarnation: 1,
            session: None,
        };
        let key = |n| Key::from(format!("{n:0>1000}").into_bytes());
        let locks = (0..keys).map(|n| (key(n), LockMode::Exclusive)).collect();
        HeldBy { txn, locks, numbers: (0..keys as u64).map(|n| (n, n + 1)).collect() }
    }

    #[test]
    fn all_locks_are_in_some_part_and_no_part_is_large() {
        assert!(parts(Vec::new()).is_empty());
        let all = vec![held(1, 100), held(2, 1), held(3, 300), held(4, 0)];
        let parts = parts(all.clone());
        assert_eq!(parts.len(), 4);
        let count = |part: &Vec<HeldBy>| part.iter().map(|held| held.locks.len()).sum::<usize>();
        assert!(parts.iter().all(|part| (1..=130).contains(&count(part))));
        for whole in all {
            let mine = parts.iter().flatten().filter(|held| held.txn == whole.txn);
            let locks: Vec<_> = mine.clone().flat_map(|held| held.locks.clone()).collect();
            let numbers: Vec<_> = mine.flat_map(|held| held.numbers.clone()).collect();
            assert_eq!((locks, numbers), (whole.locks, whole.numbers));
        }
    }

    #[test]
    fn only_all_locks_right_before_a_term_are_taken_over() {
        let part = |before, index, first, last, txn| {
            let image = LockImage { first, held: vec![held(txn, 1)], last };
            Inherited::after(before, LogPosition { term: 3, index }, image, Duration::ZERO)
        };
        let fits = |found: Option<Inherited>, index| found.is_some_and(|found| found.fits(index));
        assert!(fits(part(None, 7, true, true, 1), 8));
        assert!(!fits(part(None, 7, true, true, 1), 9), "something came behind it");
        assert!(!fits(part(None, 7, true, false, 1), 8), "the rest is missing");
        assert!(fits(part(part(None, 7, true, false, 1), 8, false, true, 2), 9));
        assert!(!fits(part(part(None, 7, true, false, 1), 9, false, true, 2), 10), "something came between");
        let anew = part(part(None, 7, true, false, 1), 8, true, true, 2);
        assert_eq!(anew.map(|found| found.locks.locks()), Some(1), "the first attempt counts for nothing");
    }
}
