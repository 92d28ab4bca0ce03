//! Histories of small databases in memory, each of one kind of isolation: judged at its own level nothing is found, judged at
//! a stronger one the anomalies are found that this kind has.

#![expect(clippy::unwrap_used, reason = "a test")]

use quorate_check::{
    append::{self, History, Op, Transaction, Verdict},
    attempt::Outcome,
    finding::Anomaly,
    level::Level::{self, *},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One transaction after the other.
    Serial,
    /// The same, but those that only read may see an older state.
    Lagging,
    /// One snapshot for each transaction, and the first to commit wins.
    Snapshots,
    /// Every read sees what is committed; writers lock.
    Committed,
    /// Every read sees everything at once, also of those that fail then.
    Uncommitted,
}

type Lists = BTreeMap<i64, Vec<u64>>;

struct Model {
    kind: Kind,
    random: StdRng,
    /// The state after each commit; the last one is now.
    states: Vec<Lists>,
    locks: BTreeMap<i64, usize>,
    next: u64,
    keys: i64,
    /// One in so many fails by itself, and of one in so many the outcome is not told.
    trouble: u32,
}

struct Running {
    begun: u64,
    snapshot: usize,
    left: u32,
    did: Vec<Op>,
}

impl Running {
    fn own(&self) -> Vec<(i64, u64)> {
        let own = self.did.iter().filter_map(|op| match op {
            Op::Append { key, element } => Some((*key, *element)),
            Op::Read { .. } => None,
        });
        own.collect()
    }
}

impl Model {
    fn now(&mut self) -> &mut Lists {
        self.states.last_mut().unwrap()
    }

    fn begin(&mut self, time: u64) -> Running {
        let newest = self.states.len() - 1;
        Running { begun: time, snapshot: newest, left: self.random.random_range(1..5), did: Vec::new() }
    }

    fn read(&mut self, txn: &mut Running, key: i64) {
        let newest = self.states.len() - 1;
        let state = if matches!(self.kind, Kind::Snapshots | Kind::Lagging) { txn.snapshot } else { newest };
        let mut list = self.states[state].get(&key).cloned().unwrap_or_default();
        if self.kind != Kind::Uncommitted {
            list.extend(txn.own().iter().filter(|(of, _)| *of == key).map(|(_, element)| *element));
        }
        txn.did.push(Op::Read { key, list });
    }

    /// False if it cannot.
    fn append(&mut self, client: usize, txn: &mut Running, key: i64) -> bool {
        let element = self.next;
        self.next += 1;
        txn.did.push(Op::Append { key, element });
        match self.kind {
            Kind::Committed => *self.locks.entry(key).or_insert(client) == client,
            Kind::Uncommitted => {
                self.now().entry(key).or_default().push(element);
                true
            }
            _ => true,
        }
    }

    fn step(&mut self, client: usize, txn: &mut Running) -> bool {
        txn.left -= 1;
        let key = self.random.random_range(0..self.keys);
        if self.random.random_ratio(1, 2) {
            self.append(client, txn, key)
        } else {
            self.read(txn, key);
            true
        }
    }

    /// Whether it has committed.
    fn end(&mut self, client: usize, txn: &Running, willing: bool) -> bool {
        let own = txn.own();
        let newest = self.states.len() - 1;
        let beaten =
            |(key, _): &(i64, u64)| self.states[txn.snapshot].get(key) != self.states[newest].get(key);
        let commits = willing && !(self.kind == Kind::Snapshots && own.iter().any(beaten));
        self.locks.retain(|_, holder| *holder != client);
        if self.kind == Kind::Uncommitted {
            if !commits {
                for (key, element) in own {
                    self.now().entry(key).or_default().retain(|other| *other != element);
                }
            }
        } else if commits {
            let mut next = self.now().clone();
            for (key, element) in own {
                next.entry(key).or_default().push(element);
            }
            self.states.push(next);
        }
        commits
    }

    /// One at a time takes all its steps at once.
    fn is_serial(&self) -> bool {
        matches!(self.kind, Kind::Serial | Kind::Lagging)
    }
}

fn run(kind: Kind, seed: u64, keys: i64, steps: u64, trouble: u32) -> History {
    let random = StdRng::seed_from_u64(seed);
    let mut model =
        Model { kind, random, states: vec![Lists::new()], locks: BTreeMap::new(), next: 1, keys, trouble };
    let mut running: Vec<Option<Running>> = (0..4).map(|_| None).collect();
    let mut history = History::default();
    for time in 0..steps {
        let client = model.random.random_range(0..running.len());
        let Some(mut txn) = running[client].take() else {
            running[client] = Some(model.begin(time));
            continue;
        };
        if model.is_serial() {
            txn.snapshot = model.states.len() - 1;
        }
        let mut willing = true;
        if kind == Kind::Lagging && model.random.random_ratio(1, 4) {
            txn.snapshot = txn.snapshot.saturating_sub(3);
            let key = model.random.random_range(0..keys);
            model.read(&mut txn, key);
            txn.left = 0;
        }
        while txn.left > 0 && willing {
            willing = model.step(client, &mut txn);
            if !model.is_serial() {
                break;
            }
        }
        if willing && txn.left > 0 {
            running[client] = Some(txn);
            continue;
        }
        let trouble = model.trouble > 0 && model.random.random_ratio(1, model.trouble);
        let committed = model.end(client, &txn, willing && !trouble);
        let untold = model.trouble > 0 && model.random.random_ratio(1, model.trouble);
        let outcome = match (untold, committed) {
            (true, _) => Outcome::Unknown,
            (false, true) => Outcome::Committed,
            (false, false) => Outcome::Failed,
        };
        history.transactions.push(Transaction {
            client,
            begun: Duration::from_secs(txn.begun),
            ended: Duration::from_secs(time),
            outcome,
            did: txn.did,
        });
    }
    // What is still under way has no outcome, and may have been seen.
    for (client, txn) in running.into_iter().enumerate() {
        let Some(txn) = txn else { continue };
        let begun = Duration::from_secs(txn.begun);
        let ended = Duration::from_secs(steps);
        history.transactions.push(Transaction {
            client,
            begun,
            ended,
            outcome: Outcome::Unknown,
            did: txn.did,
        });
    }
    history.last = model.states.pop();
    history
}

