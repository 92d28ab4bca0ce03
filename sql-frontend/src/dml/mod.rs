//! Changing rows: `INSERT`, `UPDATE`, `DELETE`, `COPY FROM`. Where the rows come from and what is computed from them is bound
//! in [`crate::bind`]; here they are checked, encoded and written, with their index entries.

mod checks;
pub mod conflict;
pub mod copy;
pub mod delete;
pub mod insert;
mod once;
pub mod update;
mod violation;
mod write;

pub use checks::Checks;
pub use once::Once;
pub use violation::{not_null_violation, unique_violation};
pub use write::{Change, Writer, check_key_size, check_room};

use crate::{
    bind::ReturningClause,
    error::SqlError,
    exec::program::Compiled,
    exec::{ExecContext, Held},
    types::{Datum, PgType, datum_at},
};
use datafusion::arrow::record_batch::RecordBatch;

/// Rows written in one go: one round of reads for their keys.
pub const CHUNK: usize = 1000;

pub type Row = Vec<Datum>;

/// The rows of a batch whose columns have these types.
pub fn rows_of(batch: &RecordBatch, types: &[PgType]) -> Result<Vec<Row>, SqlError> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().zip(types).map(|(column, ty)| datum_at(column, row, *ty)).collect())
        .collect()
}

/// `RETURNING`, gathering rows as they are written: none is sent before the statement has done all it does.
pub struct Returning {
    compiled: Option<(Compiled, Held)>,
    rows: Vec<Row>,
}

/// What `RETURNING` says, and the memory that it takes.
pub struct Returned {
    pub rows: Vec<Row>,
    pub held: Option<Held>,
}

impl Returning {
    pub fn new(
        clause: Option<&ReturningClause>,
        params: &[Datum],
        ctx: &ExecContext,
    ) -> Result<Self, SqlError> {
        let compile = |clause: &ReturningClause| {
            Ok::<_, SqlError>((clause.program.compile(params, ctx)?, ctx.engine.hold("RETURNING")))
        };
        Ok(Returning { compiled: clause.map(compile).transpose()?, rows: Vec::new() })
    }

    /// `rows` are what was written, each followed by the statement's extra columns.
    pub fn add<R: AsRef<[Datum]>>(&mut self, rows: &[R]) -> Result<(), SqlError> {
        let Some((compiled, held)) = &self.compiled else { return Ok(()) };
        for chunk in rows.chunks(CHUNK) {
            let rows = compiled.rows(chunk)?;
            held.grow(
                rows.iter().map(|row| size_of::<Row>() + row.iter().map(Datum::size).sum::<usize>()).sum(),
            )?;
            self.rows.extend(rows);
        }
        Ok(())
    }

    pub fn finish(self) -> Returned {
        Returned { rows: self.rows, held: self.compiled.map(|(_, held)| held) }
    }
}
