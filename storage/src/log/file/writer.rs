//! The one thread that writes: takes all that waits, of all groups, into one frame, and waits for the disk once.
//!
//! A full disk is waited for: the frame stays as it is, and is tried again until there is space. Nobody is told anything
//! meanwhile, and what arrives is kept in its order. A file that could not be made has left nothing behind, and bytes that
//! were written in part are written over by the same; so nothing rests on the tries that failed.

use super::Shared;
use super::frame::{self, FRAME_HEADER, FrameHead};
use super::index::{Freed, Place, Written};
use super::queue::{Wake, Work};
use super::record::{self, Extent};
use super::recovery::Kept;
use super::segment::{self, FIRST_FRAME, Segment};
use super::supply::Supply;
use crate::log::group::LogOp;
use crate::log::{Done, GroupKey};
use crate::{Result, StorageError};
use quorate_env::planted;
use quorate_proto::LogPosition;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Committed marks that nothing else carries along are written after this.
const MARK_DELAY: Duration = Duration::from_millis(20);
/// A frame takes in further operations up to this size.
const FRAME_TARGET: usize = 1 << 20;
/// Between two tries to write on a full disk.
const NO_SPACE_RETRY: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 200 });

/// One operation on its way to disk.
pub(super) enum Job {
    Op {
        group: GroupKey,
        op: LogOp,
        ticket: u64,
        freed: Freed,
        done: Option<Done>,
    },
    /// Write down what waits, and end.
    Close(Done),
}

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub active: Arc<Segment>,
    /// Where the next frame goes.
    pub at: u64,
    /// Of the next frame.
    pub sequence: u64,
    /// Of the last frame known to be on disk.
    pub synced: u64,
    /// Older segments, oldest first.
    pub sealed: VecDeque<u64>,
    /// Bytes needed in each segment, as far as operations have reached the disk.
    pub live: BTreeMap<u64, u64>,
    pub kept: BTreeMap<GroupKey, Kept>,
    /// Committed marks that wait for the next frame.
    pub marks: BTreeMap<GroupKey, LogPosition>,
    pub supply: Supply,
    pub segment_size: u64,
    pub frame: Vec<u8>,
    /// What arrived while the writer waited for space.
    pub held: VecDeque<Job>,
    /// An old segment could not be read for moving; it stays.
    pub unreadable: bool,
}

impl Writer {
    pub fn run(mut self, jobs: &Work<Job>) {
        let mut more_to_reclaim = true;
        loop {
            let wake = self.wait(jobs, more_to_reclaim);
            let mut batch = Vec::new();
            let mut closing = None;
            match wake {
                Wake::Job(Job::Close(done)) => closing = Some(done),
                Wake::Job(job) => {
                    batch.push(job);
                    closing = self.collect(jobs, &mut batch);
                }
                Wake::Idle => {}
                Wake::Over => closing = Some(Box::new(|_| ())),
            }
            let patient = closing.is_none().then_some(jobs);
            if let Err(error) = self.commit(batch, patient) {
                return self.refuse(jobs, closing, error);
            }
            if let Some(done) = closing {
                let end = self.flush();
                self.shared.die(StorageError::Dead("closed".into()));
                self.supply.finish();
                self.shared.unlock();
                return done(end);
            }
            match self.reclaim() {
                Ok(more) => more_to_reclaim = more,
                // The next batch, or space, comes first.
                Err(StorageError::NoSpace(_)) => more_to_reclaim = false,
                Err(error) => return self.refuse(jobs, None, error),
            }
        }
    }

    fn wait(&mut self, jobs: &Work<Job>, more_to_reclaim: bool) -> Wake<Job> {
        if let Some(job) = self.held.pop_front() {
            return Wake::Job(job);
        }
        if more_to_reclaim {
            return jobs.ready();
        }
        jobs.wait((!self.marks.is_empty()).then_some(MARK_DELAY))
    }

    /// After a failed write nothing can be trusted: every operation from now on is told so.
    fn refuse(mut self, jobs: &Work<Job>, closing: Option<Done>, error: StorageError) {
        let error = self.shared.die(error);
        if let Some(done) = closing {
            done(Err(error.clone()));
        }
        self.supply.finish();
        self.shared.unlock();
        let held = std::mem::take(&mut self.held);
        for job in held.into_iter().chain(jobs.drain()) {
            match job {
                Job::Op { done: Some(done), .. } | Job::Close(done) => done(Err(error.clone())),
                Job::Op { done: None, .. } => {}
            }
        }
    }

