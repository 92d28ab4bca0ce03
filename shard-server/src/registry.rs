//! The one place where replicas come to life and end.
//!
//! A replica is born in one of four ways: found in the engine at start, founded with a brand new shard, created empty to
//! receive a snapshot (also under the id of a member that was never made here), or as the right half of a local replica's split. Keys that a local replica still holds can come
//! into a new one by that replica's split only (PROTOCOL 25); the other ways refuse them. It ends when it is destroyed, or when its
//! left neighbour absorbs it ([`crate::merge`]). One that has lost all others may go on under another id ([`crate::revive`]).

use crate::{
    Context,
    machine::{Machine, fatal},
    merge,
    replica::{RangeState, Replica},
    revive,
};
use futures::future::try_join_all;
use quorate_consensus::{Applied, FOUNDING_POSITION, OpenError, Start, founding_membership};
use quorate_proto::{KvError, ReplicaId, ShardDescriptor, ShardId, Timestamp};
use quorate_storage::{
    Engine, Family, FamilyRange, StorageError, WriteBatch,
    meta::{self, ReplicaState},
};
use std::{collections::btree_map::Entry, sync::Arc};

/// At the start of a node.
const OPENED_AT_A_TIME: usize = 32;

pub(crate) fn internal(error: impl std::fmt::Display) -> KvError {
    KvError::Internal { why: error.to_string() }
}

impl Context {
    /// Opens every replica that the engine knows. At start, before any request is answered.
    pub(crate) async fn open_all(self: &Arc<Self>) -> Result<(), KvError> {
        let _one = self.registry.lock().await;
        let snapshot = self.engine.snapshot();
        let mut found = Vec::new();
        for shard in meta::shards(&*snapshot).map_err(internal)? {
            match meta::get(&*snapshot, shard, &meta::REPLICA).map_err(internal)? {
                Some(ReplicaState::Active(id) | ReplicaState::Empty(id)) => {
                    self.consensus.forget_others(shard, id).await?;
                    found.push(self.load(shard, id).map_err(internal)?);
                }
                // Its log may have outlived it in a crash.
                Some(ReplicaState::Gone(_)) => self.consensus.remove(shard).await?,
                // Another part's metadata (the placement driver's).
                None => {}
            }
        }
        drop(snapshot);
        // All are known before the first is open: one may be absorbed by another at once.
        self.replicas.write().extend(found.iter().map(|replica| (replica.shard, replica.clone())));
        let mut whole = Vec::new();
        for replica in found {
            match revive::is_fenced(self, &replica)? {
                true => _ = replica.note_damage(revive::GIVEN_UP.into()),
                false => whole.push(replica),
            }
        }
        // Thousands of them one after the other would take as long as they wait for their tasks.
        for some in whole.chunks(OPENED_AT_A_TIME) {
            let opened = some.iter().filter(|replica| !replica.is_retired());
            try_join_all(opened.map(|replica| self.open(replica, Start::Existing))).await?;
        }
        Ok(())
    }

    pub(crate) fn load(
        self: &Arc<Self>,
        shard: ShardId,
        id: ReplicaId,
    ) -> Result<Arc<Replica>, StorageError> {
        let engine: &dyn Engine = &*self.engine;
        let missing = || StorageError::corrupt(format!("shard {shard} has no descriptor"));
        let state = RangeState {
            descriptor: meta::get(engine, shard, &meta::DESCRIPTOR)?.ok_or_else(missing)?,
            gc_threshold: meta::get(engine, shard, &meta::GC_THRESHOLD)?.unwrap_or_default(),
            record_threshold: meta::get(engine, shard, &meta::RECORD_THRESHOLD)?.unwrap_or_default(),
            low_water: meta::get(engine, shard, &meta::LOW_WATER)?.unwrap_or_default(),
            closed: meta::get(engine, shard, &meta::CLOSED)?.unwrap_or_default(),
            sealed: meta::get(engine, shard, &merge::SEALED)?.map(Arc::new),
        };
        let applied = Applied {
            position: meta::get(engine, shard, &meta::APPLIED)?.unwrap_or_default().position,
            membership: meta::get(engine, shard, &meta::MEMBERSHIP)?.map(|m| (m.position, m.encoded.into())),
        };
        Ok(Replica::new(self.clone(), shard, id, state, applied))
    }

