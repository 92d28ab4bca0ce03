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
    if shard == ShardId::PLACEMENT {
        return super::own::remake(job, lost).await;
    }
    let node = Some(lost.node);
    let gear = job.equip(GearRequest { shard: false, replicas: 1, of: shard, node, above: 0 }).await?;
    let id = if planted!("placement.lost_id_comes_back") { lost.id } else { ReplicaId(gear.replica) };
    let new = Replica { id, role: ReplicaRole::Learner, ..lost.clone() };
    let mut descriptor = job.shard(shard)?;
    // Both may be members: each step of a change shows by itself.
    let has = |id: ReplicaId| descriptor.replicas.iter().find(|member| member.id == id);
    match (has(lost.id), has(new.id)) {
        (None, None) => {
            return Err(Stop::Failed(format!("replica {} of shard {shard} is no member any more", lost.id)));
        }
        (None, Some(held)) if held.role == lost.role => return Ok(()),
        (None, Some(_)) => {}
        (Some(_), _) => descriptor = exchange(job, descriptor, lost, &new).await?,
    }
    caught_up(job, &descriptor, &new).await?;
    job.at_step("giving the new copy its role").await?;
    let promoted = Replica { role: lost.role, ..new.clone() };
    change(job, &descriptor, with(&descriptor, lost, &promoted)).await.map(|_| ())
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
    change(job, &shard, with(&shard, lost, new)).await
}

/// The members with the new one in place of the lost one.
fn with(shard: &ShardDescriptor, lost: &Replica, new: &Replica) -> Vec<Replica> {
    let others = shard.replicas.iter().filter(|member| member.id != lost.id && member.id != new.id);
    others.chain([new]).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::{NodeId, Span};

    /// Where a leader died in the middle of the change both are members.
    #[test]
    fn the_lost_copy_is_no_member_of_what_comes_next_whatever_shows() {
        let copy = |id, role| Replica { id: ReplicaId(id), node: NodeId(id % 10), role };
        let (voter, learner) = (ReplicaRole::Voter, ReplicaRole::Learner);
        let (lost, new) = (copy(2, voter), copy(12, learner));
        let promoted = Replica { role: voter, ..new.clone() };
        let others = [copy(1, voter), copy(3, voter)];
        for between in
            [vec![lost.clone()], vec![lost.clone(), new.clone()], vec![new.clone()], vec![promoted.clone()]]
        {
            let replicas = others.iter().cloned().chain(between).collect();
            let shard =
                ShardDescriptor { id: ShardId(1), span: Span::ALL, version: 1, config_epoch: 1, replicas };
            for wanted in [&new, &promoted] {
                let mut members = with(&shard, &lost, wanted);
                members.sort_by_key(|member| member.id);
                assert_eq!(members, [&others[..], std::slice::from_ref(wanted)].concat());
            }
        }
    }
}
