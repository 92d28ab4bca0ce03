//! The replica as a state machine: applies what its group has committed.
//!
//! Everything an entry changes (data, intents, records, range, members, GC threshold and the applied position itself)
//! goes down in one batch, so that whatever a crash leaves of the engine is the state after some entry (PROTOCOL 8). Only
//! the log makes an entry durable; the engine follows when the node's flusher says so.

use crate::{
    command::{self, Command, Extras, Split},
    merge,
    replica::{RangeState, Replica},
    revive, snapshot,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use quorate_consensus::{
    Applied, Entry, Fatal, Leadership, Membership, SnapshotSink, SnapshotSource, StateMachine,
};
use quorate_proto::{LogPosition, Timestamp};
use quorate_storage::{Family, StorageError, WriteBatch, WriteOp, meta, mvcc};
use std::{any::Any, sync::Arc};

pub(crate) fn fatal(error: StorageError) -> Fatal {
    Fatal(error.to_string())
}

/// The state machine that consensus holds.
pub struct Machine(pub Arc<Replica>);

impl StateMachine for Machine {
    fn applied(&self) -> Applied {
        self.0.applied.lock().clone()
    }

    fn may_apply(&self, entries: &[Entry]) -> bool {
        let commands = entries.iter().filter_map(|entry| entry.command.as_ref());
        commands.filter(|raw| command::may_wait(raw)).all(|raw| match Command::decode(raw) {
            Ok(command) => command.extras.merge.is_none_or(|step| merge::may_apply(&self.0.context, &step)),
            // The attempt to apply it tells.
            Err(_) => true,
        })
    }

    fn apply(&self, entries: &[Entry]) -> Result<Vec<Bytes>, Fatal> {
        let Some(last) = entries.last() else { return Ok(Vec::new()) };
        let replica = &self.0;
        if replica.is_retired() {
            // Nothing but blank entries; and what is known of it on disk stays gone.
            replica.applied.lock().position = last.position;
            return Ok(vec![Bytes::new(); entries.len()]);
        }
        let before = replica.state.load_full();
        let mut state = before.clone();
        let mut batch = WriteBatch::new();
        let (mut splits, mut images, mut merged) = (Vec::new(), Vec::new(), Vec::new());
        let mut ended = Vec::new();
        let mut membership = None;
        let closed = replica.closed();
        for entry in entries {
            if let Some(new) = &entry.membership {
                membership = Some(new);
                set_members(&mut state, new);
            }
            if let Some(raw) = &entry.command {
                let mut command = Command::decode(raw)
                    .map_err(|error| Fatal(format!("entry {}: {error}", entry.position)))?;
                crate::story::applied(replica.context.env.node(), replica.shard, entry.position, &command);
                merge::check_sealed(&state, entry.position, &command)?;
                raise_thresholds(&mut state, &command.extras);
                self.check_closed(closed, entry.position, &command)?;
                self.check_collected(state.gc_threshold, entry.position, &command)?;
                self.check_forgotten(state.record_threshold, entry.position, &command)?;
                if command.batch.ops.iter().any(|op| matches!(op, WriteOp::Put(Family::Data, ..))) {
                    replica.litter.written();
                }
                batch.extend(command.batch);
                if let Some(split) = command.extras.split.take() {
                    splits.push(self.split(split, &mut state, &mut batch)?);
                }
                if let Some(step) = command.extras.merge.take() {
                    let state = Arc::make_mut(&mut state);
                    merged.extend(merge::apply(replica, *step, entry.position, state, &mut batch)?);
                }
                if let Some(epochs) = command.extras.revived.take() {
                    revive::begin_epochs(Arc::make_mut(&mut state), epochs);
                }
                images.extend(command.extras.locks.take().map(|image| (entry.position, image)));
                if !command.extras.records.is_empty() {
                    replica.ledger.written();
                }
                command.extras.committed().for_each(|(ts, txn)| replica.context.writers.enter(ts, txn));
                ended.extend(command.extras.ended());
                command.extras.write(entry.position, &mut batch);
            }
        }
        let position = last.position;
        self.put_metadata(position, membership, &mut batch);
        if !Arc::ptr_eq(&before, &state) {
            meta::put(&mut batch, replica.shard, &meta::DESCRIPTOR, &state.descriptor);
            meta::put(&mut batch, replica.shard, &meta::GC_THRESHOLD, &state.gc_threshold);
            meta::put(&mut batch, replica.shard, &meta::RECORD_THRESHOLD, &state.record_threshold);
            if !same_seal(&before, &state) {
                merge::put_sealed(&mut batch, replica.shard, state.sealed.as_deref());
            }
            meta::put(&mut batch, replica.shard, &meta::LOW_WATER, &state.low_water);
            quorate_env::witness::owns(&state.descriptor);
            replica.state.store(state);
        }
        replica.context.engine.write(&batch).map_err(fatal)?;
        {
            let mut applied = replica.applied.lock();
            assert!(position > applied.position, "shard {}: applied moves only up", replica.shard);
            applied.position = position;
            if let Some(new) = membership {
                applied.membership = Some((new.position, new.encoded.clone()));
            }
        }
        replica.stir();
        quorate_env::count!("quorate_shard_entries_applied_total", entries.len() as u64);
        replica.context.flush.changed(batch.byte_size() as u64);
        // Here and not where it was proposed: whoever proposed may have been told that the outcome is unknown.
        if let Some(leader) =
            replica.leader_now().filter(|_| !quorate_env::planted!("shard.locks_outlive_commit"))
        {
            ended.into_iter().for_each(|txn| leader.finish_txn(txn, std::iter::empty()));
        }
        for (position, image) in images {
            replica.inherit(position, image);
        }
        merged.into_iter().for_each(|done| merge::after_apply(replica, done));
        for split in splits.into_iter().flatten() {
            crate::split::after_apply(replica, split);
        }
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn has_room(&self) -> bool {
        !self.0.context.engine.is_full()
    }

    fn damaged(&self, error: &StorageError) {
        self.0.context.condemn(&self.0, error);
    }

    fn flushed(&self) -> LogPosition {
        *self.0.flushed.lock()
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(snapshot::Source::open(&self.0)?))
    }

    fn restore(&self) -> Result<Box<dyn SnapshotSink>, Fatal> {
        Ok(Box::new(snapshot::Sink::open(&self.0)?))
    }

    fn before_hand_over(&self) -> BoxFuture<'_, Box<dyn Any + Send>> {
        let still = async { Box::new(crate::hand_over::prepare(&self.0).await) as Box<dyn Any + Send> };
        Box::pin(still)
    }

    fn leadership(&self, leadership: &Leadership) {
        self.0.leadership_changed(leadership);
    }
}

