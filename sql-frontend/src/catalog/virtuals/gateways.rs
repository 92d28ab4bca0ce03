//! What every gateway knows of itself, asked of all of them at once.

use crate::session::view::SessionView;
use futures::future::join_all;
use quorate_proto::{
    NodeId,
    placement::{NodeCommand, NodeReply},
};
use std::{collections::BTreeSet, time::Duration};

/// A node that does not answer in this time gets a row that says so.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a node answers, or why it does not.
pub type Answer<T> = (NodeId, Result<Vec<T>, &'static str>);

/// The answers of all nodes in their order; `own` is this one's.
pub async fn ask_all<T>(
    view: &SessionView,
    command: &NodeCommand,
    own: Vec<T>,
    told: fn(NodeReply) -> Option<Vec<T>>,
) -> Vec<Answer<T>> {
    let here = view.shared.env.node();
    let mut nodes: BTreeSet<NodeId> = view.shared.cluster.nodes().into_iter().map(|node| node.id).collect();
    nodes.remove(&here);
    let mut answers = vec![(here, Ok(own))];
    answers.extend(join_all(nodes.into_iter().map(|node| ask(view, node, command, told))).await);
    answers.sort_by_key(|(node, _)| *node);
    answers
}

async fn ask<T>(
    view: &SessionView,
    node: NodeId,
    command: &NodeCommand,
    told: fn(NodeReply) -> Option<Vec<T>>,
) -> Answer<T> {
    let answer =
        quorate_env::call(&view.shared.env, node, command, TIMEOUT).await.map(|answer| answer.result);
    let known = match answer {
        Ok(reply) => reply.ok().and_then(told).ok_or("unknown: the node does not tell"),
        Err(_) => Err("unknown: the node does not answer"),
    };
    (node, known)
}
