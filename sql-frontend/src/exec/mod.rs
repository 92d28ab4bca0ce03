//! Running bound statements: one shared DataFusion engine, scans over a transaction, streams of record batches.

pub mod access;
mod ahead;
pub mod apply;
mod apply_exec;
mod asked;
mod charged;
pub mod engine;
mod evaluated;
mod evaluated_exec;
pub mod explain;
mod giving_way;
mod held_limits;
mod index_order;
mod leaf;
pub mod lock_rows;
mod lock_rows_exec;
mod locking_scans;
mod lookup;
mod memory;
pub(crate) mod ordered;
pub mod params;
pub mod point;
pub mod program;
pub mod read;
mod reading;
pub mod rows_from;
mod scan;
pub(crate) mod schema;
mod series;
mod shown;
pub mod source;
mod text;
pub mod virtual_table;
pub mod widened;

pub use asked::{Answers, Asked};
pub use engine::{Engine, EngineConfig};
pub use memory::Held;
pub use point::PointQuery;
pub use program::RowProgram;
pub use read::{How, KvRead, Page, ScanRequest};
pub use virtual_table::{VirtualColumn, VirtualTable};

use crate::bind::BoundQuery;
use crate::error::SqlError;
use crate::func::StatementContext;
use crate::types::Datum;
use datafusion::arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What a running statement needs besides its parameters. Cheap to clone.
#[derive(Clone)]
pub struct ExecContext {
    pub engine: Arc<Engine>,
    /// The transaction's reads.
    pub read: Arc<dyn KvRead>,
    /// What functions may ask of the session.
    pub session: Arc<StatementContext>,
    /// What virtual tables may ask; they know its type.
    pub extension: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for ExecContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecContext")
    }
}

/// Runs a query. Dropping the stream cancels it. Batches hold at most [`engine::MAX_BATCH_ROWS`] rows, the first ones
/// of a scan fewer, and only as many are made as are asked for. Planning happens at the first poll.
pub fn execute(
    query: &BoundQuery,
    params: &[Datum],
    ctx: &ExecContext,
) -> BoxStream<'static, Result<RecordBatch, SqlError>> {
    engine::execute(query, params, ctx)
}
