//! `WHERE`: conjuncts as filters, subqueries as semi joins where their form allows.

use super::expr::{flatten, strip};
use super::scope::{Clause, Level};
use super::{Binder, guard};
use crate::error::SqlError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{self, BinaryOperator, GroupByExpr, SetExpr};
use std::sync::Arc;

impl Binder<'_> {
    /// Adds a condition to a plan.
    pub(super) fn filter(
        &mut self,
        plan: LogicalPlan,
        condition: &ast::Expr,
    ) -> Result<LogicalPlan, SqlError> {
        let mut parts = Vec::new();
        split(condition, &mut parts);
        let mut plan = plan;
        let mut conjuncts = Vec::with_capacity(parts.len());
        let mut subqueries = Vec::new();
        let single = parts.len() == 1;
        for part in parts {
            if let Some((query, negated)) = exists_of(part)
                && semi_join_form(query)
            {
                subqueries.push((query, negated));
                continue;
            }
            let typed = self.in_clause(Clause::Where, |b| b.expr(part))?;
            let what = if single { "WHERE" } else { "AND" };
            conjuncts.push(self.condition(typed, what)?.expr);
        }
        let pending = self.take_pending();
        if pending.is_empty() {
            plan = self.filter_all(plan, conjuncts)?;
        } else {
            // What needs no subquery goes first: it is cheaper, and may be pushed down to the tables.
            let names: Vec<String> = pending.iter().map(|p| p.name.clone()).collect();
            let needs =
                |e: &Expr| e.column_refs().iter().any(|c| c.relation.is_none() && names.contains(&c.name));
            let plain: Vec<Expr> = conjuncts.iter().take_while(|e| !needs(e)).cloned().collect();
            let rest = conjuncts.split_off(plain.len());
            plan = self.filter_all(plan, plain)?;
            plan = self.apply_all(plan, pending)?;
            plan = self.filter_all(plan, rest)?;
        }
        for (query, negated) in subqueries {
            plan = self.semi_join(plan, query, negated)?;
        }
        Ok(plan)
    }

    /// `EXISTS` over a plain `SELECT … FROM … WHERE …`: a semi join (anti join) on those of its conjuncts that mention outer
    /// columns. When the outer columns stand elsewhere too, an [`crate::exec::apply::Apply`].
    fn semi_join(
        &mut self,
        plan: LogicalPlan,
        query: &ast::Query,
        negated: bool,
    ) -> Result<LogicalPlan, SqlError> {
        let SetExpr::Select(select) = &*query.body else { return Err(SqlError::internal("a plain select")) };
        let ((mut inner, conjuncts), params) = self.with_outer(|b| {
            b.levels.push(Level::new());
            let bound = b.semi_join_parts(select);
            b.levels.pop();
            bound
        })?;
        let outer = |e: &Expr| {
            e.exists(|e| Ok(matches!(e, Expr::Placeholder(p) if params.iter().any(|(id, _)| *id == p.id))))
                .unwrap_or(true)
        };
        let mut from_outer = false;
        inner.apply(|node| {
            from_outer |= crate::exec::params::apply_of(node).is_some() && !params.is_empty();
            node.apply_expressions(|e| {
                from_outer |= outer(e);
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        let fallible = conjuncts.iter().any(guard::can_fail);
        let (correlated, own): (Vec<Expr>, Vec<Expr>) = conjuncts.clone().into_iter().partition(outer);
        if from_outer || correlated.is_empty() || fallible {
            inner = self.filter_all(inner, conjuncts)?;
            let name = self.push_exists(inner, params);
            let pending = self.take_pending();
            let plan = self.apply_all(plan, pending)?;
            let found = Expr::Column(Column::from_name(name));
            let test = if negated { Expr::Not(Box::new(found)) } else { found };
            return self.filter_all(plan, vec![test]);
        }
        inner = self.filter_all(inner, own)?;
        let mut on = Vec::with_capacity(correlated.len());
        for expr in correlated {
            let filled = expr.transform_up(|e| match &e {
                Expr::Placeholder(p) => match params.iter().find(|(id, _)| *id == p.id) {
                    Some((_, column)) => Ok(Transformed::yes(column.clone())),
                    None => Ok(Transformed::no(e)),
                },
                _ => Ok(Transformed::no(e)),
            })?;
            on.push(filled.data);
        }
        let kind = if negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
        Ok(LogicalPlanBuilder::from(plan).join_on(inner, kind, on)?.build()?)
    }

    /// A filter of conjuncts; each can be pushed on its own.
    pub(super) fn filter_all(
        &mut self,
        plan: LogicalPlan,
        conjuncts: Vec<Expr>,
    ) -> Result<LogicalPlan, SqlError> {
        let Some(all) = self.filters(conjuncts)?.into_iter().reduce(datafusion::logical_expr::and) else {
            return Ok(plan);
        };
        Ok(LogicalPlan::Filter(Filter::try_new(all, Arc::new(plan))?))
    }

    /// The parts of a condition that `AND` joins, each bound.
    pub(super) fn conjuncts(&mut self, condition: &ast::Expr, what: &str) -> Result<Vec<Expr>, SqlError> {
        let mut parts = Vec::new();
        split(condition, &mut parts);
        let what = if parts.len() == 1 { what } else { "AND" };
        let mut conjuncts = Vec::with_capacity(parts.len());
        for part in parts {
            let typed = self.expr(part)?;
            conjuncts.push(self.condition(typed, what)?.expr);
        }
        Ok(conjuncts)
    }

    fn semi_join_parts(&mut self, select: &ast::Select) -> Result<(LogicalPlan, Vec<Expr>), SqlError> {
        let plan = self.from(&select.from)?;
        // The select list means nothing, but its errors do.
        self.in_clause(Clause::Select, |b| b.select_list(&select.projection))?;
        self.take_pending();
        let mut parts = Vec::new();
        if let Some(condition) = &select.selection {
            split(condition, &mut parts);
        }
        let mut conjuncts = Vec::new();
        let single = parts.len() == 1;
        for part in parts {
            let typed = self.in_clause(Clause::Where, |b| b.expr(part))?;
            conjuncts.push(self.condition(typed, if single { "WHERE" } else { "AND" })?.expr);
        }
        let pending = self.take_pending();
        Ok((self.apply_all(plan, pending)?, conjuncts))
    }
}

fn split<'a>(condition: &'a ast::Expr, out: &mut Vec<&'a ast::Expr>) {
    let mut parts = Vec::new();
    flatten(condition, &BinaryOperator::And, &mut parts);
    if parts.len() == 1 {
        out.push(parts[0]);
        return;
    }
    for part in parts {
        split(part, out);
    }
}

fn exists_of(expr: &ast::Expr) -> Option<(&ast::Query, bool)> {
    match strip(expr) {
        ast::Expr::Exists { subquery, negated } => Some((subquery, *negated)),
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr } => {
            exists_of(expr).map(|(query, negated)| (query, !negated))
        }
        _ => None,
    }
}

fn semi_join_form(query: &ast::Query) -> bool {
    let bare = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    let SetExpr::Select(select) = &*query.body else { return false };
    bare && super::output::refuse_extras(select).is_ok()
        && !select.from.is_empty()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty())
        && select.projection.iter().all(|item| match item {
            ast::SelectItem::UnnamedExpr(e) => is_simple(e),
            ast::SelectItem::ExprWithAlias { expr, .. } => is_simple(expr),
            ast::SelectItem::Wildcard(_) => true,
            _ => false,
        })
}

fn is_simple(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) | ast::Expr::Value(_))
}
