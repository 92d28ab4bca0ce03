//! The right's part of a merge: it is sealed, and unsealed.

use super::is_aligned;
use crate::{
    Context,
    admin::find,
    command::{Command, MergeStep, Sealed},
    flusher, hand_over,
    latch::{Access, LatchSet},
    leader::{LatchGuard, Leader},
    registry::internal,
    replica::Replica,
};
use quorate_proto::placement::ReplicaReply;
use quorate_proto::{KvError, LogPosition, Seal, ShardDescriptor, ShardId, TxnId};
use std::{sync::Arc, time::Duration};

/// For a copy to come to the seal.
const PATIENCE: Duration = Duration::from_secs(5);
/// For what the left has decided to be applied here: a few round trips, for the keys are served by nobody meanwhile.
const FORGOTTEN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Before anything is sealed: this node has copies of both, and little to make durable later.
pub(crate) async fn prepare(
    context: &Arc<Context>,
    left: ShardId,
    right: ShardId,
) -> Result<ReplicaReply, KvError> {
    for shard in [left, right] {
        let replica = find(context, shard)?;
        replica.group()?;
        if replica.is_empty() {
            return Err(replica.not_ready("it waits for its first snapshot"));
        }
    }
    flusher::flush(context).await.map_err(internal)?;
    Ok(ReplicaReply::Done)
}

/// Seals the shard for its left neighbour; sealed already if it is.
pub(crate) async fn seal(
    replica: &Arc<Replica>,
    version: u64,
    left: &ShardDescriptor,
) -> Result<ReplicaReply, KvError> {
    let _one = replica.admin.lock().await;
    let leader = replica.leader()?;
    let state = replica.state.load_full();
    let own = &state.descriptor;
    if own.version != version {
        return Err(KvError::StaleRoute { shard: replica.shard, newer: vec![own.clone()] });
    }
    if let Some(sealed) = &state.sealed {
        return Ok(ReplicaReply::Sealed(Box::new(sealed.seal.clone())));
    }
    if left.span.end.as_ref() != Some(&own.span.start) {
        let why = format!("shard {} does not end where shard {} begins", left.id, own.id);
        return Err(KvError::BadRequest { why });
    }
    awaited_by_nobody(replica)?;
    let spans = vec![(own.span.clone(), Access::Write)];
    let latched = leader.latch(LatchSet { spans, ..LatchSet::default() }).await?;
    let state = replica.still(&leader, version)?;
    if !is_aligned(replica, left)? {
        return Err(replica.not_ready("its copies are not where the left's are"));
    }
    let sealed = plan(replica, &leader, &latched, state.descriptor.clone(), left)?;
    let mut seal = sealed.seal.clone();
    let mut command = Command::default();
    command.extras.merge = Some(Box::new(MergeStep::Seal(sealed)));
    let (position, latched) = replica.propose(&leader, latched, command).await?;
    drop(latched);
    seal.position = position;
    quorate_env::count!("quorate_shard_seals_total");
    Ok(ReplicaReply::Sealed(Box::new(seal)))
}

/// With the whole shard latched: nobody reads or writes there.
fn plan(
    replica: &Replica,
    leader: &Leader,
    latched: &LatchGuard,
    right: ShardDescriptor,
    left: &ShardDescriptor,
) -> Result<Sealed, KvError> {
    let state = replica.state.load_full();
    let clock = replica.context.env.clock();
    let mut core = leader.core();
    let locks = hand_over::in_one(core.held(&right.span)).ok_or_else(|| {
        quorate_env::probe!("shard.seal_waits_for_locks");
        replica.not_ready("more is locked there than a merge can take along")
    })?;
    let closed = core.evaluations.closed().max(replica.closed());
    // Its own reads are noted, and those of its predecessors lie below where its notes begin. Nothing lies beyond the clock + ε.
    let read = core.cache.latest().max(clock.physical().plus(clock.bound()));
    let low_water = read.max(closed).max(state.low_water);
    // Until this is applied nothing is closed above: the left writes from there on, however late it absorbs.
    latched.evaluating(&mut core, low_water.next());
    let seal = Seal {
        right,
        left: left.id,
        left_version: left.version,
        position: LogPosition::default(),
        low_water,
        closed,
        gc_threshold: state.gc_threshold,
        record_threshold: state.record_threshold,
    };
    Ok(Sealed { seal, locks })
}

