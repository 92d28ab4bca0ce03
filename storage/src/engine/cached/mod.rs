//! An engine that keeps newest versions and intents of single keys in memory, in front of another engine.
//!
//! A transaction asks for the same few rows again and again: when it reads them, when it proves that they have not changed,
//! when it lays and when it resolves its intents. Each question is a search of its own in the engine below.
//!
//! Every write has a number ([`Order`]), and every snapshot knows up to which number it certainly holds all writes. What is
//! kept of a key says since which write it has been so ([`Table`]); a snapshot takes it if it is no younger than that, and
//! asks below otherwise. Writers tell the table *before* they write, so that what is kept and was not replaced holds for
//! every snapshot that holds the write it dates from, also for one that was taken while a later write was under way.

mod order;
mod table;

use self::order::{Order, Ticket};
use self::table::{Answer, Kind, Table};
use super::{Cursor, Engine, Family, FamilyRange, Ingest, OnDamage, Snapshot, VERSION_SUFFIX};
use crate::{Result, WriteBatch, WriteOp};
use bytes::Bytes;
use quorate_env::planted;
use std::any::Any;
use std::sync::Arc;

/// Places in the table. An empty one takes 24 bytes; full of the largest values under keys of 64 bytes it is some 50 MB.
const SLOTS: usize = 1 << 16;

/// See the module. Nobody else may write to the engine below.
pub struct CachedEngine {
    below: Arc<dyn Engine>,
    recent: Arc<Recent>,
}

struct Recent {
    order: Order,
    table: Table,
}

impl CachedEngine {
    pub fn over(below: Arc<dyn Engine>) -> Arc<dyn Engine> {
        Arc::new(Self::with_slots(below, SLOTS))
    }

    fn with_slots(below: Arc<dyn Engine>, slots: usize) -> Self {
        CachedEngine { below, recent: Arc::new(Recent { order: Order::default(), table: Table::new(slots) }) }
    }
}

impl Recent {
    /// Numbers a write that is about to begin, and makes the table say what will be.
    fn begin(&self, batch: &WriteBatch) -> Ticket<'_> {
        let ticket = self.order.begin();
        if planted!("storage.cache_not_told") {
            return ticket;
        }
        if batch.ops.iter().any(|op| matches!(op, WriteOp::DeleteRange(..))) {
            self.table.forget_all(&ticket);
        } else {
            batch.ops.iter().for_each(|op| self.tell(op, &ticket));
        }
        ticket
    }

    fn tell(&self, op: &WriteOp, ticket: &Ticket<'_>) {
        let (family, key, value) = match op {
            WriteOp::Put(family, key, value) => (family, key, Some(value)),
            WriteOp::Delete(family, key) | WriteOp::DeleteRange(family, key, _) => (family, key, None),
        };
        match family {
            Family::Data => self.table.wrote_version(key, value, ticket),
            Family::Intent => self.table.wrote_intent(key, value, ticket),
            Family::Record | Family::Meta => {}
        }
    }
}

impl Engine for CachedEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.below.get(family, key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        let holds = self.recent.order.finished();
        Box::new(CachedSnapshot { below: self.below.snapshot(), recent: self.recent.clone(), holds })
    }

    fn write(&self, batch: &WriteBatch) -> Result<()> {
        let ticket = self.recent.begin(batch);
        self.below.write(batch)?;
        ticket.finish();
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.below.flush()
    }

    fn is_full(&self) -> bool {
        self.below.is_full()
    }

    fn is_strained(&self) -> bool {
        self.below.is_strained()
    }

    fn on_damage(&self, told: OnDamage) {
        self.below.on_damage(told);
    }

    fn broken(&self) -> Option<crate::StorageError> {
        self.below.broken()
    }

    fn size(&self, range: &FamilyRange) -> Result<u64> {
        self.below.size(range)
    }

    fn ingest(&self) -> Result<Box<dyn Ingest>> {
        Ok(Box::new(CachedIngest { below: self.below.ingest()?, recent: self.recent.clone() }))
    }

    fn as_any(&self) -> &dyn Any {
        self.below.as_any()
    }
}

struct CachedIngest {
    below: Box<dyn Ingest>,
    recent: Arc<Recent>,
}

impl Ingest for CachedIngest {
    fn add(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        self.below.add(family, key, value)
    }

    fn seal(&mut self) -> Result<()> {
        self.below.seal()
    }

    fn commit(self: Box<Self>, replace: &[FamilyRange], batch: &WriteBatch) -> Result<()> {
        let CachedIngest { below, recent } = *self;
        let ticket = recent.order.begin();
        if !planted!("storage.cache_outlives_ingest") {
            recent.table.forget_all(&ticket);
        }
        below.commit(replace, batch)?;
        ticket.finish();
        Ok(())
    }
}

struct CachedSnapshot {
    below: Box<dyn Snapshot>,
    recent: Arc<Recent>,
    /// The number up to which it holds all writes; it may hold later ones.
    holds: u64,
}

impl CachedSnapshot {
    fn learn(&self, kind: Kind, key: &[u8], found: Answer) -> Answer {
        self.recent.table.learn(kind, key, self.holds, &found);
        found
    }

    /// The newest version of all.
    fn newest(&self, prefix: &[u8]) -> Result<Answer> {
        if let Some(known) = self.recent.table.get(Kind::Newest, prefix, self.holds) {
            return Ok(known);
        }
        let mut first = prefix.to_vec();
        first.resize(prefix.len() + VERSION_SUFFIX, 0);
        let found = self.below.seek_prefix(Family::Data, &first, prefix.len())?;
        Ok(self.learn(Kind::Newest, prefix, found))
    }
}

impl Snapshot for CachedSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        if family != Family::Intent {
            return self.below.get(family, key);
        }
        let found = match self.recent.table.get(Kind::Intent, key, self.holds) {
            Some(known) => known,
            None => {
                let found = self.below.get(family, key)?.map(|value| (Bytes::new(), value));
                self.learn(Kind::Intent, key, found)
            }
        };
        Ok(found.map(|(_, value)| value))
    }

    fn seek_prefix(&self, family: Family, from: &[u8], prefix: usize) -> Result<Option<(Bytes, Bytes)>> {
        if family != Family::Data || prefix + VERSION_SUFFIX != from.len() {
            return self.below.seek_prefix(family, from, prefix);
        }
        // Nearly always the newest version is wanted; a question about the past costs a second search.
        match self.newest(&from[..prefix])? {
            Some((raw, _)) if *raw < *from => self.below.seek_prefix(family, from, prefix),
            found => Ok(found),
        }
    }

    fn cursor(&self, family: Family, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>> {
        self.below.cursor(family, start, end)
    }
}

#[cfg(test)]
mod tests;
