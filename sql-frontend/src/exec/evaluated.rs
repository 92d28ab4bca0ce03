//! Rows whose making does something, as one logical node.
//!
//! Functions such as `nextval` and `pg_advisory_lock` are called for what they do, also where nobody reads what they say.
//! DataFusion drops columns that nobody reads, and moves conditions and columns past one another, whatever they call. `Evaluated`
//! stands above a step that calls volatile functions, and wants all of its columns; what does not read these may pass. (As in
//! PostgreSQL, which keeps such columns of a subquery, and pushes no condition into them.)
//!
//! Plans without volatile functions have none of this.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, Extension, Filter, InvariantLevel, LogicalPlan, Projection, UserDefinedLogicalNode,
};
use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::params::apply_of;

/// The column that a condition becomes which is not to be moved.
const CONDITION: &str = "__condition";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Evaluated {
    input: Arc<LogicalPlan>,
}

/// The plan with a node above each step that calls volatile functions.
pub(super) fn keep_calls(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !plan.exists(|node| Ok(calls(node)))? {
        return Ok(plan);
    }
    let kept = plan.transform_up(|node| match node {
        LogicalPlan::Filter(filter) => condition_kept(filter),
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) if calls(&node) => {
            Ok(Transformed::yes(evaluated(node)))
        }
        // Plans come here again, once some of their subqueries are answered.
        _ => match evaluated_of(&node).filter(|outer| evaluated_of(&outer.input).is_some()) {
            Some(outer) => Ok(Transformed::yes(LogicalPlan::clone(&outer.input))),
            None => Ok(Transformed::no(node)),
        },
    })?;
    Ok(kept.data)
}

/// The plan without the node at its top, where nothing could be moved past what it guards: all columns are wanted there.
pub(super) fn bare_top(plan: LogicalPlan) -> LogicalPlan {
    let Some(top) = evaluated_of(&plan) else { return plan };
    match &*top.input {
        LogicalPlan::Projection(Projection { input, .. })
            if matches!(
                **input,
                LogicalPlan::TableScan(_) | LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_)
            ) =>
        {
            LogicalPlan::clone(&top.input)
        }
        _ => plan,
    }
}

/// Whether the step itself calls volatile functions.
fn calls(node: &LogicalPlan) -> bool {
    let mut found = false;
    let visited = node.apply_expressions(|expr| {
        found |= expr.is_volatile();
        Ok(TreeNodeRecursion::Continue)
    });
    found || visited.is_err()
}

fn evaluated(node: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(Evaluated { input: Arc::new(node) }) })
}

fn evaluated_of(plan: &LogicalPlan) -> Option<&Evaluated> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}

/// A volatile condition that would be asked of other rows elsewhere becomes a column, computed where it stands.
fn condition_kept(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let stays = |part: &Expr| part.is_volatile() && other_rows_below(&filter.input, part);
    let (here, anywhere): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(filter.predicate.clone()).into_iter().partition(stays);
    let Some(here) = conjunction(here) else { return Ok(Transformed::no(LogicalPlan::Filter(filter))) };
    let mut input = filter.input;
    if let Some(anywhere) = conjunction(anywhere) {
        input = Arc::new(LogicalPlan::Filter(Filter::try_new(anywhere, input)?));
    }
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let with_condition = columns.iter().cloned().chain([here.alias(CONDITION)]).collect();
    let computed = evaluated(LogicalPlan::Projection(Projection::try_new(with_condition, input)?));
    let holds = Expr::Column(Column::from_name(CONDITION));
    let kept = LogicalPlan::Filter(Filter::try_new(holds, Arc::new(computed))?);
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(kept))?)))
}

/// Whether some step below makes fewer rows of many, or many of few, and the condition could move below that: one that reads
/// no column moves into a side of a join.
fn other_rows_below(plan: &LogicalPlan, condition: &Expr) -> bool {
    let free = condition.column_refs().is_empty();
    let found = plan.exists(|node| {
        Ok(match node {
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::RecursiveQuery(_) => true,
            LogicalPlan::Join(_) => free,
            _ => evaluated_of(node).is_some() || free && apply_of(node).is_some_and(|a| a.kind.is_lateral()),
        })
    });
    found.unwrap_or(true)
}

impl Evaluated {
    /// Of the columns, those that volatile functions make.
    fn volatile(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.input.schema().fields().iter().map(|field| field.name().clone());
        let exprs = match &*self.input {
            LogicalPlan::Projection(projection) => projection.expr.as_slice(),
            _ => &[],
        };
        // Of other steps all columns, to be safe.
        names.enumerate().filter(|(at, _)| exprs.get(*at).is_none_or(Expr::is_volatile)).map(|(_, name)| name)
    }
}

impl UserDefinedLogicalNode for Evaluated {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "Evaluated"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn check_invariants(&self, _: InvariantLevel) -> Result<()> {
        Ok(())
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    #[expect(clippy::disallowed_types, reason = "DataFusion asks for it")]
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        self.volatile().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evaluated")
    }

    fn with_exprs_and_inputs(
        &self,
        _: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let input = inputs.into_iter().next().map_or_else(|| Arc::clone(&self.input), Arc::new);
        Ok(Arc::new(Evaluated { input }))
    }

    /// All of them, whatever is read.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }

    /// What nobody fetches is not computed.
    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn dyn_hash(&self, mut state: &mut dyn Hasher) {
        self.hash(&mut state);
    }

    fn dyn_eq(&self, other: &dyn UserDefinedLogicalNode) -> bool {
        other.as_any().downcast_ref::<Evaluated>().is_some_and(|o| self == o)
    }

    fn dyn_ord(&self, other: &dyn UserDefinedLogicalNode) -> Option<Ordering> {
        other.as_any().downcast_ref::<Evaluated>().and_then(|o| self.input.partial_cmp(&o.input))
    }
}
