//! The crash-lossy log in memory, for simulation and tests.
//!
//! Each operation changes the visible state at once and waits in a queue; a *sync* moves everything that waits into the
//! durable state, in order, and calls it done. [`MemLog::new`] syncs at once; with a delay, the scheduler that was given
//! decides when, as a disk would. [`MemLog::crash`] takes back what no sync has reached.

use super::{Done, GroupKey, LogEntry, LogState, LogStore};
use crate::log::group::{Groups, LogOp};
use crate::{Result, StorageError};
use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::LogPosition;
use std::ops::Range;
use std::sync::Arc;

/// Runs the given sync later, e.g. `|sync| { env.spawn("sync", async { sleep(…).await; sync() }); }`.
pub type Later = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Clones share the same content, so that a test keeps a handle while a node uses another.
#[derive(Clone)]
pub struct MemLog {
    state: Arc<Mutex<State>>,
    later: Option<Later>,
}

#[derive(Default)]
struct State {
    visible: Groups,
    durable: Groups,
    /// What the next sync writes.
    waiting: Vec<(GroupKey, LogOp, Option<Done>)>,
    sync_ordered: bool,
    /// Lives of the process; a sync ordered in an earlier one does nothing.
    life: u64,
    stalled: bool,
    dead: Option<StorageError>,
    fsyncs: u64,
}

impl Default for MemLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemLog {
    /// Durable at once.
    pub fn new() -> Self {
        MemLog { state: Arc::default(), later: None }
    }

    /// Durable when `later` runs what it is given; operations that come in between wait for the same sync.
    pub fn with_delay(later: Later) -> Self {
        MemLog { state: Arc::default(), later: Some(later) }
    }

    /// The same content with another way of delaying: what a restarted node opens.
    pub fn reopen(&self, later: Option<Later>) -> Self {
        self.state.lock().dead = None;
        MemLog { state: self.state.clone(), later }
    }

    /// What a crash leaves: the operations that a sync has reached, and the first `torn` of those that waited for one (an
    /// append counts as one; a disk may have written any number). Their `done`s are never called.
    pub fn crash(&self, torn: usize) {
        let mut state = self.state.lock();
        let waiting = std::mem::take(&mut state.waiting);
        for (group, op, _) in waiting.into_iter().take(torn) {
            state.durable.settle(group, op);
        }
        state.visible = state.durable.clone();
        state.life += 1;
        state.sync_ordered = false;
        state.stalled = false;
        state.dead = None;
    }

    /// Operations that wait for a sync.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// While stalled no sync takes place; ending the stall makes up for it.
    pub fn stall(&self, on: bool) {
        self.state.lock().stalled = on;
        if !on {
            self.sync();
        }
    }

    /// The next sync fails, and with it the log (as after a failed fsync).
    pub fn fail(&self) {
        self.state.lock().dead = Some(StorageError::Dead("injected fsync failure".into()));
    }

    /// Makes everything that waits durable now.
    pub fn sync(&self) {
        let mut state = self.state.lock();
        state.sync_ordered = false;
        if state.stalled || state.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut state.waiting);
        let result = state.dead.clone().map_or(Ok(()), Err);
        let mut dones = Vec::new();
        for (group, op, done) in waiting {
            if result.is_ok() {
                state.visible.mark_durable(group, &op);
                state.durable.settle(group, op);
            }
            dones.extend(done);
        }
        if !dones.is_empty() {
            state.fsyncs += 1;
        }
        drop(state);
        for done in dones {
            done(result.clone());
        }
    }

    fn submit(&self, group: GroupKey, op: LogOp, done: Option<Done>) {
        let mut state = self.state.lock();
        if let Some(error) = state.dead.clone() {
            drop(state);
            if let Some(done) = done {
                done(Err(error));
            }
            return;
        }
        if let Err(error) = state.visible.check(group, &op) {
            drop(state);
            if let Some(done) = done {
                done(Err(error));
            }
            return;
        }
        state.visible.apply(group, op.clone());
        let order = done.is_some() && !state.sync_ordered;
        state.waiting.push((group, op, done));
        if !order {
            return;
        }
        state.sync_ordered = true;
        let life = state.life;
        drop(state);
        match &self.later {
            None => self.sync(),
            Some(later) => {
                let log = self.clone();
                later(Box::new(move || {
                    if log.state.lock().life == life {
                        log.sync();
                    }
                }));
            }
        }
    }
}

impl LogStore for MemLog {
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
        Ok(self.state.lock().visible.read(group, range, max_bytes))
    }

    fn state(&self, group: GroupKey) -> LogState {
        self.state.lock().visible.state(group)
    }

    fn groups(&self) -> Vec<GroupKey> {
        self.state.lock().visible.keys()
    }

    fn term_at(&self, group: GroupKey, index: u64) -> Option<u64> {
        self.state.lock().visible.term_at(group, index)
    }

    fn dead(&self) -> Option<StorageError> {
        self.state.lock().dead.clone()
    }

    fn is_stuck(&self) -> bool {
        self.state.lock().stalled
    }

    fn fsyncs(&self) -> u64 {
        self.state.lock().fsyncs
    }

    fn close(&self) {
        self.sync();
        self.state.lock().dead.get_or_insert_with(|| StorageError::Dead("closed".into()));
    }
}
