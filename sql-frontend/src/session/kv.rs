//! The coordinator's transaction as what queries read from.

use super::errors::from_txn;
use crate::{
    error::SqlError,
    exec::{KvRead, Page, ScanRequest},
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use quorate_proto::{
    Key, Value,
    kv::{LockMode, LockRequest, WaitPolicy},
};
use quorate_txn::{ScanOptions, Txn};
use std::time::Duration;

/// Reads of one statement.
pub struct TxnRead {
    pub txn: Txn,
    /// Longest wait for a lock; zero: as long as it takes.
    pub lock_timeout: Duration,
}

impl TxnRead {
    /// Plans ask to wait; how long, the session knows.
    fn patient(&self, lock: Option<LockRequest>) -> Option<LockRequest> {
        lock.map(|mut lock| {
            if let WaitPolicy::Block(0) = lock.wait {
                lock.wait = WaitPolicy::Block(self.lock_timeout.as_millis() as u64);
            }
            lock
        })
    }
}

/// The lock that writing a row takes.
pub fn write_lock(timeout: Duration) -> LockRequest {
    LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(timeout.as_millis() as u64) }
}

#[async_trait]
impl KvRead for TxnRead {
    fn scan(&self, request: ScanRequest) -> BoxStream<'static, Result<Page, SqlError>> {
        let options =
            ScanOptions { reverse: request.reverse, limit: request.limit, lock: self.patient(request.lock) };
        self.txn.scan(request.span, options).map_err(from_txn).boxed()
    }

    async fn get_many(
        &self,
        keys: &[Key],
        lock: Option<LockRequest>,
    ) -> Result<Vec<Option<Value>>, SqlError> {
        self.txn.get_many(keys, self.patient(lock)).await.map_err(from_txn)
    }
}
