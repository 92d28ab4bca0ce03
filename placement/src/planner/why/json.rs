//! What decisions were made from, as JSON: for people and their tools, not to be read back.

use super::Inputs;
use crate::planner::{balance, merge, place, slow, split, standing::Places};
use quorate_proto::{
    NodeId, ShardDescriptor,
    placement::{Cut, PlacementRule, show_tiers},
};
use serde_json::{Value, json};

impl Inputs {
    pub(super) fn json(&self) -> Value {
        match self {
            Inputs::Split(input) => json!({ "split": of_split(input) }),
            Inputs::Merge(input) => json!({ "merge": of_merge(input) }),
            Inputs::Balance(input) => json!({ "balance": of_balance(input) }),
            Inputs::Place(input) => json!({ "place": of_place(input) }),
            Inputs::Slow(input) => json!({ "slow": of_slow(input) }),
        }
    }
}

fn of_split(input: &split::Input) -> Value {
    let limits = &input.limits;
    json!({
        "shard": shard(&input.shard),
        "bytes": input.bytes,
        "requests": input.load.requests(),
        "size_cut": input.load.size_cut.as_ref().map(cut),
        "load_cut": input.load.load_cut.as_ref().map(cut),
        "rule_cut": input.rule_cut.as_ref().map(|at| format!("{at:?}")),
        "limits": { "size": limits.size, "load": limits.load, "floor": limits.floor },
    })
}

fn of_merge(input: &merge::Input) -> Value {
    let limits = &input.limits;
    let pair = |pair: &merge::Pair| {
        json!({
            "left": shard(&pair.left),
            "right": shard(&pair.right),
            "bytes": pair.bytes,
            "requests": pair.requests,
            "cold_for_ms": pair.cold_for,
        })
    };
    json!({
        "pairs": input.pairs.iter().map(pair).collect::<Vec<_>>(),
        "limits": { "size": limits.size, "load": limits.load, "after_ms": limits.after },
    })
}

fn of_balance(input: &balance::Input) -> Value {
    let node = |node: &balance::Node| {
        json!({
            "node": node.id.0,
            "locality": locality(&input.places, node.id),
            "number": node.number,
            "weight": node.weight,
            "takes": node.takes,
            "slow": node.slow,
        })
    };
    let movable = |shard: &balance::Movable| {
        json!({
            "shard": shard.shard.0,
            "weight": shard.weight,
            "copies": ids(&shard.holders),
            "leader": shard.leader.0,
            "rule": shard.rule.as_ref().map(rule),
        })
    };
    json!({
        "what": format!("{:?}", input.what).to_lowercase(),
        "nodes": input.nodes.iter().map(node).collect::<Vec<_>>(),
        "shards": input.shards.iter().map(movable).collect::<Vec<_>>(),
    })
}

fn of_slow(input: &slow::Input) -> Value {
    let heir = |heir: &slow::Heir| {
        json!({
            "node": heir.id.0,
            "locality": locality(&input.places, heir.id),
            "weight": heir.weight,
            "against": heir.against,
        })
    };
    json!({
        "shard": input.shard.0,
        "leader": input.leader.0,
        "why": input.why,
        "rule": input.rule.as_ref().map(rule),
        "nodes": input.heirs.iter().map(heir).collect::<Vec<_>>(),
    })
}

fn of_place(input: &place::Input) -> Value {
    let node = |node: &place::Node| {
        json!({
            "node": node.id.0,
            "locality": locality(&input.places, node.id),
            "copies": node.held,
            "against": node.against,
            "may_lead": node.leads,
        })
    };
    json!({
        "shard": shard(&input.shard),
        "leader": input.leader.0,
        "rule": input.rule.as_ref().map(rule),
        "nodes": input.nodes.iter().map(node).collect::<Vec<_>>(),
        "constraints_on": input.on.rules,
        "spread_on": input.on.spread,
        "leader_settled": input.on.settled,
    })
}

fn ids(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

fn locality(places: &Places, node: NodeId) -> String {
    show_tiers(places.of(node))
}

fn shard(shard: &ShardDescriptor) -> Value {
    json!({
        "shard": shard.id.0,
        "span": format!("{:?}", shard.span),
        "version": shard.version,
        "config_epoch": shard.config_epoch,
        "copies": shard.replicas.iter().map(|replica| replica.node.0).collect::<Vec<_>>(),
    })
}

fn cut(cut: &Cut) -> Value {
    json!({
        "at": format!("{:?}", cut.at),
        "bytes": [cut.left_bytes, cut.right_bytes],
        "of_1000_requests": [cut.left_load, cut.right_load],
    })
}

fn rule(rule: &PlacementRule) -> Value {
    json!({
        "version": rule.version,
        "replicas": rule.replicas,
        "constraints": rule.constraints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "leader_preference": show_tiers(&rule.leaders),
    })
}
