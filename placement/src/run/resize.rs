//! Another number of copies.
//!
//! *Create* the new ones as empty learners; wait until all are *caught up*, and so are the copies that stay; *change* the voters in
//! one joint change, so that there is never an even number of them, nor one without the data; *destroy* what was removed. Each
//! step is taken from what the descriptor shows, so that a new leader goes on in the middle.

use super::{
    ask::{Stop, tell_leader},
    member::{add, caught_up, change, destroy_leftover, leave, receives, withdraw},
    operation::Job,
};
use crate::command::GearRequest;
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId,
    placement::{ReplicaCommand, ReplicaReply},
};

pub(super) async fn resize(job: &Job, shard: ShardId, to: &[NodeId], from: &[NodeId]) -> Result<(), Stop> {
    let new = copies(job, shard, to).await?;
    let mut descriptor = job.shard(shard)?;
    for copy in &new {
        match descriptor.replica_on(copy.node) {
            Some(other) if other.id != copy.id => {
                return Err(Stop::Failed(format!("node {} holds another copy of the shard", copy.node)));
            }
            Some(_) => {}
            None => {
                receives(job, copy.node)?;
                descriptor = add(job, descriptor, copy).await?;
            }
        }
    }
    if let Err(mut stop) = all_caught_up(job, &descriptor, &new, from).await {
        for copy in &new {
            stop = withdraw(job, copy, shard, stop).await;
        }
        return Err(stop);
    }
    if from.iter().any(|node| descriptor.replica_on(*node).is_some()) {
        leave(job, &descriptor, from).await?;
    }
    exchange(job, &descriptor, &new, from).await?;
    for node in from {
        destroy_leftover(job, shard, *node).await;
    }
    Ok(())
}

/// The new copies, under ids that are theirs at every repetition.
async fn copies(job: &Job, shard: ShardId, to: &[NodeId]) -> Result<Vec<Replica>, Stop> {
    if to.is_empty() {
        return Ok(Vec::new());
    }
    let replicas = to.len() as u64;
    let gear = job.equip(GearRequest { shard: false, replicas, of: shard, node: None, above: 0 }).await?;
    let copy =
        |(id, node): (u64, &NodeId)| Replica { id: ReplicaId(id), node: *node, role: ReplicaRole::Learner };
    Ok((gear.replica..).zip(to).map(copy).collect())
}

async fn all_caught_up(
    job: &Job,
    shard: &ShardDescriptor,
    new: &[Replica],
    from: &[NodeId],
) -> Result<(), Stop> {
    for copy in new {
        caught_up(job, shard, copy).await?;
    }
    if from.is_empty() {
        return Ok(());
    }
    let command = ReplicaCommand::Status { shard: shard.id };
    let reply = tell_leader(&job.placement, &job.session, shard, &command).await?;
    let ReplicaReply::Status { members, .. } = reply else {
        return Err(Stop::Failed(format!("an unexpected answer: {reply:?}")));
    };
    let stays = |replica: &Replica| !from.contains(&replica.node);
    match members.iter().find(|member| stays(&member.replica) && !member.caught_up) {
        Some(behind) => Err(Stop::Retry(format!("the copy on node {} is behind", behind.replica.node))),
        None => Ok(()),
    }
}

async fn exchange(job: &Job, shard: &ShardDescriptor, new: &[Replica], from: &[NodeId]) -> Result<(), Stop> {
    job.at_step("changing the number of copies").await?;
    let votes = |replica: &Replica| match new.iter().any(|copy| copy.id == replica.id) {
        true => Replica { role: ReplicaRole::Voter, ..replica.clone() },
        false => replica.clone(),
    };
    let members: Vec<Replica> =
        shard.replicas.iter().filter(|replica| !from.contains(&replica.node)).map(votes).collect();
    if members == shard.replicas {
        return Ok(());
    }
    change(job, shard, members).await.map(|_| ())
}
