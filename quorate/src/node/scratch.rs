//! Where large transactions keep their changes until they commit: `DATA/scratch`.

use quorate_storage::{ScratchDir, ScratchFiles, StorageError};
use quorate_txn::{
    Scratch, ScratchError, ScratchStore,
    scratch::{Pair, Result},
};
use std::sync::Arc;

pub struct OnDisk(pub ScratchDir);

struct Store(ScratchFiles);

fn failed(error: StorageError) -> ScratchError {
    ScratchError(error.to_string())
}

impl Scratch for OnDisk {
    fn open(&self) -> Result<Arc<dyn ScratchStore>> {
        Ok(Arc::new(Store(self.0.store().map_err(failed)?)))
    }
}

impl ScratchStore for Store {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.put(key, value).map_err(failed)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.delete(key).map_err(failed)
    }

    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>> {
        self.0.get(key).map_err(failed)
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<Pair>> + Send + '_> {
        match self.0.range(start, end, reverse) {
            Ok(pairs) => Box::new(pairs.map(|pair| pair.map_err(failed))),
            Err(error) => Box::new(std::iter::once(Err(failed(error)))),
        }
    }
}
