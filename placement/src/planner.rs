//! What to do about what is seen. Pure: the same picture gives the same plan, and every plan says why.

pub mod balance;
pub mod explain;
pub mod kept;
pub mod leave;
pub mod merge;
pub mod place;
pub mod recover;
pub mod seen;
pub mod slow;
pub mod split;
pub mod standing;
pub mod why;

use quorate_env::planted;
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{COPIES, Leaving, Operation, PlacementDecision, PlacementRule, Tier},
};
use standing::Places;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

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
    /// Carries the role `placement`.
    pub may_carry_driver: bool,
    /// Carries the role `shard`.
    pub holds_shards: bool,
    /// There is space on its disk.
    pub roomy: bool,
    /// Why it takes long for whatever it does, if it does.
    pub slow: Option<String>,
    /// Where it is, from the widest tier to the narrowest.
    pub locality: Vec<Tier>,
}

/// Everything that plans are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// The driver's own group, whose members are replaced like copies of a shard.
    pub driver: Option<ShardDescriptor>,
    pub shards: BTreeMap<ShardId, ShardDescriptor>,
    /// Who leads, as last reported; also who leads the driver.
    pub leaders: BTreeMap<ShardId, NodeId>,
    /// Shards that an operation is working on.
    pub busy: BTreeSet<ShardId>,
    /// What users have asked for, by the first key of which it holds.
    pub rules: BTreeMap<Key, PlacementRule>,
}

/// One step, with what it was chosen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub operation: Operation,
    pub decision: PlacementDecision,
}

impl View {
    /// The driver's own group, and all shards.
    fn groups(&self) -> impl Iterator<Item = &ShardDescriptor> {
        self.driver.iter().chain(self.shards.values())
    }

    fn targets(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values().filter(|node| node.usable && node.holds_shards)
    }

    /// Those that are given more by choice.
    fn takers(&self) -> BTreeSet<NodeId> {
        self.targets().filter(|node| node.roomy && node.slow.is_none()).map(|node| node.id).collect()
    }

    /// Where nodes are.
    pub fn places(&self) -> Places {
        Places::new(self.nodes.values().map(|node| (node.id, &node.locality[..])))
    }

    /// What a user has asked for of all keys of the shard.
    pub fn rule_of(&self, shard: &ShardDescriptor) -> Option<&PlacementRule> {
        let (_, rule) = self.rules.range::<Key, _>(..=&shard.span.start).next_back()?;
        // The driver's own group has no keys.
        (shard.id != ShardId::PLACEMENT && rule.span.contains_span(&shard.span)).then_some(rule)
    }

