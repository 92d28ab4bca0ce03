//! The durable log: preallocated, recycled segment files and one writer thread for all groups of the node.
//!
//! A call changes the index in memory ([`index`]) and queues the same change for the writer ([`writer`]), which takes all
//! that waits into one frame ([`frame`], [`record`]), writes it to the current segment ([`segment`]), waits for the disk
//! once, and calls everyone back. Old segments are recycled ([`reclaim`]); [`recovery`] reads everything back at start. A
//! group that does nothing costs nothing: there are no timers, except for the 20 ms after which a lone committed mark is
//! written. `docs/log-store.md` has the reasons and the measurements.

mod disk;
mod frame;
mod index;
mod queue;
mod reclaim;
mod record;
mod recovery;
mod segment;
mod supply;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_full;
mod writer;

pub use self::disk::{DiskCall, DiskFault};

use self::disk::Disk;
use self::index::Index;
use self::queue::{Jobs, queue};
use self::segment::{FIRST_FRAME, Segment};
use self::supply::Supply;
use self::writer::{Job, Writer};
use super::group::{GroupLog, LogOp};
use super::{Done, GroupKey, LogEntry, LogState, LogStore, SpawnThread};
use crate::{Result, StorageError};
use bytes::Bytes;
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use quorate_proto::LogPosition;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

#[derive(Clone)]
pub struct FileLogOptions {
    /// Bytes of a segment file.
    pub segment_size: u64,
    /// Bytes of payload kept in memory for reading back, over all groups.
    pub cache: usize,
    /// For tests: gets in between the log and the disk.
    pub fault: Option<DiskFault>,
}

impl Default for FileLogOptions {
    fn default() -> Self {
        FileLogOptions { segment_size: 32 << 20, cache: 32 << 20, fault: None }
    }
}

pub struct FileLog {
    shared: Arc<Shared>,
    jobs: Jobs<Job>,
}

struct Shared {
    index: Mutex<Index>,
    disk: Disk,
    dead: OnceLock<StorageError>,
    /// The writer waits for space.
    stuck: AtomicBool,
    /// Locked for as long as the writer lives, so that nobody else opens the log.
    lock: Mutex<Option<File>>,
}

impl Shared {
    /// The first cause of death stands.
    fn die(&self, error: StorageError) -> StorageError {
        let error = match error {
            StorageError::Dead(_) => error,
            other => StorageError::Dead(other.to_string()),
        };
        self.dead.get_or_init(|| error).clone()
    }

    fn unlock(&self) {
        *self.lock.lock() = None;
    }
}

impl FileLog {
    /// Opens or creates the log in the directory. Fails with [`StorageError::Corruption`] if something that was
    /// acknowledged does not read back; the node's replicas must then be rebuilt under new ids. To be closed with
    /// [`LogStore::close`] before it can be opened again in the same process.
    pub fn open(path: &Path, options: FileLogOptions, spawn: SpawnThread<'_>) -> Result<Arc<dyn LogStore>> {
        std::fs::create_dir_all(path).map_err(|e| StorageError::io("create the log's directory", e))?;
        let lock = lock(path)?;
        let ahead = Disk::of_files_ahead(options.fault.clone());
        let disk = Disk::new(options.fault);
        let recovered = recovery::recover(path)?;
        let segment_size = options.segment_size.max(4 * FIRST_FRAME);
        let mut supply =
            Supply::start(path, recovered.file_number, segment_size, recovered.free, ahead, spawn)?;

        // Never on in a file whose end may be torn: a new file, whose generation no old frame has.
        let file = supply.take(segment_size, &disk)?;
        file.write(&segment::header(recovered.generation, recovered.sequence), 0, &disk)?;
        file.sync(&disk)?;
        let active = Arc::new(Segment { generation: recovered.generation, file });
        let mut index = Index::new(options.cache);
        index.groups = recovered.groups;
        index.segments = recovered.segments;
        let sealed = index.segments.keys().copied().collect();
        index.segments.insert(active.generation, active.clone());

        let shared = Arc::new(Shared {
            index: Mutex::new(index),
            disk,
            dead: OnceLock::new(),
            stuck: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        });
        let (jobs, work) = queue();
        let writer = Writer {
            shared: shared.clone(),
            active,
            at: FIRST_FRAME,
            sequence: recovered.sequence,
            synced: recovered.sequence - 1,
            sealed,
            live: recovered.live,
            kept: recovered.kept,
            marks: Default::default(),
            supply,
            segment_size,
            frame: Vec::new(),
            held: VecDeque::new(),
            unreadable: false,
        };
        spawn("log-writer", Box::new(move || writer.run(&work)))
            .map_err(|e| StorageError::io("start a thread", e))?;
        Ok(Arc::new(FileLog { shared, jobs }))
    }

