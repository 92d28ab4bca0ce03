//! What the log's two choices are worth on this machine: preallocated files, and one fsync for all that waits.
//!
//! `cargo run --release -p quorate-storage --features rocks --example log_bench -- [directory]`; the directory decides which disk is
//! measured. Results go into `docs/log-store.md`.

#![allow(clippy::disallowed_methods, reason = "measures time, outside of any node")]
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::{LogPosition, ReplicaId, ShardId};
use quorate_storage::{Done, FileLog, FileLogOptions, GroupKey, LogEntry, LogStore, MemLog};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const FILE: u64 = 32 << 20;
const PAYLOAD: usize = 128;
const GROUPS: u64 = 64;
const TIME: Duration = Duration::from_secs(4);

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(dir).unwrap();
    files(dir.path());
    println!();
    appends(dir.path());
}

/// 4 KiB and fdatasync, one after the other.
fn files(dir: &Path) {
    println!("| file | 4 KiB + fdatasync, µs p50 | p99 | per second |\n|---|---|---|---|");
    let new = |name: &str| {
        let path = dir.join(name);
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap()
    };
    let growing = new("growing");
    let reserved = new("reserved");
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::posix_fallocate(reserved.as_raw_fd(), 0, FILE as libc::off_t) }, 0);
    reserved.sync_all().unwrap();
    let (zeroed, used) = (new("zeroed"), new("used"));
    for (file, byte) in [(&zeroed, 0), (&used, 9)] {
        for at in (0..FILE).step_by(1 << 20) {
            file.write_all_at(&vec![byte; 1 << 20], at).unwrap();
        }
        file.sync_all().unwrap();
    }
    // In turns, so that the machine's moods meet all alike.
    let kinds = [
        ("growing", &growing),
        ("reserved by `fallocate` alone", &reserved),
        ("filled with zeros, as the log's first ones", &zeroed),
        ("used before, as the log's later ones", &used),
    ];
    let mut samples = vec![Vec::new(); kinds.len()];
    for round in 0..10u64 {
        for ((_, file), samples) in kinds.iter().zip(&mut samples) {
            for n in 0..150 {
                samples.push(one_block(file, (round * 150 + n) * BLOCK as u64));
            }
        }
    }
    for ((name, _), samples) in kinds.iter().zip(&mut samples) {
        let total: Duration = samples.iter().sum();
        let rate = samples.len() as f64 / total.as_secs_f64();
        println!("| {name} | {} | {} | {rate:.0} |", percentile(samples, 50), percentile(samples, 99));
    }
}

fn one_block(file: &File, at: u64) -> Duration {
    let start = Instant::now();
    file.write_all_at(&[7; BLOCK], at).unwrap();
    file.sync_data().unwrap();
    start.elapsed()
}

fn percentile(samples: &mut [Duration], percent: usize) -> u128 {
    samples.sort();
    samples[(samples.len() - 1) * percent / 100].as_micros()
}

/// What the group fsync is measured against: each append writes and waits for the disk by itself.
struct Single {
    file: File,
    at: Mutex<u64>,
    fsyncs: AtomicU64,
}

impl Single {
    fn append(&self, entry: &LogEntry, done: Done) {
        let mut at = self.at.lock();
        let mut record = vec![0; 48];
        record.extend_from_slice(&entry.payload);
        let crc = crc32c::crc32c(&record);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        if *at + record.len() as u64 > FILE {
            *at = 0;
        }
        self.file.write_all_at(&record, *at).unwrap();
        self.file.sync_data().unwrap();
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        *at += record.len() as u64;
        drop(at);
        done(Ok(()));
    }
}

type Append = Arc<dyn Fn(GroupKey, LogEntry, Done) + Send + Sync>;

