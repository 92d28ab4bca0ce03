//! The system calls by which the log writes, where tests can get in between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCall {
    /// Space for a new file.
    Allocate,
    Write,
    Sync,
}

/// Called ahead of each of these, from the thread that makes it; an error is taken for the disk's, and half of what a write
/// should have written is on it then. May also wait.
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

    /// For the thread that makes files ahead: only the allocations are anybody's business.
    pub fn of_files_ahead(fault: Option<DiskFault>) -> Self {
        let only_space = |fault: DiskFault| -> DiskFault {
            Arc::new(move |call, path| if call == DiskCall::Allocate { fault(call, path) } else { Ok(()) })
        };
        Disk::new(fault.map(only_space))
    }

    fn check(&self, call: DiskCall, path: &Path) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault(call, path))
    }

    pub fn write(&self, file: &File, path: &Path, raw: &[u8], at: u64) -> io::Result<()> {
        if let Err(error) = self.check(DiskCall::Write, path) {
            file.write_all_at(&raw[..raw.len() / 2], at)?;
            return Err(error);
        }
        file.write_all_at(raw, at)
    }

    pub fn allocate(&self, path: &Path, call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.check(DiskCall::Allocate, path)?;
        call()
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
