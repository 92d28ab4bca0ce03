//! How far rules are kept.

use super::{NodeView, View, homes, standing::Places};
use quorate_proto::{
    NodeId,
    placement::{Leaving, PlacementRule, Tier},
};

/// What of a rule its shards do not keep yet, and why it cannot be kept with the nodes that there are.
pub fn kept(view: &View, rule: &PlacementRule) -> (Vec<String>, Vec<String>) {
    let places = view.places();
    let mut open = Vec::new();
    for shard in view.shards.values().filter(|shard| shard.span.overlaps(&rule.span)) {
        let id = shard.id;
        if !rule.span.contains_span(&shard.span) {
            open.push(format!("shard {id} holds keys of others too, and is to be split"));
            continue;
        }
        let copies = homes(shard);
        if copies.len() != rule.replicas as usize {
            open.push(format!("shard {id} has {} copies, of {}", copies.len(), rule.replicas));
        }
        open.extend(places.unfulfilled(rule, &copies).into_iter().map(|why| format!("shard {id}: {why}")));
        if let Some(leader) = view.leaders.get(&id).filter(|leader| places.rank(Some(rule), **leader) > 0) {
            open.push(format!(
                "shard {id} is led by node {leader}, which is not where leaders are preferred most"
            ));
        }
    }
    (open, impossible(view, &places, rule))
}

/// Nodes that leave, or carry no shards, are none that could keep a rule; those that are away may come back.
fn impossible(view: &View, places: &Places, rule: &PlacementRule) -> Vec<String> {
    let stays = |node: &&NodeView| node.holds_shards && node.leaving == Leaving::No && !node.dead;
    let all: Vec<NodeId> = view.nodes.values().filter(stays).map(|node| node.id).collect();
    let allowed: Vec<NodeId> =
        all.iter().copied().filter(|id| places.violated(Some(rule), *id).is_none()).collect();
    let mut found = Vec::new();
    if allowed.len() < rule.replicas as usize {
        let shown: Vec<String> =
            rule.constraints.iter().filter(|c| c.copies.is_none()).map(|c| c.to_string()).collect();
        let within = if shown.is_empty() { String::new() } else { format!(" in {}", shown.join(" and ")) };
        found.push(format!(
            "{} copies need as many nodes{within}, and there are {}",
            rule.replicas,
            allowed.len()
        ));
    }
    for constraint in &rule.constraints {
        let Some(copies) = constraint.copies else { continue };
        let there = allowed.iter().filter(|id| places.is_in(**id, &constraint.tier)).count();
        if (there as u64) < copies {
            let (key, value) = &constraint.tier;
            found.push(format!(
                "{copies} copies in {key}={value} need as many nodes there, and there are {there}"
            ));
        }
    }
    let nowhere = |tier: &&Tier| !allowed.iter().any(|id| places.is_in(*id, tier));
    found.extend(rule.leaders.iter().filter(nowhere).map(|(key, value)| {
        format!("no node that may hold copies is in {key}={value}, where leaders are preferred")
    }));
    found
}
