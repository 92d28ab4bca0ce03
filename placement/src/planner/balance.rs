//! Moves copies from nodes that hold much to nodes that hold little, and leaderships likewise.
//!
//! A copy weighs its bytes and something for being there at all, a leadership its requests and something. Each step takes weight `w`
//! over a gap of at least `2 w`, so that the sum of the squares of what nodes carry falls by at least `2 w²`: steps come to an end,
//! and nothing that one step does is undone by the next. Gaps of less than a tenth of the mean are left alone. No step makes
//! a shard's copies, or its leader, stand worse than they do ([`super::standing`]).

use super::{
    Planned,
    seen::Picture,
    standing::Places,
    why::{Inputs, Words},
};
use minicbor::{Decode, Encode};
use quorate_env::planted;
use quorate_proto::{
    NodeId, ShardDescriptor, ShardId, Timestamp,
    placement::{Operation, PlacementRule},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Of a copy, whatever is in it: its log, its timers, its place in memory. Many small ones are spread by number.
const COPY: u64 = 32 << 20;
/// Of a leadership, whoever asks: what a quiet shard is asked for now and then moves nothing.
const LEADERSHIP: u64 = 200;
/// Gaps below this part of the mean are left alone.
const SLACK: u64 = 10;
/// So many shards are told with a decision.
const TOLD: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum What {
    #[n(0)]
    Copies,
    #[n(1)]
    Leaders,
}

/// What one step is decided from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    #[n(0)]
    pub what: What,
    #[n(1)]
    pub nodes: Vec<Node>,
    /// That could be moved from and to the nodes in question.
    #[n(2)]
    pub shards: Vec<Movable>,
    #[n(3)]
    pub places: Places,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    #[n(0)]
    pub id: NodeId,
    /// Copies, or leaderships.
    #[n(1)]
    pub number: u64,
    #[n(2)]
    pub weight: u64,
    /// It has space for more.
    #[n(3)]
    pub takes: bool,
    /// It takes long for whatever it does, and is given nothing.
    #[n(4)]
    #[cbor(default)]
    pub slow: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Movable {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub weight: u64,
    #[n(2)]
    pub holders: Vec<NodeId>,
    #[n(3)]
    pub leader: NodeId,
    /// What a user has asked for of it.
    #[n(4)]
    pub rule: Option<PlacementRule>,
}

/// What speaks against a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    HoldsNone(NodeId),
    HoldsOne(NodeId),
    LedByOthers(NodeId),
    /// Less than a part of the mean lies between them.
    Even {
        from: NodeId,
        to: NodeId,
        gap: u64,
    },
    /// It would weigh too much for the gap.
    Heavy {
        from: NodeId,
        to: NodeId,
        gap: u64,
        weight: u64,
    },
    StandsWorse {
        from: NodeId,
        to: NodeId,
    },
    LessPreferred {
        from: NodeId,
        to: NodeId,
    },
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Against::HoldsNone(node) => write!(f, "node {node} holds no copy"),
            Against::HoldsOne(node) => write!(f, "node {node} holds a copy already"),
            Against::LedByOthers(node) => write!(f, "node {node} does not lead it"),
            Against::Even { from, to, gap } => {
                write!(f, "node {from} carries {gap} more than node {to}, less than a tenth of the mean")
            }
            Against::Heavy { from, to, gap, weight } => {
                write!(
                    f,
                    "node {from} carries {gap} more than node {to}, less than twice the {weight} to be moved"
                )
            }
            Against::StandsWorse { from, to } => {
                write!(f, "on node {to} instead of node {from} the copies would stand worse")
            }
            Against::LessPreferred { from, to } => {
                write!(f, "leaders are preferred where node {from} is to where node {to} is")
            }
        }
    }
}

struct Step<'a> {
    from: &'a Node,
    to: &'a Node,
    shard: &'a Movable,
}

pub fn plan(picture: &Picture, at: Timestamp) -> Option<Planned> {
    let copies = || picture.limits.balance_copies.then(|| gather(picture, What::Copies)).flatten();
    let leaders = || picture.limits.balance_leaders.then(|| gather(picture, What::Leaders)).flatten();
    copies().or_else(leaders).and_then(|input| Inputs::Balance(input).decide(at))
}

