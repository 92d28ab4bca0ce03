//! MVCC against a model of nested maps, on both engines, with few and with thousands of versions.

use crate::{Subject, on_every_engine};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quorate_proto::{Key, Span, Timestamp};
use quorate_storage::mvcc::{self, Version};
use quorate_storage::{Engine, WriteBatch};
use std::collections::BTreeMap;

on_every_engine!(agrees_with_the_model, hot_row_is_sought_past, pages_resume, raw_keys_round_trip);

type Model = BTreeMap<Vec<u8>, BTreeMap<u64, Option<Vec<u8>>>>;

fn write(engine: &dyn Engine, model: &Model) {
    let mut batch = WriteBatch::new();
    for (key, versions) in model {
        for (ts, value) in versions {
            mvcc::put_version(&mut batch, key, Timestamp(*ts), value.as_deref());
        }
    }
    engine.write(&batch).unwrap();
}

fn model() -> impl Strategy<Value = Model> {
    let key = proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..3);
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3));
    let versions = prop_oneof![
        3 => proptest::collection::btree_map(1u64..30, value.clone(), 1..4),
        1 => proptest::collection::btree_map(1u64..30, value, 12..25),
    ];
    proptest::collection::btree_map(key, versions, 0..8)
}

fn visible(versions: &BTreeMap<u64, Option<Vec<u8>>>, ts: u64) -> Option<Version> {
    let (ts, value) = versions.range(..=ts).next_back()?;
    Some(Version { ts: Timestamp(*ts), value: value.clone().map(Into::into) })
}

fn check(engine: &dyn Engine, model: &Model, span: &Span, at: u64, to: u64) -> Result<(), TestCaseError> {
    let snapshot = engine.snapshot();
    let within = || model.iter().filter(|(key, _)| span.contains(key));
    for (key, versions) in model {
        prop_assert_eq!(mvcc::get(&*snapshot, key, Timestamp(at)).unwrap(), visible(versions, at));
        prop_assert_eq!(mvcc::newest(&*snapshot, key).unwrap(), visible(versions, u64::MAX));
    }
    let expected: Vec<(Key, Version)> =
        within().filter_map(|(key, versions)| Some((key.clone().into(), visible(versions, at)?))).collect();
    let live: Vec<_> = expected.iter().filter(|(_, version)| version.value.is_some()).cloned().collect();
    for reverse in [false, true] {
        let ordered = |rows: &Vec<(Key, Version)>| {
            let mut rows = rows.clone();
            if reverse {
                rows.reverse();
            }
            rows
        };
        let mut scan = mvcc::scan(&*snapshot, span, Timestamp(at), reverse).unwrap();
        let found: Vec<_> = scan.by_ref().map(Result::unwrap).collect();
        prop_assert_eq!(&found, &ordered(&live));
        let newest = expected.iter().map(|(_, version)| version.ts).max().unwrap_or_default();
        prop_assert_eq!(scan.newest_met(), newest);
        let scan = mvcc::scan(&*snapshot, span, Timestamp(at), reverse).unwrap().with_tombstones();
        prop_assert_eq!(scan.map(Result::unwrap).collect::<Vec<_>>(), ordered(&expected));
    }
    let changed = within().find_map(|(key, versions)| {
        let (ts, _) = versions.range(..=to).next_back().filter(|(ts, _)| **ts > at)?;
        Some((Key::from(key.clone()), Timestamp(*ts)))
    });
    prop_assert_eq!(mvcc::changed_between(&*snapshot, span, Timestamp(at), Timestamp(to)).unwrap(), changed);
    Ok(())
}

/// In passes of `limit` versions, after each of which every permitted read finds what it did before.
fn check_garbage(
    engine: &dyn Engine,
    model: &Model,
    threshold: u64,
    limit: u64,
) -> Result<(), TestCaseError> {
    let mut span = Some(Span::ALL);
    let mut passes = 0;
    let live = |version: Option<Version>| version.filter(|version| version.value.is_some());
    let mut more_at = None;
    while let Some(part) = span {
        let garbage = mvcc::collect_garbage(&*engine.snapshot(), &part, Timestamp(threshold), limit).unwrap();
        engine.write(&garbage.batch).unwrap();
        more_at = more_at.into_iter().chain(garbage.more_at).min();
        span = garbage.resume;
        passes += 1;
        prop_assert!(passes < 1000);
        let snapshot = engine.snapshot();
        for (key, versions) in model {
            let found = mvcc::get(&*snapshot, key, Timestamp(threshold)).unwrap();
            prop_assert_eq!(live(found), live(visible(versions, threshold)));
        }
    }
    let superseded = |(ts, value): (&u64, &Option<Vec<u8>>), versions: &BTreeMap<u64, Option<Vec<u8>>>| {
        *ts > threshold && (value.is_none() || visible(versions, ts - 1).is_some_and(|v| v.value.is_some()))
    };
    let more = model.values().any(|versions| versions.iter().any(|version| superseded(version, versions)));
    prop_assert!(!more || more_at.is_some(), "there will be more garbage");
    let mut left = model.clone();
    left.retain(|_, versions| {
        let keep = versions.range(..=threshold).next_back().filter(|(_, v)| v.is_some()).map(|(ts, _)| *ts);
        versions.retain(|ts, _| *ts > threshold || Some(*ts) == keep);
        !versions.is_empty()
    });
    let raw = engine.snapshot().iter(quorate_storage::Family::Data, b"", None, false).count();
    prop_assert_eq!(raw, left.values().map(BTreeMap::len).sum::<usize>());
    check(engine, &left, &Span::ALL, threshold, threshold + 5)
}

