//! What a transaction has read, locked and written so far.

use crate::{
    Coordinator, Cost, Guarantee, Isolation, TxnError, TxnOptions,
    buffer::Seq,
    changes::Changes,
    commit::cleanup::Releasing,
    route::{Router, SendError, SendOptions},
    scratch::ScratchError,
    spans::SpanSet,
};
use parking_lot::Mutex;
use quorate_env::{Clock, planted};
use quorate_proto::{
    Key, KvError, ShardDescriptor, ShardId, Span, Timestamp, TxnId,
    error::Change,
    kv::{TxnMeta, Undone},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub(crate) struct Inner {
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) id: TxnId,
    pub(crate) attempt: u32,
    pub(crate) started: Timestamp,
    /// The first timestamp at which this attempt could read.
    pub(crate) began: Timestamp,
    /// Among [`crate::open::Open`].
    pub(crate) place: u64,
    pub(crate) deadline: Timestamp,
    pub(crate) options: TxnOptions,
    /// Reads hold it shared; whoever moves the read timestamp holds it alone, so that no read is under way at a timestamp
    /// that its refresh does not cover.
    pub(crate) moving: tokio::sync::RwLock<()>,
    pub(crate) state: Mutex<State>,
}

/// Says below what the commit timestamp must lie.
pub(crate) type Bound = Box<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) read_ts: Timestamp,
    /// End of the uncertainty interval, fixed when the first read timestamp was (PROTOCOL 16).
    pub(crate) uncertain_to: Timestamp,
    /// Something was read without a lock, or locked by an earlier statement: the read timestamp moves only with a refresh.
    pub(crate) fixed: bool,
    pub(crate) spans: SpanSet,
    /// Shared with the commit from its begin on, and not changed any more then.
    pub(crate) changes: Arc<Changes>,
    /// Shards in which unreplicated locks may be held, also by earlier attempts; with the number of the last request for them
    /// that is not undone.
    pub(crate) lock_shards: BTreeMap<ShardId, Seq>,
    /// Newest version or tombstone met under a lock, or above the read timestamp of its time; the commit lies above it.
    pub(crate) newest_met: Timestamp,
    pub(crate) anchor: Option<Key>,
    /// A record may exist beside the anchor, which must not move any more.
    pub(crate) record: bool,
    pub(crate) commit_before: Timestamp,
    pub(crate) followed_bound: Option<Bound>,
    pub(crate) savepoints: Vec<Seq>,
    /// The transaction is over or has returned to a savepoint, and locks are being dropped.
    pub(crate) releasing: Option<Releasing>,
    /// A mistake that only the commit can report.
    pub(crate) refused: Option<KvError>,
    pub(crate) cost: Cost,
    /// Shards asked since the statement began.
    pub(crate) shards: BTreeSet<ShardId>,
    pub(crate) guarantee: Guarantee,
}

impl State {
    /// Greatest commit timestamp allowed, as of now.
    pub(crate) fn commit_max(&self) -> Timestamp {
        let followed = self.followed_bound.as_ref().map_or(Timestamp::MAX, |bound| bound());
        self.commit_before.min(followed).prev()
    }

    /// It is over. Whatever its bound keeps in use may go, once this lock is released: others may be waiting for that, while
    /// somebody still has the transaction in hand.
    #[must_use]
    pub(crate) fn end(&mut self, clean: bool) -> Option<Bound> {
        self.phase = Phase::Ended { clean };
        if quorate_env::planted!("txn.bound_kept") {
            return None;
        }
        self.followed_bound.take()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The commit is running or has ended; see `Ended`.
    Committing,
    /// Over; `clean` says that nothing of it can have reached a shard's log, so that its id may be used again.
    Ended {
        clean: bool,
    },
}

/// Up to which values may have been committed before a read at this time began (PROTOCOL 16).
pub(super) fn uncertain_to(clock: &Clock, read_ts: Timestamp) -> Timestamp {
    let waited_out = clock.commit_wait() || quorate_env::planted!("txn.uncertainty_ignored");
    if waited_out { read_ts } else { read_ts.plus(clock.bound()) }
}

/// Time after which an attempt to get an answer is repeated.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Time after which a request that is served slowly is given up.
const PATIENCE: Duration = Duration::from_secs(30);

impl Inner {
    pub(crate) fn first(coordinator: Arc<Coordinator>, options: TxnOptions) -> Self {
        let id = TxnId(coordinator.env.random_u128());
        let started = coordinator.env.clock().now();
        let age = options.deadline.unwrap_or(coordinator.config.max_age);
        let deadline = started.plus(age);
        Self::new(coordinator, options, id, 0, started, deadline, Cost::default())
    }

