//! The durable engine, on RocksDB.
//!
//! All families share one column family; the first byte of a raw key is the family. So one memtable holds them all: what
//! a flush or a crash leaves is a prefix of the batches by construction, and an ingest of several files is atomic over the
//! families (RocksDB's C interface cannot ingest into several column families at once). It also means one write buffer
//! instead of four, and fewer, larger files.
//!
//! RocksDB's own write-ahead log is off: the Raft log is the log (DESIGN §5).

mod full;
mod ingest;
mod options;
mod rewrite;
mod scratch;
mod view;

use self::full::Full;
use self::ingest::RocksIngest;
pub use self::options::RocksOptions;
pub use self::scratch::{ScratchDir, ScratchFiles, ScratchRange};
use self::view::RocksSnapshot;
use super::damage::Watch;
use super::{Engine, Family, FamilyRange, Ingest, OnDamage, Snapshot};
use crate::{Result, StorageError, WriteBatch, WriteOp};
use bytes::Bytes;
use parking_lot::RwLock;
use quorate_env::planted;
use rocksdb::{DB, WriteOptions};
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Opens or creates the engine in the directory.
pub fn open_rocks(path: &Path, options: &RocksOptions) -> Result<Arc<dyn Engine>> {
    rewrite::if_marked(path, options)?;
    Ok(Arc::new(RocksEngine::open(path, options)?))
}

struct RocksEngine {
    inner: Arc<Inner>,
}

impl RocksEngine {
    fn open(path: &Path, options: &RocksOptions) -> Result<Self> {
        let staging = path.join("ingest");
        if staging.exists() {
            // Left by a crash before they were taken in.
            std::fs::remove_dir_all(&staging).map_err(|e| StorageError::io("clear staged files", e))?;
        }
        std::fs::create_dir_all(&staging)
            .map_err(|e| StorageError::harmless("create the engine's directory", &e))?;
        let db = DB::open(&options::database(options), path).map_err(|e| failed("open RocksDB", e))?;
        Ok(RocksEngine::over(db, path))
    }

    fn read_only(path: &Path, options: &RocksOptions) -> Result<Self> {
        let db = DB::open_for_read_only(&options::database(options), path, false);
        Ok(RocksEngine::over(db.map_err(|e| failed("open RocksDB", e))?, path))
    }

    fn over(db: DB, path: &Path) -> Self {
        let inner = Inner {
            db,
            path: path.to_owned(),
            staged: AtomicU64::new(0),
            order: RwLock::new(()),
            full: Full::default(),
            damage: Watch::default(),
            broken: OnceLock::new(),
        };
        RocksEngine { inner: Arc::new(inner) }
    }
}

/// What snapshots and ingests keep alive.
pub(super) struct Inner {
    db: DB,
    path: PathBuf,
    staged: AtomicU64,
    /// Held shared by writes, and alone by the last part of an ingest: nothing is written between the flush that
    /// precedes it and the ingest, so that a crash never keeps the ingest and loses an earlier write.
    order: RwLock<()>,
    full: Full,
    damage: Watch,
    /// Why RocksDB writes nothing any more.
    broken: OnceLock<StorageError>,
}

/// Family byte and key.
fn raw_key(family: Family, key: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(1 + key.len());
    raw.push(family as u8);
    raw.extend_from_slice(key);
    raw
}

/// The end of a range in raw keys; the next family's begin stands for the end of a family.
fn raw_end(family: Family, end: Option<&[u8]>) -> Vec<u8> {
    match end {
        Some(end) => raw_key(family, end),
        None => vec![family as u8 + 1],
    }
}

fn failed(what: &str, error: rocksdb::Error) -> StorageError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StorageError::Corruption(format!("{what}: {error}")),
        _ if full::says_so(&error) => StorageError::NoSpace(format!("{what}: {error}")),
        _ => StorageError::io(what, error),
    }
}

fn get_result(found: Result<Option<rocksdb::DBPinnableSlice<'_>>, rocksdb::Error>) -> Result<Option<Bytes>> {
    let found = found.map_err(|e| failed("get", e))?;
    Ok(found.map(|slice| Bytes::copy_from_slice(&slice)))
}