    /// Where a rule begins or ends within a shard: it is to be split there.
    pub fn rule_cut(&self, shard: &ShardDescriptor) -> Option<Key> {
        let start = &shard.span.start;
        let inside = |key: &&Key| shard.contains(key) && **key != *start;
        let ends =
            self.rules.range::<Key, _>(..=start).next_back().and_then(|(_, rule)| rule.span.end.as_ref());
        let later = (Bound::Excluded(start), Bound::Unbounded);
        let begins = self.rules.range::<Key, _>(later).next().map(|(key, _)| key);
        ends.filter(inside).or_else(|| begins.filter(inside)).cloned()
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

/// On which nodes the first shard is founded: an odd number of the usable ones, as far apart as they can be.
pub fn founders(nodes: impl Iterator<Item = NodeView>) -> Vec<NodeId> {
    let usable: BTreeMap<NodeId, NodeView> =
        nodes.filter(|node| node.usable && node.holds_shards).map(|node| (node.id, node)).collect();
    let places = Places::new(usable.values().map(|node| (node.id, &node.locality[..])));
    let count = match usable.len().min(COPIES as usize) {
        2 => 1,
        other => other,
    };
    let mut chosen: Vec<NodeId> = Vec::new();
    while chosen.len() < count {
        let with = |node: &NodeId| (places.standing(None, &[&chosen[..], &[*node]].concat()), *node);
        let Some(next) = usable.keys().filter(|node| !chosen.contains(node)).min_by_key(|node| with(node))
        else {
            break;
        };
        chosen.push(*next);
    }
    chosen.sort();
    chosen
}

/// How people are told of a shard, or of the driver's own group.
pub(crate) fn named(shard: ShardId) -> String {
    match shard {
        ShardId::PLACEMENT => "the placement driver".to_owned(),
        shard => format!("shard {shard}"),
    }
}

/// Takes copies without a vote back that nothing works on, and replaces copies on dead nodes, one shard at a time: the driver's own
/// first, then the lowest id. (Whoever decommissions a dead node does so itself.)
pub fn repair(view: &View, at: Timestamp) -> Option<Planned> {
    let dead: BTreeSet<NodeId> = view.nodes.values().filter(|node| node.dead).map(|node| node.id).collect();
    let left_to_others = |node: &NodeId| view.nodes[node].leaving == Leaving::Decommissioning;
    for shard in view.groups() {
        let id = shard.id;
        if view.busy.contains(&id) {
            continue;
        }
        let mut learners = shard.replicas.iter().filter(|replica| replica.role == ReplicaRole::Learner);
        if let Some(learner) = learners.next()
            && !planted!("placement.strays_kept")
        {
            return Some(withdraw(id, learner, at));
        }
        let lost = |replica: &&Replica| dead.contains(&replica.node) && !left_to_others(&replica.node);
        let Some(lost) = shard.replicas.iter().find(lost) else { continue };
        let left = shard.voters().filter(|replica| !dead.contains(&replica.node)).count();
        if left * 2 <= shard.voters().count() {
            // Without a quorum nothing can be repaired by moving copies.
            continue;
        }
        let candidates = rate(view, shard, Some(lost.node));
        let Some((chosen, ..)) = best(&candidates) else { continue };
        let operation = Operation::Repair { shard: id, dead: lost.node };
        let decision = PlacementDecision {
            id: 0,
            at,
            scheduler: "repair".into(),
            shard: Some(id),
            seen: format!("node {} with a copy of {} is dead", lost.node, named(id)),
            chosen: format!("a new copy on node {chosen}"),
            candidates,
            ..PlacementDecision::default()
        };
        return Some(Planned { operation, decision });
    }
    None
}

/// It keeps its node from receiving a copy that comes to something. An operation that ended midway has left it, or a split of a
/// shard that was about to have one more copy.
fn withdraw(shard: ShardId, learner: &Replica, at: Timestamp) -> Planned {
    let decision = PlacementDecision {
        id: 0,
        at,
        scheduler: "repair".into(),
        shard: Some(shard),
        seen: format!(
            "the copy of {} on node {} has no vote, and nothing works on it",
            named(shard),
            learner.node
        ),
        candidates: vec![(learner.node, 0, "holds it".into())],
        chosen: "take it back".into(),
        ..PlacementDecision::default()
    };
    Planned { operation: Operation::Withdraw { shard, learner: learner.clone() }, decision }
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
            "node {node} does not hold its copy of {}, and refuses to begin it anew: {why}",
            named(id)
        ),
        candidates: vec![(node, 0, "has a place to fill".into())],
        chosen: format!("a new copy on node {node} in the place of replica {}", lost.id),
        ..PlacementDecision::default()
    };
    Some(Planned { operation: Operation::Remake { shard: id, lost: lost.clone() }, decision })
}

/// Where a copy in the place of another one would go best.
pub fn home(view: &View, shard: &ShardDescriptor, instead_of: NodeId) -> Option<NodeId> {
    best(&rate(view, shard, Some(instead_of))).map(|(node, ..)| *node)
}

