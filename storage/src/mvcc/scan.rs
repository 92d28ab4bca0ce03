//! Reading a span as of a timestamp, forward or in reverse.
//!
//! Old versions are stepped over one by one at first, and sought past once a key shows more than [`STEPS`] of them: a seek
//! costs about as much as ten steps, and a hot row may have thousands of versions.

use super::{SUFFIX, Version, decode_value, split_raw};
use crate::engine::{Cursor, Family, raw_bounds};
use crate::{Result, Snapshot};
use quorate_proto::kv::Row;
use quorate_proto::ordered::take_bytes;
use quorate_proto::{Key, Span, Timestamp};

const STEPS: usize = 6;

/// Iterates over the newest version at or below `ts` of each key of a span; tombstones are left out unless asked for.
pub struct Scan<'a> {
    cursor: Box<dyn Cursor + 'a>,
    ts: Timestamp,
    reverse: bool,
    with_tombstones: bool,
    place: Place,
    newest_met: Timestamp,
}

enum Place {
    /// Not sought yet.
    Start,
    /// On a version of a key that was not looked at yet.
    On,
    Over,
}

pub fn scan<'a>(snapshot: &'a dyn Snapshot, span: &Span, ts: Timestamp, reverse: bool) -> Result<Scan<'a>> {
    let (start, end) = raw_bounds(span);
    let cursor = snapshot.cursor(Family::Data, &start, end.as_deref())?;
    Ok(Scan { cursor, ts, reverse, with_tombstones: false, place: Place::Start, newest_met: Timestamp::ZERO })
}

impl Scan<'_> {
    /// Yields tombstones as well (versions without value).
    #[must_use]
    pub fn with_tombstones(mut self) -> Self {
        self.with_tombstones = true;
        self
    }

    /// The highest timestamp of the versions and tombstones that the answer so far rests on; the answer may be revealed
    /// only when this has passed (PROTOCOL 15).
    pub fn newest_met(&self) -> Timestamp {
        self.newest_met
    }

    fn step(&mut self) -> Result<Option<(Key, Version)>> {
        if let Place::Start = self.place {
            let found = if self.reverse { self.cursor.last()? } else { self.cursor.first()? };
            self.place = if found { Place::On } else { Place::Over };
        }
        while let Place::On = self.place {
            let found = if self.reverse { self.key_in_reverse()? } else { self.key_forward()? };
            if let Some((key, version)) = found {
                self.newest_met = self.newest_met.max(version.ts);
                if version.value.is_some() || self.with_tombstones {
                    return Ok(Some((key, version)));
                }
            }
        }
        Ok(None)
    }

    fn moved(&mut self, found: bool) -> bool {
        if !found {
            self.place = Place::Over;
        }
        found
    }

    /// The cursor stands on the newest version of a key: takes the one to return, and goes on to the next key.
    fn key_forward(&mut self) -> Result<Option<(Key, Version)>> {
        let (prefix, mut ts) = split_raw(self.cursor.key())?;
        let mut raw = prefix.to_vec();
        let mut steps = 0;
        while ts > self.ts {
            steps += 1;
            let found = if steps <= STEPS {
                self.cursor.next()?
            } else {
                raw.extend_from_slice(&(!self.ts.0).to_be_bytes());
                let found = self.cursor.seek(&raw)?;
                raw.truncate(raw.len() - SUFFIX);
                found
            };
            if !self.moved(found) {
                return Ok(None);
            }
            let (prefix, next) = split_raw(self.cursor.key())?;
            if prefix != raw {
                return Ok(None); // On the newest version of the next key.
            }
            ts = next;
        }
        let version = Version { ts, value: decode_value(self.cursor.value_bytes())? };
        let key = Key::from(take_bytes(&mut &raw[..])?);
        self.leave_forward(raw)?;
        Ok(Some((key, version)))
    }

    fn leave_forward(&mut self, mut prefix: Vec<u8>) -> Result<()> {
        for _ in 0..STEPS {
            let found = self.cursor.next()?;
            if !self.moved(found) || split_raw(self.cursor.key())?.0 != prefix {
                return Ok(());
            }
        }
        // An encoded key ends in `00 01`; with `00 02` it is past all versions and before every other key.
        if let Some(last) = prefix.last_mut() {
            *last += 1;
        }
        let found = self.cursor.seek(&prefix)?;
        self.moved(found);
        Ok(())
    }

    /// The cursor stands on the oldest version of a key: finds the newest visible one, and goes on to the key before.
    fn key_in_reverse(&mut self) -> Result<Option<(Key, Version)>> {
        let (prefix, mut ts) = split_raw(self.cursor.key())?;
        let raw = prefix.to_vec();
        let mut best = None;
        let mut steps = 0;
        while ts <= self.ts {
            best = Some(Version { ts, value: decode_value(self.cursor.value_bytes())? });
            steps += 1;
            if steps > STEPS {
                best = Some(self.seek_visible(&raw)?);
                break;
            }
            let found = self.cursor.prev()?;
            if !self.moved(found) {
                return self.finish(&raw, best);
            }
            let (prefix, next) = split_raw(self.cursor.key())?;
            if prefix != raw {
                return self.finish(&raw, best); // On the oldest version of the key before.
            }
            ts = next;
        }
        let found = self.cursor.seek_before(&raw)?;
        self.moved(found);
        self.finish(&raw, best)
    }

    fn seek_visible(&mut self, prefix: &[u8]) -> Result<Version> {
        let mut from = prefix.to_vec();
        from.extend_from_slice(&(!self.ts.0).to_be_bytes());
        // A visible version was met on the way here, so the seek lands on this key.
        self.cursor.seek(&from)?;
        Ok(Version { ts: split_raw(self.cursor.key())?.1, value: decode_value(self.cursor.value_bytes())? })
    }

    fn finish(&self, raw: &[u8], best: Option<Version>) -> Result<Option<(Key, Version)>> {
        match best {
            Some(version) => Ok(Some((take_bytes(&mut &raw[..])?.into(), version))),
            None => Ok(None),
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Key, Version)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.place = Place::Over;
        }
        step.transpose()
    }
}