    pub(crate) async fn open(self: &Arc<Self>, replica: &Arc<Replica>, start: Start) -> Result<(), KvError> {
        let machine = Arc::new(Machine(replica.clone()));
        let group = match self.consensus.open(replica.shard, replica.id, start, machine).await {
            Err(OpenError::AlreadyOpen(shard)) => {
                self.consensus.group(shard).ok_or_else(|| internal("an open group vanished"))?
            }
            opened => opened.map_err(internal)?,
        };
        replica.group.store(Some(group));
        if replica.is_retired() {
            // Absorbed meanwhile, by a replica that was open before.
            replica.group.store(None);
            self.consensus.close(replica.shard).await;
        }
        Ok(())
    }

    /// Its left neighbour has taken its keys over: it is forgotten, and its log goes when that is durable
    /// ([`merge::Absorbed`]).
    pub(crate) fn let_go(self: &Arc<Self>, replica: &Arc<Replica>) {
        self.replicas.write().remove(&replica.shard);
        self.absorbed.lock().add(replica.shard, replica.descriptor().span);
        if replica.retire().is_some() {
            let (context, shard) = (self.clone(), replica.shard);
            let close = async move { context.consensus.close(shard).await };
            self.env.spawn("shard.close_absorbed", close).detach();
        }
    }

    /// Founds this node's copy of a new shard.
    pub(crate) async fn create_shard(self: &Arc<Self>, descriptor: ShardDescriptor) -> Result<(), KvError> {
        let _one = self.registry.lock().await;
        let shard = descriptor.id;
        if descriptor.voters().next().is_none() {
            return Err(KvError::BadRequest { why: format!("shard {shard} has no voters") });
        }
        let Some(member) = descriptor.replica_on(self.env.node()).cloned() else {
            return Err(KvError::BadRequest { why: format!("shard {shard} has no replica on this node") });
        };
        let start = Start::Founding { members: descriptor.replicas.clone() };
        let replica = match self.replica(shard) {
            Some(replica) if replica.group.load().is_some() => return Ok(()),
            Some(replica) => replica,
            None => {
                self.check_new(&descriptor, member.id)?;
                let replica = self.add(descriptor.clone(), member.id, founded(&descriptor))?;
                let mut batch = WriteBatch::new();
                put_founded(&mut batch, &descriptor, member.id);
                self.write_durably(batch).await?;
                replica
            }
        };
        self.open(&replica, start).await
    }

    /// Creates an empty copy that waits for a snapshot.
    pub(crate) async fn create_learner(
        self: &Arc<Self>,
        descriptor: ShardDescriptor,
        id: ReplicaId,
    ) -> Result<(), KvError> {
        let _one = self.registry.lock().await;
        let shard = descriptor.id;
        self.clear_damaged(shard, id).await?;
        let replica = match self.replica(shard) {
            Some(replica) if replica.id == id && replica.group.load().is_some() => return Ok(()),
            Some(replica) if replica.id == id => replica,
            Some(other) => {
                let why = format!("shard {shard} already has replica {} on this node", other.id);
                return Err(KvError::BadRequest { why });
            }
            None => {
                self.check_new(&descriptor, id)?;
                self.check_unknown(&descriptor, id)?;
                let replica = self.add(descriptor.clone(), id, Applied::default())?;
                let mut batch = WriteBatch::new();
                meta::put(&mut batch, shard, &meta::REPLICA, &ReplicaState::Empty(id));
                meta::put(&mut batch, shard, &meta::DESCRIPTOR, &descriptor);
                self.write_durably(batch).await?;
                replica
            }
        };
        self.open(&replica, Start::Learner).await
    }

    fn check_new(&self, descriptor: &ShardDescriptor, id: ReplicaId) -> Result<(), KvError> {
        let shard = descriptor.id;
        let engine: &dyn Engine = &*self.engine;
        if let Some(ReplicaState::Gone(gone)) = meta::get(engine, shard, &meta::REPLICA).map_err(internal)?
            && id <= gone
            && !quorate_env::planted!("shard.destroyed_copy_comes_back")
        {
            return Err(KvError::BadRequest {
                why: format!("replica {id} of shard {shard} was destroyed here"),
            });
        }
        match self.overlapping(shard, &descriptor.span).first() {
            Some(other) if !quorate_env::planted!("shard.overlap_allowed") => Err(KvError::NotReady {
                shard,
                why: format!("its keys still belong to shard {} on this node", other.shard),
            }),
            _ => Ok(()),
        }
    }