    pub(crate) fn new(
        coordinator: Arc<Coordinator>,
        options: TxnOptions,
        id: TxnId,
        attempt: u32,
        started: Timestamp,
        deadline: Timestamp,
        mut cost: Cost,
    ) -> Self {
        cost.attempts += 1;
        let clock = coordinator.env.clock();
        let read_ts = match options.read_ts {
            Some(ts) => ts,
            None if attempt == 0 => started,
            None => clock.now(),
        };
        let historical = options.read_ts.is_some();
        let uncertain_to = if historical { read_ts } else { uncertain_to(clock, read_ts) };
        let guarantee = first_guarantee(&options, clock);
        let state = State {
            phase: Phase::Open,
            read_ts,
            uncertain_to,
            fixed: historical,
            spans: SpanSet::new(coordinator.config.max_read_spans),
            changes: Arc::default(),
            lock_shards: BTreeMap::new(),
            newest_met: Timestamp::ZERO,
            anchor: None,
            record: false,
            commit_before: options.commit_before.unwrap_or(Timestamp::MAX),
            followed_bound: None,
            savepoints: Vec::new(),
            releasing: None,
            refused: None,
            cost,
            shards: BTreeSet::new(),
            guarantee,
        };
        Inner {
            place: coordinator.open.place(),
            coordinator,
            id,
            attempt,
            started,
            began: read_ts,
            deadline,
            options,
            moving: tokio::sync::RwLock::new(()),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn historical(&self) -> bool {
        self.options.read_ts.is_some()
    }

    pub(crate) fn read_committed(&self) -> bool {
        self.options.isolation == Isolation::ReadCommitted
    }

    /// Reads stay at their snapshot, and what is locked may be newer.
    pub(crate) fn keeps_snapshot(&self) -> bool {
        self.options.isolation != Isolation::Serializable
    }

    /// What shards are told; `key` stands in for the anchor as long as there is none.
    pub(crate) fn meta(&self, anchor: Key, deadline: Timestamp) -> TxnMeta {
        let env = &self.coordinator.env;
        TxnMeta {
            id: self.id,
            anchor,
            attempt: self.attempt,
            started: self.started,
            deadline,
            gateway: env.node(),
            incarnation: env.incarnation(),
            session: self.options.owner,
        }
    }

    pub(crate) fn send_options(&self) -> SendOptions {
        let now = self.coordinator.env.boottime();
        SendOptions { deadline: now + PATIENCE, attempt: ATTEMPT, follower: false }
    }

    pub(crate) fn error(&self, error: KvError) -> TxnError {
        TxnError::new(self.id, self.told(error))
    }

    /// What an error means for this transaction. One of the present that has become too old for the garbage collection may be
    /// run again, as of now; one of the past stays too old. What it had locked can have changed only if the lock was lost.
    fn told(&self, error: KvError) -> KvError {
        match error {
            KvError::Conflict { key, other, their_ts, our_ts } => {
                let locked = self.state.lock().changes.locked_since(&key).ok().flatten();
                match locked.filter(|locked| *locked < their_ts) {
                    Some(locked) => {
                        let change = Box::new(Change { by: other, ts: their_ts });
                        KvError::LockLost { key, locked, change }
                    }
                    None => KvError::Conflict { key, other, their_ts, our_ts },
                }
            }
            KvError::BelowGcThreshold { read_ts, threshold } if !self.historical() => {
                let why = format!("it reads at {read_ts}, and versions before {threshold} have been removed");
                KvError::TxnAborted { txn: self.id, why }
            }
            other => other,
        }
    }

    /// Counts what the request has cost and gives its error a context.
    pub(crate) fn failed(&self, error: SendError) -> TxnError {
        self.state.lock().cost += error.cost;
        TxnError { error: self.told(error.error), txn: self.id, shard: error.shard }
    }

    /// Refuses to go on when the transaction is over, too old, or its node's clock is not to be trusted.
    pub(crate) fn check_open(&self) -> Result<(), TxnError> {
        let phase = self.state.lock().phase;
        if phase != Phase::Open {
            return Err(self.error(KvError::BadRequest { why: "the transaction is over".into() }));
        }
        let clock = self.coordinator.env.clock();
        if clock.is_fenced() && !quorate_env::planted!("txn.fenced_begins") {
            let shards: Vec<_> =
                self.coordinator.router.shards().into_iter().map(|(shard, _)| shard).collect();
            return Err(self.error(crate::fence::refusal(&self.coordinator.env, &shards)));
        }
        if clock.physical() > self.deadline {
            let why = "the transaction has passed its deadline".into();
            return Err(self.error(KvError::Timeout { why }));
        }
        Ok(())
    }
}

/// Scratch space is full or fails.
pub(crate) fn no_room(error: &ScratchError) -> KvError {
    KvError::Overloaded { what: error.to_string(), retry_after_millis: 1000 }
}

/// Before anything was read.
pub(crate) fn first_guarantee(options: &TxnOptions, clock: &Clock) -> Guarantee {
    match options.read_ts {
        Some(at) => Guarantee::of_past(options.isolation, clock.physical().since(at)),
        None => Guarantee::strongest(options.isolation, clock.commit_wait()),
    }
}

impl State {
    /// Notes spans that were read without locks at the present read timestamp.
    pub(crate) fn note_read(&mut self, span: Span) {
        self.fixed = true;
        self.spans.insert(span);
    }

    /// Notes a lock that the request of this number has asked for.
    pub(crate) fn note_lock(&mut self, key: Key, since: Timestamp, number: Seq) {
        self.change(|changes| changes.note_lock(key, since, number));
    }

    /// The number of a request for locks.
    pub(crate) fn next_number(&mut self) -> Seq {
        self.change(|changes| Ok(changes.buffer.next_seq())).unwrap_or_default()
    }

    /// The request of this number may have locked something there.
    pub(crate) fn locks_in(&mut self, shard: ShardId, number: Seq) {
        let last = self.lock_shards.entry(shard).or_default();
        *last = number.max(*last);
    }

    /// Gives up what was locked first after a mark. Which requests that undoes, and the shards that should hear of it.
    pub(crate) fn undo_locks(&mut self, mark: Seq, txn: &Inner) -> (Undone, BTreeSet<ShardId>) {
        let mut shards = BTreeSet::new();
        for (shard, last) in self.lock_shards.iter_mut().filter(|(_, last)| **last > mark) {
            shards.insert(*shard);
            *last = mark;
        }
        let mut owner: Option<ShardDescriptor> = None;
        while let Some(locks) = self.change(|changes| changes.locks_behind(mark)).filter(|l| !l.is_empty()) {
            for (key, since) in locks {
                // Halves that were split off since, among them.
                if !owner.as_ref().is_some_and(|owner| owner.contains(&key)) {
                    owner = txn.coordinator.router.lookup(&key).map(|(shard, _)| shard);
                    shards.extend(owner.as_ref().map(|shard| shard.id));
                }
                self.undo_lock(&key, since, txn);
            }
            self.settle(&txn.coordinator);
        }
        (Undone { after: mark, up_to: self.changes.buffer.seq() }, shards)
    }

    /// A key is not to stay locked. The client may have seen what it holds, as it may have by a read without a lock: this is one
    /// from now on, at the present read timestamp. Should that have moved on since the key was locked, only the lock stood for it
    /// on the way, which may have been lost: then its proof remains, without it.
    fn undo_lock(&mut self, key: &Key, since: Timestamp, txn: &Inner) {
        // Under READ COMMITTED no read outlives its statement. What is newer than a snapshot that stays is not seen by others.
        let read = !txn.read_committed() && since <= self.read_ts && !planted!("txn.undone_locks_unread");
        if read {
            self.note_read(Span::point(key));
        }
        if !read || since == self.read_ts || planted!("txn.undone_locks_unproven") {
            self.change(|changes| changes.forget_lock(key));
        }
    }

    /// Changes what the transaction holds. Where there is no room for it, the commit is refused.
    pub(crate) fn change<R>(
        &mut self,
        change: impl FnOnce(&mut Changes) -> Result<R, ScratchError>,
    ) -> Option<R> {
        // Shared: the commit has begun, and what comes late changes nothing any more.
        let changes = Arc::get_mut(&mut self.changes)?;
        match change(changes) {
            Ok(result) => Some(result),
            Err(error) => {
                self.refused.get_or_insert(no_room(&error));
                None
            }
        }
    }

    /// Has what is more than belongs into memory moved out of it.
    pub(crate) fn settle(&mut self, coordinator: &Coordinator) {
        let (scratch, limit) = (&*coordinator.scratch, coordinator.config.memory_bytes);
        self.change(|changes| changes.settle(scratch, limit));
    }

    /// The shards that must hear that the locks go; halves that were split off since among them.
    pub(crate) fn take_lock_shards(&mut self, router: &Router) -> BTreeSet<ShardId> {
        let mut shards: BTreeSet<_> = std::mem::take(&mut self.lock_shards).into_keys().collect();
        if !shards.is_empty() && !quorate_env::planted!("txn.halves_keep_locks") {
            // Whoever cannot be found that way asks after the holder in time.
            shards.extend(router.owners(|from| self.changes.next_lock(from).ok().flatten()));
        }
        shards
    }

    pub(crate) fn move_read_ts(&mut self, to: Timestamp) {
        self.read_ts = self.read_ts.max(to);
        self.uncertain_to = self.uncertain_to.max(self.read_ts);
    }
}

impl Drop for Inner {
    /// Whoever forgets to end a transaction still leaves no locks behind.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.coordinator.open.leave(self.place);
        self.coordinator.cleanup.forget(self.id);
        if state.phase == Phase::Committing {
            return;
        }
        let shards = state.take_lock_shards(&self.coordinator.router);
        self.coordinator.cleanup.release(self.id, shards);
        if state.record
            && matches!(state.phase, Phase::Open)
            && let Some(anchor) = state.anchor.take()
        {
            let meta = self.meta(anchor, self.deadline);
            self.coordinator.cleanup.abort_record(meta);
        }
    }
}
