//! What a transaction would change, and what it relies upon to be the only one: writes, absences and locks. Small ones live in
//! memory; of large ones all but the newest lies in scratch space.

use crate::{
    buffer::{Buffer, Seq, numbered},
    overflow::OverflowMap,
    scratch::{Result, Scratch, ScratchStore},
};
use minicbor::{Decode, Encode};
use quorate_env::planted;
use quorate_proto::{
    Key, Span, Timestamp, Value,
    kv::{Check, CheckKind, Write},
};
use std::{iter::Peekable, sync::Arc};

pub(crate) struct Changes {
    pub(crate) buffer: Buffer,
    /// Keys that are locked, or were when they were read and have to be proven as if they still were.
    locks: OverflowMap<Lock>,
    /// `number ++ key` of the locks, as far back as the oldest mark of the buffer reaches.
    lock_log: OverflowMap<()>,
    locked: usize,
    /// No lock's timestamp is later.
    latest_lock: Timestamp,
    in_memory: usize,
    store: Option<Arc<dyn ScratchStore>>,
}

#[derive(Clone, Debug, Encode, Decode)]
struct Lock {
    /// It must not have changed since this (PROTOCOL 13).
    #[n(0)]
    since: Timestamp,
    /// Of the request that asked for it first.
    #[n(1)]
    number: Seq,
}

/// Rough cost of a lock beside its key.
const OVERHEAD: usize = 96;
/// So many locks are undone at a time.
const UNDONE: usize = 1024;
/// The spaces of the scratch store.
const LOCKS: u8 = 16;
const LOCK_LOG: u8 = 17;

impl Default for Changes {
    fn default() -> Self {
        Changes {
            buffer: Buffer::default(),
            locks: OverflowMap::new(LOCKS),
            lock_log: OverflowMap::new(LOCK_LOG),
            locked: 0,
            latest_lock: Timestamp::ZERO,
            in_memory: 0,
            store: None,
        }
    }
}

impl Changes {
    /// Nothing to write and nothing to prove.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.locked == 0
    }

    pub(crate) fn latest_lock(&self) -> Timestamp {
        self.latest_lock
    }

    /// Notes a lock that this request has asked for. An older one stays as it is: what was read under it must still hold.
    pub(crate) fn note_lock(&mut self, key: Key, since: Timestamp, number: Seq) -> Result<()> {
        if !self.locks.contains(&key)? {
            self.in_memory += key.len() + OVERHEAD;
            self.locked += 1;
            self.latest_lock = self.latest_lock.max(since);
            if self.buffer.is_marked() {
                self.in_memory += key.len() + OVERHEAD;
                self.lock_log.insert(logged(number, &key), ());
            }
            self.locks.insert(key, Lock { since, number });
        }
        Ok(())
    }

    pub(crate) fn forget_lock(&mut self, key: &Key) -> Result<()> {
        if let Some(number) = self.locks.with(key, |lock| lock.number)? {
            self.locked -= 1;
            if self.spilled() {
                self.in_memory += key.len() + OVERHEAD;
            }
            self.locks.remove(key);
            self.lock_log.remove(&logged(number, key));
        }
        Ok(())
    }

    /// The latest locks of those that were first asked for after a mark that is held, as many as are dealt with at a time, and
    /// since when they must not have changed. They stay, but are not named again. None: that was all.
    pub(crate) fn locks_behind(&mut self, mark: Seq) -> Result<Vec<(Key, Timestamp)>> {
        let behind = Span { start: numbered(mark + 1), end: None };
        let newest = self.lock_log.range(&behind, true).take(UNDONE).collect::<Result<Vec<_>>>()?;
        let mut locks = Vec::with_capacity(newest.len());
        for (logged, ()) in newest {
            let key = Key::copy_from(&logged[size_of::<Seq>()..]);
            self.lock_log.remove(&logged);
            if let Some(since) = self.locks.with(&key, |lock| lock.since)? {
                locks.push((key, since));
            }
        }
        Ok(locks)
    }

    /// [`Buffer::unmark`].
    pub(crate) fn unmark(&mut self, mark: Seq) {
        self.buffer.unmark(mark);
        if !self.buffer.is_marked() {
            // What is left of it in scratch space has numbers that no later mark reaches.
            self.lock_log = OverflowMap::new(LOCK_LOG);
        }
    }

    pub(crate) fn has_locks(&self) -> bool {
        self.locked > 0
    }

    pub(crate) fn is_locked(&self, key: &Key) -> Result<bool> {
        self.locks.contains(key)
    }

    /// Since when a locked key must not have changed.
    pub(crate) fn locked_since(&self, key: &Key) -> Result<Option<Timestamp>> {
        self.locks.with(key, |lock| lock.since)
    }

    /// The first locked key at or after `from`.
    pub(crate) fn next_lock(&self, from: &Key) -> Result<Option<Key>> {
        let rest = Span { start: from.clone(), end: None };
        Ok(self.locks.range(&rest, false).next().transpose()?.map(|(key, _)| key))
    }

    /// Moves what is in memory to scratch space once it takes more than `limit` bytes, about.
    pub(crate) fn settle(&mut self, scratch: &dyn Scratch, limit: usize) -> Result<()> {
        if self.buffer.in_memory() + self.in_memory <= limit {
            return Ok(());
        }
        quorate_env::probe!("txn.spilled");
        let store = match &self.store {
            Some(store) => store.clone(),
            None => scratch.open()?,
        };
        self.buffer.spill(&store)?;
        self.locks.spill(&store)?;
        self.lock_log.spill(&store)?;
        self.in_memory = 0;
        self.store = Some(store);
        Ok(())
    }

    /// Part of it lies in scratch space: what follows should not bring all of it into memory.
    pub(crate) fn spilled(&self) -> bool {
        self.store.is_some()
    }

    /// All of a span in key order.
    pub(crate) fn items(&self, span: &Span) -> Items<'_> {
        let locks = self.locks.range(span, false);
        let locks: Locks<'_> = Box::new(locks.map(|pair| pair.map(|(key, lock)| (key, lock.since))));
        let absent: Absent<'_> = Box::new(self.buffer.absent(span));
        let writes: Writes<'_> = Box::new(self.buffer.writes(span));
        Items { locks: locks.peekable(), absent: absent.peekable(), writes: writes.peekable() }
    }
}

