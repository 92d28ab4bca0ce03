//! openraft's state machine over ours: the term check, replies, and snapshots of which only the position is "built".

use super::types::{
    Command, LogId, RaftEntry, Reply, SnapshotMeta, StoredMembership, Types, log_id_unless_zero, position,
    position_or_zero,
};
use crate::shared::Shared;
use crate::{Entry, Membership, SnapshotSink, SnapshotSource};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend};
use quorate_env::{planted, witness};
use quorate_proto::LogPosition;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Entries that one call of the state machine takes.
const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// Between two looks whether the state machine has what an entry rests on.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// As much is applied by the task itself.
const QUICK_BYTES: usize = 64 << 10;

/// What openraft carries about as a snapshot's data.
pub(crate) enum SnapshotData {
    /// A built "snapshot": only a promise that the state up to a position is durable without the log.
    Position,
    Outgoing(Box<dyn SnapshotSource>),
    Incoming(Box<dyn SnapshotSink>),
}

pub(crate) type Snapshot = SnapshotOf<Types, SnapshotData>;

pub(crate) struct Machine {
    shared: Arc<Shared>,
    /// Memberships applied, the newest last; what a position at or after F needs.
    memberships: Vec<StoredMembership>,
    last_applied: Option<LogId>,
    /// Set when openraft has started: before that it asks for a snapshot only to learn a position.
    running: Arc<AtomicBool>,
}

impl Machine {
    pub fn new(
        shared: Arc<Shared>,
        applied: LogPosition,
        membership: StoredMembership,
        running: Arc<AtomicBool>,
    ) -> Self {
        let last_applied = log_id_unless_zero(applied);
        Machine { shared, memberships: vec![membership], last_applied, running }
    }

    fn membership_at(&self, at: LogPosition) -> StoredMembership {
        let upto = |m: &&StoredMembership| position_or_zero(m.log_id().as_ref()) <= at;
        self.memberships.iter().rev().find(upto).or(self.memberships.first()).cloned().unwrap_or_default()
    }

    fn forget_memberships_before(&mut self, at: LogPosition) {
        let upto = |m: &StoredMembership| position_or_zero(m.log_id().as_ref()) <= at;
        let keep_from = self.memberships.iter().rposition(upto).unwrap_or(0);
        self.memberships.drain(..keep_from);
    }

    /// Applies a batch and hands the replies out.
    async fn apply_batch(&mut self, batch: Vec<EntryResponder<Types>>) -> io::Result<()> {
        let Some(last) = batch.last().map(|(entry, _)| entry.log_id) else { return Ok(()) };
        if !self.shared.wait_durable(last.index()).await {
            // Nothing is answered or led here any more, and the frontiers stand; to openraft an error would be a failed disk.
            return Ok(());
        }
        if !self.shared.wait_room().await {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for (entry, responder) in batch {
            let (entry, refused) = self.admit(entry);
            entries.push(entry);
            waiting.push((responder, refused));
        }
        if !self.wait_for_machine(&entries).await {
            return Ok(());
        }
        let (replies, entries) = self.apply_entries(entries).await?;
        if replies.len() != entries.len() {
            return Err(io::Error::other("the state machine did not reply to every entry"));
        }
        self.shared.frontiers.lock().apply(position(&last)).map_err(io::Error::other)?;
        self.last_applied = Some(last);
        self.forget_memberships_before(self.shared.machine.flushed());
        for entry in &entries {
            if entry.command.is_none() && entry.membership.is_none() {
                self.shared.note_blank_applied(entry.position);
            }
        }
        for ((responder, refused), reply) in waiting.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(if refused { Reply::TermChanged } else { Reply::Applied(reply) });
            }
        }
        self.shared.note_applied();
        Ok(())
    }

    /// Until the state machine has what the entries rest on; `false` if the replica is stopped before.
    async fn wait_for_machine(&self, entries: &[Entry]) -> bool {
        let mut waited = false;
        while !self.shared.machine.may_apply(entries) {
            if self.shared.is_stopped() {
                return false;
            }
            if !std::mem::replace(&mut waited, true) {
                tracing::info!(shard = %self.shared.shard(), "an entry waits for another shard's state");
            }
            self.shared.env.sleep(LOOK_AGAIN).await;
        }
        true
    }

    /// Large batches take tens of milliseconds, which the messages and timers of other groups must not wait for.
    async fn apply_entries(&self, entries: Vec<Entry>) -> io::Result<(Vec<Bytes>, Vec<Entry>)> {
        let bytes: usize = entries.iter().filter_map(|entry| entry.command.as_ref()).map(Bytes::len).sum();
        let machine = self.shared.machine.clone();
        let apply = move || (machine.apply(&entries), entries);
        let (replies, entries) = match bytes {
            0..=QUICK_BYTES => apply(),
            _ => self.shared.env.blocking("consensus.apply", apply).await,
        };
        Ok((replies.map_err(io::Error::other)?, entries))
    }

    /// Turns an entry into what the state machine sees; true if its command was refused because it had been evaluated in
    /// another term (PROTOCOL 4).
    fn admit(&mut self, entry: RaftEntry) -> (Entry, bool) {
        let at = position(&entry.log_id);
        let mut out = Entry { position: at, evaluated_term: at.term, command: None, membership: None };
        let mut refused = false;
        witness::applies(self.shared.shard(), at, |hasher| digest(&entry.payload, hasher));
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(Command { evaluated_term, bytes }) => {
                out.evaluated_term = evaluated_term;
                if evaluated_term == at.term || planted!("consensus.other_terms_entry") {
                    out.command = Some(bytes);
                } else {
                    quorate_env::probe!("consensus.stale_term_entry");
                    refused = true;
                }
            }
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership);
                out.membership = Some(super::types::membership(&stored));
                self.memberships.push(stored);
            }
        }
        (out, refused)
    }
}

