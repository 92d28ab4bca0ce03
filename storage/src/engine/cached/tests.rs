use super::*;
use crate::{MemEngine, intent, mvcc};
use proptest::prelude::*;
use quorate_proto::Timestamp;

fn engine() -> CachedEngine {
    CachedEngine::with_slots(MemEngine::shared(), 64)
}

fn version(key: &str, ts: u64, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    mvcc::put_version(&mut batch, key.as_bytes(), Timestamp(ts), Some(value.as_bytes()));
    batch
}

fn newest(snapshot: &dyn Snapshot, key: &str) -> Option<u64> {
    mvcc::newest(snapshot, key.as_bytes()).unwrap().map(|version| version.ts.0)
}

#[test]
fn the_newest_is_told_after_each_write() {
    let engine = engine();
    assert_eq!(newest(&*engine.snapshot(), "k"), None);
    for (ts, told) in [(5, 5), (7, 7), (6, 7), (9, 9)] {
        engine.write(&version("k", ts, "v")).unwrap();
        assert_eq!(newest(&*engine.snapshot(), "k"), Some(told));
    }
    let at = |ts| mvcc::get(&*engine.snapshot(), b"k", Timestamp(ts)).unwrap().map(|version| version.ts.0);
    assert_eq!([at(4), at(5), at(8), at(9)], [None, Some(5), Some(7), Some(9)]);
    let mut batch = WriteBatch::new();
    batch.delete(Family::Data, mvcc::data_key(b"k", Timestamp(9)));
    engine.write(&batch).unwrap();
    assert_eq!(newest(&*engine.snapshot(), "k"), Some(7));
}

#[test]
fn an_older_snapshot_keeps_its_answers() {
    let engine = engine();
    engine.write(&version("k", 5, "v")).unwrap();
    let old = engine.snapshot();
    assert_eq!(newest(&*old, "k"), Some(5));
    engine.write(&version("k", 6, "v")).unwrap();
    assert_eq!(newest(&*engine.snapshot(), "k"), Some(6));
    assert_eq!(newest(&*old, "k"), Some(5));
}

#[test]
fn an_older_snapshot_teaches_nothing() {
    let engine = engine();
    engine.write(&version("k", 5, "v")).unwrap();
    let old = engine.snapshot();
    engine.write(&version("k", 6, "v")).unwrap();
    assert_eq!(newest(&*old, "k"), Some(5));
    assert_eq!(newest(&*engine.snapshot(), "k"), Some(6));
}

/// The snapshot may hold the write or not; afterwards all do.
#[test]
fn a_snapshot_amid_a_write_is_asked_below() {
    for written_before in [false, true] {
        let engine = engine();
        engine.write(&version("k", 5, "v")).unwrap();
        assert_eq!(newest(&*engine.snapshot(), "k"), Some(5));
        let batch = version("k", 6, "v");
        let ticket = engine.recent.begin(&batch);
        if written_before {
            engine.below.write(&batch).unwrap();
        }
        let amid = engine.snapshot();
        assert_eq!(newest(&*amid, "k"), Some(if written_before { 6 } else { 5 }));
        // Another's write ends first.
        engine.write(&version("l", 1, "v")).unwrap();
        if !written_before {
            engine.below.write(&batch).unwrap();
        }
        assert_eq!(newest(&*engine.snapshot(), "k"), Some(6));
        ticket.finish();
        assert_eq!(newest(&*engine.snapshot(), "k"), Some(6));
        assert_eq!(newest(&*amid, "k"), Some(if written_before { 6 } else { 5 }));
    }
}

/// Two writes of one key at once: what the engine below makes of them counts, not the order of their beginnings.
#[test]
fn of_writes_at_once_the_engine_tells_the_last() {
    let engine = engine();
    let intent = |value: &'static str| {
        let mut batch = WriteBatch::new();
        batch.put(Family::Intent, intent::intent_key(b"k"), value);
        batch
    };
    let told = || engine.snapshot().get(Family::Intent, &intent::intent_key(b"k")).unwrap();
    assert_eq!(told(), None);
    let (first, second) = (intent("first"), intent("second"));
    let (one, two) = (engine.recent.begin(&first), engine.recent.begin(&second));
    engine.below.write(&second).unwrap();
    two.finish();
    engine.below.write(&first).unwrap();
    one.finish();
    assert_eq!(told().unwrap(), "first");
}

