//! Was anything written in a time interval? What refreshes and exclusion checks ask.

use super::{SUFFIX, get, split_raw};
use crate::engine::{Family, raw_bounds};
use crate::{Result, Snapshot};
use quorate_proto::ordered::take_bytes;
use quorate_proto::{Key, Span, Timestamp};

/// The newest version or tombstone of the key in `(from, to]`.
pub fn key_changed_between(
    snapshot: &dyn Snapshot,
    key: &[u8],
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>> {
    Ok(get(snapshot, key, to)?.map(|version| version.ts).filter(|ts| *ts > from))
}

/// The first key of the span that has a version or tombstone in `(from, to]`, and the newest such timestamp.
pub fn changed_between(
    snapshot: &dyn Snapshot,
    span: &Span,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<(Key, Timestamp)>> {
    if from >= to || span.is_empty() {
        return Ok(None);
    }
    let (start, end) = raw_bounds(span);
    if span.end.as_ref() == Some(&span.start.successor()) {
        let found = key_changed_between(snapshot, &span.start, from, to)?;
        return Ok(found.map(|ts| (span.start.clone(), ts)));
    }
    let mut cursor = snapshot.cursor(Family::Data, &start, end.as_deref())?;
    let mut more = cursor.first()?;
    let mut raw = Vec::new();
    while more {
        // On the newest version of a key.
        let (prefix, ts) = split_raw(cursor.key())?;
        raw.clear();
        raw.extend_from_slice(prefix);
        if ts > to {
            raw.extend_from_slice(&(!to.0).to_be_bytes());
            more = cursor.seek(&raw)?;
            raw.truncate(raw.len() - SUFFIX);
            if !more || split_raw(cursor.key())?.0 != raw {
                continue; // On the next key already.
            }
        }
        let ts = split_raw(cursor.key())?.1;
        if ts > from {
            return Ok(Some((take_bytes(&mut &raw[..])?.into(), ts)));
        }
        more = cursor.next()?;
        if more && split_raw(cursor.key())?.0 == raw {
            // An encoded key ends in `00 01`; with `00 02` it is past all its versions.
            if let Some(last) = raw.last_mut() {
                *last += 1;
            }
            more = cursor.seek(&raw)?;
        }
    }
    Ok(None)
}