/// Candidates for a copy, in the place of another one: first how all copies stand then, and of equals who holds the fewest.
fn rate(view: &View, shard: &ShardDescriptor, instead_of: Option<NodeId>) -> Vec<(NodeId, i64, String)> {
    let (places, held) = (view.places(), view.copies(view.shards.values()));
    let left = shard.replicas.iter().map(|replica| replica.node).filter(|node| Some(*node) != instead_of);
    let left: Vec<NodeId> = left.collect();
    let rated = view.nodes.values().map(|node| {
        let against = objections(view, &places, shard, node);
        if !against.is_empty() {
            return (node.id, i64::MIN, against.join(", "));
        }
        let held = u64::try_from(held.get(&node.id).copied().unwrap_or(0)).unwrap_or(0);
        let standing = places.standing(view.rule_of(shard), &[&left[..], &[node.id]].concat());
        let told = match places.told(&standing) {
            told if told.is_empty() => format!("holds {held} copies"),
            told => format!("holds {held} copies; {told}"),
        };
        // Better there than nowhere.
        match node.is_slow() {
            Some(slow) => {
                (node.id, standing.score(held).saturating_sub(i64::MAX / 2), format!("{slow}; {told}"))
            }
            None => (node.id, standing.score(held), told),
        }
    });
    rated.collect()
}

/// Why the node takes no copy of the shard, whatever that would bring.
fn objections(view: &View, places: &Places, shard: &ShardDescriptor, node: &NodeView) -> Vec<String> {
    if shard.replica_on(node.id).is_some() {
        return vec!["holds a copy already".to_owned()];
    }
    let mut against = node.takes_none(shard.id);
    let violated = places.violated(view.rule_of(shard), node.id);
    if let Some(constraint) = violated.filter(|_| !planted!("placement.constraint_ignored")) {
        against.push(format!("is not in {constraint}"));
    }
    against
}

impl NodeView {
    fn is_slow(&self) -> Option<String> {
        self.slow.as_ref().map(|why| format!("is slow: {why}"))
    }

    /// Why it takes no copy of any shard, or no replica of the driver.
    fn takes_none(&self, shard: ShardId) -> Vec<String> {
        let away = !self.near || !self.usable && self.leaving == Leaving::No;
        let reasons = [
            (shard == ShardId::PLACEMENT && !self.may_carry_driver, "has not the role placement"),
            (shard != ShardId::PLACEMENT && !self.holds_shards, "carries no shards"),
            (self.leaving != Leaving::No, "is leaving"),
            (self.dead, "is dead"),
            (away && !self.dead, "is not in reach"),
            (!self.roomy, "has hardly any space left"),
        ];
        reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, why)| why.to_owned()).collect()
    }
}

/// The nodes with copies.
fn homes(shard: &ShardDescriptor) -> Vec<NodeId> {
    shard.replicas.iter().map(|replica| replica.node).collect()
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
    let takers = view.takers();
    let mut by_load: Vec<(i64, NodeId)> =
        copies.iter().filter(|(node, _)| usable.contains(node)).map(|(node, n)| (*n, *node)).collect();
    by_load.sort();
    let places = view.places();
    for (most, from) in by_load.iter().rev() {
        for (least, to) in by_load.iter().filter(|(_, node)| takers.contains(node)) {
            if most - least < 2 {
                break;
            }
            let movable = shards.iter().find(|shard| {
                !view.busy.contains(&shard.id)
                    && shard.replica_on(*from).is_some_and(|r| r.role == ReplicaRole::Voter)
                    && shard.replica_on(*to).is_none()
                    && places.no_worse(view.rule_of(shard), &homes(shard), *from, *to)
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
    let takers = view.takers();
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
    let places = view.places();
    for (most, from) in by_load.iter().rev() {
        for (least, to) in by_load.iter().filter(|(_, node)| takers.contains(node)) {
            if most - least < 2 {
                break;
            }
            let movable = shards.iter().find(|shard| {
                let rank = |node: &NodeId| places.rank(view.rule_of(shard), *node);
                !view.busy.contains(&shard.id)
                    && view.leaders.get(&shard.id) == Some(from)
                    && shard.replica_on(*to).is_some_and(|r| r.role == ReplicaRole::Voter)
                    && rank(to) <= rank(from)
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
        ..PlacementDecision::default()
    };
    Planned { operation, decision }
}
