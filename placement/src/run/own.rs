//! Exchanging a member of the driver itself. It is the leader's own group that changes, so that nobody has to be told to change it;
//! but for that it goes as with a shard's copy ([`super::member`]).
//!
//! *Make* an empty replica on the new node ([`crate::host`]); *add* it as a learner; wait until it is *caught up*; *exchange* it for
//! the old one by joint consensus, so that the group never has fewer voters that are in sync; have the old one *removed*. Each
//! step is taken from the members that the log shows, so that a new leader goes on in the middle. A leader that is to go brings the
//! new member up, hands over to one that stays, and that one does the rest.
//!
//! The new replica's id is in the replicated state before it is told to anybody, is greater than any that was ever a member, and is
//! never used again: an old replica that comes back is no member, whatever it believes.

use super::{
    ask::Stop,
    is_current,
    member::{is_back, lives, receives},
    operation::Job,
    view,
};
use crate::{Placement, command::GearRequest, leader::Session, planner};
use quorate_env::{probe, rpc};
use quorate_proto::{
    KvError, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, placement::DriverCommand,
};
use std::time::Duration;

const SELF: ShardId = ShardId::PLACEMENT;
/// Between two looks how far a learner is.
const POLL: Duration = Duration::from_millis(50);
/// For a node to make or to remove a replica.
const PATIENCE: Duration = Duration::from_secs(10);

/// Replaces the member on `from` by one on `to`; without `to` the node `from` is dead, and the planner chooses.
pub(super) async fn replace(job: &Job, from: NodeId, to: Option<NodeId>) -> Result<(), Stop> {
    let own = job.placement.own();
    let gear = job.gear().filter(|gear| gear.of == SELF);
    let Some(old) = own.replica_on(from).cloned() else {
        dismiss(job, from).await;
        return Ok(());
    };
    let chosen = to.or_else(|| gear.and_then(|gear| gear.node));
    let Some(home) = chosen.or_else(|| planner::home(&view(&job.placement, &job.session), &own, from)) else {
        return Err(Stop::Retry("there is no node for another member".into()));
    };
    if own.replica_on(home).is_none() {
        if to.is_none() && is_back(job, from) {
            return Err(Stop::Failed(format!("node {from} is back")));
        }
        receives(job, home)?;
    }
    exchange(job, &old, home).await?;
    dismiss(job, from).await;
    Ok(())
}

/// The node lives, and has lost its replica: another one takes its place there, under a new id (PROTOCOL 7).
pub(super) async fn remake(job: &Job, lost: &Replica) -> Result<(), Stop> {
    if !is_member(job, lost.id) {
        return Ok(());
    }
    exchange(job, lost, lost.node).await
}

fn is_member(job: &Job, id: ReplicaId) -> bool {
    job.placement.own().replicas.iter().any(|member| member.id == id)
}

async fn exchange(job: &Job, old: &Replica, to: NodeId) -> Result<(), Stop> {
    let greatest = job.placement.own().replicas.iter().map(|member| member.id.0).max().unwrap_or(0);
    let request = GearRequest { shard: false, replicas: 1, of: SELF, node: Some(to), above: greatest };
    let gear = job.equip(request).await?;
    let new = Replica { id: ReplicaId(gear.replica), node: to, role: ReplicaRole::Learner };
    if !is_member(job, new.id) {
        add(job, &new).await?;
    }
    if let Err(stop) = caught_up(job, &new).await {
        return Err(withdraw(job, &new, stop).await);
    }
    job.at_step("exchanging the members").await?;
    let mut members = job.placement.own().replicas;
    members.retain(|member| member.id != old.id);
    // One that learns has lost its vote to the new member already, and is only to be forgotten.
    if old.role != ReplicaRole::Learner {
        members.iter_mut().filter(|member| member.id == new.id).for_each(|member| member.role = old.role);
    }
    change(job, members).await?;
    probe!("placement.exchanged_a_member");
    Ok(())
}

async fn add(job: &Job, new: &Replica) -> Result<(), Stop> {
    job.at_step("making a new member").await?;
    let own = job.placement.own();
    // The node may hold an old one still, if it was away when that was replaced.
    let there = job.session.carried().into_iter().filter(|(node, id)| *node == new.node && *id != new.id);
    for (node, old) in there.filter(|(_, id)| own.replicas.iter().all(|member| member.id != *id)) {
        told(tell(&job.placement, node, DriverCommand::Remove(old)).await, node)?;
    }
    told(tell(&job.placement, new.node, DriverCommand::Create(new.id)).await, new.node)?;
    job.at_step("adding the new member").await?;
    let mut members = own.replicas;
    members.push(new.clone());
    change(job, members).await
}

