//! Rows to change that a join may bring several times.

use super::Row;
use crate::{catalog::TableDescriptor, error::SqlError, row::primary_key};
use quorate_proto::Key;
use std::collections::BTreeSet;

/// Takes each row the first time it comes, as PostgreSQL does: a row that a statement has changed is not changed again by it.
pub struct Once<'a> {
    table: &'a TableDescriptor,
    /// None: no row comes twice.
    seen: Option<BTreeSet<Key>>,
}

impl<'a> Once<'a> {
    pub fn new(table: &'a TableDescriptor, joined: bool) -> Self {
        Once { table, seen: joined.then(BTreeSet::new) }
    }

    /// Those of the rows that have not come before.
    pub fn take(&mut self, rows: Vec<Row>) -> Result<Vec<Row>, SqlError> {
        let Some(seen) = &mut self.seen else { return Ok(rows) };
        let mut fresh = Vec::with_capacity(rows.len());
        for row in rows {
            if seen.insert(primary_key(self.table, &row)?) {
                fresh.push(row);
            }
        }
        Ok(fresh)
    }
}
