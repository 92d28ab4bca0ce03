//! Reading the log back after a start.
//!
//! Files in use form a chain by generation, each telling with which sequence it begins. All frames of a file but the last
//! must be intact: the next file was begun when they were synced. The last file ends at its first bad frame, unless some
//! intact frame anywhere proves that this one had been synced: then acknowledged records are lost, and the log must not
//! be used (PROTOCOL 7). A file's header lies in one sector, so a crash leaves the old one or the new one: anything else
//! is corruption as well.

use super::frame::{self, FRAME_HEADER};
use super::index::{FileSlot, Place};
use super::record::{Head, Record, Records};
use super::segment::{self, FIRST_FRAME, LogFile, Segment, Segments};
use crate::log::GroupKey;
use crate::log::group::GroupLog;
use crate::{Result, StorageError};
use quorate_env::planted;
use quorate_proto::LogPosition;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The head of a group as it stands on disk, and in which files its parts stand.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub head: Head,
    /// Generations that hold vote, committed and purged.
    at: [u64; 3],
}

impl Default for Kept {
    fn default() -> Self {
        Kept { head: Head::default(), at: [u64::MAX; 3] }
    }
}

impl Kept {
    /// The oldest file that is needed for it.
    pub fn oldest(&self) -> u64 {
        self.at.into_iter().min().unwrap_or(u64::MAX)
    }

    pub fn vote(&mut self, vote: bytes::Bytes, generation: u64) {
        self.head.vote = Some(vote);
        self.at[0] = generation;
    }

    pub fn committed(&mut self, at: LogPosition, generation: u64) {
        self.head.committed = Some(at);
        self.at[1] = generation;
    }

    pub fn purged(&mut self, to: LogPosition, generation: u64) {
        if self.head.purged.is_none_or(|purged| purged.index <= to.index) {
            self.head.purged = Some(to);
            self.at[2] = generation;
        }
    }

    pub fn install(&mut self, at: LogPosition, vote: Option<bytes::Bytes>, generation: u64) {
        self.head.purged = Some(at);
        self.at[2] = generation;
        self.committed(at, generation);
        if let Some(vote) = vote {
            self.vote(vote, generation);
        }
    }

    /// All of it was written again.
    pub fn moved(&mut self, generation: u64) {
        for at in &mut self.at {
            *at = if *at == u64::MAX { u64::MAX } else { generation };
        }
    }
}

#[derive(Default)]
pub(super) struct Recovered {
    pub groups: BTreeMap<GroupKey, GroupLog<FileSlot>>,
    pub kept: BTreeMap<GroupKey, Kept>,
    pub segments: Segments,
    pub free: Vec<LogFile>,
    /// Bytes needed in each segment.
    pub live: BTreeMap<u64, u64>,
    /// Greater than any generation ever used.
    pub generation: u64,
    /// Of the next frame.
    pub sequence: u64,
    /// Greater than any file's.
    pub file_number: u64,
}

#[derive(Default)]
struct Replayed {
    kept: Kept,
    entries: BTreeMap<u64, (LogPosition, Place)>,
}

