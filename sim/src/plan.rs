//! What goes wrong in a run: a list of numbered steps, drawn from the seed before anything runs (`draw`), so that some can be
//! left out without a change to the others.

mod draw;
mod words;

pub use draw::draw;

use crate::work::bank;
use quorate_env::sim::NetworkFaults;
use quorate_proto::Key;
use quorate_storage::Family;
use std::{collections::BTreeSet, time::Duration};

#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Passes after the last one.
    pub rest: Duration,
    /// A trouble does not wait for the end of those of other sorts.
    pub overlapping: bool,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// From 1 on; it stays with the step when others are left out.
    pub number: u64,
    /// Passes before it.
    pub pause: Duration,
    pub trouble: Trouble,
}

/// Nodes and shards stand here by their places, counted round: of four shards the fifth is the first again. Which node leads is
/// seen when the trouble strikes.
#[derive(Clone, Debug)]
pub enum Trouble {
    LeaderCrash {
        shard: u64,
        outage: Outage,
    },
    Crash {
        node: u64,
        outage: Outage,
    },
    CrashOfAll {
        down: Duration,
        surviving: Vec<u64>,
    },
    CrashInPartition {
        cut_off: u64,
        crashed: u64,
        outage: Outage,
    },
    Partition {
        shard: u64,
        lasts: Duration,
    },
    OneWayCut {
        from: u64,
        to: u64,
        lasts: Duration,
    },
    /// Two nodes do not reach each other, and all others do.
    PairCut {
        one: u64,
        other: u64,
        lasts: Duration,
    },
    /// So many nodes, from one on, reach each other and none of the others.
    Sides {
        node: u64,
        nodes: u64,
        lasts: Duration,
    },
    BadNetwork {
        faults: NetworkFaults,
        lasts: Duration,
    },
    Pause {
        shard: u64,
        lasts: Duration,
    },
    SlowDisk {
        node: u64,
        times: u64,
        lasts: Duration,
    },
    /// Of so many nodes, from one on. Where it is not stuck there is some space left, which nobody ought to touch.
    FullDisk {
        node: u64,
        nodes: u64,
        stuck: bool,
        lasts: Duration,
    },
    /// Some neighbouring rows of one disk do not read back any more.
    BadBlock {
        node: u64,
        family: Family,
        place: u64,
    },
    ClockJump {
        node: u64,
        micros: i64,
        lasts: Duration,
    },
    /// By so many thousandths of ε: within what is promised.
    ClockShift {
        node: u64,
        share: i64,
        lasts: Duration,
    },
    /// A node is gone for good, and one that was never seen before comes in its place.
    Replacement {
        node: u64,
    },
    /// A node is decommissioned.
    Departure {
        node: u64,
    },
    Operation {
        asker: u64,
        change: Change,
    },
}

/// A node loses its power.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// At which of its tasks' next await points; 0: at once.
    pub polls: u64,
    pub down: Duration,
    /// Thousandths of the log's waiting writes.
    pub surviving: u64,
}

/// What the driver is asked for.
#[derive(Clone, Debug)]
pub enum Change {
    Split {
        account: u64,
        mark: Option<u64>,
    },
    /// Within the keys of a workload beside the bank.
    SplitWork {
        workload: u64,
        at: u8,
    },
    HandOver {
        shard: u64,
        replica: u64,
    },
    Move {
        shard: u64,
        replica: u64,
        to: u64,
    },
    /// With its left neighbour.
    Merge {
        shard: u64,
    },
}

impl Change {
    /// Where a split divides.
    pub fn key(account: u64, mark: Option<u64>) -> Key {
        bank::key(account, mark)
    }
}

impl Plan {
    /// Leaves steps out. Their pauses stay, so that clients work and fault points fire for as long as before; what would have
    /// passed within them does not.
    pub fn leave_out(&mut self, numbers: &BTreeSet<u64>) {
        let mut pause = Duration::ZERO;
        for mut step in std::mem::take(&mut self.steps) {
            pause += step.pause;
            if !numbers.contains(&step.number) {
                step.pause = std::mem::take(&mut pause);
                self.steps.push(step);
            }
        }
        self.rest += pause;
    }

    /// Whether a clock leaves its bound: real-time order is not promised then.
    pub fn breaks_clocks(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.trouble, Trouble::ClockJump { .. }))
    }

    /// A node leaves, and none is gone for good.
    pub fn has_departure_alone(&self) -> bool {
        let any = |is: fn(&Trouble) -> bool| self.steps.iter().any(|step| is(&step.trouble));
        any(|trouble| matches!(trouble, Trouble::Departure { .. }))
            && !any(|trouble| matches!(trouble, Trouble::Replacement { .. }))
    }

    /// The plan in words, a line a step.
    pub fn lines(&self) -> Vec<String> {
        self.steps.iter().map(|step| format!("{step}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step's words, without its pause.
    fn troubles(plan: &Plan) -> Vec<(u64, String)> {
        plan.steps.iter().map(|step| (step.number, step.trouble.to_string())).collect()
    }

    fn length(plan: &Plan) -> Duration {
        plan.rest + plan.steps.iter().map(|step| step.pause).sum::<Duration>()
    }

    #[test]
    fn a_step_that_is_left_out_changes_no_other() {
        for seed in 0..50 {
            let whole = draw(seed, 4);
            let numbers: BTreeSet<u64> =
                (1..=whole.steps.len() as u64).filter(|n| (n * seed) % 3 == 0).collect();
            let mut part = draw(seed, 4);
            part.leave_out(&numbers);
            let expected: Vec<_> =
                troubles(&whole).into_iter().filter(|(n, _)| !numbers.contains(n)).collect();
            assert_eq!(troubles(&part), expected);
            assert_eq!(length(&part), length(&whole));
        }
    }
}
