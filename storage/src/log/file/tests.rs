//! What only the file log can get wrong: group commit, failed fsyncs, torn tails, corruption, recycling.
#![expect(clippy::disallowed_methods, reason = "real threads against real files")]

use super::*;
use crate::log::file::frame::{self, FRAME_HEADER};
use proptest::prelude::*;
use quorate_proto::{ReplicaId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const SEGMENT: u64 = 1 << 14;

/// In memory where that exists: these tests ask for the order of events, not for the disk.
pub(super) fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.exists() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn spawn(_: &'static str, body: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
    std::thread::Builder::new().spawn(body).map(drop)
}

pub(super) fn open_with(path: &Path, fault: Option<DiskFault>) -> Result<Arc<dyn LogStore>> {
    FileLog::open(path, FileLogOptions { segment_size: SEGMENT, cache: 1 << 10, fault }, &spawn)
}

pub(super) fn group(n: u64) -> GroupKey {
    GroupKey { shard: ShardId(n), replica: ReplicaId(1) }
}

pub(super) fn entry(index: u64, payload: Vec<u8>) -> LogEntry {
    LogEntry { position: LogPosition { term: 1, index }, payload: payload.into() }
}

pub(super) fn start(run: impl FnOnce(Done)) -> Receiver<Result<(), StorageError>> {
    let (tell, told) = channel();
    run(Box::new(move |result| {
        let _ = tell.send(result);
    }));
    told
}

pub(super) fn wait(run: impl FnOnce(Done)) -> Result<(), StorageError> {
    start(run).recv().unwrap()
}

/// Holds the disk's fsyncs while `held`.
#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    moved: parking_lot::Condvar,
    waiting: AtomicBool,
}

impl Gate {
    fn fault(self: &Arc<Self>) -> DiskFault {
        let gate = self.clone();
        Arc::new(move |call, _| {
            let mut held = gate.held.lock();
            while call == DiskCall::Sync && *held {
                gate.waiting.store(true, Ordering::SeqCst);
                gate.moved.wait(&mut held);
            }
            Ok(())
        })
    }

    fn hold(&self, on: bool) {
        *self.held.lock() = on;
        self.moved.notify_all();
    }
}

#[test]
fn all_that_waits_shares_one_fsync() {
    let dir = directory();
    let gate = Arc::new(Gate::default());
    let log = open_with(dir.path(), Some(gate.fault())).unwrap();
    let before = log.fsyncs();
    gate.hold(true);
    let first = start(|done| log.append(group(0), vec![entry(1, b"first".to_vec())], done));
    while !gate.waiting.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let rest: Vec<_> = (1..=200)
        .map(|n| match n % 4 {
            0 => start(|done| log.save_vote(group(n), Bytes::from("vote"), done)),
            _ => start(|done| log.append(group(1000 + n), vec![entry(n, b"more".to_vec())], done)),
        })
        .collect();
    gate.hold(false);
    first.recv().unwrap().unwrap();
    for told in &rest {
        told.recv().unwrap().unwrap();
    }
    assert_eq!(log.fsyncs() - before, 2, "one for the first append, one for the {} others", rest.len());
}

#[test]
fn a_failed_fsync_kills_the_log() {
    let dir = directory();
    let failing = Arc::new(AtomicBool::new(false));
    let flag = failing.clone();
    let fault: DiskFault = Arc::new(move |call, _| match call {
        DiskCall::Sync if flag.load(Ordering::SeqCst) => Err(std::io::Error::other("EIO")),
        _ => Ok(()),
    });
    let log = open_with(dir.path(), Some(fault)).unwrap();
    wait(|done| log.append(group(1), vec![entry(1, b"kept".to_vec())], done)).unwrap();
    failing.store(true, Ordering::SeqCst);
    let waiting: Vec<_> =
        (2..10).map(|n| start(|done| log.append(group(1), vec![entry(n, b"lost".to_vec())], done))).collect();
    for told in waiting {
        assert!(matches!(told.recv().unwrap(), Err(StorageError::Dead(_))));
    }
    assert!(log.dead().unwrap().to_string().contains("EIO"));
    // The disk recovers; the log does not: what the kernel dropped stays dropped.
    failing.store(false, Ordering::SeqCst);
    assert!(matches!(wait(|done| log.save_vote(group(1), Bytes::new(), done)), Err(StorageError::Dead(_))));
    log.close();
    drop(log);
    let log = open_with(dir.path(), None).unwrap();
    assert_eq!(log.read(group(1), 1..2, 100).unwrap()[0].payload, "kept");
}

