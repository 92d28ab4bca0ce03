//! Frames: the unit that is written, checksummed and torn.
//!
//! ```text
//! magic "QLF1" | crc32c u32 | generation u64 | sequence u64 | synced u64 | length u32 | 0 u32 | body | padding to 8
//! ```
//!
//! Little-endian. The checksum covers everything from `generation` to the body's end. `generation` is that of the segment
//! file, which rises whenever a file is begun anew, so that a recycled file's old frames are strangers. `sequence` counts
//! frames over all files without a gap. `synced` is the last sequence that had been fsynced when this frame was written:
//! a bad frame with a sequence that some intact frame calls synced is corruption; a bad frame that none does is the torn
//! tail of a crash (PROTOCOL 7).

use quorate_env::planted;

pub(super) const FRAME_HEADER: usize = 40;
const MAGIC: &[u8; 4] = b"QLF1";
pub(super) const ALIGN: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub generation: u64,
    pub sequence: u64,
    pub synced: u64,
}

/// Where the part begins that the checksum covers: at the generation.
fn covered_from() -> usize {
    if planted!("storage.checksum_without_generation") { 16 } else { 8 }
}

/// Fills in the header of a frame whose first [`FRAME_HEADER`] bytes were left free, and pads its end.
pub(super) fn seal(frame: &mut Vec<u8>, head: FrameHead) {
    let length = (frame.len() - FRAME_HEADER) as u32;
    frame[8..16].copy_from_slice(&head.generation.to_le_bytes());
    frame[16..24].copy_from_slice(&head.sequence.to_le_bytes());
    frame[24..32].copy_from_slice(&head.synced.to_le_bytes());
    frame[32..36].copy_from_slice(&length.to_le_bytes());
    frame[36..40].fill(0);
    let crc = crc32c::crc32c(&frame[covered_from()..]);
    frame[..4].copy_from_slice(MAGIC);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(ALIGN as usize), 0);
}

/// The intact frame at the front of `raw`, with its body and its length on disk.
pub(super) fn open(raw: &[u8]) -> Option<(FrameHead, &[u8], usize)> {
    let header = raw.get(..FRAME_HEADER)?;
    if &header[..4] != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(header[32..36].try_into().ok()?) as usize;
    let end = FRAME_HEADER.checked_add(length)?;
    let covered = raw.get(covered_from()..end)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(header[4..8].try_into().ok()?) {
        return None;
    }
    let word = |at: usize| Some(u64::from_le_bytes(header[at..at + 8].try_into().ok()?));
    let head = FrameHead { generation: word(8)?, sequence: word(16)?, synced: word(24)? };
    Some((head, &raw[FRAME_HEADER..end], end.next_multiple_of(ALIGN as usize)))
}

/// The heads of all intact frames that stand anywhere in `raw` (at frame alignment).
pub(super) fn search(raw: &[u8]) -> impl Iterator<Item = FrameHead> + '_ {
    let places = (0..raw.len()).step_by(ALIGN as usize);
    places
        .filter(|at| raw[*at..].starts_with(MAGIC))
        .filter_map(|at| open(&raw[at..]).map(|(head, _, _)| head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8], sequence: u64) -> Vec<u8> {
        let mut raw = vec![0; FRAME_HEADER];
        raw.extend_from_slice(body);
        seal(&mut raw, FrameHead { generation: 3, sequence, synced: 5 });
        raw
    }

    #[test]
    fn round_trip_and_every_flipped_bit() {
        let raw = frame(b"hello", 7);
        assert_eq!(raw.len(), 48);
        let (head, body, length) = open(&raw).unwrap();
        assert_eq!((head.generation, head.sequence, head.synced), (3, 7, 5));
        assert_eq!((body, length), (&b"hello"[..], 48));
        for bit in 0..(FRAME_HEADER + 5) * 8 {
            let mut bad = raw.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad).is_none(), "bit {bit}");
        }
        assert!(open(&raw[..44]).is_none());
    }

    #[test]
    fn search_finds_frames_behind_garbage() {
        let mut raw = vec![7; 64];
        raw.extend(frame(b"a", 1));
        raw.extend(frame(b"bb", 2));
        assert_eq!(search(&raw).map(|head| head.sequence).collect::<Vec<_>>(), [1, 2]);
    }
}