impl Machine {
    /// Nothing is written at or below K, but what an intent held that was there before (PROTOCOL 22).
    fn check_closed(&self, closed: Timestamp, at: LogPosition, command: &Command) -> Result<(), Fatal> {
        let shard = self.0.shard;
        let broken = |ts| Fatal(format!("shard {shard}: entry {at} writes at {ts}, and {closed} is closed"));
        if let Some((_, intent)) = command.extras.intents.iter().find(|(_, intent)| intent.ts <= closed) {
            return Err(broken(intent.ts));
        }
        for op in &command.batch.ops {
            let WriteOp::Put(Family::Data, key, _) = op else { continue };
            let (user_key, ts) = mvcc::split_raw(key).map_err(fatal)?;
            if ts <= closed && self.0.context.engine.get(Family::Intent, user_key).map_err(fatal)?.is_none() {
                return Err(broken(ts));
            }
        }
        Ok(())
    }

    /// Nothing is removed that may still be read (PROTOCOL 24).
    fn check_collected(&self, threshold: Timestamp, at: LogPosition, command: &Command) -> Result<(), Fatal> {
        for op in &command.batch.ops {
            let WriteOp::Delete(Family::Data, key) = op else { continue };
            let (_, ts) = mvcc::split_raw(key).map_err(fatal)?;
            if ts > threshold {
                let shard = self.0.shard;
                return Err(Fatal(format!(
                    "shard {shard}: entry {at} removes a version of {ts}, and the threshold is {threshold}"
                )));
            }
        }
        Ok(())
    }

    /// No record goes that may still be asked for (PROTOCOL 12).
    fn check_forgotten(&self, threshold: Timestamp, at: LogPosition, command: &Command) -> Result<(), Fatal> {
        match command.extras.forgotten.iter().find(|forgotten| forgotten.deadline > threshold) {
            None => Ok(()),
            Some(forgotten) => Err(Fatal(format!(
                "shard {}: entry {at} removes {forgotten:?}, and the threshold is {threshold}",
                self.0.shard
            ))),
        }
    }

    fn put_metadata(&self, position: LogPosition, membership: Option<&Membership>, batch: &mut WriteBatch) {
        let shard = self.0.shard;
        meta::put(batch, shard, &meta::APPLIED, &meta::Applied { position, leader: None });
        if let Some(new) = membership {
            let stored = meta::Membership { position: new.position, encoded: new.encoded.to_vec() };
            meta::put(batch, shard, &meta::MEMBERSHIP, &stored);
        }
    }

    /// Takes over the left half's new range and founds the right half's state. `None` when there is nothing to open: the
    /// right half was here and has been destroyed since.
    fn split(
        &self,
        split: Split,
        state: &mut Arc<RangeState>,
        batch: &mut WriteBatch,
    ) -> Result<Option<Split>, Fatal> {
        let state = Arc::make_mut(state);
        state.descriptor.span = split.left.span.clone();
        state.descriptor.version = split.left.version;
        let founded = crate::split::found_right(&self.0, &split, state, batch).map_err(fatal)?;
        Ok(founded.then_some(split))
    }
}

fn same_seal(one: &RangeState, two: &RangeState) -> bool {
    match (&one.sealed, &two.sealed) {
        (None, None) => true,
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        _ => false,
    }
}

fn raise_thresholds(state: &mut Arc<RangeState>, extras: &Extras) {
    if let Some(threshold) = extras.gc_threshold.filter(|threshold| *threshold > state.gc_threshold) {
        Arc::make_mut(state).gc_threshold = threshold;
    }
    if let Some(threshold) = extras.record_threshold.filter(|threshold| *threshold > state.record_threshold) {
        Arc::make_mut(state).record_threshold = threshold;
    }
}

/// The configuration changes when a change of members is complete, not in its joint phase.
fn set_members(state: &mut Arc<RangeState>, new: &Membership) {
    let mut replicas = new.replicas.clone();
    replicas.sort_by_key(|replica| replica.id);
    let mut present = state.descriptor.replicas.clone();
    present.sort_by_key(|replica| replica.id);
    if new.joint || present == replicas {
        return;
    }
    let descriptor = &mut Arc::make_mut(state).descriptor;
    descriptor.replicas = replicas;
    descriptor.config_epoch += 1;
}
