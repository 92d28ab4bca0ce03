//! What the log knows in memory: each entry's place on disk, the marks of each group, and the latest payloads.
//!
//! Callers change it at the time of the call, under one short lock, and queue the same change for the writer under that
//! lock; so both see one order.

use super::segment::{Segment, Segments};
use crate::log::GroupKey;
use crate::log::group::{GroupLog, LogOp, Slot};
use crate::{LogEntry, Result};
use bytes::Bytes;
use quorate_proto::LogPosition;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Where an entry's payload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub generation: u64,
    pub offset: u64,
    pub length: u32,
    pub crc: u32,
}

impl Place {
    /// What the entry counts for in its segment.
    pub fn weight(&self) -> u64 {
        u64::from(self.length) + 24
    }
}

#[derive(Clone, Debug)]
pub(super) struct FileSlot {
    pub position: LogPosition,
    /// Tells this append of the entry from an earlier, truncated one.
    pub ticket: u64,
    /// `None` until it is durable.
    pub place: Option<Place>,
    /// `None` when it has to be read from its place.
    pub payload: Option<Bytes>,
}

impl Slot for FileSlot {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn bytes(&self) -> u64 {
        let in_memory = || self.payload.as_ref().map_or(0, |payload| payload.len() as u64);
        self.place.map_or_else(in_memory, |place| u64::from(place.length))
    }
}

/// Bytes that ceased to be needed, by generation.
pub(super) type Freed = BTreeMap<u64, u64>;

/// An entry that the writer has brought to disk.
#[derive(Debug)]
pub(super) struct Written {
    pub group: GroupKey,
    pub position: LogPosition,
    pub ticket: u64,
    pub place: Place,
}

/// An entry to be read: from memory, or from its place.
pub(super) enum Found {
    Cached(LogEntry),
    OnDisk(LogPosition, Place, Arc<Segment>),
}

#[derive(Default)]
pub(super) struct Index {
    pub groups: BTreeMap<GroupKey, GroupLog<FileSlot>>,
    pub segments: Segments,
    cache: Cache,
    tickets: u64,
}

/// Payloads in memory, oldest first.
#[derive(Default)]
struct Cache {
    limit: usize,
    bytes: usize,
    /// How many of `order` are in memory still.
    count: usize,
    order: VecDeque<(GroupKey, u64, u64)>,
}

impl Index {
    pub fn new(cache_limit: usize) -> Self {
        Index { cache: Cache { limit: cache_limit, ..Cache::default() }, ..Index::default() }
    }

    /// Checks and takes the operation. Returns the ticket of its entries, and what it frees.
    pub fn apply(&mut self, group: GroupKey, op: &LogOp) -> Result<(u64, Freed)> {
        let removed = match op {
            LogOp::Append(entries) => {
                return self.append(group, entries).map(|ticket| (ticket, Freed::new()));
            }
            LogOp::Remove => {
                self.groups.remove(&group).map(|mut log| log.truncate_from(0)).unwrap_or_default()
            }
            LogOp::Vote(vote) => {
                self.group(group).vote = Some(vote.clone());
                VecDeque::new()
            }
            LogOp::Committed(committed) => {
                self.group(group).committed = Some(*committed);
                VecDeque::new()
            }
            LogOp::TruncateFrom(index) => self.group(group).truncate_from(*index),
            LogOp::PurgeTo(to) => self.group(group).purge_to(*to),
            LogOp::Install(at, vote) => self.group(group).install(*at, vote.clone()),
        };
        let mut freed = Freed::new();
        for slot in removed {
            if let Some(payload) = &slot.payload {
                self.cache.forget(payload.len());
            }
            if let Some(place) = slot.place {
                *freed.entry(place.generation).or_default() += place.weight();
            }
        }
        Ok((0, freed))
    }

    fn group(&mut self, group: GroupKey) -> &mut GroupLog<FileSlot> {
        self.groups.entry(group).or_default()
    }

    fn append(&mut self, group: GroupKey, entries: &[LogEntry]) -> Result<u64> {
        let log = self.groups.entry(group).or_default();
        log.check_append(entries.iter().map(|entry| entry.position))?;
        self.tickets += 1;
        for entry in entries {
            self.cache.add(group, entry.position.index, self.tickets, entry.payload.len());
            log.push(FileSlot {
                position: entry.position,
                ticket: self.tickets,
                place: None,
                payload: Some(entry.payload.clone()),
            });
        }
        Ok(self.tickets)
    }