#[test]
fn nothing_happens_when_nothing_happens() {
    let dir = directory();
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    let fault: DiskFault = Arc::new(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let log = open_with(dir.path(), Some(fault)).unwrap();
    for n in 0..100 {
        wait(|done| log.append(group(n), vec![entry(1, b"x".to_vec())], done)).unwrap();
        log.save_committed(group(n), LogPosition { term: 1, index: 1 });
    }
    std::thread::sleep(Duration::from_millis(100)); // The last mark goes down.
    let before = calls.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(calls.load(Ordering::SeqCst), before);
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = directory();
    let log = open_with(dir.path(), None).unwrap();
    assert!(matches!(open_with(dir.path(), None), Err(StorageError::Io(_))));
    log.close();
    open_with(dir.path(), None).unwrap();
}

#[test]
fn files_are_recycled_and_stay_few() {
    let dir = directory();
    let log = open_with(dir.path(), None).unwrap();
    // Entries of one group stay for good, about half a segment of them, a little in every file that is filled.
    let mut purged = 0;
    for index in 1..=2000u64 {
        wait(|done| log.append(group(1), vec![entry(index, vec![1; 1000])], done)).unwrap();
        if index % 50 == 0 && index < 500 {
            wait(|done| log.append(group(2), vec![entry(index / 50, vec![2; 900])], done)).unwrap();
        }
        if index % 5 == 0 {
            purged = index - 5;
            wait(|done| log.purge_to(group(1), LogPosition { term: 1, index: purged }, done)).unwrap();
        }
        if index % 100 == 0 {
            let files = segment::list(dir.path()).unwrap().len();
            assert!(files <= 10, "{files} files after {index} entries");
        }
    }
    log.close();
    drop(log);
    let log = open_with(dir.path(), None).unwrap();
    assert_eq!(log.read(group(1), 0..u64::MAX, u64::MAX).unwrap().len() as u64, 2000 - purged);
    assert_eq!(log.read(group(2), 0..u64::MAX, u64::MAX).unwrap().len(), 9);
}

/// A file counts as written to from one write to it until its fsync. Another one is not begun, nor an old one made free,
/// before that.
#[test]
fn an_old_file_goes_when_what_replaces_it_is_synced() {
    #[derive(Default)]
    struct Seen {
        last: Option<PathBuf>,
        dirty: bool,
        changes: u64,
        early: u64,
    }
    let dir = directory();
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let noting = seen.clone();
    let fault: DiskFault = Arc::new(move |call, file| {
        let mut seen = noting.lock();
        let same = seen.last.as_deref() == Some(file);
        match call {
            DiskCall::Allocate => {}
            DiskCall::Sync => seen.dirty &= !same,
            DiskCall::Write => {
                seen.changes += u64::from(!same);
                seen.early += u64::from(!same && seen.dirty);
                (seen.last, seen.dirty) = (Some(file.to_owned()), true);
            }
        }
        Ok(())
    });
    let log = open_with(dir.path(), Some(fault)).unwrap();
    wait(|done| log.save_vote(group(1), Bytes::from("kept"), done)).unwrap();
    for index in 1..=200u64 {
        wait(|done| log.append(group(2), vec![entry(index, vec![1; 1000])], done)).unwrap();
        if index % 5 == 0 {
            wait(|done| log.purge_to(group(2), LogPosition { term: 1, index }, done)).unwrap();
        }
    }
    log.close();
    drop(log);
    let seen = seen.lock();
    assert!(seen.changes > 20 && seen.early == 0, "{} of {} too early", seen.early, seen.changes);
    let log = open_with(dir.path(), None).unwrap();
    assert_eq!(log.state(group(1)).vote, Some(Bytes::from("kept")));
}

/// Numbers of a torn tail's frames are given out again, so that a frame of the file's earlier life may bear the next one.
#[test]
fn frames_of_a_files_earlier_life_are_strangers() {
    let dir = directory();
    let framed = |generation, sequence: u64| {
        let mut raw = vec![0; FRAME_HEADER];
        record::put_entries(&mut raw, group(1), &[entry(sequence, b"x".to_vec())]);
        frame::seal(&mut raw, frame::FrameHead { generation, sequence, synced: sequence - 1 });
        raw
    };
    let mut content = segment::header(5, 1);
    content.extend(framed(5, 1));
    content.extend(framed(4, 2));
    content.resize(SEGMENT as usize, 0);
    std::fs::write(dir.path().join("00000001.qlog"), content).unwrap();
    let log = open_with(dir.path(), None).unwrap();
    assert_eq!(log.read(group(1), 0..u64::MAX, u64::MAX).unwrap().len(), 1);
}

#[test]
fn an_entry_larger_than_a_segment() {
    let dir = directory();
    let log = open_with(dir.path(), None).unwrap();
    for index in 1..=3 {
        wait(|done| log.append(group(1), vec![entry(index, vec![index as u8; 100_000])], done)).unwrap();
    }
    log.close();
    drop(log);
    let log = open_with(dir.path(), None).unwrap();
    let entries = log.read(group(1), 0..9, u64::MAX).unwrap();
    assert!(entries.len() == 3 && entries.iter().all(|entry| entry.payload.len() == 100_000));
}

#[test]
fn a_corrupt_entry_is_not_served() {
    let dir = directory();
    let log = open_with(dir.path(), None).unwrap();
    let needle = b"the very payload".to_vec();
    wait(|done| log.append(group(1), vec![entry(1, needle.clone())], done)).unwrap();
    wait(|done| log.append(group(1), (2..5).map(|n| entry(n, vec![0; 1000])).collect(), done)).unwrap();
    for file in segment::list(dir.path()).unwrap() {
        let content = file.content().unwrap();
        if let Some(at) = content.windows(needle.len()).position(|part| part == needle) {
            file.write(b"T", at as u64, &Disk::default()).unwrap();
        }
    }
    assert!(matches!(log.read(group(1), 1..2, 100), Err(StorageError::Corruption(_))));
    assert_eq!(log.read(group(1), 2..5, u64::MAX).unwrap().len(), 3);
}

/// The directory as a crash would leave it, and what had been acknowledged by then.
#[derive(Clone)]
struct Image {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Files with writes that no fsync has covered.
    dirty: BTreeSet<PathBuf>,
    acknowledged: BTreeMap<u64, Known>,
}

/// What a group must still have: its entries from `purged` to `last`, and its vote.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    purged: u64,
    last: u64,
    vote: u64,
}

