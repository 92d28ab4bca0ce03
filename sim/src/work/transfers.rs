//! What the clients saw, and whether any serial order explains it. Pure.
//!
//! Every account's row carries a sequence number that each writer raises by one, so the order of an account's versions is
//! known, and with it all dependencies between transactions: who wrote what the other read or replaced, and who read what
//! the other then replaced. A cycle among them has no serial order (Adya, "Weak Consistency", 1999). Real time adds the
//! rule that what was acknowledged before another began comes before it, told by the commit timestamps.

use super::ground::Told;
use quorate_proto::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Number of a transfer, unique in a run.
pub type TransferId = u64;

/// What one transaction did: for each account that it looked at, the sequence number of the version it read. What writers wrote,
/// their marks tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub reads: BTreeMap<u64, u64>,
    pub wrote: bool,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub id: TransferId,
    pub begun: Duration,
    pub ended: Duration,
    pub told: Told,
    pub seen: Seen,
}

#[derive(Default)]
pub struct History {
    pub records: Vec<Record>,
    /// Transfers whose mark was found in the end, with the sequence numbers that they wrote.
    pub marks: BTreeMap<TransferId, BTreeMap<u64, u64>>,
    /// Sequence number of each account in the end.
    pub last: BTreeMap<u64, u64>,
    /// Whether real time is promised (the clocks kept their bound).
    pub real_time: bool,
}

impl History {
    /// All contradictions found, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.acknowledged();
        let writers = self.writers(&mut problems);
        problems.extend(self.cycle(&writers));
        if self.real_time {
            problems.extend(self.order());
        }
        problems
    }

    /// What was acknowledged is there, what failed is not.
    fn acknowledged(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for record in self.records.iter().filter(|record| record.seen.wrote) {
            let found = self.marks.contains_key(&record.id);
            match record.told {
                Told::Committed(ts) if !found => {
                    problems.push(format!("transfer {} was acknowledged at {ts} and is lost", record.id));
                }
                Told::Failed if found => {
                    problems.push(format!("transfer {} was said to have failed and is there", record.id));
                }
                _ => {}
            }
        }
        problems
    }

    /// Who wrote each version of each account.
    fn writers(&self, problems: &mut Vec<String>) -> BTreeMap<(u64, u64), TransferId> {
        let mut writers = BTreeMap::new();
        for (&id, wrote) in &self.marks {
            for (&account, &sequence) in wrote {
                if let Some(other) = writers.insert((account, sequence), id) {
                    problems.push(format!(
                        "transfers {other} and {id} both wrote version {sequence} of account {account}: an update is lost"
                    ));
                }
            }
        }
        for (&account, &last) in &self.last {
            let known = writers.range((account, 0)..=(account, u64::MAX)).count() as u64;
            if known != last {
                problems
                    .push(format!("account {account} is at version {last}, but {known} transfers wrote it"));
            }
        }
        writers
    }

    /// A cycle of dependencies among the transactions that took effect.
    fn cycle(&self, writers: &BTreeMap<(u64, u64), TransferId>) -> Option<String> {
        let mut after: BTreeMap<TransferId, BTreeSet<TransferId>> = BTreeMap::new();
        let mut edge = |from: Option<&TransferId>, to: Option<&TransferId>| {
            if let (Some(&from), Some(&to)) = (from, to)
                && from != to
            {
                after.entry(from).or_default().insert(to);
            }
        };
        for record in &self.records {
            let took_effect = if record.seen.wrote {
                self.marks.contains_key(&record.id)
            } else {
                record.told != Told::Failed
            };
            if !took_effect {
                continue;
            }
            for (&account, &sequence) in &record.seen.reads {
                edge(writers.get(&(account, sequence)), Some(&record.id));
                edge(Some(&record.id), writers.get(&(account, sequence + 1)));
            }
        }
        // Versions follow one another whoever reported what.
        for (&(account, sequence), writer) in writers {
            edge(Some(writer), writers.get(&(account, sequence + 1)));
        }
        find_cycle(&after)
            .map(|cycle| format!("no serial order: transactions {cycle:?} depend on one another in a ring"))
    }

    /// What was acknowledged before another began has the lower timestamp.
    fn order(&self) -> Vec<String> {
        let mut committed: Vec<(&Record, Timestamp)> = self
            .records
            .iter()
            .filter_map(|record| match record.told {
                Told::Committed(ts) => Some((record, ts)),
                _ => None,
            })
            .collect();
        committed.sort_by_key(|(record, _)| record.begun);
        let mut ended: Vec<(&Record, Timestamp)> =
            committed.iter().filter(|(r, _)| r.seen.wrote).copied().collect();
        ended.sort_by_key(|(record, _)| record.ended);
        let mut problems = Vec::new();
        let mut floor: Option<(TransferId, Timestamp)> = None;
        let mut acknowledged = ended.into_iter().peekable();
        for (record, ts) in committed {
            while let Some((earlier, earlier_ts)) =
                acknowledged.next_if(|(other, _)| other.ended < record.begun)
            {
                if floor.is_none_or(|(_, highest)| highest < earlier_ts) {
                    floor = Some((earlier.id, earlier_ts));
                }
            }
            if let Some((earlier, earlier_ts)) = floor
                && (ts < earlier_ts || (record.seen.wrote && ts == earlier_ts))
            {
                problems.push(format!(
                    "transaction {} at {ts} began after {earlier} at {earlier_ts} was acknowledged, and precedes it",
                    record.id
                ));
            }
        }
        problems
    }
}

