//! Versions that no permitted read can see any more (PROTOCOL 24: the threshold is raised, replicated and applied first).

use super::{Version, decode_value, split_raw};
use crate::engine::{Family, raw_bounds};
use crate::{Result, Snapshot, WriteBatch};
use bytes::Bytes;
use quorate_proto::ordered::take_bytes;
use quorate_proto::{Key, Span, Timestamp};

/// What a pass found.
#[derive(Clone, Debug, Default)]
pub struct Garbage {
    /// Deletes the versions found.
    pub batch: WriteBatch,
    /// Where to go on, when the limit ended the pass.
    pub resume: Option<Span>,
    pub versions_seen: u64,
}

/// Looks at up to `max_versions` versions (0: all) of the span. Below `threshold` goes everything but each key's newest
/// version at or below it, and that one too if it is a tombstone.
pub fn collect_garbage(
    snapshot: &dyn Snapshot,
    span: &Span,
    threshold: Timestamp,
    max_versions: u64,
) -> Result<Garbage> {
    let (start, end) = raw_bounds(span);
    let mut cursor = snapshot.cursor(Family::Data, &start, end.as_deref())?;
    let mut more = cursor.first()?;
    let mut garbage = Garbage::default();
    let mut current: Vec<u8> = Vec::new();
    // The newest version at or below the threshold of the current key was met.
    let mut covered = false;
    while more {
        let raw = cursor.key();
        let (prefix, ts) = split_raw(raw)?;
        if prefix != current {
            if max_versions > 0 && garbage.versions_seen >= max_versions {
                let next = Key::from(take_bytes(&mut &prefix[..])?);
                garbage.resume = Some(Span { start: next, end: span.end.clone() });
                break;
            }
            current.clear();
            current.extend_from_slice(prefix);
            covered = false;
        }
        garbage.versions_seen += 1;
        if ts <= threshold {
            let version = Version { ts, value: decode_value(cursor.value_bytes())? };
            if covered || version.value.is_none() {
                garbage.batch.delete(Family::Data, Bytes::copy_from_slice(raw));
            }
            covered = true;
        }
        more = cursor.next()?;
    }
    Ok(garbage)
}
