//! What the engine in memory loses and how it fails.

use quorate_storage::Family::{Data, Meta};
use quorate_storage::engine::mem::MemFault;
use quorate_storage::{Engine, MemEngine, StorageError, WriteBatch};

fn put(engine: &MemEngine, key: &str, value: &str) {
    let mut batch = WriteBatch::new();
    batch.put(Data, key.to_owned(), value.to_owned());
    batch.put(Meta, "applied", value.to_owned());
    engine.write(&batch).unwrap();
}

#[test]
fn crash_takes_back_to_the_last_flush() {
    let engine = MemEngine::new();
    put(&engine, "a", "1");
    put(&engine, "b", "2");
    engine.flush().unwrap();
    put(&engine, "a", "3");
    let mut batch = WriteBatch::new();
    batch.delete(Data, "b");
    batch.put(Data, "c", "4");
    engine.write(&batch).unwrap();
    assert_eq!(engine.unflushed(), 2);
    engine.crash();
    assert_eq!(engine.get(Data, b"a").unwrap().unwrap(), "1");
    assert_eq!(engine.get(Data, b"b").unwrap().unwrap(), "2");
    assert_eq!(engine.get(Data, b"c").unwrap(), None);
    assert_eq!(engine.get(Meta, b"applied").unwrap().unwrap(), "2");
    // What is written after the crash stays on its own terms.
    put(&engine, "c", "5");
    engine.crash();
    assert_eq!(engine.get(Data, b"c").unwrap(), None);
    put(&engine, "c", "6");
    engine.flush().unwrap();
    engine.crash();
    assert_eq!(engine.get(Data, b"c").unwrap().unwrap(), "6");
}

#[test]
fn ingest_survives_a_crash_with_everything_before() {
    let engine = MemEngine::new();
    put(&engine, "a", "1");
    let mut ingest = engine.ingest().unwrap();
    ingest.add(Data, b"b", b"2").unwrap();
    ingest.commit(&[], &WriteBatch::new()).unwrap();
    engine.crash();
    assert_eq!(engine.dump().len(), 3);
}

#[test]
fn fails_when_told_to() {
    let engine = MemEngine::new();
    put(&engine, "a", "1");
    engine.fail(MemFault::Writes, true);
    let mut batch = WriteBatch::new();
    batch.put(Data, "b", "1");
    assert_eq!(engine.write(&batch), Err(StorageError::Injected("write")));
    engine.fail(MemFault::Writes, false);
    engine.write(&batch).unwrap();
    engine.fail(MemFault::Flushes, true);
    assert!(engine.flush().is_err());
    engine.fail(MemFault::Reads, true);
    assert!(engine.get(Data, b"a").is_err());
    assert!(engine.snapshot().iter(Data, b"", None, false).next().unwrap().is_err());
    engine.fail(MemFault::Reads, false);
    engine.corrupt(Data, b"a", true);
    assert!(matches!(engine.get(Data, b"a"), Err(StorageError::Corruption(_))));
    assert!(engine.get(Data, b"b").unwrap().is_some());
}

#[test]
fn stalls_until_resumed() {
    let engine = MemEngine::new();
    engine.stall(true);
    let (tell, told) = std::sync::mpsc::channel();
    let handle = engine.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            put(&handle, "a", "1");
            tell.send(()).unwrap();
        });
        assert!(told.recv_timeout(std::time::Duration::from_millis(50)).is_err());
        engine.stall(false);
        told.recv().unwrap();
    });
}
