//! What every log must do.

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use quorate_proto::{LogPosition, ReplicaId, ShardId};
use quorate_storage::{
    Done, FileLog, FileLogOptions, GroupKey, LogEntry, LogState, LogStore, MemLog, StorageError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// A log under test, and how to start its process anew after everything so far has become durable.
struct Subject {
    log: Arc<dyn LogStore>,
    reopen: Box<dyn Fn(Arc<dyn LogStore>) -> Arc<dyn LogStore>>,
    _dir: Option<tempfile::TempDir>,
}

impl Subject {
    fn reopen(mut self) -> Self {
        self.log = (self.reopen)(self.log);
        self
    }
}

fn mem() -> Subject {
    let log = MemLog::new();
    let handle = log.clone();
    let reopen = move |_| -> Arc<dyn LogStore> {
        handle.sync();
        handle.crash(0);
        Arc::new(handle.reopen(None))
    };
    Subject { log: Arc::new(log), reopen: Box::new(reopen), _dir: None }
}

/// Its syncs run on another thread, a moment later.
fn mem_delayed() -> Subject {
    let (order, orders) = channel::<Box<dyn FnOnce() + Send>>();
    std::thread::Builder::new()
        .spawn(move || {
            for sync in orders {
                std::thread::sleep(std::time::Duration::from_micros(50));
                sync();
            }
        })
        .unwrap();
    let order = Mutex::new(order);
    let log = MemLog::with_delay(Arc::new(move |sync| order.lock().send(sync).unwrap()));
    let handle = log.clone();
    let reopen = move |_| -> Arc<dyn LogStore> {
        handle.sync();
        handle.crash(0);
        Arc::new(handle.clone())
    };
    Subject { log: Arc::new(log), reopen: Box::new(reopen), _dir: None }
}

/// With segments and a cache so small that both matter.
fn file() -> Subject {
    // In memory where that exists: thousands of fsyncs would tell nothing more.
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = dir.path().to_owned();
    let open = move || {
        let options = FileLogOptions { segment_size: 1 << 14, cache: 2 << 10, fault: None };
        FileLog::open(&path, options, &|_, body| std::thread::Builder::new().spawn(body).map(drop)).unwrap()
    };
    let log = open();
    let reopen = move |log: Arc<dyn LogStore>| {
        log.close();
        drop(log);
        open()
    };
    Subject { log, reopen: Box::new(reopen), _dir: Some(dir) }
}

macro_rules! on_every_log {
    ($($test:ident),+ $(,)?) => {
        mod mem { $(#[test] fn $test() { super::$test(super::mem) })+ }
        mod mem_delayed { $(#[test] fn $test() { super::$test(super::mem_delayed) })+ }
        mod file { $(#[test] fn $test() { super::$test(super::file) })+ }
    };
}

on_every_log!(
    appends_are_read_back,
    gaps_are_refused,
    tails_are_replaced,
    purging,
    installing,
    removing,
    marks_survive,
    done_comes_in_order,
    many_groups_at_once,
    agrees_with_the_model,
    old_entries_and_votes_outlive_their_files,
);

const G: GroupKey = GroupKey { shard: ShardId(1), replica: ReplicaId(10) };
const H: GroupKey = GroupKey { shard: ShardId(2), replica: ReplicaId(20) };

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn entry(term: u64, index: u64, payload: &str) -> LogEntry {
    LogEntry { position: at(term, index), payload: Bytes::copy_from_slice(payload.as_bytes()) }
}

fn wait(run: impl FnOnce(Done)) -> Result<(), StorageError> {
    let (tell, told) = channel();
    run(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

fn append(log: &dyn LogStore, group: GroupKey, entries: &[LogEntry]) -> Result<(), StorageError> {
    wait(|done| log.append(group, entries.to_vec(), done))
}

fn read(log: &dyn LogStore, group: GroupKey) -> Vec<LogEntry> {
    log.read(group, 0..u64::MAX, u64::MAX).unwrap()
}

fn appends_are_read_back(make: fn() -> Subject) {
    let s = make();
    assert_eq!(s.log.state(G), LogState::default());
    assert_eq!(read(&*s.log, G), []);
    let entries = [entry(1, 5, "five"), entry(1, 6, ""), entry(2, 7, "seven")];
    let (tell, told) = channel();
    s.log.append(G, entries.to_vec(), Box::new(move |result| tell.send(result).unwrap()));
    assert_eq!(read(&*s.log, G), entries, "readable at once");
    told.recv().unwrap().unwrap();
    let state = s.log.state(G);
    assert_eq!((state.last, state.durable, state.purged), (Some(at(2, 7)), Some(at(2, 7)), None));
    let s = s.reopen();
    assert_eq!(read(&*s.log, G), entries);
    assert_eq!(s.log.state(G), state);
    assert_eq!(s.log.read(G, 6..7, u64::MAX).unwrap(), entries[1..2]);
    assert_eq!(s.log.read(G, 0..6, u64::MAX).unwrap(), entries[..1]);
    assert_eq!(s.log.read(G, 8..100, u64::MAX).unwrap(), []);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 7..5;
    assert_eq!(s.log.read(G, backwards, u64::MAX).unwrap(), []);
    assert_eq!(s.log.read(G, 5..8, 0).unwrap(), entries[..1], "at least one");
    assert_eq!(s.log.read(G, 5..8, 4).unwrap(), entries[..2]);
    assert_eq!(s.log.read(G, 5..8, 9).unwrap(), entries);
    assert_eq!([4, 5, 7, 8].map(|index| s.log.term_at(G, index)), [None, Some(1), Some(2), None]);
    assert_eq!(s.log.groups(), [G]);
    append(&*s.log, G, &[]).unwrap();
    append(&*s.log, G, &[entry(2, 8, "eight")]).unwrap();
    assert_eq!(read(&*s.log, G).len(), 4);
}

fn gaps_are_refused(make: fn() -> Subject) {
    let s = make();
    append(&*s.log, G, &[entry(3, 1, "a"), entry(3, 2, "b")]).unwrap();
    for bad in [entry(3, 2, "again"), entry(3, 4, "gap"), entry(2, 3, "older term"), entry(3, 0, "before")] {
        assert!(matches!(append(&*s.log, G, &[bad]), Err(StorageError::Misuse(_))));
    }
    assert!(append(&*s.log, G, &[entry(3, 3, "c"), entry(3, 5, "gap")]).is_err());
    assert_eq!(read(&*s.log, G).len(), 2, "a refused append leaves nothing");
    assert_eq!(s.log.dead(), None);
    append(&*s.log, G, &[entry(3, 3, "c")]).unwrap();
}

fn tails_are_replaced(make: fn() -> Subject) {
    let s = make();
    let entries: Vec<LogEntry> = (1..=6).map(|index| entry(1, index, "old")).collect();
    append(&*s.log, G, &entries).unwrap();
    wait(|done| s.log.truncate_from(G, 4, done)).unwrap();
    assert_eq!(s.log.state(G).last, Some(at(1, 3)));
    assert_eq!(s.log.state(G).durable, Some(at(1, 3)));
    let (tell, told) = channel();
    let tell_too = tell.clone();
    s.log.append(G, vec![entry(2, 4, "lost")], Box::new(move |_| tell.send(()).unwrap()));
    s.log.truncate_from(G, 4, Box::new(|_| ()));
    s.log.append(
        G,
        vec![entry(3, 4, "new"), entry(3, 5, "new")],
        Box::new(move |_| tell_too.send(()).unwrap()),
    );
    let check = |log: &dyn LogStore| {
        let terms: Vec<u64> = read(log, G).iter().map(|entry| entry.position.term).collect();
        assert_eq!(terms, [1, 1, 1, 3, 3]);
        assert_eq!(read(log, G)[3].payload, "new");
    };
    check(&*s.log);
    told.recv().unwrap();
    told.recv().unwrap();
    assert_eq!(s.log.state(G).durable, Some(at(3, 5)));
    let s = s.reopen();
    check(&*s.log);
    wait(|done| s.log.truncate_from(G, 99, done)).unwrap();
    check(&*s.log);
    wait(|done| s.log.truncate_from(G, 0, done)).unwrap();
    assert_eq!(s.log.state(G).last, None);
    let s = s.reopen();
    assert_eq!(read(&*s.log, G), []);
}

fn purging(make: fn() -> Subject) {
    let s = make();
    let entries: Vec<LogEntry> = (1..=6).map(|index| entry(1, index, "x")).collect();
    append(&*s.log, G, &entries).unwrap();
    wait(|done| s.log.purge_to(G, at(1, 4), done)).unwrap();
    wait(|done| s.log.purge_to(G, at(1, 2), done)).unwrap();
    let check = |log: &dyn LogStore| {
        assert_eq!(read(log, G), entries[4..]);
        let state = log.state(G);
        assert_eq!((state.purged, state.last), (Some(at(1, 4)), Some(at(1, 6))));
        assert_eq!(state.bytes, entries[4..].iter().map(|entry| entry.payload.len() as u64).sum::<u64>());
        assert_eq!(log.term_at(G, 4), Some(1));
        assert_eq!(log.term_at(G, 3), None);
    };
    check(&*s.log);
    let s = s.reopen();
    check(&*s.log);
    wait(|done| s.log.purge_to(G, at(2, 10), done)).unwrap();
    let s = s.reopen();
    let state = s.log.state(G);
    assert_eq!(
        (state.purged, state.last, state.durable),
        (Some(at(2, 10)), Some(at(2, 10)), Some(at(2, 10)))
    );
    assert!(append(&*s.log, G, &[entry(2, 12, "gap")]).is_err());
    append(&*s.log, G, &[entry(2, 11, "next")]).unwrap();
    assert_eq!(read(&*s.reopen().log, G).len(), 1);
}

fn installing(make: fn() -> Subject) {
    let s = make();
    wait(|done| s.log.save_vote(G, Bytes::from("vote"), done)).unwrap();
    append(&*s.log, G, &(1..=6).map(|index| entry(1, index, "x")).collect::<Vec<_>>()).unwrap();
    wait(|done| s.log.install(G, at(2, 4), None, done)).unwrap();
    let expected = LogState {
        vote: Some(Bytes::from("vote")),
        committed: Some(at(2, 4)),
        purged: Some(at(2, 4)),
        last: Some(at(2, 4)),
        durable: Some(at(2, 4)),
        bytes: 0,
    };
    assert_eq!(s.log.state(G), expected);
    let s = s.reopen();
    assert_eq!(s.log.state(G), expected);
    append(&*s.log, G, &[entry(2, 5, "y")]).unwrap();
    // Even backwards: what stands is what was installed last.
    wait(|done| s.log.install(G, at(1, 2), Some(Bytes::from("other")), done)).unwrap();
    let s = s.reopen();
    let state = s.log.state(G);
    assert_eq!((state.last, state.vote), (Some(at(1, 2)), Some(Bytes::from("other"))));
    append(&*s.log, G, &[entry(2, 3, "z")]).unwrap();
    assert_eq!(read(&*s.reopen().log, G), [entry(2, 3, "z")]);
}

fn removing(make: fn() -> Subject) {
    let s = make();
    append(&*s.log, G, &[entry(1, 1, "g")]).unwrap();
    append(&*s.log, H, &[entry(1, 1, "h")]).unwrap();
    wait(|done| s.log.save_vote(G, Bytes::from("v"), done)).unwrap();
    assert_eq!(s.log.groups(), [G, H]);
    wait(|done| s.log.remove_group(G, done)).unwrap();
    wait(|done| s.log.remove_group(G, done)).unwrap();
    assert_eq!(s.log.groups(), [H]);
    let s = s.reopen();
    assert_eq!(s.log.groups(), [H]);
    assert_eq!(s.log.state(G), LogState::default());
    append(&*s.log, G, &[entry(7, 1, "anew")]).unwrap();
    let s = s.reopen();
    assert_eq!(read(&*s.log, G), [entry(7, 1, "anew")]);
    assert_eq!(read(&*s.log, H), [entry(1, 1, "h")]);
}

fn marks_survive(make: fn() -> Subject) {
    let s = make();
    append(&*s.log, G, &[entry(1, 1, "a"), entry(1, 2, "b")]).unwrap();
    s.log.save_committed(G, at(1, 1));
    assert_eq!(s.log.state(G).committed, Some(at(1, 1)));
    s.log.save_committed(G, at(1, 2));
    wait(|done| s.log.save_vote(G, Bytes::from("v1"), done)).unwrap();
    wait(|done| s.log.save_vote(G, Bytes::from("v2"), done)).unwrap();
    let s = s.reopen();
    let state = s.log.state(G);
    assert_eq!((state.committed, state.vote), (Some(at(1, 2)), Some(Bytes::from("v2"))));
    // Alone: an orderly end writes it.
    s.log.save_committed(H, at(1, 1));
    append(&*s.log, H, &[entry(1, 1, "a")]).unwrap();
    s.log.save_committed(H, at(1, 1));
    assert_eq!(s.reopen().log.state(H).committed, Some(at(1, 1)));
}

fn done_comes_in_order(make: fn() -> Subject) {
    let s = make();
    let (tell, told) = channel();
    for index in 1..=100 {
        let tell = tell.clone();
        s.log.append(G, vec![entry(1, index, "x")], Box::new(move |_| tell.send(index).unwrap()));
        if index % 10 == 0 {
            append(&*s.log, G, &[]).unwrap();
            assert!(s.log.state(G).durable.is_some_and(|durable| durable.index >= index), "a barrier");
        }
    }
    assert_eq!(told.iter().take(100).collect::<Vec<u64>>(), (1..=100).collect::<Vec<u64>>());
    assert!(s.log.fsyncs() > 0);
}

fn many_groups_at_once(make: fn() -> Subject) {
    let s = make();
    let group = |n| GroupKey { shard: ShardId(n), replica: ReplicaId(n) };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &s.log;
            scope.spawn(move || {
                for index in 1..=50 {
                    for n in (0..20).filter(|n| n % 4 == thread) {
                        append(&**log, group(n), &[entry(1, index, &"p".repeat(n as usize * 10))]).unwrap();
                    }
                }
            });
        }
    });
    let s = s.reopen();
    assert_eq!(s.log.groups().len(), 20);
    for n in 0..20 {
        let entries = read(&*s.log, group(n));
        assert_eq!(entries.len(), 50);
        assert!(entries.iter().all(|entry| entry.payload.len() == n as usize * 10));
    }
}

fn old_entries_and_votes_outlive_their_files(make: fn() -> Subject) {
    let s = make();
    let group = |n| GroupKey { shard: ShardId(n), replica: ReplicaId(1) };
    for n in 100..110 {
        wait(|done| s.log.save_vote(group(n), Bytes::from(n.to_string()), done)).unwrap();
        append(&*s.log, group(n), &[entry(1, 1, "quiet"), entry(1, 2, &n.to_string())]).unwrap();
        wait(|done| s.log.purge_to(group(n), at(1, 1), done)).unwrap();
    }
    // A busy group fills and purges many segments' worth.
    let payload = "busy".repeat(250);
    let mut s = s;
    for round in 0..20u64 {
        for index in round * 20..(round + 1) * 20 {
            append(&*s.log, G, &[entry(1, index, &payload)]).unwrap();
        }
        wait(|done| s.log.purge_to(G, at(1, round * 20 + 10), done)).unwrap();
        if round % 7 == 6 {
            s = s.reopen();
        }
    }
    let s = s.reopen();
    for n in 100..110 {
        let state = s.log.state(group(n));
        assert_eq!(state.vote, Some(Bytes::from(n.to_string())));
        assert_eq!(state.purged, Some(at(1, 1)));
        assert_eq!(read(&*s.log, group(n)), [entry(1, 2, &n.to_string())]);
    }
    assert_eq!(read(&*s.log, G).len(), 9);
}

#[derive(Clone, Debug)]
enum Step {
    Append { group: u64, count: u64, size: usize, newer: bool },
    Vote(u64, u8),
    Committed(u64),
    Truncate(u64, u64),
    Purge(u64, u64),
    Install(u64, u64, Option<u8>),
    Remove(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = || 1u64..4;
    let step = prop_oneof![
        12 => (group(), 1u64..5, 0usize..2500, proptest::bool::weighted(0.2))
            .prop_map(|(group, count, size, newer)| Step::Append { group, count, size, newer }),
        2 => (group(), any::<u8>()).prop_map(|(g, v)| Step::Vote(g, v)),
        3 => group().prop_map(Step::Committed),
        2 => (group(), 0u64..6).prop_map(|(g, back)| Step::Truncate(g, back)),
        4 => (group(), 0u64..8).prop_map(|(g, n)| Step::Purge(g, n)),
        1 => (group(), 0u64..5, proptest::option::of(any::<u8>())).prop_map(|(g, n, v)| Step::Install(g, n, v)),
        1 => group().prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..80)
}

#[derive(Clone, Default)]
struct Model {
    vote: Option<Bytes>,
    committed: Option<LogPosition>,
    purged: Option<LogPosition>,
    entries: Vec<LogEntry>,
}

impl Model {
    fn last(&self) -> Option<LogPosition> {
        self.entries.last().map(|entry| entry.position).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(1, |last| last.index + 1)
    }
}

fn step(s: &Subject, model: &mut BTreeMap<u64, Model>, step: &Step, waits: bool) {
    let key = |n: u64| GroupKey { shard: ShardId(n), replica: ReplicaId(7) };
    let run = |operation: &dyn Fn(Done)| match waits {
        true => wait(operation).unwrap(),
        false => operation(Box::new(|result| result.unwrap())),
    };
    match step {
        Step::Append { group, count, size, newer } => {
            let m = model.entry(*group).or_default();
            let term = m.last().map_or(1, |last| last.term) + u64::from(*newer);
            let entries: Vec<LogEntry> =
                (0..*count).map(|n| entry(term, m.next() + n, &format!("{size}").repeat(size / 4))).collect();
            m.entries.extend(entries.iter().cloned());
            run(&|done| s.log.append(key(*group), entries.clone(), done));
        }
        Step::Vote(group, vote) => {
            let vote = Bytes::copy_from_slice(&[*vote]);
            model.entry(*group).or_default().vote = Some(vote.clone());
            run(&|done| s.log.save_vote(key(*group), vote.clone(), done));
        }
        Step::Committed(group) => {
            let m = model.entry(*group).or_default();
            // C only rises.
            if let Some(last) = m.last().filter(|last| m.committed.is_none_or(|c| c < *last)) {
                m.committed = Some(last);
                s.log.save_committed(key(*group), last);
            }
        }
        Step::Truncate(group, back) => {
            let m = model.entry(*group).or_default();
            let from = m.next().saturating_sub(*back).max(m.committed.map_or(0, |c| c.index + 1));
            m.entries.retain(|entry| entry.position.index < from);
            run(&|done| s.log.truncate_from(key(*group), from, done));
        }
        Step::Purge(group, count) => {
            let m = model.entry(*group).or_default();
            let Some(to) = m.entries.iter().take(*count as usize).last().map(|entry| entry.position) else {
                return;
            };
            m.entries.retain(|entry| entry.position.index > to.index);
            m.purged = Some(to);
            m.committed = m.committed.max(Some(to));
            s.log.save_committed(key(*group), m.committed.unwrap());
            run(&|done| s.log.purge_to(key(*group), to, done));
        }
        Step::Install(group, ahead, vote) => {
            let m = model.entry(*group).or_default();
            let to = at(m.last().map_or(1, |last| last.term) + 1, m.next() + ahead);
            let vote = vote.map(|vote| Bytes::copy_from_slice(&[vote]));
            *m = Model {
                vote: vote.clone().or(m.vote.clone()),
                committed: Some(to),
                purged: Some(to),
                entries: Vec::new(),
            };
            run(&|done| s.log.install(key(*group), to, vote.clone(), done));
        }
        Step::Remove(group) => {
            model.remove(group);
            run(&|done| s.log.remove_group(key(*group), done));
        }
        Step::Reopen => {}
    }
}

fn compare(s: &Subject, model: &BTreeMap<u64, Model>) -> Result<(), TestCaseError> {
    for (group, m) in model {
        let key = GroupKey { shard: ShardId(*group), replica: ReplicaId(7) };
        let found = read(&*s.log, key);
        let positions = |entries: &[LogEntry]| entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
        prop_assert_eq!(positions(&found), positions(&m.entries), "group {}", group);
        prop_assert!(found == m.entries, "payloads of group {}", group);
        let state = s.log.state(key);
        prop_assert_eq!(&state.vote, &m.vote);
        prop_assert_eq!(state.committed, m.committed);
        prop_assert_eq!(state.purged, m.purged);
        prop_assert_eq!(state.last, m.last());
        prop_assert!(state.durable <= state.last);
    }
    for key in s.log.groups() {
        prop_assert!(model.contains_key(&key.shard.0) || s.log.state(key) == LogState::default());
    }
    Ok(())
}

fn agrees_with_the_model(make: fn() -> Subject) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&(steps(), any::<bool>()), |(steps, waits)| {
        let mut s = make();
        let mut model = BTreeMap::new();
        for one in &steps {
            step(&s, &mut model, one, waits);
            if let Step::Reopen = one {
                append(&*s.log, G, &[]).unwrap();
                s = s.reopen();
                compare(&s, &model)?;
            }
        }
        compare(&s, &model)?;
        append(&*s.log, G, &[]).unwrap();
        let s = s.reopen();
        compare(&s, &model)
    });
    outcome.unwrap();
}
