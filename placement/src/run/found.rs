//! The first shard. *Decide*: once the founding nodes have all been heard of (or time is up), `Found` puts the descriptor
//! into the map. *Create*: every member is told until it has done so. A leader that dies in between leaves a descriptor
//! with members that still have to be told.

use super::ask::tell;
use crate::{Placement, command::Command, leader::Session, planner};
use quorate_proto::{NodeId, ShardDescriptor, placement::ReplicaCommand};
use std::time::Duration;

/// How long a node of the driver that was never heard of is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn found(placement: &Placement, session: &Session) {
    if placement.machine.state().shards.is_empty() {
        decide(placement, session).await;
    }
    let open: Vec<(ShardDescriptor, NodeId)> = {
        let state = placement.machine.state();
        let open = state.shards.values().filter(|record| !record.founding.is_empty());
        open.flat_map(|record| record.founding.iter().map(|node| (record.descriptor.clone(), *node)))
            .collect()
    };
    let created = open.into_iter().map(|(descriptor, node)| async move {
        let shard = descriptor.id;
        // The members are those of the founding: the shard cannot have changed before a quorum of it exists, and if it has,
        // this one is told in vain and gets a snapshot later.
        match tell(placement, node, &ReplicaCommand::CreateShard { descriptor }).await {
            Ok(_) => {
                if let Err(error) = placement.propose(Command::Founded(shard, node)).await {
                    tracing::debug!(%shard, %node, %error, "will be told again");
                }
            }
            Err(error) => tracing::info!(%shard, %node, %error, "the first shard is not created there yet"),
        }
    });
    futures::future::join_all(created).await;
}

async fn decide(placement: &Placement, session: &Session) {
    let now = placement.env.boottime();
    let view = super::view(placement, session);
    let heard = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.usable);
    let complete = placement.own().replicas.iter().all(|member| heard(&member.node));
    if !complete && now.saturating_sub(session.began) < PATIENCE {
        return;
    }
    let nodes = planner::founders(view.nodes.into_values());
    if nodes.is_empty() {
        return;
    }
    tracing::info!(?nodes, "founding the first shard");
    let command = Command::Found(nodes, placement.env.clock().physical());
    if let Err(error) = placement.propose(command).await {
        tracing::warn!(%error, "the first shard was not founded");
    }
}
