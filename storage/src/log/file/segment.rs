//! Segment files: preallocated, written front to back, recycled.
//!
//! A file begins with a block of 4 KiB: `magic "QRTLOG01" | generation u64 | first sequence u64 | crc32c u32 of these`,
//! the rest zero. A free file has no valid header. Blocks are written once with zeros before use: appending then changes
//! neither the file's size nor its extents, and `fdatasync` waits for one write instead of a journal commit as well.

use super::disk::Disk;
use crate::{Result, StorageError};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"QRTLOG01";
/// Where frames begin.
pub(super) const FIRST_FRAME: u64 = 4096;
const SUFFIX: &str = "qlog";

/// A file that is written to or holds what is needed.
pub(super) struct Segment {
    pub generation: u64,
    pub file: LogFile,
}

/// A file of the log, in whatever state.
pub(super) struct LogFile {
    pub path: PathBuf,
    pub size: u64,
    file: File,
}

impl Segment {
    /// Reads one payload and checks it.
    pub fn read(&self, offset: u64, length: u32, crc: u32) -> Result<bytes::Bytes> {
        let mut raw = vec![0; length as usize];
        self.file.file.read_exact_at(&mut raw, offset).map_err(|e| self.file.failed("read", e))?;
        if crc32c::crc32c(&raw) != crc && !quorate_env::planted!("storage.damaged_entries_served") {
            let place = format!("{} at {offset}", self.file.path.display());
            return Err(StorageError::Corruption(format!("log entry fails its checksum: {place}")));
        }
        Ok(raw.into())
    }
}

impl LogFile {
    /// A free file of the given size, zeroed and synced.
    pub fn create(dir: &Path, number: u64, size: u64, disk: &Disk) -> Result<LogFile> {
        let path = dir.join(format!("{number:08}.{SUFFIX}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|e| StorageError::harmless(&format!("create {}", path.display()), &e))?;
        let file = LogFile { path, size, file };
        let filled = file.fill(disk).and_then(|()| sync_dir(dir));
        if filled.is_err() {
            // What there is of it would only take the space that it lacks.
            file.remove();
        }
        filled.map(|()| file)
    }

    fn fill(&self, disk: &Disk) -> Result<()> {
        let failed = |what: &str, e: std::io::Error| {
            StorageError::harmless(&format!("{what} {}", self.path.display()), &e)
        };
        disk.allocate(&self.path, || allocate(&self.file, self.size))
            .map_err(|e| failed("preallocate", e))?;
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < self.size {
            let part = zeros.len().min((self.size - at) as usize);
            self.file.write_all_at(&zeros[..part], at).map_err(|e| failed("zero", e))?;
            at += part as u64;
        }
        // Nothing rests on the file yet.
        disk.sync(&self.file, &self.path).map_err(|e| failed("sync", e))
    }

    pub fn open(path: PathBuf) -> Result<LogFile> {
        let failed = |e| StorageError::io(&format!("open {}", path.display()), e);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok(LogFile { path, size, file })
    }

    /// All of it.
    pub fn content(&self) -> Result<Vec<u8>> {
        self.front(self.size)
    }

    /// The first block.
    pub fn head(&self) -> Result<Vec<u8>> {
        self.front(self.size.min(FIRST_FRAME))
    }

    fn front(&self, length: u64) -> Result<Vec<u8>> {
        let mut raw = vec![0; length as usize];
        self.file.read_exact_at(&mut raw, 0).map_err(|e| self.failed("read", e))?;
        Ok(raw)
    }

    pub fn number(&self) -> u64 {
        self.path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap_or(0)
    }

    /// May be done again after an error, with the same bytes.
    pub fn write(&self, raw: &[u8], at: u64, disk: &Disk) -> Result<()> {
        let failed = |e| StorageError::harmless(&format!("write {}", self.path.display()), &e);
        disk.write(&self.file, &self.path, raw, at).map_err(failed)
    }

    /// After an error nobody knows what the disk holds, also if it was full.
    pub fn sync(&self, disk: &Disk) -> Result<()> {
        disk.sync(&self.file, &self.path).map_err(|e| self.failed("sync", e))
    }

    /// Makes it a free file, durably: nothing in it is found again.
    pub fn release(&self, disk: &Disk) -> Result<()> {
        self.write(&[0; 64], 0, disk)?;
        self.sync(disk)
    }

    pub fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a log file that is not needed stays");
        }
    }

    fn failed(&self, what: &str, error: std::io::Error) -> StorageError {
        StorageError::io(&format!("{what} {}", self.path.display()), error)
    }
}

/// A segment's first block.
pub(super) fn header(generation: u64, first_sequence: u64) -> Vec<u8> {
    let mut raw = vec![0; FIRST_FRAME as usize];
    raw[..8].copy_from_slice(MAGIC);
    raw[8..16].copy_from_slice(&generation.to_le_bytes());
    raw[16..24].copy_from_slice(&first_sequence.to_le_bytes());
    let crc = crc32c::crc32c(&raw[..24]);
    raw[24..28].copy_from_slice(&crc.to_le_bytes());
    raw
}

/// Generation and first sequence, if the file is in use.
pub(super) fn parse_header(raw: &[u8]) -> Option<(u64, u64)> {
    let raw = raw.get(..28)?;
    let word = |at: usize| Some(u64::from_le_bytes(raw[at..at + 8].try_into().ok()?));
    let crc = u32::from_le_bytes(raw[24..28].try_into().ok()?);
    (&raw[..8] == MAGIC && crc32c::crc32c(&raw[..24]) == crc).then_some((word(8)?, word(16)?))
}

/// What a file looks like that is not in use.
pub(super) fn is_free_header(raw: &[u8]) -> bool {
    raw.iter().take(64).all(|byte| *byte == 0)
}

/// All log files of the directory, by name.
pub(super) fn list(dir: &Path) -> Result<Vec<LogFile>> {
    let failed = |e| StorageError::io(&format!("list {}", dir.display()), e);
    let mut paths = Vec::new();
    for found in std::fs::read_dir(dir).map_err(failed)? {
        let path = found.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == SUFFIX) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(LogFile::open).collect()
}

fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|e| StorageError::io(&format!("sync {}", dir.display()), e))
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    let outcome = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size as libc::off_t) };
    match outcome {
        0 => Ok(()),
        // The file system cannot; writing the zeros allocates as well.
        libc::EOPNOTSUPP | libc::EINVAL => file.set_len(size),
        error => Err(std::io::Error::from_raw_os_error(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    file.set_len(size)
}

/// Segments by generation.
pub(super) type Segments = std::collections::BTreeMap<u64, Arc<Segment>>;
