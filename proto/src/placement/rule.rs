//! What users ask for of the places where copies lie.

use crate::{ShardId, Span};
use minicbor::{Decode, Encode};
use std::fmt;

/// Copies of every shard, where nobody has asked for another number.
pub const COPIES: u64 = 3;

/// A tier of a node's locality: `region=eu`.
pub type Tier = (String, String);

/// What holds for the shards whose keys all lie in the span. Rules do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlacementRule {
    #[n(0)]
    pub span: Span,
    /// Rises with every change; 0: nobody has asked for anything.
    #[n(1)]
    pub version: u64,
    #[n(2)]
    pub replicas: u64,
    #[n(3)]
    pub constraints: Vec<Constraint>,
    /// Where leaders are to be, the best first.
    #[n(4)]
    pub leaders: Vec<Tier>,
}

/// Copies are to lie on nodes with this tier: all of them, or so many at least.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Constraint {
    #[n(0)]
    pub tier: Tier,
    #[n(1)]
    pub copies: Option<u64>,
}

/// What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PlacementChange {
    #[n(0)]
    pub replicas: Option<u64>,
    #[n(1)]
    pub constraints: Option<Vec<Constraint>>,
    #[n(2)]
    pub leaders: Option<Vec<Tier>>,
}

/// A rule, and how far it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlacementStatus {
    #[n(0)]
    pub rule: PlacementRule,
    /// What is not as the rule wants it, shard by shard.
    #[n(1)]
    pub unfulfilled: Vec<String>,
    /// Why it cannot be kept with the nodes that there are.
    #[n(2)]
    pub impossible: Vec<String>,
}

/// A line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Explained {
    #[n(0)]
    pub about: String,
    #[n(1)]
    pub text: String,
}

/// A question about a shard: what decides where its copies lie, or why none lies on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExplainPlacement {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub why_not: Option<crate::NodeId>,
}

impl PlacementRule {
    /// What holds where nobody has asked for anything.
    pub fn usual(span: Span) -> Self {
        PlacementRule { span, version: 0, replicas: COPIES, constraints: Vec::new(), leaders: Vec::new() }
    }

    /// The rule after a change.
    pub fn with(mut self, change: PlacementChange) -> Self {
        self.version += 1;
        self.replicas = change.replicas.unwrap_or(self.replicas);
        self.constraints = change.constraints.unwrap_or(self.constraints);
        self.leaders = change.leaders.unwrap_or(self.leaders);
        self
    }

    /// Refuses what no nodes could fulfil.
    ///
    /// # Errors
    /// Says what is wrong, for the user.
    pub fn check(&self) -> Result<(), String> {
        if !matches!(self.replicas, 1 | 3 | 5 | 7) {
            return Err(format!("{} copies: there can be 1, 3, 5 or 7", self.replicas));
        }
        if self.constraints.iter().any(|constraint| constraint.copies == Some(0)) {
            return Err("a constraint for no copy at all says nothing".into());
        }
        for (at, one) in self.constraints.iter().enumerate() {
            let before = &self.constraints[..at];
            if before.iter().any(|other| other.tier == one.tier) {
                return Err(format!("{}={} is named twice", one.tier.0, one.tier.1));
            }
            let against = |other: &&Constraint| {
                other.copies.is_none() && one.copies.is_none() && other.tier.0 == one.tier.0
            };
            if let Some(other) = before.iter().find(against) {
                return Err(format!("no node is both in {other} and in {one}"));
            }
            if let Some(copies) = one.copies
                && copies > self.replicas
            {
                return Err(format!("{one} wants {copies} copies, of {}", self.replicas));
            }
        }
        self.add_up()
    }

    /// Counts of one key are for different nodes.
    fn add_up(&self) -> Result<(), String> {
        for one in &self.constraints {
            let of_key = self.constraints.iter().filter(|other| other.tier.0 == one.tier.0);
            let wanted: u64 = of_key.filter_map(|other| other.copies).sum();
            if wanted > self.replicas {
                let key = &one.tier.0;
                return Err(format!("the constraints want {wanted} copies by {key}, of {}", self.replicas));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = &self.tier;
        match self.copies {
            None => write!(f, "{key}={value}"),
            Some(copies) => write!(f, "{key}={value}:{copies}"),
        }
    }
}

/// `region=eu,zone=a`
pub fn show_tiers(tiers: &[Tier]) -> String {
    tiers.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Reads `key=value,…`.
///
/// # Errors
/// Says what is wrong, for the user.
pub fn read_tiers(text: &str) -> Result<Vec<Tier>, String> {
    words(text).map(read_tier).collect()
}

/// Reads `key=value,…` and `key=value:N,…`.
///
/// # Errors
/// Says what is wrong, for the user.
pub fn read_constraints(text: &str) -> Result<Vec<Constraint>, String> {
    let read = |word: &str| match word.rsplit_once(':') {
        None => Ok(Constraint { tier: read_tier(word)?, copies: None }),
        Some((tier, copies)) => {
            let copies = copies.trim().parse().map_err(|_| format!("`{copies}` is no number of copies"))?;
            Ok(Constraint { tier: read_tier(tier)?, copies: Some(copies) })
        }
    };
    words(text).map(read).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Reads `key=value`.
///
/// # Errors
/// Says what is wrong, for the user.
pub fn read_tier(text: &str) -> Result<Tier, String> {
    let fine = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let sound = |part: &str| !part.is_empty() && part.chars().all(fine);
    match text.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
        Some((key, value)) if sound(key) && sound(value) => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not key=value, of letters, digits, `-`, `_` and `.`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(replicas: u64, constraints: &str) -> Result<(), String> {
        let constraints = Some(read_constraints(constraints)?);
        let change = PlacementChange { replicas: Some(replicas), constraints, leaders: None };
        PlacementRule::usual(Span::ALL).with(change).check()
    }

    #[test]
    fn what_no_nodes_could_fulfil_is_refused() {
        for (replicas, constraints) in
            [(5, "region=eu, disk=ssd"), (3, "region=eu:2,region=us:1"), (1, ""), (3, "region=eu, zone=a:2")]
        {
            assert_eq!(rule(replicas, constraints), Ok(()), "{replicas} {constraints}");
        }
        for (replicas, constraints, why) in [
            (2, "", "1, 3, 5 or 7"),
            (3, "region=eu,region=us", "no node is both in"),
            (3, "region=eu:2,region=us:2", "want 4 copies by region"),
            (3, "region=eu:4", "wants 4 copies"),
            (3, "region=eu:0", "no copy at all"),
            (3, "region=eu,region=eu:1", "twice"),
            (3, "eu", "not key=value"),
            (3, "region=eu:x", "no number"),
        ] {
            let error = rule(replicas, constraints).unwrap_err();
            assert!(error.contains(why), "{replicas} {constraints}: {error}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let change = PlacementChange { replicas: Some(5), ..PlacementChange::default() };
        let first = PlacementRule::usual(Span::ALL).with(change);
        let leaders = Some(read_tiers("zone=a, zone=b").unwrap());
        let second = first.with(PlacementChange { leaders, ..PlacementChange::default() });
        assert_eq!(
            (second.version, second.replicas, show_tiers(&second.leaders)),
            (2, 5, "zone=a,zone=b".into())
        );
    }
}
