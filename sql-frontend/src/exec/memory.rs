//! Working memory: what a statement holds is counted against what the node grants to queries, and 53200 beyond it.

use super::engine::Engine;
use crate::error::{SqlError, SqlState};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};

/// Memory that a statement holds outside of the relational engine's operators; given back when dropped.
#[derive(Debug)]
pub struct Held(MemoryReservation);

impl Held {
    /// Holds more; 53200 when the node's budget for queries is used up.
    pub fn grow(&self, bytes: usize) -> Result<(), SqlError> {
        self.0.try_grow(bytes).map_err(sql_error)
    }
}

impl Engine {
    /// Begins to count what is about to be held; `what` is shown where memory runs out.
    pub fn hold(&self, what: &str) -> Held {
        Held(MemoryConsumer::new(what).register(&self.runtime().memory_pool))
    }

    /// Whether what comes next may find none.
    pub fn is_short_of_memory(&self) -> bool {
        match self.runtime().memory_pool.memory_limit() {
            MemoryLimit::Finite(limit) => self.memory_in_use() > limit / 4 * 3,
            _ => false,
        }
    }

    /// Bytes that all statements hold at present.
    pub fn memory_in_use(&self) -> usize {
        self.runtime().memory_pool.reserved()
    }
}

/// Like `From<DataFusionError>`, with a hint where memory ran out.
pub(super) fn sql_error(error: DataFusionError) -> SqlError {
    let error = SqlError::from(error);
    if error.sqlstate == SqlState::OUT_OF_MEMORY && error.detail.is_none() {
        let detail = error.message;
        return SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .detail(detail)
            .hint("The statement needs more working memory than this node allows for queries.");
    }
    error
}
