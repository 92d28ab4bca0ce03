//! The driver's state machine: the pure state, kept in the engine as it changes.

use crate::{
    StartError,
    command::{Command, Reply},
    state::{State, Touched},
    store,
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use quorate_consensus::{
    Applied, Entry, FOUNDING_POSITION, Fatal, Leadership, Membership, SnapshotSink, SnapshotSource,
    StateMachine, founding_membership,
};
use quorate_env::{Env, planted, watch};
use quorate_proto::{LogPosition, NodeId, Replica, ReplicaId, ShardId, rpc};
use quorate_storage::{Engine, Family, Snapshot, StorageError, WriteBatch, meta};
use std::{sync::Arc, time::Duration};

const SELF: ShardId = ShardId::PLACEMENT;
/// Pairs of a snapshot chunk take about this many bytes.
const CHUNK: usize = 256 << 10;
/// Applied entries are made durable apart from the log this long after the first of them.
const FLUSH_AFTER: Duration = Duration::from_secs(60);

pub struct Machine {
    core: Arc<Core>,
    replica: ReplicaId,
}

/// What a snapshot on its way in needs too.
struct Core {
    engine: Arc<dyn Engine>,
    shared: RwLock<Shared>,
    flushed: Mutex<LogPosition>,
    changes: watch::Sender<Seen>,
}

struct Shared {
    state: State,
    applied: Applied,
}

/// What watchers wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub applied: LogPosition,
    pub map_version: u64,
    pub schema: u64,
    /// The replica is a member no more: nothing comes any more.
    pub closed: bool,
}

impl Seen {
    fn of(shared: &Shared) -> Self {
        let counters = &shared.state.counters;
        Seen {
            applied: shared.applied.position,
            map_version: counters.map_version,
            schema: counters.schema,
            closed: false,
        }
    }
}

impl Machine {
    /// Opens what the engine holds: nothing yet, if this replica is to be brought up by a snapshot.
    pub fn open(engine: Arc<dyn Engine>, replica: ReplicaId) -> Result<Arc<Self>, StorageError> {
        // What is found may have been written by an earlier life in this very process: then it is not durable yet.
        engine.flush()?;
        let snapshot = engine.snapshot();
        let applied = read_applied(&*snapshot)?;
        let state = store::load(&*snapshot)?;
        drop(snapshot);
        let flushed = applied.position;
        let shared = Shared { state, applied };
        let core = Core {
            engine,
            changes: watch::Sender::new(Seen::of(&shared)),
            shared: RwLock::new(shared),
            flushed: Mutex::new(flushed),
        };
        Ok(Arc::new(Machine { core: Arc::new(core), replica }))
    }

    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// A, as it was opened with or has come since.
    pub fn position(&self) -> LogPosition {
        self.core.shared.read().applied.position
    }

    /// The replica ends: whoever waits for changes goes.
    pub fn close(&self) {
        self.core.changes.send_modify(|seen| seen.closed = true);
    }

    /// The state as applied here.
    pub fn state(&self) -> impl std::ops::Deref<Target = State> + '_ {
        RwLockReadGuard::map(self.core.shared.read(), |shared| &shared.state)
    }

    pub fn changes(&self) -> watch::Receiver<Seen> {
        self.core.changes.subscribe()
    }
}

/// Writes what every founder begins with, durably.
pub fn found(engine: &dyn Engine, node: NodeId, members: &[Replica]) -> Result<ReplicaId, StartError> {
    let own = members.iter().find(|member| member.node == node).ok_or(StartError::NotAMember(node))?.id;
    let mut batch = WriteBatch::new();
    store::put_replica(&mut batch, own);
    put_position(&mut batch, FOUNDING_POSITION, Some(&founding_membership(members)));
    engine.write(&batch)?;
    engine.flush()?;
    Ok(own)
}

impl Core {
    fn publish(&self, shared: &Shared) {
        self.changes.send_modify(|seen| *seen = Seen { closed: seen.closed, ..Seen::of(shared) });
    }
}

/// Makes applied entries durable apart from the log, so that it can be trimmed. Does nothing while nothing is applied.
pub async fn flush(env: Env, machine: Arc<Machine>) {
    let mut changes = machine.changes();
    loop {
        let flushed = *machine.core.flushed.lock();
        if changes.wait_for(|seen| seen.closed || seen.applied > flushed).await.is_err() {
            return;
        }
        env.sleep(FLUSH_AFTER).await;
        if changes.borrow().closed {
            return;
        }
        let applied = machine.core.shared.read().applied.position;
        let engine = machine.core.engine.clone();
        match env.blocking("placement.flush", move || engine.flush()).await {
            Ok(()) => {
                let mut flushed = machine.core.flushed.lock();
                *flushed = (*flushed).max(applied);
            }
            Err(error @ StorageError::NoSpace(_)) => {
                tracing::debug!(%error, "the placement driver's state cannot be flushed");
            }
            Err(error) => tracing::error!(%error, "the placement driver's state was not flushed"),
        }
    }
}

