//! Single keys that are read, written, and compared and set: is there, for each key, one order of these operations that fits
//! what was told and real time (Herlihy and Wing, 1990)? The search is that of Wing and Gong (1993), with the memory of the
//! states that were tried already (Lowe, 2017). Pure.

use crate::{
    attempt::{Attempt, Outcome},
    finding::{Anomaly, Finding},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub type Value = Option<i64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read {
        saw: Value,
    },
    Write {
        value: i64,
    },
    /// Sets `to` if there is `from`; `done` tells whether there was. Of unknown outcome it may be either.
    CompareAndSet {
        from: i64,
        to: i64,
        done: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Did {
    pub key: i64,
    pub action: Action,
}

/// The states of one key that are tried before it stays undecided.
const PATIENCE: usize = 100_000;

#[derive(Debug, Default)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    pub keys: u64,
    /// Keys whose search was given up.
    pub undecided: u64,
}

/// All keys are absent at first.
pub fn judge(history: &[Attempt<Did>]) -> Verdict {
    let mut keys: BTreeMap<i64, Vec<Operation>> = BTreeMap::new();
    for (at, attempt) in history.iter().enumerate() {
        keys.entry(attempt.did.key).or_default().extend(Operation::of(at, attempt));
    }
    let mut verdict = Verdict { keys: keys.len() as u64, ..Verdict::default() };
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.begun);
        match Search::new(&operations).run() {
            End::Fits => {}
            End::GivenUp => verdict.undecided += 1,
            End::Stuck { at, value } => verdict.findings.push(tell(history, key, &operations, at, value)),
        }
    }
    verdict
}

struct Operation {
    at: usize,
    begun: Duration,
    /// `None` if it may take effect at any later time, or never.
    ended: Option<Duration>,
    action: Action,
}

impl Operation {
    /// What failed has not happened; a read without an answer says nothing.
    fn of(at: usize, attempt: &Attempt<Did>) -> Option<Operation> {
        let action = attempt.did.action;
        let ended = match (attempt.outcome, action) {
            (Outcome::Committed, _) => Some(attempt.ended),
            (Outcome::Failed, _) | (Outcome::Unknown, Action::Read { .. }) => return None,
            (Outcome::Unknown, _) => None,
        };
        Some(Operation { at, begun: attempt.begun, ended, action })
    }

    /// The value behind it, if it can happen at this one.
    fn apply(&self, value: Value) -> Option<Value> {
        match self.action {
            Action::Read { saw } => (saw == value).then_some(value),
            Action::Write { value } => Some(Some(value)),
            Action::CompareAndSet { from, to, done } => {
                let fits = value == Some(from);
                let known = self.ended.is_some();
                (!known || fits == done).then_some(if fits { Some(to) } else { value })
            }
        }
    }
}

enum End {
    Fits,
    GivenUp,
    /// No order gets past the answer of this operation; the furthest ones had this value there.
    Stuck {
        at: usize,
        value: Value,
    },
}

/// A set of operations, by their places.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Placed(Vec<u64>);

impl Placed {
    fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn with(&self, at: usize) -> Placed {
        let mut with = self.clone();
        with.0[at / 64] |= 1 << (at % 64);
        with
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    /// What has been put in order, and the value behind it: however it came about, it goes on alike.
    tried: BTreeSet<(Placed, Value)>,
    /// The latest answer that some order did not get past.
    furthest: Option<(Duration, usize, Value)>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        Search { operations, tried: BTreeSet::new(), furthest: None }
    }

    fn run(mut self) -> End {
        let nothing = Placed(vec![0; self.operations.len().div_ceil(64)]);
        let mut due = vec![(nothing, None)];
        while let Some((placed, value)) = due.pop() {
            let Some((deadline, bound)) = self.first_answer(&placed) else { return End::Fits };
            if self.furthest.is_none_or(|(furthest, ..)| deadline > furthest) {
                self.furthest = Some((deadline, bound, value));
            }
            if self.tried.len() > PATIENCE {
                return End::GivenUp;
            }
            for at in self.candidates(&placed, deadline) {
                let Some(next) = self.operations[at].apply(value) else { continue };
                let with = placed.with(at);
                if self.tried.insert((with.clone(), next)) {
                    due.push((with, next));
                }
            }
        }
        match self.furthest {
            Some((_, at, value)) => End::Stuck { at, value },
            None => End::Fits,
        }
    }

    /// Who began before the first answer that is still due may be next; the most likely ones come last.
    fn candidates(&self, placed: &Placed, deadline: Duration) -> Vec<usize> {
        let begun =
            self.operations.iter().enumerate().take_while(|(_, operation)| operation.begun <= deadline);
        let mut open: Vec<usize> = begun.map(|(at, _)| at).filter(|at| !placed.contains(*at)).collect();
        open.sort_by_key(|at| std::cmp::Reverse(self.operations[*at].ended.unwrap_or(Duration::MAX)));
        open
    }

    /// The answered operation that must come before all that begin after its answer.
    fn first_answer(&self, placed: &Placed) -> Option<(Duration, usize)> {
        let open = self.operations.iter().enumerate().filter(|(at, _)| !placed.contains(*at));
        open.filter_map(|(at, operation)| Some((operation.ended?, at))).min()
    }
}