fn agrees_with_the_model(s: Subject) {
    let span = (
        proptest::collection::vec(0u8..3, 0..2),
        proptest::option::of(proptest::collection::vec(0u8..3, 0..3)),
    )
        .prop_map(|(start, end)| Span { start: start.into(), end: end.map(Into::into) });
    let input = (model(), span, 0u64..32, 0u64..32, 0u64..32, 1u64..5);
    let mut runner = TestRunner::new(Config { cases: 150, ..Config::default() });
    let outcome = runner.run(&input, |(model, span, at, to, threshold, limit)| {
        let mut batch = WriteBatch::new();
        for family in quorate_storage::Family::ALL {
            batch.delete_range(quorate_storage::FamilyRange { family, start: Default::default(), end: None });
        }
        s.engine.write(&batch).unwrap();
        write(&*s.engine, &model);
        if at % 4 == 0 {
            s.engine.flush().unwrap();
        }
        check(&*s.engine, &model, &span, at, to)?;
        check(&*s.engine, &model, &Span::ALL, at, to)?;
        check_garbage(&*s.engine, &model, threshold, limit)
    });
    outcome.unwrap();
}

fn hot_row_is_sought_past(s: Subject) {
    let mut model = Model::new();
    for key in ["a", "hot", "z"] {
        let count = if key == "hot" { 3000 } else { 1 };
        let versions = (1..=count).map(|ts| (ts, Some(ts.to_string().into_bytes()))).collect();
        model.insert(key.as_bytes().to_vec(), versions);
    }
    write(&*s.engine, &model);
    s.engine.flush().unwrap();
    for at in [0, 1, 2, 6, 7, 8, 1500, 2993, 2994, 3000, 3001] {
        check(&*s.engine, &model, &Span::ALL, at, at + 1).unwrap();
    }
}

fn pages_resume(s: Subject) {
    let mut model = Model::new();
    for n in 0..10 {
        let value = if n == 4 { None } else { Some(vec![b'v'; 10]) };
        model.insert(vec![b'k', n], BTreeMap::from([(5, value), (9, None)]));
    }
    write(&*s.engine, &model);
    let snapshot = s.engine.snapshot();
    for reverse in [false, true] {
        for (max_rows, max_bytes, pages) in [(0, 0, 1), (4, 0, 3), (0, 24, 5), (100, 1, 10), (9, 0, 2)] {
            let (mut span, mut keys, mut count) = (Some(Span::ALL), Vec::new(), 0);
            while let Some(part) = span {
                let page =
                    mvcc::scan_page(&*snapshot, &part, Timestamp(7), reverse, max_rows, max_bytes).unwrap();
                keys.extend(page.rows.iter().map(|row| row.key[1]));
                span = page.resume;
                count += 1;
            }
            let mut expected: Vec<u8> = (0..10).filter(|n| *n != 4).collect();
            if reverse {
                expected.reverse();
            }
            assert_eq!(keys, expected);
            assert!(count <= pages, "{count} pages of {max_rows} rows, {max_bytes} bytes");
        }
    }
    let page = mvcc::scan_page(&*snapshot, &Span::ALL, Timestamp(9), false, 0, 0).unwrap();
    assert!(page.rows.is_empty() && page.resume.is_none());
    assert_eq!(page.newest_met, Timestamp(9), "tombstones count as met");
}

fn raw_keys_round_trip(_: Subject) {
    proptest!(|(key: Vec<u8>, ts: u64, other: Vec<u8>, later: u64)| {
        let raw = mvcc::data_key(&key, Timestamp(ts));
        prop_assert_eq!(mvcc::split_data_key(&raw).unwrap(), (key.clone().into(), Timestamp(ts)));
        let second = mvcc::data_key(&other, Timestamp(later));
        prop_assert_eq!(raw.cmp(&second), (&key, std::cmp::Reverse(ts)).cmp(&(&other, std::cmp::Reverse(later))));
        let _ = mvcc::split_data_key(&key);
    });
}
