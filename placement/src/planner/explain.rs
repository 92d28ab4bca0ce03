//! Why the copies of a shard lie where they lie, and what each scheduler would do about it now: told by the very functions that
//! plan.

use super::{
    balance::{self, What},
    homes, kept, merge, objections, place,
    seen::Picture,
    slow, split,
};
use quorate_proto::{
    NodeId, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{Explained, Operation, PlacementRule, show_tiers},
};

fn line(about: &str, text: impl Into<String>) -> Explained {
    Explained { about: about.to_owned(), text: text.into() }
}

/// Where the copies are, what is asked for, and what each scheduler would do now.
pub fn shard(picture: &Picture, id: ShardId, at: Timestamp) -> Option<Vec<Explained>> {
    let shard = picture.view.shards.get(&id)?;
    let mut told = copies(picture, shard);
    told.extend(rule(picture, shard));
    told.extend(standing(picture, shard));
    if let Some(why) = picture.holds(at) {
        told.push(line("now", format!("nothing is moved: {why}")));
    }
    if let Some(why) = picture.restless(shard) {
        told.push(line("now", format!("the schedulers let the shard alone: {why}")));
    }
    match picture.next_step(at) {
        Some(next) if next.decision.shard != Some(id) => {
            let (scheduler, chosen) = (&next.decision.scheduler, &next.decision.chosen);
            let of = next.decision.shard.map_or_else(String::new, |shard| format!(", shard {shard}"));
            told.push(line("now", format!("another step is the next one: {scheduler}{of}: {chosen}")));
        }
        Some(next) => told.push(line(
            "now",
            format!("the next step: {}: {}", next.decision.scheduler, next.decision.chosen),
        )),
        None => {}
    }
    told.extend(
        slow::of_shard(picture, shard)
            .and_then(|input| input.decide())
            .map(|(_, words)| line("slow nodes", format!("would do: {}: {}", words.chosen, words.seen))),
    );
    told.push(line("constraints and spread", of_place(picture, shard)));
    told.push(line("split", of_split(picture, shard)));
    told.extend(of_merge(picture, shard));
    told.push(line("balance", of_balance(picture, shard, What::Copies)));
    told.push(line("balance leaders", of_balance(picture, shard, What::Leaders)));
    Some(told)
}

fn copies(picture: &Picture, shard: &ShardDescriptor) -> Vec<Explained> {
    let places = picture.view.places();
    let leader = picture.view.leaders.get(&shard.id);
    let copy = |replica: &quorate_proto::Replica| {
        let role = match replica.role {
            ReplicaRole::Voter if leader == Some(&replica.node) => "leads",
            ReplicaRole::Voter => "votes",
            ReplicaRole::Learner => "learns",
            ReplicaRole::Witness => "votes without data",
        };
        line("copy", format!("{}: {role}", places.name(replica.node)))
    };
    shard.replicas.iter().map(copy).collect()
}

fn rule(picture: &Picture, shard: &ShardDescriptor) -> Vec<Explained> {
    let Some(rule) = picture.view.rule_of(shard) else {
        let usual = PlacementRule::usual(shard.span.clone());
        let mut told =
            vec![line("rule", format!("{} copies; nobody has asked for anything else", usual.replicas))];
        if picture.view.rule_cut(shard).is_some() {
            told.push(line("rule", "other things are asked for of a part of its keys: it is to be split"));
        }
        return told;
    };
    let places = picture.view.places();
    let broken = places.unfulfilled(rule, &homes(shard));
    let mut told = vec![line("rule", format!("{} copies, version {}", rule.replicas, rule.version))];
    for constraint in &rule.constraints {
        told.push(line("constraint", constraint.to_string()));
    }
    told.extend(broken.iter().map(|why| line("unfulfilled", why.clone())));
    if broken.is_empty() && !rule.constraints.is_empty() {
        told.push(line("constraint", "all are fulfilled"));
    }
    if !rule.leaders.is_empty() {
        let leader = picture.view.leaders.get(&shard.id);
        let kept = match leader.map(|leader| places.rank(Some(rule), *leader)) {
            None => "nobody is known to lead".to_owned(),
            Some(rank) if rank == rule.leaders.len() => "the leader is in none of them".to_owned(),
            Some(rank) => format!("the leader is in number {}", rank + 1),
        };
        told.push(line("leader preference", format!("{}: {kept}", show_tiers(&rule.leaders))));
    }
    let (_, impossible) = kept::kept(&picture.view, rule);
    told.extend(impossible.into_iter().map(|why| line("impossible now", why)));
    told
}

fn standing(picture: &Picture, shard: &ShardDescriptor) -> Option<Explained> {
    let places = picture.view.places();
    let standing = places.standing(picture.view.rule_of(shard), &homes(shard));
    let told = places.told(&standing);
    (!told.is_empty()).then(|| line("spread", told))
}

fn of_place(picture: &Picture, shard: &ShardDescriptor) -> String {
    let Some(input) = place::of_shard(picture, shard) else { return unseen() };
    match input.decide() {
        Some((_, words)) => format!("would do: {}: {}", words.scheduler, words.chosen),
        None => "nothing: no single move makes the copies stand better".into(),
    }
}

fn unseen() -> String {
    "nothing: its leader has not told of it yet, or a copy is missing".into()
}

fn of_split(picture: &Picture, shard: &ShardDescriptor) -> String {
    let Some(input) = split::of_shard(picture, shard) else { return unseen() };
    match input.choose() {
        Ok((_, at)) => format!("would split at {at:?}"),
        Err(why) => format!("nothing: {why}"),
    }
}

