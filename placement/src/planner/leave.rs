//! Moving everything off a node that is to leave: first its membership of the placement driver, then one copy at a time, the
//! lowest shard first, to where the copies stand best, and of equals to whoever holds the fewest.

use super::{Planned, View, best, named, rate};
use quorate_proto::{
    NodeId, ShardDescriptor, ShardId, Timestamp,
    placement::{Leaving, Operation, PlacementDecision},
};
use std::collections::BTreeMap;

/// Bytes, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What one copy takes up.
    pub shards: BTreeMap<ShardId, u64>,
    /// What is left above the reserve.
    pub free: BTreeMap<NodeId, u64>,
}

/// What is to be done next for a node to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Move(Box<Planned>),
    /// Not now, for this reason.
    Wait(String),
    /// It holds nothing any more.
    Nothing,
}

/// Why the node can never get rid of its copies, as things stand. Nothing: it can.
pub fn obstacles(view: &View, node: NodeId, room: &Room) -> Vec<String> {
    let mut found = Vec::new();
    match view.nodes.get(&node) {
        None => return vec![format!("there is no node {node}")],
        Some(node) if node.leaving == Leaving::Gone => return found,
        Some(node) if !node.near && !node.dead => found.push(format!(
            "node {} is not in reach and not dead either: start it, or wait until it has been silent for \
             placement.repair_after",
            node.id
        )),
        Some(_) => {}
    }
    let held: Vec<&ShardDescriptor> = held(view, node).collect();
    let (own, shards): (Vec<&ShardDescriptor>, Vec<&ShardDescriptor>) =
        held.iter().partition(|shard| shard.id == ShardId::PLACEMENT);
    for held in [own, shards] {
        found.extend(grouped(held.iter().filter_map(|shard| Some((shard.id, without_quorum(view, shard)?)))));
        found.extend(grouped(held.iter().filter_map(|shard| Some((shard.id, homeless(view, node, shard)?)))));
    }
    if found.is_empty() {
        found.extend(too_large(view, node, &held, room));
    }
    found
}

/// The next step; the same picture gives the same one.
pub fn next(view: &View, node: NodeId, at: Timestamp) -> Next {
    let mut waits = None;
    for shard in held(view, node) {
        let busy = view.busy.contains(&shard.id).then(|| "an operation works on it".to_owned());
        let obstacle = busy.or_else(|| without_quorum(view, shard)).or_else(|| homeless(view, node, shard));
        match obstacle {
            None => return Next::Move(Box::new(plan(view, node, shard, at))),
            Some(why) => waits = waits.or_else(|| Some(format!("{}: {why}", named(shard.id)))),
        }
    }
    waits.map_or(Next::Nothing, Next::Wait)
}

fn plan(view: &View, node: NodeId, shard: &ShardDescriptor, at: Timestamp) -> Planned {
    let candidates = rate(view, shard, Some(node));
    let to = best(&candidates).map_or(node, |(to, ..)| *to);
    let decision = PlacementDecision {
        id: 0,
        at,
        scheduler: "decommission".into(),
        shard: Some(shard.id),
        seen: seen(view, node, shard),
        chosen: format!("move the copy of {} from node {node} to node {to}", named(shard.id)),
        candidates,
        ..PlacementDecision::default()
    };
    Planned { operation: Operation::MoveReplica { shard: shard.id, from: node, to }, decision }
}

fn seen(view: &View, node: NodeId, shard: &ShardDescriptor) -> String {
    if shard.id == ShardId::PLACEMENT {
        return format!("node {node} is to leave, and is a member of the placement driver");
    }
    let copies = view.shards.values().filter(|shard| shard.replica_on(node).is_some()).count();
    format!("node {node} is to leave, and holds copies of {copies} shards")
}

fn held(view: &View, node: NodeId) -> impl Iterator<Item = &ShardDescriptor> {
    view.groups().filter(move |shard| shard.replica_on(node).is_some())
}

/// Members can be changed only while a majority of them answers.
fn without_quorum(view: &View, shard: &ShardDescriptor) -> Option<String> {
    let near = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.near);
    let away: Vec<String> =
        shard.voters().filter(|voter| !near(&voter.node)).map(|voter| voter.node.to_string()).collect();
    let voters = shard.voters().count();
    let enough = (voters - away.len()) * 2 > voters;
    (!enough).then(|| format!("no quorum, for nodes {} are not in reach", away.join(", ")))
}

/// No other node can take the copy.
fn homeless(view: &View, node: NodeId, shard: &ShardDescriptor) -> Option<String> {
    let rated = rate(view, shard, Some(node));
    if best(&rated).is_some() {
        return None;
    }
    let others = rated.iter().filter(|(id, ..)| *id != node);
    let why: Vec<String> = others.map(|(id, _, why)| format!("node {id} {why}")).collect();
    let who = if why.is_empty() { "there is no other node".to_owned() } else { why.join(", ") };
    Some(format!("no node can take its copy ({who})"))
}

/// The copies do not fit anywhere, all together.
fn too_large(view: &View, node: NodeId, held: &[&ShardDescriptor], room: &Room) -> Option<String> {
    let size: u64 = held.iter().filter_map(|shard| room.shards.get(&shard.id)).sum();
    let takes = |target: NodeId| held.iter().any(|shard| shard.replica_on(target).is_none());
    let targets = view.targets().filter(|target| target.id != node && target.roomy && takes(target.id));
    // A node that has not said anything is no obstacle.
    let left = targets.map(|target| room.free.get(&target.id).copied().unwrap_or(u64::MAX));
    let free = left.fold(0, u64::saturating_add);
    let text = || {
        format!(
            "too little room: the copies on node {node} take {} MiB, and the others have {} MiB left",
            size >> 20,
            free >> 20
        )
    };
    (size > free).then(text)
}

/// One line for all shards of which the same is to be said.
fn grouped(obstacles: impl Iterator<Item = (ShardId, String)>) -> Vec<String> {
    const NAMED: usize = 3;
    let mut by_reason: BTreeMap<String, Vec<ShardId>> = BTreeMap::new();
    for (shard, why) in obstacles {
        by_reason.entry(why).or_default().push(shard);
    }
    let line = |(why, shards): (String, Vec<ShardId>)| {
        if shards == [ShardId::PLACEMENT] {
            return format!("{}: {why}", named(ShardId::PLACEMENT));
        }
        let named: Vec<String> = shards.iter().take(NAMED).map(ShardId::to_string).collect();
        let more = match shards.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let noun = if shards.len() == 1 { "shard" } else { "shards" };
        format!("{noun} {}{more}: {why}", named.join(", "))
    };
    by_reason.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests;
