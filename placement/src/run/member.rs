//! Replacing a copy by one on another node, and moving leadership.
//!
//! *Create* an empty learner; *add* it; wait until it is *caught up*; *swap* it for the old copy in one joint change, so that
//! the shard never has fewer voters than before; *destroy* the old copy. Each step is taken from what the descriptor shows,
//! so that a new leader goes on in the middle.

use super::{
    ask::{Stop, tell, tell_leader},
    is_current,
    operation::Job,
    tidy::is_left_over,
    view,
};
use crate::{
    command::{Gear, GearRequest},
    planner,
};
use quorate_env::{planted, probe};
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId,
    placement::{Leaving, MemberProgress, NodeState, ReplicaCommand, ReplicaReply, ReplicaReport},
};
use std::time::Duration;

/// Between two questions how far a learner is.
const POLL: Duration = Duration::from_millis(200);
/// Between two questions whether an heir leads, and how many are asked before the leader is told again.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 50;

/// Replaces the copy on `from` by one on `to`; without `to` the node `from` is dead, and the planner chooses.
pub(super) async fn replace(job: &Job, shard: ShardId, from: NodeId, to: Option<NodeId>) -> Result<(), Stop> {
    if shard == ShardId::PLACEMENT {
        return super::own::replace(job, from, to).await;
    }
    let mut descriptor = job.shard(shard)?;
    if descriptor.replica_on(from).is_none_or(|copy| has_come_since(job, shard, copy.id)) {
        destroy_leftover(job, shard, from).await;
        return still_learns(job, &descriptor);
    }
    let repair = to.is_none();
    let Some(to) = to.or_else(|| job.gear().and_then(|gear| gear.node)).or_else(|| {
        let view = view(&job.placement, &job.session);
        planner::home(&view, &descriptor, from)
    }) else {
        return Err(Stop::Retry("there is no node for another copy".into()));
    };
    if repair && descriptor.replica_on(to).is_none() && is_back(job, from) {
        return Err(Stop::Failed(format!("node {from} is back")));
    }
    if descriptor.replica_on(to).is_none() {
        receives(job, to)?;
    }
    let request = GearRequest { shard: false, replicas: 1, of: shard, node: Some(to), above: 0 };
    let gear = job.equip(request).await?;
    let new = Replica { id: ReplicaId(gear.replica), node: to, role: ReplicaRole::Learner };
    match descriptor.replica_on(to) {
        Some(other) if other.id != new.id => {
            return Err(Stop::Failed(format!("node {to} holds another copy of the shard")));
        }
        Some(_) => {}
        None => descriptor = add(job, descriptor, &new).await?,
    }
    if let Err(stop) = caught_up(job, &descriptor, &new).await {
        return Err(withdraw(job, &new, shard, stop).await);
    }
    if !repair {
        leave(job, &descriptor, &[from]).await?;
    }
    swap(job, &descriptor, from, &new).await?;
    destroy_leftover(job, shard, from).await;
    Ok(())
}

pub(super) async fn add(job: &Job, shard: ShardDescriptor, new: &Replica) -> Result<ShardDescriptor, Stop> {
    job.at_step("creating a learner").await?;
    clear_place(job, &shard, new).await?;
    let create = ReplicaCommand::CreateLearner { descriptor: shard.clone(), replica: new.clone() };
    tell(&job.placement, new.node, &create)
        .await
        .map_err(|error| Stop::Retry(format!("node {}: {error}", new.node)))?;
    let mut members = shard.replicas.clone();
    members.push(new.clone());
    change(job, &shard, members).await
}

/// The node may hold an old copy still, if it was away when that was replaced; `tidy` lets shards alone that are worked on.
async fn clear_place(job: &Job, shard: &ShardDescriptor, new: &Replica) -> Result<(), Stop> {
    let reports = job.session.replicas();
    let there = |(node, report): &&(NodeId, ReplicaReport)| *node == new.node && report.shard == shard.id;
    let Some((node, report)) = reports.iter().find(there) else { return Ok(()) };
    if report.replica == new.id || !is_left_over(&job.placement.machine.state(), report, shard) {
        return Ok(());
    }
    probe!("placement.cleared_a_place");
    let command = ReplicaCommand::Destroy { shard: shard.id, replica: report.replica };
    let told = tell(&job.placement, *node, &command).await;
    told.map(|_| ()).map_err(|error| Stop::Retry(format!("node {node} keeps its old copy: {error}")))
}

pub(super) async fn caught_up(job: &Job, shard: &ShardDescriptor, new: &Replica) -> Result<(), Stop> {
    job.at_step("copying data").await?;
    if planted!("placement.unready_copy_votes") {
        return Ok(());
    }
    loop {
        if members(job, shard).await?.iter().any(|member| member.replica.id == new.id && member.caught_up) {
            return Ok(());
        }
        if !is_current(&job.placement, &job.session) {
            return Err(Stop::Lost);
        }
        lives(job, new.node)?;
        if job.session.is_damaged(shard.id, new) {
            return Err(Stop::Failed(format!("the new copy on node {} is damaged", new.node)));
        }
        job.placement.env.sleep(POLL).await;
    }
}

