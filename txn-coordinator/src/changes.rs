//! What a transaction would change, and what it relies upon to be the only one: writes, absences and locks. Small ones live in
//! memory; of large ones all but the newest lies in scratch space.

use crate::{
    buffer::Buffer,
    overflow::OverflowMap,
    scratch::{Result, Scratch, ScratchStore},
};
use quorate_env::planted;
use quorate_proto::{
    Key, Span, Timestamp, Value,
    kv::{Check, CheckKind, Write},
};
use std::{iter::Peekable, sync::Arc};

pub(crate) struct Changes {
    pub(crate) buffer: Buffer,
    /// Locked keys, each with the timestamp since which it must not have changed (PROTOCOL 13).
    locks: OverflowMap<Timestamp>,
    locked: usize,
    /// No lock's timestamp is later.
    latest_lock: Timestamp,
    in_memory: usize,
    store: Option<Arc<dyn ScratchStore>>,
}

/// Rough cost of a lock beside its key.
const OVERHEAD: usize = 96;
/// The space of the scratch store.
const LOCKS: u8 = 16;

impl Default for Changes {
    fn default() -> Self {
        Changes {
            buffer: Buffer::default(),
            locks: OverflowMap::new(LOCKS),
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

    /// Notes a lock. The older mark stays: what was read under it must still hold.
    pub(crate) fn note_lock(&mut self, key: Key, since: Timestamp) -> Result<()> {
        if !self.locks.contains(&key)? {
            self.in_memory += key.len() + OVERHEAD;
            self.locked += 1;
            self.latest_lock = self.latest_lock.max(since);
            self.locks.insert(key, since);
        }
        Ok(())
    }

    pub(crate) fn forget_lock(&mut self, key: &Key) -> Result<()> {
        if self.locks.contains(key)? {
            self.locked -= 1;
            self.locks.remove(key);
        }
        Ok(())
    }

    pub(crate) fn has_locks(&self) -> bool {
        self.locked > 0
    }

    pub(crate) fn is_locked(&self, key: &Key) -> Result<bool> {
        self.locks.contains(key)
    }

    /// Since when a locked key must not have changed.
    pub(crate) fn locked_since(&self, key: &Key) -> Result<Option<Timestamp>> {
        self.locks.with(key, |since| *since)
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
        let locks: Locks<'_> = Box::new(self.locks.range(span, false));
        let absent: Absent<'_> = Box::new(self.buffer.absent(span));
        let writes: Writes<'_> = Box::new(self.buffer.writes(span));
        Items { locks: locks.peekable(), absent: absent.peekable(), writes: writes.peekable() }
    }
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