#[test]
fn a_failed_write_ends_the_keeping() {
    let (mem, batch) = (MemEngine::new(), version("k", 5, "v"));
    let engine = CachedEngine::with_slots(Arc::new(mem.clone()), 64);
    assert_eq!(newest(&*engine.snapshot(), "k"), None);
    mem.fail(crate::engine::mem::MemFault::Writes, true);
    engine.write(&batch).unwrap_err();
    mem.fail(crate::engine::mem::MemFault::Writes, false);
    assert_eq!(newest(&*engine.snapshot(), "k"), None, "it was told before, and is not so");
}

#[test]
fn ingests_and_ranges_end_what_is_known() {
    let engine = engine();
    let all = FamilyRange { family: Family::Data, start: Bytes::new(), end: None };
    for round in 1..=3 {
        engine.write(&version("k", round, "v")).unwrap();
        assert_eq!(newest(&*engine.snapshot(), "k"), Some(round));
        if round == 2 {
            engine.ingest().unwrap().commit(std::slice::from_ref(&all), &WriteBatch::new()).unwrap();
        } else {
            let mut batch = version("k", 10, "v");
            batch.delete_range(all.clone());
            engine.write(&batch).unwrap();
        }
        assert_eq!(newest(&*engine.snapshot(), "k"), None);
    }
}

#[test]
fn large_values_are_not_kept() {
    let engine = engine();
    for size in [1, 10_000, 1] {
        engine.write(&version("k", 5, &"x".repeat(size))).unwrap();
        let found = mvcc::newest(&*engine.snapshot(), b"k").unwrap().unwrap().value.unwrap();
        assert_eq!(found.len(), size);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<WriteOp>),
    Ingest(Vec<WriteOp>),
    Snapshot,
    Ask { snapshot: usize, key: u8, ts: u64 },
}

fn op() -> impl Strategy<Value = WriteOp> {
    let data = |key: u8, ts: u64| Bytes::from(mvcc::data_key(&[key], Timestamp(ts)));
    let intent = |key: u8| Bytes::from(intent::intent_key(&[key]));
    let value = || any::<u8>().prop_map(|value| Bytes::from(vec![1, value]));
    prop_oneof![
        8 => (0u8..6, 0u64..6, value()).prop_map(move |(k, ts, v)| WriteOp::Put(Family::Data, data(k, ts), v)),
        4 => (0u8..6, 0u64..6).prop_map(move |(k, ts)| WriteOp::Delete(Family::Data, data(k, ts))),
        4 => (0u8..6, value()).prop_map(move |(k, v)| WriteOp::Put(Family::Intent, intent(k), v)),
        4 => (0u8..6).prop_map(move |k| WriteOp::Delete(Family::Intent, intent(k))),
        1 => (0u8..6).prop_map(move |k| WriteOp::DeleteRange(Family::Data, intent(k), None)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(op(), 1..5).prop_map(Step::Write),
        1 => proptest::collection::vec(op(), 0..3).prop_map(Step::Ingest),
        2 => Just(Step::Snapshot),
        10 => (0usize..8, 0u8..6, 0u64..6).prop_map(|(snapshot, key, ts)| Step::Ask { snapshot, key, ts }),
    ]
}

fn change(engine: &dyn Engine, step: &Step) {
    match step {
        Step::Write(ops) => engine.write(&WriteBatch { ops: ops.clone() }).unwrap(),
        Step::Ingest(ops) => {
            engine.ingest().unwrap().commit(&[], &WriteBatch { ops: ops.clone() }).unwrap();
        }
        Step::Snapshot | Step::Ask { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Six keys share two places.
    #[test]
    fn it_answers_as_the_engine_below(steps in proptest::collection::vec(step(), 1..60)) {
        let (plain, cached) = (MemEngine::new(), CachedEngine::with_slots(MemEngine::shared(), 2));
        let mut snapshots = vec![(plain.snapshot(), cached.snapshot())];
        for step in &steps {
            change(&plain, step);
            change(&cached, step);
            match step {
                Step::Snapshot => snapshots.push((plain.snapshot(), cached.snapshot())),
                Step::Ask { snapshot, key, ts } => {
                    let (a, b) = &snapshots[snapshots.len().saturating_sub(1 + snapshot)];
                    let version = |s: &dyn Snapshot| mvcc::get(s, &[*key], Timestamp(*ts)).unwrap();
                    prop_assert_eq!(version(&**a), version(&**b));
                    let raw = intent::intent_key(&[*key]);
                    prop_assert_eq!(a.get(Family::Intent, &raw).unwrap(), b.get(Family::Intent, &raw).unwrap());
                }
                Step::Write(_) | Step::Ingest(_) => {}
            }
        }
    }
}
