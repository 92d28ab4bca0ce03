//! Intents, records and metadata, as they are stored and found again.

use bytes::Bytes;
use quorate_proto::kv::{TxnMeta, TxnState};
use quorate_proto::{Key, LogPosition, NodeId, ReplicaId, ShardDescriptor, ShardId, Span, Timestamp, TxnId};
use quorate_storage::intent::{self, Intent};
use quorate_storage::meta::{self, Kind, ReplicaState};
use quorate_storage::record::{self, TxnRecord};
use quorate_storage::{Engine, Family, FamilyRange, MemEngine, WriteBatch};

fn txn(id: u128, anchor: &str) -> TxnMeta {
    TxnMeta {
        id: TxnId(id),
        anchor: Key::from(anchor),
        attempt: 1,
        started: Timestamp(5),
        deadline: Timestamp(50),
        gateway: NodeId(3),
        incarnation: 7,
        session: Some(11),
    }
}

fn intent(id: u128, value: Option<&str>) -> Intent {
    let value = value.map(Into::into);
    Intent { txn: txn(id, "a"), ts: Timestamp(9), value, position: LogPosition { term: 1, index: 2 } }
}

#[test]
fn intents() {
    let engine = MemEngine::new();
    let mut batch = WriteBatch::new();
    for (key, value) in [(&b"a"[..], Some("1")), (b"a\0", None), (b"b", Some("2")), (b"", Some("empty"))] {
        intent::put(&mut batch, key, &intent(key.len() as u128, value));
    }
    engine.write(&batch).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(intent::get(&*snapshot, b"a\0").unwrap(), Some(intent(2, None)));
    assert_eq!(intent::get(&*snapshot, b"a\0\0").unwrap(), None);
    let keys =
        |span: &Span| -> Vec<Key> { intent::scan(&*snapshot, span).map(|found| found.unwrap().0).collect() };
    assert_eq!(keys(&Span::ALL), [Key::MIN, Key::from("a"), Key::from("a\0"), Key::from("b")]);
    assert_eq!(keys(&Span::point(&Key::from("a"))), [Key::from("a")]);
    assert_eq!(keys(&Span::new("a\0", "b")), [Key::from("a\0")]);
    let mut batch = WriteBatch::new();
    intent::remove(&mut batch, b"a");
    engine.write(&batch).unwrap();
    assert_eq!(intent::get(&*engine.snapshot(), b"a").unwrap(), None);
}

#[test]
fn records() {
    let engine = MemEngine::new();
    let pending = TxnRecord::Pending { txn: txn(1, "k"), heartbeat: Timestamp(8) };
    let committed = TxnRecord::Committed {
        ts: Timestamp(12),
        attempt: 2,
        deadline: Timestamp(50),
        intents: vec![Key::from("k"), Key::from("z")],
        prepared: vec![(ShardId(4), LogPosition { term: 3, index: 9 })],
        position: LogPosition { term: 3, index: 10 },
        span: Some(Span::new("a", "b")),
    };
    let mut batch = WriteBatch::new();
    record::put(&mut batch, b"k", TxnId(1), &pending);
    record::put(&mut batch, b"k", TxnId(2), &committed);
    record::put(&mut batch, b"l", TxnId(0), &pending);
    engine.write(&batch).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(record::get(&*snapshot, b"k", TxnId(2)).unwrap(), Some(committed.clone()));
    assert_eq!(record::get(&*snapshot, b"l", TxnId(2)).unwrap(), None);
    let found: Vec<_> = record::scan(&*snapshot, &Span::point(&Key::from("k"))).map(Result::unwrap).collect();
    assert_eq!(
        found.iter().map(|(anchor, id, _)| (anchor.clone(), *id)).collect::<Vec<_>>(),
        [(Key::from("k"), TxnId(1)), (Key::from("k"), TxnId(2))]
    );
    let behind = (Key::from("k"), TxnId(1));
    let rest = record::scan_behind(&*snapshot, &Span::ALL, Some(&behind)).map(Result::unwrap);
    assert_eq!(rest.map(|(_, id, _)| id).collect::<Vec<_>>(), [TxnId(2), TxnId(0)]);
    assert_eq!(committed.state(), TxnState::Committed(Timestamp(12)));
    assert_eq!(pending.state(), TxnState::Pending(Some(Timestamp(8))));
    assert!(committed.is_final() && !pending.is_final());
    assert_eq!((committed.deadline(), pending.deadline()), (Timestamp(50), Timestamp(50)));
    assert!(record::split_record_key(b"short").is_err());
}

