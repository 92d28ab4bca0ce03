//! A shard that has lost its quorum for good goes on from one copy that is left (`docs/recovery.md`).
//!
//! *Testify*: each copy that is left says how far it has come. *Fence*: those that are not taken stop for good, so that together
//! with lost ones that come back they are no quorum of the old members; they can still be taken should the other one be lost as well. *Revive*: the
//! copy that is taken stops, its state is made durable, a log is written for it under a new replica id ([`quorate_consensus::Revival`]), one
//! durable batch gives it that id, and it opens, elects itself, and applies what its log held. New epochs begin in its own log, behind all
//! that: nobody who was routed by the old ones is answered by it, and nobody who knows of the new ones by an old copy.

use crate::{
    Context,
    admin::find,
    command::Command,
    flusher,
    registry::internal,
    replica::{RangeState, Replica},
};
use quorate_consensus::{Revival, Start};
use quorate_env::planted;
use quorate_proto::{
    KvError, LogPosition, Replica as Member, ReplicaId, ReplicaRole, ShardId,
    placement::{ReplicaReply, Testimony},
};
use quorate_storage::{
    Engine, WriteBatch,
    meta::{self, Kind, ReplicaState},
};
use std::{sync::Arc, time::Duration};

/// The replica that stopped for good here.
const FENCED: Kind<ReplicaId> = Kind::new(meta::FIRST_FREE_KIND + 1);
/// Should the shard have its quorum again without it, it is replaced like one that is damaged.
pub(crate) const GIVEN_UP: &str = "it was given up when its shard was to go on from another one";
/// For the copy that goes on to elect itself, and to apply what its log holds.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(crate) fn testify(replica: &Replica) -> Result<ReplicaReply, KvError> {
    let unfit = |why: &str| Err(KvError::BadRequest { why: why.to_owned() });
    if replica.is_empty() {
        return unfit("it waits for its first snapshot");
    }
    if let Some(why) = replica.damage()
        && !is_fenced(&replica.context, replica)?
    {
        return unfit(&format!("it is damaged: {why}"));
    }
    let (applied, descriptor) = (replica.applied.lock().clone(), replica.descriptor());
    let remains = replica.context.consensus.remains(replica.shard, replica.id, &applied)?;
    let group = replica.group.load_full();
    let unnamed = || Member { id: replica.id, node: replica.context.env.node(), role: ReplicaRole::Learner };
    let own = remains.members.iter().find(|member| member.id == replica.id).cloned();
    Ok(ReplicaReply::Testimony(Box::new(Testimony {
        replica: own.unwrap_or_else(unnamed),
        descriptor,
        last: remains.last,
        committed: remains.committed,
        applied: applied.position,
        closed: replica.closed(),
        members: remains.members,
        configs: remains.configs,
        serves: group.is_some_and(|group| group.lease().is_some()),
    })))
}

/// Whether the copy has stopped for good.
pub(crate) fn is_fenced(context: &Context, replica: &Replica) -> Result<bool, KvError> {
    let engine: &dyn Engine = &*context.engine;
    let fenced = meta::get(engine, replica.shard, &FENCED).map_err(internal)?;
    Ok(fenced == Some(replica.id) && !planted!("shard.fenced_copy_votes"))
}

pub(crate) async fn fence(
    context: &Arc<Context>,
    shard: ShardId,
    id: ReplicaId,
) -> Result<ReplicaReply, KvError> {
    let _one = context.registry.lock().await;
    let replica = find(context, shard)?;
    if replica.id != id {
        let why = format!("this node holds replica {} of shard {shard}, not {id}", replica.id);
        return Err(KvError::BadRequest { why });
    }
    stop(context, &replica).await;
    let mut batch = WriteBatch::new();
    meta::put(&mut batch, shard, &FENCED, &id);
    context.write_durably(batch).await?;
    replica.note_damage(GIVEN_UP.into());
    quorate_env::probe!("shard.fenced");
    Ok(ReplicaReply::Done)
}

async fn stop(context: &Context, replica: &Replica) {
    replica.stop_leading();
    replica.group.store(None);
    context.consensus.close(replica.shard).await;
}

