//! Buffered writes of a transaction, as seen from any moment that somebody still needs.
//!
//! Every write gets the next sequence number. A savepoint is a sequence number to which one can return; a scan reads as of
//! the number at its start, so that a statement never meets rows that it has written itself (the Halloween problem). An
//! older version of a key is kept only while such a mark needs it.

use quorate_proto::{Key, Span, Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Sequence number of a write; 0 is before all.
pub type Seq = u64;

#[derive(Clone, Debug, Default)]
pub struct Buffer {
    /// Versions in rising order, never empty.
    keys: BTreeMap<Key, Entry>,
    /// Keys whose absence the commit must prove, with the number at which that was asked.
    absent: BTreeMap<Key, Seq>,
    /// Which keys were touched when, for `rollback_to`. Only as far back as the oldest mark reaches.
    log: Vec<(Seq, Touch)>,
    /// Marks that savepoints and running scans hold; counted, as several may share a number.
    marks: BTreeMap<Seq, usize>,
    last: Seq,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    versions: Vec<(Seq, Option<Value>)>,
    /// Read timestamp of the statement that wrote first; proves a blind write under READ COMMITTED.
    since: Timestamp,
}

#[derive(Clone, Debug)]
enum Touch {
    Write(Key),
    Absent(Key),
}

/// Rough cost of an entry beside its key and value.
const OVERHEAD: usize = 96;

impl Buffer {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of keys and values held, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn seq(&self) -> Seq {
        self.last
    }

    /// Puts a value, or deletes with `None`.
    pub fn write(&mut self, key: Key, value: Option<Value>, read_ts: Timestamp) {
        self.last += 1;
        let seq = self.last;
        let newest_mark = self.marks.last_key_value().map(|(seq, _)| *seq);
        let size = value.as_ref().map_or(0, |v| v.len()) + OVERHEAD;
        if newest_mark.is_some() {
            self.log.push((seq, Touch::Write(key.clone())));
        }
        match self.keys.get_mut(&key) {
            None => {
                self.bytes += key.len() + size;
                self.keys.insert(key, Entry { versions: vec![(seq, value)], since: read_ts });
            }
            Some(entry) => {
                self.bytes += size;
                // The version so far is needed only by marks taken since it was written.
                match entry.versions.last_mut() {
                    Some(last) if newest_mark.is_none_or(|mark| mark < last.0) => {
                        self.bytes -= size_of_version(&last.1);
                        *last = (seq, value);
                    }
                    _ => entry.versions.push((seq, value)),
                }
            }
        }
    }

    pub fn check_absent(&mut self, key: Key) {
        self.last += 1;
        if !self.marks.is_empty() {
            self.log.push((self.last, Touch::Absent(key.clone())));
        }
        self.absent.entry(key).or_insert(self.last);
    }

    pub fn absent(&self) -> impl Iterator<Item = &Key> {
        self.absent.keys()
    }

    /// The newest own write of a key: `None` if there is none, `Some(None)` if it deletes.
    pub fn get(&self, key: &Key) -> Option<Option<&Value>> {
        self.get_as_of(key, Seq::MAX)
    }

    pub fn get_as_of(&self, key: &Key, as_of: Seq) -> Option<Option<&Value>> {
        self.keys.get(key)?.as_of(as_of)
    }

    /// Own writes within the span as of a number, in key order.
    pub fn range(
        &self,
        span: &Span,
        as_of: Seq,
    ) -> impl DoubleEndedIterator<Item = (&Key, Option<&Value>)> + use<'_> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let upper = match &span.end {
            Some(end) => Excluded(end.clone().max(span.start.clone())),
            None => Unbounded,
        };
        let bounds = (Included(span.start.clone()), upper);
        self.keys.range::<Key, _>(bounds).filter_map(move |(key, entry)| Some((key, entry.as_of(as_of)?)))
    }

    /// What the commit writes: newest versions in key order, each with the read timestamp of its first write.
    pub fn writes(&self) -> impl Iterator<Item = (&Key, Option<&Value>, Timestamp)> {
        self.keys.iter().map(|(key, entry)| {
            let value = entry.versions.last().and_then(|(_, value)| value.as_ref());
            (key, value, entry.since)
        })
    }

    /// Holds on to the present state until [`Buffer::unmark`].
    pub fn mark(&mut self) -> Seq {
        *self.marks.entry(self.last).or_insert(0) += 1;
        self.last
    }

    pub fn unmark(&mut self, mark: Seq) {
        if let Some(count) = self.marks.get_mut(&mark) {
            *count -= 1;
            if *count == 0 {
                self.marks.remove(&mark);
            }
        }
        if self.marks.is_empty() {
            self.forget_history();
        }
    }

    /// Undoes all writes after the mark, which stays. Numbers keep rising, so that scans begun before are not confused.
    pub fn rollback_to(&mut self, mark: Seq) {
        debug_assert!(self.marks.contains_key(&mark), "returning to a mark that nobody holds");
        while let Some((seq, _)) = self.log.last() {
            if *seq <= mark {
                break;
            }
            let Some((_, touch)) = self.log.pop() else { break };
            match touch {
                Touch::Write(key) => self.undo_write(&key, mark),
                Touch::Absent(key) => {
                    if self.absent.get(&key).is_some_and(|seq| *seq > mark) {
                        self.absent.remove(&key);
                    }
                }
            }
        }
    }

    fn undo_write(&mut self, key: &Key, mark: Seq) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        while let Some((seq, value)) = entry.versions.last() {
            if *seq <= mark {
                return;
            }
            self.bytes -= size_of_version(value);
            entry.versions.pop();
        }
        self.bytes -= key.len();
        self.keys.remove(key);
    }

    /// Without marks only newest versions matter.
    fn forget_history(&mut self) {
        let touched: BTreeSet<Key> = self
            .log
            .drain(..)
            .filter_map(|(_, touch)| match touch {
                Touch::Write(key) => Some(key),
                Touch::Absent(_) => None,
            })
            .collect();
        for key in touched {
            if let Some(entry) = self.keys.get_mut(&key) {
                let older = entry.versions.len() - 1;
                for (_, value) in entry.versions.drain(..older) {
                    self.bytes -= size_of_version(&value);
                }
            }
        }
    }
}

