//! What splits, merges and balances by itself, with thresholds that a run's little data and load cross.

use super::{Draw, Knobs};
use quorate_proto::placement::{Constraint, PlacementChange};
use rand::Rng;
use std::time::Duration;

/// Values of cluster settings.
#[derive(Clone, Debug)]
pub struct Schedulers(pub Vec<(&'static str, String)>);

impl Schedulers {
    /// Nothing happens by itself.
    pub fn off() -> Self {
        Schedulers(vec![("placement.moves", "0".into())])
    }

    pub fn are_on(&self) -> bool {
        self.0.len() > 1
    }
}

/// In half of the runs; in the others, shards change by the plan alone.
pub fn draw(draw: &mut Draw, knobs: &mut Knobs) {
    if !draw.chance(0.5) {
        return;
    }
    let rng = &mut draw.0;
    let kib = |kib: u64| format!("{kib}KiB");
    let size = rng.random_range(2..20);
    let mut settings = vec![
        ("placement.moves", rng.random_range(1..5).to_string()),
        ("placement.look_every", format!("{}ms", rng.random_range(200..2000))),
        ("placement.split_size", kib(size)),
        ("placement.split_load", rng.random_range(16..200).to_string()),
        ("placement.split_floor", kib(1)),
        ("placement.merge_size", kib(size)),
        ("placement.merge_load", rng.random_range(5..100).to_string()),
        ("placement.merge_after", format!("{}s", rng.random_range(1..6))),
    ];
    let switches = [
        "placement.split_by_size",
        "placement.split_by_load",
        "placement.merge",
        "placement.balance_replicas",
        "placement.balance_leaders",
    ];
    let off = switches.into_iter().filter(|_| rng.random_bool(0.15));
    settings.extend(off.map(|name| (name, "off".to_owned())));
    knobs.schedulers = Schedulers(settings);
    knobs.shard.cut_from = 512;
    knobs.shard.size_interval = Duration::from_millis(draw.0.random_range(200..3000));
    // Last, so that nothing else of a run depends on it.
    if draw.chance(0.5) {
        knobs.zones = draw.0.random_range(2..4);
        knobs.placing = placing(draw, knobs.nodes);
    }
}

/// In half of these runs somebody asks for places: never so that a shard has fewer copies than it is to survive with, nor more than
/// there are nodes.
fn placing(draw: &mut Draw, nodes: u64) -> Option<PlacementChange> {
    let zone = |draw: &mut Draw| ("zone".to_owned(), draw.0.random_range(0..2).to_string());
    draw.chance(0.5).then(|| PlacementChange {
        replicas: Some(if draw.chance(0.3) && nodes >= 5 { 5 } else { 3 }),
        constraints: Some(vec![Constraint { tier: zone(draw), copies: Some(draw.0.random_range(1..3)) }]),
        leaders: Some(vec![zone(draw)]),
    })
}