    /// Brings a batch to disk and tells its callers. An empty one writes the marks that wait. With `jobs`, a full disk is
    /// waited for.
    fn commit(&mut self, mut batch: Vec<Job>, jobs: Option<&Work<Job>>) -> Result<()> {
        if planted!("storage.votes_overtake") {
            batch.sort_by_key(|job| !matches!(job, Job::Op { op: LogOp::Vote(_), .. }));
        }
        self.frame.clear();
        self.frame.resize(FRAME_HEADER, 0);
        let mut extents = Vec::new();
        for job in &batch {
            if let Job::Op { group, op, .. } = job {
                extents.push(self.encode(*group, op));
            }
        }
        let waited_for = batch.iter().any(|job| matches!(job, Job::Op { done: Some(_), .. }));
        if !waited_for && !batch.is_empty() {
            return Ok(()); // Marks only: they wait for company.
        }
        for (group, at) in &self.marks {
            record::put_committed(&mut self.frame, *group, *at);
        }
        let outcome = self.write_patiently(jobs).and_then(|frame| match waited_for {
            true if !planted!("storage.acknowledged_before_fsync") => self.sync().map(|()| frame),
            _ => Ok(frame),
        });
        match outcome {
            Ok(start) => {
                self.account(batch, extents, start);
                Ok(())
            }
            Err(error) => {
                let error = self.shared.die(error);
                for job in batch {
                    if let Job::Op { done: Some(done), .. } = job {
                        done(Err(error.clone()));
                    }
                }
                Err(error)
            }
        }
    }

    fn encode(&mut self, group: GroupKey, op: &LogOp) -> Vec<Extent> {
        let out = &mut self.frame;
        match op {
            LogOp::Append(entries) => return record::put_entries(out, group, entries),
            LogOp::Vote(vote) => record::put_vote(out, group, vote),
            LogOp::Committed(at) => {
                self.marks.insert(group, *at);
            }
            LogOp::TruncateFrom(index) => record::put_truncate(out, group, *index),
            LogOp::PurgeTo(to) => record::put_purge(out, group, *to),
            LogOp::Install(at, vote) => {
                self.marks.remove(&group);
                record::put_install(out, group, *at, vote);
            }
            LogOp::Remove => {
                self.marks.remove(&group);
                record::put_remove(out, group);
            }
        }
        Vec::new()
    }

    /// As [`Self::write_frame`], and waits for space if there is none.
    fn write_patiently(&mut self, jobs: Option<&Work<Job>>) -> Result<u64> {
        loop {
            match (self.write_frame(), jobs) {
                (Err(StorageError::NoSpace(why)), Some(jobs)) => self.wait_for_space(jobs, why)?,
                (outcome, _) => {
                    if outcome.is_ok() && self.shared.stuck.swap(false, Ordering::Relaxed) {
                        tracing::info!("the log goes on: there is space again");
                    }
                    return outcome;
                }
            }
        }
    }

    /// Pauses. An error when the log is to be closed: what waits for space has not happened.
    fn wait_for_space(&mut self, jobs: &Work<Job>, why: String) -> Result<()> {
        if !self.shared.stuck.swap(true, Ordering::Relaxed) {
            tracing::warn!(why, "the disk is full: the log waits for space");
        }
        quorate_env::count!("quorate_storage_log_no_space_total");
        let more = jobs.gather(NO_SPACE_RETRY, &mut self.held);
        if more && !self.held.iter().any(|job| matches!(job, Job::Close(_))) {
            return Ok(());
        }
        Err(StorageError::Dead(format!("closed while there was no space: {why}")))
    }

    /// Writes the frame that was put together, if there is anything in it. Returns where it begins. May be called again when
    /// there was no space.
    pub fn write_frame(&mut self) -> Result<u64> {
        if self.frame.len() == FRAME_HEADER {
            return Ok(self.at);
        }
        let length = (self.frame.len() as u64).next_multiple_of(frame::ALIGN);
        if self.at + length > self.active.file.size {
            self.switch(length)?;
        }
        let head =
            FrameHead { generation: self.active.generation, sequence: self.sequence, synced: self.synced };
        let unsealed = self.frame.len();
        frame::seal(&mut self.frame, head);
        let written = self.active.file.write(&self.frame, self.at, &self.shared.disk);
        if written.is_err() {
            self.frame.truncate(unsealed);
        }
        written?;
        quorate_env::count!("quorate_storage_log_written_bytes", self.frame.len() as u64);
        let start = self.at;
        self.at += self.frame.len() as u64;
        self.sequence += 1;
        Ok(start)
    }

