//! The crash-lossy engine in memory, for simulation and tests.
//!
//! It keeps what a snapshot, or a fall back to the last flush, may still need: every key has a short chain of values, each
//! with the number of the batch that wrote it. [`MemEngine::crash`] takes back every batch since the last flush. It can be
//! told to fail, to stall and to return corrupt values.

mod faults;
mod store;
mod view;

use self::faults::Faults;
use self::store::Store;
use self::view::MemSnapshot;
use super::{Engine, Family, FamilyRange, Ingest, OnDamage, Snapshot};
use crate::{Result, StorageError, WriteBatch, WriteOp};
use bytes::Bytes;
use parking_lot::RwLock;
use quorate_env::planted;
use std::any::Any;
use std::sync::Arc;

pub use self::faults::MemFault;

/// Clones share the same content, so that a test keeps a handle while a node uses another.
#[derive(Clone, Default)]
pub struct MemEngine {
    shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    store: RwLock<Store>,
    faults: Faults,
}

impl Shared {
    fn write(&self, batch: &WriteBatch) {
        for op in &batch.ops {
            if let WriteOp::DeleteRange(family, start, end) = op {
                let (family, start, end) = (*family, start.clone(), end.clone());
                self.faults.on_removal(&FamilyRange { family, start, end });
            }
        }
        self.store.write().write(batch);
    }
}

impl MemEngine {
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine behind the trait's pointer.
    pub fn shared() -> Arc<dyn Engine> {
        Arc::new(Self::new())
    }

    /// What a crash leaves: the state as of the last flush (or ingest). Snapshots taken before must not be used after.
    pub fn crash(&self) {
        self.shared.store.write().fall_back();
    }

    /// Batches since the last flush, i.e. what [`MemEngine::crash`] would take back.
    pub fn unflushed(&self) -> u64 {
        self.shared.store.read().unflushed()
    }

    /// Lets the operations of one sort fail until told otherwise.
    pub fn fail(&self, fault: MemFault, on: bool) {
        self.shared.faults.set(fault, on);
    }

    /// Blocks writers and flushes on their threads until told otherwise. Not for single-threaded simulation, where
    /// nobody would be left to end it.
    pub fn stall(&self, on: bool) {
        self.shared.faults.stall(on);
    }

    /// Reads of this key meet a corrupt block from now on, until the block is gone.
    pub fn corrupt(&self, family: Family, key: &[u8], on: bool) {
        self.shared.faults.corrupt(family, key, on);
    }

    /// The rows of one block, as many, become corrupt: those from the `place`th of the family on, counted round.
    pub fn corrupt_block(&self, family: Family, place: u64, rows: usize) {
        let all: Vec<Bytes> =
            self.dump().into_iter().filter(|(of, ..)| *of == family).map(|(_, key, _)| key).collect();
        let first = place as usize % all.len().max(1);
        all.iter().skip(first).take(rows).for_each(|key| self.corrupt(family, key, true));
    }

    /// Everything in the engine, in order; for comparing replicas.
    pub fn dump(&self) -> Vec<(Family, Bytes, Bytes)> {
        self.shared.store.read().dump()
    }
}

impl Engine for MemEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.shared.faults.on_read(family, key)?;
        Ok(self.shared.store.read().get_newest(family, key))
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(MemSnapshot::new(self.shared.clone()))
    }

    fn write(&self, batch: &WriteBatch) -> Result<()> {
        self.shared.faults.on_write()?;
        self.shared.write(batch);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.shared.faults.on_flush()?;
        self.shared.store.write().flush();
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.shared.faults.is_on(MemFault::Full)
    }

    fn is_strained(&self) -> bool {
        self.shared.faults.is_on(MemFault::Strained)
    }

    fn on_damage(&self, told: OnDamage) {
        self.shared.faults.damage.tell(told);
    }

    fn broken(&self) -> Option<StorageError> {
        None
    }

    fn size(&self, range: &FamilyRange) -> Result<u64> {
        Ok(self.shared.store.read().size(range))
    }

    fn ingest(&self) -> Result<Box<dyn Ingest>> {
        Ok(Box::new(MemIngest { engine: self.clone(), rows: WriteBatch::new(), last: Default::default() }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct MemIngest {
    engine: MemEngine,
    rows: WriteBatch,
    last: [Option<Bytes>; 4],
}

impl Ingest for MemIngest {
    fn add(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        let last = &mut self.last[family as usize];
        if last.as_ref().is_some_and(|last| key <= &last[..]) {
            return Err(StorageError::Misuse("ingested keys must rise".into()));
        }
        let key = Bytes::copy_from_slice(key);
        *last = Some(key.clone());
        self.rows.put(family, key, Bytes::copy_from_slice(value));
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        self.engine.shared.faults.on_seal()
    }

    fn commit(self: Box<Self>, replace: &[FamilyRange], batch: &WriteBatch) -> Result<()> {
        let faults = &self.engine.shared.faults;
        faults.on_write()?;
        faults.on_flush()?;
        let mut all = WriteBatch::new();
        for range in replace.iter().filter(|_| !planted!("storage.ingest_keeps_what_it_replaces")) {
            all.delete_range(range.clone());
        }
        all.extend(self.rows);
        all.extend(batch.clone());
        self.engine.shared.write(&all);
        self.engine.shared.store.write().flush();
        Ok(())
    }
}
