//! Moves copies from nodes that hold much to nodes that hold little, and leaderships likewise.
//!
//! A copy weighs its bytes and something for being there at all, a leadership its requests and something. Each step takes weight `w`
//! over a gap of at least `2 w`, so that the sum of the squares of what nodes carry falls by at least `2 w²`: steps come to an end,
//! and nothing that one step does is undone by the next. Gaps of less than a tenth of the mean are left alone.

use super::{
    Planned,
    seen::Picture,
    why::{Inputs, Words},
};
use minicbor::{Decode, Encode};
use quorate_proto::{NodeId, ShardDescriptor, ShardId, Timestamp, placement::Operation};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
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
    let nodes = nodes(picture, what);
    let shards = picture.shards_at_rest().filter_map(|shard| movable(picture, what, shard)).collect();
    let mut input = Input { what, nodes, shards };
    let (from, to) = input.step().map(|step| (step.from.id, step.to.id))?;
    let gap = input.gap(from, to);
    input.shards.retain(|shard| what.fits(shard, from, to) && 2 * shard.weight <= gap);
    input.shards.sort_by_key(|shard| Movable::rank(shard, from));
    input.shards.truncate(TOLD);
    Some(input)
}

fn weight(picture: &Picture, what: What, shard: ShardId) -> u64 {
    let seen = picture.seen.get(&shard);
    match what {
        What::Copies => COPY.saturating_add(seen.map_or(0, |seen| seen.bytes)),
        What::Leaders => LEADERSHIP.saturating_add(seen.map_or(0, |seen| seen.load.requests())),
    }
}

/// All that may take copies, with what they carry of all shards.
fn nodes(picture: &Picture, what: What) -> Vec<Node> {
    let view = &picture.view;
    let node = |node: &super::NodeView| Node { id: node.id, number: 0, weight: 0, takes: node.roomy };
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

fn movable(picture: &Picture, what: What, shard: &ShardDescriptor) -> Option<Movable> {
    let seen = picture.seen.get(&shard.id)?;
    let still = !seen.rested || what == What::Leaders && !seen.settled;
    let holders: BTreeSet<NodeId> = shard.replicas.iter().map(|replica| replica.node).collect();
    let leader = picture.view.leaders.get(&shard.id).copied().filter(|leader| holders.contains(leader))?;
    let holders = holders.into_iter().collect();
    (!still).then(|| Movable { shard: shard.id, weight: weight(picture, what, shard.id), holders, leader })
}

impl What {
    fn fits(self, shard: &Movable, from: NodeId, to: NodeId) -> bool {
        match self {
            What::Copies => shard.holders.contains(&from) && !shard.holders.contains(&to),
            What::Leaders => shard.leader == from && shard.holders.contains(&to),
        }
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

    /// From the node that carries most to the one that carries least, if any shard can go this way.
    fn step(&self) -> Option<Step<'_>> {
        let mut by_weight: Vec<&Node> = self.nodes.iter().collect();
        by_weight.sort_by_key(|node| (node.weight, node.id));
        let mean = self.nodes.iter().map(|node| node.weight).sum::<u64>() / self.nodes.len().max(1) as u64;
        for from in by_weight.iter().rev() {
            for to in by_weight.iter().filter(|node| node.takes) {
                let gap = self.gap(from.id, to.id);
                if gap == 0 || gap < mean / SLACK {
                    break;
                }
                let fit = self
                    .shards
                    .iter()
                    .filter(|shard| self.what.fits(shard, from.id, to.id) && 2 * shard.weight <= gap);
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
            let out = match (self.what, shard.holders.contains(&node.id)) {
                _ if !node.takes => "; has hardly any space left",
                (What::Copies, true) => "; holds a copy already",
                (What::Leaders, false) => "; holds no copy",
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
