//! A copy that its node has lost, though the node lives. Under its replica id it may have voted and acknowledged entries, so
//! that id must not come back empty; a new copy takes its place on the same node.
//!
//! *Create* an empty learner there; *exchange* it for the lost copy, which leaves the shard with the voters that it had in
//! fact; wait until it is *caught up*; give it the lost one's *role*. Each step is taken from what the descriptor shows, so
//! that a new leader goes on in the middle.

use super::{
    ask::{Stop, tell},
    member::{caught_up, change},
    operation::Job,
};
use crate::command::GearRequest;
use quorate_env::planted;
use quorate_proto::{Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, placement::ReplicaCommand};

pub(super) async fn remake(job: &Job, shard: ShardId, lost: &Replica) -> Result<(), Stop> {
    let node = Some(lost.node);
    let gear = job.equip(GearRequest { shard: false, replicas: 1, of: shard, node }).await?;
    let id = if planted!("placement.lost_id_comes_back") { lost.id } else { ReplicaId(gear.replica) };
    let new = Replica { id, role: ReplicaRole::Learner, ..lost.clone() };
    let mut descriptor = job.shard(shard)?;
    match descriptor.replica_on(lost.node) {
        Some(held) if held.id == lost.id => descriptor = exchange(job, descriptor, lost, &new).await?,
        Some(held) if held.id == new.id && held.role == lost.role => return Ok(()),
        Some(held) if held.id == new.id => {}
        _ => return Err(Stop::Failed(format!("replica {} of shard {shard} is no member any more", lost.id))),
    }
    caught_up(job, &descriptor, &new).await?;
    job.at_step("giving the new copy its role").await?;
    let promoted = Replica { role: lost.role, ..new.clone() };
    change(job, &descriptor, with(&descriptor, new.id, &promoted)).await.map(|_| ())
}

async fn exchange(
    job: &Job,
    shard: ShardDescriptor,
    lost: &Replica,
    new: &Replica,
) -> Result<ShardDescriptor, Stop> {
    job.at_step("creating a learner in the place of the lost copy").await?;
    let create = ReplicaCommand::CreateLearner { descriptor: shard.clone(), replica: new.clone() };
    tell(&job.placement, new.node, &create)
        .await
        .map_err(|error| Stop::Retry(format!("node {}: {error}", new.node)))?;
    change(job, &shard, with(&shard, lost.id, new)).await
}

/// The members, one of them replaced.
fn with(shard: &ShardDescriptor, old: ReplicaId, new: &Replica) -> Vec<Replica> {
    let replace = |member: &Replica| if member.id == old { new.clone() } else { member.clone() };
    shard.replicas.iter().map(replace).collect()
}