fn logged(number: Seq, key: &Key) -> Key {
    [&numbered(number)[..], key].concat().into()
}

/// What a transaction holds of one key.
pub(crate) struct Item {
    pub(crate) key: Key,
    pub(crate) lock: Option<Timestamp>,
    pub(crate) absent: bool,
    /// The value (`None` deletes), and the read timestamp of the first write.
    pub(crate) write: Option<(Option<Value>, Timestamp)>,
}

impl Item {
    /// What the commit must prove of the key. `unlocked`: since when one that was neither locked nor checked must not have been
    /// written, if not since its own first write.
    pub(crate) fn checks(&self, unlocked: Option<Timestamp>) -> impl Iterator<Item = Check> + use<'_> {
        let lock = self.lock.filter(|_| !planted!("txn.unproven_locks")).map(CheckKind::UnchangedSince);
        let absent = self.absent.then_some(CheckKind::Absent);
        // Nobody may have written the key since it could have been read.
        let blind = match &self.write {
            Some((_, first)) if self.lock.is_none() && !self.absent && !planted!("txn.unproven_writes") => {
                Some(CheckKind::UnchangedSince(unlocked.unwrap_or(*first)))
            }
            _ => None,
        };
        [lock, absent, blind].into_iter().flatten().map(|kind| Check { key: self.key.clone(), kind })
    }

    pub(crate) fn into_write(self) -> Option<Write> {
        self.write.map(|(value, _)| Write { key: self.key, value })
    }
}

type Locks<'a> = Box<dyn Iterator<Item = Result<(Key, Timestamp)>> + Send + 'a>;
type Absent<'a> = Box<dyn Iterator<Item = Result<Key>> + Send + 'a>;
type Writes<'a> = Box<dyn Iterator<Item = Result<(Key, Option<Value>, Timestamp)>> + Send + 'a>;

pub(crate) struct Items<'a> {
    locks: Peekable<Locks<'a>>,
    absent: Peekable<Absent<'a>>,
    writes: Peekable<Writes<'a>>,
}

