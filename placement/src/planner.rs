//! What to do about what is seen. Pure: the same picture gives the same plan, and every plan says why.

pub mod balance;
pub mod leave;
pub mod merge;
pub mod seen;
pub mod split;
pub mod why;

use quorate_proto::{
    NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{Leaving, Operation, PlacementDecision},
};
use std::collections::{BTreeMap, BTreeSet};

/// Copies of every shard, where there are nodes enough.
pub const COPIES: usize = 3;

/// A node as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub id: NodeId,
    /// Heard of lately, and not leaving.
    pub usable: bool,
    /// Heard of lately.
    pub near: bool,
    pub leaving: Leaving,
    /// Silent for longer than the repair delay.
    pub dead: bool,
    /// Carries the role `shard`.
    pub holds_shards: bool,
    /// There is space on its disk.
    pub roomy: bool,
}

/// Everything that plans are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub nodes: BTreeMap<NodeId, NodeView>,
    pub shards: BTreeMap<ShardId, ShardDescriptor>,
    /// Who leads, as last reported.
    pub leaders: BTreeMap<ShardId, NodeId>,
    /// Shards that an operation is working on.
    pub busy: BTreeSet<ShardId>,
}

/// One step, with what it was chosen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub operation: Operation,
    pub decision: PlacementDecision,
}

impl View {
    fn targets(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values().filter(|node| node.usable && node.holds_shards)
    }

    /// Copies per node, over the given shards.
    fn copies<'a>(&self, shards: impl Iterator<Item = &'a ShardDescriptor>) -> BTreeMap<NodeId, i64> {
        let mut count: BTreeMap<NodeId, i64> = self.targets().map(|node| (node.id, 0)).collect();
        for shard in shards {
            for replica in &shard.replicas {
                *count.entry(replica.node).or_default() += 1;
            }
        }
        count
    }
}

/// On which nodes the first shard is founded: the first few usable ones, an odd number.
pub fn founders(nodes: impl Iterator<Item = NodeView>) -> Vec<NodeId> {
    let usable: Vec<NodeId> =
        nodes.filter(|node| node.usable && node.holds_shards).map(|node| node.id).collect();
    let count = match usable.len().min(COPIES) {
        2 => 1,
        other => other,
    };
    usable[..count].to_vec()
}

/// Replaces copies on dead nodes, one shard at a time: the lowest id first. (Whoever decommissions a dead node does so itself.)
pub fn repair(view: &View, at: Timestamp) -> Option<Planned> {
    let dead: BTreeSet<NodeId> = view.nodes.values().filter(|node| node.dead).map(|node| node.id).collect();
    let left_to_others = |node: &NodeId| view.nodes[node].leaving == Leaving::Decommissioning;
    for (id, shard) in &view.shards {
        if view.busy.contains(id) {
            continue;
        }
        let lost = |replica: &&Replica| dead.contains(&replica.node) && !left_to_others(&replica.node);
        let Some(lost) = shard.replicas.iter().find(lost) else { continue };
        let left = shard.voters().filter(|replica| !dead.contains(&replica.node)).count();
        if left * 2 <= shard.voters().count() {
            // Without a quorum nothing can be repaired by moving copies.
            continue;
        }
        let candidates = rate(view, shard);
        let Some((chosen, ..)) = best(&candidates) else { continue };
        let operation = Operation::Repair { shard: *id, dead: lost.node };
        let decision = PlacementDecision {
            id: 0,
            at,
            scheduler: "repair".into(),
            shard: Some(*id),
            seen: format!("node {} with a copy of shard {id} is dead", lost.node),
            chosen: format!("a new copy on node {chosen}"),
            candidates,
            outcome: String::new(),
            operation: None,
            options: Vec::new(),
            inputs: Vec::new(),
        };
        return Some(Planned { operation, decision });
    }
    None
}

/// Replaces a copy that its node has lost; `held` are the replicas that nodes in reach hold.
pub fn remake(
    shard: &ShardDescriptor,
    lost: &Replica,
    held: &BTreeSet<ReplicaId>,
    why: &str,
    at: Timestamp,
) -> Option<Planned> {
    let left = shard.voters().filter(|voter| held.contains(&voter.id)).count();
    if left * 2 <= shard.voters().count() {
        // Without a quorum nothing can be repaired by changing members.
        return None;
    }
    let (id, node) = (shard.id, lost.node);
    let decision = PlacementDecision {
        id: 0,
        at,
        scheduler: "repair".into(),
        shard: Some(id),
        seen: format!(
            "node {node} does not hold its copy of shard {id}, and refuses to begin it anew: {why}"
        ),
        candidates: vec![(node, 0, "has a place to fill".into())],
        chosen: format!("a new copy on node {node} in the place of replica {}", lost.id),
        outcome: String::new(),
        operation: None,
        options: Vec::new(),
        inputs: Vec::new(),
    };
    Some(Planned { operation: Operation::Remake { shard: id, lost: lost.clone() }, decision })
}

/// Where a further copy of a shard would go best.
pub fn home(view: &View, shard: &ShardDescriptor) -> Option<NodeId> {
    best(&rate(view, shard)).map(|(node, ..)| *node)
}

