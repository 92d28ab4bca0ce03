//! `INSERT`.

use super::{CHUNK, Change, Returned, Returning, Row, Writer, conflict, rows_of};
use crate::{
    bind::BoundInsert,
    catalog::TableDescriptor,
    error::SqlError,
    exec,
    types::{Datum, PgType},
};
use futures::TryStreamExt;

/// Runs it: how many rows went in (or were updated on conflict), and what `RETURNING` says.
pub async fn run(
    writer: &Writer,
    insert: &BoundInsert,
    params: &[Datum],
) -> Result<(u64, Returned), SqlError> {
    let mut returning = Returning::new(insert.returning.as_ref(), params, &writer.ctx)?;
    let mut target = Target::new(writer, insert, params).await?;
    let mut count = 0;
    if let Some(values) = &insert.values {
        writer.reserve(&insert.table, values.len()).await?;
        for chunk in values.chunks(CHUNK) {
            let mut rows = Vec::with_capacity(chunk.len());
            for program in chunk {
                rows.push(program.evaluate(&[], params, &writer.ctx)?);
            }
            count += target.write(rows, &mut returning).await?;
        }
        return Ok((count, returning.finish()));
    }
    writer.reserve(&insert.table, CHUNK).await?;
    let types: Vec<PgType> = insert.table.columns.iter().map(|c| c.ty).collect();
    let mut batches = exec::execute(&insert.source, params, &writer.ctx);
    while let Some(batch) = batches.try_next().await? {
        count += target.write(rows_of(&batch, &types)?, &mut returning).await?;
        writer.reserve(&insert.table, CHUNK).await?;
    }
    Ok((count, returning.finish()))
}

/// Where the rows go, and what happens when they are there already.
struct Target<'a> {
    writer: &'a Writer,
    insert: &'a BoundInsert,
    checks: super::Checks,
    conflict: Option<conflict::Resolver<'a>>,
}

impl<'a> Target<'a> {
    async fn new(writer: &'a Writer, insert: &'a BoundInsert, params: &[Datum]) -> Result<Self, SqlError> {
        let conflict = match &insert.on_conflict {
            Some(bound) => Some(conflict::Resolver::new(writer, &insert.table, bound, params).await?),
            None => None,
        };
        Ok(Target { writer, insert, checks: writer.checks(&insert.table)?, conflict })
    }

    async fn write(&mut self, mut rows: Vec<Row>, returning: &mut Returning) -> Result<u64, SqlError> {
        let table = &*self.insert.table;
        for row in &mut rows {
            self.writer.fill_row_id(table, row);
        }
        let all: Vec<&Row> = rows.iter().collect();
        self.writer.check(table, &self.checks, None, &all)?;
        let written = match &mut self.conflict {
            Some(resolver) => resolver.write(rows, &self.checks).await?,
            None => {
                let changes: Vec<Change> =
                    rows.into_iter().map(|row| Change { old: None, new: Some(row) }).collect();
                self.writer.apply(table, &changes).await?;
                changes.into_iter().filter_map(|change| change.new).collect()
            }
        };
        returning.add(&written)?;
        Ok(written.len() as u64)
    }
}

impl Writer {
    /// Gives a row of a table without a declared key its id.
    pub fn fill_row_id(&self, table: &TableDescriptor, row: &mut Row) {
        for (column, value) in table.columns.iter().zip(row.iter_mut()) {
            if column.hidden && value.is_null() && table.is_primary_key(column.id) {
                *value = Datum::Int8(self.shared.row_ids.next());
            }
        }
    }

    /// Has numbers at hand for the serial columns of this many rows.
    pub async fn reserve(&self, table: &TableDescriptor, rows: usize) -> Result<(), SqlError> {
        let sequences = table.columns.iter().filter_map(|column| column.sequence);
        for id in sequences {
            let view = crate::session::view::SessionView::of(&self.ctx)?;
            if let Some(sequence) = view.snapshot().sequences.get(&id) {
                self.shared.sequences.reserve(sequence, rows as u64).await?;
            }
        }
        Ok(())
    }
}