impl Items<'_> {
    fn take(&mut self) -> Result<Option<Item>> {
        let firsts = [
            self.locks.peek().map(|lock| lock.as_ref().map(|(key, _)| key)),
            self.absent.peek().map(|absent| absent.as_ref()),
            self.writes.peek().map(|write| write.as_ref().map(|(key, ..)| key)),
        ];
        let mut key: Option<&Key> = None;
        for first in firsts.into_iter().flatten() {
            let first = first.map_err(Clone::clone)?;
            if key.is_none_or(|key| first < key) {
                key = Some(first);
            }
        }
        let Some(key) = key.cloned() else { return Ok(None) };
        let lock = self.locks.next_if(|lock| matches!(lock, Ok((at, _)) if *at == key));
        let absent = self.absent.next_if(|absent| matches!(absent, Ok(at) if *at == key));
        let write = self.writes.next_if(|write| matches!(write, Ok((at, ..)) if *at == key));
        Ok(Some(Item {
            key,
            lock: lock.transpose()?.map(|(_, since)| since),
            absent: absent.is_some(),
            write: write.transpose()?.map(|(_, value, first)| (value, first)),
        }))
    }
}

impl Iterator for Items<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::MemoryScratch;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Lock(u8),
        Forget(u8),
        Savepoint,
        /// To the savepoint of this depth; with false, what is locked stays so.
        Rollback(usize, bool),
        Release,
        Spill,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u8..8).prop_map(Step::Lock),
            1 => (0u8..8).prop_map(Step::Forget),
            2 => Just(Step::Savepoint),
            2 => (0usize..4, any::<bool>()).prop_map(|(depth, locks)| Step::Rollback(depth, locks)),
            1 => Just(Step::Release),
            1 => Just(Step::Spill),
        ];
        prop::collection::vec(step, 0..80)
    }

    fn undo(changes: &mut Changes, mark: Seq) -> Vec<u8> {
        let mut undone = Vec::new();
        loop {
            let some = changes.locks_behind(mark).unwrap();
            if some.is_empty() {
                return undone;
            }
            for (key, _) in some {
                changes.forget_lock(&key).unwrap();
                undone.push(key[0]);
            }
        }
    }

    proptest! {
        /// Against a map of who was locked first when.
        #[test]
        fn locks_agree_with_a_model(steps in steps()) {
            let mut changes = Changes::default();
            let mut model: BTreeMap<u8, Seq> = BTreeMap::new();
            let mut saved: Vec<Seq> = Vec::new();
            for step in steps {
                match step {
                    Step::Lock(k) => {
                        let number = changes.buffer.next_seq();
                        changes.note_lock(vec![k].into(), Timestamp(number), number).unwrap();
                        model.entry(k).or_insert(number);
                    }
                    Step::Forget(k) => {
                        changes.forget_lock(&vec![k].into()).unwrap();
                        model.remove(&k);
                    }
                    Step::Savepoint => saved.push(changes.buffer.mark()),
                    Step::Rollback(depth, locks) if depth < saved.len() => {
                        saved.drain(depth + 1..).for_each(|mark| changes.unmark(mark));
                        let mark = saved[depth];
                        if locks {
                            let mut undone = undo(&mut changes, mark);
                            undone.sort_unstable();
                            let since = model.extract_if(.., |_, number| *number > mark).map(|(k, _)| k);
                            prop_assert_eq!(undone, since.collect::<Vec<_>>());
                        }
                    }
                    Step::Rollback(..) => {}
                    Step::Release => saved.pop().into_iter().for_each(|mark| changes.unmark(mark)),
                    Step::Spill => changes.settle(&MemoryScratch, 0).unwrap(),
                }
                let held: Vec<(u8, Timestamp)> = changes.items(&Span::ALL)
                    .map(|item| item.map(|item| (item.key[0], item.lock.unwrap())))
                    .collect::<Result<_>>().unwrap();
                let expected: Vec<_> = model.iter().map(|(k, number)| (*k, Timestamp(*number))).collect();
                prop_assert_eq!(held, expected);
                prop_assert_eq!(changes.has_locks(), !model.is_empty());
            }
        }
    }
}