    fn submit(&self, group: GroupKey, op: LogOp, done: Option<Done>) {
        if let Some(error) = self.dead() {
            return refuse(done, error);
        }
        // The lock is held while queueing: the writer must meet a group's operations in the order of the index.
        let mut index = self.shared.index.lock();
        match index.apply(group, &op) {
            Ok((ticket, freed)) => {
                let job = Job::Op { group, op, ticket, freed, done };
                if let Err(Job::Op { done, .. }) = self.jobs.send(job) {
                    drop(index);
                    refuse(
                        done,
                        self.dead().unwrap_or_else(|| StorageError::Dead("the writer is gone".into())),
                    );
                }
            }
            Err(error) => {
                drop(index);
                refuse(done, error);
            }
        }
    }

    fn with_group<T>(
        &self,
        group: GroupKey,
        look: impl FnOnce(&GroupLog<index::FileSlot>) -> T,
    ) -> Option<T> {
        self.shared.index.lock().groups.get(&group).map(look)
    }
}

fn refuse(done: Option<Done>, error: StorageError) {
    if let Some(done) = done {
        done(Err(error));
    }
}

fn lock(path: &Path) -> Result<File> {
    let failed = |e| StorageError::io("lock the log", e);
    let file = File::create(path.join("LOCK")).map_err(failed)?;
    file.try_lock().map_err(|e| StorageError::io("the log is in use", e))?;
    Ok(file)
}

/// The writer ends by itself, after what waits.
impl Drop for FileLog {
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::Close(Box::new(|_| ())));
    }
}

impl LogStore for FileLog {
    fn append(&self, group: GroupKey, entries: Vec<LogEntry>, done: Done) {
        self.submit(group, LogOp::Append(entries), Some(done));
    }

    fn save_vote(&self, group: GroupKey, vote: Bytes, done: Done) {
        self.submit(group, LogOp::Vote(vote), Some(done));
    }

    fn save_committed(&self, group: GroupKey, committed: LogPosition) {
        self.submit(group, LogOp::Committed(committed), None);
    }

    fn truncate_from(&self, group: GroupKey, index: u64, done: Done) {
        self.submit(group, LogOp::TruncateFrom(index), Some(done));
    }

    fn purge_to(&self, group: GroupKey, to: LogPosition, done: Done) {
        self.submit(group, LogOp::PurgeTo(to), Some(done));
    }

    fn install(&self, group: GroupKey, at: LogPosition, vote: Option<Bytes>, done: Done) {
        self.submit(group, LogOp::Install(at, vote), Some(done));
    }

    fn remove_group(&self, group: GroupKey, done: Done) {
        self.submit(group, LogOp::Remove, Some(done));
    }

    fn read(&self, group: GroupKey, range: Range<u64>, max_bytes: u64) -> Result<Vec<LogEntry>> {
        let found = self.shared.index.lock().find(group, range, max_bytes);
        found.into_iter().map(index::Found::load).collect()
    }

    fn state(&self, group: GroupKey) -> LogState {
        self.with_group(group, GroupLog::state).unwrap_or_default()
    }

    fn groups(&self) -> Vec<GroupKey> {
        self.shared.index.lock().groups.keys().copied().collect()
    }

    fn term_at(&self, group: GroupKey, index: u64) -> Option<u64> {
        self.with_group(group, |log| log.term_at(index)).flatten()
    }

    fn dead(&self) -> Option<StorageError> {
        self.shared.dead.get().cloned()
    }

    fn is_stuck(&self) -> bool {
        self.shared.stuck.load(Ordering::Relaxed)
    }

    fn fsyncs(&self) -> u64 {
        self.shared.disk.syncs()
    }

    fn close(&self) {
        let (tell, told) = bounded(1);
        let done = Box::new(move |_| {
            let _ = tell.send(());
        });
        if self.jobs.send(Job::Close(done)).is_ok() {
            // An error means that the writer has ended already.
            let _ = told.recv();
        }
    }
}