    /// Notes where entries stand. Returns, by generation, the weight of those that are needed still, and of the places
    /// that they leave.
    pub fn settle(&mut self, written: &[Written]) -> (Freed, Freed) {
        let (mut gained, mut left) = (Freed::new(), Freed::new());
        for entry in written {
            let log = self.groups.get_mut(&entry.group);
            let Some(slot) = log.and_then(|log| log.get_mut(entry.position.index)) else { continue };
            if slot.ticket != entry.ticket {
                continue;
            }
            if let Some(old) = slot.place.replace(entry.place) {
                *left.entry(old.generation).or_default() += old.weight();
            }
            *gained.entry(entry.place.generation).or_default() += entry.place.weight();
        }
        self.evict();
        (gained, left)
    }

    /// Drops the oldest payloads until the rest is within the limit; those that are on no disk yet stay.
    fn evict(&mut self) {
        while let Some(&(group, index, ticket)) = self.cache.order.front() {
            let slot = self.groups.get_mut(&group).and_then(|log| log.get_mut(index));
            match slot.filter(|slot| slot.ticket == ticket && slot.payload.is_some()) {
                None => {}
                Some(_) if self.cache.bytes <= self.cache.limit => break,
                Some(slot) if slot.place.is_none() => break,
                Some(slot) => {
                    if let Some(payload) = slot.payload.take() {
                        self.cache.forget(payload.len());
                    }
                }
            }
            self.cache.order.pop_front();
        }
        if self.cache.order.len() > 2 * self.cache.count + 1024 {
            let groups = &self.groups;
            self.cache.order.retain(|(group, index, ticket)| {
                let slot = groups.get(group).and_then(|log| log.get(*index));
                slot.is_some_and(|slot| slot.ticket == *ticket && slot.payload.is_some())
            });
        }
    }

    /// The entries of the range, up to `max_bytes` but at least one.
    pub fn find(&self, group: GroupKey, range: Range<u64>, max_bytes: u64) -> Vec<Found> {
        let Some(log) = self.groups.get(&group) else { return Vec::new() };
        let mut found = Vec::new();
        let mut bytes = 0;
        for slot in log.clip(range).filter_map(|index| log.get(index)) {
            let length = match (&slot.payload, &slot.place) {
                (Some(payload), _) => payload.len() as u64,
                (None, place) => place.map_or(0, |place| u64::from(place.length)),
            };
            bytes += length;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.extend(self.found(slot));
        }
        found
    }

    fn found(&self, slot: &FileSlot) -> Option<Found> {
        if let Some(payload) = &slot.payload {
            return Some(Found::Cached(LogEntry { position: slot.position, payload: payload.clone() }));
        }
        let place = slot.place?;
        let segment = self.segments.get(&place.generation)?.clone();
        Some(Found::OnDisk(slot.position, place, segment))
    }

    /// Entries that stand in the segment, up to `max_bytes` but at least one, with what identifies them.
    pub fn standing_in(&self, generation: u64, max_bytes: u64) -> Vec<(GroupKey, u64, Place, Found)> {
        let mut standing = Vec::new();
        let mut bytes = 0;
        for (group, log) in &self.groups {
            for slot in log.entries() {
                let Some(place) = slot.place.filter(|place| place.generation == generation) else { continue };
                bytes += place.weight();
                if bytes > max_bytes && !standing.is_empty() {
                    return standing;
                }
                standing.extend(self.found(slot).map(|found| (*group, slot.ticket, place, found)));
            }
        }
        standing
    }

    #[cfg(test)]
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes
    }
}

impl Cache {
    fn add(&mut self, group: GroupKey, index: u64, ticket: u64, length: usize) {
        self.bytes += length;
        self.count += 1;
        self.order.push_back((group, index, ticket));
    }

    fn forget(&mut self, length: usize) {
        self.bytes -= length;
        self.count -= 1;
    }
}

impl Found {
    pub fn load(self) -> Result<LogEntry> {
        match self {
            Found::Cached(entry) => Ok(entry),
            Found::OnDisk(position, place, segment) => {
                let payload = segment.read(place.offset, place.length, place.crc)?;
                Ok(LogEntry { position, payload })
            }
        }
    }
}
