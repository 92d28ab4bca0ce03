//! Faults drawn from a seed.

use super::action::Action;
use crate::demo::Cluster;
use anyhow::{Result, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;

/// The sorts of faults to draw from.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kill,
    Pause,
    Restart,
    Partition,
    Loss,
    Latency,
    SlowDisk,
    Clock,
    FillDisk,
}

const ALL: [Kind; 9] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Restart,
    Kind::Partition,
    Kind::Loss,
    Kind::Latency,
    Kind::SlowDisk,
    Kind::Clock,
    Kind::FillDisk,
];

impl Kind {
    /// The option of `quorate demo` without which there is no such fault.
    fn needs(self) -> Option<&'static str> {
        match self {
            Kind::Kill | Kind::Pause | Kind::Restart => None,
            Kind::Partition | Kind::Loss => Some("--isolated"),
            Kind::Latency | Kind::SlowDisk | Kind::Clock => Some("--faults"),
            Kind::FillDisk => Some("--disk-size"),
        }
    }

    fn is_possible(self, cluster: &Cluster) -> bool {
        match self.needs() {
            Some("--isolated") => cluster.network.is_some(),
            Some("--faults") => cluster.nodes.iter().all(|node| node.fault_file().is_some()),
            Some(_) => cluster.disk_size.is_some(),
            None => true,
        }
    }
}

/// What was asked for; without that, all that this demo can suffer.
pub fn kinds(cluster: &Cluster, wanted: Vec<Kind>) -> Result<Vec<Kind>> {
    if let Some(kind) = wanted.iter().find(|kind| !kind.is_possible(cluster)) {
        bail!("{kind:?} needs a demo made with {}", kind.needs().unwrap_or_default());
    }
    let possible = || ALL.into_iter().filter(|kind| kind.is_possible(cluster)).collect();
    Ok(if wanted.is_empty() { possible() } else { wanted })
}

/// What a seed draws.
pub struct Draw(StdRng);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Draw(StdRng::seed_from_u64(seed))
    }

    /// Both ends among them.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.random_range(0..all.len())]
    }

    /// Some fault of one node, and how long it lasts: between a tenth and half of `every`.
    pub fn fault(&mut self, kinds: &[Kind], nodes: &[u64], every: Duration) -> (Action, Duration) {
        let (kind, node) = (self.among(kinds), self.among(nodes));
        let lasts = every / 100 * self.between(10, 50) as u32;
        let others = || nodes.iter().copied().filter(|other| *other != node).collect();
        let action = match kind {
            Kind::Kill => Action::Kill { node },
            Kind::Pause => Action::Pause { node },
            Kind::Restart => Action::Restart { node },
            Kind::Partition => {
                Action::Partition { cut: vec![node], from: others(), one_way: self.between(0, 2) == 0 }
            }
            Kind::Loss => Action::Loss { node, others: others(), percent: self.between(1, 30) as f64 },
            Kind::Latency => {
                let delay_ms = self.between(5, 100);
                Action::Latency { node, delay_ms, jitter_ms: self.between(0, delay_ms) }
            }
            Kind::SlowDisk => Action::SlowDisk { node, fsync_ms: self.between(5, 100) },
            Kind::Clock => self.clock(node),
            Kind::FillDisk => Action::FillDisk { node },
        };
        (action, lasts)
    }

    fn clock(&mut self, node: u64) -> Action {
        let (offset_us, rate) = match self.between(0, 3) {
            0 => (0, self.among(&[0.999, 1.001])),
            1 => (-(self.between(100, 500_000) as i64), 1.0),
            _ => (self.between(100, 500_000) as i64, 1.0),
        };
        Action::Clock { node, offset_us, rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again_and_in_the_end_all() {
        let every = Duration::from_secs(10);
        let drawn = |seed| {
            let mut draw = Draw::new(seed);
            (0..200).map(|_| draw.fault(&ALL, &[1, 2, 3], every)).collect::<Vec<_>>()
        };
        let (first, again) = (drawn(7), drawn(7));
        assert!(first == again && first != drawn(8));
        let sorts = first.iter().map(|(action, _)| std::mem::discriminant(action));
        let mut seen = Vec::new();
        sorts.for_each(|sort| {
            if !seen.contains(&sort) {
                seen.push(sort)
            }
        });
        assert_eq!(seen.len(), ALL.len());
        assert!(first.iter().all(|(_, lasts)| *lasts >= every / 10 && *lasts <= every / 2));
    }
}