impl StateMachine for Machine {
    fn applied(&self) -> Applied {
        self.core.shared.read().applied.clone()
    }

    fn apply(&self, entries: &[Entry]) -> Result<Vec<Bytes>, Fatal> {
        let mut shared = self.core.shared.write();
        let shared = &mut *shared;
        let mut touched = Touched::default();
        let mut batch = WriteBatch::new();
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.position <= shared.applied.position {
                return Err(Fatal(format!("entry {} was applied before", entry.position)));
            }
            replies.push(match &entry.command {
                None => Bytes::new(),
                Some(raw) => {
                    let reply = match rpc::decode::<Command>(raw) {
                        Ok(command) => shared.state.apply(command, &mut touched),
                        // Every replica of this release meets it alike.
                        Err(error) => Reply::Refused(format!("an unknown command: {error}")),
                    };
                    rpc::encode(&reply)
                }
            });
            shared.applied.position = entry.position;
            if let Some(membership) = &entry.membership {
                shared.applied.membership = Some((membership.position, membership.encoded.clone()));
            }
            put_position(&mut batch, entry.position, entry.membership.as_ref());
        }
        store::save(&mut batch, &shared.state, &touched);
        self.core.engine.write(&batch).map_err(fatal)?;
        self.core.publish(shared);
        Ok(replies)
    }

    fn has_room(&self) -> bool {
        !self.core.engine.is_full()
    }

    fn flushed(&self) -> LogPosition {
        *self.core.flushed.lock()
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        let snapshot = self.core.engine.snapshot();
        let applied = read_applied(&*snapshot).map_err(fatal)?;
        let membership =
            applied.membership.ok_or_else(|| Fatal("the driver's members are unknown".into()))?;
        let pairs = own_pairs(&*snapshot).map_err(fatal)?;
        Ok(Box::new(Source { position: applied.position, membership, pairs, at: 0 }))
    }

    fn restore(&self) -> Result<Box<dyn SnapshotSink>, Fatal> {
        Ok(Box::new(Sink { core: self.core.clone(), batch: WriteBatch::new() }))
    }

    fn leadership(&self, _leadership: &Leadership) {}
}

struct Source {
    position: LogPosition,
    membership: (LogPosition, Bytes),
    pairs: Vec<(Bytes, Bytes)>,
    at: usize,
}

/// Chunks are write batches of puts.
impl SnapshotSource for Source {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn membership(&self) -> (LogPosition, Bytes) {
        self.membership.clone()
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>, Fatal> {
        let mut batch = WriteBatch::new();
        let mut size = 0;
        while let Some((key, value)) = self.pairs.get(self.at)
            && size < CHUNK
        {
            size += key.len() + value.len();
            batch.put(Family::Meta, key.clone(), value.clone());
            self.at += 1;
        }
        Ok((!batch.is_empty()).then(|| rpc::encode(&batch)))
    }
}

struct Sink {
    core: Arc<Core>,
    batch: WriteBatch,
}

impl SnapshotSink for Sink {
    fn chunk(&mut self, chunk: Bytes) -> Result<(), Fatal> {
        let batch = WriteBatch::from_bytes(&chunk).map_err(|error| Fatal(format!("a bad chunk: {error}")))?;
        self.batch.extend(batch);
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Fatal> {
        // Where that cannot be flushed which is there, the new state could not be either.
        self.core.engine.flush().map_err(fatal)
    }

    fn finish(self: Box<Self>, position: LogPosition, membership: Membership) -> Result<(), Fatal> {
        // The whole state is small: one batch replaces it, so that no crash leaves a mixture.
        let mut batch = WriteBatch::new();
        let mut shared = self.core.shared.write();
        for (key, _) in own_pairs(&*self.core.engine.snapshot()).map_err(fatal)? {
            if !planted!("placement.snapshot_over_old_state") {
                batch.delete(Family::Meta, key);
            }
        }
        batch.extend(self.batch);
        put_position(&mut batch, position, Some(&membership));
        self.core.engine.write(&batch).map_err(fatal)?;
        self.core.engine.flush().map_err(fatal)?;
        let snapshot = self.core.engine.snapshot();
        shared.state = store::load(&*snapshot).map_err(fatal)?;
        shared.applied = read_applied(&*snapshot).map_err(fatal)?;
        *self.core.flushed.lock() = position;
        self.core.publish(&shared);
        Ok(())
    }
}

/// The state's own pairs: without the position, the members and which replica this is.
fn own_pairs(snapshot: &dyn Snapshot) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let range = meta::shard_range(SELF);
    let pairs = snapshot.iter(Family::Meta, &range.start, range.end.as_deref(), false);
    let own = |pair: &Result<(Bytes, Bytes), StorageError>| match pair {
        Ok((key, _)) => key.get(8).is_some_and(|kind| store::is_state(*kind)),
        Err(_) => true,
    };
    pairs.filter(own).collect()
}

fn put_position(batch: &mut WriteBatch, position: LogPosition, membership: Option<&Membership>) {
    meta::put(batch, SELF, &meta::APPLIED, &meta::Applied { position, leader: None });
    if let Some(membership) = membership {
        let stored = meta::Membership { position: membership.position, encoded: membership.encoded.to_vec() };
        meta::put(batch, SELF, &meta::MEMBERSHIP, &stored);
    }
}

fn read_applied(snapshot: &dyn Snapshot) -> Result<Applied, StorageError> {
    let position = meta::get(snapshot, SELF, &meta::APPLIED)?.map(|applied| applied.position);
    let membership = meta::get(snapshot, SELF, &meta::MEMBERSHIP)?;
    Ok(Applied {
        position: position.unwrap_or_default(),
        membership: membership.map(|m| (m.position, Bytes::from(m.encoded))),
    })
}

fn fatal(error: StorageError) -> Fatal {
    Fatal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command::GearRequest, state::sample::shard};
    use quorate_proto::{Key, ReplicaRole, Timestamp, placement::Operation};
    use quorate_storage::MemEngine;

