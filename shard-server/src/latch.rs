//! Latches: who may evaluate on which keys right now. The pure core; [`crate::leader`] wakes the waiters.
//!
//! A latch is held for the microseconds of an evaluation and, when that led to an entry, until the entry is applied on
//! the leader. All items of a request are taken in one step and requests wait only for earlier ones, so latches alone
//! never deadlock. Whoever must wait for a *lock* gives all its latches back first (PROTOCOL 10). The idea of latches
//! ordered by arrival is that of CockroachDB's `spanlatch`.

use quorate_proto::{Key, Span, TxnId, kv::TxnMeta};
use std::{cmp::Ordering, collections::BTreeMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

impl Access {
    fn conflicts(self, other: Access) -> bool {
        self == Access::Write || other == Access::Write
    }

    fn strongest(self, other: Access) -> Access {
        if self.conflicts(other) { Access::Write } else { Access::Read }
    }
}

/// What one request latches. A key may be named more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatchSet {
    pub points: Vec<(Key, Access)>,
    pub spans: Vec<(Span, Access)>,
    /// The record of a transaction: read by what must not go on once it is decided, written by what decides it. Not among
    /// what [`Latches::release_reads`] gives back.
    pub record: Option<RecordLatch>,
}

/// A record moves with its anchor: a span that is latched for writing, as a split does, waits for it and it for the span.
/// Writes of the anchor's key itself are not in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLatch {
    pub txn: TxnId,
    pub anchor: Key,
    pub access: Access,
}

impl RecordLatch {
    pub fn of(txn: &TxnMeta, access: Access) -> Self {
        RecordLatch { txn: txn.id, anchor: txn.anchor.clone(), access }
    }

    fn moves_with(&self, span: &Span, access: Access) -> bool {
        access == Access::Write
            && span.contains(&self.anchor)
            && !quorate_env::planted!("shard.records_not_latched")
    }
}

impl LatchSet {
    /// Both with their points in key order.
    fn conflicts(&self, other: &LatchSet) -> bool {
        let records = match (&self.record, &other.record) {
            (Some(one), Some(two)) => one.txn == two.txn && one.access.conflicts(two.access),
            _ => false,
        };
        let moves = |set: &LatchSet, other: &LatchSet| {
            let spans = &other.spans;
            set.record
                .as_ref()
                .is_some_and(|record| spans.iter().any(|(span, access)| record.moves_with(span, *access)))
        };
        let span_conflicts = |(span, access): &(Span, Access), set: &LatchSet| {
            set.spans.iter().any(|(s, x)| x.conflicts(*access) && s.overlaps(span))
                || set.points.iter().any(|(key, x)| x.conflicts(*access) && span.contains(key))
        };
        records
            || moves(self, other)
            || moves(other, self)
            || self.spans.iter().any(|span| span_conflicts(span, other))
            || other.spans.iter().any(|span| span_conflicts(span, self))
            || points_conflict(&self.points, &other.points)
    }
}

