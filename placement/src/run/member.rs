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
use crate::{command::GearRequest, planner};
use quorate_env::probe;
use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId,
    placement::{Leaving, NodeState, ReplicaCommand, ReplicaReply, ReplicaReport},
};
use std::time::Duration;

/// Between two questions how far a learner is.
const POLL: Duration = Duration::from_millis(200);
/// Between two questions whether an heir leads, and how many are asked before the leader is told again.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 50;

/// Replaces the copy on `from` by one on `to`; without `to` the node `from` is dead, and the planner chooses.
pub(super) async fn replace(job: &Job, shard: ShardId, from: NodeId, to: Option<NodeId>) -> Result<(), Stop> {
    let mut descriptor = job.shard(shard)?;
    if descriptor.replica_on(from).is_none() {
        destroy_leftover(job, shard, from).await;
        return Ok(());
    }
    let repair = to.is_none();
    let Some(to) = to.or_else(|| job.gear().and_then(|gear| gear.node)).or_else(|| {
        let view = view(&job.placement, &job.session);
        planner::home(&view, &descriptor)
    }) else {
        return Err(Stop::Retry("there is no node for another copy".into()));
    };
    if repair && descriptor.replica_on(to).is_none() && is_back(job, from) {
        return Err(Stop::Failed(format!("node {from} is back")));
    }
    if descriptor.replica_on(to).is_none() {
        receives(job, to)?;
    }
    let gear = job.equip(GearRequest { shard: false, replicas: 1, of: shard, node: Some(to) }).await?;
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
        leave(job, &descriptor, from).await?;
    }
    swap(job, &descriptor, from, &new).await?;
    destroy_leftover(job, shard, from).await;
    Ok(())
}

async fn add(job: &Job, shard: ShardDescriptor, new: &Replica) -> Result<ShardDescriptor, Stop> {
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
    if report.replica == new.id || !is_left_over(report, shard) {
        return Ok(());
    }
    probe!("placement.cleared_a_place");
    let command = ReplicaCommand::Destroy { shard: shard.id, replica: report.replica };
    let told = tell(&job.placement, *node, &command).await;
    told.map(|_| ()).map_err(|error| Stop::Retry(format!("node {node} keeps its old copy: {error}")))
}

pub(super) async fn caught_up(job: &Job, shard: &ShardDescriptor, new: &Replica) -> Result<(), Stop> {
    job.at_step("copying data").await?;
    loop {
        let command = ReplicaCommand::Status { shard: shard.id };
        let reply = tell_leader(&job.placement, &job.session, shard, &command).await?;
        let ReplicaReply::Status { leader, members, .. } = reply else {
            return Err(Stop::Failed(format!("an unexpected answer: {reply:?}")));
        };
        if let Some(leader) = leader {
            job.session.note_leader(shard.id, leader, job.placement.env.boottime());
        }
        if members.iter().any(|member| member.replica.id == new.id && member.caught_up) {
            return Ok(());
        }
        if !is_current(&job.placement, &job.session) {
            return Err(Stop::Lost);
        }
        lives(job, new.node)?;
        job.placement.env.sleep(POLL).await;
    }
}

/// A node that is given up gets no copy any more.
fn lives(job: &Job, node: NodeId) -> Result<(), Stop> {
    let state = job.placement.machine.state();
    match state.nodes.get(&node).map(|record| record.state) {
        Some(NodeState::Dead) => Err(Stop::Failed(format!("node {node} is dead"))),
        _ => Ok(()),
    }
}

/// Nor does one that is to leave.
fn receives(job: &Job, node: NodeId) -> Result<(), Stop> {
    match job.placement.machine.state().leaving(node) {
        Leaving::No => lives(job, node),
        _ => Err(Stop::Failed(format!("node {node} is to leave, and receives nothing"))),
    }
}

/// A learner that will not catch up goes again, so that the shard can be worked on.
async fn withdraw(job: &Job, new: &Replica, shard: ShardId, stop: Stop) -> Stop {
    if !matches!(stop, Stop::Failed(_)) {
        return stop;
    }
    let without = async {
        let shard = job.shard(shard)?;
        let learns = |member: &Replica| member.id == new.id && member.role == ReplicaRole::Learner;
        if shard.replicas.iter().any(learns) {
            probe!("placement.withdrew_a_learner");
            let members = shard.replicas.iter().filter(|member| !learns(member)).cloned().collect();
            change(job, &shard, members).await?;
        }
        Ok(())
    };
    match without.await {
        Ok(()) => stop,
        // Nothing else may begin before that is done.
        Err(Stop::Failed(why)) => Stop::Retry(why),
        Err(other) => other,
    }
}

/// Lets another voter lead if the copy to be removed does.
async fn leave(job: &Job, shard: &ShardDescriptor, from: NodeId) -> Result<(), Stop> {
    if job.session.leader_of(shard.id) != Some(from) {
        return Ok(());
    }
    let view = view(&job.placement, &job.session);
    let usable = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.usable);
    let voter = |r: &&Replica| r.role == ReplicaRole::Voter && r.node != from && usable(&r.node);
    let Some(heir) = shard.replicas.iter().find(voter) else {
        // The only voter: it removes itself, and the new copy takes over.
        return Ok(());
    };
    job.at_step("handing leadership over").await?;
    let command = ReplicaCommand::TransferLeader { shard: shard.id, to: heir.id };
    tell_leader(&job.placement, &job.session, shard, &command).await?;
    job.session.note_leader(shard.id, heir.node, job.placement.env.boottime());
    Ok(())
}

async fn swap(job: &Job, shard: &ShardDescriptor, from: NodeId, new: &Replica) -> Result<(), Stop> {
    job.at_step("exchanging the copies").await?;
    let role = shard.replica_on(from).map_or(ReplicaRole::Voter, |old| old.role);
    let members = shard.replicas.iter().filter(|replica| replica.node != from).map(|replica| {
        if replica.id == new.id { Replica { role, ..replica.clone() } } else { replica.clone() }
    });
    change(job, shard, members.collect()).await.map(|_| ())
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

/// What is missed here is found by `tidy`.
async fn destroy_leftover(job: &Job, shard: ShardId, node: NodeId) {
    let reports = job.session.replicas();
    let left = reports.into_iter().find(|(holder, report)| *holder == node && report.shard == shard);
    if let Some((_, report)) = left {
        let command = ReplicaCommand::Destroy { shard, replica: report.replica };
        if let Err(error) = tell(&job.placement, node, &command).await {
            tracing::debug!(%shard, %node, %error, "the old copy is destroyed later");
        }
    }
}

fn is_back(job: &Job, node: NodeId) -> bool {
    let state = job.placement.machine.state();
    state.nodes.get(&node).is_some_and(|record| record.state == NodeState::Live)
}

pub(super) async fn transfer(job: &Job, shard: ShardId, to: NodeId) -> Result<(), Stop> {
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
