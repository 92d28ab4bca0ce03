//! A database with damaged blocks, written anew without the shards that they belong to.
//!
//! A damaged block cannot be taken out: the next compaction that meets it ends RocksDB. So whoever meets one leaves a mark, and
//! the next opening copies all that reads back into a new database. Shards with damage stay behind as a whole: of each there is
//! a tombstone then, as of one that was destroyed, so that its log and its vote go too, and the placement driver makes another
//! copy under a new replica id. The old directory is kept beside the new one (`engine.damaged`) until the next time.
//!
//! What cannot be left behind, the only copy of a shard or what tells which shards there are, stays where it is: the database
//! is opened as it is.

use super::{RocksEngine, RocksOptions};
use crate::engine::{Engine, Family, FamilyRange, Snapshot};
use crate::meta::{self, ReplicaState};
use crate::{Result, StorageError, WriteBatch};
use quorate_proto::ShardId;
use std::path::Path;

const MARK: &str = "DAMAGED";
/// Bytes that are copied at a time.
const BATCH: usize = 1 << 20;

/// From now on the database has to be written anew.
pub(super) fn mark(path: &Path, error: &StorageError) {
    let mark = path.join(MARK);
    if mark.exists() {
        return;
    }
    if let Err(failed) = std::fs::write(&mark, format!("{error}\n")) {
        tracing::warn!(%failed, %error, "a damaged database could not be marked");
    }
}

/// Before the database is opened: writes it anew if it is marked.
pub(super) fn if_marked(path: &Path, options: &RocksOptions) -> Result<()> {
    let (new, old) = (path.with_extension("new"), path.with_extension("damaged"));
    if !path.exists() && new.exists() {
        // Between the two last steps.
        return rename(&new, path);
    }
    clear(&new)?;
    if !path.join(MARK).exists() {
        return Ok(());
    }
    let copied = RocksEngine::read_only(path, options).and_then(|from| {
        let to = RocksEngine::open(&new, options)?;
        copy(&from, &to)
    });
    match copied {
        Ok(lost) => {
            tracing::warn!(?lost, kept = %old.display(), "the engine was damaged, and is written anew without these shards");
            clear(&old)?;
            rename(path, &old)?;
            rename(&new, path)
        }
        Err(error) => {
            tracing::error!(%error, "the engine is damaged, and cannot be written anew: it is used as it is");
            clear(&new)
        }
    }
}

/// Copies all that reads back; which shards did not.
fn copy(from: &dyn Engine, to: &dyn Engine) -> Result<Vec<ShardId>> {
    let snapshot = from.snapshot();
    let everything = FamilyRange { family: Family::Meta, start: Default::default(), end: None };
    copy_range(&*snapshot, to, &everything)?;
    let mut lost = Vec::new();
    for shard in meta::shards(&*snapshot)? {
        let Some(ReplicaState::Active(id)) = meta::get(&*snapshot, shard, &meta::REPLICA)? else { continue };
        let Some(descriptor) = meta::get(&*snapshot, shard, &meta::DESCRIPTOR)? else { continue };
        let ranges = Family::KEYED.map(|family| FamilyRange::of_span(family, &descriptor.span));
        match ranges.iter().try_for_each(|range| copy_range(&*snapshot, to, range)) {
            Err(error @ StorageError::Corruption(_)) if descriptor.voters().nth(1).is_none() => {
                return Err(StorageError::Corruption(format!("the only copy of shard {shard}: {error}")));
            }
            Err(StorageError::Corruption(_)) => {
                let mut batch = WriteBatch::new();
                ranges.into_iter().for_each(|range| batch.delete_range(range));
                batch.delete_range(meta::shard_range(shard));
                meta::put(&mut batch, shard, &meta::REPLICA, &ReplicaState::Gone(id));
                to.write(&batch)?;
                lost.push(shard);
            }
            copied => copied?,
        }
    }
    to.flush()?;
    Ok(lost)
}

fn copy_range(from: &dyn Snapshot, to: &dyn Engine, range: &FamilyRange) -> Result<()> {
    let mut batch = WriteBatch::new();
    for pair in from.iter(range.family, &range.start, range.end.as_deref(), false) {
        let (key, value) = pair?;
        batch.put(range.family, key, value);
        if batch.byte_size() >= BATCH {
            to.write(&std::mem::take(&mut batch))?;
        }
    }
    to.write(&batch)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    let failed = |e| StorageError::io(&format!("rename {}", from.display()), e);
    std::fs::rename(from, to).map_err(failed)?;
    let Some(dir) = to.parent() else { return Ok(()) };
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn clear(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::io(&format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
