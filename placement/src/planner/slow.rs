//! Takes leaderships away from nodes that are slow (`crate::slowness`): all clients of what such a node leads wait for it, while a
//! majority without it is as fast as ever. Its copies stay where they are.
//!
//! Each step takes one leadership from a slow node to one that is not, and nothing leads the other way as long as the node is slow, so
//! that steps come to an end.

use super::{
    Planned,
    balance::{self, What},
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
use std::cmp::Reverse;

/// What one step is decided from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub leader: NodeId,
    /// Why that is slow.
    #[n(2)]
    pub why: String,
    /// What a user has asked for.
    #[n(3)]
    pub rule: Option<PlacementRule>,
    #[n(4)]
    pub places: Places,
    /// The others with votes.
    #[n(5)]
    pub heirs: Vec<Heir>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Heir {
    #[n(0)]
    pub id: NodeId,
    /// What all weighs that it leads.
    #[n(1)]
    pub weight: u64,
    /// Why it is not to lead; nothing: it may.
    #[n(2)]
    pub against: Option<String>,
}

/// The shard that is asked for most goes first, and the driver last: a new leader of it only watches at first.
pub fn plan(picture: &Picture, at: Timestamp) -> Option<Planned> {
    if planted!("placement.slow_nodes_lead") || picture.view.nodes.values().all(|node| node.slow.is_none()) {
        return None;
    }
    let driver = picture.view.driver.iter().filter(|driver| picture.restless(driver).is_none());
    let groups = picture.shards_at_rest().chain(driver);
    let steps = groups.filter_map(|group| of_shard(picture, group)).filter(|input| input.heir().is_some());
    let weight = |input: &Input| balance::weight(picture, What::Leaders, input.shard);
    let last = |input: &Input| input.shard == ShardId::PLACEMENT;
    let first = steps.min_by_key(|input| (last(input), Reverse(weight(input)), input.shard))?;
    Inputs::Slow(first).decide(at)
}

/// What would be decided about one shard, or the driver, if a slow node leads it.
pub(super) fn of_shard(picture: &Picture, shard: &ShardDescriptor) -> Option<Input> {
    let view = &picture.view;
    let leader = *view.leaders.get(&shard.id)?;
    let why = view.nodes.get(&leader)?.slow.clone()?;
    // It may be on its way to another one already.
    if shard.id != ShardId::PLACEMENT {
        picture.seen.get(&shard.id).filter(|seen| seen.settled)?;
    }
    let carried = balance::nodes(picture, What::Leaders);
    let heir = |id: NodeId| Heir {
        id,
        weight: carried.iter().find(|node| node.id == id).map_or(0, |node| node.weight),
        against: match view.nodes.get(&id) {
            Some(node) if node.slow.is_some() => Some("is slow, too".into()),
            Some(node) if !node.roomy => Some("has hardly any space left".into()),
            Some(node) if node.usable => None,
            _ => Some("is not in reach, or leaving".into()),
        },
    };
    Some(Input {
        shard: shard.id,
        leader,
        why,
        rule: view.rule_of(shard).cloned(),
        places: view.places(),
        heirs: shard.voters().map(|voter| voter.node).filter(|id| *id != leader).map(heir).collect(),
    })
}

impl Input {
    /// Rather where leaders are preferred, then where least is led.
    fn heir(&self) -> Option<&Heir> {
        let rank = |heir: &Heir| self.places.rank(self.rule.as_ref(), heir.id);
        let may = self.heirs.iter().filter(|heir| heir.against.is_none());
        may.min_by_key(|heir| (rank(heir), heir.weight, heir.id))
    }

    pub(super) fn decide(&self) -> Option<(Operation, Words)> {
        let to = self.heir()?.id;
        let candidate = |heir: &Heir| {
            let score = -i64::try_from(heir.weight).unwrap_or(i64::MAX);
            match &heir.against {
                None => (heir.id, score, format!("leads what weighs {}", heir.weight)),
                Some(why) => (heir.id, i64::MIN, why.clone()),
            }
        };
        let words = Words {
            scheduler: "slow nodes",
            shard: self.shard,
            seen: format!("node {}, which leads it, is slow: {}", self.leader, self.why),
            candidates: self.heirs.iter().map(candidate).collect(),
            options: Vec::new(),
            chosen: format!("let node {to} lead"),
        };
        Some((Operation::TransferLeader { shard: self.shard, to }, words))
    }
}