fn appends(dir: &Path) {
    println!("| log | clients | appends/s | p50 µs | p99 µs | appends per fsync | CPU µs per append |");
    println!("|---|---|---|---|---|---|---|");
    for clients in [1, 16, 256] {
        let memory = MemLog::new();
        let append: Append = Arc::new(move |group, entry, done| memory.append(group, vec![entry], done));
        run("memory", clients, append, true, &|| 0);

        let file =
            OpenOptions::new().write(true).create(true).truncate(true).open(dir.join("single")).unwrap();
        file.write_all_at(&vec![0; FILE as usize], 0).unwrap();
        file.sync_all().unwrap();
        let single = Arc::new(Single { file, at: Mutex::new(0), fsyncs: AtomicU64::new(0) });
        let log = single.clone();
        let append: Append = Arc::new(move |_, entry, done| log.append(&entry, done));
        run("fsync per append", clients, append, false, &|| single.fsyncs.load(Ordering::Relaxed));

        #[cfg(feature = "rocks")]
        run("RocksDB, its log synced", clients, rocks(&dir.join(format!("rocks{clients}"))), false, &|| 0);

        let place = dir.join(format!("log{clients}"));
        let spawn = |_, body: Box<dyn FnOnce() + Send>| std::thread::Builder::new().spawn(body).map(drop);
        let log = FileLog::open(&place, FileLogOptions::default(), &spawn).unwrap();
        let store = log.clone();
        let append: Append = Arc::new(move |group, entry, done| store.append(group, vec![entry], done));
        run("one writer, group fsync", clients, append, true, &|| log.fsyncs());
        log.close();
    }
}

/// The other candidate: entries as keys of a RocksDB that syncs its own log, which it groups as well.
#[cfg(feature = "rocks")]
fn rocks(path: &Path) -> Append {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_recycle_log_file_num(4);
    let db = rocksdb::DB::open(&options, path).unwrap();
    let mut synced = rocksdb::WriteOptions::default();
    synced.set_sync(true);
    Arc::new(move |group, entry, done| {
        let key = [group.shard.0.to_be_bytes(), entry.position.index.to_be_bytes()].concat();
        db.put_opt(key, &entry.payload, &synced).unwrap();
        done(Ok(()));
    })
}

/// Each client appends to a group of its own in turn and waits.
fn run(name: &str, clients: u64, append: Append, in_order: bool, fsyncs: &dyn Fn() -> u64) {
    let before = (fsyncs(), cpu());
    let start = Instant::now();
    let next: Arc<Vec<Mutex<u64>>> = Arc::new((0..GROUPS).map(|_| Mutex::new(1)).collect());
    let workers: Vec<_> = (0..clients)
        .map(|client| {
            let (append, next) = (append.clone(), next.clone());
            std::thread::spawn(move || {
                let payload = Bytes::from(vec![client as u8; PAYLOAD]);
                let group = GroupKey { shard: ShardId(client % GROUPS), replica: ReplicaId(1) };
                let mut samples = Vec::new();
                while start.elapsed() < TIME {
                    let began = Instant::now();
                    let (over, waiting) = (Arc::new(AtomicBool::new(false)), std::thread::current());
                    let tell = over.clone();
                    let done: Done = Box::new(move |result| {
                        result.unwrap();
                        tell.store(true, Ordering::Release);
                        waiting.unpark();
                    });
                    {
                        let mut index = next[(client % GROUPS) as usize].lock();
                        let entry = LogEntry {
                            position: LogPosition { term: 1, index: *index },
                            payload: payload.clone(),
                        };
                        *index += 1;
                        // A log wants a group's entries in order; the others write while they are called.
                        let _order = in_order.then_some(index);
                        append(group, entry, done);
                    }
                    while !over.load(Ordering::Acquire) {
                        std::thread::park();
                    }
                    samples.push(began.elapsed());
                }
                samples
            })
        })
        .collect();
    let mut samples: Vec<Duration> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    let (count, took) = (samples.len() as f64, start.elapsed().as_secs_f64());
    let syncs = fsyncs() - before.0;
    let each = if syncs == 0 { "–".to_owned() } else { format!("{:.1}", count / syncs as f64) };
    let cpu = (cpu() - before.1).as_micros() as f64 / count;
    println!(
        "| {name} | {clients} | {:.0} | {} | {} | {each} | {cpu:.0} |",
        count / took,
        percentile(&mut samples, 50),
        percentile(&mut samples, 99),
    );
}

/// User and system time of this process.
fn cpu() -> Duration {
    // SAFETY: all fields of the structure are plain numbers, and the call fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let time =
        |t: libc::timeval| Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64);
    time(usage.ru_utime) + time(usage.ru_stime)
}
