//! A plan in words.

use super::{Change, Outage, Step, Trouble};
use std::fmt;

/// Its place in a row, counted from 1.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = ["th", "st", "nd", "rd"].get(self.0 as usize + 1).unwrap_or(&"th");
        write!(f, "{}{ending}", self.0 + 1)
    }
}

fn percent(thousandths: u64) -> String {
    format!("{:.1} %", thousandths as f64 / 10.0)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:3}. after {:?}: {}", self.number, self.pause, self.trouble)
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.polls {
            0 => write!(f, "at once")?,
            polls => write!(f, "at await point {polls}")?,
        }
        write!(f, ", down for {:?}, {} of waiting log writes survive", self.down, percent(self.surviving))
    }
}

impl Trouble {
    /// The sort of trouble that it is.
    pub fn name(&self) -> &'static str {
        match self {
            Trouble::LeaderCrash { .. } => "leader crash",
            Trouble::Crash { .. } => "crash",
            Trouble::CrashOfAll { .. } => "crash of all",
            Trouble::CrashInPartition { .. } => "crash in a partition",
            Trouble::Partition { .. } => "partition",
            Trouble::OneWayCut { .. } => "one-way cut",
            Trouble::PairCut { .. } => "cut pair",
            Trouble::Sides { .. } => "two sides",
            Trouble::BadNetwork { .. } => "bad network",
            Trouble::Pause { .. } => "pause",
            Trouble::SlowDisk { .. } => "slow disk",
            Trouble::FullDisk { .. } => "full disk",
            Trouble::BadBlock { .. } => "bad block",
            Trouble::ClockJump { .. } => "clock jump",
            Trouble::ClockShift { .. } => "clock shift",
            Trouble::Replacement { .. } => "replacement",
            Trouble::Departure { .. } => "departure",
            Trouble::Operation { change: Change::Split { .. } | Change::SplitWork { .. }, .. } => "split",
            Trouble::Operation { change: Change::HandOver { .. }, .. } => "hand-over",
            Trouble::Operation { change: Change::Move { .. }, .. } => "move",
            Trouble::Operation { change: Change::Merge { .. }, .. } => "merge",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        match self {
            Trouble::LeaderCrash { shard, outage } => {
                write!(f, "the leader of the {} shard {outage}", Place(*shard))
            }
            Trouble::Crash { node, outage } => write!(f, "node {} {outage}", node + 1),
            Trouble::CrashOfAll { down, surviving } => {
                let shares: Vec<String> = surviving.iter().map(|share| percent(*share)).collect();
                write!(f, "down for {down:?}, {} of waiting log writes survive", shares.join(", "))
            }
            Trouble::CrashInPartition { cut_off, crashed, outage } => {
                write!(f, "node {} is cut off, node {} crashes {outage}", cut_off + 1, crashed + 1)
            }
            Trouble::Partition { shard, lasts } => {
                write!(f, "the leader of the {} shard is cut off for {lasts:?}", Place(*shard))
            }
            Trouble::OneWayCut { from, to, lasts } => {
                write!(f, "nothing gets from node {} to node {} for {lasts:?}", from + 1, to + 1)
            }
            Trouble::PairCut { one, other, lasts } => {
                write!(f, "nodes {} and {} do not reach each other for {lasts:?}", one + 1, other + 1)
            }
            Trouble::Sides { node, nodes, lasts } => {
                let node = node + 1;
                write!(f, "{nodes} of the nodes, from node {node} on, are cut off for {lasts:?}")
            }
            Trouble::BadNetwork { faults, lasts } => {
                let share = |of: f64| percent((of * 1000.0).round() as u64);
                write!(
                    f,
                    "messages take up to {:?}, {} come late, {} are lost, {} come twice, {} overtake others, for {lasts:?}",
                    faults.delay.end,
                    share(faults.late),
                    share(faults.loss),
                    share(faults.duplicate),
                    share(faults.reorder),
                )
            }
            Trouble::Pause { shard, lasts } => {
                write!(f, "the leader of the {} shard is held up for {lasts:?}", Place(*shard))
            }
            Trouble::SlowDisk { node, times, lasts } => {
                write!(f, "node {} syncs {times} times slower for {lasts:?}", node + 1)
            }
            Trouble::FullDisk { node, nodes, stuck, lasts } => {
                let left = if *stuck { "nothing" } else { "only the reserve" };
                let node = node + 1;
                write!(f, "{nodes} of the nodes, from node {node} on, have {left} left for {lasts:?}")
            }
            Trouble::BadBlock { node, family, place } => {
                let (place, node) = (Place(*place), node + 1);
                write!(f, "{family:?} rows from the {place} on do not read back on node {node}")
            }
            Trouble::ClockJump { node, micros, lasts } => {
                write!(f, "node {}'s clock is {micros} µs off for {lasts:?}", node + 1)
            }
            Trouble::ClockShift { node, share, lasts } => {
                let share = *share as f64 / 10.0;
                write!(f, "node {}'s clock is {share} % of its bound off for {lasts:?}", node + 1)
            }
            Trouble::Replacement { node } => {
                write!(f, "node {} is gone for good, and a new one comes in its place", node + 1)
            }
            Trouble::Departure { node } => write!(f, "node {} is decommissioned", node + 1),
            Trouble::Operation { asker, change } => write!(f, "{change}, asked by node {}", asker + 1),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Split { account, mark: None } => write!(f, "at account {account}"),
            Change::Split { account, mark: Some(mark) } => write!(f, "at mark {mark} of account {account}"),
            Change::SplitWork { workload, at } => {
                write!(f, "at {at:#04x} of the {} workload's keys", Place(*workload))
            }
            Change::HandOver { shard, replica } => {
                write!(f, "the {} shard, to its {} replica", Place(*shard), Place(*replica))
            }
            Change::Merge { shard } => write!(f, "the {} shard, with the one before it", Place(*shard)),
            Change::Move { shard, replica, to } => write!(
                f,
                "the {} shard, its {} replica, to the {} node outside",
                Place(*shard),
                Place(*replica),
                Place(*to)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_step_reads_well() {
        let outage = Outage { polls: 312, down: Duration::from_millis(1250), surviving: 405 };
        let trouble = Trouble::LeaderCrash { shard: 1, outage };
        let step = Step { number: 3, pause: Duration::from_millis(850), trouble };
        assert_eq!(
            step.to_string(),
            "  3. after 850ms: leader crash: the leader of the 2nd shard at await point 312, down for 1.25s, \
             40.5 % of waiting log writes survive"
        );
        let places: Vec<String> = (0..5).map(|place| Place(place).to_string()).collect();
        assert_eq!(places, ["1st", "2nd", "3rd", "4th", "5th"]);
    }
}
