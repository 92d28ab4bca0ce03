//! What the placement driver asks of this node's replicas. Each command may come twice.

use crate::{Context, merge, replica::Replica, revive, split};
use quorate_proto::placement::{ReplicaCommand, ReplicaReply};
use quorate_proto::{KvError, Replica as Member, ReplicaId, ShardId, TxnId};
use std::{sync::Arc, time::Duration};

/// How long a completed change of members may take to show in the descriptor.
const APPLY_WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn execute(
    context: &Arc<Context>,
    command: ReplicaCommand,
) -> Result<ReplicaReply, KvError> {
    match command {
        ReplicaCommand::CreateShard { descriptor } => {
            context.create_shard(descriptor).await.map(|()| ReplicaReply::Done)
        }
        ReplicaCommand::CreateLearner { descriptor, replica } => {
            context.create_learner(descriptor, replica.id).await.map(|()| ReplicaReply::Done)
        }
        ReplicaCommand::Split { shard, at, right, right_replicas, version } => {
            let replica = find(context, shard)?;
            split::split(&replica, version, at, right, &right_replicas).await.map(ReplicaReply::Changed)
        }
        ReplicaCommand::ChangeMembers { shard, config_epoch, members } => {
            change_members(&*find(context, shard)?, config_epoch, members).await
        }
        ReplicaCommand::TransferLeader { shard, to } => transfer(&*find(context, shard)?, to).await,
        ReplicaCommand::Destroy { shard, replica } => {
            context.destroy(shard, replica).await.map(|()| ReplicaReply::Done)
        }
        ReplicaCommand::Status { shard } => status(&*find(context, shard)?),
        ReplicaCommand::PrepareMerge { left, right } => merge::prepare(context, left, right).await,
        ReplicaCommand::Seal { shard, version, left } => {
            merge::seal(&find(context, shard)?, version, &left).await
        }
        ReplicaCommand::AwaitSeal(seal) => merge::await_seal(context, &seal).await,
        ReplicaCommand::Absorb(seal) => merge::absorb(&find(context, seal.left)?, seal).await,
        ReplicaCommand::Forget(seal) => merge::forget(&find(context, seal.left)?, &seal).await,
        ReplicaCommand::Testify { shard } => revive::testify(&*find(context, shard)?),
        ReplicaCommand::Fence { shard, replica } => revive::fence(context, shard, replica).await,
        ReplicaCommand::Revive { shard, old, new, last, epochs } => {
            revive::revive(context, shard, (old, new), last, epochs).await
        }
        ReplicaCommand::Holdings => Ok(ReplicaReply::Holdings(context.held().into_iter().collect())),
        ReplicaCommand::Unseal { shard, version } => merge::unseal(&find(context, shard)?, version).await,
    }
}

pub(crate) fn find(context: &Context, shard: ShardId) -> Result<Arc<Replica>, KvError> {
    context.replica(shard).ok_or_else(|| {
        let start = context.absorbed.lock().start_of(shard);
        KvError::StaleRoute { shard, newer: context.owners(start.iter()) }
    })
}

async fn change_members(
    replica: &Replica,
    config_epoch: u64,
    members: Vec<Member>,
) -> Result<ReplicaReply, KvError> {
    let _one = replica.admin.lock().await;
    let leader = replica.leader()?;
    // Not while it is unknown what becomes of an entry that absorbs another shard: its members must have that one's copies.
    drop(replica.latch_against_hand_over(&leader, TxnId(0)).await?);
    replica.not_sealed(&replica.state.load())?;
    let same = |present: &[Member]| {
        present.len() == members.len() && members.iter().all(|member| present.contains(member))
    };
    let present = replica.descriptor();
    if same(&present.replicas) {
        return Ok(ReplicaReply::Changed(vec![present]));
    }
    if present.config_epoch != config_epoch {
        return Err(KvError::StaleRoute { shard: replica.shard, newer: vec![present] });
    }
    replica.group()?.change_members(members.clone()).await?;
    let shown = async {
        loop {
            let descriptor = replica.descriptor();
            if same(&descriptor.replicas) {
                return descriptor;
            }
            replica.context.env.sleep(Duration::from_millis(5)).await;
        }
    };
    match replica.context.env.timeout(APPLY_WAIT, shown).await {
        Ok(descriptor) => Ok(ReplicaReply::Changed(vec![descriptor])),
        Err(_) => Err(KvError::Ambiguous { why: "the change of members is not applied yet".into() }),
    }
}

async fn transfer(replica: &Replica, to: ReplicaId) -> Result<ReplicaReply, KvError> {
    let group = replica.group()?;
    let leadership = group.leadership().borrow().clone();
    if leadership.leader.is_some_and(|(leader, _)| leader == to) {
        return Ok(ReplicaReply::Done);
    }
    replica.leader()?;
    group.transfer(to).await.map(|()| ReplicaReply::Done)
}

fn status(replica: &Replica) -> Result<ReplicaReply, KvError> {
    let group = replica.group()?;
    let leader = group.leadership().borrow().leader.map(|(_, node)| node);
    let state = replica.state.load();
    let seal = state.sealed.as_ref().map(|sealed| Box::new(sealed.seal.clone()));
    let descriptor = state.descriptor.clone();
    Ok(ReplicaReply::Status { descriptor, leader, members: group.progress(), seal })
}