    /// One that is a member already may begin empty only if it has never acknowledged or promised anything: no log of it
    /// is here, and the node has not lost all it had (PROTOCOL 7).
    fn check_unknown(&self, descriptor: &ShardDescriptor, id: ReplicaId) -> Result<(), KvError> {
        let shard = descriptor.id;
        if descriptor.replicas.iter().all(|member| member.id != id) {
            return Ok(());
        }
        // The placement driver's replica may have come to the node since it lost its disk.
        let known = meta::shards(&*self.engine.snapshot()).map_err(internal)?;
        let blank = known.iter().all(|shard| *shard == ShardId::PLACEMENT);
        let forgotten = blank || self.consensus.has_log(shard);
        if forgotten && !quorate_env::planted!("shard.lost_copy_comes_back") {
            let why = format!("replica {id} of shard {shard} may have promised something here that is lost");
            return Err(KvError::BadRequest { why });
        }
        quorate_env::probe!("shard.made_missing_member");
        Ok(())
    }

    fn add(
        self: &Arc<Self>,
        descriptor: ShardDescriptor,
        id: ReplicaId,
        applied: Applied,
    ) -> Result<Arc<Replica>, KvError> {
        let shard = descriptor.id;
        let zero = Timestamp::ZERO;
        let state = RangeState {
            descriptor,
            gc_threshold: zero,
            record_threshold: zero,
            low_water: zero,
            closed: zero,
            sealed: None,
        };
        let replica = Replica::new(self.clone(), shard, id, state, applied);
        match self.replicas.write().entry(shard) {
            Entry::Vacant(place) => Ok(place.insert(replica).clone()),
            // A split was applied since the caller looked.
            Entry::Occupied(_) => {
                Err(KvError::NotReady { shard, why: "it is being created by a split".into() })
            }
        }
    }

    /// The right half of a local split, while the split is applied: its state goes into the split's own batch. `false` if
    /// it was destroyed here since. Its log and vote are never touched here; [`Context::open`] finds them as they are.
    pub(crate) fn add_right(
        self: &Arc<Self>,
        state: RangeState,
        batch: &mut WriteBatch,
    ) -> Result<bool, StorageError> {
        let descriptor = state.descriptor.clone();
        let shard = descriptor.id;
        if self.replica(shard).is_some() {
            return Ok(true);
        }
        let member = descriptor.replica_on(self.env.node());
        let id = member.ok_or_else(|| StorageError::Misuse("a split without this node".into()))?.id;
        let engine: &dyn Engine = &*self.engine;
        if let Some(ReplicaState::Gone(gone)) = meta::get(engine, shard, &meta::REPLICA)?
            && id <= gone
        {
            for family in Family::KEYED {
                batch.delete_range(FamilyRange::of_span(family, &descriptor.span));
            }
            return Ok(false);
        }
        put_founded(batch, &descriptor, id);
        meta::put(batch, shard, &meta::GC_THRESHOLD, &state.gc_threshold);
        meta::put(batch, shard, &meta::RECORD_THRESHOLD, &state.record_threshold);
        meta::put(batch, shard, &meta::LOW_WATER, &state.low_water);
        meta::put(batch, shard, &meta::CLOSED, &state.closed);
        let replica = Replica::new(self.clone(), shard, id, state, founded(&descriptor));
        self.replicas.write().insert(shard, replica);
        Ok(true)
    }

    /// Removes a copy and all it holds. What a crash leaves: before the batch is durable a replica that can be destroyed
    /// again; after it a tombstone, and perhaps a log, which the next start removes.
    pub(crate) async fn destroy(self: &Arc<Self>, shard: ShardId, id: ReplicaId) -> Result<(), KvError> {
        let _one = self.registry.lock().await;
        let Some(replica) = self.replica(shard) else { return self.bury(shard, id).await };
        if id < replica.id {
            return Ok(());
        }
        if id > replica.id {
            let why = format!("this node holds replica {} of shard {shard}, not {id}", replica.id);
            return Err(KvError::BadRequest { why });
        }
        if self.awaits_decision(&replica) {
            return Err(replica.not_ready("it is sealed, and its left neighbour's log decides"));
        }
        replica.stop_leading();
        if let Some(group) = replica.group.swap(None) {
            group.stop().await;
        }
        self.remove(&replica).await
    }

