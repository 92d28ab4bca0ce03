//! One shard with all keys, in memory, without replicas: what the coordinator talks to in these tests.

use parking_lot::Mutex;
use quorate_env::{Env, serve};
use quorate_proto::{
    Key, KvError, LogPosition, ShardId, Span, Timestamp, TxnId, Value,
    key::prefix,
    kv::{
        CheckKind, CommitLocal, LockMode, LockRequest, Party, Prepare, ReadCertificate, ReadOp, ReadReply,
        ReadRequest, ReadResult, Row, Scan, ScanResult, ShardAnswer, ShardOp, ShardReply, ShardRequest,
        Stuck, TxnState, WaitPolicy, Waits,
    },
};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Default)]
struct State {
    data: BTreeMap<Key, Vec<(Timestamp, Option<Value>)>>,
    locks: BTreeMap<Key, Lock>,
    done: BTreeMap<TxnId, Timestamp>,
    /// Rolled back: whatever still waits for them is too late.
    ended: std::collections::BTreeSet<TxnId>,
    /// Who waits for whom, as the detector of deadlocks is told; and since when he is there.
    waits: BTreeMap<TxnId, Waits>,
    entries: u64,
}

#[derive(Clone, Copy)]
struct Lock {
    holder: Party,
    /// Of the first and the last request by which it is held.
    numbers: (u64, u64),
}

pub struct Shard {
    env: Env,
    state: Mutex<State>,
    released: Notify,
    /// Commits are refused.
    pub refuses: AtomicBool,
    /// The next transaction that commits is held, with all copies of its request, until it is let go.
    pub holds: AtomicBool,
    held: Mutex<Option<TxnId>>,
    /// So many locking reads of rows are told of a conflict.
    pub conflicts: AtomicU64,
    /// So many places that locking reads have found free are lost to others, who put there what was there before.
    pub losses: AtomicU64,
    /// Locks that are asked for are refused.
    pub full: AtomicBool,
    scanned: AtomicU64,
    /// Requests that wait for a lock now.
    waiting: AtomicU64,
}

/// Rows of one page, whatever was asked for.
pub const PAGE: usize = 1000;

impl Shard {
    pub fn start(env: &Env) -> Arc<Shard> {
        let shard = Arc::new(Shard {
            env: env.clone(),
            state: Mutex::default(),
            released: Notify::new(),
            refuses: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            held: Mutex::default(),
            conflicts: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            full: AtomicBool::new(false),
            scanned: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        });
        let serving = shard.clone();
        serve(env, move |_, request: ShardRequest| {
            let shard = serving.clone();
            async move { ShardAnswer { result: shard.answer(request.op).await, newer: vec![] } }
        });
        shard
    }

    /// Rows given to scans so far.
    pub fn scanned(&self) -> u64 {
        self.scanned.load(Ordering::SeqCst)
    }

    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    async fn hold(&self, txn: TxnId) {
        if self.holds.swap(false, Ordering::SeqCst) {
            *self.held.lock() = Some(txn);
        }
        while *self.held.lock() == Some(txn) {
            self.env.sleep(Duration::from_millis(5)).await;
        }
    }

    /// A commit is held.
    pub fn is_holding(&self) -> bool {
        self.held.lock().is_some()
    }

    pub fn let_go(&self) {
        *self.held.lock() = None;
    }

