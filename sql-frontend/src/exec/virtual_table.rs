//! Tables whose rows are made at the time of reading: `pg_catalog`, `information_schema`, `quorate`.

use super::leaf::LeafExec;
use super::source::VirtualSource;
use super::{ExecContext, engine};
use crate::error::SqlError;
use crate::types::{Datum, PgType, to_array};
use async_trait::async_trait;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::TableScan;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use std::fmt::Debug;
use std::sync::Arc;

/// A column of a virtual table.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualColumn {
    pub name: String,
    pub ty: PgType,
    /// Found by name, but not part of `*`.
    pub hidden: bool,
}

impl VirtualColumn {
    pub fn new(name: impl Into<String>, ty: PgType) -> Self {
        VirtualColumn { name: name.into(), ty, hidden: false }
    }
}

/// A table without keys. All its rows are made at once, so it must be small.
#[async_trait]
pub trait VirtualTable: Debug + Send + Sync + 'static {
    fn schema_name(&self) -> &str;
    fn name(&self) -> &str;
    fn columns(&self) -> &[VirtualColumn];
    /// Rows in the order and with the types of [`VirtualTable::columns`].
    async fn rows(&self, ctx: &ExecContext) -> Result<Vec<Vec<Datum>>, SqlError>;
}

/// Makes a scan executable; filters stay above it.
pub(super) fn plan(source: &VirtualSource, scan: &TableScan) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = Arc::clone(scan.projected_schema.inner());
    let positions: Vec<usize> = match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..source.table.columns().len()).collect(),
    };
    let table = Arc::clone(&source.table);
    let title = format!("Virtual Scan on {}.{}", table.schema_name(), table.name());
    let out = Arc::clone(&schema);
    let start = move |task: Arc<TaskContext>| {
        let ctx = engine::statement(&task)?;
        let (table, positions, schema) = (Arc::clone(&table), positions.clone(), Arc::clone(&out));
        let batch = async move {
            let rows = table.rows(&ctx).await?;
            let columns = positions
                .iter()
                .map(|at| to_array(rows.iter().map(|r| &r[*at]), table.columns()[*at].ty))
                .collect::<Result<Vec<_>, SqlError>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
        };
        Ok(futures::stream::once(batch).boxed())
    };
    Ok(Arc::new(LeafExec::new(title, schema, Arc::new(start))))
}
