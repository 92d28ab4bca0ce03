//! One group's log as a data structure: which entries, which marks. Shared by both stores, which differ in what they hold
//! for an entry.
//!
//! Invariants: entries are contiguous; the first follows `purged` if there is one; `purged ≤ durable ≤ last` by index.

use super::{GroupKey, LogEntry, LogState};
use crate::{Result, StorageError};
use bytes::Bytes;
use quorate_proto::LogPosition;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// What a store holds for an entry.
pub(super) trait Slot {
    fn position(&self) -> LogPosition;

    /// Of its payload; never another.
    fn bytes(&self) -> u64;
}

impl Slot for LogEntry {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn bytes(&self) -> u64 {
        self.payload.len() as u64
    }
}

#[derive(Clone, Debug)]
pub(super) struct GroupLog<S> {
    pub vote: Option<Bytes>,
    pub committed: Option<LogPosition>,
    pub purged: Option<LogPosition>,
    durable: Option<LogPosition>,
    entries: VecDeque<S>,
    bytes: u64,
}

impl<S> Default for GroupLog<S> {
    fn default() -> Self {
        let entries = VecDeque::new();
        GroupLog { vote: None, committed: None, purged: None, durable: None, entries, bytes: 0 }
    }
}

impl<S: Slot> GroupLog<S> {
    /// What was read back from a disk; its entries are pushed next.
    pub fn restored(vote: Option<Bytes>, purged: Option<LogPosition>) -> Self {
        GroupLog { vote, purged, durable: purged, ..Self::default() }
    }

    pub fn last(&self) -> Option<LogPosition> {
        self.entries.back().map(Slot::position).or(self.purged)
    }

    pub fn state(&self) -> LogState {
        LogState {
            vote: self.vote.clone(),
            committed: self.committed,
            purged: self.purged,
            last: self.last(),
            durable: self.durable,
            bytes: self.bytes,
        }
    }

    fn offset(&self, index: u64) -> Option<usize> {
        let first = self.entries.front()?.position().index;
        let offset = usize::try_from(index.checked_sub(first)?).ok()?;
        (offset < self.entries.len()).then_some(offset)
    }

    pub fn get(&self, index: u64) -> Option<&S> {
        self.entries.get(self.offset(index)?)
    }

    pub fn get_mut(&mut self, index: u64) -> Option<&mut S> {
        let offset = self.offset(index)?;
        self.entries.get_mut(offset)
    }

    pub fn entries(&self) -> impl Iterator<Item = &S> {
        self.entries.iter()
    }

    /// The part of `range` that the log holds.
    pub fn clip(&self, range: Range<u64>) -> Range<u64> {
        let Some(first) = self.entries.front().map(|slot| slot.position().index) else { return 0..0 };
        let end = first + self.entries.len() as u64;
        let range = range.start.max(first)..range.end.min(end);
        if range.is_empty() { 0..0 } else { range }
    }

    pub fn term_at(&self, index: u64) -> Option<u64> {
        match self.get(index) {
            Some(slot) => Some(slot.position().term),
            None => self.purged.filter(|purged| purged.index == index).map(|purged| purged.term),
        }
    }

    /// Entries at these positions may follow.
    pub fn check_append(&self, positions: impl Iterator<Item = LogPosition>) -> Result<()> {
        let mut last = self.last();
        for position in positions {
            if let Some(last) = last
                && (position.index != last.index + 1 || position.term < last.term)
            {
                return Err(StorageError::Misuse(format!("entry {position} cannot follow {last}")));
            }
            last = Some(position);
        }
        Ok(())
    }

    pub fn push(&mut self, slot: S) {
        debug_assert!(self.check_append(std::iter::once(slot.position())).is_ok());
        self.bytes += slot.bytes();
        self.entries.push_back(slot);
    }

    /// Returns what was removed.
    pub fn truncate_from(&mut self, index: u64) -> VecDeque<S> {
        let keep = match self.entries.front() {
            Some(first) => {
                usize::try_from(index.saturating_sub(first.position().index)).unwrap_or(usize::MAX)
            }
            None => 0,
        };
        let removed = self.entries.split_off(keep.min(self.entries.len()));
        self.forget(&removed);
        if self.durable > self.last() {
            self.durable = self.last();
        }
        removed
    }

