//! Versions that no permitted read can see any more (PROTOCOL 24: the threshold is raised, replicated and applied first).

use super::{TOMBSTONE, split_raw};
use crate::engine::{Family, raw_bounds};
use crate::{Result, Snapshot, WriteBatch};
use bytes::Bytes;
use quorate_env::planted;
use quorate_proto::ordered::take_bytes;
use quorate_proto::{Key, Span, Timestamp};

/// What a pass found.
#[derive(Clone, Debug, Default)]
pub struct Garbage {
    /// Deletes the versions found.
    pub batch: WriteBatch,
    /// Where to go on, once the batch is written, when the limit ended the pass.
    pub resume: Option<Span>,
    pub versions_seen: u64,
    /// With the threshold here or a little later there would be more.
    pub more_at: Option<Timestamp>,
}

impl Garbage {
    fn note_more(&mut self, threshold: Timestamp) {
        self.more_at = Some(self.more_at.map_or(threshold, |known| known.min(threshold)));
    }
}

/// One key, from its newest version on.
#[derive(Default)]
struct OfKey {
    /// Encoded.
    prefix: Vec<u8>,
    /// The version above the threshold.
    above: Option<Timestamp>,
    /// The newest version at or below the threshold was met.
    covered: bool,
    /// It was a tombstone, which goes last: without it, those below would come to light again.
    tombstone: Option<Bytes>,
}

impl OfKey {
    /// Where the key's next pass, or the next key's first one, begins.
    fn rest(raw: &[u8], span: &Span) -> Result<Option<Span>> {
        let (mut prefix, _) = split_raw(raw)?;
        Ok(Some(Span { start: Key::from(take_bytes(&mut prefix)?), end: span.end.clone() }))
    }

    /// All its versions were met.
    fn end(&mut self, garbage: &mut Garbage) {
        if let Some(raw) = self.tombstone.take() {
            garbage.batch.delete(Family::Data, raw);
        }
    }
}

/// Looks at about `max_versions` versions (0: all) of the span. At or below `threshold` goes everything but each key's newest
/// version there, and that one too if it is a tombstone. The versions of one key may take several passes.
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
    let mut here = OfKey::default();
    let full = |many: u64| max_versions > 0 && many >= max_versions;
    while more {
        let raw = cursor.key();
        let (prefix, ts) = split_raw(raw)?;
        if prefix != here.prefix {
            here.end(&mut garbage);
            if full(garbage.versions_seen) {
                garbage.resume = OfKey::rest(raw, span)?;
                return Ok(garbage);
            }
            here = OfKey { prefix: prefix.to_vec(), ..OfKey::default() };
        } else if full(garbage.batch.len() as u64) {
            // Each pass takes some away, however many there are.
            garbage.resume = OfKey::rest(raw, span)?;
            return Ok(garbage);
        }
        garbage.versions_seen += 1;
        let gone = cursor.value() == [TOMBSTONE];
        if ts > threshold && !planted!("storage.garbage_above_threshold") {
            if here.above.replace(ts).is_some() {
                garbage.note_more(threshold.next());
                more = cursor.seek(&at(&here.prefix, threshold))?;
                continue;
            }
            if gone {
                garbage.note_more(ts);
            }
        } else if here.covered {
            garbage.batch.delete(Family::Data, Bytes::copy_from_slice(raw));
        } else {
            here.covered = true;
            let last = gone && !planted!("storage.tombstones_stay");
            here.tombstone = last.then(|| Bytes::copy_from_slice(raw));
            here.above.into_iter().for_each(|above| garbage.note_more(above));
        }
        more = cursor.next()?;
    }
    here.end(&mut garbage);
    Ok(garbage)
}

/// The place of a key's newest version at or below `ts`.
fn at(prefix: &[u8], ts: Timestamp) -> Vec<u8> {
    let mut raw = prefix.to_vec();
    raw.extend_from_slice(&(!ts.0).to_be_bytes());
    raw
}