    async fn answer(&self, op: ShardOp) -> Result<ShardReply, KvError> {
        match op {
            ShardOp::Read(request) => self.read(request).await.map(ShardReply::Read),
            ShardOp::CommitLocal(_) if self.refuses.load(Ordering::Relaxed) => {
                Err(KvError::BadRequest { why: "told to refuse".into() })
            }
            ShardOp::CommitLocal(commit) => {
                self.hold(commit.txn.id).await;
                self.commit(commit)
            }
            // A part with checks alone: there is nothing to write, and the only shard is the only participant.
            ShardOp::Prepare(part) if part.writes.is_empty() => {
                let (read_ts, commit_ts) = (part.read_ts, part.commit_ts);
                let Prepare { txn, commit_before, refresh, checks, writes, .. } = part;
                let commit = CommitLocal { txn, read_ts, commit_ts, commit_before, refresh, checks, writes };
                self.state.lock().prove(&commit, commit_ts)?;
                Ok(ShardReply::Prepared(commit_ts, None))
            }
            ShardOp::ReleaseLocks(release) => {
                let mut state = self.state.lock();
                if release.undone.is_none() {
                    state.ended.insert(release.txn);
                }
                state.locks.retain(|_, Lock { holder, numbers: (first, last) }| {
                    let goes =
                        release.undone.is_none_or(|undone| *first > undone.after && *last <= undone.up_to);
                    holder.txn != release.txn || !goes
                });
                drop(state);
                self.released.notify_waiters();
                Ok(ShardReply::Released)
            }
            ShardOp::Refresh(refresh) => {
                let state = self.state.lock();
                for span in &refresh.spans {
                    state.unchanged(span, refresh.from, refresh.to, refresh.txn.id)?;
                }
                Ok(ShardReply::Refreshed)
            }
            ShardOp::QueryTxn(query) => {
                let state = self.state.lock();
                let found = state.done.get(&query.txn).copied();
                Ok(ShardReply::Txn(found.map_or(TxnState::Pending(None), TxnState::Committed)))
            }
            ShardOp::Waits(waits) => Ok(ShardReply::Circle(self.state.lock().circle(&waits))),
            ShardOp::Heartbeat(_) => Ok(ShardReply::HeartbeatSeen(TxnState::Pending(None))),
            other => Err(KvError::BadRequest { why: format!("the stand-in has no {other:?}") }),
        }
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadReply, KvError> {
        let (mut results, mut lost, mut read_ts) = (Vec::new(), Vec::new(), request.read_ts);
        let fails = |left: u64| left.checked_sub(1);
        let rows = |op: &ReadOp| {
            matches!(op, ReadOp::Get(key) if key[0] == prefix::TABLE) || matches!(op, ReadOp::Scan(_))
        };
        if request.lock.is_some()
            && request.ops.iter().any(rows)
            && self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok()
        {
            return Err(conflict(&Key::from("told"), None, read_ts, read_ts));
        }
        for op in &request.ops {
            results.push(match op {
                ReadOp::Get(key) => {
                    let locked = self.lock(&request, key).await?;
                    let state = self.state.lock();
                    let at = request.lock.as_ref().map_or(Some(request.read_ts), |_| None);
                    let found = locked.then(|| state.get(key, at)).flatten();
                    let free = request.lock.is_some() && found.is_none() && key[0] == prefix::TABLE;
                    if free && self.losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                        lost.push(key);
                    }
                    ReadResult::Get(found)
                }
                ReadOp::Scan(scan) => ReadResult::Scan(self.scan(&request, scan).await?),
            });
        }
        if request.lock.is_some() {
            let state = self.state.lock();
            read_ts = request.ops.iter().map(|op| state.newest(op)).fold(read_ts, Timestamp::max);
        }
        for key in lost {
            self.state.lock().lose(key, self.env.clock().now());
        }
        Ok(ReadReply { results, read_ts, certificate: ReadCertificate::Lease(1) })
    }

    async fn scan(&self, request: &ReadRequest, scan: &Scan) -> Result<ScanResult, KvError> {
        let at = if request.lock.is_some() { None } else { Some(request.read_ts) };
        let most = if scan.max_rows == 0 { PAGE } else { PAGE.min(scan.max_rows as usize) };
        let found = self.state.lock().rows(&scan.span, scan.reverse, at, most);
        let mut rows = Vec::new();
        for row in &found {
            if self.lock(request, &row.key).await? {
                rows.extend(self.state.lock().get(&row.key, at));
            }
        }
        let resume = (found.len() == most).then(|| found.last()).flatten().map(|last| {
            if scan.reverse {
                Span { start: scan.span.start.clone(), end: Some(last.key.clone()) }
            } else {
                Span { start: last.key.successor(), end: scan.span.end.clone() }
            }
        });
        self.scanned.fetch_add(rows.len() as u64, Ordering::SeqCst);
        Ok(ScanResult { rows, resume })
    }

