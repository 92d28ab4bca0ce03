//! Subqueries that depend on the row of an outer query, as one logical node.
//!
//! `Apply` runs its inner plan for each row of its input, with the outer columns that the inner plan mentions filled in as
//! values, and appends what came out. The inner plan is optimized on its own and knows outer columns as placeholders, so a
//! correlated lookup by key is a key lookup. Equal outer values run it once (see [`super::apply_exec`]). An inner plan
//! without outer columns runs at most once.
//!
//! (The operator is that of Galindo-Legaria and Joshi, "Orthogonal Optimization of Subqueries and Aggregation", 2001,
//! without its rewrites; the binder makes semi and anti joins of the common forms of `EXISTS` before it comes to this.)

use super::schema;
use crate::types::PgType;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchemaRef, Result, TableReference};
use datafusion::logical_expr::{Expr, InvariantLevel, LogicalPlan, UserDefinedLogicalNode};
use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What becomes of the inner rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApplyKind {
    /// Appends the inner column; NULL without a row, 21000 with two.
    Scalar,
    /// Appends the inner column's values as one array of this type.
    Array(PgType),
    /// Appends whether there is a row.
    Exists,
    /// Appends `probe IN (inner column)` by three-valued logic. The inner plan has no outer columns.
    InSet,
    /// Appends the inner columns, one output row for each inner row.
    LateralInner,
    /// The same, with NULLs when there is none.
    LateralLeft,
}

impl ApplyKind {
    /// Whether one outer row may become none or several.
    pub fn is_lateral(self) -> bool {
        matches!(self, ApplyKind::LateralInner | ApplyKind::LateralLeft)
    }
}

/// See the module. Two nodes are equal when they have the same number and input.
#[derive(Clone)]
pub struct Apply {
    /// Unique in the statement.
    pub id: u64,
    pub input: Arc<LogicalPlan>,
    pub inner: Arc<LogicalPlan>,
    /// Placeholder in the inner plan, and its value over the input.
    pub params: Vec<(String, Expr)>,
    /// For [`ApplyKind::InSet`], over the input; of the inner column's type.
    pub probe: Option<Expr>,
    pub kind: ApplyKind,
    /// Names of the appended columns.
    pub names: Vec<String>,
    schema: DFSchemaRef,
}

impl Apply {
    /// `names` are those of the appended columns: one, or for laterals one for each inner column.
    pub fn try_new(
        id: u64,
        input: Arc<LogicalPlan>,
        inner: Arc<LogicalPlan>,
        params: Vec<(String, Expr)>,
        probe: Option<Expr>,
        kind: ApplyKind,
        names: Vec<String>,
    ) -> Result<Self> {
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        let inner_fields = inner.schema().fields();
        let types: Vec<DataType> = match kind {
            ApplyKind::Scalar => vec![inner_fields[0].data_type().clone()],
            ApplyKind::Array(ty) => vec![ty.arrow()],
            ApplyKind::Exists | ApplyKind::InSet => vec![DataType::Boolean],
            ApplyKind::LateralInner | ApplyKind::LateralLeft => {
                inner_fields.iter().map(|f| f.data_type().clone()).collect()
            }
        };
        debug_assert_eq!(types.len(), names.len());
        for (name, ty) in names.iter().zip(types) {
            fields.push((None, Arc::new(Field::new(name, ty, true))));
        }
        let schema = Arc::new(schema::of_fields(fields)?);
        Ok(Apply { id, input, inner, params, probe, kind, names, schema })
    }

    /// The same node with another inner plan (parameters filled in).
    pub fn with_inner(&self, inner: Arc<LogicalPlan>) -> Self {
        Apply { inner, ..self.clone() }
    }
}

impl fmt::Debug for Apply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl UserDefinedLogicalNode for Apply {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "Apply"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn check_invariants(&self, _check: InvariantLevel) -> Result<()> {
        Ok(())
    }

    fn expressions(&self) -> Vec<Expr> {
        self.params.iter().map(|(_, e)| e.clone()).chain(self.probe.clone()).collect()
    }

    #[expect(clippy::disallowed_types, reason = "DataFusion asks for it")]
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        self.names.iter().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apply: {:?} {} [{}]", self.kind, self.names.join(", "), self.inner.display())
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let mut exprs = exprs.into_iter();
        let params = self.params.iter().map(|(id, _)| id.clone()).zip(exprs.by_ref()).collect();
        let probe = self.probe.as_ref().and_then(|_| exprs.next());
        let input = inputs.into_iter().next().map_or_else(|| Arc::clone(&self.input), Arc::new);
        Ok(Arc::new(Apply::try_new(
            self.id,
            input,
            Arc::clone(&self.inner),
            params,
            probe,
            self.kind,
            self.names.clone(),
        )?))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let mut needed: Vec<usize> =
            output_columns.iter().copied().filter(|i| *i < input.fields().len()).collect();
        for expr in self.expressions() {
            for column in expr.column_refs() {
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
        other.as_any().downcast_ref::<Apply>().is_some_and(|o| {
            self.id == o.id && self.input == o.input && self.params == o.params && self.probe == o.probe
        })
    }

    fn dyn_ord(&self, other: &dyn UserDefinedLogicalNode) -> Option<Ordering> {
        other.as_any().downcast_ref::<Apply>().and_then(|o| self.id.partial_cmp(&o.id))
    }
}
