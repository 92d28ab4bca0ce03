//! Brings the copies of a shard to where they are wanted: as many as are asked for, on nodes that the constraints allow, as far
//! apart as can be, led from where that is preferred.
//!
//! Each step makes one shard stand better and no shard worse, or changes its number of copies to the one asked for, so that
//! steps come to an end; nothing else that moves copies makes a shard stand worse.

mod told;

use super::{
    Planned, View, homes,
    seen::{Limits, Picture, Seen},
    standing::{Places, Standing, moved},
    why::{Inputs, Words},
};
use minicbor::{Decode, Encode};
use quorate_proto::{
    NodeId, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{COPIES, Operation, PlacementRule},
};
use std::cmp::{Ordering, Reverse};

/// What one step is decided from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    #[n(0)]
    pub shard: ShardDescriptor,
    #[n(1)]
    pub leader: NodeId,
    /// Nothing: nobody has asked for anything.
    #[n(2)]
    pub rule: Option<PlacementRule>,
    #[n(3)]
    pub places: Places,
    #[n(4)]
    pub nodes: Vec<Node>,
    #[n(5)]
    pub on: On,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    #[n(0)]
    pub id: NodeId,
    /// Copies of any shard.
    #[n(1)]
    pub held: u64,
    /// Why it takes no copy of any shard.
    #[n(2)]
    pub against: Vec<String>,
    /// It may lead.
    #[n(3)]
    pub leads: bool,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct On {
    /// Keep what users have asked for.
    #[n(0)]
    pub rules: bool,
    #[n(1)]
    pub spread: bool,
    /// Its leader leads for long enough to be given another one.
    #[n(2)]
    pub settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Grow(Vec<NodeId>),
    Shrink(Vec<NodeId>),
    /// For the constraints.
    Mend(NodeId, NodeId),
    Spread(NodeId, NodeId),
    Lead(NodeId),
}

/// An input that is not taken out of the picture yet.
struct Case<'a> {
    shard: &'a ShardDescriptor,
    leader: NodeId,
    rule: Option<&'a PlacementRule>,
    places: &'a Places,
    nodes: &'a [Node],
    on: On,
}

/// The next step towards what users have asked for, the lowest shard first.
pub fn for_rules(picture: &Picture, at: Timestamp) -> Option<Planned> {
    first(picture, at, |step| !matches!(step, Step::Spread(..)))
}

/// The next step that takes copies further apart.
pub fn spread(picture: &Picture, at: Timestamp) -> Option<Planned> {
    first(picture, at, |step| matches!(step, Step::Spread(..)))
}

fn first(picture: &Picture, at: Timestamp, kind: impl Fn(&Step) -> bool) -> Option<Planned> {
    let (places, nodes) = (picture.view.places(), nodes(&picture.view));
    let mut cases = picture.shards_at_rest().filter_map(|shard| case(picture, shard, &places, &nodes));
    let first = cases.find(|case| case.step().is_some_and(|step| kind(&step)))?;
    Inputs::Place(first.input()).decide(at)
}

/// What would be done about one shard, if it were at rest.
pub(super) fn of_shard(picture: &Picture, shard: &ShardDescriptor) -> Option<Input> {
    let (places, nodes) = (picture.view.places(), nodes(&picture.view));
    case(picture, shard, &places, &nodes).map(|case| case.input())
}

fn nodes(view: &View) -> Vec<Node> {
    let held = view.copies(view.shards.values());
    let node = |node: &super::NodeView| Node {
        id: node.id,
        held: held.get(&node.id).and_then(|held| u64::try_from(*held).ok()).unwrap_or(0),
        against: node.takes_none(ShardId::FIRST).into_iter().chain(node.is_slow()).collect(),
        leads: node.usable && node.roomy && node.slow.is_none(),
    };
    view.nodes.values().map(node).collect()
}

fn case<'a>(
    picture: &'a Picture,
    shard: &'a ShardDescriptor,
    places: &'a Places,
    nodes: &'a [Node],
) -> Option<Case<'a>> {
    let Seen { settled, .. } = picture.seen.get(&shard.id)?;
    let Limits { rules, spread, .. } = picture.limits;
    let leader = *picture.view.leaders.get(&shard.id)?;
    let rule = picture.view.rule_of(shard);
    Some(Case { shard, leader, rule, places, nodes, on: On { rules, spread, settled: *settled } })
}