impl Inner {
    fn write(&self, batch: &WriteBatch) -> Result<()> {
        let mut rocks = rocksdb::WriteBatch::default();
        for op in &batch.ops {
            match op {
                WriteOp::Put(family, key, value) => rocks.put(raw_key(*family, key), value),
                WriteOp::Delete(family, key) => rocks.delete(raw_key(*family, key)),
                WriteOp::DeleteRange(family, start, end) => {
                    let (start, end) = (raw_key(*family, start), raw_end(*family, end.as_deref()));
                    if start < end {
                        rocks.delete_range(start, end);
                    }
                }
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        if planted!("storage.metadata_in_another_batch") {
            let of_meta = |op: &WriteOp| matches!(op, WriteOp::Put(Family::Meta, ..));
            let (meta, rest) = batch.ops.iter().cloned().partition::<Vec<_>, _>(of_meta);
            if !meta.is_empty() && !rest.is_empty() {
                self.write(&WriteBatch { ops: rest })?;
                return self.write(&WriteBatch { ops: meta });
            }
        }
        let _order = self.order.read();
        self.breaks(self.db.write_opt(rocks, &options).map_err(|e| failed("write", e)))
    }

    fn flush(&self) -> Result<()> {
        if self.full.is_full() {
            self.full.note(self.probe())?;
        }
        self.full.note(self.breaks(self.db.flush().map_err(|e| failed("flush", e))))
    }

    /// Notes how a reading call ended that began at the key.
    fn reads<T>(&self, outcome: Result<T>, family: Family, key: &[u8]) -> Result<T> {
        if let Err(error @ StorageError::Corruption(_)) = &outcome {
            rewrite::mark(&self.path, error);
        }
        self.damage.note(outcome, family, key)
    }

    /// A call that writes fails so only after RocksDB has met a damaged block in a compaction; it is over then, until the
    /// database is opened anew.
    fn breaks<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error @ StorageError::Corruption(_)) = &outcome {
            rewrite::mark(&self.path, error);
            self.broken.get_or_init(|| error.clone());
        }
        outcome
    }

    /// Whether RocksDB takes writes. (To ask it for a flush while it looks for space would only hold that up.)
    fn probe(&self) -> Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(rocksdb::WriteBatch::default(), &options).map_err(|e| failed("write", e))
    }

    /// What an ingest brings is durable at once, and so must be what was written before.
    fn flush_before_ingest(&self) -> Result<()> {
        if planted!("storage.ingest_without_flush") { Ok(()) } else { self.flush() }
    }

    fn next_staged(&self) -> PathBuf {
        self.path.join("ingest").join(format!("{}.sst", self.staged.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Engine for RocksEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let found = get_result(self.inner.db.get_pinned(raw_key(family, key)));
        self.inner.reads(found, family, key)
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(RocksSnapshot::new(self.inner.clone()))
    }

    fn write(&self, batch: &WriteBatch) -> Result<()> {
        self.inner.full.wait_out(|| self.inner.write(batch))
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn is_full(&self) -> bool {
        self.inner.full.is_full()
    }

    fn is_strained(&self) -> bool {
        let count = |name: &str| self.inner.db.property_int_value(name).ok().flatten().unwrap_or(0);
        // Slowed down or stopped for its levels; or a buffer is full while another one is being flushed.
        count("rocksdb.actual-delayed-write-rate") > 0
            || count("rocksdb.is-write-stopped") > 0
            || count("rocksdb.num-immutable-mem-table") > 1
    }

    fn on_damage(&self, told: OnDamage) {
        self.inner.damage.tell(told);
    }

    fn broken(&self) -> Option<StorageError> {
        self.inner.broken.get().cloned()
    }

    fn size(&self, range: &FamilyRange) -> Result<u64> {
        let (start, end) = (raw_key(range.family, &range.start), raw_end(range.family, range.end.as_deref()));
        if start >= end {
            return Ok(0);
        }
        Ok(self.inner.db.get_approximate_sizes(&[rocksdb::Range::new(&start, &end)]).into_iter().sum())
    }

    fn ingest(&self) -> Result<Box<dyn Ingest>> {
        Ok(Box::new(RocksIngest::new(self.inner.clone())))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