impl Entry {
    fn as_of(&self, as_of: Seq) -> Option<Option<&Value>> {
        self.versions.iter().rev().find(|(seq, _)| *seq <= as_of).map(|(_, value)| value.as_ref())
    }
}

fn size_of_version(value: &Option<Value>) -> usize {
    value.as_ref().map_or(0, |v| v.len()) + OVERHEAD
}

/// Merges rows found in shards with own writes, both in scan order and of the same span.
///
/// `rows` are what the shards hold in `span`; own puts replace or join them, own deletes remove them.
pub fn overlay(
    rows: impl IntoIterator<Item = (Key, Value)>,
    buffer: &Buffer,
    span: &Span,
    as_of: Seq,
    reverse: bool,
) -> Vec<(Key, Value)> {
    let mut own: Box<dyn Iterator<Item = (&Key, Option<&Value>)>> =
        if reverse { Box::new(buffer.range(span, as_of).rev()) } else { Box::new(buffer.range(span, as_of)) };
    let before = |a: &Key, b: &Key| if reverse { a > b } else { a < b };
    let mut next = own.next();
    let mut out = Vec::new();
    for (key, value) in rows {
        while let Some((own_key, own_value)) = next
            && before(own_key, &key)
        {
            out.extend(own_value.map(|v| (own_key.clone(), v.clone())));
            next = own.next();
        }
        match next {
            Some((own_key, own_value)) if *own_key == key => {
                out.extend(own_value.map(|v| (key, v.clone())));
                next = own.next();
            }
            _ => out.push((key, value)),
        }
    }
    while let Some((own_key, own_value)) = next {
        out.extend(own_value.map(|v| (own_key.clone(), v.clone())));
        next = own.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(buffer: &mut Buffer, key: &str, value: &str) {
        buffer.write(Key::from(key), Some(Value::from(value)), Timestamp::ZERO);
    }

    #[test]
    fn a_scan_does_not_meet_its_own_writes() {
        let mut buffer = Buffer::default();
        put(&mut buffer, "a", "1");
        let scan = buffer.mark();
        put(&mut buffer, "a", "2");
        put(&mut buffer, "b", "2");
        let seen: Vec<_> = buffer.range(&Span::ALL, scan).map(|(k, v)| (k.clone(), v.cloned())).collect();
        assert_eq!(seen, [(Key::from("a"), Some(Value::from("1")))]);
        buffer.unmark(scan);
        assert_eq!(buffer.get(&Key::from("a")), Some(Some(&Value::from("2"))));
        assert_eq!(buffer.keys[&Key::from("a")].versions.len(), 1);
    }

    #[test]
    fn savepoints_restore_writes_and_checks() {
        let mut buffer = Buffer::default();
        put(&mut buffer, "a", "1");
        let bytes = buffer.bytes();
        let outer = buffer.mark();
        buffer.check_absent(Key::from("k"));
        put(&mut buffer, "a", "2");
        let inner = buffer.mark();
        buffer.write(Key::from("a"), None, Timestamp::ZERO);
        put(&mut buffer, "b", "3");
        buffer.rollback_to(inner);
        assert_eq!(buffer.get(&Key::from("a")), Some(Some(&Value::from("2"))));
        assert_eq!(buffer.get(&Key::from("b")), None);
        assert_eq!(buffer.absent().count(), 1);
        buffer.unmark(inner);
        buffer.rollback_to(outer);
        assert_eq!(buffer.get(&Key::from("a")), Some(Some(&Value::from("1"))));
        assert_eq!(buffer.absent().count(), 0);
        assert_eq!(buffer.bytes(), bytes);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8),
        Delete(u8),
        Savepoint,
        Rollback(usize),
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                4 => (0u8..8, any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
                2 => (0u8..8).prop_map(Step::Delete),
                2 => Just(Step::Savepoint),
                1 => (0usize..4).prop_map(Step::Rollback),
                1 => Just(Step::Release),
            ],
            0..60,
        )
    }

    proptest! {
        /// Against a map that is copied at each savepoint.
        #[test]
        fn agrees_with_a_copying_model(steps in steps()) {
            let mut buffer = Buffer::default();
            let mut model: BTreeMap<u8, Option<u8>> = BTreeMap::new();
            let mut saved: Vec<(Seq, BTreeMap<u8, Option<u8>>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(k, v) => {
                        buffer.write(vec![k].into(), Some(vec![v].into()), Timestamp::ZERO);
                        model.insert(k, Some(v));
                    }
                    Step::Delete(k) => {
                        buffer.write(vec![k].into(), None, Timestamp::ZERO);
                        model.insert(k, None);
                    }
                    Step::Savepoint => saved.push((buffer.mark(), model.clone())),
                    Step::Rollback(n) if n < saved.len() => {
                        for (seq, _) in saved.drain(n + 1..) {
                            buffer.unmark(seq);
                        }
                        buffer.rollback_to(saved[n].0);
                        model = saved[n].1.clone();
                    }
                    Step::Rollback(_) => {}
                    Step::Release => {
                        if let Some((seq, _)) = saved.pop() {
                            buffer.unmark(seq);
                        }
                    }
                }
                let seen: BTreeMap<u8, Option<u8>> =
                    buffer.writes().map(|(k, v, _)| (k[0], v.map(|v| v[0]))).collect();
                prop_assert_eq!(&seen, &model);
                for (seq, at) in &saved {
                    let seen: BTreeMap<u8, Option<u8>> =
                        buffer.range(&Span::ALL, *seq).map(|(k, v)| (k[0], v.map(|v| v[0]))).collect();
                    // A rollback may have removed versions newer than the mark, never those the mark sees.
                    prop_assert_eq!(&seen, at);
                }
            }
        }

        #[test]
        fn overlay_agrees_with_a_map(
            rows in prop::collection::btree_map(0u8..20, any::<u8>(), 0..12),
            own in prop::collection::btree_map(0u8..20, any::<Option<u8>>(), 0..12),
            start in 0u8..20, len in 0u8..20, reverse: bool,
        ) {
            let span = Span::new(vec![start], vec![start + len]);
            let mut buffer = Buffer::default();
            for (k, v) in &own {
                buffer.write(vec![*k].into(), v.map(|v| vec![v].into()), Timestamp::ZERO);
            }
            let inside = |k: u8| k >= start && k < start + len;
            let mut found: Vec<(Key, Value)> = rows.iter().filter(|(k, _)| inside(**k))
                .map(|(k, v)| (vec![*k].into(), vec![*v].into())).collect();
            let mut model = rows.clone();
            for (k, v) in own {
                match v { Some(v) => { model.insert(k, v); } None => { model.remove(&k); } }
            }
            let mut expected: Vec<(Key, Value)> = model.into_iter().filter(|(k, _)| inside(*k))
                .map(|(k, v)| (vec![k].into(), vec![v].into())).collect();
            if reverse { found.reverse(); expected.reverse(); }
            prop_assert_eq!(overlay(found, &buffer, &span, Seq::MAX, reverse), expected);
        }
    }
}
