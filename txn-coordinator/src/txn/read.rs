//! Reading keys, and moving the read timestamp when a read asks for it.

use super::state::{Inner, no_room};
use crate::{
    Isolation, TxnError,
    buffer::Seq,
    route::{SendError, Sent},
};
use futures::{StreamExt, stream::FuturesUnordered};
use quorate_proto::{
    Key, KvError, ShardId, Span, Timestamp, Value,
    kv::{
        LockRequest, ReadOp, ReadReply, ReadRequest, ReadResult, Refresh, Row, ShardOp, ShardReply,
        WaitPolicy,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Longest single wait in a shard's queue; longer waits are several requests, so that a silent leader is noticed.
const WAIT_SLICE: Duration = Duration::from_secs(10);
/// Keys of one request.
const BATCH: usize = 1024;

impl Inner {
    /// Reads keys through the own writes.
    pub(super) async fn read_keys(
        self: &Arc<Self>,
        keys: &[Key],
        how: Reading,
    ) -> Result<Vec<Option<Value>>, TxnError> {
        self.check_open()?;
        let mut out: Vec<Option<Value>> = vec![None; keys.len()];
        let mut missing: Vec<usize> = Vec::new();
        {
            let state = self.state.lock();
            for (i, key) in keys.iter().enumerate() {
                match state.changes.buffer.get(key).map_err(|error| self.error(no_room(&error)))? {
                    Some(own) => out[i] = own,
                    None => missing.push(i),
                }
            }
        }
        if let [one] = missing[..] {
            let found = self.read_group(vec![keys[one].clone()], how).await?;
            out[one] = found.into_iter().next().flatten();
            return Ok(out);
        }
        let mut todo = missing;
        while !todo.is_empty() {
            todo = self.read_groups(keys, todo, how.clone(), &mut out).await?;
        }
        Ok(out)
    }

    /// The version of one key, whatever the transaction itself has written there.
    pub(super) async fn read_committed_key(
        self: &Arc<Self>,
        key: &Key,
    ) -> Result<Option<(Value, Timestamp)>, TxnError> {
        loop {
            let noted = Noted::Points(std::slice::from_ref(key), Company::Alone, Proof::Wanted);
            let Some(reply) = self.read(vec![ReadOp::Get(key.clone())], key, None, noted).await? else {
                continue;
            };
            return match reply.results.into_iter().next() {
                Some(ReadResult::Get(row)) => Ok(row.map(|row| (row.value, row.ts))),
                _ => Err(self.error(KvError::Internal { why: "a get was not answered".into() })),
            };
        }
    }

    /// Reads by shard, in parallel unless rows are locked; returns what must be grouped anew.
    async fn read_groups(
        self: &Arc<Self>,
        keys: &[Key],
        todo: Vec<usize>,
        how: Reading,
        out: &mut [Option<Value>],
    ) -> Result<Vec<usize>, TxnError> {
        let mut groups: BTreeMap<(ShardId, usize), Vec<usize>> = BTreeMap::new();
        let mut sizes: BTreeMap<ShardId, usize> = BTreeMap::new();
        let deadline = self.send_options().deadline;
        for i in todo {
            let shard = self.coordinator.router.locate(&keys[i], deadline).await;
            let shard = shard.map_err(|e| self.failed(e))?.id;
            let size = sizes.entry(shard).or_insert(0);
            groups.entry((shard, *size / BATCH)).or_default().push(i);
            *size += 1;
        }
        let company = if groups.len() == 1 { Company::Alone } else { Company::Several };
        let mut again = Vec::new();
        if how.waits_for_rows() && !quorate_env::planted!("txn.locks_in_any_order") {
            // Everybody in the same order: those who lock the same keys wait in one line, and in no circle.
            let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
            groups.iter_mut().for_each(|group| group.sort_by_key(|i| &keys[*i]));
            groups.sort_by_key(|group| group.first().map(|i| &keys[*i]));
            for group in groups {
                let these: Vec<Key> = group.iter().map(|i| keys[*i].clone()).collect();
                match self.read_group_once(these, how.clone(), Company::Alone).await? {
                    Some(values) => group.into_iter().zip(values).for_each(|(i, value)| out[i] = value),
                    None => again.extend(group),
                }
            }
            return Ok(again);
        }
        let mut running: FuturesUnordered<_> = groups
            .into_values()
            .map(|group| {
                let these: Vec<Key> = group.iter().map(|i| keys[*i].clone()).collect();
                let how = how.clone();
                async move { (group, self.read_group_once(these, how, company).await) }
            })
            .collect();
        while let Some((group, result)) = running.next().await {
            match result? {
                Some(values) => group.into_iter().zip(values).for_each(|(i, value)| out[i] = value),
                None => again.extend(group),
            }
        }
        Ok(again)
    }

    /// One key is never grouped anew: its shard may change, and the router follows.
    async fn read_group(
        self: &Arc<Self>,
        keys: Vec<Key>,
        how: Reading,
    ) -> Result<Vec<Option<Value>>, TxnError> {
        loop {
            if let Some(values) = self.read_group_once(keys.clone(), how.clone(), Company::Alone).await? {
                return Ok(values);
            }
        }
    }

    /// `None`: the keys lie in several shards by now.
    async fn read_group_once(
        self: &Arc<Self>,
        keys: Vec<Key>,
        how: Reading,
        company: Company,
    ) -> Result<Option<Vec<Option<Value>>>, TxnError> {
        let ops = keys.iter().cloned().map(ReadOp::Get).collect();
        let (lock, proof) = match how {
            Reading::Plain => (None, Proof::Wanted),
            Reading::Loose => (None, Proof::Spared),
            Reading::Locked(lock) => (Some(lock), Proof::Wanted),
        };
        let noted = Noted::Points(&keys, company, proof);
        let before = match lock {
            Some(_) if self.keeps_snapshot() => self.locked_of(&keys)?,
            _ => BTreeSet::new(),
        };
        let request = lock.as_ref().map(|lock| &lock.request);
        let Some(reply) = self.read(ops, &keys[0], request, noted).await? else { return Ok(None) };
        let ReadReply { results, read_ts, .. } = reply;
        let rows = results.into_iter().map(|result| match result {
            ReadResult::Get(row) => Ok(row),
            ReadResult::Scan(_) => Err(self.error(KvError::Internal { why: "a scan answered a get".into() })),
        });
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        if let Some(lock) = lock
            && self.keeps_snapshot()
        {
            let unseen = self.face(&keys, &mut rows, read_ts, &lock).await?;
            // Whoever writes there all the same must not pass for one who has found what was there.
            let mut state = self.state.lock();
            let forgotten = unseen.iter().filter(|key| !before.contains(*key));
            forgotten.filter(|_| !quorate_env::planted!("txn.unseen_overwritten")).for_each(|key| {
                state.change(|changes| changes.forget_lock(key));
            });
        }
        Ok(Some(rows.into_iter().map(|row| row.map(|row| row.value)).collect()))
    }

    fn locked_of(&self, keys: &[Key]) -> Result<BTreeSet<Key>, TxnError> {
        let state = self.state.lock();
        let mut locked = BTreeSet::new();
        for key in keys {
            if state.changes.is_locked(key).map_err(|error| self.error(no_room(&error)))? {
                locked.insert(key.clone());
            }
        }
        Ok(locked)
    }

    /// Locked rows are the newest, and the snapshot that a weaker level keeps may be older: what the statement makes of that.
    /// `as_of`: nothing newer than this was met. Returns the keys of rows that it does not see.
    async fn face(
        self: &Arc<Self>,
        keys: &[Key],
        rows: &mut [Option<Row>],
        as_of: Timestamp,
        lock: &Locking,
    ) -> Result<Vec<Key>, TxnError> {
        let snapshot = || {
            let state = self.state.lock();
            state.fixed.then_some(state.read_ts)
        };
        // Nothing was read before: the snapshot is that of the locks.
        let Some(read_ts) = snapshot() else { return Ok(Vec::new()) };
        let newer = |row: &Option<Row>, read_ts| row.as_ref().map_or(as_of, |row| row.ts) > read_ts;
        let conflict = |key: Key, row: &Option<Row>, our_ts| {
            let their_ts = row.as_ref().map_or(as_of, |row| row.ts);
            self.overtaken(key, their_ts, our_ts)
        };
        let repeatable = self.options.isolation == Isolation::RepeatableRead;
        match lock.purpose {
            Purpose::Place if !quorate_env::planted!("txn.unique_by_snapshot") => Ok(Vec::new()),
            Purpose::Arbiter => {
                let found = keys.iter().zip(rows).find(|(_, row)| row.is_some() && newer(row, read_ts));
                match found.filter(|_| repeatable) {
                    Some((key, row)) => Err(conflict(key.clone(), row, read_ts).await),
                    None => Ok(Vec::new()),
                }
            }
            Purpose::Row | Purpose::Place => {
                // One that is skipped cannot be told from one that is gone.
                let skips = lock.request.wait == WaitPolicy::SkipLocked;
                let doubtful: Vec<usize> = (0..keys.len())
                    .filter(|at| newer(&rows[*at], read_ts) && !(skips && rows[*at].is_none()))
                    .collect();
                if doubtful.is_empty() {
                    return Ok(Vec::new());
                }
                quorate_env::probe!("txn.locked_newer");
                let these: Vec<Key> = doubtful.iter().map(|at| keys[*at].clone()).collect();
                let shown = Box::pin(self.read_keys(&these, Reading::Plain)).await?;
                let Some(read_ts) = snapshot() else { return Ok(Vec::new()) };
                let mut unseen = Vec::new();
                for (at, shown) in doubtful.into_iter().zip(shown) {
                    match shown {
                        // Inserted since: this statement does not see it.
                        None => {
                            rows[at] = None;
                            unseen.push(keys[at].clone());
                        }
                        Some(_)
                            if repeatable
                                && newer(&rows[at], read_ts)
                                && !quorate_env::planted!("txn.newer_row_changed") =>
                        {
                            return Err(conflict(keys[at].clone(), &rows[at], read_ts).await);
                        }
                        Some(_) => {}
                    }
                }
                Ok(unseen)
            }
        }
    }

    /// The error of one whose snapshot is older than what it has locked. A row does not tell who wrote it; the shard may know,
    /// which refuses a proof that the row is what it was.
    async fn overtaken(&self, key: Key, their_ts: Timestamp, our_ts: Timestamp) -> TxnError {
        match self.refresh(vec![Span::point(&key)], our_ts, their_ts).await {
            Err(refused) if matches!(refused.error, KvError::Conflict { .. } | KvError::LockLost { .. }) => {
                refused
            }
            _ => self.error(KvError::Conflict { key, other: None, their_ts, our_ts }),
        }
    }

    /// One request to one shard, with all that may follow from it: locks are waited for, the read timestamp moves. What was
    /// read is noted before this returns. `None`: the keys lie in several shards by now.
    pub(super) async fn read(
        self: &Arc<Self>,
        ops: Vec<ReadOp>,
        first: &Key,
        lock: Option<&LockRequest>,
        noted: Noted<'_>,
    ) -> Result<Option<ReadReply>, TxnError> {
        let began = self.coordinator.env.boottime();
        let asked = lock.map_or(Timestamp::ZERO, |_| self.coordinator.env.clock().physical());
        let mut waits = Waits { asked, began, watched: began };
        loop {
            self.check_open()?;
            // The first read may choose the read timestamp, and a scan that locks may move it; both are then alone. Locked
            // keys need not be: they cannot change, so that the timestamp may move past them afterwards.
            let guard = match (&noted, lock) {
                (Noted::Scan(..), Some(_)) => Guard::Alone(self.moving.write().await),
                (Noted::Points(_, Company::Alone, _) | Noted::Scan(..), None) if !self.state.lock().fixed => {
                    Guard::Alone(self.moving.write().await)
                }
                _ => Guard::Shared(self.moving.read().await),
            };
            let (read_ts, fixed) = {
                let state = self.state.lock();
                (state.read_ts, state.fixed)
            };
            let free = !fixed && (guard.alone() || lock.is_some());
            // Where the snapshot stays, a lock shows the newest version all the same; see `face`.
            let may_forward = !self.historical() && (free || (lock.is_some() && self.keeps_snapshot()));
            let lock = lock.map(|lock| (lock, self.state.lock().next_number()));
            let sent = match self.ask(ops.clone(), first, lock, read_ts, may_forward, &waits).await {
                Ok(sent) => sent,
                Err(error) if error.regroup => {
                    self.state.lock().cost += error.cost;
                    return Ok(None);
                }
                Err(error) => {
                    drop(guard);
                    if let (Some((_, number)), Some(shard)) = (lock, error.shard) {
                        // Some of the keys may be locked already.
                        self.state.lock().locks_in(shard, number);
                    }
                    self.after_refusal(error, lock.map(|(lock, _)| lock), &mut waits).await?;
                    continue;
                }
            };
            let (shard, cost) = (sent.shard, sent.cost);
            let ShardReply::Read(reply) = sent.reply else {
                return Err(self.error(KvError::Internal { why: "a read got another answer".into() }));
            };
            let newest = newest_of(&reply).max(reply.read_ts);
            {
                let mut state = self.state.lock();
                state.cost += cost;
                state.cost.waits += 1;
                state.shards.insert(shard);
                if let Some((_, number)) = lock {
                    state.locks_in(shard, number);
                }
                if self.historical() {
                    let age = self.coordinator.env.clock().physical().since(reply.read_ts);
                    state.guarantee.met_past(reply.certificate, age);
                } else {
                    state.guarantee.met(reply.certificate);
                }
            }
            let adopt = newest > read_ts && !(lock.is_some() && self.keeps_snapshot() && fixed);
            let guard = if adopt && guard.alone() {
                self.advance(newest).await?;
                Some(guard)
            } else if adopt {
                drop(guard);
                // Only keys locked by this very request are noted below, and they cannot change.
                self.adopt(newest).await?;
                None
            } else {
                Some(guard)
            };
            {
                let mut state = self.state.lock();
                if newest > read_ts {
                    state.newest_met = state.newest_met.max(newest);
                }
                noted.note(&mut state, &reply, lock, newest, self.historical());
                state.settle(&self.coordinator);
            }
            drop(guard);
            if lock.is_some() {
                self.coordinator.cleanup.watch(self);
            }
            return Ok(Some(reply));
        }
    }

    /// Sends it, a lock with its number.
    async fn ask(
        &self,
        ops: Vec<ReadOp>,
        first: &Key,
        lock: Option<(&LockRequest, Seq)>,
        read_ts: Timestamp,
        may_forward: bool,
        waits: &Waits,
    ) -> Result<Sent, SendError> {
        let (anchor, uncertain_to) = {
            let mut state = self.state.lock();
            if let Some((_, number)) = lock {
                state.anchor.get_or_insert_with(|| first.clone());
                // Noted before the answer, which may never be seen: whatever was locked is let go of in the end.
                if let Some((shard, _)) = self.coordinator.router.lookup(first) {
                    state.locks_in(shard.id, number);
                }
            }
            (state.anchor.clone().unwrap_or_else(|| first.clone()), state.uncertain_to)
        };
        let mut options = self.send_options();
        options.follower = self.historical();
        let number = lock.map_or(0, |(_, number)| number);
        let asked = match quorate_env::planted!("txn.place_in_line_lost") {
            true => self.coordinator.env.clock().physical(),
            false => waits.asked,
        };
        let lock = lock.map(|(lock, _)| {
            let slice = match lock.wait {
                WaitPolicy::Block(_) => {
                    self.wait_left(lock, waits.began).unwrap_or(WAIT_SLICE).min(WAIT_SLICE)
                }
                WaitPolicy::NoWait | WaitPolicy::SkipLocked => Duration::ZERO,
            };
            options.attempt += slice;
            options.deadline += slice;
            let wait = match lock.wait {
                WaitPolicy::Block(_) => WaitPolicy::Block((slice.as_millis() as u64).max(1)),
                other => other,
            };
            LockRequest { wait, ..lock.clone() }
        });
        let request = ReadRequest {
            txn: Some(self.meta(anchor, self.deadline)),
            read_ts,
            uncertain_to: uncertain_to.max(read_ts),
            may_forward,
            lock,
            ops,
            follower: options.follower,
            number,
            asked,
        };
        self.coordinator.router.send(ShardOp::Read(request), options).await
    }

    /// Time left to wait for locks; `None`: as long as it takes.
    fn wait_left(&self, lock: &LockRequest, began: Duration) -> Option<Duration> {
        let total = match lock.wait {
            WaitPolicy::Block(0) => self.options.lock_timeout?,
            WaitPolicy::Block(millis) => Duration::from_millis(millis),
            WaitPolicy::NoWait | WaitPolicy::SkipLocked => Duration::ZERO,
        };
        Some((began + total).saturating_sub(self.coordinator.env.boottime()))
    }

    /// Does what makes the read worth repeating, or hands the error up.
    async fn after_refusal(
        self: &Arc<Self>,
        error: SendError,
        lock: Option<&LockRequest>,
        waits: &mut Waits,
    ) -> Result<(), TxnError> {
        match &error.error {
            KvError::Uncertain { value_ts, .. } => {
                quorate_env::probe!("txn.uncertain");
                let to = *value_ts;
                {
                    let mut state = self.state.lock();
                    state.cost += error.cost;
                    state.newest_met = state.newest_met.max(to);
                }
                self.move_read_ts(to).await
            }
            // A plain read waits for a commit that is under way, however large that is.
            KvError::LockTimeout { .. } | KvError::WaitUnwatched { .. }
                if lock
                    .and_then(|lock| self.wait_left(lock, waits.began))
                    .is_none_or(|left| !left.is_zero()) =>
            {
                let unwatched = matches!(error.error, KvError::WaitUnwatched { .. });
                if self.is_blind(unwatched, waits) {
                    return Err(self.failed(error));
                }
                self.state.lock().cost += error.cost;
                Ok(())
            }
            _ => Err(self.failed(error)),
        }
    }

    /// Whether this wait, of which a part has ended, may be one of a circle that nobody has looked for in too long.
    fn is_blind(&self, unwatched: bool, waits: &mut Waits) -> bool {
        let now = self.coordinator.env.boottime();
        if !unwatched {
            waits.watched = now;
        }
        let blind = now.saturating_sub(waits.watched) >= self.coordinator.config.unwatched_wait;
        if blind && !quorate_env::planted!("txn.waits_unwatched") {
            quorate_env::probe!("txn.unwatched_wait_ended");
            quorate_env::count!("quorate_txn_unwatched_waits_total");
            return true;
        }
        false
    }

    /// Moves the read timestamp up after proving that nothing read so far has changed (in parallel on the shards).
    pub(super) async fn move_read_ts(&self, to: Timestamp) -> Result<(), TxnError> {
        let _alone = self.moving.write().await;
        self.advance(to).await
    }

    /// The same after locks, unless a snapshot that stays has been read from meanwhile.
    async fn adopt(&self, to: Timestamp) -> Result<(), TxnError> {
        let _alone = self.moving.write().await;
        if self.keeps_snapshot() && self.state.lock().fixed {
            return Ok(());
        }
        self.advance(to).await
    }

    /// The same, by whoever holds `moving` alone.
    async fn advance(&self, to: Timestamp) -> Result<(), TxnError> {
        let (from, spans) = {
            let state = self.state.lock();
            if state.read_ts >= to {
                return Ok(());
            }
            (state.read_ts, state.spans.iter().collect::<Vec<Span>>())
        };
        if self.historical() {
            let why = "a historical read cannot move".into();
            return Err(self.error(KvError::Internal { why }));
        }
        if !spans.is_empty() && !quorate_env::planted!("txn.moved_unproven") {
            quorate_env::probe!("txn.refreshed");
            self.refresh(spans, from, to).await?;
        }
        self.state.lock().move_read_ts(to);
        Ok(())
    }

    async fn refresh(&self, spans: Vec<Span>, from: Timestamp, to: Timestamp) -> Result<(), TxnError> {
        let mut todo = spans;
        while !todo.is_empty() {
            let mut by_shard: BTreeMap<ShardId, Vec<Span>> = BTreeMap::new();
            for span in &todo {
                let parts = self.coordinator.router.split(span, self.send_options().deadline).await;
                for (shard, part) in parts.map_err(|e| self.failed(e))? {
                    by_shard.entry(shard.id).or_default().push(part);
                }
            }
            todo.clear();
            let mut running: FuturesUnordered<_> = by_shard
                .into_values()
                .map(|spans| async move {
                    let anchor = self.state.lock().anchor.clone().unwrap_or_else(|| spans[0].start.clone());
                    let txn = self.meta(anchor, self.deadline);
                    let refresh = Refresh { txn, from, to, spans: spans.clone(), checks: Vec::new() };
                    (
                        spans,
                        self.coordinator.router.send(ShardOp::Refresh(refresh), self.send_options()).await,
                    )
                })
                .collect();
            while let Some((spans, result)) = running.next().await {
                match result {
                    Ok(sent) => self.state.lock().cost += sent.cost,
                    Err(error) if error.regroup => todo.extend(spans),
                    Err(error) => return Err(self.failed(error)),
                }
            }
            self.state.lock().cost.waits += 1;
        }
        Ok(())
    }
}

/// How keys are read.
#[derive(Clone)]
pub(super) enum Reading {
    /// As the snapshot shows them.
    Plain,
    /// The same, and nothing rests on it.
    Loose,
    Locked(Locking),
}

impl Reading {
    /// Whether rows are locked, and those of others waited for.
    fn waits_for_rows(&self) -> bool {
        let waits = |lock: &Locking| {
            lock.purpose == Purpose::Row && matches!(lock.request.wait, WaitPolicy::Block(_))
        };
        matches!(self, Reading::Locked(lock) if waits(lock))
    }
}

/// Whether the commit is to prove that what was read still holds, at the levels that prove reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Wanted,
    /// Candidates, of which those are locked that matter, and read again then.
    Spared,
}

/// A read that waits for locks, part by part.
struct Waits {
    began: Duration,
    /// The same by the clock, to be compared with others' at other gateways.
    asked: Timestamp,
    /// Until then the deadlock detector has looked, or nobody waited.
    watched: Duration,
}

/// A lock, and what it is for.
#[derive(Clone)]
pub(super) struct Locking {
    pub request: LockRequest,
    pub purpose: Purpose,
}

/// What a locking read is for. It matters where versions are newer than a snapshot that stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A row that the statement sees: it is in the snapshot, or it is none of this statement's business.
    Row,
    /// A place that something is to be written to: what is there now is in the way, whatever the snapshot shows.
    Place,
    /// A row in the way that is to be acted upon.
    Arbiter,
}