/// The input without the shards that could not have been chosen.
fn gather(picture: &Picture, what: What) -> Option<Input> {
    let mut input = all(picture, what);
    let (from, to) = input.step().map(|step| (step.from.id, step.to.id))?;
    let mut shards = std::mem::take(&mut input.shards);
    shards.retain(|shard| input.against(shard, from, to).is_none());
    shards.sort_by_key(|shard| Movable::rank(shard, from));
    shards.truncate(TOLD);
    Some(Input { shards, ..input })
}

/// Everything that could be moved.
pub(super) fn all(picture: &Picture, what: What) -> Input {
    let shards = picture.shards_at_rest().filter_map(|shard| movable(picture, what, shard).ok()).collect();
    Input { what, nodes: nodes(picture, what), shards, places: picture.view.places() }
}

pub(super) fn weight(picture: &Picture, what: What, shard: ShardId) -> u64 {
    let seen = picture.seen.get(&shard);
    match what {
        What::Copies => COPY.saturating_add(seen.map_or(0, |seen| seen.bytes)),
        What::Leaders => LEADERSHIP.saturating_add(seen.map_or(0, |seen| seen.load.requests())),
    }
}

/// All that may take copies, with what they carry of all shards.
pub(super) fn nodes(picture: &Picture, what: What) -> Vec<Node> {
    let view = &picture.view;
    let node = |node: &super::NodeView| Node {
        id: node.id,
        number: 0,
        weight: 0,
        takes: node.roomy,
        slow: node.slow.is_some(),
    };
    let mut nodes: BTreeMap<NodeId, Node> = view.targets().map(|seen| (seen.id, node(seen))).collect();
    for shard in view.shards.values() {
        let on: Vec<NodeId> = match what {
            What::Copies => shard.replicas.iter().map(|replica| replica.node).collect(),
            What::Leaders => view.leaders.get(&shard.id).copied().into_iter().collect(),
        };
        for id in on {
            if let Some(node) = nodes.get_mut(&id) {
                node.number += 1;
                node.weight = node.weight.saturating_add(weight(picture, what, shard.id));
            }
        }
    }
    nodes.into_values().collect()
}

/// What could be moved of a shard at rest, or why nothing can.
pub(super) fn movable(picture: &Picture, what: What, shard: &ShardDescriptor) -> Result<Movable, String> {
    let seen =
        picture.seen.get(&shard.id).ok_or("its leader has not told of it yet, or a copy is missing")?;
    if !seen.rested {
        return Err("something of it was moved lately".into());
    }
    if what == What::Leaders && !seen.settled {
        return Err("its leader leads since a moment".into());
    }
    let holders: BTreeSet<NodeId> = shard.replicas.iter().map(|replica| replica.node).collect();
    let leader = picture.view.leaders.get(&shard.id).copied().filter(|leader| holders.contains(leader));
    Ok(Movable {
        shard: shard.id,
        weight: weight(picture, what, shard.id),
        holders: holders.into_iter().collect(),
        leader: leader.ok_or("nobody is known to lead it")?,
        rule: picture.view.rule_of(shard).cloned(),
    })
}

impl Node {
    pub(super) fn takes_more(&self) -> bool {
        self.takes && !self.slow
    }
}

impl Movable {
    /// The heaviest first, and rather one whose leader stays.
    fn rank(&self, from: NodeId) -> (Reverse<u64>, bool, ShardId) {
        (Reverse(self.weight), self.leader == from, self.shard)
    }
}

impl Input {
    fn gap(&self, from: NodeId, to: NodeId) -> u64 {
        let of = |id: NodeId| self.nodes.iter().find(|node| node.id == id).map_or(0, |node| node.weight);
        of(from).saturating_sub(of(to))
    }

    /// Gaps below it are left alone.
    fn slack(&self) -> u64 {
        let all = self.nodes.iter().map(|node| node.weight).sum::<u64>();
        (all / self.nodes.len().max(1) as u64 / SLACK).max(1)
    }

    /// Why the shard's copy, or its leadership, does not go this way. Nothing: it may.
    pub(super) fn against(&self, shard: &Movable, from: NodeId, to: NodeId) -> Option<Against> {
        self.against_by(shard, from, to, (self.gap(from, to), self.slack()))
    }