/// What a crash leaves: before the batch is durable the old copy, and perhaps a log that the next start forgets; after it the new
/// one.
pub(crate) async fn revive(
    context: &Arc<Context>,
    shard: ShardId,
    (old, new): (ReplicaId, ReplicaId),
    last: LogPosition,
    epochs: (u64, u64),
) -> Result<ReplicaReply, KvError> {
    let one = context.registry.lock().await;
    let replica = find(context, shard)?;
    if replica.id == old {
        end_old(context, &replica, new, last, epochs).await?;
    } else if replica.id != new {
        let why = format!("this node holds replica {} of shard {shard}, not {old}", replica.id);
        return Err(KvError::BadRequest { why });
    }
    let renamed = find(context, shard)?;
    if renamed.group.load().is_none() {
        context.consensus.forget_others(shard, new).await?;
        context.open(&renamed, Start::Existing).await?;
    }
    drop(one);
    until_it_leads(&*find(context, shard)?, new).await
}

/// Stops the old replica and puts the new one, which is not open yet, in its place; or lets it go on.
async fn end_old(
    context: &Arc<Context>,
    replica: &Arc<Replica>,
    new: ReplicaId,
    last: LogPosition,
    epochs: (u64, u64),
) -> Result<(), KvError> {
    let (shard, old) = (replica.shard, replica.id);
    if replica.group.load().as_ref().is_some_and(|group| group.lease().is_some()) {
        return Err(KvError::BadRequest { why: format!("replica {old} of shard {shard} leads") });
    }
    tracing::warn!(shard = shard.0, %old, %new, %last, "the shard goes on from this copy alone");
    stop(context, replica).await;
    match rename(context, replica, new, last, epochs).await {
        Ok(()) => {
            let renamed = context.load(shard, new).map_err(internal)?;
            context.replicas.write().insert(shard, renamed);
            Ok(())
        }
        Err(error) => {
            if !is_fenced(context, replica)? {
                context.open(replica, Start::Existing).await?;
            }
            Err(error)
        }
    }
}

async fn rename(
    context: &Arc<Context>,
    replica: &Replica,
    new: ReplicaId,
    last: LogPosition,
    epochs: (u64, u64),
) -> Result<(), KvError> {
    flusher::flush(context).await.map_err(internal)?;
    let mut command = Command::default();
    command.extras.revived = Some(epochs);
    let (shard, node) = (replica.shard, context.env.node());
    let revival = Revival {
        shard,
        old: replica.id,
        new: Member { id: new, node, role: ReplicaRole::Voter },
        last,
        applied: replica.applied.lock().position,
        command: command.encode(),
    };
    context.consensus.revive(revival).await?;
    let mut batch = WriteBatch::new();
    meta::put(&mut batch, shard, &meta::REPLICA, &ReplicaState::Active(new));
    meta::remove(&mut batch, shard, &FENCED);
    context.write_durably(batch).await?;
    quorate_env::probe!("shard.revived");
    Ok(())
}

async fn until_it_leads(replica: &Replica, new: ReplicaId) -> Result<ReplicaReply, KvError> {
    let leads = async {
        loop {
            let descriptor = replica.descriptor();
            let known = descriptor.replicas.iter().any(|member| member.id == new);
            if known && replica.leader_now().is_some() {
                return descriptor;
            }
            replica.context.env.sleep(LOOK_AGAIN).await;
        }
    };
    match replica.context.env.timeout(PATIENCE, leads).await {
        Ok(descriptor) => Ok(ReplicaReply::Changed(vec![descriptor])),
        Err(_) => Err(replica.not_ready("the copy that goes on does not lead yet")),
    }
}

/// While the entry is applied, behind the one that sets the members, which raises `config_epoch`. A sealed shard keeps its version, by
/// which its left neighbour knows it; it serves nobody.
pub(crate) fn begin_epochs(state: &mut RangeState, (version, config_epoch): (u64, u64)) {
    let descriptor = &mut state.descriptor;
    if state.sealed.is_none() && !planted!("shard.revived_at_its_version") {
        descriptor.version = version.max(descriptor.version + 1);
    }
    descriptor.config_epoch = config_epoch.max(descriptor.config_epoch);
}