/// Candidates for a further copy: the fewer they hold the better; those that hold one already are out.
fn rate(view: &View, shard: &ShardDescriptor) -> Vec<(NodeId, i64, String)> {
    let copies = view.copies(view.shards.values());
    let rated = view.nodes.values().map(|node| {
        let held = copies.get(&node.id).copied().unwrap_or(0);
        if shard.replica_on(node.id).is_some() {
            (node.id, i64::MIN, "holds a copy already".to_owned())
        } else if !node.holds_shards {
            (node.id, i64::MIN, "carries no shards".to_owned())
        } else if node.leaving != Leaving::No {
            (node.id, i64::MIN, "is leaving".to_owned())
        } else if !node.usable {
            (node.id, i64::MIN, "is not in reach".to_owned())
        } else if !node.roomy {
            (node.id, i64::MIN, "has hardly any space left".to_owned())
        } else {
            (node.id, -held, format!("holds {held} copies"))
        }
    });
    rated.collect()
}

fn best(candidates: &[(NodeId, i64, String)]) -> Option<&(NodeId, i64, String)> {
    let usable = candidates.iter().filter(|(_, score, _)| *score > i64::MIN);
    usable.max_by_key(|(node, score, _)| (*score, std::cmp::Reverse(*node)))
}

/// The next step towards an even spread of copies and leaders over the shards; `None` when there is no better one.
pub fn spread(view: &View, shards: &BTreeSet<ShardId>, at: Timestamp) -> Option<Planned> {
    let chosen: Vec<&ShardDescriptor> =
        view.shards.values().filter(|shard| shards.contains(&shard.id)).collect();
    spread_copies(view, &chosen, at).or_else(|| spread_leaders(view, &chosen, at))
}

fn spread_copies(view: &View, shards: &[&ShardDescriptor], at: Timestamp) -> Option<Planned> {
    let copies = view.copies(shards.iter().copied());
    let usable: BTreeSet<NodeId> = view.targets().map(|node| node.id).collect();
    let roomy: BTreeSet<NodeId> = view.targets().filter(|node| node.roomy).map(|node| node.id).collect();
    let mut by_load: Vec<(i64, NodeId)> =
        copies.iter().filter(|(node, _)| usable.contains(node)).map(|(node, n)| (*n, *node)).collect();
    by_load.sort();
    for (most, from) in by_load.iter().rev() {
        for (least, to) in by_load.iter().filter(|(_, node)| roomy.contains(node)) {
            if most - least < 2 {
                break;
            }
            let movable = shards.iter().find(|shard| {
                !view.busy.contains(&shard.id)
                    && shard.replica_on(*from).is_some_and(|r| r.role == ReplicaRole::Voter)
                    && shard.replica_on(*to).is_none()
            });
            let Some(shard) = movable else { continue };
            let operation = Operation::MoveReplica { shard: shard.id, from: *from, to: *to };
            let seen = format!("node {from} holds {most} of the copies, node {to} {least}");
            return Some(planned(operation, shard.id, seen, &copies, "copies", at));
        }
    }
    None
}

fn spread_leaders(view: &View, shards: &[&ShardDescriptor], at: Timestamp) -> Option<Planned> {
    let usable: BTreeSet<NodeId> = view.targets().map(|node| node.id).collect();
    let roomy: BTreeSet<NodeId> = view.targets().filter(|node| node.roomy).map(|node| node.id).collect();
    let mut led: BTreeMap<NodeId, i64> = BTreeMap::new();
    for shard in shards {
        for replica in shard.voters().filter(|replica| usable.contains(&replica.node)) {
            led.entry(replica.node).or_default();
        }
        if let Some(leader) = view.leaders.get(&shard.id) {
            *led.entry(*leader).or_default() += 1;
        }
    }
    let mut by_load: Vec<(i64, NodeId)> = led.iter().map(|(node, n)| (*n, *node)).collect();
    by_load.sort();
    for (most, from) in by_load.iter().rev() {
        for (least, to) in by_load.iter().filter(|(_, node)| roomy.contains(node)) {
            if most - least < 2 {
                break;
            }
            let movable = shards.iter().find(|shard| {
                !view.busy.contains(&shard.id)
                    && view.leaders.get(&shard.id) == Some(from)
                    && shard.replica_on(*to).is_some_and(|r| r.role == ReplicaRole::Voter)
            });
            let Some(shard) = movable else { continue };
            let operation = Operation::TransferLeader { shard: shard.id, to: *to };
            let seen = format!("node {from} leads {most} of the shards, node {to} {least}");
            return Some(planned(operation, shard.id, seen, &led, "shards led", at));
        }
    }
    None
}

fn planned(
    operation: Operation,
    shard: ShardId,
    seen: String,
    load: &BTreeMap<NodeId, i64>,
    what: &str,
    at: Timestamp,
) -> Planned {
    let candidates = load.iter().map(|(node, n)| (*node, -n, format!("{n} {what}"))).collect();
    let chosen = match &operation {
        Operation::MoveReplica { from, to, .. } => format!("move a copy from node {from} to node {to}"),
        Operation::TransferLeader { to, .. } => format!("let node {to} lead"),
        other => format!("{other:?}"),
    };
    let decision = PlacementDecision {
        id: 0,
        at,
        scheduler: "scatter".into(),
        shard: Some(shard),
        seen,
        candidates,
        chosen,
        outcome: String::new(),
        operation: None,
        options: Vec::new(),
        inputs: Vec::new(),
    };
    Planned { operation, decision }
}
