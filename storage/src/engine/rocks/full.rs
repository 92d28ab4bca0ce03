//! A full disk under RocksDB.
//!
//! When a flush finds no space, RocksDB keeps what it wanted to flush in memory and refuses writes; reads go on. It looks for
//! space every five seconds by itself (its `SstFileManager`), flushes, and takes writes again. So nothing is lost and nothing
//! grows. What is left to do here is to wait, since a write that is refused has had no effect and must come before all that were
//! to follow it; and to ask for no flushes meanwhile, because RocksDB looks for space only when none is under way.

use crate::{Result, StorageError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whether RocksDB's message is that of a full disk; its interface tells no more.
pub(super) fn says_so(error: &rocksdb::Error) -> bool {
    error.as_ref().contains("No space left on device")
}

#[derive(Default)]
pub(super) struct Full(AtomicBool);

impl Full {
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes how a call ended that needs space.
    pub fn note<T>(&self, outcome: Result<T>) -> Result<T> {
        let full = matches!(outcome, Err(StorageError::NoSpace(_)));
        if full == self.is_full() || (outcome.is_err() && !full) {
            return outcome;
        }
        self.0.store(full, Ordering::Relaxed);
        match &outcome {
            Err(error) => tracing::warn!(%error, "the disk is full: the engine takes no writes"),
            Ok(_) => tracing::info!("the engine takes writes again: there is space"),
        }
        outcome
    }

    /// Makes the call, again and again while there is no space for it.
    pub fn wait_out<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        match self.note(call()) {
            Err(StorageError::NoSpace(_)) => self.wait(call),
            outcome => outcome,
        }
    }

    #[cold]
    fn wait<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        aside(|| {
            loop {
                quorate_env::count!("quorate_storage_engine_no_space_total");
                pause();
                match self.note(call()) {
                    Err(StorageError::NoSpace(_)) => {}
                    outcome => return outcome,
                }
            }
        })
    }
}

/// Blocks without holding up other tasks of the runtime whose thread this is.
fn aside<T>(body: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(body),
        _ => body(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread that waits for a real disk")]
fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}