/// Some cycle of the graph (depth first, without recursion).
fn find_cycle(after: &BTreeMap<TransferId, BTreeSet<TransferId>>) -> Option<Vec<TransferId>> {
    let mut done = BTreeSet::new();
    for &start in after.keys() {
        if done.contains(&start) {
            continue;
        }
        let mut path = vec![start];
        let mut on_path = BTreeSet::from([start]);
        let successors = |node: TransferId| after.get(&node).into_iter().flatten().copied();
        let mut stack = vec![successors(start).collect::<Vec<_>>()];
        while let Some(candidates) = stack.last_mut() {
            match candidates.pop() {
                Some(next) if on_path.contains(&next) => {
                    let at = path.iter().position(|&node| node == next).unwrap_or(0);
                    return Some(path.split_off(at));
                }
                Some(next) if done.contains(&next) => {}
                Some(next) => {
                    path.push(next);
                    on_path.insert(next);
                    stack.push(successors(next).collect());
                }
                None => {
                    stack.pop();
                    if let Some(node) = path.pop() {
                        on_path.remove(&node);
                        done.insert(node);
                    }
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, told: Told, reads: &[(u64, u64)], wrote: bool) -> Record {
        let at = Duration::from_secs(id);
        let seen = Seen { reads: reads.iter().copied().collect(), wrote };
        Record { id, begun: at, ended: at + Duration::from_millis(500), told, seen }
    }

    fn history(records: Vec<Record>, marks: &[(u64, &[(u64, u64)])]) -> History {
        let marks: BTreeMap<_, BTreeMap<_, _>> =
            marks.iter().map(|(id, wrote)| (*id, wrote.iter().copied().collect())).collect();
        let mut last = BTreeMap::new();
        for wrote in marks.values() {
            for (&account, &sequence) in wrote {
                let highest: &mut u64 = last.entry(account).or_default();
                *highest = sequence.max(*highest);
            }
        }
        History { records, marks, last, real_time: true }
    }

    fn committed(ts: u64) -> Told {
        Told::Committed(Timestamp(ts))
    }

    #[test]
    fn a_clean_run_is_clean() {
        let records = vec![
            record(1, committed(10), &[(1, 0), (2, 0)], true),
            record(2, Told::Unknown, &[(2, 1), (3, 0)], true),
            record(3, committed(30), &[(1, 1), (2, 2), (3, 1)], false),
            record(4, Told::Failed, &[(1, 1), (2, 2)], true),
        ];
        let marks: &[(u64, &[(u64, u64)])] = &[(1, &[(1, 1), (2, 1)]), (2, &[(2, 2), (3, 1)])];
        assert_eq!(history(records, marks).problems(), Vec::<String>::new());
    }

    #[test]
    fn every_sort_of_damage_is_found() {
        let lost = history(vec![record(1, committed(10), &[(1, 0)], true)], &[]);
        assert!(lost.problems()[0].contains("is lost"));
        let ghost = history(vec![record(1, Told::Failed, &[(1, 0)], true)], &[(1, &[(1, 1)])]);
        assert!(ghost.problems()[0].contains("is there"));
        let overwritten = history(
            vec![record(1, committed(1), &[(1, 0)], true), record(2, committed(2), &[(1, 0)], true)],
            &[(1, &[(1, 1)]), (2, &[(1, 1)])],
        );
        assert!(overwritten.problems().iter().any(|problem| problem.contains("lost")));
        // Write skew: each read what the other then replaced.
        let skew = history(
            vec![
                record(1, committed(1), &[(1, 0), (2, 0)], true),
                record(2, committed(2), &[(1, 0), (2, 0)], true),
            ],
            &[(1, &[(1, 1)]), (2, &[(2, 1)])],
        );
        assert!(skew.problems().iter().any(|problem| problem.contains("ring")), "{:?}", skew.problems());
        // A reader that saw one half of a transfer.
        let torn = history(
            vec![
                record(1, committed(1), &[(1, 0), (2, 0)], true),
                record(2, committed(2), &[(1, 1), (2, 0)], false),
            ],
            &[(1, &[(1, 1), (2, 1)])],
        );
        assert!(torn.problems().iter().any(|problem| problem.contains("ring")));
        let late = history(
            vec![record(1, committed(20), &[(1, 0)], true), record(2, committed(10), &[(2, 0)], true)],
            &[(1, &[(1, 1)]), (2, &[(2, 1)])],
        );
        assert!(late.problems().iter().any(|problem| problem.contains("precedes")));
        let missing = History { last: BTreeMap::from([(7, 3)]), ..history(Vec::new(), &[]) };
        assert!(missing.problems()[0].contains("version 3"));
    }
}
