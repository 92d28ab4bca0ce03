//! Who is told of blocks that do not read back. Nothing of such a block is ever served; whoever wanted to read it gets
//! [`StorageError::Corruption`], and besides somebody is told who knows whose keys these are.

use super::Family;
use crate::{Result, StorageError};
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;

/// A block did not read back when a key was looked for; or, where several were wanted, one in the range that begins there.
#[derive(Clone, Debug)]
pub struct Damage {
    pub family: Family,
    pub key: Bytes,
    /// Says which file, and where in it, as far as that is known.
    pub error: StorageError,
}

pub type OnDamage = Arc<dyn Fn(Damage) + Send + Sync>;

#[derive(Default)]
pub(super) struct Watch(RwLock<Option<OnDamage>>);

impl Watch {
    pub fn tell(&self, told: OnDamage) {
        *self.0.write() = Some(told);
    }

    /// Notes how a reading call ended that began at the key.
    pub fn note<T>(&self, outcome: Result<T>, family: Family, key: &[u8]) -> Result<T> {
        if let Err(error @ StorageError::Corruption(_)) = &outcome {
            self.met(family, key, error.clone());
        }
        outcome
    }

    #[cold]
    fn met(&self, family: Family, key: &[u8], error: StorageError) {
        quorate_env::count!("quorate_storage_damaged_reads_total");
        let told = self.0.read().clone();
        if let Some(told) = told {
            told(Damage { family, key: Bytes::copy_from_slice(key), error });
        }
    }
}