fn judged(kind: Kind, level: Level, strict: bool) -> Vec<Verdict> {
    (0..40).map(|seed| append::judge(&run(kind, seed, 3, 400, 8), level, strict)).collect()
}

fn anomalies(verdicts: &[Verdict]) -> BTreeSet<Anomaly> {
    verdicts.iter().flat_map(|verdict| &verdict.findings).map(|finding| finding.anomaly).collect()
}

fn clean(kind: Kind, level: Level, strict: bool) {
    for (seed, verdict) in judged(kind, level, strict).iter().enumerate() {
        assert!(verdict.ww > 5 && verdict.wr > 5 && verdict.rw > 5, "seed {seed}: {verdict:?}");
        assert!(verdict.findings.is_empty(), "{kind:?}, seed {seed}, {}: {verdict:#?}", level.name());
    }
}

#[test]
fn a_serial_order_satisfies_everything() {
    Level::ALL.into_iter().for_each(|level| clean(Kind::Serial, level, true));
}

#[test]
fn snapshots_show_write_skew_and_nothing_else() {
    clean(Kind::Snapshots, RepeatableRead, true);
    clean(Kind::Snapshots, ReadCommitted, true);
    let verdicts = judged(Kind::Snapshots, Serializable, true);
    assert_eq!(anomalies(&verdicts), BTreeSet::from([Anomaly::WriteSkew]));
    let allowed: u64 = judged(Kind::Snapshots, RepeatableRead, true).iter().map(|v| v.allowed).sum();
    assert!(allowed > 0, "what was seen and is allowed is counted");
}

#[test]
fn reads_of_what_is_committed_show_no_snapshot() {
    clean(Kind::Committed, ReadCommitted, true);
    let found = anomalies(&judged(Kind::Committed, RepeatableRead, true));
    assert!(found.contains(&Anomaly::ReadSkew) && found.contains(&Anomaly::LostUpdate), "{found:?}");
}

#[test]
fn reads_of_what_is_not_committed_show_everything() {
    let found = anomalies(&judged(Kind::Uncommitted, ReadCommitted, true));
    let expected =
        [Anomaly::DirtyWrite, Anomaly::AbortedRead, Anomaly::IntermediateRead, Anomaly::IncompatibleOrders];
    assert!(found.is_superset(&BTreeSet::from(expected)), "{found:?}");
}

#[test]
fn reads_that_lag_behind_break_real_time_only() {
    clean(Kind::Lagging, Serializable, false);
    let verdicts = judged(Kind::Lagging, Serializable, true);
    let mut findings = verdicts.iter().flat_map(|verdict| &verdict.findings);
    assert!(anomalies(&verdicts).contains(&Anomaly::StaleRead));
    assert!(findings.all(|finding| finding.real_time), "{verdicts:#?}");
}

/// Whether some serial order of the transactions explains all that they read, and ends with what is there.
fn has_serial_order(left: &mut Vec<&Transaction>, state: &Lists, last: &Lists) -> bool {
    if left.is_empty() {
        return state == last;
    }
    for at in 0..left.len() {
        let txn = left.remove(at);
        let mut next = state.clone();
        let fits = txn.did.iter().all(|op| match op {
            Op::Append { key, element } => {
                let list = next.entry(*key).or_default();
                list.push(*element);
                last.get(key).is_some_and(|last| last.starts_with(list))
            }
            Op::Read { key, list } => next.get(key).map(Vec::as_slice).unwrap_or_default() == list,
        });
        let found = fits && has_serial_order(left, &next, last);
        left.insert(at, txn);
        if found {
            return true;
        }
    }
    false
}

/// A history has a cycle exactly if trying all orders finds none that explains it.
#[test]
fn cycles_are_what_no_serial_order_explains() {
    let (mut clean, mut wrong) = (0, 0);
    for seed in 0..3000 {
        let kind = [Kind::Serial, Kind::Snapshots, Kind::Committed][seed as usize % 3];
        let mut history = run(kind, seed, 2, 22, 0);
        let effective = |txn: &Transaction, last: &Lists| {
            let there = |op: &Op| match op {
                Op::Append { key, element } => last.get(key).is_some_and(|list| list.contains(element)),
                Op::Read { .. } => false,
            };
            txn.outcome == Outcome::Committed || txn.did.iter().any(there)
        };
        let last = history.last.clone().unwrap();
        history.transactions.retain(|txn| effective(txn, &last));
        let expected = has_serial_order(&mut history.transactions.iter().collect(), &Lists::new(), &last);
        let verdict = append::judge(&history, Serializable, false);
        assert_eq!(verdict.findings.is_empty(), expected, "seed {seed}: {history:#?} {verdict:#?}");
        *if expected { &mut clean } else { &mut wrong } += 1;
    }
    assert!(clean > 30 && wrong > 30, "{clean} clean ones, {wrong} wrong ones");
}