impl Case<'_> {
    fn input(&self) -> Input {
        Input {
            shard: self.shard.clone(),
            leader: self.leader,
            rule: self.rule.cloned(),
            places: self.places.clone(),
            nodes: self.nodes.to_vec(),
            on: self.on,
        }
    }

    fn step(&self) -> Option<Step> {
        if self.rule.is_none() && self.places.is_nowhere() && self.shard.replicas.len() == self.wanted() {
            return None;
        }
        let rules = || self.on.rules.then(|| self.for_the_rule()).flatten();
        rules().or_else(|| self.on.spread.then(|| self.spread()).flatten())
    }

    fn for_the_rule(&self) -> Option<Step> {
        let (have, wanted) = (self.shard.replicas.len(), self.wanted());
        let number = match have.cmp(&wanted) {
            Ordering::Less => self.grow(wanted),
            Ordering::Greater => Some(self.shrink(wanted)),
            Ordering::Equal => None,
        };
        number.or_else(|| self.mend()).or_else(|| self.lead())
    }

    fn wanted(&self) -> usize {
        self.rule.map_or(COPIES, |rule| rule.replicas) as usize
    }

    fn standing(&self, copies: &[NodeId]) -> Standing {
        self.places.standing(self.rule, copies)
    }

    fn held(&self, id: NodeId) -> u64 {
        self.nodes.iter().find(|node| node.id == id).map_or(0, |node| node.held)
    }

    /// Why no copy of the shard comes to the node, whatever that would bring.
    fn against(&self, node: &Node) -> Vec<String> {
        if self.shard.replica_on(node.id).is_some() {
            return vec!["holds a copy already".to_owned()];
        }
        let violated = self.places.violated(self.rule, node.id);
        let violated = violated.map(|constraint| format!("is not in {constraint}"));
        node.against.iter().cloned().chain(violated).collect()
    }

    fn takers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| self.against(node).is_empty())
    }

    /// One by one to where the copies stand best; there is never an even number.
    fn grow(&self, wanted: usize) -> Option<Step> {
        let mut copies = homes(self.shard);
        let mut added = Vec::new();
        while copies.len() < wanted {
            let with = |node: &Node| (self.standing(&[&copies[..], &[node.id]].concat()), node.held, node.id);
            let best = self.takers().filter(|node| !copies.contains(&node.id)).min_by_key(|node| with(node));
            let Some(best) = best else { break };
            copies.push(best.id);
            added.push(best.id);
        }
        if copies.len().is_multiple_of(2) {
            added.pop();
        }
        (!added.is_empty()).then_some(Step::Grow(added))
    }

    /// The copy without which the others stand best, rather not the leader's, and of whoever holds most.
    fn shrink(&self, wanted: usize) -> Step {
        let mut copies = homes(self.shard);
        let mut removed = Vec::new();
        while copies.len() > wanted.max(1) {
            let without = |node: &NodeId| {
                let left: Vec<NodeId> = copies.iter().copied().filter(|other| other != node).collect();
                (self.standing(&left), *node == self.leader, Reverse(self.held(*node)), *node)
            };
            let Some(worst) = copies.iter().copied().min_by_key(|node| without(node)) else { break };
            copies.retain(|node| *node != worst);
            removed.push(worst);
        }
        Step::Shrink(removed)
    }

    /// The one move after which the copies stand best, if they stand better then.
    fn better(&self) -> Option<(NodeId, NodeId, Standing)> {
        let copies = homes(self.shard);
        let now = self.standing(&copies);
        let mut best = None;
        for to in self.takers() {
            for from in &copies {
                let then = self.standing(&moved(&copies, *from, to.id));
                let key = (then, to.held, *from == self.leader, to.id, *from);
                if then < now && best.is_none_or(|best| key < best) {
                    best = Some(key);
                }
            }
        }
        best.map(|(then, _, _, to, from)| (from, to, then))
    }

    fn mend(&self) -> Option<Step> {
        let now = self.standing(&homes(self.shard));
        if now.unmet == 0 {
            return None;
        }
        self.better().filter(|(.., then)| then.unmet < now.unmet).map(|(from, to, _)| Step::Mend(from, to))
    }

    fn spread(&self) -> Option<Step> {
        self.better().map(|(from, to, _)| Step::Spread(from, to))
    }

    fn rank(&self, node: NodeId) -> usize {
        self.places.rank(self.rule, node)
    }

    fn lead(&self) -> Option<Step> {
        if !self.on.settled || self.rule.is_none_or(|rule| rule.leaders.is_empty()) {
            return None;
        }
        let leads = |id: NodeId| self.nodes.iter().any(|node| node.id == id && node.leads);
        let voters = self.shard.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
        let best =
            voters.map(|voter| voter.node).filter(|id| leads(*id)).min_by_key(|id| (self.rank(*id), *id))?;
        (self.rank(best) < self.rank(self.leader)).then_some(Step::Lead(best))
    }
}

impl Input {
    fn case(&self) -> Case<'_> {
        Case {
            shard: &self.shard,
            leader: self.leader,
            rule: self.rule.as_ref(),
            places: &self.places,
            nodes: &self.nodes,
            on: self.on,
        }
    }

    pub(super) fn decide(&self) -> Option<(Operation, Words)> {
        let case = self.case();
        case.step().map(|step| case.words(&step))
    }
}
