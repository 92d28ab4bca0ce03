//! What a table scan in a logical plan reads.

use super::virtual_table::VirtualTable;
use crate::catalog::TableDescriptor;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableSource};
use quorate_proto::kv::LockRequest;
use std::sync::Arc;

/// A table in the key space. Its columns stand in the order of the descriptor.
#[derive(Debug)]
pub struct StoredTable {
    pub table: Arc<TableDescriptor>,
    /// Rows that are found will be locked like this, by a step above the scan.
    pub candidates: Option<LockRequest>,
    /// The scan locks the rows that it finds.
    pub lock: Option<LockRequest>,
    schema: SchemaRef,
}

impl StoredTable {
    pub fn new(table: Arc<TableDescriptor>, candidates: Option<LockRequest>) -> Self {
        let fields: Vec<Field> = table
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.ty.arrow(), c.nullable || c.leaving))
            .collect();
        StoredTable { schema: Arc::new(Schema::new(fields)), table, candidates, lock: None }
    }

    /// The same, locking itself what it finds.
    pub(super) fn locking(&self) -> Self {
        StoredTable {
            table: Arc::clone(&self.table),
            candidates: None,
            lock: self.candidates.clone(),
            schema: Arc::clone(&self.schema),
        }
    }
}

impl TableSource for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The scan evaluates all its filters itself, those that do not become key spans too.
    /// What stands above locks says nothing about which rows are locked.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let taken = match self.lock {
            None => TableProviderFilterPushDown::Exact,
            Some(_) => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![taken; filters.len()])
    }
}

/// A table made at the time of reading.
#[derive(Debug)]
pub struct VirtualSource {
    pub table: Arc<dyn VirtualTable>,
    schema: SchemaRef,
}

impl VirtualSource {
    pub fn new(table: Arc<dyn VirtualTable>) -> Self {
        let fields: Vec<Field> =
            table.columns().iter().map(|c| Field::new(&c.name, c.ty.arrow(), true)).collect();
        VirtualSource { schema: Arc::new(Schema::new(fields)), table }
    }
}

impl TableSource for VirtualSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
