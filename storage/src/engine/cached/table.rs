//! What is kept of keys: a table of fixed size, in which a key has one place that it shares with others.

use super::order::Ticket;
use crate::engine::VERSION_SUFFIX;
use bytes::Bytes;
use parking_lot::Mutex;
use quorate_env::planted;
use std::sync::atomic::{AtomicU64, Ordering};

/// Larger values are not kept.
const LARGEST: usize = 256;

/// Raw key (in `Data`) and value; none is known to be absent.
pub(super) type Answer = Option<(Bytes, Bytes)>;

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// The newest version; keys are raw keys of `Data` without their timestamps.
    Newest,
    /// The intent; keys are raw keys of `Intent`, the same bytes for the same user key.
    Intent,
}

pub(super) struct Table {
    slots: Box<[Mutex<Slot>]>,
    /// The number of the latest write that may have changed any key.
    flooded: AtomicU64,
}

#[derive(Default)]
struct Slot {
    /// The highest number of a write to any key that belongs here.
    touched: u64,
    entry: Option<Box<Entry>>,
}

struct Entry {
    key: Box<[u8]>,
    answers: [Option<Known>; 2],
}

struct Known {
    /// The number of the write after which this has been so.
    since: u64,
    found: Answer,
}

impl Table {
    pub fn new(slots: usize) -> Self {
        let slots = std::iter::repeat_with(Mutex::default).take(slots).collect();
        Table { slots, flooded: AtomicU64::new(0) }
    }

    fn slot(&self, key: &[u8]) -> &Mutex<Slot> {
        &self.slots[crc32c::crc32c(key) as usize % self.slots.len()]
    }

    /// For a snapshot that holds all writes up to `holds`; `None` is not known.
    pub fn get(&self, kind: Kind, key: &[u8], holds: u64) -> Option<Answer> {
        let mut slot = self.slot(key).lock();
        let known = slot.known(kind, key)?.as_ref()?;
        let valid = known.since <= holds && known.since >= self.flooded.load(Ordering::Acquire);
        (valid || planted!("storage.cache_ahead_of_snapshot")).then(|| known.found.clone())
    }

    /// Keeps what a snapshot that holds all writes up to `holds` found below, unless the key may have changed since.
    pub fn learn(&self, kind: Kind, key: &[u8], holds: u64, found: &Answer) {
        if !fits(found) {
            return;
        }
        let mut slot = self.slot(key).lock();
        let changed = slot.touched.max(self.flooded.load(Ordering::Acquire));
        if changed > holds && !planted!("storage.cache_learns_the_past") {
            return;
        }
        let known = Known { since: holds, found: found.clone() };
        if let Some(place) = slot.known(kind, key) {
            *place = Some(known);
            return;
        }
        let mut answers = [None, None];
        answers[kind as usize] = Some(known);
        slot.entry = Some(Box::new(Entry { key: key.into(), answers }));
    }

    pub fn wrote_intent(&self, key: &[u8], value: Option<&Bytes>, ticket: &Ticket<'_>) {
        self.wrote(Kind::Intent, key, ticket, |_| Some(value.map(|value| (Bytes::new(), own(value)))));
    }

    /// `raw` with its timestamp; no value where a version is removed.
    pub fn wrote_version(&self, raw: &Bytes, value: Option<&Bytes>, ticket: &Ticket<'_>) {
        let Some(prefix) = raw.len().checked_sub(VERSION_SUFFIX) else { return };
        self.wrote(Kind::Newest, &raw[..prefix], ticket, |before| match (before, value) {
            // An older one than the newest.
            (Some(newest), _) if newest.0 < raw => Some(Some(newest)),
            (_, Some(value)) => Some(Some((own(raw), own(value)))),
            // Of the next older one nothing is known.
            (Some(newest), None) if newest.0 == raw => None,
            (before, None) => Some(before),
        });
    }

    /// Replaces what is known of a key by what `now` makes of it. Nothing is kept where another write that may concern the key
    /// is under way: which of them comes last is for the engine below to say.
    fn wrote(&self, kind: Kind, key: &[u8], ticket: &Ticket<'_>, now: impl Fn(Answer) -> Option<Answer>) {
        let mut slot = self.slot(key).lock();
        slot.touched = slot.touched.max(ticket.number);
        let flooded = self.flooded.load(Ordering::Acquire);
        let Some(place) = slot.known(kind, key) else { return };
        let Some(known) = place.take() else { return };
        let alone = ticket.follows(known.since) && ticket.follows(flooded);
        if !alone || known.since < flooded {
            return;
        }
        let found = now(known.found).filter(fits);
        *place = found.map(|found| Known { since: ticket.number, found });
    }

    /// Any key may change with this write.
    pub fn forget_all(&self, ticket: &Ticket<'_>) {
        self.flooded.fetch_max(ticket.number, Ordering::AcqRel);
    }
}

impl Slot {
    /// The place of an answer about this key, if the slot is the key's at present.
    fn known(&mut self, kind: Kind, key: &[u8]) -> Option<&mut Option<Known>> {
        let entry = self.entry.as_mut().filter(|entry| *entry.key == *key)?;
        Some(&mut entry.answers[kind as usize])
    }
}

fn fits(found: &Answer) -> bool {
    found.as_ref().is_none_or(|(_, value)| value.len() <= LARGEST)
}

/// A copy: what a batch holds would keep the whole log entry in memory.
fn own(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
