//! Subqueries in expressions.

use super::Binder;
use super::expr::{operator_name, strip};
use super::position::At;
use super::scope::PendingApply;
use super::select::{Rel, Unknowns};
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::exec::apply::{Apply, ApplyKind};
use crate::func::key;
use crate::types::PgType;
use datafusion::common::{Column, ScalarValue};
use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::{
    Aggregate, Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection, not,
};
use sqlparser::ast::{self, BinaryOperator};
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn take_pending(&mut self) -> Vec<PendingApply> {
        std::mem::take(&mut self.level().pending)
    }

    /// Puts subqueries between a plan and the expressions that use them.
    pub(super) fn apply_all(
        &mut self,
        mut plan: LogicalPlan,
        pending: Vec<PendingApply>,
    ) -> Result<LogicalPlan, SqlError> {
        for p in pending {
            plan = self.apply_one(plan, p, None)?;
        }
        Ok(plan)
    }

    pub(super) fn apply_one(
        &mut self,
        plan: LogicalPlan,
        p: PendingApply,
        names: Option<Vec<String>>,
    ) -> Result<LogicalPlan, SqlError> {
        self.counter += 1;
        let inner = self.ctx.engine.optimize(p.inner)?;
        let names = names.unwrap_or_else(|| vec![p.name]);
        let apply =
            Apply::try_new(self.counter, Arc::new(plan), Arc::new(inner), p.params, p.probe, p.kind, names)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(apply) }))
    }

    /// Binds a query inside an expression; the outer columns it mentions come back as its parameters.
    fn subquery(&mut self, query: &ast::Query) -> Result<(Rel, Vec<(String, Expr)>), SqlError> {
        self.with_outer(|b| b.query(query, Unknowns::Settle))
    }

    /// Runs `bind` and takes what it referred to at the present level.
    pub(super) fn with_outer<T>(
        &mut self,
        bind: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<(T, Vec<(String, Expr)>), SqlError> {
        let level = self.levels.len().checked_sub(1);
        let before = level.map(|l| std::mem::take(&mut self.levels[l].outer_refs));
        // An aggregate around the subquery is none of the subquery's own.
        let bound = bind(self);
        let refs = match (level, before) {
            (Some(l), Some(before)) => std::mem::replace(&mut self.levels[l].outer_refs, before),
            _ => vec![],
        };
        let params = refs.into_iter().map(|r| (r.id, Expr::Column(r.column))).collect();
        Ok((bound?, params))
    }

    fn push(
        &mut self,
        inner: LogicalPlan,
        params: Vec<(String, Expr)>,
        probe: Option<Expr>,
        kind: ApplyKind,
    ) -> String {
        let name = self.fresh("q");
        self.level().pending.push(PendingApply { name: name.clone(), inner, params, probe, kind });
        name
    }

    pub(super) fn push_exists(&mut self, inner: LogicalPlan, params: Vec<(String, Expr)>) -> String {
        self.push(inner, params, None, ApplyKind::Exists)
    }

    fn allowed_here(&mut self, pos: Option<u32>) -> Result<(), SqlError> {
        if self.levels.is_empty() || !self.subqueries_allowed() {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use subquery here")).at(pos);
        }
        if self.level().in_aggregate || self.level().in_window {
            return Err(SqlError::unsupported("a subquery inside an aggregate or window call")).at(pos);
        }
        Ok(())
    }

    pub(super) fn exists(
        &mut self,
        query: &ast::Query,
        negated: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        self.allowed_here(pos)?;
        let (rel, params) = self.subquery(query)?;
        // What a row says means nothing, so nothing is called for it.
        let rows = match rel.plan {
            LogicalPlan::Projection(Projection { input, .. }) => Arc::unwrap_or_clone(input),
            other => other,
        };
        let plan = LogicalPlanBuilder::from(rows).limit(0, Some(1))?.build()?;
        let name = self.push_exists(plan, params);
        let expr = Expr::Column(Column::from_name(name));
        Ok(Typed::bool(if negated { not(expr) } else { expr }, pos))
    }

    pub(super) fn scalar_subquery(
        &mut self,
        query: &ast::Query,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let pos = self.positions.paren_before(pos);
        self.allowed_here(pos)?;
        let (rel, params) = self.subquery(query)?;
        let [column] = &rel.columns[..] else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column"))
                .at(pos);
        };
        let (ty, typmod) = (column.ty, column.typmod);
        let name = self.push(rel.plan, params, None, ApplyKind::Scalar);
        Ok(Typed { typmod, ..Typed::new(Expr::Column(Column::from_name(name)), ty, pos) })
    }

    /// `ARRAY(query)`.
    pub(super) fn array_subquery(&mut self, query: &ast::Query, pos: Option<u32>) -> Result<Typed, SqlError> {
        self.allowed_here(pos)?;
        let (rel, params) = self.subquery(query)?;
        let [column] = &rel.columns[..] else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column"))
                .at(pos);
        };
        let element = column.ty;
        let array = element.array().ok_or_else(|| SqlError::unsupported(format!("an array of {element}")));
        let array = array.at(pos)?;
        let name = self.push(rel.plan, params, None, ApplyKind::Array(array));
        Ok(Typed::new(Expr::Column(Column::from_name(name)), array, pos))
    }

    pub(super) fn in_subquery(
        &mut self,
        left: &ast::Expr,
        query: &ast::Query,
        negated: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let any = self.any(left, &BinaryOperator::Eq, query, false, pos)?;
        Ok(Typed::bool(if negated { not(any.expr) } else { any.expr }, pos))
    }

    pub(super) fn quantified(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        match strip(right) {
            ast::Expr::Subquery(query) => self.any(left, op, query, all, pos),
            other => self.quantified_array(left, &operator_name(op)?, other, all, pos),
        }
    }

    /// `left op ANY (query)`, or `ALL`.
    fn any(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        query: &ast::Query,
        all: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        self.allowed_here(pos)?;
        let at = self.positions.after(left);
        let lefts = match super::row::items(left) {
            Some(items) => items.into_iter().map(|i| self.expr(i)).collect::<Result<Vec<_>, _>>()?,
            None => vec![self.expr(left)?],
        };
        let (rel, params) = self.subquery(query)?;
        if rel.columns.len() != lefts.len() {
            let few = if rel.columns.len() < lefts.len() { "few" } else { "many" };
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("subquery has too {few} columns")))
                .at(at);
        }
        if let ([one], [column]) = (&lefts[..], &rel.columns[..])
            && params.is_empty()
            && *op == BinaryOperator::Eq
            && !all
            && let Ok(resolved) = crate::func::resolve_binary_operator("=", one.ty, column.ty)
            && let [l, r] = resolved.arg_types[..]
            && l == r
        {
            let probe = self.coerce(one.clone(), l)?;
            let value = Typed::new(Expr::Column(column.column.clone()), column.ty, at);
            let value = self.coerce(value, r)?;
            let name = self.fresh("c");
            let exprs = vec![key(r, value.expr).alias(name)];
            let inner = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rel.plan))?);
            let name = self.push(inner, vec![], Some(key(l, probe.expr)), ApplyKind::InSet);
            return Ok(Typed::bool(Expr::Column(Column::from_name(name)), pos));
        }
        self.any_by_aggregate(lefts, op, rel, params, all, at, pos)
    }

    /// In general: the comparison inside the subquery, and whether it was true, false or null anywhere.
    #[allow(clippy::too_many_arguments)]
    fn any_by_aggregate(
        &mut self,
        lefts: Vec<Typed>,
        op: &BinaryOperator,
        rel: Rel,
        mut params: Vec<(String, Expr)>,
        all: bool,
        at: Option<u32>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let mut pairs = Vec::with_capacity(lefts.len());
        for (left, column) in lefts.into_iter().zip(&rel.columns) {
            let right = Typed::new(Expr::Column(column.column.clone()), column.ty, at);
            // A literal or parameter takes the column's type before it goes inside.
            let left = if left.ty == PgType::Unknown { self.coerce(left, column.ty)? } else { left };
            self.counter += 1;
            let id = format!("$o{}", self.counter);
            let inside = Typed::new(super::typed::placeholder(&id, left.ty), left.ty, at);
            params.push((id, left.expr));
            pairs.push((inside, right));
        }
        let test = match &pairs[..] {
            [_] => {
                let (l, r) = pairs.remove(0);
                self.apply_operator(&operator_name(op)?, l, r, at)?
            }
            _ => self.row_comparison(pairs, op, at)?,
        };
        if test.ty != PgType::Bool {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "op ANY/ALL (array) requires operator to yield boolean",
            ))
            .at(at);
        }
        // ALL is the negation of ANY of the negation.
        let test = if all { not(test.expr) } else { test.expr };
        let cell = self.fresh("c");
        let plan = LogicalPlan::Projection(Projection::try_new(vec![test.alias(&cell)], Arc::new(rel.plan))?);
        let cell = Expr::Column(Column::from_name(cell));
        let bool_or = |e: Expr| {
            Expr::AggregateFunction(AggregateFunction::new_udf(
                bool_or_udaf(),
                vec![e],
                false,
                None,
                vec![],
                None,
            ))
        };
        let (some, null) = (self.fresh("a"), self.fresh("a"));
        let aggregates =
            vec![bool_or(cell.clone()).alias(&some), bool_or(Expr::IsNull(Box::new(cell))).alias(&null)];
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), vec![], aggregates)?);
        let literal = |v: Option<bool>| Box::new(Expr::Literal(ScalarValue::Boolean(v), None));
        let found = |n: String| Box::new(Expr::IsTrue(Box::new(Expr::Column(Column::from_name(n)))));
        let verdict = Expr::Case(Case {
            expr: None,
            when_then_expr: vec![(found(some), literal(Some(true))), (found(null), literal(None))],
            else_expr: Some(literal(Some(false))),
        });
        let out = self.fresh("c");
        let plan = LogicalPlan::Projection(Projection::try_new(vec![verdict.alias(out)], Arc::new(plan))?);
        let name = self.push(plan, params, None, ApplyKind::Scalar);
        let expr = Expr::Column(Column::from_name(name));
        Ok(Typed::bool(if all { not(expr) } else { expr }, pos))
    }
}
