//! The two engines side by side under random operations: whatever is asked, both answer alike.

use crate::{mem, rocks};
use bytes::Bytes;
use proptest::prelude::*;
use quorate_storage::{Engine, Family, FamilyRange, Snapshot, WriteBatch, WriteOp};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<WriteOp>),
    Flush,
    Snapshot,
    Forget(usize),
    Ingest(Vec<FamilyRange>, BTreeMap<(Family, Bytes), Bytes>, Vec<WriteOp>),
}

fn family() -> impl Strategy<Value = Family> {
    (0u8..4).prop_map(|raw| Family::from_u8(raw).unwrap())
}

/// Few different keys, so that they meet; some long enough for the `Data` family's prefixes.
fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        proptest::collection::vec(0u8..3, 0..4).prop_map(Bytes::from),
        (proptest::collection::vec(0u8..3, 1..3), 0u64..4).prop_map(|(mut raw, n)| {
            raw.extend_from_slice(&n.to_be_bytes());
            raw.into()
        }),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    any::<u16>().prop_map(|n| Bytes::copy_from_slice(&n.to_be_bytes()))
}

fn range() -> impl Strategy<Value = FamilyRange> {
    (family(), key(), proptest::option::of(key())).prop_map(|(family, start, end)| FamilyRange {
        family,
        start,
        end,
    })
}

fn op() -> impl Strategy<Value = WriteOp> {
    prop_oneof![
        6 => (family(), key(), value()).prop_map(|(f, k, v)| WriteOp::Put(f, k, v)),
        2 => (family(), key()).prop_map(|(f, k)| WriteOp::Delete(f, k)),
        1 => range().prop_map(|r| WriteOp::DeleteRange(r.family, r.start, r.end)),
    ]
}

fn ops() -> impl Strategy<Value = Vec<WriteOp>> {
    proptest::collection::vec(op(), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    let rows = proptest::collection::btree_map((family(), key()), value(), 0..8);
    prop_oneof![
        8 => ops().prop_map(Step::Write),
        1 => Just(Step::Flush),
        2 => Just(Step::Snapshot),
        1 => (0usize..4).prop_map(Step::Forget),
        1 => (proptest::collection::vec(range(), 0..3), rows, ops()).prop_map(|(r, rows, ops)| Step::Ingest(r, rows, ops)),
    ]
}

fn run(engine: &dyn Engine, step: &Step) {
    match step {
        Step::Write(ops) => engine.write(&WriteBatch { ops: ops.clone() }).unwrap(),
        Step::Flush => engine.flush().unwrap(),
        Step::Ingest(replace, rows, ops) => {
            let mut ingest = engine.ingest().unwrap();
            for ((family, key), value) in rows {
                ingest.add(*family, key, value).unwrap();
            }
            ingest.commit(replace, &WriteBatch { ops: ops.clone() }).unwrap();
        }
        Step::Snapshot | Step::Forget(_) => {}
    }
}

fn compare(a: &dyn Snapshot, b: &dyn Snapshot, probes: &[Bytes]) -> Result<(), TestCaseError> {
    let rows = |s: &dyn Snapshot, f, from: &[u8], to: Option<&[u8]>, reverse| -> Vec<(Bytes, Bytes)> {
        s.iter(f, from, to, reverse).map(Result::unwrap).collect()
    };
    for family in Family::ALL {
        prop_assert_eq!(rows(a, family, b"", None, false), rows(b, family, b"", None, false));
        for pair in probes.windows(2) {
            let (from, to) = (&pair[0][..], Some(&pair[1][..]));
            for reverse in [false, true] {
                prop_assert_eq!(rows(a, family, from, to, reverse), rows(b, family, from, to, reverse));
            }
            prop_assert_eq!(a.get(family, from).unwrap(), b.get(family, from).unwrap());
            for prefix in [0, from.len() / 2, from.len().saturating_sub(8), from.len()] {
                if family == Family::Data && prefix + 8 == from.len() {
                    continue; // Asks for keys of the form of versions; the MVCC model covers it.
                }
                let seek = |s: &dyn Snapshot| s.seek_prefix(family, from, prefix).unwrap();
                prop_assert_eq!(seek(a), seek(b));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_answer_alike(
        steps in proptest::collection::vec(step(), 1..40),
        probes in proptest::collection::vec(key(), 6),
    ) {
        let (a, b) = (mem(), rocks());
        let mut snapshots = Vec::new();
        for step in &steps {
            run(&*a.engine, step);
            run(&*b.engine, step);
            match step {
                Step::Snapshot => snapshots.push((a.engine.snapshot(), b.engine.snapshot())),
                Step::Forget(at) if *at < snapshots.len() => drop(snapshots.remove(*at)),
                _ => {}
            }
            for probe in &probes {
                prop_assert_eq!(a.engine.get(Family::Data, probe).unwrap(), b.engine.get(Family::Data, probe).unwrap());
            }
        }
        snapshots.push((a.engine.snapshot(), b.engine.snapshot()));
        for (a, b) in &snapshots {
            compare(&**a, &**b, &probes)?;
        }
    }
}
