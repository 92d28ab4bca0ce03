//! The planners that watch over all shards: scripts with their whole trace beside them (`testdata/planner/*.txt`), and random
//! pictures, from each of which they come to an end.
//!
//! A script is blocks of lines, `---`, and what is printed, up to an empty line; `QUORATE_REWRITE=1` writes that back.
//!
//! - `limits …`: any of `size=N load=N floor=N merge=BYTES,REQUESTS copies leaders rules spread moves=N`; what is left out is off
//! - `node N [full] [slow] [dead] [region=…,zone=…]`
//! - `rule FROM-TO replicas=N constraints=… leaders=…`: what a user asks for, with `;` between constraints
//! - `shard FROM-TO on N N N bytes=N requests=N [hot] [busy] [unsettled]`: the first node leads; a `hot` one has one key that all ask for
//! - `boundary KEY`: a user's
//! - `step`: the next decision, with its reasons; `run`: all of them, in short
//! - `explain SHARD`, `whynot SHARD NODE`

mod model;

use model::{Model, key, keys};
use quorate_placement::planner::{
    explain,
    seen::{Limits, MergeLimits, SplitLimits},
};
use quorate_proto::{
    NodeId, ShardId, Timestamp,
    placement::{Constraint, Explained, Operation, PlacementChange, Tier, read_constraints, read_tiers},
};
use std::{fmt::Write, fs, path::Path};

/// More steps than this are a fight.
const STEPS: usize = 20_000;

fn limits<'a>(words: impl Iterator<Item = &'a str>) -> Limits {
    let mut limits = Limits { moves: 1, ..Limits::default() };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse().expect("a number");
        match name {
            "size" => limits.split.size = Some(number()),
            "load" => limits.split.load = Some(number()),
            "floor" => limits.split.floor = number(),
            "merge" => {
                let (size, load) = value.split_once(',').expect("two numbers");
                let of = |text: &str| text.parse().expect("a number");
                limits.merge = Some(MergeLimits { size: of(size), load: of(load), after: 60_000 });
            }
            "copies" => limits.balance_copies = true,
            "leaders" => limits.balance_leaders = true,
            "rules" => limits.rules = true,
            "spread" => limits.spread = true,
            "moves" => limits.moves = number() as usize,
            other => panic!("{other}"),
        }
    }
    limits
}

fn shard(model: &mut Model, words: &[&str]) -> ShardId {
    let (from, to) = words[0].split_once('-').expect("a range");
    let value = |name: &str| -> u64 {
        let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.map_or(0, |value| value.parse().expect("a number"))
    };
    let nodes: Vec<u64> = words[2..].iter().map_while(|word| word.parse().ok()).collect();
    let (from, to) = (from.parse().expect("a key"), to.parse().expect("a key"));
    let id = model.shard(from, to, &nodes, value("bytes"), value("requests"));
    let seen = model.picture.seen.get_mut(&id).expect("just made");
    seen.settled = !words.contains(&"unsettled");
    if words.contains(&"hot") {
        seen.load.load_cut = None;
    }
    if words.contains(&"busy") {
        model.picture.view.busy.insert(id);
    }
    id
}

fn node(model: &mut Model, words: &[&str]) {
    let id = words[0].parse().expect("a node");
    model.node(id, !words.contains(&"full"));
    if words.contains(&"slow") {
        model.slow_down(id);
    }
    if let Some(tiers) = words.iter().find(|word| word.contains('=')) {
        model.locate(id, tiers);
    }
    if words.contains(&"dead") {
        let node = model.picture.view.nodes.get_mut(&NodeId(id)).expect("just made");
        (node.usable, node.near, node.dead) = (false, false, true);
    }
}

fn rule(model: &mut Model, words: &[&str]) {
    let (from, to) = words[0].split_once('-').expect("a range");
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let constraints =
        value("constraints").map(|text| read_constraints(&text.replace(';', ",")).expect("constraints"));
    let change = PlacementChange {
        replicas: value("replicas").map(|number| number.parse().expect("a number")),
        constraints,
        leaders: value("leaders").map(|text| read_tiers(text).expect("tiers")),
    };
    model.rule(from.parse().expect("a key"), to.parse().expect("a key"), change);
}

fn explained(told: Option<Vec<Explained>>, out: &mut String) {
    for Explained { about, text } in told.expect("a shard") {
        let _ = writeln!(out, "{about}: {text}");
    }
}

fn step(model: &mut Model, out: &mut String) -> bool {
    let Some(planned) = model.next() else {
        let _ = writeln!(out, "nothing to do");
        return false;
    };
    let decision = &planned.decision;
    let _ = writeln!(out, "{}: {} → {}", decision.scheduler, decision.seen, decision.chosen);
    for (node, score, why) in &decision.candidates {
        let score = if *score == i64::MIN { "out".to_owned() } else { score.to_string() };
        let _ = writeln!(out, "  node {node}: {score}, {why}");
    }
    for (what, score, why) in &decision.options {
        let score = if *score == i64::MIN { "out".to_owned() } else { score.to_string() };
        let _ = writeln!(out, "  {what}: {score}, {why}");
    }
    model.carry_out(&planned.operation);
    true
}