/// What the leader knows of its members.
async fn members(job: &Job, shard: &ShardDescriptor) -> Result<Vec<MemberProgress>, Stop> {
    let command = ReplicaCommand::Status { shard: shard.id };
    match tell_leader(&job.placement, &job.session, shard, &command).await? {
        ReplicaReply::Status { leader, members, .. } => {
            if let Some(leader) = leader {
                job.session.note_leader(shard.id, leader, job.placement.env.boottime());
            }
            Ok(members)
        }
        other => Err(Stop::Failed(format!("an unexpected answer: {other:?}"))),
    }
}

/// A node that is given up gets no copy any more.
pub(super) fn lives(job: &Job, node: NodeId) -> Result<(), Stop> {
    let state = job.placement.machine.state();
    match state.nodes.get(&node).map(|record| record.state) {
        Some(NodeState::Dead) => Err(Stop::Failed(format!("node {node} is dead"))),
        _ => Ok(()),
    }
}

/// Nor does one that is to leave.
pub(super) fn receives(job: &Job, node: NodeId) -> Result<(), Stop> {
    match job.placement.machine.state().leaving(node) {
        Leaving::No => lives(job, node),
        _ => Err(Stop::Failed(format!("node {node} is to leave, and receives nothing"))),
    }
}

/// Somebody else has removed the old copy meanwhile, and left the new one without a vote: it is withdrawn like any that nobody
/// works on ([`super::withdraw`]).
fn still_learns(job: &Job, shard: &ShardDescriptor) -> Result<(), Stop> {
    let new = job.gear().map(|gear| ReplicaId(gear.replica));
    let learns = |member: &&Replica| Some(member.id) == new && member.role == ReplicaRole::Learner;
    match shard.replicas.iter().find(learns) {
        Some(member) => Err(Stop::Failed(format!(
            "the copy that was to be replaced by one on node {} has gone",
            member.node
        ))),
        None => Ok(()),
    }
}

/// A learner that will not catch up goes again, so that the shard can be worked on.
pub(super) async fn withdraw(job: &Job, new: &Replica, shard: ShardId, stop: Stop) -> Stop {
    if !matches!(stop, Stop::Failed(_)) {
        return stop;
    }
    match without(job, shard, new).await {
        Ok(()) => stop,
        // Nothing else may begin before that is done.
        Err(Stop::Failed(why)) => Stop::Retry(why),
        Err(other) => other,
    }
}

/// Removes a learner, if it is one.
pub(super) async fn without(job: &Job, shard: ShardId, learner: &Replica) -> Result<(), Stop> {
    if shard == ShardId::PLACEMENT {
        return super::own::without(job, learner).await;
    }
    let shard = job.shard(shard)?;
    let learns = |member: &Replica| member.id == learner.id && member.role == ReplicaRole::Learner;
    if shard.replicas.iter().any(learns) {
        probe!("placement.withdrew_a_learner");
        let members = shard.replicas.iter().filter(|member| !learns(member)).cloned().collect();
        change(job, &shard, members).await?;
    }
    Ok(())
}

/// Lets another voter lead if a copy to be removed does.
pub(super) async fn leave(job: &Job, shard: &ShardDescriptor, from: &[NodeId]) -> Result<(), Stop> {
    if job.session.leader_of(shard.id).is_none_or(|leader| !from.contains(&leader)) {
        return Ok(());
    }
    let others: Vec<ReplicaId> = shard.voters().filter(|r| !from.contains(&r.node)).map(|r| r.id).collect();
    if others.is_empty() {
        // It removes itself, and the new copy takes over.
        return Ok(());
    }
    job.at_step("handing leadership over").await?;
    let view = view(&job.placement, &job.session);
    let node = |member: &MemberProgress| view.nodes.get(&member.replica.node);
    // One that is lost, or far behind, never takes over.
    let members = members(job, shard).await?;
    let fit = |member: &&MemberProgress| others.contains(&member.replica.id) && member.caught_up;
    let mut heirs: Vec<&MemberProgress> =
        members.iter().filter(fit).filter(|member| node(member).is_some_and(|node| node.near)).collect();
    // One that is to lead nothing, for its node leaves or is full, does so till the new copy can.
    heirs.sort_by_key(|member| node(member).is_none_or(|node| !node.usable));
    let Some(heir) = heirs.first().map(|member| &member.replica) else {
        return Err(Stop::Retry("no other copy can lead yet".into()));
    };
    let command = ReplicaCommand::TransferLeader { shard: shard.id, to: heir.id };
    tell_leader(&job.placement, &job.session, shard, &command).await?;
    job.session.note_leader(shard.id, heir.node, job.placement.env.boottime());
    Ok(())
}

async fn swap(job: &Job, shard: &ShardDescriptor, from: NodeId, new: &Replica) -> Result<(), Stop> {
    job.at_step("exchanging the copies").await?;
    change(job, shard, exchanged(shard, from, new)).await.map(|_| ())
}