#[test]
fn metadata() {
    const COUNTER: Kind<u64> = Kind::new(meta::FIRST_FREE_KIND);
    const LAST: Kind<u64> = Kind::new(u8::MAX);
    let engine = MemEngine::shared();
    let descriptor = ShardDescriptor {
        id: ShardId(7),
        span: Span::ALL,
        version: 1,
        config_epoch: 2,
        replicas: Vec::new(),
    };
    let mut batch = WriteBatch::new();
    meta::put(&mut batch, ShardId(7), &meta::DESCRIPTOR, &descriptor);
    meta::put(&mut batch, ShardId(7), &meta::REPLICA, &ReplicaState::Active(ReplicaId(70)));
    meta::put(&mut batch, ShardId(0), &meta::GC_THRESHOLD, &Timestamp(3));
    meta::put(&mut batch, ShardId(u64::MAX - 1), &LAST, &1);
    let identity = meta::NodeIdentity { cluster_id: "c".into(), node: NodeId(1) };
    meta::put(&mut batch, meta::NODE, &meta::IDENTITY, &identity);
    for (suffix, value) in [(&b"a"[..], 1), (b"b", 2), (b"", 0)] {
        meta::put_with(&mut batch, ShardId(7), &COUNTER, suffix, &value);
        meta::put_with(&mut batch, ShardId(8), &LAST, suffix, &value);
    }
    engine.write(&batch).unwrap();
    assert_eq!(meta::get(&*engine, ShardId(7), &meta::DESCRIPTOR).unwrap(), Some(descriptor));
    let snapshot = engine.snapshot();
    assert_eq!(meta::get(&*snapshot, ShardId(7), &meta::APPLIED).unwrap(), None);
    assert_eq!(meta::get_with(&*snapshot, ShardId(7), &COUNTER, b"b").unwrap(), Some(2));
    assert_eq!(meta::get(&*snapshot, meta::NODE, &meta::IDENTITY).unwrap(), Some(identity));
    let all = |shard: ShardId, kind: &Kind<u64>| -> Vec<(Bytes, u64)> {
        meta::scan(&*snapshot, shard, kind).map(Result::unwrap).collect()
    };
    let expected = [(Bytes::new(), 0), (Bytes::from("a"), 1), (Bytes::from("b"), 2)];
    assert_eq!(all(ShardId(7), &COUNTER), expected);
    assert_eq!(all(ShardId(8), &LAST), expected);
    assert_eq!(all(ShardId(9), &LAST), []);
    assert_eq!(meta::shards(&*snapshot).unwrap(), [0, 7, 8, u64::MAX - 1].map(ShardId));
    let mut batch = WriteBatch::new();
    batch.delete_range(meta::shard_range(ShardId(7)));
    batch.delete_range(meta::shard_range(ShardId(u64::MAX - 1)));
    engine.write(&batch).unwrap();
    assert_eq!(meta::shards(&*engine.snapshot()).unwrap(), [0, 8].map(ShardId));
    assert!(meta::get(&*engine, meta::NODE, &meta::IDENTITY).unwrap().is_some());
}

#[test]
fn a_spans_part_of_each_family_is_one_range() {
    let engine = MemEngine::new();
    let mut batch = WriteBatch::new();
    for key in [&b"a"[..], b"b", b"b\0", b"b\xff", b"c"] {
        quorate_storage::mvcc::put_version(&mut batch, key, Timestamp(1), None);
        intent::put(&mut batch, key, &intent(1, None));
        record::put(
            &mut batch,
            key,
            TxnId(u128::MAX),
            &TxnRecord::Aborted {
                attempt: 1,
                deadline: Timestamp(1),
                intents: Vec::new(),
                position: LogPosition::default(),
            },
        );
    }
    for family in Family::KEYED {
        batch.delete_range(FamilyRange::of_span(family, &Span::new("b", "c")));
    }
    engine.write(&batch).unwrap();
    assert_eq!(engine.dump().len(), 6, "a and c of each family");
}

#[test]
fn rotten_values_are_corruption() {
    let engine = MemEngine::new();
    let mut batch = WriteBatch::new();
    batch.put(Family::Intent, intent::intent_key(b"k"), "rot");
    batch.put(Family::Data, quorate_storage::mvcc::data_key(b"k", Timestamp(1)), "\u{7}");
    batch.put(Family::Data, quorate_storage::mvcc::data_key(b"l", Timestamp(1)), "");
    engine.write(&batch).unwrap();
    let snapshot = engine.snapshot();
    let corrupt = |error| matches!(error, quorate_storage::StorageError::Corruption(_));
    assert!(corrupt(intent::get(&*snapshot, b"k").unwrap_err()));
    for key in [b"k", b"l"] {
        assert!(corrupt(quorate_storage::mvcc::newest(&*snapshot, key).unwrap_err()));
    }
}
