//! A transaction, as its users hold it.

mod read;
mod scan;
pub(crate) mod state;

use crate::{Coordinator, Cost, Guarantee, Isolation, ScanOptions, TxnError, TxnOptions, commit};
use futures::stream::BoxStream;
use quorate_proto::{Key, KvError, Span, Timestamp, TxnId, Value, kv::LockRequest};
use read::{Locking, Purpose, Reading};
use state::{Inner, Phase};
use std::{sync::Arc, time::Duration};

/// A transaction under way; clones are the same transaction, so that concurrent operators can share it. Dropping the last
/// clone without [`Txn::commit`] rolls it back.
#[derive(Clone)]
pub struct Txn(pub(crate) Arc<Inner>);

/// A moment to which [`Txn::rollback_to`] returns. It stays valid after that, until it is released, an earlier one is
/// returned to or released, or the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    depth: usize,
    mark: u64,
}

/// A transaction that is committed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub txn: TxnId,
    /// Its place in the order of all transactions; the read timestamp if it wrote nothing.
    pub ts: Timestamp,
    pub cost: Cost,
    pub guarantee: Guarantee,
}

impl Txn {
    pub(crate) fn begin(coordinator: Arc<Coordinator>, options: TxnOptions) -> Self {
        Txn(coordinator.open.enter(Inner::first(coordinator.clone(), options)))
    }

    pub fn id(&self) -> TxnId {
        self.0.id
    }

    pub fn isolation(&self) -> Isolation {
        self.0.options.isolation
    }

    pub fn read_only(&self) -> bool {
        self.0.options.read_only || self.0.historical()
    }

    /// Starts at 0 and rises with each [`Txn::restart`].
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The timestamp at which everything is read now; it may move up while nothing contradicts.
    pub fn read_ts(&self) -> Timestamp {
        self.0.state.lock().read_ts
    }

    /// When the transaction began (its first attempt).
    pub fn started(&self) -> Timestamp {
        self.0.started
    }

    /// Begins the next statement: under `ReadCommitted`, and as long as nothing has been read or locked, it reads at the present
    /// time. Under `ReadCommitted` running streams of the statement before must have ended.
    pub fn begin_statement(&self) {
        let clock = self.0.coordinator.env.clock();
        let mut state = self.0.state.lock();
        state.guarantee = state::first_guarantee(&self.0.options, clock);
        state.shards.clear();
        // What was locked must be read as it was then, even if the lock has been lost since.
        state.fixed |= state.changes.has_locks() && !quorate_env::planted!("txn.locks_fix_nothing");
        if !self.0.historical() && (self.0.read_committed() || !state.fixed) {
            state.read_ts = clock.now().max(state.read_ts);
            state.uncertain_to = state::uncertain_to(clock, state.read_ts);
            state.fixed = false;
            state.spans.clear();
        }
    }

    /// Reads one key through the own writes. With `lock` the key is locked first, whether it exists or not, and the newest
    /// version is returned; with `WaitPolicy::SkipLocked` a locked key reads as absent.
    ///
    /// Where that is newer than what the transaction has read before: under `Serializable` the transaction moves there, if
    /// nothing that it has read has changed. Under the other levels the snapshot stays. A row that it does not show reads as
    /// absent; one that has changed since is a conflict under `RepeatableRead`, and is read as it is now under
    /// `ReadCommitted`, so that the statement can look at its condition again.
    pub async fn get(&self, key: &Key, lock: Option<LockRequest>) -> Result<Option<Value>, TxnError> {
        let values = self.get_many(std::slice::from_ref(key), lock).await?;
        Ok(values.into_iter().next().flatten())
    }

    /// Reads one key past the own writes: its value and when that was committed.
    pub async fn get_committed(&self, key: &Key) -> Result<Option<(Value, Timestamp)>, TxnError> {
        self.0.read_committed_key(key).await
    }

    /// Reads many keys, in parallel over their shards; the answers in the order of `keys`.
    pub async fn get_many(
        &self,
        keys: &[Key],
        lock: Option<LockRequest>,
    ) -> Result<Vec<Option<Value>>, TxnError> {
        let locked = |request| Reading::Locked(Locking { request, purpose: Purpose::Row });
        self.0.read_keys(keys, lock.map_or(Reading::Plain, locked)).await
    }