enum Guard<'a> {
    Shared(#[allow(dead_code)] tokio::sync::RwLockReadGuard<'a, ()>),
    Alone(#[allow(dead_code)] tokio::sync::RwLockWriteGuard<'a, ()>),
}

impl Guard<'_> {
    fn alone(&self) -> bool {
        matches!(self, Guard::Alone(_))
    }
}

/// Whether other requests of the same step are under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Several,
}

/// What a read leaves in the transaction's state.
pub(super) enum Noted<'a> {
    Points(&'a [Key], Company, Proof),
    /// The span asked for and whether in reverse; what was covered of it is told by the answer.
    Scan(&'a Span, bool, Proof),
}

impl Noted<'_> {
    fn note(
        &self,
        state: &mut super::state::State,
        reply: &ReadReply,
        lock: Option<(&LockRequest, Seq)>,
        newest: Timestamp,
        historical: bool,
    ) {
        let skips = lock.is_some_and(|(lock, _)| lock.wait == WaitPolicy::SkipLocked);
        if lock.is_some() {
            state.newest_met = state.newest_met.max(newest_of(reply));
        }
        match self {
            Noted::Points(keys, _, proof) => {
                for (key, result) in keys.iter().zip(&reply.results) {
                    let found = matches!(result, ReadResult::Get(Some(_)));
                    match lock {
                        Some((_, number)) if found || !skips => {
                            state.note_lock(key.clone(), newest, number);
                        }
                        // Skipped: whatever it holds has not been read.
                        Some(_) => {}
                        None if historical || *proof == Proof::Spared => {}
                        None => state.note_read(Span::point(key)),
                    }
                }
            }
            Noted::Scan(span, reverse, proof) => {
                for result in &reply.results {
                    let ReadResult::Scan(scan) = result else { continue };
                    if let Some((_, number)) = lock {
                        scan.rows.iter().for_each(|row| state.note_lock(row.key.clone(), newest, number));
                    }
                    // SKIP LOCKED gives no consistent view of a span, in PostgreSQL neither.
                    if !historical
                        && !skips
                        && *proof == Proof::Wanted
                        && let Some(covered) = covered(span, scan.resume.as_ref(), *reverse)
                    {
                        state.note_read(covered);
                    }
                }
            }
        }
    }
}

/// The part of a scan's span that its answer speaks of; `None` if that is nothing.
pub(super) fn covered(span: &Span, resume: Option<&Span>, reverse: bool) -> Option<Span> {
    let covered = match (resume, reverse) {
        (None, _) => span.clone(),
        (Some(rest), false) => Span { start: span.start.clone(), end: Some(rest.start.clone()) },
        (Some(rest), true) => Span { start: rest.end.clone()?, end: span.end.clone() },
    };
    (!covered.is_empty()).then_some(covered)
}

fn newest_of(reply: &ReadReply) -> Timestamp {
    let rows = reply.results.iter().flat_map(|result| match result {
        ReadResult::Get(row) => row.as_slice(),
        ReadResult::Scan(scan) => &scan.rows,
    });
    rows.map(|row| row.ts).max().unwrap_or(Timestamp::ZERO)
}
