//! Copies that belong to no shard any more: a node that was replaced while it was away still holds its own, and so does one
//! that missed the end of a move. And copies that were never made: a replica that got a snapshot from after a split has
//! not applied the split, which would have made its right half. And copies that are lost on a node that lives. So it is with the
//! driver's own replicas ([`super::own`]). A copy that a shard
//! has left behind before it was merged into another one belongs to nobody either; one that waits to be absorbed refuses to go.

use super::{ask::tell, own, start_repair, view};
use crate::{Placement, leader::Session, planner, state::State};
use quorate_env::planted;
use quorate_proto::{
    KvError, NodeId, Replica, ReplicaId, ShardDescriptor, ShardId,
    placement::{ReplicaCommand, ReplicaReport},
};
use std::{collections::BTreeSet, time::Duration};

/// A member that does not show for so long is not just about to be opened or reported.
const GRACE: Duration = Duration::from_secs(3);

pub(super) async fn tidy(placement: &Placement, session: &Session) {
    let leftovers = leftovers(placement, session);
    for (node, shard, replica) in leftovers {
        tracing::info!(%node, %shard, %replica, "a copy that is no member any more goes");
        let command = ReplicaCommand::Destroy { shard, replica };
        if let Err(error) = tell(placement, node, &command).await {
            tracing::debug!(%node, %shard, %error, "it goes later");
        }
    }
    own::tidy(placement, session).await;
    for (descriptor, replica) in missing(placement, session) {
        let (node, shard) = (replica.node, descriptor.id);
        if shard == ShardId::PLACEMENT {
            remake(placement, session, &descriptor, &replica, "its disk was lost").await;
            continue;
        }
        tracing::info!(%node, %shard, replica = %replica.id, "a member that is not there is made");
        // Under its own id: the node refuses if it ever had it, for then it may have promised something.
        let command =
            ReplicaCommand::CreateLearner { descriptor: descriptor.clone(), replica: replica.clone() };
        match tell(placement, node, &command).await {
            Ok(_) => {}
            Err(KvError::BadRequest { why }) => {
                tracing::warn!(%node, %shard, why, "it is lost, and replaced by a new one");
                remake(placement, session, &descriptor, &replica, &why).await;
            }
            Err(error) => tracing::info!(%node, %shard, %error, "it is not made"),
        }
    }
}

async fn remake(
    placement: &Placement,
    session: &Session,
    shard: &ShardDescriptor,
    lost: &Replica,
    why: &str,
) {
    let view = view(placement, session);
    let held: Vec<(NodeId, ReplicaId)> = match shard.id {
        ShardId::PLACEMENT => session.carried(),
        id => {
            let reports =
                session.replicas().into_iter().filter(|(_, report)| report.shard == id && report.is_sound());
            reports.map(|(node, report)| (node, report.replica)).collect()
        }
    };
    let near = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.near);
    let held: BTreeSet<ReplicaId> =
        held.into_iter().filter(|(node, _)| near(node)).map(|(_, replica)| replica).collect();
    let at = placement.env.clock().physical();
    if !view.busy.contains(&shard.id)
        && let Some(planned) = planner::remake(shard, lost, &held, why, at)
    {
        start_repair(placement, planned).await;
    }
}

/// Members on nodes that live and have told of all they hold, and not of this.
fn missing(placement: &Placement, session: &Session) -> Vec<(ShardDescriptor, Replica)> {
    let view = view(placement, session);
    let mut absent = Vec::new();
    let groups = view.driver.iter().chain(view.shards.values());
    let state = placement.machine.state();
    let waiting = |id: ShardId| !view.busy.contains(&id) || state.waits_for_members(id);
    for shard in groups.filter(|shard| waiting(shard.id)) {
        let near = |member: &&Replica| {
            let node = view.nodes.get(&member.node);
            // Who leaves is not given another replica of the driver: its membership moves.
            node.is_some_and(|node| node.near && (shard.id != ShardId::PLACEMENT || node.usable))
        };
        let members = shard.replicas.iter().filter(near).cloned();
        absent.extend(members.map(|member| (shard.clone(), member)));
    }
    drop(state);
    session.absent_for(GRACE, placement.env.boottime(), absent)
}

fn leftovers(placement: &Placement, session: &Session) -> Vec<(NodeId, ShardId, ReplicaId)> {
    let reports = session.replicas();
    if reports.is_empty() {
        return Vec::new();
    }
    let view = view(placement, session);
    // Above all from those that leave.
    let near = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.near);
    let merged = |known: &ShardDescriptor| {
        view.shards.values().any(|other| other.version > known.version && other.span.overlaps(&known.span))
    };
    let state = placement.machine.state();
    let left_over = |report: &ReplicaReport| match view.shards.get(&report.shard) {
        Some(shard) => !view.busy.contains(&shard.id) && is_left_over(&state, report, shard),
        // Also one that still takes itself for the leader: the others, which could tell it, have gone.
        None => merged(&report.descriptor),
    };
    reports
        .into_iter()
        .filter(|(node, report)| near(node) && left_over(report))
        .map(|(node, report)| (node, report.shard, report.replica))
        .collect()
}

/// Only what the map knows better. At the present epoch it may be one that is about to be added: then an operation has its id.
pub(super) fn is_left_over(state: &State, report: &ReplicaReport, shard: &ShardDescriptor) -> bool {
    let (told, known) = (report.descriptor.epochs(), shard.epochs());
    let awaited =
        || state.running().any(|record| record.gear.as_ref().is_some_and(|gear| gear.gives(report.replica)));
    // One that was cut off when it was removed, and has been quiet since, still takes itself for the leader. At the present epoch a
    // leader is about to step down.
    let stays = report.leader && planted!("placement.overtaken_leader_stays");
    let overtaken = || told < known && !stays || told == known && !report.leader && !awaited();
    // The old members of a shard that was recovered may have a leader among them, and have gone on.
    let ended = || state.is_ended(report.shard, report.replica) && !planted!("placement.ended_leader_stays");
    shard.replicas.iter().all(|replica| replica.id != report.replica) && (ended() || overtaken())
}