fn payload(group: u64, index: u64) -> Vec<u8> {
    format!("{group}/{index} ").repeat((group as usize * 37 + index as usize * 11) % 90 + 1).into_bytes()
}

/// Runs a workload and takes an image at the `moment`-th fsync, just before it.
fn image(seed: u64, moment: u64) -> Image {
    let dir = directory();
    let acknowledged: Arc<Mutex<BTreeMap<u64, Known>>> = Arc::default();
    let taken: Arc<Mutex<Option<Image>>> = Arc::default();
    let (known, place, path) = (acknowledged.clone(), taken.clone(), dir.path().to_owned());
    let syncs = AtomicU64::new(0);
    let unsynced: Mutex<BTreeSet<PathBuf>> = Mutex::default();
    let fault: DiskFault = Arc::new(move |call, file| {
        if call == DiskCall::Allocate {
            return Ok(());
        }
        let mut dirty = unsynced.lock();
        if call == DiskCall::Write {
            dirty.insert(file.to_owned());
            return Ok(());
        }
        if syncs.fetch_add(1, Ordering::SeqCst) == moment {
            let read = |file: segment::LogFile| (file.path.clone(), file.content().unwrap());
            let files = segment::list(&path).unwrap().into_iter().map(read).collect();
            *place.lock() = Some(Image { files, dirty: dirty.clone(), acknowledged: known.lock().clone() });
        }
        dirty.remove(file);
        Ok(())
    });
    let log = open_with(dir.path(), Some(fault)).unwrap();
    let mut at: BTreeMap<u64, Known> = BTreeMap::new();
    let mut random = seed;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    while taken.lock().is_none() {
        let n = next(4) + 1;
        let state = at.entry(n).or_default();
        let tell = acknowledged.clone();
        let told = match next(10) {
            0..7 => {
                let entries: Vec<LogEntry> = (1..=next(3) + 1)
                    .map(|ahead| entry(state.last + ahead, payload(n, state.last + ahead)))
                    .collect();
                state.last += entries.len() as u64;
                let last = state.last;
                start(|done| {
                    log.append(group(n), entries, noting(tell, n, move |known| known.last = last, done))
                })
            }
            7 => {
                state.vote += 1;
                let vote = state.vote;
                start(|done| {
                    let done = noting(tell, n, move |known| known.vote = vote, done);
                    log.save_vote(group(n), vote.to_string().into(), done)
                })
            }
            8 if state.last > 0 => {
                log.save_committed(group(n), LogPosition { term: 1, index: state.last });
                continue;
            }
            9 if state.last > 2 => {
                let to = state.purged.max(state.last - 2);
                state.purged = to;
                start(|done| {
                    let done = noting(tell, n, move |known| known.purged = to, done);
                    log.purge_to(group(n), LogPosition { term: 1, index: to }, done)
                })
            }
            _ => continue,
        };
        if next(3) > 0 {
            told.recv().unwrap().unwrap();
        }
    }
    log.close();
    let image = taken.lock().take();
    image.unwrap()
}

