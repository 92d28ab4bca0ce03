//! Free files: one is always ready, made by a thread of its own, because zeroing takes long.

use super::disk::Disk;
use super::segment::LogFile;
use crate::log::SpawnThread;
use crate::{Result, StorageError};
use crossbeam::channel::{Receiver, Sender, unbounded};
use std::path::{Path, PathBuf};

/// Free files kept for later.
const SPARE: usize = 2;

pub(super) struct Supply {
    dir: PathBuf,
    next_number: u64,
    size: u64,
    free: Vec<LogFile>,
    orders: Sender<u64>,
    made: Receiver<Result<LogFile>>,
    ordered: bool,
}

impl Supply {
    pub fn start(
        dir: &Path,
        next_number: u64,
        size: u64,
        free: Vec<LogFile>,
        disk: Disk,
        spawn: SpawnThread<'_>,
    ) -> Result<Self> {
        let (orders, ordered) = unbounded();
        let (deliver, made) = unbounded();
        let place = dir.to_owned();
        let work = move || {
            for number in ordered {
                if deliver.send(LogFile::create(&place, number, size, &disk)).is_err() {
                    break;
                }
            }
        };
        spawn("log-files", Box::new(work)).map_err(|e| StorageError::io("start a thread", e))?;
        let mut supply =
            Supply { dir: dir.to_owned(), next_number, size, free: Vec::new(), orders, made, ordered: false };
        for file in free {
            supply.give_back(file);
        }
        Ok(supply)
    }

    /// A free file of at least `size` bytes. May be asked for again when there was no space for it.
    pub fn take(&mut self, size: u64, disk: &Disk) -> Result<LogFile> {
        if size > self.size {
            return self.make(size, disk);
        }
        let file = match self.free.pop() {
            Some(file) => file,
            None if std::mem::take(&mut self.ordered) => {
                match self.made.recv().map_err(|e| StorageError::io("wait for a log file", e))? {
                    // There may be space by now.
                    Err(StorageError::NoSpace(_)) => self.make(self.size, disk)?,
                    made => made?,
                }
            }
            None => self.make(self.size, disk)?,
        };
        if self.free.is_empty() && !self.ordered {
            let number = self.number();
            self.ordered = self.orders.send(number).is_ok();
        }
        Ok(file)
    }

    fn make(&mut self, size: u64, disk: &Disk) -> Result<LogFile> {
        let number = self.number();
        LogFile::create(&self.dir, number, size, disk)
    }

    /// A file that is free again; one too many, or of an unusual size, is deleted.
    pub fn give_back(&mut self, file: LogFile) {
        if file.size == self.size && self.free.len() < SPARE {
            self.free.push(file);
        } else {
            file.remove();
        }
    }

    /// Waits until no file is being made: the next to open the directory may use the same numbers.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.ordered) {
            // A file that could not be made is missed by nobody now.
            let _ = self.made.recv();
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }
}