fn run(model: &mut Model, out: &mut String) {
    let mut steps = 0;
    while let Some(planned) = model.next() {
        let decision = &planned.decision;
        let shard = decision.shard.expect("a shard");
        let _ = writeln!(out, "{}, shard {shard}: {}", decision.scheduler, decision.chosen);
        model.carry_out(&planned.operation);
        steps += 1;
        assert!(steps < STEPS, "they fight");
    }
    for (id, shard) in &model.picture.view.shards {
        let (from, to) = keys(&shard.span);
        let nodes: Vec<String> = shard.replicas.iter().map(|replica| replica.node.to_string()).collect();
        let (seen, leader) = (&model.picture.seen[id], model.picture.view.leaders[id]);
        let (bytes, requests) = (seen.bytes, seen.load.requests());
        let on = nodes.join(" ");
        let _ = writeln!(
            out,
            "shard {id}: {from}-{to} on {on}, led by {leader}, {bytes} bytes, {requests} requests"
        );
    }
}

fn block(model: &mut Model, line: &str, out: &mut String) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.first() {
        None | Some(&"#") => {}
        Some(&"limits") => *model = Model::new(limits(words[1..].iter().copied())),
        Some(&"node") => node(model, &words[1..]),
        Some(&"rule") => rule(model, &words[1..]),
        Some(&"boundary") => {
            model.picture.boundaries.insert(key(words[1].parse().expect("a key")));
        }
        Some(&"shard") => {
            shard(model, &words[1..]);
        }
        Some(&"step") => {
            step(model, out);
        }
        Some(&"run") => run(model, out),
        Some(&"explain") => {
            let shard = ShardId(words[1].parse().expect("a shard"));
            explained(explain::shard(&model.picture, shard, Timestamp::ZERO), out);
        }
        Some(&"whynot") => {
            let (shard, node) = (words[1].parse().expect("a shard"), words[2].parse().expect("a node"));
            explained(explain::why_not(&model.picture, ShardId(shard), NodeId(node), Timestamp::ZERO), out);
        }
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn scripts() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/planner");
    let mut paths: Vec<_> = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let mut model = Model::new(Limits::default());
        let (mut printed, mut out, mut skipping) = (String::new(), String::new(), false);
        for line in text.lines() {
            if skipping {
                skipping = !line.is_empty();
                continue;
            }
            let _ = writeln!(printed, "{line}");
            if line == "---" {
                let _ = writeln!(printed, "{}", std::mem::take(&mut out));
                skipping = true;
            } else {
                block(&mut model, line, &mut out);
            }
        }
        let printed = printed.trim_end().to_owned() + "\n";
        if std::env::var_os("QUORATE_REWRITE").is_some() {
            fs::write(&path, printed).unwrap();
        } else {
            assert_eq!(printed, text, "{}", path.display());
        }
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn usual() -> Limits {
    Limits {
        split: SplitLimits { size: Some(256 << 20), load: Some(2500), floor: 256 << 10 },
        merge: Some(MergeLimits { size: 64 << 20, load: 100, after: 600_000 }),
        balance_copies: true,
        balance_leaders: true,
        rules: true,
        spread: true,
        moves: 2,
    }
}

fn random(dice: &mut Dice) -> Model {
    let mut limits = usual();
    limits.merge = limits.merge.filter(|_| dice.roll(4) > 0);
    limits.balance_copies = dice.roll(4) > 0;
    limits.balance_leaders = dice.roll(4) > 0;
    // Also the threshold of merges above that of splits.
    if let Some(merge) = limits.merge.as_mut().filter(|_| dice.roll(3) == 0) {
        (merge.size, merge.load) = (1 << 30, 10_000);
    }
    let mut model = Model::new(limits);
    let nodes = 3 + dice.roll(5);
    (1..=nodes).for_each(|id| model.node(id, id <= 3 || dice.roll(5) > 0));
    if dice.roll(4) == 0 {
        model.slow_down(1 + dice.roll(nodes));
    }
    let shards = 1 + dice.roll(40) as u32;
    let width = model::END / shards;
    for at in 0..shards {
        let first = dice.roll(nodes);
        let homes: Vec<u64> = (0..3).map(|n| 1 + (first + n) % nodes).collect();
        let bytes = [0, 1 << 20, 40 << 20, 700 << 20][dice.roll(4) as usize] + dice.roll(1 << 20);
        let requests = [0, 30, 400, 9000][dice.roll(4) as usize] + dice.roll(20);
        let to = if at + 1 == shards { model::END } else { (at + 1) * width };
        model.shard(at * width, to, &homes, bytes, requests);
        if dice.roll(4) == 0 {
            model.picture.boundaries.insert(key(at * width));
        }
    }
    model
}

/// Regions of several zones, and rules for some of the keys.
fn places(dice: &mut Dice, model: &mut Model) {
    let nodes: Vec<u64> = model.picture.view.nodes.keys().map(|node| node.0).collect();
    let (regions, zones) = (1 + dice.roll(3), 1 + dice.roll(3));
    for node in &nodes {
        // Now and then one does not say where it is.
        if dice.roll(8) > 0 {
            model.locate(*node, &format!("region=r{},zone=z{}", dice.roll(regions), dice.roll(zones)));
        }
    }
    let tier = |dice: &mut Dice| -> Tier { ("region".into(), format!("r{}", dice.roll(regions))) };
    for at in 0..dice.roll(4) as u32 {
        let replicas = 1 + 2 * dice.roll(3);
        let copies = [None, Some(1), Some(replicas / 2 + 1)][dice.roll(3) as usize];
        let constraints = vec![Constraint { tier: tier(dice), copies }];
        let leaders = if dice.roll(2) == 0 { vec![] } else { vec![tier(dice), ("zone".into(), "z0".into())] };
        let change = PlacementChange {
            replicas: Some(replicas),
            constraints: Some(constraints),
            leaders: Some(leaders),
        };
        model.rule(at * 2000 + 500, at * 2000 + 1000 + 200 * dice.roll(5) as u32, change);
    }
}

#[test]
fn with_localities_and_rules_they_come_to_an_end_with_all_copies_well_placed() {
    for seed in 0..120 {
        let mut dice = Dice(seed);
        let mut model = random(&mut dice);
        places(&mut dice, &mut model);
        let mut steps = 0;
        while let Some(planned) = model.next() {
            model.carry_out(&planned.operation);
            steps += 1;
            assert!(steps < STEPS, "seed {seed}: they fight: {planned:?}");
        }
        model.assert_well_placed(seed);
    }
}

#[test]
fn from_any_picture_they_come_to_an_end_and_stay_there() {
    for seed in 0..400 {
        let mut model = random(&mut Dice(seed));
        let mut steps = 0;
        while let Some(planned) = model.next() {
            model.carry_out(&planned.operation);
            steps += 1;
            assert!(steps < STEPS, "seed {seed}: they fight: {planned:?}");
        }
        assert!(model.next().is_none(), "seed {seed}");
        let limits = &model.picture.limits;
        for seen in model.picture.seen.values() {
            assert!(seen.bytes < 256 << 20, "seed {seed}: {seen:?}");
        }
        if limits.balance_copies && limits.balance_leaders && model.picture.view.shards.len() > 100 {
            let leaders: Vec<usize> = model.numbers().into_iter().map(|(.., led)| led).collect();
            assert!(leaders.iter().all(|led| *led > 0), "seed {seed}: {leaders:?}");
        }
    }
}

/// Operations take their time, and end in any order; what is decided meanwhile counts on them.
#[test]
fn several_at_a_time_come_to_an_end_too() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut model = random(&mut dice);
        model.picture.limits.moves = 1 + dice.roll(4) as usize;
        let mut under_way: Vec<Operation> = Vec::new();
        for steps in 0.. {
            assert!(steps < STEPS, "seed {seed}: they fight: {under_way:?}");
            match model.next_beside(&under_way) {
                Some(planned) => under_way.push(planned.operation),
                None if under_way.is_empty() => break,
                None => {
                    let ended = under_way.swap_remove(dice.roll(under_way.len() as u64) as usize);
                    model.carry_out(&ended);
                }
            }
        }
    }
}