fn noting(
    known: Arc<Mutex<BTreeMap<u64, Known>>>,
    group: u64,
    note: impl FnOnce(&mut Known) + Send + 'static,
    done: Done,
) -> Done {
    Box::new(move |result| {
        note(known.lock().entry(group).or_default());
        done(result);
    })
}

impl Image {
    /// Frames of the newest file, as (offset, length, head).
    fn newest(&self) -> Option<(usize, Vec<(usize, usize, frame::FrameHead)>)> {
        let generation = |raw: &Vec<u8>| segment::parse_header(raw).map(|(generation, _)| generation);
        let at = (0..self.files.len()).max_by_key(|at| generation(&self.files[*at].1))?;
        generation(&self.files[at].1)?;
        Some((at, self.frames(at)))
    }

    fn frames(&self, at: usize) -> Vec<(usize, usize, frame::FrameHead)> {
        let content = &self.files[at].1;
        let Some((generation, _)) = segment::parse_header(content) else { return Vec::new() };
        let mut offset = FIRST_FRAME as usize;
        let mut frames = Vec::new();
        while let Some((head, _, length)) = content.get(offset..).and_then(frame::open) {
            if head.generation != generation {
                break;
            }
            frames.push((offset, length, head));
            offset += length;
        }
        frames
    }