    /// The same without locks, for candidates: those that matter are locked next, and read again then. The commit does not prove
    /// that the others have not changed.
    pub async fn get_many_loosely(&self, keys: &[Key]) -> Result<Vec<Option<Value>>, TxnError> {
        self.0.read_keys(keys, Reading::Loose).await
    }

    /// Locks keys that something is to be written to and returns what is there now, at every level and whatever the snapshot
    /// shows: uniqueness is a matter of the newest state.
    pub async fn claim(&self, keys: &[Key], lock: LockRequest) -> Result<Vec<Option<Value>>, TxnError> {
        let locking = Locking { request: lock, purpose: Purpose::Place };
        self.0.read_keys(keys, Reading::Locked(locking)).await
    }

    /// The same for rows that are to be acted upon if they are there (`ON CONFLICT`): under `RepeatableRead` one that is newer
    /// than the snapshot is a conflict.
    pub async fn claim_to_act(
        &self,
        keys: &[Key],
        lock: LockRequest,
    ) -> Result<Vec<Option<Value>>, TxnError> {
        let locking = Locking { request: lock, purpose: Purpose::Arbiter };
        self.0.read_keys(keys, Reading::Locked(locking)).await
    }

    /// Reads the rows of a span page by page, in key order or its reverse, through the own writes as they are now: what is
    /// written while the stream runs does not show in it. Nothing is read before the stream is polled.
    pub fn scan(
        &self,
        span: Span,
        options: ScanOptions,
    ) -> BoxStream<'static, Result<Vec<(Key, Value)>, TxnError>> {
        scan::scan(self.0.clone(), span, options)
    }

    /// Buffers a write. The commit proves that nobody else has written the key since it was locked, or read otherwise.
    pub fn put(&self, key: Key, value: Value) {
        self.write(key, Some(value));
    }

    /// Buffers a deletion; like [`Txn::put`].
    pub fn delete(&self, key: Key) {
        self.write(key, None);
    }

    /// The commit proves that the key has no live version then; otherwise it fails with `KvError::Exists`. Undone by
    /// [`Txn::rollback_to`].
    pub fn check_absent(&self, key: Key) {
        let mut state = self.0.state.lock();
        state.anchor.get_or_insert_with(|| key.clone());
        state.change(|changes| changes.buffer.check_absent(key));
        state.settle(&self.0.coordinator);
    }

    /// Keys written so far, and the bytes that they take.
    pub fn buffered(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.changes.buffer.len(), state.changes.buffer.bytes())
    }

    /// How many bytes of changes a transaction may hold, once it holds more: with another write its commit is refused.
    pub fn overfull(&self) -> Option<usize> {
        let most = self.0.coordinator.config.max_buffer_bytes;
        (self.buffered().1 > most).then_some(most)
    }

    /// Why the commit will be refused, if there is no room for the changes.
    pub fn refused(&self) -> Option<TxnError> {
        let refused = self.0.state.lock().refused.clone();
        refused.map(|error| self.0.error(error))
    }

    pub fn savepoint(&self) -> Savepoint {
        let mut state = self.0.state.lock();
        let mark = state.change(|changes| Ok(changes.buffer.mark())).unwrap_or_default();
        state.savepoints.push(mark);
        Savepoint { depth: state.savepoints.len(), mark }
    }

    /// Undoes the writes and absence checks since, and gives back what was locked since and not before. What was read stays
    /// read. Nothing is waited for; see [`Txn::released`].
    pub fn rollback_to(&self, savepoint: Savepoint) {
        self.rollback_writes_to(savepoint);
        let mut state = self.0.state.lock();
        if state.phase != Phase::Open || state.savepoints.last() != Some(&savepoint.mark) {
            return;
        }
        let (undone, shards) = state.undo_locks(savepoint.mark, &self.0);
        drop(state);
        let releasing = self.0.coordinator.cleanup.release_undone(self.0.id, undone, shards);
        if releasing.is_some() {
            self.0.state.lock().releasing = releasing;
        }
    }

    /// Undoes the writes and absence checks since; locks stay, for what is done then may need them again.
    pub fn rollback_writes_to(&self, savepoint: Savepoint) {
        self.release_from(savepoint.depth + 1);
        let mut state = self.0.state.lock();
        if state.savepoints.last() == Some(&savepoint.mark) {
            state.change(|changes| changes.buffer.rollback_to(savepoint.mark));
        } else {
            state.refused = Some(KvError::BadRequest { why: "the savepoint is gone".into() });
        }
    }

    /// Forgets a savepoint and all later ones.
    pub fn release(&self, savepoint: Savepoint) {
        self.release_from(savepoint.depth);
    }

    /// The commit timestamp must lie below this: the lease of a schema version ends there (PROTOCOL 20). Several calls: the
    /// earliest counts.
    pub fn set_commit_before(&self, ts: Timestamp) {
        let mut state = self.0.state.lock();
        state.commit_before = state.commit_before.min(ts);
    }

    /// Like [`Txn::set_commit_before`], for a bound that is extended from time to time: a commit that takes long asks for it
    /// again. What it returns must hold for good.
    pub fn follow_commit_bound(&self, bound: impl Fn() -> Timestamp + Send + Sync + 'static) {
        self.0.state.lock().followed_bound = Some(Box::new(bound));
    }

    /// Commits. After an error the transaction is over: rolled back, or with `ErrorClass::Ambiguous` unknown. Dropping the
    /// future does not stop the commit.
    pub async fn commit(&self) -> Result<Committed, TxnError> {
        commit::commit(&self.0).await
    }

    /// Drops all writes and locks. Nothing is waited for.
    pub fn rollback(&self) {
        commit::rollback(&self.0);
    }

    /// Returns when the locks are free of a transaction that is over or of what it has rolled back last, so that whoever begins
    /// then does not meet them; or after `limit`, when they are left to their shards.
    pub async fn released(&self, limit: Duration) {
        let releasing = self.0.state.lock().releasing.take();
        if let Some(releasing) = releasing {
            let _ = self.0.coordinator.env.timeout(limit, releasing).await;
        }
    }

    /// The next attempt of this transaction, which must have failed or been given up: nothing read or written, a new read
    /// timestamp, the age of the first attempt (which counts in deadlocks) and, where possible, its locks.
    pub fn restart(&self) -> Txn {
        commit::restart(&self.0)
    }

    /// What all attempts have cost so far.
    pub fn cost(&self) -> Cost {
        self.0.state.lock().cost
    }

    /// How many shards were read since the last [`Txn::begin_statement`]; after the commit, with those that took part in it.
    pub fn shards(&self) -> usize {
        self.0.state.lock().shards.len()
    }

    /// What the answers since the last [`Txn::begin_statement`] may be relied upon for.
    pub fn guarantee(&self) -> Guarantee {
        self.0.state.lock().guarantee
    }

    fn write(&self, key: Key, value: Option<Value>) {
        let config = &self.0.coordinator.config;
        let mut state = self.0.state.lock();
        if self.read_only() {
            state.refused = Some(KvError::BadRequest { why: "a read-only transaction wrote".into() });
            return;
        }
        if state.changes.buffer.bytes() > config.max_buffer_bytes {
            let what = format!("a transaction holds at most {} bytes of changes", config.max_buffer_bytes);
            state.refused = Some(KvError::Overloaded { what, retry_after_millis: 0 });
            return;
        }
        let read_ts = state.read_ts;
        state.anchor.get_or_insert_with(|| key.clone());
        state.change(|changes| changes.buffer.write(key, value, read_ts));
        state.settle(&self.0.coordinator);
    }

    /// Forgets all savepoints from this depth on (1 is the first).
    fn release_from(&self, depth: usize) {
        let mut state = self.0.state.lock();
        while state.savepoints.len() >= depth.max(1) {
            let Some(mark) = state.savepoints.pop() else { return };
            state.change(|changes| {
                changes.unmark(mark);
                Ok(())
            });
        }
    }

    /// Whether the transaction can still read, write and commit.
    pub fn is_open(&self) -> bool {
        self.0.state.lock().phase == Phase::Open
    }
}
