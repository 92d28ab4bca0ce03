//! Splits shards that are too large, or are asked for too often, at the key that their leaders have told, and those of which one
//! part is to be placed in another way than the rest.

use super::{
    Planned,
    seen::{Picture, SplitLimits, allowed},
    why::{Inputs, Words},
};
use minicbor::{Decode, Encode};
use quorate_proto::{
    Key, ShardDescriptor, Timestamp,
    placement::{Cut, Operation, ShardLoad},
};

/// What one split is decided from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    #[n(0)]
    pub shard: ShardDescriptor,
    #[n(1)]
    pub bytes: u64,
    #[n(2)]
    pub load: ShardLoad,
    #[n(3)]
    pub limits: SplitLimits,
    /// Where what users have asked for of the keys begins or ends.
    #[n(4)]
    pub rule_cut: Option<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Rule,
    Size,
    Load,
}

/// The next one that is to be placed in two ways.
pub fn for_rules(picture: &Picture, at: Timestamp) -> Option<Planned> {
    if picture.view.rules.is_empty() || !picture.limits.rules {
        return None;
    }
    let mut inputs = picture.shards_at_rest().filter_map(|shard| of_shard(picture, shard));
    Inputs::Split(inputs.find(|input| input.rule_cut.is_some())?).decide(at)
}

/// The next one: the shard furthest above its limit.
pub fn plan(picture: &Picture, at: Timestamp) -> Option<Planned> {
    let inputs = picture.shards_at_rest().filter_map(|shard| of_shard(picture, shard));
    let wanted = inputs.filter(|input| input.choose().is_ok());
    let first = wanted.max_by_key(|input| (input.excess(), std::cmp::Reverse(input.shard.id)))?;
    Inputs::Split(first).decide(at)
}

pub(super) fn of_shard(picture: &Picture, shard: &ShardDescriptor) -> Option<Input> {
    let seen = picture.seen.get(&shard.id)?;
    let rule_cut = picture.view.rule_cut(shard).filter(|_| picture.limits.rules);
    let limits = picture.limits.split.clone();
    Some(Input { shard: shard.clone(), bytes: seen.bytes, load: seen.load.clone(), limits, rule_cut })
}

impl Input {
    /// For what users have asked for, then by size: such a shard is a burden whether it is asked for or not. Or why not.
    pub(super) fn choose(&self) -> Result<(Why, &Key), String> {
        if let Some(at) = &self.rule_cut {
            return Ok((Why::Rule, at));
        }
        let limits = &self.limits;
        let large = limits.size.is_some_and(|size| self.bytes >= size);
        let busy = limits.load.is_some_and(|load| self.load.requests() >= load);
        let by_size = self.fits(&self.load.size_cut).filter(|_| large).map(|cut| (Why::Size, &cut.at));
        let by_load = || self.fits(&self.load.load_cut).filter(|_| busy).map(|cut| (Why::Load, &cut.at));
        by_size.or_else(by_load).ok_or_else(|| match large || busy {
            true => "no key is known that halves it and leaves split_floor on either side".into(),
            false => {
                let below = |what: &str, have: u64, limit: Option<u64>| match limit {
                    Some(limit) => format!("{have} {what}, of less than {limit}"),
                    None => format!("{have} {what}, by which it is not split"),
                };
                let requests = below("requests a second", self.load.requests(), limits.load);
                format!("{}; {requests}", below("bytes", self.bytes, limits.size))
            }
        })
    }

    fn fits<'a>(&self, cut: &'a Option<Cut>) -> Option<&'a Cut> {
        allowed(cut, &self.shard, self.limits.floor)
    }

    /// Percent of the limit that it is furthest above.
    fn excess(&self) -> u64 {
        let percent =
            |have: u64, limit: Option<u64>| limit.map_or(0, |limit| have.saturating_mul(100) / limit.max(1));
        percent(self.bytes, self.limits.size).max(percent(self.load.requests(), self.limits.load))
    }

    pub(super) fn decide(&self) -> Option<(Operation, Words)> {
        let (why, at) = self.choose().ok()?;
        let requests = self.load.requests();
        let seen = match why {
            Why::Rule => "keys that are to be placed in another way than the others".to_owned(),
            Why::Size => format!("{} bytes, of at most {}", self.bytes, self.limits.size.unwrap_or_default()),
            Why::Load => {
                format!("{requests} requests a second, of at most {}", self.limits.load.unwrap_or_default())
            }
        };
        let words = Words {
            scheduler: "split",
            shard: self.shard.id,
            seen: format!("shard {} has {seen}", self.shard.id),
            candidates: Vec::new(),
            options: [("size", &self.load.size_cut), ("load", &self.load.load_cut)]
                .into_iter()
                .filter_map(|(by, cut)| self.option(by, cut.as_ref()?))
                .collect(),
            chosen: format!("split at {at:?}"),
        };
        Some((Operation::Split { at: at.clone() }, words))
    }

    /// Scored by how even the halves are, in thousandths.
    fn option(&self, by: &str, cut: &Cut) -> Option<(String, i64, String)> {
        let all = (cut.left_bytes + cut.right_bytes).max(1);
        let even = match by {
            "size" => 1000 * cut.left_bytes.min(cut.right_bytes) / all,
            _ => cut.left_load.min(cut.right_load),
        };
        let why = format!(
            "by {by}: {} and {} bytes, {} and {} of 1000 requests",
            cut.left_bytes, cut.right_bytes, cut.left_load, cut.right_load
        );
        let fits = self.fits(&Some(cut.clone())).is_some();
        let score = if fits { i64::try_from(even).ok()? } else { i64::MIN };
        let why = if fits { why } else { format!("{why}; a half would be too small") };
        Some((format!("{:?}", cut.at), score, why))
    }
}
