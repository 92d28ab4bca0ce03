//! What the schedulers that watch over all shards are shown, and the limits that they keep.

use super::{Planned, View, balance, merge, place, slow, split};
use minicbor::{Decode, Encode};
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{Cut, Operation, ShardLoad},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A shard as its leader has told of it, under the range that the map shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub bytes: u64,
    pub load: ShardLoad,
    /// For how long it has been small and hardly been asked for, under this range.
    pub cold_for: Duration,
    /// Its leader leads it for long enough to be given another one.
    pub settled: bool,
    /// No scheduler has moved anything of it lately: loads rise and fall, and it does not follow each of their waves.
    pub rested: bool,
}

/// The cluster settings of the schedulers. What is absent is switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub split: SplitLimits,
    pub merge: Option<MergeLimits>,
    pub balance_copies: bool,
    pub balance_leaders: bool,
    /// What users have asked for is kept.
    pub rules: bool,
    pub spread: bool,
    /// Operations under way at a time.
    pub moves: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SplitLimits {
    /// Bytes from which on a shard is split,
    #[n(0)]
    pub size: Option<u64>,
    /// and requests a second.
    #[n(1)]
    pub load: Option<u64>,
    /// No half is smaller.
    #[n(2)]
    pub floor: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MergeLimits {
    /// Two shards together have no more bytes,
    #[n(0)]
    pub size: u64,
    /// and no more requests a second,
    #[n(1)]
    pub load: u64,
    /// and that for so many milliseconds.
    #[n(2)]
    pub after: u64,
}

impl MergeLimits {
    /// Merged shards stay well below what would split them again.
    pub fn below(mut self, split: &SplitLimits) -> Self {
        self.size = self.size.min(split.size.map_or(u64::MAX, |size| size / 2));
        self.load = self.load.min(split.load.map_or(u64::MAX, |load| load / 2));
        self
    }
}

/// Everything that decisions about all shards are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub view: View,
    pub seen: BTreeMap<ShardId, Seen>,
    /// Where a user has asked for a shard to begin.
    pub boundaries: BTreeSet<Key>,
    pub limits: Limits,
    /// Operations that schedulers and operators have under way.
    pub under_way: usize,
    /// Why nothing at all is to be done now.
    pub waits: Option<String>,
}

impl Picture {
    /// Why it may not be worked on: not every copy votes and is in reach, nobody leads, or something works on it.
    pub(super) fn restless(&self, shard: &ShardDescriptor) -> Option<String> {
        if self.view.busy.contains(&shard.id) {
            return Some("an operation works on it, or one has failed for it lately".into());
        }
        let near = |node: &NodeId| self.view.nodes.get(node).is_some_and(|node| node.near);
        let well = |replica: &&Replica| replica.role == ReplicaRole::Voter && near(&replica.node);
        let unwell = |replica: &Replica| match near(&replica.node) {
            true => format!("the copy on node {} has no vote", replica.node),
            false => format!("node {}, which holds a copy, is not in reach", replica.node),
        };
        if let Some(replica) = shard.replicas.iter().find(|replica| !well(replica)) {
            return Some(unwell(replica));
        }
        (!self.view.leaders.contains_key(&shard.id)).then(|| "nobody is known to lead it".into())
    }

    /// Why nothing moves by itself now.
    pub(super) fn holds(&self, at: Timestamp) -> Option<String> {
        let (moves, under_way) = (self.limits.moves, self.under_way);
        if self.waits.is_some() {
            return self.waits.clone();
        }
        if moves == 0 {
            return Some("placement.moves is 0".into());
        }
        if under_way >= moves {
            return Some(format!(
                "{under_way} operations are under way, of {moves} that placement.moves allows"
            ));
        }
        super::repair(&self.view, at).map(|repair| format!("a repair goes first: {}", repair.decision.chosen))
    }

    /// The next thing to do about it, if there is any: first what holds clients up, then what users have asked for, then what makes shards, or makes them
    /// fewer, then where they lie. While copies wait to be repaired, nothing else moves.
    pub fn next_step(&self, at: Timestamp) -> Option<Planned> {
        if self.holds(at).is_some() {
            return None;
        }
        slow::plan(self, at)
            .or_else(|| split::for_rules(self, at))
            .or_else(|| place::for_rules(self, at))
            .or_else(|| split::plan(self, at))
            .or_else(|| merge::plan(self, at))
            .or_else(|| place::spread(self, at))
            .or_else(|| balance::plan(self, at))
    }

    /// Counts a copy or a leadership that is under way as being where it goes: of the same gap nothing else is moved.
    pub fn expect(&mut self, operation: &Operation) {
        match operation {
            _ if quorate_env::planted!("placement.moves_under_way_unseen") => {}
            Operation::Resize { shard, add, remove } => {
                let Some(shard) = self.view.shards.get_mut(shard) else { return };
                shard.replicas.retain(|replica| !remove.contains(&replica.node));
                let there: Vec<NodeId> = shard.replicas.iter().map(|replica| replica.node).collect();
                let new = add.iter().filter(|node| !there.contains(node));
                let copy =
                    |node: &NodeId| Replica { id: ReplicaId(0), node: *node, role: ReplicaRole::Voter };
                shard.replicas.extend(new.map(copy));
            }
            Operation::MoveReplica { shard, from, to } => {
                let Some(shard) = self.view.shards.get_mut(shard) else { return };
                let Some(old) = shard.replicas.iter().position(|replica| replica.node == *from) else {
                    return;
                };
                let old = shard.replicas.remove(old);
                if shard.replica_on(*to).is_none() {
                    shard.replicas.push(Replica { node: *to, ..old });
                }
            }
            Operation::TransferLeader { shard, to } => {
                self.view.leaders.insert(*shard, *to);
            }
            _ => {}
        }
    }

    pub(super) fn shards_at_rest(&self) -> impl Iterator<Item = &ShardDescriptor> {
        self.view.shards.values().filter(|shard| self.restless(shard).is_none())
    }
}

/// A cut that the range of the shard allows, with halves that are large enough.
pub(super) fn allowed<'a>(cut: &'a Option<Cut>, shard: &ShardDescriptor, floor: u64) -> Option<&'a Cut> {
    let inside = |cut: &&Cut| shard.contains(&cut.at) && cut.at != shard.span.start;
    cut.as_ref().filter(inside).filter(|cut| cut.left_bytes.min(cut.right_bytes) >= floor)
}