    /// Whether the key may be read: not if it is to be skipped.
    async fn lock(&self, request: &ReadRequest, key: &Key) -> Result<bool, KvError> {
        let (Some(LockRequest { mode, wait, firm }), Some(txn)) = (&request.lock, &request.txn) else {
            return Ok(true);
        };
        if *firm && self.full.load(Ordering::SeqCst) {
            return Err(KvError::TooManyLocks { shard: ShardId::FIRST, most: 0 });
        }
        assert_eq!(*mode, LockMode::Exclusive, "the stand-in knows exclusive locks only");
        let patience = match wait {
            WaitPolicy::Block(0) => Duration::from_secs(20),
            WaitPolicy::Block(millis) => Duration::from_millis(*millis),
            _ => Duration::ZERO,
        };
        let deadline = self.env.boottime() + patience;
        loop {
            let released = self.released.notified();
            let holder = {
                let mut state = self.state.lock();
                if state.ended.contains(&txn.id) {
                    return Err(KvError::TxnAborted { txn: txn.id, why: "rolled back".into() });
                }
                let numbers = (request.number, request.number);
                let fresh = || Lock { holder: txn.party(), numbers };
                let lock = state.locks.entry(key.clone()).or_insert_with(fresh);
                if lock.holder.txn == txn.id {
                    let (first, last) = lock.numbers;
                    lock.numbers = (first.min(request.number), last.max(request.number));
                    return Ok(true);
                }
                lock.holder
            };
            match wait {
                WaitPolicy::SkipLocked => return Ok(false),
                WaitPolicy::NoWait => {
                    return Err(KvError::LockNotAvailable { key: key.clone(), holder: Some(holder) });
                }
                WaitPolicy::Block(_) => {}
            }
            let left = deadline.saturating_sub(self.env.boottime());
            let _counted = Counted::new(&self.waiting);
            if left.is_zero() || self.env.timeout(left, released).await.is_err() {
                return Err(KvError::LockTimeout { key: key.clone(), holder: Some(holder) });
            }
        }
    }

    fn commit(&self, commit: CommitLocal) -> Result<ShardReply, KvError> {
        let id = commit.txn.id;
        let mut state = self.state.lock();
        let ts = self.env.clock().now().max(commit.commit_ts);
        let result = state.prove(&commit, ts);
        if result.is_ok() {
            for write in commit.writes {
                state.data.entry(write.key).or_default().push((ts, write.value));
            }
            state.done.insert(id, ts);
            state.entries += 1;
        }
        state.locks.retain(|_, lock| lock.holder.txn != id);
        self.released.notify_waiters();
        result.map(|()| ShardReply::Committed(ts, LogPosition { term: 1, index: state.entries }))
    }
}