    fn open(engine: &MemEngine, done: bool) -> Arc<Machine> {
        let member = Replica { id: ReplicaId(1), node: NodeId(1), role: ReplicaRole::Voter };
        if !done {
            found(engine, NodeId(1), &[member]).unwrap();
        }
        Machine::open(Arc::new(engine.clone()), ReplicaId(1)).unwrap()
    }

    fn apply(machine: &Machine, index: u64, command: Command) {
        let position = LogPosition { term: 2, index };
        let command = Some(rpc::encode(&command));
        machine.apply(&[Entry { position, evaluated_term: 2, command, membership: None }]).unwrap();
    }

    /// The split was made, and merged away again, before whoever carries it out has heard of it.
    #[test]
    fn ids_that_a_split_has_used_up_are_not_used_again() {
        let machine = open(&MemEngine::new(), false);
        let at = Timestamp::from_micros(1);
        let operation = Operation::Split { at: Key::from("m") };
        let start = Command::StartOperation { operation, origin: "operator".into(), at, decision: None };
        let request = GearRequest { shard: true, replicas: 1, of: ShardId(1), node: None, above: 0 };
        let equip = |index| {
            let id = machine.state().running().next().expect("it runs").status.id;
            apply(&machine, index, Command::Equip { id, gear: request });
            machine.state().operations[&id].gear.clone().expect("equipped")
        };
        apply(&machine, 11, Command::Learn(vec![shard(1, "", None, 1)]));
        apply(&machine, 12, start);
        let first = equip(13);
        assert_eq!(equip(14), first, "a repetition uses the same");
        let halves = vec![shard(1, "", Some("m"), 2), shard(first.shard.0, "m", None, 2)];
        apply(&machine, 15, Command::Learn(halves));
        apply(&machine, 16, Command::Learn(vec![shard(1, "", None, 3)]));
        let second = equip(17);
        assert!(second.shard != first.shard && second.replica > first.replica, "{second:?}");
    }

    /// One half of a split is not known yet, so that the left of a merge is not either. Its right is the left of another one.
    #[test]
    fn merges_that_share_a_shard_do_so_also_beside_a_hole_in_the_map() {
        let machine = open(&MemEngine::new(), false);
        let halves = [shard(1, "", Some("b"), 2), shard(3, "d", Some("m"), 1), shard(4, "m", None, 1)];
        apply(&machine, 11, Command::Learn(halves.into()));
        let concerned = |at: &str| machine.state().concerned(&Operation::Merge { at: Key::from(at) });
        assert_eq!(concerned("d"), [1, 3].map(ShardId));
        assert_eq!(concerned("m"), [3, 4].map(ShardId));
    }

    #[test]
    fn a_snapshot_leaves_nothing_of_what_was_there() {
        let (engine, other) = (MemEngine::new(), MemEngine::new());
        let (to, from) = (open(&engine, false), open(&other, false));
        apply(&to, 11, Command::SetSetting("gc_ttl".into(), "77min".into()));
        apply(&from, 11, Command::RaiseSchema(1));
        apply(&from, 12, Command::RaiseSchema(2));
        let (mut source, mut sink) = (from.snapshot().unwrap(), to.restore().unwrap());
        while let Some(chunk) = source.next_chunk().unwrap() {
            sink.chunk(chunk).unwrap();
        }
        let (position, encoded) = source.membership();
        let membership = Membership { position, encoded, replicas: vec![], joint: false };
        sink.finish(source.position(), membership).unwrap();
        let same = |to: &Machine| *to.state() == *from.state() && to.applied() == from.applied();
        assert!(same(&to) && to.flushed() == from.applied().position, "{:?}", *to.state());
        engine.crash();
        assert!(same(&open(&engine, true)), "durable when it is through");
    }
}
