//! The coordinator's transaction as what queries read from.

use super::errors::from_txn;
use crate::{
    error::SqlError,
    exec::{How, KvRead, Page, ScanRequest},
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
    fn patient(&self, mut lock: LockRequest) -> LockRequest {
        if let WaitPolicy::Block(0) = lock.wait {
            lock.wait = WaitPolicy::Block(self.lock_timeout.as_millis() as u64);
        }
        lock
    }
}

/// The lock that writing a row takes.
pub fn write_lock(timeout: Duration) -> LockRequest {
    LockRequest {
        mode: LockMode::Exclusive,
        wait: WaitPolicy::Block(timeout.as_millis() as u64),
        firm: false,
    }
}

#[async_trait]
impl KvRead for TxnRead {
    fn scan(&self, request: ScanRequest) -> BoxStream<'static, Result<Page, SqlError>> {
        let mut options =
            ScanOptions { reverse: request.reverse, limit: request.limit, ..Default::default() };
        match request.how {
            How::Plain => {}
            How::Loose => options.loose = true,
            How::Lock(lock) => options.lock = Some(self.patient(lock)),
        }
        self.txn.scan(request.span, options).map_err(from_txn).boxed()
    }

    async fn get_many(&self, keys: &[Key], how: How) -> Result<Vec<Option<Value>>, SqlError> {
        let found = match how {
            How::Plain => self.txn.get_many(keys, None).await,
            How::Loose => self.txn.get_many_loosely(keys).await,
            How::Lock(lock) => self.txn.get_many(keys, Some(self.patient(lock))).await,
        };
        found.map_err(from_txn)
    }
}
