//! What scans need of a transaction; a seam, so that queries can be tested without a cluster.

use crate::error::SqlError;
use async_trait::async_trait;
use futures::stream::BoxStream;
use quorate_proto::kv::LockRequest;
use quorate_proto::{Key, Span, Value};

/// A page of rows in scan order.
pub type Page = Vec<(Key, Value)>;

/// One span of a scan.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    pub span: Span,
    pub reverse: bool,
    /// No more rows than this are wanted.
    pub limit: Option<u64>,
    /// Lock what is found.
    pub lock: Option<LockRequest>,
}

/// Reads of one transaction: one snapshot, its own writes included.
#[async_trait]
pub trait KvRead: Send + Sync + 'static {
    /// Pages of bounded size, fetched as the stream is polled; dropping it ends the scan.
    fn scan(&self, request: ScanRequest) -> BoxStream<'static, Result<Page, SqlError>>;

    /// One answer for each key, in order. With a lock: the newest versions, locked.
    async fn get_many(&self, keys: &[Key], lock: Option<LockRequest>)
    -> Result<Vec<Option<Value>>, SqlError>;
}
