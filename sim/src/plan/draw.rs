//! Drawing a plan. A crash of a leader and a partition come first in every run; of the other sorts of trouble each seed leaves
//! out a drawn half, so that those that are left meet one another more often than if all were mixed (Groce et al., "Swarm
//! Testing", 2012). In one run of ten a single sort strikes, many times.

use super::{Change, Outage, Plan, Step, Trouble};
use crate::work::bank::ACCOUNTS;
use quorate_env::sim::NetworkFaults;
use quorate_storage::Family;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{ops::Range, time::Duration};

type Sort = fn(&mut Draw) -> Trouble;

const TROUBLES: [Sort; 12] = [
    Draw::leader_crash,
    Draw::crash,
    Draw::crash_of_all,
    Draw::crash_in_partition,
    Draw::partition,
    Draw::one_way_cut,
    Draw::pair_cut,
    Draw::sides,
    Draw::bad_network,
    Draw::pause,
    Draw::slow_disk,
    Draw::clock_shift,
];

/// Whose rows do not read back, each as likely. (Not what a node knows of itself: with that it would not start again.)
const BAD: [Family; 4] = [Family::Data, Family::Data, Family::Intent, Family::Record];

struct Draw {
    rng: StdRng,
    nodes: u64,
}

/// The plan of a seed, for so many nodes.
pub fn draw(seed: u64, nodes: u64) -> Plan {
    let mut draw = Draw { rng: StdRng::seed_from_u64(seed ^ 0x706c_616e), nodes };
    // Beyond their bound, in one run of ten.
    let jumps: &[Sort] = if seed % 5 == 4 { &[Draw::clock_jump] } else { &[] };
    // Of every fourth seed only, so that the others' plans stay what they were.
    let full: &[Sort] = if seed % 4 == 1 { &[Draw::full_disk] } else { &[] };
    let troubles = draw.swarm(&[&TROUBLES, jumps, full].concat());
    let moves: &[Sort] = if nodes > 3 { &[Draw::relocation] } else { &[] };
    let operations = draw.half(&[&[Draw::split, Draw::hand_over], moves].concat());
    let rounds = if troubles.len() == 1 { draw.range(8..16) } else { draw.range(4..12) };
    // Once at most: with one more node away, half of them would be, and nobody could compare clocks.
    let replacement = draw.chance(0.2).then(|| draw.range(0..rounds));
    let mut steps = Vec::new();
    for round in 0..rounds {
        let mut pause = draw.millis(200..1500);
        while !operations.is_empty() && draw.chance(0.4) {
            steps.push((pause, draw.one(&operations)));
            pause = draw.millis(0..300);
        }
        if Some(round) == replacement {
            steps.push((pause, Trouble::Replacement { node: draw.node() }));
            pause = draw.millis(0..3000);
        }
        let trouble = match round {
            0 => draw.leader_crash(),
            1 => draw.partition(),
            _ => draw.one(&troubles),
        };
        steps.push((pause, trouble));
    }
    let steps = draw.with_merges(seed, steps);
    let steps = if replacement.is_none() { draw.with_bad_blocks(seed, steps) } else { steps };
    let steps = draw.with_departure(seed, steps);
    let numbered = (1..).zip(steps).map(|(number, (pause, trouble))| Step { number, pause, trouble });
    Plan { steps: numbered.collect(), rest: Duration::ZERO, overlapping: draw.chance(0.5) }
}