    /// Returns what was removed.
    pub fn purge_to(&mut self, to: LogPosition) -> VecDeque<S> {
        if self.purged.is_some_and(|purged| purged.index >= to.index) {
            return VecDeque::new();
        }
        let covered = self.entries.partition_point(|slot| slot.position().index <= to.index);
        let rest = self.entries.split_off(covered);
        self.purged = Some(to);
        self.durable = self.durable.max(Some(to));
        let removed = std::mem::replace(&mut self.entries, rest);
        self.forget(&removed);
        removed
    }

    /// Returns what was removed.
    pub fn install(&mut self, at: LogPosition, vote: Option<Bytes>) -> VecDeque<S> {
        self.purged = Some(at);
        self.committed = Some(at);
        self.durable = None;
        if vote.is_some() {
            self.vote = vote;
        }
        self.bytes = 0;
        std::mem::take(&mut self.entries)
    }

    fn forget(&mut self, removed: &VecDeque<S>) {
        self.bytes -= removed.iter().map(Slot::bytes).sum::<u64>();
    }

    /// The disk holds everything up to this position, unless it was removed meanwhile.
    pub fn mark_durable(&mut self, at: LogPosition) {
        if self.term_at(at.index) == Some(at.term)
            && self.durable.is_none_or(|durable| durable.index < at.index)
        {
            self.durable = Some(at);
        }
    }
}

/// An operation on a group; what both stores queue for their writer.
#[derive(Clone, Debug)]
pub(super) enum LogOp {
    Append(Vec<LogEntry>),
    Vote(Bytes),
    Committed(LogPosition),
    TruncateFrom(u64),
    PurgeTo(LogPosition),
    Install(LogPosition, Option<Bytes>),
    Remove,
}

/// All groups with their entries in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(BTreeMap<GroupKey, GroupLog<LogEntry>>);

impl Groups {
    pub fn check(&self, group: GroupKey, op: &LogOp) -> Result<()> {
        match (op, self.0.get(&group)) {
            (LogOp::Append(entries), Some(log)) => {
                log.check_append(entries.iter().map(|entry| entry.position))
            }
            (LogOp::Append(entries), None) => {
                GroupLog::<LogEntry>::default().check_append(entries.iter().map(|entry| entry.position))
            }
            _ => Ok(()),
        }
    }

    /// The operation was found permitted.
    pub fn apply(&mut self, group: GroupKey, op: LogOp) {
        if let LogOp::Remove = op {
            self.0.remove(&group);
            return;
        }
        let log = self.0.entry(group).or_default();
        match op {
            LogOp::Append(entries) => entries.into_iter().for_each(|entry| log.push(entry)),
            LogOp::Vote(vote) => log.vote = Some(vote),
            LogOp::Committed(committed) => log.committed = Some(committed),
            LogOp::TruncateFrom(index) => drop(log.truncate_from(index)),
            LogOp::PurgeTo(to) => drop(log.purge_to(to)),
            LogOp::Install(at, vote) => drop(log.install(at, vote)),
            LogOp::Remove => {}
        }
    }

    /// Applies an operation that is durable by the same step.
    pub fn settle(&mut self, group: GroupKey, op: LogOp) {
        let marks = op.clone();
        self.apply(group, op);
        self.mark_durable(group, &marks);
    }

    /// To be called on the visible state when the operation has become durable.
    pub fn mark_durable(&mut self, group: GroupKey, op: &LogOp) {
        let at = match op {
            LogOp::Append(entries) => entries.last().map(|entry| entry.position),
            LogOp::Install(at, _) => Some(*at),
            _ => None,
        };
        if let (Some(at), Some(log)) = (at, self.0.get_mut(&group)) {
            log.mark_durable(at);
        }
    }

    pub fn read(&self, group: GroupKey, range: Range<u64>, max_bytes: u64) -> Vec<LogEntry> {
        let Some(log) = self.0.get(&group) else { return Vec::new() };
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in log.clip(range).filter_map(|index| log.get(index)) {
            bytes += entry.payload.len() as u64;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        found
    }

    pub fn state(&self, group: GroupKey) -> LogState {
        self.0.get(&group).map(GroupLog::state).unwrap_or_default()
    }

    pub fn keys(&self) -> Vec<GroupKey> {
        self.0.keys().copied().collect()
    }

    pub fn term_at(&self, group: GroupKey, index: u64) -> Option<u64> {
        self.0.get(&group)?.term_at(index)
    }
}
