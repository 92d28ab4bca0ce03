//! Failures on demand.

use crate::engine::damage::Watch;
use crate::engine::{Family, FamilyRange};
use crate::{Result, StorageError};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;

/// Sorts of operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemFault {
    Reads,
    Writes,
    Flushes,
    /// There is no space: flushes and ingests fail until there is. What is written meanwhile stays in memory.
    Full,
    /// [`super::super::Engine::is_strained`]; nothing fails.
    Strained,
}

#[derive(Default)]
pub(super) struct Faults {
    state: Mutex<State>,
    resumed: Condvar,
    pub damage: Watch,
}

#[derive(Default)]
struct State {
    failing: BTreeSet<MemFault>,
    stalled: bool,
    corrupt: BTreeSet<(Family, Bytes)>,
}

impl Faults {
    pub fn set(&self, fault: MemFault, on: bool) {
        let mut state = self.state.lock();
        if on {
            state.failing.insert(fault);
        } else {
            state.failing.remove(&fault);
        }
    }

    pub fn is_on(&self, fault: MemFault) -> bool {
        self.state.lock().failing.contains(&fault)
    }

    pub fn stall(&self, on: bool) {
        self.state.lock().stalled = on;
        self.resumed.notify_all();
    }

    pub fn corrupt(&self, family: Family, key: &[u8], on: bool) {
        let (mut state, key) = (self.state.lock(), (family, Bytes::copy_from_slice(key)));
        if on {
            state.corrupt.insert(key);
        } else {
            state.corrupt.remove(&key);
        }
    }

    /// What was stored there is gone, and its blocks with it.
    pub fn on_removal(&self, range: &FamilyRange) {
        let corrupt = &mut self.state.lock().corrupt;
        corrupt.retain(|(family, key)| *family != range.family || !range.contains(key));
    }

    pub fn on_read(&self, family: Family, key: &[u8]) -> Result<()> {
        self.damage.note(self.read(family, key), family, key)
    }

    fn read(&self, family: Family, key: &[u8]) -> Result<()> {
        let state = self.state.lock();
        if state.failing.contains(&MemFault::Reads) {
            return Err(StorageError::Injected("read"));
        }
        if !state.corrupt.is_empty() && state.corrupt.contains(&(family, Bytes::copy_from_slice(key))) {
            return Err(StorageError::corrupt("block checksum mismatch (injected)"));
        }
        Ok(())
    }

    pub fn on_write(&self) -> Result<()> {
        self.wait_and_check(MemFault::Writes, "write")
    }

    pub fn on_seal(&self) -> Result<()> {
        if self.is_on(MemFault::Full) { Err(StorageError::NoSpace("injected".into())) } else { Ok(()) }
    }

    pub fn on_flush(&self) -> Result<()> {
        self.on_seal()?;
        self.wait_and_check(MemFault::Flushes, "flush")
    }

    fn wait_and_check(&self, fault: MemFault, name: &'static str) -> Result<()> {
        let mut state = self.state.lock();
        while state.stalled {
            self.resumed.wait(&mut state);
        }
        if state.failing.contains(&fault) { Err(StorageError::Injected(name)) } else { Ok(()) }
    }
}
