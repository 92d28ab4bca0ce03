//! How a shard's copies stand: first how far they are from what is asked for, then how far they lie apart.
//!
//! Tiers of localities are compared from the widest to the narrowest: no gain in zones makes up for a pair of copies in one
//! region. Nodes that do not say where they are count as standing together, apart from all that do.

use minicbor::{Decode, Encode};
use quorate_env::planted;
use quorate_proto::{
    NodeId,
    placement::{Constraint, PlacementRule, Tier, show_tiers},
};
use std::collections::BTreeMap;

/// So many tiers are compared.
pub const TIERS: usize = 4;
/// Of what a score is made: copies held, then pairs in each tier from the narrowest to the widest, then what is unmet.
const HELD: i64 = 1_000_000;
const PAIRS: i64 = 100;

/// The less the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// Copies that lie where they must not, and those that are missing where some are wanted.
    pub unmet: u64,
    /// Pairs of copies that share the first tier, the first two, and so on.
    pub together: [u64; TIERS],
}

/// Where nodes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Places {
    #[n(0)]
    nodes: BTreeMap<NodeId, Vec<Tier>>,
    /// Tiers that some node names.
    #[n(1)]
    depth: usize,
}

impl Places {
    pub fn new<'a>(nodes: impl Iterator<Item = (NodeId, &'a [Tier])>) -> Self {
        let nodes: BTreeMap<_, _> = nodes.map(|(id, tiers)| (id, tiers.to_vec())).collect();
        let depth = nodes.values().map(Vec::len).max().unwrap_or(0).min(TIERS);
        Places { nodes, depth }
    }

    pub fn of(&self, node: NodeId) -> &[Tier] {
        self.nodes.get(&node).map_or(&[], Vec::as_slice)
    }

    /// No node says where it is.
    pub fn is_nowhere(&self) -> bool {
        self.depth == 0
    }

    pub fn standing(&self, rule: Option<&PlacementRule>, copies: &[NodeId]) -> Standing {
        let mut together = [0; TIERS];
        for (at, one) in copies.iter().enumerate() {
            for other in &copies[at + 1..] {
                let (one, other) = (self.of(*one), self.of(*other));
                let shared = (0..self.depth).take_while(|tier| one.get(*tier) == other.get(*tier)).count();
                together[..shared].iter_mut().for_each(|pairs| *pairs += 1);
            }
        }
        let unmet = rule.map_or(0, |rule| self.unmet(rule, copies));
        Standing { unmet, together }
    }

    fn unmet(&self, rule: &PlacementRule, copies: &[NodeId]) -> u64 {
        let outside = copies.iter().filter(|node| self.violated(Some(rule), **node).is_some()).count();
        let short: u64 = rule.constraints.iter().map(|constraint| self.short(constraint, copies)).sum();
        outside as u64 + short
    }

    fn short(&self, constraint: &Constraint, copies: &[NodeId]) -> u64 {
        let there = copies.iter().filter(|node| self.is_in(**node, &constraint.tier)).count() as u64;
        constraint.copies.unwrap_or(0).saturating_sub(there)
    }

    pub fn is_in(&self, node: NodeId, tier: &Tier) -> bool {
        self.of(node).contains(tier)
    }

    /// A constraint that keeps every copy off this node.
    pub fn violated<'a>(&self, rule: Option<&'a PlacementRule>, node: NodeId) -> Option<&'a Constraint> {
        let for_all = rule?.constraints.iter().filter(|constraint| constraint.copies.is_none());
        for_all.into_iter().find(|constraint| !self.is_in(node, &constraint.tier))
    }

    /// The same copies, one of them moved, stand no worse.
    pub fn no_worse(
        &self,
        rule: Option<&PlacementRule>,
        copies: &[NodeId],
        from: NodeId,
        to: NodeId,
    ) -> bool {
        if rule.is_none() && self.depth == 0 {
            return true;
        }
        let (mut now, mut then) =
            (self.standing(rule, copies), self.standing(rule, &moved(copies, from, to)));
        if planted!("placement.spread_ignored") {
            (now.together, then.together) = Default::default();
        }
        if planted!("placement.constraint_ignored") {
            (now.unmet, then.unmet) = Default::default();
        }
        then <= now
    }

    /// How much a node is wanted as leader: the less the better.
    pub fn rank(&self, rule: Option<&PlacementRule>, node: NodeId) -> usize {
        let wanted = rule.map_or(&[][..], |rule| &rule.leaders);
        wanted.iter().position(|tier| self.is_in(node, tier)).unwrap_or(wanted.len())
    }

    /// What of the rule is not kept by these copies, in words.
    pub fn unfulfilled(&self, rule: &PlacementRule, copies: &[NodeId]) -> Vec<String> {
        let outside = copies.iter().filter_map(|node| {
            self.violated(Some(rule), *node)
                .map(|constraint| format!("its copy on node {node} is not in {constraint}"))
        });
        let short = rule.constraints.iter().filter_map(|constraint| {
            let (key, value) = &constraint.tier;
            let short = self.short(constraint, copies);
            (short > 0).then(|| {
                format!("{short} of {} copies are missing in {key}={value}", constraint.copies.unwrap_or(0))
            })
        });
        outside.chain(short).collect()
    }

    /// A standing in words; nothing where nobody has said where nodes are.
    pub fn told(&self, standing: &Standing) -> String {
        let mut told = Vec::new();
        if standing.unmet > 0 {
            told.push(format!("{} off the constraints", standing.unmet));
        }
        for (tier, pairs) in standing.together.iter().enumerate().take(self.depth) {
            let name = self.nodes.values().find_map(|tiers| tiers.get(tier)).map_or("tier", |(key, _)| key);
            told.push(match pairs {
                0 => format!("no two in one {name}"),
                1 => format!("1 pair in one {name}"),
                pairs => format!("{pairs} pairs in one {name}"),
            });
            if *pairs == 0 {
                break;
            }
        }
        told.join(", ")
    }

    /// `node 3 (region=eu,zone=a)`
    pub fn name(&self, node: NodeId) -> String {
        match self.of(node) {
            [] => format!("node {node}"),
            tiers => format!("node {node} ({})", show_tiers(tiers)),
        }
    }
}

impl Standing {
    /// As one number, with the copies that the node holds: the greater the better.
    pub fn score(&self, held: u64) -> i64 {
        let held = i64::try_from(held).unwrap_or(HELD).min(HELD - 1);
        let pairs =
            |score: i64, pairs: &u64| score * PAIRS + i64::try_from(*pairs).unwrap_or(PAIRS).min(PAIRS - 1);
        let unmet = i64::try_from(self.unmet).unwrap_or(PAIRS).min(PAIRS - 1);
        -(self.together.iter().fold(unmet, pairs) * HELD + held)
    }
}

/// The copies, one of them on another node.
pub fn moved(copies: &[NodeId], from: NodeId, to: NodeId) -> Vec<NodeId> {
    copies.iter().map(|node| if *node == from { to } else { *node }).collect()
}
