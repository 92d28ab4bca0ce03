//! Real processes, killed: a child of this test binary writes and says what is durable, the parent kills it at some
//! instant and looks at what is left.

use bytes::Bytes;
use quorate_proto::{LogPosition, ReplicaId, ShardId};
use quorate_storage::{FileLog, FileLogOptions, GroupKey, LogEntry, LogStore};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const DIR: &str = "QUORATE_CRASH_DIR";

fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Tells the parent; what was told must be there after any crash.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "durable {text}").unwrap();
    out.flush().unwrap();
}

/// Says that it is alive; nothing of that need be there.
fn go_on() {
    println!("on");
}

/// Runs the child test until it has said `lines` times what is durable, has gone `on` so many times since and a little more,
/// kills it, and returns what it said to be durable.
fn run_and_kill(child: &str, dir: &Path, lines: usize, on: usize) -> Vec<String> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut said, mut left) = (Vec::new(), on);
    let mut reader = BufReader::new(process.stdout.take().unwrap()).lines();
    while (said.len() < lines || left > 0)
        && let Some(line) = reader.next()
    {
        left = if said.len() < lines { on } else { left - 1 };
        said.extend(line.unwrap().split("durable ").nth(1).map(str::to_owned));
    }
    // `kill` is SIGKILL; what it says until then counts as well.
    process.kill().unwrap();
    said.extend(
        reader.map_while(Result::ok).filter_map(|line| line.split("durable ").nth(1).map(str::to_owned)),
    );
    process.wait().unwrap();
    assert!(said.len() >= lines, "the child ended by itself after {said:?}");
    said
}

fn open_log(path: &Path) -> Arc<dyn LogStore> {
    let options = FileLogOptions { segment_size: 1 << 16, cache: 1 << 12, fault: None };
    FileLog::open(path, options, &|_, body| std::thread::Builder::new().spawn(body).map(drop)).unwrap()
}

fn group(n: u64) -> GroupKey {
    GroupKey { shard: ShardId(n), replica: ReplicaId(n) }
}

fn payload(group: u64, index: u64) -> Bytes {
    format!("{group}.{index} ").repeat(1 + (index % 40) as usize).into()
}