#[test]
fn many_small_shards_are_spread_to_within_a_tenth_of_the_mean() {
    let mut model = Model::new(Limits { merge: None, ..usual() });
    (1..=5).for_each(|id| model.node(id, true));
    for at in 0..200 {
        let end = if at == 199 { model::END } else { (at + 1) * 50 };
        model.shard(at * 50, end, &[1, 2, 3], 1000, 0);
    }
    while let Some(planned) = model.next() {
        model.carry_out(&planned.operation);
    }
    for (node, copies, led) in model.numbers() {
        assert!((108..=132).contains(&copies) && (36..=44).contains(&led), "node {node}: {copies}, {led}");
    }
}

#[test]
fn while_copies_are_to_be_repaired_and_while_enough_is_under_way_they_wait() {
    let mut model = Model::new(usual());
    (1..=5).for_each(|id| model.node(id, true));
    model.shard(0, model::END, &[1, 2, 3], 1 << 30, 0);
    assert!(model.next().is_some());
    model.picture.under_way = 2;
    assert!(model.next().is_none());
    model.picture.under_way = 0;
    let node = model.picture.view.nodes.values_mut().last().unwrap();
    (node.usable, node.dead) = (false, true);
    assert!(model.next().is_some(), "nothing of it lies there");
    let node = model.picture.view.nodes.values_mut().next().unwrap();
    (node.usable, node.dead) = (false, true);
    assert!(model.next().is_none());
}
