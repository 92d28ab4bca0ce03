//! The durable log: preallocated, recycled segment files and one writer thread for all groups of the node.

use super::SpawnThread;
use crate::{LogStore, Result};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct FileLogOptions {
    /// Bytes of a segment file.
    pub segment_size: u64,
    /// Bytes of payload kept in memory for reading back, over all groups.
    pub cache: usize,
}

impl Default for FileLogOptions {
    fn default() -> Self {
        FileLogOptions { segment_size: 32 << 20, cache: 32 << 20 }
    }
}

pub struct FileLog;

impl FileLog {
    /// Opens or creates the log in the directory. Fails with [`crate::StorageError::Corruption`] if something that was
    /// acknowledged does not read back.
    pub fn open(path: &Path, options: FileLogOptions, spawn: SpawnThread<'_>) -> Result<Arc<dyn LogStore>> {
        let _ = (path, options, spawn);
        todo!()
    }
}
