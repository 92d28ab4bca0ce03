//! Wrong bytes in RocksDB's files: they are never served, somebody is told, and they are gone when the engine is opened anew.

use parking_lot::Mutex;
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span, Timestamp,
};
use quorate_storage::meta::{self, ReplicaState};
use quorate_storage::{
    Damage, Engine, Family, FamilyRange, RocksOptions, StorageError, WriteBatch, mvcc, open_rocks,
};
use std::path::Path;
use std::sync::Arc;

const ROWS: u64 = 300;

fn open(path: &Path) -> Arc<dyn Engine> {
    open_rocks(path, &RocksOptions::default()).unwrap()
}

/// Two shards, `a…` and `m…`, each with so many copies.
fn shard(id: u64, copies: u64) -> ShardDescriptor {
    let span = if id == 1 { Span::new("a", "m") } else { Span::new("m", "z") };
    let replica = |n| Replica { id: ReplicaId(n), node: NodeId(n), role: ReplicaRole::Voter };
    let replicas = (1..=copies).map(replica).collect();
    ShardDescriptor { id: ShardId(id), span, version: 1, config_epoch: 1, replicas }
}

/// Bytes that no compression shortens.
fn value(shard: u64, row: u64) -> Vec<u8> {
    let mut state = shard * 1_000_003 + row + 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(1000).collect()
}

fn fill(path: &Path, copies: u64) {
    let engine = open(path);
    for (id, first) in [(1, "b"), (2, "n")] {
        let mut batch = WriteBatch::new();
        let descriptor = shard(id, copies);
        meta::put(&mut batch, descriptor.id, &meta::DESCRIPTOR, &descriptor);
        meta::put(&mut batch, descriptor.id, &meta::REPLICA, &ReplicaState::Active(ReplicaId(1)));
        for row in 0..ROWS {
            let key = Key::from(format!("{first}{row:04}").as_str());
            mvcc::put_version(&mut batch, &key, Timestamp(7), Some(&value(id, row)));
        }
        engine.write(&batch).unwrap();
    }
    engine.flush().unwrap();
}

/// Turns a byte of a row of the first shard, wherever it stands.
fn damage(path: &Path) {
    let needle = &value(1, ROWS / 2)[100..132];
    let mut found = 0;
    for file in std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "sst") {
            continue;
        }
        let mut content = std::fs::read(&file).unwrap();
        if let Some(at) = content.windows(needle.len()).position(|part| part == needle) {
            content[at] ^= 1;
            std::fs::write(&file, content).unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1, "the row stands in one file");
}

/// The shard's rows, as far as they read back.
fn rows(engine: &dyn Engine, id: u64) -> Result<usize, StorageError> {
    let range = FamilyRange::of_span(Family::Data, &shard(id, 1).span);
    let snapshot = engine.snapshot();
    let all: Result<Vec<_>, _> =
        snapshot.iter(range.family, &range.start, range.end.as_deref(), false).collect();
    all.map(|all| all.len())
}

fn state(engine: &dyn Engine, id: u64) -> Option<ReplicaState> {
    meta::get(engine, ShardId(id), &meta::REPLICA).unwrap()
}

#[test]
fn damaged_blocks_are_told_of_and_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    fill(&path, 3);
    damage(&path);
    let engine = open(&path);
    let told: Arc<Mutex<Vec<Damage>>> = Arc::default();
    let telling = told.clone();
    engine.on_damage(Arc::new(move |damage| telling.lock().push(damage)));
    let ours = FamilyRange::of_span(Family::Data, &shard(1, 1).span);
    assert!(matches!(rows(&*engine, 1), Err(StorageError::Corruption(why)) if why.contains(".sst")));
    {
        let told = told.lock();
        assert!(!told.is_empty() && told.iter().all(|damage| damage.family == Family::Data), "{told:?}");
        assert!(told.iter().all(|damage| damage.key == ours.start), "{told:?}");
    }
    assert_eq!(rows(&*engine, 2), Ok(ROWS as usize));
    drop(engine);

    let engine = open(&path);
    assert_eq!(rows(&*engine, 1), Ok(0), "the copy is left behind as a whole");
    assert_eq!(rows(&*engine, 2), Ok(ROWS as usize));
    assert_eq!(state(&*engine, 1), Some(ReplicaState::Gone(ReplicaId(1))));
    assert_eq!(state(&*engine, 2), Some(ReplicaState::Active(ReplicaId(1))));
    assert!(path.with_extension("damaged").exists());
    let mut batch = WriteBatch::new();
    mvcc::put_version(&mut batch, &Key::from("c"), Timestamp(8), Some(b"new"));
    engine.write(&batch).unwrap();
    drop(engine);
    fill(&path, 3);
    assert_eq!(rows(&*open(&path), 1), Ok(ROWS as usize + 1), "the new database is like any other");
}

/// Better a shard of which most can be read than none.
#[test]
fn an_only_copy_is_not_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    fill(&path, 1);
    damage(&path);
    for _ in 0..2 {
        let engine = open(&path);
        assert!(rows(&*engine, 1).is_err());
        assert_eq!(rows(&*engine, 2), Ok(ROWS as usize));
        assert_eq!(state(&*engine, 1), Some(ReplicaState::Active(ReplicaId(1))));
    }
}
