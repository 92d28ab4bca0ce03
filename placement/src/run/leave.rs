//! Decommission: a node leaves for good.
//!
//! *Decided*: with the operation the node is marked; it drains, receives nothing, and its clients are sent away between
//! transactions. *Move* its membership of the driver and its copies, one by one, each as an operation of its own, planned anew from what is seen. *Wait* until it
//! has given back what it held, and for its clients. *Gone*: refused while the map still knows a copy there, or an operation may
//! make one.
//!
//! A new leader goes on in the middle. Whoever asked for it may call it off until the last step: the node stays then, with
//! the copies that it has.

use super::{
    ask::{Stop, propose, tell},
    operation::Job,
    scatter::{child, wait},
    view,
};
use crate::{
    command::{Command, Reply},
    planner::leave::{self, Next},
};
use quorate_env::{planted, probe};
use quorate_proto::{
    NodeId,
    placement::{Leaving, OperationState, ReplicaCommand, ReplicaReply},
};
use std::time::Duration;

/// For clients that are in a transaction when all copies have gone. Then they are told that their session ends.
const CLIENTS: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn decommission(job: &Job, node: NodeId) -> Result<(), Stop> {
    if job.placement.machine.state().leaving(node) == Leaving::Gone {
        return Ok(());
    }
    move_copies(job, node).await?;
    given_back(job, node).await?;
    clients_leave(job, node).await?;
    wanted(job, node)?;
    let at = job.placement.env.clock().physical();
    match propose(&job.placement, Command::SetLeaving(node, Leaving::Gone, at)).await {
        // The map has learned of a copy just now.
        Err(Stop::Failed(why)) => Err(Stop::Retry(why)),
        other => other.map(|_| ()),
    }
}

/// Nobody has called it off.
fn wanted(job: &Job, node: NodeId) -> Result<(), Stop> {
    match job.placement.machine.state().leaving(node) {
        Leaving::Decommissioning => Ok(()),
        _ => Err(Stop::Failed("it was called off".into())),
    }
}

async fn move_copies(job: &Job, node: NodeId) -> Result<(), Stop> {
    let origin = format!("decommission {}", job.id);
    loop {
        wanted(job, node)?;
        if let Some(child) = child(job, &origin) {
            if let OperationState::Failed(why) = wait(job, child).await? {
                probe!("placement.decommission_tried_again");
                return Err(Stop::Retry(why));
            }
            continue;
        }
        let env = &job.placement.env;
        let at = env.clock().physical();
        let planned = match leave::next(&view(&job.placement, &job.session), node, at) {
            Next::Nothing => return Ok(()),
            Next::Wait(why) => return Err(Stop::Retry(why)),
            Next::Move(planned) => *planned,
        };
        let left = job.placement.machine.state().copies_on(node);
        job.at_step(&format!("{left} copies left; {}", planned.decision.chosen)).await?;
        let command = Command::StartOperation {
            operation: planned.operation,
            origin: origin.clone(),
            at,
            decision: Some(planned.decision),
        };
        let Reply::Number(_) = propose(&job.placement, command).await? else {
            return Err(Stop::Retry("a step was not started".into()));
        };
    }
}

/// A node that lives has removed what it held, though it may be away just now. (The dead are asked for nothing.)
async fn given_back(job: &Job, node: NodeId) -> Result<(), Stop> {
    let (near, dead) = view(&job.placement, &job.session)
        .nodes
        .get(&node)
        .map_or((false, true), |node| (node.near, node.dead));
    if dead {
        return Ok(());
    }
    if !near {
        return Err(Stop::Retry("waiting until it is heard of, or dead".into()));
    }
    if job.session.carried().iter().any(|(holder, _)| *holder == node) {
        return Err(Stop::Retry("waiting until it has removed its copy of the placement driver".into()));
    }
    if !job.session.has_told_all(node) {
        return Err(Stop::Retry("waiting until it has told what it holds".into()));
    }
    match holdings(job, node).await? {
        0 => Ok(()),
        held => Err(Stop::Retry(format!("waiting until it has removed {held} old copies"))),
    }
}

/// How many copies it has. One that was made a moment ago, by an operation that has come to nothing since, may not have been told of
/// yet, so it is asked, once nothing can be made any more.
async fn holdings(job: &Job, node: NodeId) -> Result<usize, Stop> {
    let reported = job.session.replicas().iter().filter(|(holder, _)| *holder == node).count();
    if reported > 0 || planted!("placement.heartbeats_tell_all") {
        return Ok(reported);
    }
    if let Some(made) = job.placement.machine.state().joins(node).first() {
        return Err(Stop::Retry(format!("it is becoming a member of {made}")));
    }
    match tell(&job.placement, node, &ReplicaCommand::Holdings).await {
        Ok(ReplicaReply::Holdings(shards)) => Ok(shards.len()),
        other => Err(Stop::Retry(format!("what it holds is not known: {other:?}"))),
    }
}

async fn clients_leave(job: &Job, node: NodeId) -> Result<(), Stop> {
    let env = &job.placement.env;
    let until = env.boottime() + CLIENTS;
    while env.boottime() < until {
        wanted(job, node)?;
        let near = view(&job.placement, &job.session).nodes.get(&node).is_some_and(|node| node.near);
        let sessions = job.session.sessions(node);
        if sessions == 0 || !near {
            break;
        }
        job.at_step(&format!("waiting for {sessions} clients to end their transactions")).await?;
        env.sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
