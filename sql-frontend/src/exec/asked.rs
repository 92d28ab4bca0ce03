//! Subqueries in expressions over single rows (see [`super::program`]). Those that mention nothing of the rows are asked once,
//! before the statement changes anything; the expressions have placeholders for the answers.

use super::ExecContext;
use super::memory::sql_error;
use crate::bind::BoundQuery;
use crate::error::SqlError;
use crate::types::{Datum, PgType};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use std::sync::Arc;

/// The questions of a statement. Immutable, to be cached with it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// One row, with a column for each of `ids`.
    query: BoundQuery,
    ids: Vec<String>,
}

/// Placeholders and their values.
pub type Answers = Vec<(String, ScalarValue)>;

impl Asked {
    /// `plan` is optimized; its row has a column for each placeholder.
    pub(crate) fn new(plan: LogicalPlan, ids: Vec<String>) -> Self {
        let query = BoundQuery {
            columns: vec![],
            param_types: vec![],
            plan: Arc::new(plan),
            point: None,
            tables: vec![],
            locks: false,
            catalog: false,
        };
        Asked { query, ids }
    }

    /// Types of the statement's parameters, which are known when all of it is bound.
    pub(crate) fn set_param_types(&mut self, types: Vec<PgType>) {
        self.query.param_types = types;
    }

    pub async fn answers(&self, params: &[Datum], ctx: &ExecContext) -> Result<Answers, SqlError> {
        let mut rows = super::execute(&self.query, params, ctx);
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() == 1 {
                let columns = self.ids.iter().cloned().zip(batch.columns());
                let answers = columns.map(|(id, column)| Ok((id, ScalarValue::try_from_array(column, 0)?)));
                return answers.collect::<DfResult<_>>().map_err(sql_error);
            }
        }
        Err(SqlError::internal("questions have one row of answers"))
    }
}