    /// Waits until all frames are on disk.
    pub fn sync(&mut self) -> Result<()> {
        if self.synced + 1 < self.sequence {
            quorate_env::troubles::before_fsync();
            let synced = self.active.file.sync(&self.shared.disk);
            if !planted!("storage.failed_fsync_ignored") {
                synced?;
            }
            self.synced = self.sequence - 1;
            quorate_env::count!("quorate_storage_log_fsyncs_total");
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.commit(Vec::new(), None)?;
        self.sync()
    }

    /// Goes on in another file, with room for a frame of the given length.
    fn switch(&mut self, length: u64) -> Result<()> {
        self.sync()?;
        let file = self.supply.take(self.segment_size.max(FIRST_FRAME + length), &self.shared.disk)?;
        let generation = self.active.generation + 1;
        // Synced together with the file's first frame.
        if let Err(error) = file.write(&segment::header(generation, self.sequence), 0, &self.shared.disk) {
            self.supply.give_back(file);
            return Err(error);
        }
        let segment = Arc::new(Segment { generation, file });
        self.shared.index.lock().segments.insert(generation, segment.clone());
        self.sealed.push_back(self.active.generation);
        self.active = segment;
        self.at = FIRST_FRAME;
        Ok(())
    }

    /// Everything in the batch is on disk: notes it, and tells the callers.
    fn account(&mut self, batch: Vec<Job>, extents: Vec<Vec<Extent>>, start: u64) {
        let generation = self.active.generation;
        let mut dones = Vec::with_capacity(batch.len());
        let mut extents = extents.into_iter();
        let mut written = Vec::new();
        let mut durable = Vec::new();
        for job in batch {
            let Job::Op { group, op, ticket, freed, done } = job else { continue };
            let extents = extents.next().unwrap_or_default();
            dones.extend(done);
            self.free(&freed);
            if let LogOp::Append(entries) = &op {
                written.extend(entries.iter().zip(extents).map(|(entry, extent)| Written {
                    group,
                    position: entry.position,
                    ticket,
                    place: place(generation, start, extent),
                }));
                durable.extend(entries.last().map(|entry| (group, entry.position)));
            }
            if let LogOp::Install(at, _) = &op {
                durable.push((group, *at));
            }
            self.keep(group, op, generation);
        }
        // They stand at the frame's end.
        for (group, at) in std::mem::take(&mut self.marks) {
            self.kept.entry(group).or_default().committed(at, generation);
        }
        let mut index = self.shared.index.lock();
        let (gained, left) = index.settle(&written);
        for (group, at) in durable {
            if let Some(log) = index.groups.get_mut(&group) {
                log.mark_durable(at);
            }
        }
        drop(index);
        self.gain(&gained);
        self.free(&left);
        quorate_env::count!("quorate_storage_log_operations_total", dones.len() as u64);
        for done in dones {
            done(Ok(()));
        }
    }

    fn keep(&mut self, group: GroupKey, op: LogOp, generation: u64) {
        if let LogOp::Remove = op {
            self.kept.remove(&group);
            return;
        }
        let kept = self.kept.entry(group).or_default();
        match op {
            LogOp::Vote(vote) => kept.vote(vote, generation),
            LogOp::PurgeTo(to) => kept.purged(to, generation),
            LogOp::Install(at, vote) => kept.install(at, vote, generation),
            _ => {}
        }
    }

    pub fn gain(&mut self, gained: &Freed) {
        for (generation, bytes) in gained {
            *self.live.entry(*generation).or_default() += bytes;
        }
    }

    pub fn free(&mut self, freed: &Freed) {
        for (generation, bytes) in freed {
            let live = self.live.entry(*generation).or_default();
            debug_assert!(*live >= *bytes, "more was freed in segment {generation} than was there");
            *live = live.saturating_sub(*bytes);
        }
    }

    /// All that waits already, up to a frame's worth. Returns the end of the log's life if that was among it.
    fn collect(&mut self, jobs: &Work<Job>, batch: &mut Vec<Job>) -> Option<Done> {
        let size = |job: &Job| match job {
            Job::Op { op: LogOp::Append(entries), .. } => {
                entries.iter().map(|entry| entry.payload.len() + 32).sum()
            }
            _ => 64,
        };
        let mut bytes: usize = batch.iter().map(size).sum();
        while bytes < FRAME_TARGET {
            match self.wait(jobs, true) {
                Wake::Job(Job::Close(done)) => return Some(done),
                Wake::Job(job) => {
                    bytes += size(&job);
                    batch.push(job);
                }
                Wake::Idle | Wake::Over => break,
            }
        }
        None
    }
}

pub(super) fn place(generation: u64, start: u64, extent: Extent) -> Place {
    Place { generation, offset: start + u64::from(extent.offset), length: extent.length, crc: extent.crc }
}
