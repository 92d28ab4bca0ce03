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
    pub how: How,
}

/// What a read is for.
#[derive(Clone, Debug, Default)]
pub enum How {
    /// The snapshot's rows; what is read is proven by the commit, at the levels that prove reads.
    #[default]
    Plain,
    /// The same without a proof: rows found are candidates that are locked next, or skipped.
    Loose,
    /// The newest versions, locked.
    Lock(LockRequest),
}

/// Reads of one transaction: one snapshot, its own writes included.
#[async_trait]
pub trait KvRead: Send + Sync + 'static {
    /// Pages of bounded size, fetched as the stream is polled; dropping it ends the scan.
    fn scan(&self, request: ScanRequest) -> BoxStream<'static, Result<Page, SqlError>>;

    /// One answer for each key, in order.
    async fn get_many(&self, keys: &[Key], how: How) -> Result<Vec<Option<Value>>, SqlError>;
}
