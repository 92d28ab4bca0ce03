//! openraft's log over the node's [`LogStore`]: one writer for all groups, callbacks from its thread.

use super::payload::{decode_vote, encode_vote, from_log, to_log};
use super::types::{LogId, RaftEntry, Types, Vote, log_id, position};
use crate::shared::Shared;
use bytes::Bytes;
use futures::{Stream, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use quorate_env::planted;
use quorate_proto::LogPosition;
use quorate_storage::{Done, GroupKey, LogEntry, LogStore, StorageError};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Payload that one read brings at most: of a replication message, or of a round of apply.
const READ_BYTES: u64 = 1 << 20;

#[derive(Clone)]
pub(crate) struct Log(pub Arc<Shared>);

fn storage(error: StorageError) -> io::Error {
    io::Error::other(error)
}

/// A callback, and what waits for it.
fn waiter() -> (Done, oneshot::Receiver<Result<(), StorageError>>) {
    let (tx, rx) = oneshot::channel();
    let done: Done = Box::new(move |result| {
        let _ = tx.send(result);
    });
    (done, rx)
}

async fn wait(rx: oneshot::Receiver<Result<(), StorageError>>) -> io::Result<()> {
    match rx.await {
        Ok(result) => result.map_err(storage),
        Err(_) => Err(io::Error::other("the log store dropped a request")),
    }
}

impl Log {
    fn read(&self, start: u64, end: u64, max_bytes: u64) -> io::Result<Vec<RaftEntry>> {
        let shared = &self.0;
        let found = shared.log.read(shared.key, start..end, max_bytes);
        if let Err(error @ StorageError::Corruption(_)) = &found {
            shared.machine.damaged(error);
        }
        let found = found.map_err(storage)?;
        found.iter().map(from_log).collect()
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let (start, end) = bounds(&range);
        self.read(start, end, u64::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.0.log.state(self.0.key).vote.map(|raw| decode_vote(&raw)).transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(start, end, READ_BYTES)
    }

    /// In pieces, so that a replica far behind does not pull its whole log into memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.clone();
        let pieces = stream::unfold((log, start), move |(log, next)| async move {
            if next >= end {
                return None;
            }
            let piece = match log.read(next, end, READ_BYTES) {
                Ok(piece) if piece.first().is_some_and(|e| e.log_id.index() == next) => piece,
                Ok(_) => {
                    return Some((
                        vec![Err(io::Error::other(format!("entry {next} is missing")))],
                        (log, end),
                    ));
                }
                Err(error) => return Some((vec![Err(error)], (log, end))),
            };
            let after = next + piece.len() as u64;
            Some((piece.into_iter().map(Ok).collect(), (log, after)))
        });
        futures::StreamExt::flat_map(pieces, stream::iter)
    }
}

fn bounds<RB: RangeBounds<u64>>(range: &RB) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(at) => *at,
        Bound::Excluded(at) => at + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(at) => at + 1,
        Bound::Excluded(at) => *at,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.0.log.state(self.0.key);
        Ok(LogState { last_purged_log_id: state.purged.map(log_id), last_log_id: state.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    /// Returns after the fsync (PROTOCOL 7).
    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, rx) = waiter();
        self.0.log.save_vote(self.0.key, encode_vote(vote), done);
        if planted!("consensus.vote_before_fsync") {
            return Ok(());
        }
        wait(rx).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            let committed = position(&committed);
            self.0.frontiers.lock().commit(committed).map_err(io::Error::other)?;
            self.0.log.save_committed(self.0.key, committed);
        }
        Ok(())
    }

    /// Never beyond the log's end: a crash may have taken entries that the mark outlived.
    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.0.log.state(self.0.key);
        Ok(state.committed.min(state.last).map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().map(|entry| to_log(&entry)).collect();
        let shared = self.0.clone();
        let Some(last) = entries.last().map(|entry| entry.position) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let cut = {
            let mut frontiers = shared.frontiers.lock();
            frontiers.append(last).map_err(io::Error::other)?;
            frontiers.cut()
        };
        let store = shared.log.clone();
        let begun = shared.env.boottime();
        store.append(
            shared.key,
            entries,
            Box::new(move |result| {
                if result.is_ok() {
                    let now = shared.env.boottime();
                    shared.env.tempo().synced(now, now.saturating_sub(begun));
                    shared.note_durable(last, cut);
                }
                callback.io_completed(result.map_err(storage));
            }),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let after = last_log_id.as_ref().map(position).unwrap_or_default();
        self.0.frontiers.lock().truncate(after).map_err(io::Error::other)?;
        let (done, rx) = waiter();
        self.0.log.truncate_from(self.0.key, after.index + 1, done);
        wait(rx).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let upto = position(&upto);
        let flushed = self.0.flushed();
        self.0.frontiers.lock().trim(upto, flushed).map_err(io::Error::other)?;
        let last = self.0.log.state(self.0.key).last.unwrap_or_default();
        let (done, rx) = waiter();
        if upto.index > last.index {
            self.0.log.install(self.0.key, upto, None, done);
            wait(rx).await
        } else {
            // Nobody waits for it: the state up to F is durable without the log.
            self.0.log.purge_to(self.0.key, upto, done);
            Ok(())
        }
    }
}

/// Forgets the group's log and vote, durably.
pub(crate) async fn remove(log: &dyn LogStore, key: GroupKey) -> io::Result<()> {
    let (done, rx) = waiter();
    log.remove_group(key, done);
    wait(rx).await
}

/// Gives a group its founding position as the state of its log, durably.
pub(crate) async fn install(shared: &Shared, at: LogPosition) -> io::Result<()> {
    let (done, rx) = waiter();
    shared.log.install(shared.key, at, None, done);
    wait(rx).await
}

/// The same at any position, with a vote.
pub(crate) async fn install_with_vote(
    log: &dyn LogStore,
    key: GroupKey,
    at: LogPosition,
    vote: Bytes,
) -> io::Result<()> {
    let (done, rx) = waiter();
    log.install(key, at, Some(vote), done);
    wait(rx).await
}

/// Appends entries of a replica that is not open, durably.
pub(crate) async fn append(log: &dyn LogStore, key: GroupKey, entries: Vec<LogEntry>) -> io::Result<()> {
    let (done, rx) = waiter();
    log.append(key, entries, done);
    wait(rx).await
}
