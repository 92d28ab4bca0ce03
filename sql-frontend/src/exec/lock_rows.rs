//! Locking what a query has found, as one logical node.
//!
//! `LockRows` takes the rows of its input in order and locks, of each, the rows of tables that it was made of, for as long as
//! rows are wanted. One that has changed since it was found is looked at again by the plan `recheck`, and comes out as it
//! is now, or not at all; one that is gone, or is skipped, does not come out. (PostgreSQL's node of this name.) Where the
//! input is a plain scan, that locks by itself (see [`super::locking_scans`]).

use crate::catalog::TableDescriptor;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchemaRef, Result, TableReference};
use datafusion::logical_expr::{Expr, InvariantLevel, LogicalPlan, SortExpr, UserDefinedLogicalNode};
use quorate_proto::kv::LockRequest;
use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A table of the input whose rows are locked.
#[derive(Clone, Debug)]
pub struct LockedRelation {
    /// Qualifies its columns.
    pub name: TableReference,
    pub table: Arc<TableDescriptor>,
    pub request: LockRequest,
}

/// A value that a row is looked at again with.
#[derive(Clone, Debug)]
pub struct RowValue {
    /// The placeholder in `recheck`.
    pub id: String,
    /// Its column of the input.
    pub column: Column,
    pub ty: DataType,
}

/// See the module. Two nodes are equal when they have the same number and input.
#[derive(Clone)]
pub struct LockRows {
    /// Unique in the statement.
    id: u64,
    pub input: Arc<LogicalPlan>,
    pub relations: Arc<Vec<LockedRelation>>,
    /// Columns of the input.
    pub order: Vec<SortExpr>,
    pub recheck: Arc<LogicalPlan>,
    pub row: Arc<Vec<RowValue>>,
    /// Columns of the input without which rows cannot be locked or looked at again.
    needed: Arc<BTreeSet<Column>>,
}

impl LockRows {
    pub fn new(
        id: u64,
        input: Arc<LogicalPlan>,
        relations: Vec<LockedRelation>,
        order: Vec<SortExpr>,
        recheck: Arc<LogicalPlan>,
        row: Vec<RowValue>,
        mut needed: BTreeSet<Column>,
    ) -> Self {
        needed.extend(relations.iter().flat_map(LockedRelation::key));
        let (relations, row, needed) = (Arc::new(relations), Arc::new(row), Arc::new(needed));
        LockRows { id, input, relations, order, recheck, row, needed }
    }

    /// The same node with another plan for the second look (parameters filled in).
    pub fn with_recheck(&self, recheck: Arc<LogicalPlan>) -> Self {
        LockRows { recheck, ..self.clone() }
    }
}

impl LockedRelation {
    /// The columns of its primary key, in order.
    pub(crate) fn key(&self) -> impl Iterator<Item = Column> + '_ {
        let parts = self.table.primary.columns.iter().filter_map(|part| self.table.column(part.column));
        parts.map(|column| Column::new(Some(self.name.clone()), column.name.clone()))
    }
}

impl fmt::Debug for LockRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl UserDefinedLogicalNode for LockRows {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "LockRows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn check_invariants(&self, _check: InvariantLevel) -> Result<()> {
        Ok(())
    }

    fn expressions(&self) -> Vec<Expr> {
        self.order.iter().map(|key| key.expr.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.relations.iter().map(|relation| relation.name.to_string()).collect();
        write!(f, "LockRows: {}", names.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let order = self.order.iter().zip(exprs).map(|(key, expr)| key.with_expr(expr)).collect();
        let input = inputs.into_iter().next().map_or_else(|| Arc::clone(&self.input), Arc::new);
        Ok(Arc::new(LockRows { input, order, ..self.clone() }))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let mut needed = output_columns.to_vec();
        needed.extend(self.needed.iter().filter_map(|column| input.maybe_index_of_column(column)));
        for key in &self.order {
            for column in key.expr.column_refs() {
                needed.push(input.maybe_index_of_column(column)?);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }

    fn dyn_hash(&self, mut state: &mut dyn Hasher) {
        self.id.hash(&mut state);
        self.input.hash(&mut state);
    }

    fn dyn_eq(&self, other: &dyn UserDefinedLogicalNode) -> bool {
        let same = |o: &LockRows| self.id == o.id && self.input == o.input && self.order == o.order;
        other.as_any().downcast_ref::<LockRows>().is_some_and(same)
    }

    fn dyn_ord(&self, other: &dyn UserDefinedLogicalNode) -> Option<Ordering> {
        other.as_any().downcast_ref::<LockRows>().and_then(|o| self.id.partial_cmp(&o.id))
    }
}