fn of_merge(picture: &Picture, shard: &ShardDescriptor) -> Vec<Explained> {
    let Some(limits) = merge::limits(picture) else { return vec![line("merge", "nothing: it is off")] };
    let all = || picture.view.shards.values();
    let end = shard.span.end.as_ref();
    let left = all().find(|other| other.span.end.as_ref() == Some(&shard.span.start));
    let right = all().find(|other| Some(&other.span.start) == end);
    let told = |other: &ShardDescriptor, pair: Result<merge::Pair, String>| match pair {
        _ if picture.restless(other).is_some() => {
            format!("with shard {}: nothing: that is not at rest", other.id)
        }
        Ok(_) => format!("with shard {}: would merge", other.id),
        Err(why) => format!("with shard {}: nothing: {why}", other.id),
    };
    let left = left.map(|left| told(left, merge::weigh(picture, &limits, left, shard)));
    let right = right.map(|right| told(right, merge::weigh(picture, &limits, shard, right)));
    left.into_iter().chain(right).map(|text| line("merge", text)).collect()
}

/// From the node with a copy that carries most to the one that carries least and could take it.
fn of_balance(picture: &Picture, shard: &ShardDescriptor, what: What) -> String {
    let on = match what {
        What::Copies => picture.limits.balance_copies,
        What::Leaders => picture.limits.balance_leaders,
    };
    if !on {
        return "nothing: it is off".into();
    }
    let movable = match balance::movable(picture, what, shard) {
        Ok(movable) => movable,
        Err(why) => return format!("nothing: {why}"),
    };
    let input = balance::all(picture, what);
    if let Some((_, words)) = input.decide().filter(|(_, words)| words.shard == shard.id) {
        return format!("would do: {}", words.chosen);
    }
    let mut ways: Vec<(&balance::Node, &balance::Node)> = Vec::new();
    for from in input.nodes.iter().filter(|node| movable.holders.contains(&node.id)) {
        for to in input.nodes.iter().filter(|node| node.takes_more() && node.id != from.id) {
            ways.push((from, to));
        }
    }
    ways.sort_by_key(|(from, to)| (to.weight, std::cmp::Reverse(from.weight)));
    let mut against = ways.iter().filter_map(|(from, to)| input.against(&movable, from.id, to.id));
    let telling = |why: &balance::Against| {
        !matches!(
            why,
            balance::Against::HoldsOne(_) | balance::Against::HoldsNone(_) | balance::Against::LedByOthers(_)
        )
    };
    match (against.find(telling), ways.is_empty()) {
        (Some(why), _) => format!("nothing: {why}"),
        (None, true) => "nothing: there is no node to move anything to".into(),
        (None, false) => "nothing: all other nodes hold copies, or other shards go first".into(),
    }
}

/// Every reason why no copy of the shard comes to the node.
pub fn why_not(picture: &Picture, id: ShardId, node: NodeId, at: Timestamp) -> Option<Vec<Explained>> {
    let view = &picture.view;
    let shard = view.shards.get(&id)?;
    let Some(seen) = view.nodes.get(&node) else {
        return Some(vec![line("node", format!("there is no node {node}"))]);
    };
    let comes = |operation: &Operation| match operation {
        Operation::MoveReplica { shard, to, .. } => *shard == id && *to == node,
        Operation::Resize { shard, add, .. } => *shard == id && add.contains(&node),
        _ => false,
    };
    if let Some(next) = picture.next_step(at).filter(|next| comes(&next.operation)) {
        let decision = next.decision;
        return Some(vec![line(
            "next",
            format!("nothing: {} is about to: {}", decision.scheduler, decision.chosen),
        )]);
    }
    let objections = objections(view, &view.places(), shard, seen);
    let mut told: Vec<Explained> =
        objections.iter().map(|why| line("node", format!("node {node} {why}"))).collect();
    told.extend(seen.slow.iter().map(|why| line("node", format!("node {node} is slow: {why}"))));
    if objections.is_empty() {
        told.extend(by_choice(picture, shard, node));
    }
    told.extend(picture.restless(shard).map(|why| line("shard", why)));
    told.extend(picture.holds(at).map(|why| line("now", why)));
    Some(told)
}

/// It could take a copy, and nobody gives it one.
fn by_choice(picture: &Picture, shard: &ShardDescriptor, node: NodeId) -> Vec<Explained> {
    let mut told = Vec::new();
    let wanted = picture.view.rule_of(shard).map_or(quorate_proto::placement::COPIES, |rule| rule.replicas);
    if shard.replicas.len() as u64 >= wanted {
        let text = format!("the shard has the {wanted} copies that are wanted: one of them would have to go");
        told.push(line("copies", text));
    }
    match place::of_shard(picture, shard) {
        Some(input) => {
            told.extend(input.why_not(node).into_iter().map(|why| line("constraints and spread", why)))
        }
        None => told.push(line("constraints and spread", unseen())),
    }
    match balance::movable(picture, What::Copies, shard) {
        Err(why) => told.push(line("balance", why)),
        Ok(_) if !picture.limits.balance_copies => told.push(line("balance", "it is off")),
        Ok(movable) => {
            let input = balance::all(picture, What::Copies);
            let against = movable.holders.iter().map(|from| input.against(&movable, *from, node));
            let told_one = |why: Option<balance::Against>| match why {
                Some(why) => why.to_string(),
                None => "nothing: other steps go first".to_owned(),
            };
            told.extend(against.map(|why| line("balance", told_one(why))));
        }
    }
    told
}