/// A bounded part of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In scan order.
    pub rows: Vec<Row>,
    /// What is left, when a limit ended the page early.
    pub resume: Option<Span>,
    /// See [`Scan::newest_met`].
    pub newest_met: Timestamp,
}

/// Scans until `max_rows` rows or the row that reaches `max_bytes` of keys and values; 0 is no limit.
pub fn scan_page(
    snapshot: &dyn Snapshot,
    span: &Span,
    ts: Timestamp,
    reverse: bool,
    max_rows: u64,
    max_bytes: u64,
) -> Result<Page> {
    let mut scan = scan(snapshot, span, ts, reverse)?;
    let mut page = Page::default();
    let mut bytes = 0;
    let full = |rows: usize, bytes: u64| {
        (max_rows > 0 && rows as u64 >= max_rows) || (max_bytes > 0 && bytes >= max_bytes)
    };
    while let Some((key, version)) = scan.next().transpose()? {
        let Some(value) = version.value else { continue };
        bytes += (key.len() + value.len()) as u64;
        page.rows.push(Row { key, value, ts: version.ts });
        if full(page.rows.len(), bytes) {
            page.resume = rest(span, page.rows.last().map(|row| &row.key), reverse);
            break;
        }
    }
    page.newest_met = scan.newest_met();
    Ok(page)
}

fn rest(span: &Span, last: Option<&Key>, reverse: bool) -> Option<Span> {
    let last = last?;
    let rest = if reverse {
        Span { start: span.start.clone(), end: Some(last.clone()) }
    } else {
        Span { start: last.successor(), end: span.end.clone() }
    };
    (!rest.is_empty()).then_some(rest)
}
