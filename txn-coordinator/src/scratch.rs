//! Room outside memory for what transactions hold.

use bytes::Bytes;
use parking_lot::RwLock;
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// The room is full, or does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has no room for the transaction's changes: {0}")]
pub struct ScratchError(pub String);

pub type Result<T> = std::result::Result<T, ScratchError>;

/// Where a node keeps what does not belong into memory and need not outlive the process.
pub trait Scratch: Send + Sync {
    /// An empty store of its own, gone when it is dropped.
    fn open(&self) -> Result<Arc<dyn ScratchStore>>;
}

pub type Pair = (Bytes, Bytes);

/// Ordered pairs of bytes. All methods may block on the disk for a moment.
pub trait ScratchStore: Send + Sync {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;

    fn delete(&self, key: &[u8]) -> Result<()>;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// All pairs in `[start, end)` as they are now, in key order or against it. After an error comes nothing more.
    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<Pair>> + Send + '_>;
}

/// Room in memory after all: for tests, and nodes without a disk.
#[derive(Default)]
pub struct MemoryScratch;

#[derive(Default)]
struct MemoryStore(RwLock<BTreeMap<Bytes, Bytes>>);

impl Scratch for MemoryScratch {
    fn open(&self) -> Result<Arc<dyn ScratchStore>> {
        Ok(Arc::new(MemoryStore::default()))
    }
}

impl ScratchStore for MemoryStore {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.write().insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.write().remove(key);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.read().get(key).cloned())
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<Pair>> + Send + '_> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let all = self.0.read();
        let within = all.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        let mut pairs: Vec<_> = within.map(|(key, value)| Ok((key.clone(), value.clone()))).collect();
        if reverse {
            pairs.reverse();
        }
        Box::new(pairs.into_iter())
    }
}