#[test]
#[ignore = "run by killed_logs_keep_what_was_acknowledged"]
fn log_child() {
    let Some(dir) = dir() else { return };
    let log = open_log(&dir);
    for index in 1.. {
        for n in 1..=5 {
            let entry = LogEntry { position: LogPosition { term: 1, index }, payload: payload(n, index) };
            let done = Box::new(move |result: Result<(), _>| {
                result.unwrap();
                say(&format!("{n} {index}"));
            });
            log.append(group(n), vec![entry], done);
        }
        if index % 8 == 0 {
            let n = index / 8 % 4 + 1;
            log.purge_to(group(n), LogPosition { term: 1, index: index - 4 }, Box::new(|_| ()));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn killed_logs_keep_what_was_acknowledged() {
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let said = run_and_kill("crash::log_child", dir.path(), 200 + round * 700, 0);
        let log = open_log(dir.path());
        for line in &said {
            let (n, index) = line.split_once(' ').unwrap();
            let (n, index): (u64, u64) = (n.parse().unwrap(), index.parse().unwrap());
            let state = log.state(group(n));
            assert!(state.last.unwrap().index >= index, "group {n} lost {index}: {state:?}");
        }
        for key in log.groups() {
            let purged = log.state(key).purged.map_or(0, |purged| purged.index);
            for (entry, index) in log.read(key, 0..u64::MAX, u64::MAX).unwrap().iter().zip(purged + 1..) {
                assert_eq!((entry.position.index, &entry.payload), (index, &payload(key.shard.0, index)));
            }
        }
    }
}

#[cfg(feature = "rocks")]
mod engine {
    use super::*;
    use quorate_storage::Family::{Data, Intent, Meta, Record};
    use quorate_storage::{Engine, FamilyRange, RocksOptions, WriteBatch, open_rocks};

    /// Write buffers so small that RocksDB flushes by itself all the time.
    fn open(path: &Path) -> Arc<dyn Engine> {
        open_rocks(path, &RocksOptions { write_buffers: 128 << 10, ..RocksOptions::default() }).unwrap()
    }

    fn key(n: u64) -> Bytes {
        Bytes::copy_from_slice(&n.to_be_bytes())
    }

    #[test]
    #[ignore = "run by killed_engines_keep_a_prefix"]
    fn child() {
        let Some(dir) = dir() else { return };
        let engine = open(&dir);
        for n in 1.. {
            let mut batch = WriteBatch::new();
            batch.put(Data, key(n), vec![n as u8; 2000]);
            batch.put(Intent, key(n), "intent");
            batch.delete(Intent, key(n - 1));
            batch.put(Record, key(n), "record");
            if n % 10 == 0 {
                batch.delete_range(FamilyRange { family: Record, start: key(0), end: Some(key(n)) });
            }
            batch.put(Meta, "applied", key(n));
            engine.write(&batch).unwrap();
            if n % 300 == 0 {
                engine.flush().unwrap();
                say(&n.to_string());
            } else if n % 10 == 0 {
                go_on();
            }
        }
    }

    /// Killed well after the last flush that was asked for, so that those stand that RocksDB has made by itself.
    #[test]
    fn killed_engines_keep_a_prefix() {
        for round in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let said = run_and_kill("crash::engine::child", dir.path(), 1 + round, 8 + round * 6);
            let engine = open(dir.path());
            let applied = engine.get(Meta, b"applied").unwrap().unwrap();
            let applied = u64::from_be_bytes(applied[..].try_into().unwrap());
            assert!(applied >= said.last().unwrap().parse().unwrap(), "{applied}, {said:?}");
            let snapshot = engine.snapshot();
            let keys = |family| snapshot.iter(family, b"", None, false).map(|pair| pair.unwrap().0);
            assert!(keys(Data).eq((1..=applied).map(key)), "all of {applied} batches, and none later");
            assert!(keys(Intent).eq([key(applied)]));
            assert!(keys(Record).eq((applied / 10 * 10..=applied).map(key)));
        }
    }

    #[test]
    #[ignore = "run by killed_ingests_are_whole_or_absent"]
    fn ingest_child() {
        let Some(dir) = dir() else { return };
        let engine = open(&dir);
        for n in 1u64.. {
            let mut ingest = engine.ingest().unwrap();
            for row in 0..200 + n % 7 {
                ingest.add(Data, &key(row), &key(n)).unwrap();
                ingest.add(Intent, &key(row), &key(n)).unwrap();
            }
            let mut batch = WriteBatch::new();
            batch.put(Meta, "generation", key(n));
            let all = |family| FamilyRange { family, start: Bytes::new(), end: None };
            ingest.commit(&[all(Data), all(Intent)], &batch).unwrap();
            say(&n.to_string());
            let mut batch = WriteBatch::new();
            batch.put(Record, "unflushed", key(n));
            engine.write(&batch).unwrap();
        }
    }

    #[test]
    fn killed_ingests_are_whole_or_absent() {
        for round in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let said = run_and_kill("crash::engine::ingest_child", dir.path(), 3 + round * 5, 0);
            let engine = open(dir.path());
            let generation = engine.get(Meta, b"generation").unwrap().unwrap();
            let n = u64::from_be_bytes(generation[..].try_into().unwrap());
            assert!(n >= said.last().unwrap().parse().unwrap());
            let snapshot = engine.snapshot();
            for family in [Data, Intent] {
                let rows: Vec<_> = snapshot.iter(family, b"", None, false).map(Result::unwrap).collect();
                assert_eq!(rows.len() as u64, 200 + n % 7);
                assert!(rows.iter().all(|(_, value)| *value == generation), "rows of different ingests");
            }
            // What was written before an ingest is durable with it.
            let before = engine
                .get(Record, b"unflushed")
                .unwrap()
                .map(|v| u64::from_be_bytes(v[..].try_into().unwrap()));
            assert!(before.unwrap_or(0) >= n - 1);
            let staged = std::fs::read_dir(dir.path().join("ingest")).unwrap().count();
            assert_eq!(staged, 0, "staged files are cleared at the next start");
        }
    }
}