fn tell(history: &[Attempt<Did>], key: i64, operations: &[Operation], stuck: usize, value: Value) -> Finding {
    let describe = |operation: &Operation| {
        format!("T{} ({}): {:?}", operation.at, history[operation.at].told(), operation.action)
    };
    let last = &operations[stuck];
    let value = value.map_or("absent".to_owned(), |value| value.to_string());
    let mut story = vec![format!(
        "key {key}: no order of the operations explains all answers up to that of T{}; the furthest order had {value} there",
        last.at
    )];
    story.push(describe(last));
    let answer = last.ended.unwrap_or_default();
    let beside = operations.iter().filter(|o| o.at != last.at && o.begun <= answer);
    let mut beside: Vec<&Operation> = beside.collect();
    // The ones that ended long before are of no interest.
    beside.sort_by_key(|operation| std::cmp::Reverse(operation.ended.unwrap_or(Duration::MAX)));
    story.extend(beside.iter().take(8).map(|operation| describe(operation)));
    Finding::new(Anomaly::NotLinearizable, vec![last.at], story)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(begun: u64, ended: u64, outcome: Outcome, action: Action) -> Attempt<Did> {
        let (begun, ended) = (Duration::from_millis(begun), Duration::from_millis(ended));
        Attempt { client: 0, begun, ended, outcome, did: Did { key: 1, action } }
    }

    fn ok(begun: u64, ended: u64, action: Action) -> Attempt<Did> {
        attempt(begun, ended, Outcome::Committed, action)
    }

    fn write(value: i64) -> Action {
        Action::Write { value }
    }

    fn read(value: i64) -> Action {
        Action::Read { saw: Some(value) }
    }

    fn set(from: i64, to: i64, done: bool) -> Action {
        Action::CompareAndSet { from, to, done }
    }

    /// The operation whose answer nothing explains.
    fn stuck(history: &[Attempt<Did>]) -> Option<usize> {
        let verdict = judge(history);
        assert_eq!((verdict.keys, verdict.undecided), (1, 0));
        verdict.findings.first().map(|finding| finding.transactions[0])
    }

    #[test]
    fn one_order_is_enough() {
        let all = [ok(0, 10, write(1)), ok(5, 20, write(2)), ok(12, 30, read(1)), ok(31, 40, read(1))];
        assert_eq!(stuck(&all), None, "the second write may come first");
        let set_and_read =
            [ok(0, 1, write(1)), ok(2, 9, set(1, 2, true)), ok(2, 9, read(1)), ok(10, 11, read(2))];
        assert_eq!(stuck(&set_and_read), None);
        assert_eq!(stuck(&[ok(0, 1, Action::Read { saw: None }), ok(2, 3, set(1, 2, false))]), None);
    }

    #[test]
    fn a_stale_read_is_found() {
        assert_eq!(stuck(&[ok(0, 1, write(1)), ok(2, 3, write(2)), ok(4, 5, read(1))]), Some(2));
        assert_eq!(stuck(&[ok(0, 1, write(1)), ok(2, 3, Action::Read { saw: None })]), Some(1));
    }

    #[test]
    fn reads_do_not_go_back() {
        let all = [ok(0, 1, write(1)), ok(2, 20, write(2)), ok(3, 4, read(2)), ok(5, 6, read(1))];
        assert_eq!(stuck(&all), Some(3));
    }

    #[test]
    fn one_value_is_replaced_once() {
        let twice = [ok(0, 1, write(1)), ok(2, 9, set(1, 2, true)), ok(2, 9, set(1, 3, true))];
        assert!(stuck(&twice).is_some());
        let refused = [ok(0, 1, write(1)), ok(2, 3, set(1, 2, false))];
        assert_eq!(stuck(&refused), Some(1));
    }

    #[test]
    fn what_is_unknown_may_have_happened_at_any_later_time_or_not() {
        let unknown = |action| attempt(2, 3, Outcome::Unknown, action);
        let before = ok(0, 1, write(1));
        for later in [vec![read(1), read(1)], vec![read(1), read(2)], vec![read(2), read(2)]] {
            let reads = later.iter().zip([10, 20]).map(|(action, at)| ok(at, at + 1, *action));
            let with = |first: Action| -> Vec<_> {
                [before.clone(), unknown(first)].into_iter().chain(reads.clone()).collect()
            };
            assert_eq!(stuck(&with(write(2))), None, "{later:?}");
            assert_eq!(stuck(&with(set(1, 2, false))), None, "{later:?}");
        }
        let back = [before.clone(), unknown(write(2)), ok(10, 11, read(2)), ok(20, 21, read(1))];
        assert_eq!(stuck(&back), Some(3));
        let early = [ok(0, 1, read(2)), unknown(write(2))];
        assert_eq!(stuck(&early), Some(0), "nothing takes effect before it began");
    }

    #[test]
    fn what_failed_has_not_happened() {
        let failed = attempt(2, 3, Outcome::Failed, write(2));
        assert_eq!(stuck(&[ok(0, 1, write(1)), failed, ok(4, 5, read(2))]), Some(2));
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        let mut all: Vec<_> = (0..40).map(|n| attempt(0, 0, Outcome::Unknown, write(n))).collect();
        all.push(ok(1, 2, read(100)));
        let verdict = judge(&all);
        assert_eq!((verdict.undecided, verdict.findings.len()), (1, 0));
    }
}