/// Answers when this node's copy has applied the seal and needs no log for it any more: other copies may be gone when this one
/// comes back from a crash, and could not tell it that the seal is committed.
pub(crate) async fn await_seal(context: &Arc<Context>, seal: &Seal) -> Result<ReplicaReply, KvError> {
    let replica = find(context, seal.right.id)?;
    replica.group()?.wait_applied(seal.position.index, PATIENCE).await?;
    let state = replica.state.load_full();
    if state.sealed.as_ref().is_none_or(|sealed| sealed.seal.position != seal.position) {
        return Err(replica.not_ready("it is not sealed by this entry"));
    }
    if *replica.flushed.lock() < seal.position {
        flusher::flush(context).await.map_err(internal)?;
    }
    Ok(ReplicaReply::Done)
}

/// Serves again, at a later version; and if it is not sealed, a seal for this version that comes late is refused. Answered by the
/// seal if the left has not forgotten that: it may have come after the driver has looked.
pub(crate) async fn unseal(replica: &Arc<Replica>, version: u64) -> Result<ReplicaReply, KvError> {
    let _one = replica.admin.lock().await;
    let leader = replica.leader()?;
    let state = replica.state.load_full();
    if state.descriptor.version > version {
        return Ok(ReplicaReply::Changed(vec![state.descriptor.clone()]));
    }
    if state.descriptor.version < version {
        return Err(replica.not_ready("it has not applied its newest range yet"));
    }
    if let Some(sealed) = &state.sealed
        && !quorate_env::planted!("shard.unsealed_unproven")
        && !is_forgotten(replica, &sealed.seal).await?
    {
        return Ok(ReplicaReply::Sealed(Box::new(sealed.seal.clone())));
    }
    let latched = replica.latch_against_hand_over(&leader, TxnId(0)).await?;
    let mut command = Command::default();
    command.extras.merge = Some(Box::new(MergeStep::Unseal(version + 1)));
    drop(replica.propose(&leader, latched, command).await?);
    Ok(ReplicaReply::Changed(vec![replica.descriptor()]))
}

/// A shard that is sealed for this one waits for its log, which must go on till that has been unsealed: also when this one has changed
/// since and can never absorb it, for its version is the proof. The driver sees to that; what can be seen here is looked at too.
fn awaited_by_nobody(replica: &Arc<Replica>) -> Result<(), KvError> {
    let own = replica.descriptor();
    let awaits = |other: &Arc<Replica>| {
        let sealed = other.state.load().sealed.clone();
        let is_decided =
            || super::is_decided(&own, other) && quorate_env::planted!("shard.proof_merged_away");
        sealed.is_some_and(|sealed| sealed.seal.left == own.id) && !is_decided()
    };
    match replica.context.all().iter().find(|other| awaits(other)) {
        Some(other) => Err(replica.not_ready(&format!("shard {} is sealed for it", other.shard))),
        None => Ok(()),
    }
}

/// The local copy of the left shows that it cannot absorb this seal any more: it is at a later version, and if it had absorbed
/// it, this copy would be gone.
///
/// # Errors
/// If the shard has been absorbed meanwhile.
async fn is_forgotten(replica: &Arc<Replica>, seal: &Seal) -> Result<bool, KvError> {
    let context = &replica.context;
    let shown = async {
        loop {
            let left = context.replica(seal.left).map(|left| left.descriptor());
            let later = |left: &ShardDescriptor| left.version > seal.left_version;
            if left.as_ref().is_some_and(later) {
                return;
            }
            context.env.sleep(LOOK_AGAIN).await;
        }
    };
    match context.env.timeout(FORGOTTEN, shown).await {
        Ok(()) if !replica.is_retired() => Ok(true),
        Ok(()) => Err(KvError::StaleRoute { shard: replica.shard, newer: Vec::new() }),
        Err(_) => Ok(false),
    }
}