/// Two lists in key order, walked together: large transactions have thousands of keys in one request.
fn points_conflict(mut a: &[(Key, Access)], mut b: &[(Key, Access)]) -> bool {
    while let (Some((x, _)), Some((y, _))) = (a.first(), b.first()) {
        match x.cmp(y) {
            Ordering::Less => a = &a[1..],
            Ordering::Greater => b = &b[1..],
            Ordering::Equal => {
                let strongest = |list: &[(Key, Access)]| {
                    let same = list.iter().take_while(|(key, _)| key == x);
                    same.fold((0, Access::Read), |(n, access), (_, next)| (n + 1, access.strongest(*next)))
                };
                let ((m, one), (n, other)) = (strongest(a), strongest(b));
                if one.conflicts(other) {
                    return true;
                }
                (a, b) = (&a[m..], &b[n..]);
            }
        }
    }
    false
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatchId(pub u64);

#[derive(Debug)]
struct Owner {
    set: LatchSet,
    /// How many earlier requests it still waits for; it holds its latches when there is none.
    waits_for: usize,
    /// Later requests that wait for it.
    blocks: Vec<LatchId>,
}

/// Invariant: a request waits exactly for the earlier ones that conflict with it and are not released.
#[derive(Debug, Default)]
pub struct Latches {
    next: u64,
    owners: BTreeMap<LatchId, Owner>,
    points: BTreeMap<Key, Vec<(LatchId, Access)>>,
    /// Few at any time: range reads and splits.
    spans: Vec<(LatchId, Span, Access)>,
    records: BTreeMap<TxnId, Vec<(LatchId, RecordLatch)>>,
}

impl Latches {
    /// Whether someone holds or waits for a latch that a read of `key` must wait for. A reader that finds none may note
    /// its read and take its snapshot without being entered here, if both happen before anyone else is let in.
    pub fn blocks_read(&self, key: &Key) -> bool {
        self.points.get(key).is_some_and(|items| items.iter().any(|(_, access)| *access == Access::Write))
            || self.spans.iter().any(|(_, span, access)| *access == Access::Write && span.contains(key))
    }

    /// As [`Latches::blocks_read`], for a read of a span.
    pub fn blocks_scan(&self, span: &Span) -> bool {
        let writes =
            |items: &Vec<(LatchId, Access)>| items.iter().any(|(_, access)| *access == Access::Write);
        self.spans.iter().any(|(_, other, access)| *access == Access::Write && other.overlaps(span))
            || self
                .points
                .range(span.start.clone()..)
                .take_while(|(key, _)| span.contains(key))
                .any(|(_, items)| writes(items))
    }

    /// Enters a request; `true` if it holds its latches at once. Otherwise its id comes out of [`Latches::release`].
    pub fn acquire(&mut self, mut set: LatchSet) -> (LatchId, bool) {
        set.points.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.next += 1;
        let id = LatchId(self.next);
        let mut earlier = Vec::new();
        self.collect(&set, &mut earlier);
        earlier.sort_unstable();
        earlier.dedup();
        for other in &earlier {
            self.owners.get_mut(other).expect("an item's owner is present").blocks.push(id);
        }
        for (key, access) in &set.points {
            self.points.entry(key.clone()).or_default().push((id, *access));
        }
        self.spans.extend(set.spans.iter().map(|(span, access)| (id, span.clone(), *access)));
        if let Some(record) = &set.record {
            self.records.entry(record.txn).or_default().push((id, record.clone()));
        }
        let waits_for = earlier.len();
        self.owners.insert(id, Owner { set, waits_for, blocks: Vec::new() });
        (id, waits_for == 0)
    }

    fn collect(&self, set: &LatchSet, found: &mut Vec<LatchId>) {
        for (key, access) in &set.points {
            if let Some(items) = self.points.get(key) {
                found.extend(items.iter().filter(|(_, x)| x.conflicts(*access)).map(|(id, _)| *id));
            }
            let spans = self.spans.iter().filter(|(_, span, x)| x.conflicts(*access) && span.contains(key));
            found.extend(spans.map(|(id, _, _)| *id));
        }
        for (span, access) in &set.spans {
            for (key, items) in self.points.range(span.start.clone()..) {
                if !span.contains(key) {
                    break;
                }
                found.extend(items.iter().filter(|(_, x)| x.conflicts(*access)).map(|(id, _)| *id));
            }
            let spans = self.spans.iter().filter(|(_, s, x)| x.conflicts(*access) && s.overlaps(span));
            found.extend(spans.map(|(id, _, _)| *id));
        }
        // Splits are rare: all records are looked through for them.
        for (span, access) in set.spans.iter().filter(|(_, access)| *access == Access::Write) {
            let records = self.records.values().flatten();
            found.extend(records.filter(|(_, r)| r.moves_with(span, *access)).map(|(id, _)| *id));
        }
        if let Some(record) = &set.record {
            let items = self.records.get(&record.txn).into_iter().flatten();
            found.extend(items.filter(|(_, x)| x.access.conflicts(record.access)).map(|(id, _)| *id));
            let spans = self.spans.iter().filter(|(_, span, access)| record.moves_with(span, *access));
            found.extend(spans.map(|(id, ..)| *id));
        }
    }

    /// Gives back what was held, or the place in line of one that gave up. Returns those who now hold their latches.
    pub fn release(&mut self, id: LatchId) -> Vec<LatchId> {
        let Some(owner) = self.owners.remove(&id) else { return Vec::new() };
        self.forget(id, &owner.set, true);
        self.let_go(owner.blocks)
    }

    /// Gives back what was latched for reading only; what is to be written stays latched.
    pub fn release_reads(&mut self, id: LatchId) -> Vec<LatchId> {
        let Some(mut owner) = self.owners.remove(&id) else { return Vec::new() };
        self.forget(id, &owner.set, false);
        owner.set.points.retain(|(_, access)| *access == Access::Write);
        owner.set.spans.retain(|(_, access)| *access == Access::Write);
        let (stay, go): (Vec<_>, Vec<_>) = owner
            .blocks
            .iter()
            .partition(|later| self.owners.get(later).is_some_and(|later| later.set.conflicts(&owner.set)));
        owner.blocks = stay;
        self.owners.insert(id, owner);
        self.let_go(go)
    }

    /// Removes the items of a request: those for reading, or all.
    fn forget(&mut self, id: LatchId, set: &LatchSet, all: bool) {
        let goes = |access: Access| all || access == Access::Read;
        for (key, _) in set.points.iter().filter(|(_, access)| goes(*access)) {
            if let Some(items) = self.points.get_mut(key) {
                items.retain(|(other, access)| *other != id || !goes(*access));
                if items.is_empty() {
                    self.points.remove(key);
                }
            }
        }
        if !set.spans.is_empty() {
            self.spans.retain(|(other, _, access)| *other != id || !goes(*access));
        }
        if let Some(record) = set.record.as_ref().filter(|_| all)
            && let Some(items) = self.records.get_mut(&record.txn)
        {
            items.retain(|(other, _)| *other != id);
            if items.is_empty() {
                self.records.remove(&record.txn);
            }
        }
    }

    fn let_go(&mut self, blocked: Vec<LatchId>) -> Vec<LatchId> {
        let mut ready = Vec::new();
        for later in blocked {
            if let Some(owner) = self.owners.get_mut(&later) {
                owner.waits_for -= 1;
                if owner.waits_for == 0 {
                    ready.push(later);
                }
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(keys: &[&str]) -> LatchSet {
        LatchSet {
            points: keys.iter().map(|k| (Key::from(*k), Access::Read)).collect(),
            ..Default::default()
        }
    }

    fn writes(keys: &[&str]) -> LatchSet {
        LatchSet {
            points: keys.iter().map(|k| (Key::from(*k), Access::Write)).collect(),
            ..Default::default()
        }
    }

    fn record(txn: u128, anchor: &str, access: Access) -> Option<RecordLatch> {
        Some(RecordLatch { txn: TxnId(txn), anchor: Key::from(anchor), access })
    }

    fn span(start: &str, end: &str, access: Access) -> LatchSet {
        LatchSet { spans: vec![(Span::new(start, end), access)], ..Default::default() }
    }

    #[test]
    fn readers_share_and_writers_wait_in_order() {
        let mut latches = Latches::default();
        let (r1, ok1) = latches.acquire(reads(&["a"]));
        let (r2, ok2) = latches.acquire(reads(&["a"]));
        let (w, ok3) = latches.acquire(writes(&["a", "b"]));
        let (r3, ok4) = latches.acquire(reads(&["a"]));
        assert_eq!(
            (ok1, ok2, ok3, ok4),
            (true, true, false, false),
            "a later reader does not overtake a writer"
        );
        assert!(latches.release(r1).is_empty());
        assert_eq!(latches.release(r2), vec![w]);
        assert_eq!(latches.release(w), vec![r3]);
        assert!(latches.release(r3).is_empty() && latches.owners.is_empty());
    }

    #[test]
    fn spans_meet_points_and_spans() {
        let mut latches = Latches::default();
        let (w, _) = latches.acquire(writes(&["c"]));
        let (scan, ok) = latches.acquire(span("a", "d", Access::Read));
        assert!(!ok);
        let (other, ok) = latches.acquire(span("d", "e", Access::Write));
        assert!(ok, "the spans only touch");
        let (split, ok) = latches.acquire(span("b", "z", Access::Write));
        assert!(!ok);
        assert_eq!(latches.release(w), vec![scan]);
        assert!(latches.release(scan).is_empty());
        assert_eq!(latches.release(other), vec![split]);
        assert!(latches.blocks_read(&Key::from("q")) && !latches.blocks_read(&Key::from("a")));
    }

    #[test]
    fn a_waiter_that_gives_up_lets_the_next_one_in() {
        let mut latches = Latches::default();
        let (r, _) = latches.acquire(reads(&["a"]));
        let (w, _) = latches.acquire(writes(&["a"]));
        let (r2, ok) = latches.acquire(reads(&["a"]));
        assert!(!ok);
        assert_eq!(latches.release(w), vec![r2]);
        latches.release(r);
        latches.release(r2);
        assert!(latches.owners.is_empty() && latches.points.is_empty());
    }

    #[test]
    fn reads_can_be_given_back_early() {
        let mut latches = Latches::default();
        let mut set = reads(&["a", "b"]);
        set.points.push((Key::from("b"), Access::Write));
        set.record = record(7, "a", Access::Write);
        let (id, _) = latches.acquire(set);
        let (a, _) = latches.acquire(writes(&["a"]));
        let (b, _) = latches.acquire(writes(&["b"]));
        let (other, ok) =
            latches.acquire(LatchSet { record: record(7, "a", Access::Write), ..Default::default() });
        assert!(!ok);
        assert_eq!(latches.release_reads(id), vec![a]);
        assert!(latches.blocks_read(&Key::from("b")));
        assert_eq!(latches.release(id), vec![b, other]);
    }

    #[test]
    fn parts_of_a_transaction_share_its_record_and_its_decision_waits_for_them() {
        let part = |key: &str, access| LatchSet { record: record(7, "a", access), ..writes(&[key]) };
        let mut latches = Latches::default();
        let (a, a_goes) = latches.acquire(part("a", Access::Read));
        let (b, b_goes) = latches.acquire(part("b", Access::Read));
        let (decision, decided) = latches.acquire(part("c", Access::Write));
        let (_, late) = latches.acquire(part("d", Access::Read));
        assert_eq!((a_goes, b_goes, decided, late), (true, true, false, false));
        assert!(latches.release_reads(a).is_empty() && latches.release(a).is_empty());
        assert_eq!(latches.release(b), vec![decision]);
    }

    /// A record that is written to the left half's log after the split would stand in the right half's keys, and there
    /// some replicas would decide by it and others not.
    #[test]
    fn a_split_waits_for_the_records_that_it_moves_and_they_for_it() {
        let only =
            |txn, anchor, access| LatchSet { record: record(txn, anchor, access), ..Default::default() };
        let mut latches = Latches::default();
        let (moves, _) = latches.acquire(only(1, "m", Access::Read));
        let (_stays, _) = latches.acquire(only(2, "a", Access::Write));
        let (split, ok) = latches.acquire(span("f", "z", Access::Write));
        assert!(!ok);
        let (late, ok) = latches.acquire(only(3, "g", Access::Write));
        assert!(!ok);
        assert!(latches.acquire(only(4, "b", Access::Write)).1, "the left half's goes on");
        assert!(!latches.acquire(span("a", "z", Access::Read)).1);
        assert_eq!(latches.release(moves), vec![split]);
        assert!(latches.release(split).contains(&late));
    }

    proptest::proptest! {
        /// Whatever the order of requests and releases: no two conflicting holders, and nobody is forgotten.
        #[test]
        fn exclusion_and_progress(steps in proptest::collection::vec((0u8..6, 0u8..6, 0u8..8), 1..120)) {
            let mut latches = Latches::default();
            let mut live: Vec<(LatchId, LatchSet, bool)> = Vec::new();
            for (a, b, what) in steps {
                let wake = if what < 5 {
                    let access = if what % 2 == 0 { Access::Read } else { Access::Write };
                    let name = |n: u8| Key::from(vec![b'a' + n]);
                    let set = if what < 3 {
                        LatchSet { points: vec![(name(a.min(b)), access), (name(a.max(b)), Access::Read)], ..Default::default() }
                    } else {
                        let span = Span { start: name(a.min(b)), end: Some(name(a.max(b) + 1)) };
                        LatchSet { spans: vec![(span, access)], ..Default::default() }
                    };
                    let (id, held) = latches.acquire(set.clone());
                    live.push((id, set, held));
                    Vec::new()
                } else if live.is_empty() {
                    Vec::new()
                } else {
                    let (id, _, _) = live.remove(a as usize % live.len());
                    latches.release(id)
                };
                for id in wake {
                    live.iter_mut().find(|(other, _, _)| *other == id).expect("woken ones are live").2 = true;
                }
                for (i, (_, mine, held)) in live.iter().enumerate() {
                    let clash = live[..i].iter().any(|(_, earlier, _)| earlier.conflicts(mine));
                    assert_eq!(*held, !clash, "one holds exactly when no earlier one conflicts");
                }
            }
        }
    }
}