/// The members with the new copy in the role of the old one. In the middle of the change the new one has its vote already, and the
/// old one is left without.
fn exchanged(shard: &ShardDescriptor, from: NodeId, new: &Replica) -> Vec<Replica> {
    let present = shard.replicas.iter().find(|replica| replica.id == new.id).map(|replica| replica.role);
    let role = match present {
        Some(ReplicaRole::Voter) => ReplicaRole::Voter,
        _ => shard.replica_on(from).map_or(ReplicaRole::Voter, |old| old.role),
    };
    let others = shard.replicas.iter().filter(|replica| replica.node != from && replica.id != new.id);
    others.cloned().chain([Replica { role, ..new.clone() }]).collect()
}

pub(super) async fn change(
    job: &Job,
    shard: &ShardDescriptor,
    members: Vec<Replica>,
) -> Result<ShardDescriptor, Stop> {
    let command =
        ReplicaCommand::ChangeMembers { shard: shard.id, config_epoch: shard.config_epoch, members };
    match tell_leader(&job.placement, &job.session, shard, &command).await? {
        ReplicaReply::Changed(descriptors) => descriptors
            .into_iter()
            .find(|descriptor| descriptor.id == shard.id)
            .ok_or_else(|| Stop::Retry("the shard did not say what it is now".into())),
        other => Err(Stop::Failed(format!("an unexpected answer: {other:?}"))),
    }
}

/// Whether the copy is none that was to go: it has its id, of which none is used twice, since this work chose its own.
fn has_come_since(job: &Job, shard: ShardId, copy: ReplicaId) -> bool {
    let newer = |gear: Gear| gear.of == shard && copy.0 >= gear.replica + gear.replicas;
    job.gear().is_some_and(newer) && !planted!("placement.newer_copy_replaced")
}

/// What is missed here is found by `tidy`.
pub(super) async fn destroy_leftover(job: &Job, shard: ShardId, node: NodeId) {
    let reports = job.session.replicas();
    let left = reports.into_iter().find(|(holder, report)| *holder == node && report.shard == shard);
    if let Some((_, report)) = left.filter(|(_, report)| !has_come_since(job, shard, report.replica)) {
        let command = ReplicaCommand::Destroy { shard, replica: report.replica };
        if let Err(error) = tell(&job.placement, node, &command).await {
            tracing::debug!(%shard, %node, %error, "the old copy is destroyed later");
        }
    }
}

pub(super) fn is_back(job: &Job, node: NodeId) -> bool {
    let state = job.placement.machine.state();
    state.nodes.get(&node).is_some_and(|record| record.state == NodeState::Live)
}

/// Somebody waits for the end of it: it does not wait for a node that does not answer.
pub(super) async fn transfer_as_asked(job: &Job, shard: ShardId, to: NodeId) -> Result<(), Stop> {
    let view = view(&job.placement, &job.session);
    match view.nodes.get(&to) {
        Some(node) if !node.near => Err(Stop::Failed(format!("node {to} does not answer"))),
        _ => transfer(job, shard, to).await,
    }
}

pub(super) async fn transfer(job: &Job, shard: ShardId, to: NodeId) -> Result<(), Stop> {
    if shard == ShardId::PLACEMENT {
        return super::own::transfer(job, to).await;
    }
    let descriptor = job.shard(shard)?;
    let Some(heir) = descriptor.replica_on(to) else {
        return Err(Stop::Failed(format!("node {to} holds no copy of shard {shard}")));
    };
    if heir.role != ReplicaRole::Voter {
        return Err(Stop::Failed(format!("the copy on node {to} has no vote")));
    }
    job.at_step("handing leadership over").await?;
    let command = ReplicaCommand::TransferLeader { shard, to: heir.id };
    // The heir says so if it leads already.
    let leads = async || matches!(tell(&job.placement, to, &command).await, Ok(ReplicaReply::Done));
    if job.session.leader_of(shard) == Some(to) && leads().await {
        return Ok(());
    }
    tell_leader(&job.placement, &job.session, &descriptor, &command).await?;
    job.session.note_leader(shard, to, job.placement.env.boottime());
    for _ in 0..LOOKS {
        if leads().await {
            return Ok(());
        }
        job.placement.env.sleep(LOOK).await;
    }
    // It has failed to take over: the one that leads is told again.
    Err(Stop::Retry(format!("node {to} does not lead yet")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Span;

    /// The leader died when the new copy had its vote, and the old one was not removed yet.
    #[test]
    fn a_new_copy_keeps_the_vote_that_it_has() {
        let copy = |id, role| Replica { id: ReplicaId(id), node: NodeId(id), role };
        let (voter, learner) = (ReplicaRole::Voter, ReplicaRole::Learner);
        let new = copy(4, learner);
        for roles in [[voter, learner], [learner, voter]] {
            let replicas = vec![copy(1, voter), copy(2, voter), copy(3, roles[0]), copy(4, roles[1])];
            let shard =
                ShardDescriptor { id: ShardId(1), span: Span::ALL, version: 1, config_epoch: 1, replicas };
            let members = exchanged(&shard, NodeId(3), &new);
            assert_eq!(members, [copy(1, voter), copy(2, voter), copy(4, voter)]);
        }
    }
}