fn digest(payload: &EntryPayload<Command, u64, super::types::Member>, hasher: &mut impl Hasher) {
    match payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(Command { evaluated_term, bytes }) => (evaluated_term, bytes).hash(hasher),
        EntryPayload::Membership(membership) => format!("{membership:?}").hash(hasher),
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = PositionOnly;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.memberships.last().cloned().unwrap_or_default()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) = entries.next().await {
            let item = item?;
            if let EntryPayload::Normal(command) = &item.0.payload {
                bytes += command.bytes.len();
            }
            batch.push(item);
            if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                self.apply_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.apply_batch(batch).await
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Self::SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    /// "Building" a snapshot copies nothing: it reports F, up to which the log may be trimmed. What is sent to a replica that
    /// needs one is opened by [`Self::get_current_snapshot`], as of then.
    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let flushed = self.shared.flushed();
        PositionOnly { flushed, membership: self.membership_at(flushed) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Incoming(sink) = snapshot else {
            return Err(io::Error::other("only a received snapshot can be installed"));
        };
        let Some(last) = meta.last_log_id else {
            return Err(io::Error::other("a snapshot without a position"));
        };
        let membership: Membership = super::types::membership(&meta.last_membership);
        let at = position(&last);
        if !self.shared.wait_room().await {
            return Err(io::Error::other("stopped while there was no space for a snapshot"));
        }
        let env = self.shared.env.clone();
        env.blocking("snapshot.install", move || sink.finish(at, membership))
            .await
            .map_err(io::Error::other)?;
        self.shared.frontiers.lock().restore(at).map_err(io::Error::other)?;
        self.last_applied = Some(last);
        self.memberships = vec![meta.last_membership.clone()];
        self.shared.note_applied();
        quorate_env::probe!("consensus.snapshot_installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if !self.running.load(Ordering::Acquire) {
            return Ok(None);
        }
        let source = self.shared.machine.snapshot().map_err(io::Error::other)?;
        let (at, raw): (LogPosition, Bytes) = source.membership();
        let membership =
            StoredMembership::new(log_id_unless_zero(at), super::payload::decode_membership(&raw)?);
        let meta =
            SnapshotMeta { last_log_id: log_id_unless_zero(source.position()), last_membership: membership };
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::Outgoing(source) }))
    }
}

/// See [`Machine::get_snapshot_builder`].
pub(crate) struct PositionOnly {
    flushed: LogPosition,
    membership: StoredMembership,
}

impl RaftSnapshotBuilder<Types> for PositionOnly {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = SnapshotMeta {
            last_log_id: log_id_unless_zero(self.flushed),
            last_membership: self.membership.clone(),
        };
        Ok(Snapshot { meta, snapshot: SnapshotData::Position })
    }
}
