//! What the schedulers that watch over all shards are shown, and the limits that they keep.

use super::{Planned, View, balance, merge, split};
use minicbor::{Decode, Encode};
use quorate_proto::{
    Key, NodeId, Replica, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{Cut, ShardLoad},
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
}

impl Picture {
    /// Every copy votes and is in reach, someone leads, and nothing works on it: it may be worked on.
    pub(super) fn at_rest(&self, shard: &ShardDescriptor) -> bool {
        let near = |node: &NodeId| self.view.nodes.get(node).is_some_and(|node| node.near);
        let well = |replica: &Replica| replica.role == ReplicaRole::Voter && near(&replica.node);
        !self.view.busy.contains(&shard.id)
            && self.view.leaders.contains_key(&shard.id)
            && shard.replicas.iter().all(well)
    }

    /// The next thing to do about it, if there is any: first what makes shards, or makes them fewer, then where they lie. While
    /// copies wait to be repaired, nothing else moves.
    pub fn next_step(&self, at: Timestamp) -> Option<Planned> {
        if self.under_way >= self.limits.moves || super::repair(&self.view, at).is_some() {
            return None;
        }
        split::plan(self, at).or_else(|| merge::plan(self, at)).or_else(|| balance::plan(self, at))
    }

    pub(super) fn shards_at_rest(&self) -> impl Iterator<Item = &ShardDescriptor> {
        self.view.shards.values().filter(|shard| self.at_rest(shard))
    }
}

/// A cut that the range of the shard allows, with halves that are large enough.
pub(super) fn allowed<'a>(cut: &'a Option<Cut>, shard: &ShardDescriptor, floor: u64) -> Option<&'a Cut> {
    let inside = |cut: &&Cut| shard.contains(&cut.at) && cut.at != shard.span.start;
    cut.as_ref().filter(inside).filter(|cut| cut.left_bytes.min(cut.right_bytes) >= floor)
}
