//! `DELETE`.

use super::{Change, Once, Returned, Returning, Row, Writer, rows_of};
use crate::{bind::BoundDelete, error::SqlError, exec, types::Datum};
use futures::TryStreamExt;

/// Runs it: how many rows went, and what `RETURNING` says.
pub async fn run(
    writer: &Writer,
    delete: &BoundDelete,
    params: &[Datum],
) -> Result<(u64, Returned), SqlError> {
    let mut returning = Returning::new(delete.returning.as_ref(), params, &writer.ctx)?;
    let types: Vec<_> = delete.scan.columns.iter().map(|column| column.ty).collect();
    let mut once = Once::new(&delete.table, delete.joined);
    let mut count = 0;
    let mut batches = exec::execute(&delete.scan, params, &writer.ctx);
    while let Some(batch) = batches.try_next().await? {
        let rows = once.take(rows_of(&batch, &types)?)?;
        count += write(writer, delete, rows, &mut returning).await?;
    }
    Ok((count, returning.finish()))
}

/// Removes rows as the scan yields them: old columns, extra columns.
pub async fn write(
    writer: &Writer,
    delete: &BoundDelete,
    rows: Vec<Row>,
    returning: &mut Returning,
) -> Result<u64, SqlError> {
    returning.add(&rows)?;
    let width = delete.table.columns.len();
    let changes: Vec<Change> = rows
        .into_iter()
        .map(|mut row| {
            row.truncate(width);
            Change { old: Some(row), new: None }
        })
        .collect();
    writer.apply(&delete.table, &changes).await?;
    Ok(changes.len() as u64)
}
