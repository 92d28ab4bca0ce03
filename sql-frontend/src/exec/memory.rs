//! Turning "out of memory" of the pool into PostgreSQL's 53200.

use crate::error::{SqlError, SqlState};
use datafusion::error::DataFusionError;

/// Like `From<DataFusionError>`, with a hint where memory ran out.
pub(super) fn sql_error(error: DataFusionError) -> SqlError {
    let error = SqlError::from(error);
    if error.sqlstate == SqlState::OUT_OF_MEMORY {
        let detail = error.message;
        return SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .detail(detail)
            .hint("The statement needs more working memory than this node allows for queries.");
    }
    error
}
