//! Buffered writes of a transaction, as seen from any moment that somebody still needs.
//!
//! Every write gets the next sequence number, and so does every request for locks. A savepoint is a sequence number to which one can return; a scan reads as of
//! the number at its start, so that a statement never meets rows that it has written itself (the Halloween problem). An
//! older version of a key is kept only while such a mark needs it. What grows with the transaction can be moved out of
//! memory ([`Buffer::spill`]).

use crate::{
    overflow::OverflowMap,
    scratch::{Result, ScratchStore},
};
use minicbor::{Decode, Encode};
use quorate_proto::{Key, Span, Timestamp, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Sequence number of a write or of a request for locks; 0 is before all.
pub type Seq = u64;

pub struct Buffer {
    keys: OverflowMap<Entry>,
    /// Keys whose absence the commit must prove, with the number at which that was asked.
    absent: OverflowMap<Seq>,
    /// Which keys were touched when (by [`numbered`]), for `rollback_to`. Only as far back as the oldest mark reaches.
    log: OverflowMap<Touch>,
    /// Keys with more than one version.
    layered: BTreeSet<Key>,
    /// Marks that savepoints and running scans hold; counted, as several may share a number.
    marks: BTreeMap<Seq, usize>,
    last: Seq,
    written: usize,
    checked_absent: usize,
    bytes: usize,
    in_memory: usize,
}

/// Versions in rising order, never empty.
#[derive(Clone, Debug, Encode, Decode)]
struct Entry {
    #[n(0)]
    versions: Vec<Version>,
    /// Read timestamp of the statement that wrote first; proves a blind write under READ COMMITTED.
    #[n(1)]
    since: Timestamp,
}

#[derive(Clone, Debug, Encode, Decode)]
struct Version {
    #[n(0)]
    seq: Seq,
    /// `None` deletes.
    #[n(1)]
    value: Option<Value>,
}

#[derive(Clone, Debug, Encode, Decode)]
enum Touch {
    #[n(0)]
    Write(#[n(0)] Key),
    #[n(1)]
    Absent(#[n(0)] Key),
}

/// Rough cost of an entry beside its key and value.
const OVERHEAD: usize = 96;
/// So much of the log is undone at a time.
const UNDONE: usize = 1024;
/// Spaces of the scratch store; another one's begins at 16.
const KEYS: u8 = 1;
const ABSENT: u8 = 2;
const LOG: u8 = 3;

impl Default for Buffer {
    fn default() -> Self {
        Buffer {
            keys: OverflowMap::new(KEYS),
            absent: OverflowMap::new(ABSENT),
            log: OverflowMap::new(LOG),
            layered: BTreeSet::new(),
            marks: BTreeMap::new(),
            last: 0,
            written: 0,
            checked_absent: 0,
            bytes: 0,
            in_memory: 0,
        }
    }
}

impl Buffer {
    /// Nothing is written, and no absence is to be proven.
    pub fn is_empty(&self) -> bool {
        self.written == 0 && self.checked_absent == 0
    }

    /// Keys written.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Bytes of keys and values held, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes touched in memory since the last [`Buffer::spill`], about.
    pub fn in_memory(&self) -> usize {
        self.in_memory
    }

    pub fn seq(&self) -> Seq {
        self.last
    }

    /// The number of something that is not kept here.
    pub fn next_seq(&mut self) -> Seq {
        self.last += 1;
        self.last
    }

    /// Goes on with the numbers of an earlier attempt.
    pub fn go_on_behind(&mut self, seq: Seq) {
        self.last = self.last.max(seq);
    }

    /// Somebody may return to an earlier moment.
    pub fn is_marked(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Puts a value, or deletes with `None`.
    pub fn write(&mut self, key: Key, value: Option<Value>, read_ts: Timestamp) -> Result<()> {
        let seq = self.next_seq();
        let newest_mark = self.marks.last_key_value().map(|(seq, _)| *seq);
        let size = size_of_version(&value);
        self.in_memory += key.len() + size;
        if newest_mark.is_some() {
            self.in_memory += OVERHEAD;
            self.log.insert(numbered(seq), Touch::Write(key.clone()));
        }
        let version = Version { seq, value };
        match self.keys.get_mut(&key)? {
            None => {
                self.bytes += key.len() + size;
                self.written += 1;
                self.keys.insert(key, Entry { versions: vec![version], since: read_ts });
            }
            Some(entry) => {
                self.bytes += size;
                // The version so far is needed only by marks taken since it was written.
                match entry.versions.last_mut() {
                    Some(last) if newest_mark.is_none_or(|mark| mark < last.seq) => {
                        self.bytes -= size_of_version(&last.value);
                        *last = version;
                    }
                    _ => {
                        entry.versions.push(version);
                        self.layered.insert(key);
                    }
                }
            }
        }
        Ok(())
    }

    pub fn check_absent(&mut self, key: Key) -> Result<()> {
        self.last += 1;
        self.in_memory += key.len() + OVERHEAD;
        if !self.marks.is_empty() {
            self.log.insert(numbered(self.last), Touch::Absent(key.clone()));
        }
        if !self.absent.contains(&key)? {
            self.checked_absent += 1;
            self.absent.insert(key, self.last);
        }
        Ok(())
    }

    /// Keys of a span whose absence is to be proven, in order.
    pub fn absent(&self, span: &Span) -> impl Iterator<Item = Result<Key>> + Send + use<'_> {
        self.absent.range(span, false).map(|pair| Ok(pair?.0))
    }

    /// Whether the key is written.
    pub fn has(&self, key: &Key) -> Result<bool> {
        self.keys.contains(key)
    }

    /// The newest own write of a key: `None` if there is none, `Some(None)` if it deletes.
    pub fn get(&self, key: &Key) -> Result<Option<Option<Value>>> {
        Ok(self.keys.with(key, |entry| entry.as_of(Seq::MAX).map(Option::<&Value>::cloned))?.flatten())
    }

    /// Own writes within the span as of a number, in key order or against it.
    pub fn range(
        &self,
        span: &Span,
        as_of: Seq,
        reverse: bool,
    ) -> impl Iterator<Item = Result<(Key, Option<Value>)>> + Send + use<'_> {
        self.keys.range(span, reverse).filter_map(move |pair| {
            let seen = |(key, entry): (Key, Entry)| Some((key, entry.as_of(as_of)?.cloned()));
            pair.map(seen).transpose()
        })
    }

    /// What the commit writes in a span: newest versions in key order, each with the read timestamp of its first write.
    pub fn writes(
        &self,
        span: &Span,
    ) -> impl Iterator<Item = Result<(Key, Option<Value>, Timestamp)>> + Send + use<'_> {
        self.keys.range(span, false).map(|pair| {
            let (key, mut entry) = pair?;
            Ok((key, entry.versions.pop().and_then(|version| version.value), entry.since))
        })
    }

    /// Holds on to the present state until [`Buffer::unmark`].
    pub fn mark(&mut self) -> Seq {
        *self.marks.entry(self.last).or_insert(0) += 1;
        self.last
    }

    /// What cannot be forgotten when nobody needs it any more takes room, and nothing else.
    pub fn unmark(&mut self, mark: Seq) {
        if let Some(count) = self.marks.get_mut(&mark) {
            *count -= 1;
            if *count == 0 {
                self.marks.remove(&mark);
            }
        }
        if self.marks.is_empty() {
            // What is left of it in scratch space has numbers that no later mark reaches.
            self.log = OverflowMap::new(LOG);
            for key in std::mem::take(&mut self.layered) {
                self.forget_older(&key);
            }
        }
    }

    /// Without marks only newest versions matter.
    fn forget_older(&mut self, key: &Key) {
        if let Ok(Some(entry)) = self.keys.get_mut(key) {
            let older = entry.versions.len() - 1;
            for version in entry.versions.drain(..older) {
                self.bytes -= size_of_version(&version.value);
            }
        }
    }

    /// Undoes all writes after the mark, which stays. Numbers keep rising, so that scans begun before are not confused.
    pub fn rollback_to(&mut self, mark: Seq) -> Result<()> {
        debug_assert!(self.marks.contains_key(&mark), "returning to a mark that nobody holds");
        let since = Span { start: numbered(mark + 1), end: None };
        loop {
            let newest = self.log.range(&since, true).take(UNDONE).collect::<Result<Vec<(Key, Touch)>>>()?;
            if newest.is_empty() {
                return Ok(());
            }
            for (number, touch) in newest {
                match touch {
                    Touch::Write(key) => self.undo_write(&key, mark)?,
                    Touch::Absent(key) => self.undo_absent(&key, mark)?,
                }
                self.log.remove(&number);
            }
        }
    }

    fn undo_write(&mut self, key: &Key, mark: Seq) -> Result<()> {
        let Some(entry) = self.keys.get_mut(key)? else { return Ok(()) };
        while let Some(version) = entry.versions.last() {
            if version.seq <= mark {
                return Ok(());
            }
            self.bytes -= size_of_version(&version.value);
            entry.versions.pop();
        }
        self.bytes -= key.len();
        self.written -= 1;
        self.layered.remove(key);
        self.keys.remove(key);
        Ok(())
    }

    fn undo_absent(&mut self, key: &Key, mark: Seq) -> Result<()> {
        if self.absent.with(key, |seq| *seq > mark)? == Some(true) {
            self.checked_absent -= 1;
            self.absent.remove(key);
        }
        Ok(())
    }

    /// Moves all of it out of memory, but for marks and the names of keys with several versions.
    pub fn spill(&mut self, store: &Arc<dyn ScratchStore>) -> Result<()> {
        self.keys.spill(store)?;
        self.absent.spill(store)?;
        self.log.spill(store)?;
        self.in_memory = 0;
        Ok(())
    }
}

/// The key of a number in a log.
pub(crate) fn numbered(seq: Seq) -> Key {
    seq.to_be_bytes().to_vec().into()
}

impl Entry {
    fn as_of(&self, as_of: Seq) -> Option<Option<&Value>> {
        self.versions.iter().rev().find(|version| version.seq <= as_of).map(|version| version.value.as_ref())
    }
}

fn size_of_version(value: &Option<Value>) -> usize {
    value.as_ref().map_or(0, |v| v.len()) + OVERHEAD
}

/// Merges rows found in shards with own writes, both in scan order and of the same span.
///
/// `rows` are what the shards hold in `span`; own puts replace or join them, own deletes remove them. Ends after `most` rows:
/// then the second result is the last key that was looked at.
///
/// # Errors
/// If scratch space fails.
pub fn overlay(
    rows: impl IntoIterator<Item = (Key, Value)>,
    buffer: &Buffer,
    span: &Span,
    as_of: Seq,
    reverse: bool,
    most: usize,
) -> Result<(Vec<(Key, Value)>, Option<Key>)> {
    let before = |a: &Key, b: &Key| if reverse { a > b } else { a < b };
    let (mut rows, mut own) = (rows.into_iter().peekable(), buffer.range(span, as_of, reverse).peekable());
    let mut out = Vec::new();
    loop {
        let own_first = match (rows.peek(), own.peek()) {
            (None, None) => return Ok((out, None)),
            (Some((key, _)), Some(Ok((own_key, _)))) => !before(key, own_key),
            (theirs, _) => theirs.is_none(),
        };
        let (key, value) = if own_first || matches!(own.peek(), Some(Err(_))) {
            let Some(pair) = own.next() else { continue };
            let (key, value) = pair?;
            rows.next_if(|(theirs, _)| *theirs == key);
            (key, value)
        } else {
            let Some((key, value)) = rows.next() else { continue };
            (key, Some(value))
        };
        out.extend(value.map(|value| (key.clone(), value)));
        if out.len() >= most {
            let more = rows.peek().is_some() || own.peek().is_some();
            return Ok((out, more.then_some(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{MemoryScratch, Scratch};
    use proptest::prelude::*;

    fn put(buffer: &mut Buffer, key: &str, value: &str) {
        buffer.write(Key::from(key), Some(Value::from(value)), Timestamp::ZERO).unwrap();
    }

    fn seen(buffer: &Buffer, as_of: Seq) -> Vec<(Key, Option<Value>)> {
        buffer.range(&Span::ALL, as_of, false).collect::<Result<_>>().unwrap()
    }

    fn absent(buffer: &Buffer) -> usize {
        buffer.absent(&Span::ALL).count()
    }

    #[test]
    fn a_scan_does_not_meet_its_own_writes() {
        let mut buffer = Buffer::default();
        put(&mut buffer, "a", "1");
        let scan = buffer.mark();
        put(&mut buffer, "a", "2");
        put(&mut buffer, "b", "2");
        assert_eq!(seen(&buffer, scan), [(Key::from("a"), Some(Value::from("1")))]);
        buffer.unmark(scan);
        assert_eq!(buffer.get(&Key::from("a")), Ok(Some(Some(Value::from("2")))));
        assert_eq!(buffer.keys.with(&Key::from("a"), |entry| entry.versions.len()), Ok(Some(1)));
    }

    #[test]
    fn savepoints_restore_writes_and_checks() {
        let mut buffer = Buffer::default();
        put(&mut buffer, "a", "1");
        let bytes = buffer.bytes();
        let outer = buffer.mark();
        buffer.check_absent(Key::from("k")).unwrap();
        put(&mut buffer, "a", "2");
        let inner = buffer.mark();
        buffer.write(Key::from("a"), None, Timestamp::ZERO).unwrap();
        put(&mut buffer, "b", "3");
        buffer.rollback_to(inner).unwrap();
        assert_eq!(buffer.get(&Key::from("a")), Ok(Some(Some(Value::from("2")))));
        assert_eq!(buffer.get(&Key::from("b")), Ok(None));
        assert_eq!(absent(&buffer), 1);
        buffer.unmark(inner);
        buffer.rollback_to(outer).unwrap();
        assert_eq!(buffer.get(&Key::from("a")), Ok(Some(Some(Value::from("1")))));
        assert_eq!(absent(&buffer), 0);
        assert_eq!(buffer.bytes(), bytes);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8),
        Delete(u8),
        Savepoint,
        Rollback(usize),
        Release,
        Spill,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                4 => (0u8..8, any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
                2 => (0u8..8).prop_map(Step::Delete),
                2 => Just(Step::Savepoint),
                1 => (0usize..4).prop_map(Step::Rollback),
                1 => Just(Step::Release),
                1 => Just(Step::Spill),
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
            let store = MemoryScratch.open().unwrap();
            let mut saved: Vec<(Seq, BTreeMap<u8, Option<u8>>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(k, v) => {
                        buffer.write(vec![k].into(), Some(vec![v].into()), Timestamp::ZERO).unwrap();
                        model.insert(k, Some(v));
                    }
                    Step::Delete(k) => {
                        buffer.write(vec![k].into(), None, Timestamp::ZERO).unwrap();
                        model.insert(k, None);
                    }
                    Step::Savepoint => saved.push((buffer.mark(), model.clone())),
                    Step::Rollback(n) if n < saved.len() => {
                        for (seq, _) in saved.drain(n + 1..) {
                            buffer.unmark(seq);
                        }
                        buffer.rollback_to(saved[n].0).unwrap();
                        model = saved[n].1.clone();
                    }
                    Step::Rollback(_) => {}
                    Step::Spill => buffer.spill(&store).unwrap(),
                    Step::Release => {
                        if let Some((seq, _)) = saved.pop() {
                            buffer.unmark(seq);
                        }
                    }
                }
                let bytes = |pairs: Vec<(Key, Option<Value>)>| -> BTreeMap<u8, Option<u8>> {
                    pairs.into_iter().map(|(k, v)| (k[0], v.map(|v| v[0]))).collect()
                };
                let writes = buffer.writes(&Span::ALL).map(|write| write.map(|(k, v, _)| (k, v)));
                prop_assert_eq!(&bytes(writes.collect::<Result<_>>().unwrap()), &model);
                prop_assert_eq!(buffer.len(), model.len());
                for (seq, at) in &saved {
                    let seen = bytes(seen(&buffer, *seq));
                    // A rollback may have removed versions newer than the mark, never those the mark sees.
                    prop_assert_eq!(&seen, at);
                }
            }
        }

        #[test]
        fn overlay_agrees_with_a_map(
            rows in prop::collection::btree_map(0u8..20, any::<u8>(), 0..12),
            own in prop::collection::btree_map(0u8..20, any::<Option<u8>>(), 0..12),
            start in 0u8..20, len in 0u8..20, reverse: bool, most in 1usize..8,
        ) {
            let span = Span::new(vec![start], vec![start + len]);
            let mut buffer = Buffer::default();
            for (k, v) in &own {
                buffer.write(vec![*k].into(), v.map(|v| vec![v].into()), Timestamp::ZERO).unwrap();
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
            // In pages, each of which goes on behind the last key of the one before.
            let (mut rest, mut pages) = (span.clone(), Vec::new());
            loop {
                let rows: Vec<_> = found.iter().filter(|(key, _)| rest.contains(key)).cloned().collect();
                let (page, cut) = overlay(rows, &buffer, &rest, Seq::MAX, reverse, most).unwrap();
                prop_assert!(page.len() <= most);
                pages.extend(page);
                match cut {
                    None => break,
                    Some(last) if reverse => rest.end = Some(last),
                    Some(last) => rest.start = last.successor(),
                }
            }
            prop_assert_eq!(pages, expected);
        }
    }
}