impl Draw {
    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn range(&mut self, range: Range<u64>) -> u64 {
        self.rng.random_range(range)
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.range(range))
    }

    fn one(&mut self, sorts: &[Sort]) -> Trouble {
        let at = self.range(0..sorts.len() as u64);
        sorts[at as usize](self)
    }

    /// Each with an even chance, perhaps none.
    fn half(&mut self, sorts: &[Sort]) -> Vec<Sort> {
        sorts.iter().copied().filter(|_| self.chance(0.5)).collect()
    }

    /// A half, or one alone.
    fn swarm(&mut self, sorts: &[Sort]) -> Vec<Sort> {
        let alone = sorts[self.range(0..sorts.len() as u64) as usize];
        let half = self.half(sorts);
        if half.is_empty() || self.chance(0.1) { vec![alone] } else { half }
    }

    fn node(&mut self) -> u64 {
        self.range(0..self.nodes)
    }

    /// There are four at first, and more with each split.
    fn shard(&mut self) -> u64 {
        self.range(0..8)
    }

    fn surviving(&mut self) -> u64 {
        self.range(0..1001)
    }

    fn outage(&mut self) -> Outage {
        let polls = if self.chance(0.5) { self.range(1..500) } else { 0 };
        Outage { polls, down: self.millis(50..4000), surviving: self.surviving() }
    }

    fn leader_crash(&mut self) -> Trouble {
        Trouble::LeaderCrash { shard: self.shard(), outage: self.outage() }
    }

    fn crash(&mut self) -> Trouble {
        Trouble::Crash { node: self.node(), outage: self.outage() }
    }

    fn crash_of_all(&mut self) -> Trouble {
        let down = self.millis(50..1000);
        Trouble::CrashOfAll { down, surviving: (0..self.nodes).map(|_| self.surviving()).collect() }
    }

    fn crash_in_partition(&mut self) -> Trouble {
        Trouble::CrashInPartition { cut_off: self.node(), crashed: self.node(), outage: self.outage() }
    }

    fn partition(&mut self) -> Trouble {
        Trouble::Partition { shard: self.shard(), lasts: self.millis(500..6000) }
    }

    fn one_way_cut(&mut self) -> Trouble {
        let from = self.node();
        let to = (from + self.range(1..self.nodes)) % self.nodes;
        Trouble::OneWayCut { from, to, lasts: self.millis(500..6000) }
    }

    fn pair_cut(&mut self) -> Trouble {
        let one = self.node();
        let other = (one + self.range(1..self.nodes)) % self.nodes;
        Trouble::PairCut { one, other, lasts: self.millis(500..6000) }
    }

    fn sides(&mut self) -> Trouble {
        let nodes = self.range(1..self.nodes);
        Trouble::Sides { node: self.node(), nodes, lasts: self.millis(500..6000) }
    }

    fn bad_network(&mut self) -> Trouble {
        let longest = self.millis(1..20);
        let mut share = |most| self.range(0..most) as f64 / 1000.0;
        let faults = NetworkFaults {
            delay: Duration::from_micros(50)..longest,
            late: share(20),
            loss: share(50),
            duplicate: share(50),
            reorder: share(200),
        };
        Trouble::BadNetwork { faults, lasts: self.millis(1000..5000) }
    }

    fn pause(&mut self) -> Trouble {
        Trouble::Pause { shard: self.shard(), lasts: self.millis(100..5000) }
    }

    fn slow_disk(&mut self) -> Trouble {
        Trouble::SlowDisk { node: self.node(), times: self.range(10..400), lasts: self.millis(500..4000) }
    }

    fn full_disk(&mut self) -> Trouble {
        let (node, nodes) = (self.node(), self.range(1..self.nodes + 1));
        Trouble::FullDisk { node, nodes, stuck: self.chance(0.7), lasts: self.millis(500..6000) }
    }

    fn clock_jump(&mut self) -> Trouble {
        let far = self.range(1_000..2_000_000) as i64;
        let micros = if self.chance(0.5) { far } else { -far };
        Trouble::ClockJump { node: self.node(), micros, lasts: self.millis(500..4000) }
    }

    fn clock_shift(&mut self) -> Trouble {
        let share = self.range(0..201) as i64 - 100;
        Trouble::ClockShift { node: self.node(), share, lasts: self.millis(500..6000) }
    }

    fn split(&mut self) -> Trouble {
        if self.chance(0.4) {
            let change = Change::SplitWork { workload: self.range(0..3), at: self.range(0..256) as u8 };
            return Trouble::Operation { asker: self.node(), change };
        }
        let account = self.range(0..ACCOUNTS);
        let mark = self.chance(0.5).then(|| self.range(0..500));
        Trouble::Operation { asker: self.node(), change: Change::Split { account, mark } }
    }

    fn hand_over(&mut self) -> Trouble {
        let change = Change::HandOver { shard: self.shard(), replica: self.range(0..3) };
        Trouble::Operation { asker: self.node(), change }
    }

    /// In every other run shards are merged in between. A generator of its own draws that: what else goes wrong stays what it was.
    fn with_merges(&mut self, seed: u64, steps: Vec<(Duration, Trouble)>) -> Vec<(Duration, Trouble)> {
        self.rng = StdRng::seed_from_u64(seed ^ 0x6d65_7267);
        if self.chance(0.5) {
            return steps;
        }
        let mut all = Vec::new();
        for step in steps {
            all.push(step);
            while self.chance(0.4) {
                let change = Change::Merge { shard: self.shard() };
                all.push((self.millis(0..300), Trouble::Operation { asker: self.node(), change }));
            }
        }
        all
    }

    /// In one run of four one disk goes bad, block by block. (A second one could take a shard's quorum for good, and so could a
    /// node that is gone.)
    fn with_bad_blocks(&mut self, seed: u64, steps: Vec<(Duration, Trouble)>) -> Vec<(Duration, Trouble)> {
        self.rng = StdRng::seed_from_u64(seed ^ 0x6261_6462);
        if self.chance(0.75) {
            return steps;
        }
        let node = self.node();
        let mut all = Vec::new();
        for step in steps {
            all.push(step);
            if self.chance(0.3) {
                let family = BAD[self.range(0..BAD.len() as u64) as usize];
                let place = self.range(0..10_000);
                all.push((self.millis(0..300), Trouble::BadBlock { node, family, place }));
            }
        }
        all
    }

    /// With more than three nodes one of them leaves, in every other run.
    fn with_departure(&mut self, seed: u64, mut steps: Vec<(Duration, Trouble)>) -> Vec<(Duration, Trouble)> {
        self.rng = StdRng::seed_from_u64(seed ^ 0x6c65_6176);
        if self.nodes > 3 && self.chance(0.5) {
            let at = self.range(0..steps.len() as u64 + 1) as usize;
            let departure = (self.millis(0..300), Trouble::Departure { node: self.node() });
            steps.insert(at, departure);
        }
        steps
    }

    fn relocation(&mut self) -> Trouble {
        let change = Change::Move { shard: self.shard(), replica: self.range(0..3), to: self.node() };
        Trouble::Operation { asker: self.node(), change }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn is_operation(step: &&Step) -> bool {
        matches!(
            step.trouble,
            Trouble::Operation { .. }
                | Trouble::Replacement { .. }
                | Trouble::Departure { .. }
                | Trouble::BadBlock { .. }
        )
    }

    #[test]
    fn a_leaders_crash_and_a_partition_come_first() {
        for seed in 0..100 {
            let plan = draw(seed, 3);
            let first: Vec<_> = plan.steps.iter().filter(|step| !is_operation(step)).take(2).collect();
            assert!(matches!(first[0].trouble, Trouble::LeaderCrash { .. }));
            assert!(matches!(first[1].trouble, Trouble::Partition { .. }));
        }
    }

    #[test]
    fn each_seed_leaves_sorts_out_and_no_sort_is_left_out_by_all() {
        let (mut seeds, mut alone) = (BTreeMap::new(), 0);
        for seed in 0..400 {
            let plan = draw(seed, 4);
            let sorts: BTreeSet<_> = plan.steps.iter().map(|step| step.trouble.name()).collect();
            let drawn = plan.steps.iter().filter(|step| !is_operation(step)).skip(2);
            let drawn: Vec<_> = drawn.map(|step| step.trouble.name()).collect();
            alone += usize::from(drawn.len() > 3 && drawn.iter().all(|name| *name == drawn[0]));
            sorts.into_iter().for_each(|sort| *seeds.entry(sort).or_insert(0) += 1);
        }
        assert_eq!(seeds.len(), 21, "{seeds:?}");
        assert!(seeds.values().all(|seeds| *seeds > 10), "{seeds:?}");
        assert!((20..100).contains(&alone), "{alone}");
    }
}