/// One more, as long as it lives.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    /// The circle that the reporter is to break, being the youngest in it.
    fn circle(&mut self, report: &Waits) -> Vec<Stuck> {
        self.waits.insert(report.txn, report.clone());
        let mut paths: Vec<Vec<TxnId>> = vec![vec![report.txn]];
        while let Some(path) = paths.pop() {
            let next = path.last().and_then(|last| self.waits.get(last));
            let next = next.map(|waits| waits.blocked.clone()).unwrap_or_default();
            for blocker in next.into_iter().flat_map(|blocked| blocked.by) {
                if blocker == report.txn {
                    let youngest = path.iter().max_by_key(|txn| self.waits[txn].started);
                    return if youngest == Some(&report.txn) { self.stuck(&path) } else { vec![] };
                }
                if !path.contains(&blocker) {
                    paths.push(path.iter().copied().chain([blocker]).collect());
                }
            }
        }
        vec![]
    }

    fn stuck(&self, path: &[TxnId]) -> Vec<Stuck> {
        let next = path.iter().cycle().skip(1);
        let stuck = |(txn, next)| {
            let waits = &self.waits[txn];
            let blocked = waits.blocked.iter().find(|blocked| blocked.by.contains(next)).expect("an edge");
            Stuck { who: Party { txn: *txn, session: waits.session }, key: blocked.key.clone() }
        };
        path.iter().zip(next).map(stuck).collect()
    }

    /// The lock is lost, and somebody else puts there what was there before.
    fn lose(&mut self, key: &Key, ts: Timestamp) {
        self.locks.remove(key);
        let versions = self.data.get_mut(key).expect("something was there before");
        let before =
            versions.iter().rev().find_map(|(_, value)| value.clone()).expect("a row was there before");
        versions.push((ts, Some(before)));
    }

    /// When what an operation looks at was last changed.
    fn newest(&self, op: &ReadOp) -> Timestamp {
        let last = |versions: &Vec<(Timestamp, _)>| versions.last().map(|(ts, _)| *ts);
        match op {
            ReadOp::Get(key) => self.data.get(key).and_then(last),
            ReadOp::Scan(Scan { span, .. }) if span.is_empty() => None,
            ReadOp::Scan(Scan { span, .. }) => {
                let end = span.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let inside = self.data.range((Bound::Included(span.start.clone()), end));
                inside.filter_map(|(_, versions)| last(versions)).max()
            }
        }
        .unwrap_or_default()
    }

    /// The version at a timestamp, or the newest.
    fn get(&self, key: &Key, at: Option<Timestamp>) -> Option<Row> {
        let versions = self.data.get(key)?;
        let (ts, value) = versions.iter().rev().find(|(ts, _)| at.is_none_or(|at| *ts <= at))?;
        Some(Row { key: key.clone(), value: value.clone()?, ts: *ts })
    }

    fn rows(&self, span: &Span, reverse: bool, at: Option<Timestamp>, most: usize) -> Vec<Row> {
        if span.is_empty() {
            return vec![];
        }
        let end = span.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.data.range((Bound::Included(span.start.clone()), end));
        let read = |(key, _): (&Key, _)| self.get(key, at);
        if reverse {
            range.rev().filter_map(read).take(most).collect()
        } else {
            range.filter_map(read).take(most).collect()
        }
    }

    fn prove(&self, commit: &CommitLocal, ts: Timestamp) -> Result<(), KvError> {
        if ts >= commit.commit_before {
            return Err(KvError::BoundPassed { needed: ts, bound: commit.commit_before });
        }
        for span in &commit.refresh {
            self.unchanged(span, commit.read_ts, ts, commit.txn.id)?;
        }
        for check in &commit.checks {
            match check.kind {
                CheckKind::UnchangedSince(since) => {
                    self.unchanged(&Span::point(&check.key), since, ts, commit.txn.id)?;
                }
                CheckKind::Absent if self.get(&check.key, None).is_some() => {
                    return Err(KvError::Exists { key: check.key.clone() });
                }
                CheckKind::Absent => {}
            }
        }
        for write in &commit.writes {
            if self.locks.get(&write.key).is_some_and(|lock| lock.holder.txn != commit.txn.id) {
                return Err(conflict(&write.key, None, ts, commit.read_ts));
            }
        }
        Ok(())
    }

    fn writer(&self, ts: Timestamp) -> Option<TxnId> {
        self.done.iter().find(|(_, at)| **at == ts).map(|(txn, _)| *txn)
    }

    fn unchanged(&self, span: &Span, from: Timestamp, to: Timestamp, _: TxnId) -> Result<(), KvError> {
        let end = span.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        if span.is_empty() {
            return Ok(());
        }
        for (key, versions) in self.data.range((Bound::Included(span.start.clone()), end)) {
            if let Some((ts, _)) = versions.iter().find(|(ts, _)| *ts > from && *ts <= to) {
                return Err(conflict(key, self.writer(*ts), *ts, from));
            }
        }
        Ok(())
    }
}

fn conflict(key: &Key, other: Option<TxnId>, their_ts: Timestamp, our_ts: Timestamp) -> KvError {
    KvError::Conflict { key: key.clone(), other, their_ts, our_ts }
}

pub const SHARD: ShardId = ShardId(1);
