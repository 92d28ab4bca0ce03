//! A transaction, as its users hold it.

use crate::{Coordinator, Cost, Guarantee, Isolation, ScanOptions, TxnError, TxnOptions};
use futures::stream::BoxStream;
use quorate_proto::{Key, Span, Timestamp, TxnId, Value, kv::LockRequest};
use std::sync::Arc;

/// A transaction under way; clones are the same transaction, so that concurrent operators can share it. Dropping the last
/// clone without [`Txn::commit`] rolls it back.
#[derive(Clone)]
pub struct Txn(Arc<Inner>);

pub(crate) struct Inner {
    #[allow(dead_code)]
    coordinator: Arc<Coordinator>,
}

/// A moment to which [`Txn::rollback_to`] returns. It stays valid after that, until it is released, an earlier one is
/// returned to or released, or the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(u64);

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
    pub(crate) fn begin(coordinator: Arc<Coordinator>, _options: TxnOptions) -> Self {
        Txn(Arc::new(Inner { coordinator }))
    }

    pub fn id(&self) -> TxnId {
        todo!()
    }

    pub fn isolation(&self) -> Isolation {
        todo!()
    }

    pub fn read_only(&self) -> bool {
        todo!()
    }

    /// Starts at 0 and rises with each [`Txn::restart`].
    pub fn attempt(&self) -> u32 {
        todo!()
    }

    /// The timestamp at which everything is read now; it may move up while nothing contradicts.
    pub fn read_ts(&self) -> Timestamp {
        todo!()
    }

    /// When the transaction began (its first attempt).
    pub fn started(&self) -> Timestamp {
        todo!()
    }

    /// Begins the next statement: under `ReadCommitted` it reads at the present time, otherwise nothing changes. Running
    /// streams of the statement before must have ended.
    pub fn begin_statement(&self) {
        todo!()
    }

    /// Reads one key through the own writes. With `lock` the key is locked first, whether it exists or not, and the newest
    /// version is returned; with `WaitPolicy::SkipLocked` a locked key reads as absent.
    pub async fn get(&self, key: &Key, lock: Option<LockRequest>) -> Result<Option<Value>, TxnError> {
        let _ = (key, lock);
        todo!()
    }

    /// Reads many keys, in parallel over their shards; the answers in the order of `keys`.
    pub async fn get_many(
        &self,
        keys: &[Key],
        lock: Option<LockRequest>,
    ) -> Result<Vec<Option<Value>>, TxnError> {
        let _ = (keys, lock);
        todo!()
    }

    /// Reads the rows of a span page by page, in key order or its reverse, through the own writes as they are now: what is
    /// written while the stream runs does not show in it. Nothing is read before the stream is polled.
    pub fn scan(
        &self,
        span: Span,
        options: ScanOptions,
    ) -> BoxStream<'static, Result<Vec<(Key, Value)>, TxnError>> {
        let _ = (span, options);
        todo!()
    }

    /// Buffers a write. The commit proves that nobody else has written the key since it was locked, or read otherwise.
    pub fn put(&self, key: Key, value: Value) {
        let _ = (key, value);
        todo!()
    }

    /// Buffers a deletion; like [`Txn::put`].
    pub fn delete(&self, key: Key) {
        let _ = key;
        todo!()
    }

    /// The commit proves that the key has no live version then; otherwise it fails with `KvError::Exists`. Undone by
    /// [`Txn::rollback_to`].
    pub fn check_absent(&self, key: Key) {
        let _ = key;
        todo!()
    }

    /// Keys written so far, and the bytes that they take.
    pub fn buffered(&self) -> (usize, usize) {
        todo!()
    }

    pub fn savepoint(&self) -> Savepoint {
        todo!()
    }

    /// Undoes the writes and absence checks since. Locks stay.
    pub fn rollback_to(&self, savepoint: Savepoint) {
        let _ = savepoint;
        todo!()
    }

    /// Forgets a savepoint and all later ones.
    pub fn release(&self, savepoint: Savepoint) {
        let _ = savepoint;
        todo!()
    }

    /// The commit timestamp must lie below this: the lease of a schema version ends there (PROTOCOL 20). Several calls: the
    /// earliest counts.
    pub fn set_commit_before(&self, ts: Timestamp) {
        let _ = ts;
        todo!()
    }

    /// Commits. After an error the transaction is over: rolled back, or with `ErrorClass::Ambiguous` unknown. Dropping the
    /// future does not stop the commit.
    pub async fn commit(&self) -> Result<Committed, TxnError> {
        todo!()
    }

    /// Drops all writes and locks. Nothing is waited for.
    pub async fn rollback(&self) {
        todo!()
    }

    /// The next attempt of this transaction, which must have failed or been given up: nothing read or written, a new read
    /// timestamp, the age of the first attempt (which counts in deadlocks) and, where possible, its locks.
    pub fn restart(&self) -> Txn {
        todo!()
    }

    /// What all attempts have cost so far.
    pub fn cost(&self) -> Cost {
        todo!()
    }

    /// What the answers since the last [`Txn::begin_statement`] may be relied upon for.
    pub fn guarantee(&self) -> Guarantee {
        todo!()
    }
}
