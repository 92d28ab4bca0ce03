//! Copies that belong to no shard any more: a node that was replaced while it was away still holds its own, and so does one
//! that missed the end of a move.

use super::{ask::tell, view};
use crate::{Placement, leader::Session};
use quorate_proto::{
    NodeId, ReplicaId, ShardId,
    placement::{ReplicaCommand, ReplicaReport},
};

pub(super) async fn tidy(placement: &Placement, session: &Session) {
    let leftovers = leftovers(placement, session);
    for (node, shard, replica) in leftovers {
        tracing::info!(%node, %shard, %replica, "a copy that is no member any more goes");
        let command = ReplicaCommand::Destroy { shard, replica };
        if let Err(error) = tell(placement, node, &command).await {
            tracing::debug!(%node, %shard, %error, "it goes later");
        }
    }
}

fn leftovers(placement: &Placement, session: &Session) -> Vec<(NodeId, ShardId, ReplicaId)> {
    let reports = session.replicas();
    if reports.is_empty() {
        return Vec::new();
    }
    let view = view(placement, session);
    let usable = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.usable);
    // Only what the map knows better: a copy that tells of a later epoch may have been added just now.
    let left_over = |report: &ReplicaReport| {
        view.shards.get(&report.shard).is_some_and(|shard| {
            !report.leader
                && !view.busy.contains(&report.shard)
                && report.descriptor.epochs() < shard.epochs()
                && shard.replicas.iter().all(|replica| replica.id != report.replica)
        })
    };
    reports
        .into_iter()
        .filter(|(node, report)| usable(node) && left_over(report))
        .map(|(node, report)| (node, report.shard, report.replica))
        .collect()
}
