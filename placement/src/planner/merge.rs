//! Merges neighbours that are small and hardly asked for, and have been so for a while. Where a user has asked for a shard to
//! begin one begins until the user takes that back, and shards of which different things are asked for stay apart.

use super::{
    Planned,
    seen::{MergeLimits, Picture, Seen},
    why::{Inputs, Words},
};
use minicbor::{Decode, Encode};
use quorate_env::planted;
use quorate_proto::{NodeId, ShardDescriptor, Timestamp, placement::Operation};
use std::collections::{BTreeMap, BTreeSet};

/// So many pairs are told with a decision.
const TOLD: usize = 16;

/// What one merge is decided from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    #[n(0)]
    pub pairs: Vec<Pair>,
    #[n(1)]
    pub limits: MergeLimits,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pair {
    #[n(0)]
    pub left: ShardDescriptor,
    #[n(1)]
    pub right: ShardDescriptor,
    /// Of both.
    #[n(2)]
    pub bytes: u64,
    #[n(3)]
    pub requests: u64,
    /// Milliseconds, of the one that was busy last.
    #[n(4)]
    pub cold_for: u64,
}

pub fn plan(picture: &Picture, at: Timestamp) -> Option<Planned> {
    let limits = limits(picture)?;
    let ends: BTreeMap<_, _> =
        picture.shards_at_rest().filter_map(|shard| Some((shard.span.end.clone()?, shard))).collect();
    let pairs = picture.shards_at_rest().filter_map(|right| {
        let left = *ends.get(&right.span.start)?;
        weigh(picture, &limits, left, right).ok()
    });
    let mut pairs: Vec<Pair> = pairs.collect();
    pairs.sort_by_key(Pair::rank);
    pairs.truncate(TOLD);
    Inputs::Merge(Input { pairs, limits }).decide(at)
}

pub(super) fn limits(picture: &Picture) -> Option<MergeLimits> {
    Some(picture.limits.merge.clone()?.below(&picture.limits.split))
}

/// A pair that may be merged, or why it may not.
pub(super) fn weigh(
    picture: &Picture,
    limits: &MergeLimits,
    left: &ShardDescriptor,
    right: &ShardDescriptor,
) -> Result<Pair, String> {
    let (view, start) = (&picture.view, &right.span.start);
    if picture.boundaries.contains(start) && !planted!("placement.users_boundary_merged") {
        return Err("a user has asked for a shard to begin there".into());
    }
    let cut = view.rule_cut(left).or_else(|| view.rule_cut(right));
    if (view.rule_of(left) != view.rule_of(right) || cut.is_some()) && !planted!("placement.rules_merged") {
        return Err("users have asked for different places for them".into());
    }
    let (one, two) = (left.replicas.len(), right.replicas.len());
    if one != two {
        return Err(format!("one has {one} copies, the other {two}"));
    }
    let seen = |shard: &ShardDescriptor| {
        picture.seen.get(&shard.id).ok_or_else(|| format!("nothing is known of shard {}", shard.id))
    };
    let pair = pair(left, right, seen(left)?, seen(right)?);
    pair.obstacle(limits).map_or(Ok(pair), Err)
}

fn pair(left: &ShardDescriptor, right: &ShardDescriptor, one: &Seen, two: &Seen) -> Pair {
    let cold_for = one.cold_for.min(two.cold_for).as_millis();
    Pair {
        left: left.clone(),
        right: right.clone(),
        bytes: one.bytes.saturating_add(two.bytes),
        requests: one.load.requests().saturating_add(two.load.requests()),
        cold_for: u64::try_from(cold_for).unwrap_or(u64::MAX),
    }
}

impl Pair {
    fn obstacle(&self, limits: &MergeLimits) -> Option<String> {
        let (bytes, requests, cold_for) = (self.bytes, self.requests, self.cold_for);
        if bytes > limits.size {
            return Some(format!("together {bytes} bytes, of at most {}", limits.size));
        }
        if requests > limits.load {
            return Some(format!("together {requests} requests a second, of at most {}", limits.load));
        }
        let short =
            || format!("small and cold for {} s, of {} at least", cold_for / 1000, limits.after / 1000);
        (cold_for < limits.after).then(short)
    }

    /// Copies of the right that would have to move first.
    fn apart(&self) -> usize {
        let nodes = |shard: &ShardDescriptor| -> BTreeSet<NodeId> {
            shard.replicas.iter().map(|replica| replica.node).collect()
        };
        nodes(&self.right).difference(&nodes(&self.left)).count()
    }

    /// The least work first.
    fn rank(&self) -> (usize, u64, u64) {
        (self.apart(), self.bytes, self.right.id.0)
    }
}

impl Input {
    pub(super) fn decide(&self) -> Option<(Operation, Words)> {
        let may = self.pairs.iter().filter(|pair| pair.obstacle(&self.limits).is_none());
        let chosen = may.min_by_key(|pair| pair.rank())?;
        let (left, right) = (&chosen.left, &chosen.right);
        let told = |pair: &Pair| {
            let (bytes, apart) = (pair.bytes, pair.apart());
            let why = format!("{bytes} bytes, {} requests a second, {apart} copies to move", pair.requests);
            let score = -i64::try_from(bytes).unwrap_or(i64::MAX);
            (format!("shards {} and {}", pair.left.id, pair.right.id), score, why)
        };
        let words = Words {
            scheduler: "merge",
            shard: right.id,
            seen: format!(
                "shards {} and {} have {} bytes and {} requests a second, and that for {} s",
                left.id,
                right.id,
                chosen.bytes,
                chosen.requests,
                chosen.cold_for / 1000
            ),
            candidates: Vec::new(),
            options: self.pairs.iter().map(told).collect(),
            chosen: format!("shard {} takes over shard {}", left.id, right.id),
        };
        Some((Operation::Merge { at: right.span.start.clone() }, words))
    }
}
