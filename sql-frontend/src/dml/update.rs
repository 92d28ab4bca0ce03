//! `UPDATE`.

use super::{Change, Once, Returned, Returning, Row, Writer, rows_of};
use crate::{bind::BoundUpdate, error::SqlError, exec, types::Datum};
use futures::TryStreamExt;

/// Runs it: how many rows were updated, and what `RETURNING` says.
pub async fn run(
    writer: &Writer,
    update: &BoundUpdate,
    params: &[Datum],
) -> Result<(u64, Returned), SqlError> {
    let mut returning = Returning::new(update.returning.as_ref(), params, &writer.ctx)?;
    let checks = writer.checks(&update.table)?;
    let types: Vec<_> = update.scan.columns.iter().map(|column| column.ty).collect();
    let mut once = Once::new(&update.table, update.joined);
    let mut count = 0;
    let mut batches = exec::execute(&update.scan, params, &writer.ctx);
    while let Some(batch) = batches.try_next().await? {
        let rows = once.take(rows_of(&batch, &types)?)?;
        count += write(writer, update, &checks, rows, &mut returning).await?;
    }
    Ok((count, returning.finish()))
}

/// Writes rows as the scan yields them: old columns, new values, extra columns.
pub async fn write(
    writer: &Writer,
    update: &BoundUpdate,
    checks: &super::Checks,
    rows: Vec<Row>,
    returning: &mut Returning,
) -> Result<u64, SqlError> {
    let width = update.table.columns.len();
    let mut changes = Vec::with_capacity(rows.len());
    let mut extras = Vec::with_capacity(rows.len());
    for mut row in rows {
        let mut rest = row.split_off(width);
        let extra = rest.split_off(update.assigned.len());
        let mut new = row.clone();
        for (&at, value) in update.assigned.iter().zip(rest) {
            new[at] = value;
        }
        changes.push(Change { old: Some(row), new: Some(new) });
        extras.push(extra);
    }
    let old_rows: Vec<&Row> = changes.iter().filter_map(|change| change.old.as_ref()).collect();
    let new_rows: Vec<&Row> = changes.iter().filter_map(|change| change.new.as_ref()).collect();
    writer.check(&update.table, checks, Some(&old_rows), &new_rows)?;
    writer.apply(&update.table, &changes).await?;
    let count = changes.len() as u64;
    if update.returning.is_some() {
        let written = changes.into_iter().zip(extras);
        let written: Vec<Row> = written
            .filter_map(|(change, extra)| {
                let mut row = change.new?;
                row.extend(extra);
                Some(row)
            })
            .collect();
        returning.add(&written)?;
    }
    Ok(count)
}