    fn open(&self) -> Result<Arc<dyn LogStore>> {
        let dir = directory();
        for (path, content) in &self.files {
            std::fs::write(dir.path().join(path.file_name().unwrap()), content).unwrap();
        }
        let log = open_with(dir.path(), None);
        // Read from open files from here on.
        drop(dir);
        log
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let log = match self.open() {
            Ok(log) => log,
            Err(error) => {
                return Err(TestCaseError::fail(format!("an honest crash is taken for damage: {error}")));
            }
        };
        for (n, known) in &self.acknowledged {
            let entries = log.read(group(*n), 0..u64::MAX, u64::MAX).unwrap();
            let state = log.state(group(*n));
            let purged = state.purged.map_or(0, |purged| purged.index);
            prop_assert!(purged >= known.purged);
            prop_assert!(
                state.last.map_or(0, |last| last.index) >= known.last,
                "group {n}: {state:?}, {known:?}"
            );
            let vote = state.vote.map_or(0, |vote| String::from_utf8_lossy(&vote).parse().unwrap());
            prop_assert!(vote >= known.vote);
            for (entry, index) in entries.iter().zip(purged + 1..) {
                prop_assert_eq!(entry.position.index, index);
                prop_assert_eq!(&entry.payload[..], &payload(*n, index)[..]);
            }
        }
        // And life goes on.
        let state = log.state(group(1));
        let next = state.last.map_or(1, |last| last.index + 1);
        prop_assert!(wait(|done| log.append(group(1), vec![entry(next, payload(1, next))], done)).is_ok());
        log.close();
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 50, ..ProptestConfig::default() })]

    /// Sectors that were not synced may be on the disk or not, each for itself, or hold garbage.
    #[test]
    fn torn_tails_lose_nothing_acknowledged(seed: u64, moment in 1u64..120, fates in proptest::collection::vec(0u8..4, 64)) {
        let mut image = image(seed, moment);
        if let Some((at, frames)) = image.newest()
            && image.dirty.contains(&image.files[at].0)
        {
            let synced = frames.last().map_or(u64::MAX, |(_, _, head)| head.synced);
            let torn: Vec<(usize, usize)> = frames
                .iter()
                .filter(|(_, _, head)| head.sequence > synced)
                .map(|(offset, length, _)| (*offset, offset + length))
                .collect();
            let fresh = torn.first().is_some_and(|(offset, _)| *offset == FIRST_FRAME as usize);
            let content = &mut image.files[at].1;
            if let (Some((start, _)), Some((_, end))) = (torn.first(), torn.last()) {
                let mut sector = start / 512;
                while sector * 512 < *end {
                    let part = (sector * 512).max(*start)..((sector + 1) * 512).min(*end);
                    match fates[sector % fates.len()] {
                        0 => content[part].fill(0),
                        1 => content[part].fill(0xa5),
                        _ => {}
                    }
                    sector += 1;
                }
                if fresh && fates[0] == 0 {
                    content[..64].fill(0);
                }
            }
        }
        image.check()?;
    }

    /// One wrong byte in anything that was synced: the log refuses to open.
    #[test]
    fn damage_to_synced_frames_is_found(seed: u64, moment in 5u64..120, pick: proptest::sample::Index, byte: proptest::sample::Index, flip in 1u8.., in_header in proptest::bool::weighted(0.2)) {
        let mut image = image(seed, moment);
        image.check()?;
        let Some((_, frames)) = image.newest() else { return Ok(()) };
        let Some(synced) = frames.last().map(|(_, _, head)| head.synced) else { return Ok(()) };
        let mut places = Vec::new();
        for at in 0..image.files.len() {
            let frames = image.frames(at);
            places.extend(frames.iter().filter(|(.., head)| head.sequence <= synced).map(|frame| (at, *frame)));
        }
        if places.is_empty() {
            return Ok(());
        }
        let (at, (offset, length, _)) = places[pick.index(places.len())];
        let content = &mut image.files[at].1;
        if in_header {
            content[byte.index(28)] ^= flip;
        } else {
            // Padding is not covered.
            let body = u32::from_le_bytes(content[offset + 32..offset + 36].try_into().unwrap()) as usize;
            assert!(FRAME_HEADER + body <= length);
            content[offset + byte.index(FRAME_HEADER + body)] ^= flip;
        }
        prop_assert!(matches!(image.open(), Err(StorageError::Corruption(_))), "in {:?}", image.files[at].0);
    }
}

#[test]
fn the_cache_keeps_its_limit() {
    let mut index = Index::new(1000);
    let key = group(1);
    for n in 1..=100u64 {
        let (ticket, _) = index.apply(key, &LogOp::Append(vec![entry(n, vec![0; 100])])).unwrap();
        if n == 50 {
            continue; // Not on disk yet: it and all after it stay.
        }
        let place = index::Place { generation: 1, offset: 0, length: 100, crc: 0 };
        index.settle(&[index::Written {
            group: key,
            position: LogPosition { term: 1, index: n },
            ticket,
            place,
        }]);
        let expected = if n < 50 { (n as usize * 100).min(1000) } else { (n as usize - 49) * 100 + 900 };
        assert!(index.cached_bytes() <= expected.max(1000), "{n}: {}", index.cached_bytes());
    }
    index.apply(key, &LogOp::Remove).unwrap();
    assert_eq!(index.cached_bytes(), 0);
}

#[test]
fn zeroed_files_are_as_large_as_they_say() {
    let dir = directory();
    let file = segment::LogFile::create(dir.path(), 1, SEGMENT, &Disk::default()).unwrap();
    assert_eq!(std::fs::metadata(&file.path).unwrap().len(), SEGMENT);
    let mut raw = [1; 16];
    std::fs::File::open(&file.path).unwrap().read_exact_at(&mut raw, SEGMENT - 16).unwrap();
    assert_eq!(raw, [0; 16]);
}
