//! Ordered pairs on the disk that nobody needs after a crash: what is too large for memory, for a while.

use super::failed;
use crate::{Result, StorageError};
use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIteratorWithThreadMode, LogLevel, LruCacheOptions,
    Options, ReadOptions, WriteBufferManager, WriteOptions,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the blocks that all stores together have in memory, and of what they have not written to the disk yet.
const CACHE: usize = 8 << 20;
const WRITE_BUFFERS: usize = 16 << 20;

/// A directory of stores, each a RocksDB of its own.
pub struct ScratchDir {
    path: PathBuf,
    options: Options,
    next: AtomicU64,
}

impl ScratchDir {
    /// Takes the directory over; what an earlier process has left there goes.
    pub fn open(path: &Path) -> Result<Self> {
        if path.exists() {
            std::fs::remove_dir_all(path).map_err(|e| StorageError::io("clear scratch space", e))?;
        }
        std::fs::create_dir_all(path).map_err(|e| StorageError::io("create scratch space", e))?;
        Ok(ScratchDir { path: path.to_owned(), options: options(), next: AtomicU64::new(0) })
    }

    /// A new store, empty.
    pub fn store(&self) -> Result<ScratchFiles> {
        let path = self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let db = DB::open(&self.options, &path).map_err(|e| failed("open scratch space", e))?;
        Ok(ScratchFiles { db: Some(db), path })
    }
}

fn options() -> Options {
    let mut lru = LruCacheOptions::default();
    lru.set_capacity(CACHE);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache_opts(&lru));
    table.set_block_size(16 << 10);
    // Most keys that a transaction asks for are not among its own.
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(WRITE_BUFFERS, false));
    options.set_write_buffer_size(WRITE_BUFFERS / 4);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_open_files(64);
    options.set_log_level(LogLevel::Error);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// One store; its files go when it is dropped.
pub struct ScratchFiles {
    /// Always there until dropped.
    db: Option<DB>,
    path: PathBuf,
}

impl ScratchFiles {
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db()?.put_opt(key, value, &unlogged()).map_err(|e| failed("write to scratch space", e))
    }

    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.db()?.delete_opt(key, &unlogged()).map_err(|e| failed("write to scratch space", e))
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.db()?.get_pinned(key).map_err(|e| failed("read scratch space", e))?;
        Ok(found.map(|slice| Bytes::copy_from_slice(&slice)))
    }

    /// All pairs in `[start, end)` as they are now. After an error comes nothing more.
    pub fn range(&self, start: &[u8], end: &[u8], reverse: bool) -> Result<ScratchRange<'_>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(start);
        options.set_iterate_upper_bound(end.max(start));
        let mut iter = self.db()?.raw_iterator_opt(options);
        if reverse {
            iter.seek_to_last()
        } else {
            iter.seek_to_first()
        }
        Ok(ScratchRange { iter, reverse, over: false })
    }

    fn db(&self) -> Result<&DB> {
        self.db.as_ref().ok_or_else(|| StorageError::Dead("closed".into()))
    }
}

impl Drop for ScratchFiles {
    fn drop(&mut self) {
        self.db = None;
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "scratch space is left behind");
        }
    }
}

/// Nobody needs it after a crash.
fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

pub struct ScratchRange<'a> {
    iter: DBRawIteratorWithThreadMode<'a, DB>,
    reverse: bool,
    over: bool,
}

impl Iterator for ScratchRange<'_> {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let Some((key, value)) = self.iter.item() else {
            self.over = true;
            return self.iter.status().err().map(|error| Err(failed("read scratch space", error)));
        };
        let pair = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        if self.reverse {
            self.iter.prev()
        } else {
            self.iter.next()
        }
        Some(Ok(pair))
    }
}