    /// It is sealed, and the left's copy here may have to absorb it yet.
    fn awaits_decision(&self, replica: &Replica) -> bool {
        let Some(sealed) = replica.state.load().sealed.clone() else { return false };
        if quorate_env::planted!("shard.undecided_copy_destroyed") {
            return false;
        }
        let decided = |left: &Replica| !left.is_empty() && merge::is_decided(&left.descriptor(), replica);
        self.replica(sealed.seal.left).is_some_and(|left| !decided(&left))
    }

    /// The second part of the end of a replica, which has stopped.
    pub(crate) async fn remove(self: &Arc<Self>, replica: &Arc<Replica>) -> Result<(), KvError> {
        let shard = replica.shard;
        let (context, ending) = (self.clone(), replica.clone());
        let write = move || {
            let _one = context.ranges.lock();
            context.engine.flush()?;
            context.engine.write(&context.end_of(&ending))?;
            context.engine.flush()
        };
        self.env.blocking("shard.remove", write).await.map_err(|e| internal(fatal(e)))?;
        self.consensus.remove(shard).await?;
        self.replicas.write().remove(&shard);
        quorate_env::probe!("shard.destroyed");
        Ok(())
    }

    /// What is left of a replica, and nothing of what another one has taken over from it by a snapshot meanwhile.
    fn end_of(&self, replica: &Replica) -> WriteBatch {
        let (shard, span) = (replica.shard, &replica.state.load().descriptor.span);
        let mut batch = WriteBatch::new();
        let is_its_own = !replica.is_empty() && self.overlapping(shard, span).is_empty();
        if is_its_own && !quorate_env::planted!("shard.destroyed_copy_leaves_data") {
            for family in Family::KEYED {
                batch.delete_range(FamilyRange::of_span(family, span));
            }
        }
        batch.delete_range(meta::shard_range(shard));
        meta::put(&mut batch, shard, &meta::REPLICA, &ReplicaState::Gone(replica.id));
        batch
    }

    /// Notes that a replica never to be seen here is gone, so that a late creation does not bring it to life.
    async fn bury(self: &Arc<Self>, shard: ShardId, id: ReplicaId) -> Result<(), KvError> {
        let engine: &dyn Engine = &*self.engine;
        if let Some(ReplicaState::Gone(gone)) = meta::get(engine, shard, &meta::REPLICA).map_err(internal)?
            && id <= gone
        {
            return Ok(());
        }
        let mut batch = WriteBatch::new();
        meta::put(&mut batch, shard, &meta::REPLICA, &ReplicaState::Gone(id));
        self.write_durably(batch).await
    }

    /// Range deletions are preceded by a flush, and nothing is told before it is durable (PROTOCOL 8).
    pub(crate) async fn write_durably(self: &Arc<Self>, batch: WriteBatch) -> Result<(), KvError> {
        let engine = self.engine.clone();
        let write = move || {
            engine.flush()?;
            engine.write(&batch)?;
            engine.flush()
        };
        self.env.blocking("shard.write_durably", write).await.map_err(|e| internal(fatal(e)))
    }
}

/// Where every founder of a shard begins.
fn founded(descriptor: &ShardDescriptor) -> Applied {
    let founding = founding_membership(&descriptor.replicas);
    Applied { position: FOUNDING_POSITION, membership: Some((founding.position, founding.encoded)) }
}

/// The state of a shard that nobody has written to.
fn put_founded(batch: &mut WriteBatch, descriptor: &ShardDescriptor, id: ReplicaId) {
    let shard = descriptor.id;
    let founding = founding_membership(&descriptor.replicas);
    let membership = meta::Membership { position: founding.position, encoded: founding.encoded.to_vec() };
    let applied = meta::Applied { position: FOUNDING_POSITION, leader: None };
    meta::put(batch, shard, &meta::MEMBERSHIP, &membership);
    meta::put(batch, shard, &meta::REPLICA, &ReplicaState::Active(id));
    meta::put(batch, shard, &meta::DESCRIPTOR, descriptor);
    meta::put(batch, shard, &meta::APPLIED, &applied);
}