async fn caught_up(job: &Job, new: &Replica) -> Result<(), Stop> {
    job.at_step("copying the driver's state").await?;
    let group = &job.placement.group;
    while !group.progress().iter().any(|member| member.replica.id == new.id && member.caught_up) {
        if !is_current(&job.placement, &job.session) {
            return Err(Stop::Lost);
        }
        lives(job, new.node)?;
        job.placement.env.sleep(POLL).await;
    }
    Ok(())
}

/// A learner that will not catch up goes again.
async fn withdraw(job: &Job, new: &Replica, stop: Stop) -> Stop {
    if !matches!(stop, Stop::Failed(_)) {
        return stop;
    }
    match without(job, new).await {
        Ok(()) => stop,
        // Nothing else may begin before that is done.
        Err(Stop::Failed(why)) => Stop::Retry(why),
        Err(other) => other,
    }
}

/// Removes a learner, if it is one.
pub(super) async fn without(job: &Job, learner: &Replica) -> Result<(), Stop> {
    let mut members = job.placement.own().replicas;
    let learns = |member: &Replica| member.id == learner.id && member.role == ReplicaRole::Learner;
    if members.iter().any(learns) {
        probe!("placement.withdrew_a_member");
        members.retain(|member| !learns(member));
        change(job, members).await?;
    }
    Ok(())
}

async fn change(job: &Job, members: Vec<Replica>) -> Result<(), Stop> {
    match job.placement.group.change_members(members).await {
        Ok(_) => Ok(()),
        // Perhaps because this replica is to go: whoever leads now goes on.
        Err(KvError::NotLeader { .. }) => Err(Stop::Lost),
        Err(KvError::BadRequest { why }) => Err(Stop::Failed(why)),
        Err(error) => Err(Stop::Retry(error.to_string())),
    }
}

/// Lets the member on `to` lead. That one finds the operation done.
pub(super) async fn transfer(job: &Job, to: NodeId) -> Result<(), Stop> {
    if job.placement.env.node() == to {
        return Ok(());
    }
    let own = job.placement.own();
    let heir = own.voters().find(|member| member.node == to);
    let heir = heir.ok_or_else(|| Stop::Failed(format!("node {to} is no member")))?;
    match job.placement.group.transfer(heir.id).await {
        Ok(()) | Err(KvError::NotLeader { .. }) => Err(Stop::Lost),
        Err(error) => Err(Stop::Retry(error.to_string())),
    }
}

/// What is missed here is done by [`tidy`].
async fn dismiss(job: &Job, node: NodeId) {
    let own = job.placement.own();
    for (holder, id) in strangers(&job.session, &own).into_iter().filter(|(holder, _)| *holder == node) {
        if let Err(error) = tell(&job.placement, holder, DriverCommand::Remove(id)).await {
            tracing::debug!(node = %holder, %error, "its replica of the driver is removed later");
        }
    }
}

/// Has replicas removed that are no members any more, unless an operation is about to make them some. Who reports one and is not among
/// the members of a leader that had a quorum's word then never will be: the operation that made it is over here.
pub(super) async fn tidy(placement: &Placement, session: &Session) {
    let (own, view) = (placement.own(), view(placement, session));
    if view.busy.contains(&SELF) {
        return;
    }
    let near = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.near);
    for (node, id) in strangers(session, &own).into_iter().filter(|(node, _)| near(node)) {
        if let Err(error) = tell(placement, node, DriverCommand::Remove(id)).await {
            tracing::debug!(%node, %error, "its replica of the driver is removed later");
        }
    }
}

fn strangers(session: &Session, own: &ShardDescriptor) -> Vec<(NodeId, ReplicaId)> {
    let is_none = |id: ReplicaId| !own.replicas.is_empty() && own.replicas.iter().all(|m| m.id != id);
    session.carried().into_iter().filter(|(_, id)| is_none(*id)).collect()
}

async fn tell(placement: &Placement, node: NodeId, command: DriverCommand) -> Result<(), KvError> {
    match rpc::call(&placement.env, node, &command, PATIENCE).await {
        Ok(answer) => answer.result,
        Err(error) => Err(KvError::Unreachable { node, why: error.to_string() }),
    }
}

fn told(answer: Result<(), KvError>, node: NodeId) -> Result<(), Stop> {
    answer.map_err(|error| match error {
        KvError::BadRequest { why } => Stop::Failed(format!("node {node}: {why}")),
        other => Stop::Retry(format!("node {node}: {other}")),
    })
}