    fn against_by(
        &self,
        shard: &Movable,
        from: NodeId,
        to: NodeId,
        (gap, slack): (u64, u64),
    ) -> Option<Against> {
        let weight = shard.weight;
        let holds = |id: NodeId| shard.holders.contains(&id);
        match self.what {
            What::Copies if !holds(from) => Some(Against::HoldsNone(from)),
            What::Copies if holds(to) => Some(Against::HoldsOne(to)),
            What::Leaders if shard.leader != from => Some(Against::LedByOthers(from)),
            What::Leaders if !holds(to) => Some(Against::HoldsNone(to)),
            _ if gap < slack => Some(Against::Even { from, to, gap }),
            _ if gap < 2 * weight && !planted!("placement.margin_ignored") => {
                Some(Against::Heavy { from, to, gap, weight })
            }
            _ => self.stands_worse(shard, from, to),
        }
    }

    fn stands_worse(&self, shard: &Movable, from: NodeId, to: NodeId) -> Option<Against> {
        let rule = shard.rule.as_ref();
        match self.what {
            What::Copies => (!self.places.no_worse(rule, &shard.holders, from, to))
                .then_some(Against::StandsWorse { from, to }),
            What::Leaders => (self.places.rank(rule, to) > self.places.rank(rule, from))
                .then_some(Against::LessPreferred { from, to }),
        }
    }

    /// From the node that carries most to the one that carries least, if any shard can go this way.
    fn step(&self) -> Option<Step<'_>> {
        let mut by_weight: Vec<&Node> = self.nodes.iter().collect();
        by_weight.sort_by_key(|node| (node.weight, node.id));
        let slack = self.slack();
        for from in by_weight.iter().rev() {
            for to in by_weight.iter().filter(|node| node.takes_more()) {
                let gap = self.gap(from.id, to.id);
                if gap < slack {
                    break;
                }
                let may = |shard: &&Movable| self.against_by(shard, from.id, to.id, (gap, slack)).is_none();
                let fit = self.shards.iter().filter(may);
                if let Some(shard) = fit.min_by_key(|shard| shard.rank(from.id)) {
                    return Some(Step { from, to, shard });
                }
            }
        }
        None
    }

    pub(super) fn decide(&self) -> Option<(Operation, Words)> {
        let Step { from, to, shard } = self.step()?;
        let (what, scheduler) = match self.what {
            What::Copies => ("copies, which weigh", "balance"),
            What::Leaders => ("leaderships, which weigh", "balance leaders"),
        };
        let carries = |node: &Node| format!("{} {what} {}", node.number, node.weight);
        let candidate = |node: &Node| {
            let worse = || node.id != from.id && self.stands_worse(shard, from.id, node.id).is_some();
            let out = match (self.what, shard.holders.contains(&node.id)) {
                _ if !node.takes => "; has hardly any space left",
                _ if node.slow => "; is slow",
                (What::Copies, true) => "; holds a copy already",
                (What::Copies, false) if worse() => "; the copies would stand worse",
                (What::Leaders, false) => "; holds no copy",
                (What::Leaders, true) if worse() => "; leaders are less preferred there",
                _ => "",
            };
            let score = -i64::try_from(node.weight).unwrap_or(i64::MAX);
            let score = if out.is_empty() { score } else { i64::MIN };
            (node.id, score, format!("carries {}{out}", carries(node)))
        };
        let (operation, chosen) = match self.what {
            What::Copies => (
                Operation::MoveReplica { shard: shard.shard, from: from.id, to: to.id },
                format!("move a copy from node {} to node {}", from.id, to.id),
            ),
            What::Leaders => (
                Operation::TransferLeader { shard: shard.shard, to: to.id },
                format!("let node {} lead", to.id),
            ),
        };
        let told = |shard: &Movable| {
            let score = i64::try_from(shard.weight).unwrap_or(i64::MAX);
            (format!("shard {}", shard.shard), score, format!("weighs {}", shard.weight))
        };
        let words = Words {
            scheduler,
            shard: shard.shard,
            seen: format!("node {} carries {}, node {} {}", from.id, carries(from), to.id, carries(to)),
            candidates: self.nodes.iter().map(candidate).collect(),
            options: self.shards.iter().map(told).collect(),
            chosen,
        };
        Some((operation, words))
    }
}
