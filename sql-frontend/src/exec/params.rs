//! Filling values into a plan's placeholders.

use super::apply::Apply;
use super::lock_rows::LockRows;
use super::program::constant;
use crate::bind::check_row_count;
use crate::func::array::as_list;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use std::sync::Arc;

/// Replaces each placeholder that `value` knows by its value, in inner plans of [`Apply`] too. Others stay.
pub fn substitute(plan: &LogicalPlan, value: &dyn Fn(&str) -> Option<ScalarValue>) -> Result<LogicalPlan> {
    if !has_placeholder(plan)? {
        return Ok(plan.clone());
    }
    let replaced = plan.clone().transform_down(|node| {
        let node = match (apply_of(&node), locks_of(&node)) {
            (Some(apply), _) => {
                let inner = substitute(&apply.inner, value)?;
                LogicalPlan::Extension(Extension { node: Arc::new(apply.with_inner(Arc::new(inner))) })
            }
            (_, Some(locks)) => {
                let recheck = substitute(&locks.recheck, value)?;
                LogicalPlan::Extension(Extension { node: Arc::new(locks.with_recheck(Arc::new(recheck))) })
            }
            _ => node,
        };
        let node = node.map_expressions(|expr| substitute_expr(expr, value))?;
        node.transform_data(row_counts)
    })?;
    Ok(replaced.data)
}

/// The same in one expression.
pub fn substitute_expr(expr: Expr, value: &dyn Fn(&str) -> Option<ScalarValue>) -> Result<Transformed<Expr>> {
    expr.transform_up(|e| match &e {
        Expr::Placeholder(p) => match value(&p.id) {
            Some(v) => Ok(Transformed::yes(Expr::Literal(v, None))),
            None => Ok(Transformed::no(e)),
        },
        Expr::ScalarFunction(call) => match as_list(call) {
            Some(list) => Ok(Transformed::yes(list)),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    })
}

/// The [`Apply`] that a plan node is, if it is one.
pub fn apply_of(plan: &LogicalPlan) -> Option<&Apply> {
    match plan {
        LogicalPlan::Extension(e) => e.node.as_any().downcast_ref::<Apply>(),
        _ => None,
    }
}

/// The [`LockRows`] that a plan node is, if it is one.
pub fn locks_of(plan: &LogicalPlan) -> Option<&LockRows> {
    match plan {
        LogicalPlan::Extension(e) => e.node.as_any().downcast_ref::<LockRows>(),
        _ => None,
    }
}

/// Whether any expression of the plan, or of an inner plan, is a placeholder.
pub fn has_placeholder(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        if let Some(apply) = apply_of(node) {
            found |= has_placeholder(&apply.inner)?;
        }
        found |= locks_of(node).is_some();
        node.apply_expressions(|e| {
            found |= e.exists(|e| Ok(matches!(e, Expr::Placeholder(_))))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether the plan, or an inner plan, calls a function that may do or say something else each time.
pub fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        if let Some(apply) = apply_of(node) {
            found |= is_volatile(&apply.inner)?;
        }
        node.apply_expressions(|e| {
            found |= e.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// Whether an expression holds a placeholder.
pub fn expr_has_placeholder(expr: &Expr) -> Result<bool> {
    expr.exists(|e| Ok(matches!(e, Expr::Placeholder(_))))
}

/// Evaluates the expressions of `LIMIT` and `OFFSET`, which DataFusion wants as literals, and refuses negative ones.
fn row_counts(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Limit(mut limit) = node else { return Ok(Transformed::no(node)) };
    let props = ExecutionProps::new();
    for (expr, is_limit) in [(&mut limit.fetch, true), (&mut limit.skip, false)] {
        if let Some(inner) = expr
            && !expr_has_placeholder(inner)?
        {
            let value = constant(inner, &props)?;
            check_row_count(&value, is_limit)?;
            **inner = Expr::Literal(value, None);
        }
    }
    Ok(Transformed::yes(LogicalPlan::Limit(limit)))
}
