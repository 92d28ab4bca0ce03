//! The left's part of a merge: its log decides.

use super::{hand, is_aligned};
use crate::{
    command::{Command, MergeStep},
    latch::{Access, LatchSet},
    replica::{RangeState, Replica},
};
use quorate_consensus::Fatal;
use quorate_proto::placement::ReplicaReply;
use quorate_proto::{Key, KvError, LogPosition, Seal, ShardDescriptor, ShardId, Span, TxnId};
use quorate_storage::{
    WriteBatch,
    meta::{self, ReplicaState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Takes the keys of the sealed shard over; done already if they are here.
pub(crate) async fn absorb(replica: &Arc<Replica>, seal: Seal) -> Result<ReplicaReply, KvError> {
    let _one = replica.admin.lock().await;
    let leader = replica.leader()?;
    let own = replica.descriptor();
    if own.contains(&seal.right.span.start) {
        return Ok(ReplicaReply::Changed(vec![own]));
    }
    if own.version != seal.left_version {
        let why = format!("shard {} has changed since shard {} was sealed for it", own.id, seal.right.id);
        return Err(KvError::BadRequest { why });
    }
    let spans = vec![(own.span.clone(), Access::Write)];
    let latched = leader.latch(LatchSet { spans, ..LatchSet::default() }).await?;
    replica.still(&leader, seal.left_version)?;
    if !is_aligned(replica, &seal.right)? {
        let why =
            format!("the copies of shard {} are not where those of shard {} are", own.id, seal.right.id);
        return Err(KvError::BadRequest { why });
    }
    // Behind the entry nothing below the right's threshold may be written in either half (PROTOCOL 24).
    if seal.gc_threshold > leader.core().evaluations.closed() {
        return Err(replica.not_ready("its closed timestamp lies below the right's threshold of garbage"));
    }
    let descriptor = ShardDescriptor {
        span: Span { start: own.span.start.clone(), end: seal.right.span.end.clone() },
        version: own.version.max(seal.right.version) + 1,
        ..own
    };
    let mut command = Command::default();
    command.extras.merge = Some(Box::new(MergeStep::Absorb(seal, descriptor.clone())));
    drop(replica.propose(&leader, latched, command).await?);
    quorate_env::count!("quorate_shard_merges_total");
    Ok(ReplicaReply::Changed(vec![descriptor]))
}

/// Never absorbs it. Answers with its descriptor if it has.
pub(crate) async fn forget(replica: &Arc<Replica>, seal: &Seal) -> Result<ReplicaReply, KvError> {
    let _one = replica.admin.lock().await;
    let leader = replica.leader()?;
    let own = replica.descriptor();
    if own.contains(&seal.right.span.start) {
        return Ok(ReplicaReply::Changed(vec![own]));
    }
    if own.version > seal.left_version {
        return Ok(ReplicaReply::Done);
    }
    let latched = replica.latch_against_hand_over(&leader, TxnId(0)).await?;
    replica.still(&leader, seal.left_version)?;
    let mut command = Command::default();
    let step = MergeStep::Forget(seal.right.id, seal.position, own.version + 1);
    command.extras.merge = Some(Box::new(step));
    drop(replica.propose(&leader, latched, command).await?);
    quorate_env::probe!("shard.seal_forgotten");
    Ok(ReplicaReply::Done)
}

/// While the entry is applied. What the right's requests must not lose is with the leader before the range is theirs to see.
pub(super) fn take_over(
    replica: &Arc<Replica>,
    seal: Seal,
    descriptor: ShardDescriptor,
    at: LogPosition,
    state: &mut RangeState,
    batch: &mut WriteBatch,
) -> Result<Arc<Replica>, Fatal> {
    let shard = replica.shard;
    let gone =
        || Fatal(format!("shard {shard}: entry {at} absorbs shard {}, which is not here", seal.right.id));
    let right = replica.context.replica(seal.right.id).ok_or_else(gone)?;
    // Before the new range shows: else it could pass for a proof that the seal is forgotten.
    right.mark_retired();
    if let Some(sealed) = &right.state.load().sealed {
        hand(replica, at, sealed.locks.clone());
    }
    let low_water = match quorate_env::planted!("shard.low_water_lost_at_merge") {
        true => quorate_proto::Timestamp::ZERO,
        false => seal.low_water,
    };
    if let Some(leader) = replica.leader_now() {
        leader.core().cache.add_span(&seal.right.span, low_water, None);
    }
    state.descriptor.span = descriptor.span;
    state.descriptor.version = descriptor.version;
    state.low_water = state.low_water.max(low_water);
    state.gc_threshold = state.gc_threshold.max(seal.gc_threshold);
    state.record_threshold = state.record_threshold.max(seal.record_threshold);
    put_gone(batch, &right);
    Ok(right)
}

/// The metadata of a copy that was absorbed, key by key: a deletion of all would have to be preceded by a flush (PROTOCOL 8).
pub(crate) fn put_gone(batch: &mut WriteBatch, right: &Replica) {
    let shard = right.shard;
    meta::remove(batch, shard, &meta::DESCRIPTOR);
    meta::remove(batch, shard, &meta::APPLIED);
    meta::remove(batch, shard, &meta::MEMBERSHIP);
    meta::remove(batch, shard, &meta::GC_THRESHOLD);
    meta::remove(batch, shard, &meta::RECORD_THRESHOLD);
    meta::remove(batch, shard, &meta::CLOSED);
    meta::remove(batch, shard, &meta::LOW_WATER);
    meta::remove(batch, shard, &super::SEALED);
    meta::put(batch, shard, &meta::REPLICA, &ReplicaState::Gone(right.id));
}

/// Whether a state of another replica of `left` shows that it has absorbed this copy: it was sealed for it, and has keys of it at a
/// later version. Not all of them, perhaps: it may have been split since.
pub(crate) fn has_absorbed(left: &ShardDescriptor, right: &Replica) -> bool {
    is_decided(left, right) && left.span.overlaps(&right.descriptor().span)
}

/// Whether the log of `left` is past the entry that says what becomes of the seal of this copy.
pub(crate) fn is_decided(left: &ShardDescriptor, right: &Replica) -> bool {
    right.state.load().sealed.as_ref().is_some_and(|sealed| {
        let seal = &sealed.seal;
        seal.left == left.id && left.version > seal.left_version
    })
}

/// Copies that were absorbed on this node, for those who still look for them.
#[derive(Debug, Default)]
pub(crate) struct Absorbed {
    starts: BTreeMap<ShardId, Key>,
    /// Their logs are needed until what absorbed them is durable: a crash before that brings the copies back.
    logs: BTreeSet<ShardId>,
}

/// Of more, the oldest are forgotten: who asks for them asks the placement driver then.
const KEPT: usize = 1024;

impl Absorbed {
    pub fn add(&mut self, shard: ShardId, span: Span) {
        if self.starts.len() >= KEPT {
            self.starts.pop_first();
        }
        self.starts.insert(shard, span.start);
        self.logs.insert(shard);
    }

    pub fn start_of(&self, shard: ShardId) -> Option<Key> {
        self.starts.get(&shard).cloned()
    }

    /// Those that may go once the engine is flushed.
    pub fn logs(&self) -> Vec<ShardId> {
        self.logs.iter().copied().collect()
    }

    pub fn log_is_gone(&mut self, shard: ShardId) {
        self.logs.remove(&shard);
    }
}
