//! A disk without space: what the log cannot write waits, nothing is told before its time, and nothing is lost.

use super::tests::{directory, entry, group, open_with, start, wait};
use super::*;
use std::io::ErrorKind::StorageFull;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Receiver;

type Told = Receiver<Result<(), StorageError>>;

/// Calls that need space fail while the flag says so.
fn full_while(flag: &Arc<AtomicBool>) -> DiskFault {
    let flag = flag.clone();
    Arc::new(move |call, _| match call {
        DiskCall::Allocate | DiskCall::Write if flag.load(Ordering::SeqCst) => Err(StorageFull.into()),
        _ => Ok(()),
    })
}

/// Calls that need space fail from the `first` on, `many` times. Also says how many there were.
fn full_for(first: u64, many: u64) -> (DiskFault, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    let fault: DiskFault = Arc::new(move |call, _| {
        if call == DiskCall::Sync {
            return Ok(());
        }
        let at = counter.fetch_add(1, Ordering::SeqCst);
        if (first..first + many).contains(&at) { Err(StorageFull.into()) } else { Ok(()) }
    });
    (fault, calls)
}

const ENTRIES: u64 = 60;

/// Several files' worth of everything that is written, old files given back among it.
fn work(log: &dyn LogStore) {
    wait(|done| log.save_vote(group(2), Bytes::from("vote"), done)).unwrap();
    for index in 1..=ENTRIES {
        wait(|done| log.append(group(1), vec![entry(index, vec![index as u8; 1000])], done)).unwrap();
        if index % 20 == 0 {
            let to = LogPosition { term: 1, index: index - 10 };
            wait(|done| log.purge_to(group(1), to, done)).unwrap();
            wait(|done| log.append(group(2), vec![entry(index / 20, vec![2; 20_000])], done)).unwrap();
        }
    }
}

fn check(log: &dyn LogStore, context: &str) {
    assert_eq!(log.state(group(2)).vote, Some(Bytes::from("vote")), "{context}");
    assert_eq!(log.read(group(2), 0..u64::MAX, u64::MAX).unwrap().len() as u64, ENTRIES / 20, "{context}");
    let kept = log.read(group(1), 0..u64::MAX, u64::MAX).unwrap();
    let expected = (ENTRIES - 9..=ENTRIES).map(|index| entry(index, vec![index as u8; 1000]));
    assert!(kept.into_iter().eq(expected), "{context}");
}

#[test]
fn whichever_call_finds_the_disk_full_nothing_is_lost() {
    let mut first = 0;
    loop {
        let mut calls = 0;
        for many in [1, 4] {
            let dir = directory();
            let (fault, counter) = full_for(first, many);
            let context = format!("calls {first} to {}", first + many);
            let log = loop {
                match open_with(dir.path(), Some(fault.clone())) {
                    Ok(log) => break log,
                    Err(error) => assert!(matches!(error, StorageError::NoSpace(_)), "{context}: {error}"),
                }
            };
            work(&*log);
            check(&*log, &context);
            log.close();
            drop(log);
            check(&*open_with(dir.path(), None).unwrap(), &context);
            calls = counter.load(Ordering::SeqCst);
        }
        first += 1;
        if first >= calls {
            break;
        }
    }
    assert!(first > ENTRIES, "{first}");
}

/// Starts appends until the log waits for space.
fn fill(log: &dyn LogStore) -> Vec<Told> {
    let mut told = Vec::new();
    while !log.is_stuck() {
        if told.len() < 200 {
            let next = told.len() as u64 + 1;
            told.push(start(|done| log.append(group(1), vec![entry(next, vec![1; 1000])], done)));
        }
        std::thread::yield_now();
    }
    told
}

#[test]
fn nothing_is_told_before_there_is_space() {
    let dir = directory();
    let full = Arc::new(AtomicBool::new(false));
    let log = open_with(dir.path(), Some(full_while(&full))).unwrap();
    full.store(true, Ordering::SeqCst);
    let told = fill(&*log);
    let last = told.len() as u64;
    assert!(told.last().unwrap().try_recv().is_err());
    assert_eq!(
        log.read(group(1), last..last + 1, 1).unwrap().len(),
        1,
        "what is appended can be read at once"
    );
    assert!(log.state(group(1)).durable.unwrap_or_default().index < last);
    assert!(log.dead().is_none());
    full.store(false, Ordering::SeqCst);
    told.into_iter().for_each(|told| told.recv().unwrap().unwrap());
    assert!(!log.is_stuck());
    log.close();
    drop(log);
    let log = open_with(dir.path(), None).unwrap();
    assert_eq!(log.state(group(1)).last.unwrap().index, last);
}

#[test]
fn a_log_that_waits_for_space_can_be_closed() {
    let dir = directory();
    let full = Arc::new(AtomicBool::new(false));
    let log = open_with(dir.path(), Some(full_while(&full))).unwrap();
    full.store(true, Ordering::SeqCst);
    let told = fill(&*log);
    log.close();
    let kept = told.into_iter().map(|told| told.recv().unwrap()).take_while(|told| told.is_ok()).count();
    drop(log);
    let log = open_with(dir.path(), None).unwrap();
    assert!(log.state(group(1)).last.unwrap_or_default().index >= kept as u64);
}

/// What an fsync had to write may be lost, for whatever reason it failed.
#[test]
fn an_fsync_that_finds_no_space_kills_the_log() {
    let dir = directory();
    let full = Arc::new(AtomicBool::new(false));
    let flag = full.clone();
    let fault: DiskFault = Arc::new(move |call, _| match call {
        DiskCall::Sync if flag.load(Ordering::SeqCst) => Err(StorageFull.into()),
        _ => Ok(()),
    });
    let log = open_with(dir.path(), Some(fault)).unwrap();
    full.store(true, Ordering::SeqCst);
    let told = wait(|done| log.append(group(1), vec![entry(1, b"x".to_vec())], done));
    assert!(matches!(told, Err(StorageError::Dead(_))), "{told:?}");
}