pub(super) fn recover(dir: &Path) -> Result<Recovered> {
    let mut out = Recovered { generation: 1, sequence: 1, file_number: 1, ..Recovered::default() };
    let mut used = Vec::new();
    // Intact frames outside of the chain, and what they call synced.
    let mut proven = 0;
    for file in segment::list(dir)? {
        out.file_number = out.file_number.max(file.number() + 1);
        let header = file.head()?;
        match segment::parse_header(&header) {
            Some((generation, first)) => used.push((generation, first, file)),
            None => {
                let rotten = !segment::is_free_header(&header);
                for head in frame::search(&file.content()?) {
                    if rotten {
                        let place = file.path.display();
                        return Err(StorageError::Corruption(format!(
                            "{place} has lost its header, but not its frames"
                        )));
                    }
                    proven = proven.max(head.synced);
                    out.generation = out.generation.max(head.generation + 1);
                }
                out.free.push(file);
            }
        }
    }
    used.sort_by_key(|(generation, ..)| *generation);
    let firsts: Vec<u64> = used.iter().map(|(_, first, ..)| *first).collect();
    let mut replayed: BTreeMap<GroupKey, Replayed> = BTreeMap::new();
    for (at, (generation, first, file)) in used.into_iter().enumerate() {
        let content = file.content()?;
        let limit = firsts.get(at + 1).copied();
        let mut sequence = first;
        let mut offset = FIRST_FRAME as usize;
        while let Some((head, body, length)) = content.get(offset..).and_then(frame::open) {
            let strange = head.generation != generation && !planted!("storage.frames_of_an_earlier_life");
            if strange || head.sequence != sequence || limit == Some(sequence) {
                break;
            }
            replay(&mut replayed, body, generation, (offset + FRAME_HEADER) as u64)?;
            offset += length;
            sequence += 1;
        }
        match limit {
            Some(limit) if limit != sequence && !planted!("storage.holes_in_older_files") => {
                return Err(lost(&file, offset, sequence));
            }
            Some(_) => {}
            None => {
                let rest = content.get(offset..).unwrap_or_default();
                let later = frame::search(rest).map(|head| head.synced).max();
                let synced = proven.max(later.unwrap_or(0)) >= sequence;
                if synced && !planted!("storage.damage_taken_for_a_torn_tail") {
                    return Err(lost(&file, offset, sequence));
                }
                out.sequence = sequence;
            }
        }
        out.generation = out.generation.max(generation + 1);
        out.segments.insert(generation, Arc::new(Segment { generation, file }));
    }
    if out.segments.is_empty() && proven > 0 {
        return Err(StorageError::corrupt("the log's files have lost their headers"));
    }
    for (group, state) in replayed {
        let log = rebuild(group, &state)?;
        for (_, place) in state.entries.values() {
            *out.live.entry(place.generation).or_default() += place.weight();
        }
        out.kept.insert(group, state.kept);
        out.groups.insert(group, log);
    }
    Ok(out)
}

fn lost(file: &LogFile, offset: usize, sequence: u64) -> StorageError {
    StorageError::Corruption(format!(
        "the log has lost records that were synced: frame {sequence} in {} at {offset}",
        file.path.display()
    ))
}

fn replay(groups: &mut BTreeMap<GroupKey, Replayed>, body: &[u8], generation: u64, base: u64) -> Result<()> {
    let mut records = Records::new(body);
    while let Some((group, record)) = records.next()? {
        if let Record::Remove = record {
            groups.remove(&group);
            continue;
        }
        let state = groups.entry(group).or_default();
        let mut enter = |position: LogPosition, extent: super::record::Extent| {
            let offset = base + u64::from(extent.offset);
            let place = Place { generation, offset, length: extent.length, crc: extent.crc };
            if state.kept.head.purged.is_none_or(|purged| purged.index < position.index) {
                state.entries.insert(position.index, (position, place));
            }
        };
        match record {
            Record::Entries(entries) => {
                entries.into_iter().for_each(|(position, extent)| enter(position, extent))
            }
            Record::Moved(position, extent) => enter(position, extent),
            Record::Vote(vote) => state.kept.vote(vote, generation),
            Record::Committed(at) => state.kept.committed(at, generation),
            Record::TruncateFrom(index) => drop(state.entries.split_off(&index)),
            Record::PurgeTo(to) => state.purge(to, generation),
            Record::Install(at, vote) => {
                state.entries.clear();
                state.kept.install(at, vote, generation);
            }
            Record::Head(head) => {
                if let Some(vote) = head.vote {
                    state.kept.vote(vote, generation);
                }
                if let Some(at) = head.committed {
                    state.kept.committed(at, generation);
                }
                if let Some(to) = head.purged {
                    state.purge(to, generation);
                }
            }
            Record::Remove => {}
        }
    }
    Ok(())
}

impl Replayed {
    fn purge(&mut self, to: LogPosition, generation: u64) {
        self.entries = self.entries.split_off(&(to.index + 1));
        self.kept.purged(to, generation);
    }
}

fn rebuild(group: GroupKey, state: &Replayed) -> Result<GroupLog<FileSlot>> {
    let head = &state.kept.head;
    let mut log = GroupLog::restored(head.vote.clone(), head.purged);
    for (position, place) in state.entries.values() {
        log.check_append(std::iter::once(*position))
            .map_err(|e| StorageError::Corruption(format!("{group}: the log has a gap: {e}")))?;
        log.push(FileSlot { position: *position, ticket: 0, place: Some(*place), payload: None });
    }
    let last = log.last();
    // A mark may have reached the disk ahead of the entries that others had made durable.
    log.committed = head.committed.min(last);
    if let Some(last) = last {
        log.mark_durable(last);
    }
    Ok(log)
}
