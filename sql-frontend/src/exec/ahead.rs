//! Subqueries on which a filter's rows depend, answered before the query is planned, so that `id = (SELECT …)` and
//! `id IN (SELECT …)` look up keys, and lock no more than those, instead of reading all rows and comparing each.
//!
//! Only those that mention nothing of the rows around them. (PostgreSQL calls the first sort an InitPlan.)

use super::ExecContext;
use super::access::MAX_SPANS;
use super::apply::{Apply, ApplyKind};
use super::apply_exec;
use super::params::{apply_of, locks_of, substitute_expr};
use super::source::StoredTable;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection, lit};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The plan with what could be answered in place of the questions.
pub(super) async fn answered(plan: Arc<LogicalPlan>, ctx: &ExecContext) -> Result<Arc<LogicalPlan>> {
    let (mut plan, mut left, mut changed) = (plan, BTreeSet::new(), false);
    while let Some(apply) = question(&plan, &left) {
        match answer(&apply, ctx).await? {
            Some(answer) => {
                plan = Arc::new(replaced(&plan, apply.id, &answer)?);
                changed = true;
            }
            None => drop(left.insert(apply.id)),
        }
    }
    if changed {
        plan = Arc::new(lists_known(ctx.engine.optimize(LogicalPlan::clone(&plan))?)?);
    }
    Ok(plan)
}

/// The plan with the answers to all subqueries that mention nothing of the rows around them, ready to be run for many rows.
pub(super) async fn independent(plan: &LogicalPlan, ctx: &ExecContext) -> Result<LogicalPlan> {
    let mut open = Vec::new();
    plan.apply(|node| {
        open.extend(apply_of(node).filter(|apply| apply.params.is_empty()).cloned());
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut plan = plan.clone();
    for apply in open {
        if let Some(answer) = answer(&apply, ctx).await? {
            plan = replaced(&plan, apply.id, &answer)?;
        }
    }
    Ok(ctx.engine.optimize(plan)?)
}

/// `= ANY (array)` as the list that it is, now that the array is known.
fn lists_known(plan: LogicalPlan) -> Result<LogicalPlan> {
    let known = plan.transform_down(|node| node.map_expressions(|expr| substitute_expr(expr, &|_| None)))?;
    Ok(known.data)
}

/// Whether running the plan begins with answering such a subquery.
pub(super) fn asks(plan: &LogicalPlan) -> bool {
    question(plan, &BTreeSet::new()).is_some()
}

/// One that a filter above a stored table asks, and that is not among those which were `left`.
fn question(plan: &LogicalPlan, left: &BTreeSet<u64>) -> Option<Apply> {
    let mut found = None;
    let visit = |node: &LogicalPlan| {
        let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
        let mut below = &*filter.input;
        loop {
            below = match (below, apply_of(below)) {
                (LogicalPlan::Projection(pick), _) if picks_columns(pick) => &pick.input,
                (_, Some(apply)) => {
                    let new = !left.contains(&apply.id);
                    if new && asked(apply, &filter.predicate) && reads_a_table(&apply.input) {
                        found = Some(apply.clone());
                        return Ok(TreeNodeRecursion::Stop);
                    }
                    &apply.input
                }
                _ => break,
            };
        }
        Ok(TreeNodeRecursion::Continue)
    };
    // Visiting fails only where the visitor does.
    let _ = plan.apply(visit);
    found
}

/// Whether it computes nothing.
pub(super) fn picks_columns(pick: &Projection) -> bool {
    pick.expr.iter().all(|expr| matches!(expr, Expr::Column(_)))
}

fn asked(apply: &Apply, predicate: &Expr) -> bool {
    let kind = matches!(apply.kind, ApplyKind::Scalar | ApplyKind::Array(_) | ApplyKind::InSet);
    let named = |column: &&Column| column.relation.is_none() && Some(&column.name) == apply.names.first();
    kind && apply.params.is_empty() && predicate.column_refs().iter().any(named)
}

fn reads_a_table(plan: &LogicalPlan) -> bool {
    let stored = |node: &LogicalPlan| {
        Ok(
            matches!(node, LogicalPlan::TableScan(scan) if scan.source.downcast_ref::<StoredTable>().is_some()),
        )
    };
    plan.exists(stored).unwrap_or(false)
}

/// What stands for the appended column; `None` for a set that is too large to look up one by one, or several columns.
async fn answer(apply: &Apply, ctx: &ExecContext) -> Result<Option<Expr>> {
    if apply.kind.is_lateral() {
        return Ok(None);
    }
    if apply.kind != ApplyKind::InSet {
        return apply_exec::value(apply, ctx).await.map(|value| Some(lit(value)));
    }
    let Some(probe) = &apply.probe else { return Ok(None) };
    let Some(values) = apply_exec::values(apply, ctx, MAX_SPANS).await? else { return Ok(None) };
    if values.is_empty() {
        return Ok(Some(lit(ScalarValue::from(false))));
    }
    Ok(Some(probe.clone().in_list(values.into_iter().map(lit).collect(), false)))
}

/// With a projection in the place of the node of this number, also where rows are looked at again.
fn replaced(plan: &LogicalPlan, id: u64, answer: &Expr) -> Result<LogicalPlan> {
    let replace = |node: LogicalPlan| {
        if let Some(locks) = locks_of(&node) {
            let recheck = Arc::new(replaced(&locks.recheck, id, answer)?);
            let node = Arc::new(locks.with_recheck(recheck));
            return Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })));
        }
        let Some(apply) = apply_of(&node).filter(|apply| apply.id == id) else {
            return Ok(Transformed::no(node));
        };
        let input = LogicalPlan::clone(&apply.input);
        let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        columns.push(answer.clone().alias(&apply.names[0]));
        LogicalPlanBuilder::from(input).project(columns)?.build().map(Transformed::yes)
    };
    Ok(plan.clone().transform_down(replace)?.data)
}
