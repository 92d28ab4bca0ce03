//! The two system calls of the log's hot path, where tests can get in between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCall {
    Write,
    Sync,
}

/// Called ahead of each write and fsync of a file, from the thread that makes it; an error is taken for the disk's. May
/// also wait.
pub type DiskFault = Arc<dyn Fn(DiskCall, &Path) -> io::Result<()> + Send + Sync>;

#[derive(Default)]
pub(super) struct Disk {
    fault: Option<DiskFault>,
    syncs: AtomicU64,
}

impl Disk {
    pub fn new(fault: Option<DiskFault>) -> Self {
        Disk { fault, syncs: AtomicU64::new(0) }
    }

    fn check(&self, call: DiskCall, path: &Path) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault(call, path))
    }

    pub fn write(&self, file: &File, path: &Path, raw: &[u8], at: u64) -> io::Result<()> {
        self.check(DiskCall::Write, path)?;
        file.write_all_at(raw, at)
    }

    pub fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.check(DiskCall::Sync, path)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data()
    }

    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}
