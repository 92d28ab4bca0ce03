//! Getting old files back.
//!
//! Always the oldest first: then whatever an old file says of removals concerns only files that are gone already. A file
//! goes when no live entry stands in it and each group's head stands, synced, in a later one. When files pile up because
//! few old entries hold them, those are written again at the log's end (as in Rosenblum and Ousterhout, "The Design and
//! Implementation of a Log-Structured File System", 1991); half of the log's files may be dead weight before that.

use super::frame::FRAME_HEADER;
use super::index::Written;
use super::record;
use super::segment::Segment;
use super::writer::{Writer, place};
use crate::log::GroupKey;
use crate::{Result, StorageError};
use quorate_env::planted;
use std::sync::Arc;

/// So many files may stay before entries are moved.
const COMFORTABLE: u64 = 4;
/// Bytes moved at a time; operations that wait come in between.
const MOVE_BYTES: u64 = 512 << 10;
/// Bytes of heads in one frame.
const HEAD_BYTES: usize = 512 << 10;

impl Writer {
    /// Does one step. Returns whether another may follow at once.
    pub fn reclaim(&mut self) -> Result<bool> {
        let Some(&oldest) = self.sealed.front() else { return Ok(false) };
        let empty = self.live.get(&oldest).copied().unwrap_or(0) == 0;
        if empty || planted!("storage.recycled_with_live_entries") {
            self.release(oldest)?;
            return Ok(true);
        }
        if self.unreadable || !self.crowded() {
            return Ok(false);
        }
        self.move_entries(oldest)
    }

    fn crowded(&self) -> bool {
        let files = self.sealed.len() as u64 + 1;
        let live: u64 = self.live.values().sum();
        files > COMFORTABLE.max(2 * live / self.segment_size + 2)
    }

    /// Writes the oldest file's entries again. What was removed from memory meanwhile is left out; the file waits for
    /// those removals to reach the disk.
    fn move_entries(&mut self, oldest: u64) -> Result<bool> {
        let standing = self.shared.index.lock().standing_in(oldest, MOVE_BYTES);
        self.frame.clear();
        self.frame.resize(FRAME_HEADER, 0);
        let mut moved = Vec::new();
        for (group, ticket, old, found) in standing {
            let entry = match found.load() {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::error!(%error, %group, "an old log file cannot be read and stays");
                    self.unreadable = true;
                    return Ok(false);
                }
            };
            let extent = record::put_moved(&mut self.frame, group, entry.position, &entry.payload, old.crc);
            moved.push((group, ticket, entry.position, extent));
        }
        if moved.is_empty() {
            return Ok(false);
        }
        let start = self.write_frame()?;
        self.sync()?;
        let generation = self.active.generation;
        let written: Vec<Written> = moved
            .into_iter()
            .map(|(group, ticket, position, extent)| Written {
                group,
                position,
                ticket,
                place: place(generation, start, extent),
            })
            .collect();
        let (gained, left) = self.shared.index.lock().settle(&written);
        self.gain(&gained);
        self.free(&left);
        quorate_env::count!("quorate_storage_log_moved_entries_total", written.len() as u64);
        Ok(true)
    }

    /// The oldest file goes: heads first, synced, then the file.
    fn release(&mut self, oldest: u64) -> Result<()> {
        let standing: Vec<GroupKey> =
            self.kept.iter().filter(|(_, kept)| kept.oldest() <= oldest).map(|(group, _)| *group).collect();
        let mut groups = standing.into_iter().peekable();
        while groups.peek().is_some() && !planted!("storage.recycled_without_heads") {
            self.frame.clear();
            self.frame.resize(FRAME_HEADER, 0);
            let mut written = Vec::new();
            while self.frame.len() < HEAD_BYTES
                && let Some(group) = groups.next()
            {
                if let Some(kept) = self.kept.get(&group) {
                    record::put_head(&mut self.frame, group, &kept.head);
                    written.push(group);
                }
            }
            self.write_frame()?;
            if !planted!("storage.recycled_before_heads_are_synced") {
                self.sync()?;
            }
            for group in written {
                if let Some(kept) = self.kept.get_mut(&group) {
                    kept.moved(self.active.generation);
                }
            }
        }
        self.sealed.pop_front();
        self.live.remove(&oldest);
        let segment = self.shared.index.lock().segments.remove(&oldest);
        let Some(segment) = segment else { return Ok(()) };
        quorate_env::count!("quorate_storage_log_recycled_files_total");
        match segment.file.release(&self.shared.disk) {
            Ok(()) => {}
            // A file system that copies what it overwrites may lack the space even for that.
            Err(StorageError::NoSpace(_)) => {
                segment.file.remove();
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        match Arc::try_unwrap(segment) {
            Ok(Segment { file, .. }) => self.supply.give_back(file),
            // Somebody reads from it, and must not meet new content.
            Err(segment) => segment.file.remove(),
        }
        Ok(())
    }
}
