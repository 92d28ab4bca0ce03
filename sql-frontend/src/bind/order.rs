//! `ORDER BY`, `LIMIT`, `OFFSET`, `FETCH`.

use super::Binder;
use super::expr::strip;
use super::position::At;
use super::scope::Clause;
use super::select::{Output, Rel};
use super::typed::{Typed, placeholder};
use crate::error::{SqlError, SqlState};
use crate::exec::params;
use crate::exec::program::constant;
use crate::func::{CastContext, key};
use crate::types::PgType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, SortExpr};
use sqlparser::ast::{self, LimitClause, OrderByKind, Value};
use std::sync::Arc;

/// What an `ORDER BY` item means.
#[derive(Clone, Debug)]
pub(super) enum OrderKey {
    /// An output column.
    Output(usize),
    /// Something else of the query level.
    Expr(Typed),
}

/// An `ORDER BY` item.
#[derive(Clone, Debug)]
pub(super) struct OrderItem {
    pub key: OrderKey,
    pub asc: bool,
    pub nulls_first: bool,
    pub pos: Option<u32>,
}

/// Ascending or not, NULLs first or not: PostgreSQL's NULLs are greater than all values.
fn direction(options: &ast::OrderByOptions) -> (bool, bool) {
    let asc = options.asc.unwrap_or(true);
    (asc, options.nulls_first.unwrap_or(!asc))
}

/// The items of a query's `ORDER BY`.
pub(super) fn items(order_by: Option<&ast::OrderBy>) -> Result<&[ast::OrderByExpr], SqlError> {
    let Some(order_by) = order_by else { return Ok(&[]) };
    if order_by.interpolate.is_some() {
        return Err(SqlError::unsupported("INTERPOLATE"));
    }
    match &order_by.kind {
        OrderByKind::Expressions(items) => {
            if items.iter().any(|i| i.with_fill.is_some()) {
                return Err(SqlError::unsupported("WITH FILL"));
            }
            Ok(items)
        }
        OrderByKind::All(_) => Err(SqlError::unsupported("ORDER BY ALL")),
    }
}

/// A position in the output, if the item is a number.
fn position_of(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Value(v) => match &v.value {
            Value::Number(n, _) => Some(n.clone()),
            _ => None,
        },
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => {
            position_of(strip(expr)).map(|n| format!("-{n}"))
        }
        _ => None,
    }
}

impl Binder<'_> {
    /// An item inside a window or an aggregate: always an expression.
    pub(super) fn sort_expr(&mut self, item: &ast::OrderByExpr) -> Result<SortExpr, SqlError> {
        if item.with_fill.is_some() {
            return Err(SqlError::unsupported("WITH FILL"));
        }
        let typed = self.expr(&item.expr)?;
        let typed = self.settle(typed)?;
        self.check_sortable(&typed)?;
        let (asc, nulls_first) = direction(&item.options);
        Ok(SortExpr::new(key(typed.ty, typed.expr), asc, nulls_first))
    }

    fn check_sortable(&self, typed: &Typed) -> Result<(), SqlError> {
        if typed.ty == PgType::Void {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify an ordering operator for type {}", typed.ty),
            ))
            .at(typed.pos);
        }
        Ok(())
    }

    /// Items over a query's output: a position, an output name, or (if `level`) any expression of the level.
    pub(super) fn order_items(
        &mut self,
        items: &[ast::OrderByExpr],
        outputs: &[Output],
        level: bool,
    ) -> Result<Vec<OrderItem>, SqlError> {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let pos = self.positions.of(&item.expr);
            let (asc, nulls_first) = direction(&item.options);
            let key = self.order_key(&item.expr, outputs, level, pos)?;
            out.push(OrderItem { key, asc, nulls_first, pos });
        }
        Ok(out)
    }

    fn order_key(
        &mut self,
        expr: &ast::Expr,
        outputs: &[Output],
        level: bool,
        pos: Option<u32>,
    ) -> Result<OrderKey, SqlError> {
        if let Some(at) = self.output_position("ORDER BY", expr, outputs.len(), pos)? {
            return Ok(OrderKey::Output(at));
        }
        if let ast::Expr::Identifier(ident) = expr {
            let name = super::datatype::fold(ident);
            let mut found: Option<usize> = None;
            for (at, output) in outputs.iter().enumerate().filter(|(_, o)| o.name == name) {
                match found {
                    Some(other) if outputs[other].typed.expr != output.typed.expr => {
                        return Err(SqlError::new(
                            SqlState::AMBIGUOUS_COLUMN,
                            format!("ORDER BY \"{name}\" is ambiguous"),
                        ))
                        .at(pos);
                    }
                    Some(_) => {}
                    None => found = Some(at),
                }
            }
            if let Some(at) = found {
                return Ok(OrderKey::Output(at));
            }
        }
        if !level {
            if let ast::Expr::Identifier(ident) = expr {
                let name = super::datatype::fold(ident);
                return Err(SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" does not exist"),
                ))
                .at(pos);
            }
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
            )
            .detail("Only result column names can be used, not expressions or functions.")
            .hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."))
            .at(pos);
        }
        let typed = self.in_clause(Clause::OrderBy, |b| b.expr(expr))?;
        let typed = self.settle(typed)?;
        self.check_sortable(&typed)?;
        // The same expression as an output column is that column.
        let same = outputs.iter().position(|o| o.typed.expr == typed.expr && !typed.expr.is_volatile());
        Ok(same.map_or(OrderKey::Expr(typed), OrderKey::Output))
    }

    /// `ORDER BY 2`, `GROUP BY 1`. 42P10 beyond the outputs, 42601 for constants that are no integers.
    pub(super) fn output_position(
        &self,
        clause: &str,
        expr: &ast::Expr,
        outputs: usize,
        pos: Option<u32>,
    ) -> Result<Option<usize>, SqlError> {
        let expr = strip(expr);
        if let Some(number) = position_of(expr) {
            let Ok(number) = number.parse::<i32>() else {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("non-integer constant in {clause}"),
                ))
                .at(pos);
            };
            return match usize::try_from(number) {
                Ok(n) if (1..=outputs).contains(&n) => Ok(Some(n - 1)),
                _ => Err(SqlError::new(
                    SqlState::INVALID_COLUMN_REFERENCE,
                    format!("{clause} position {number} is not in select list"),
                ))
                .at(pos),
            };
        }
        if let ast::Expr::Value(v) = expr
            && !matches!(v.value, Value::Placeholder(_))
        {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}")))
                .at(pos);
        }
        Ok(None)
    }

    /// Adds the query's limits.
    pub(super) fn limits(&mut self, rel: Rel, query: &ast::Query) -> Result<Rel, SqlError> {
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: l, offset: o, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(SqlError::unsupported("LIMIT BY"));
                }
                limit = l.as_ref();
                offset = o.as_ref().map(|o| &o.value);
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
        }
        let one = ast::Expr::Value(Value::Number("1".into(), false).into());
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties {
                return Err(SqlError::unsupported("WITH TIES"));
            }
            if fetch.percent {
                return Err(SqlError::unsupported("FETCH … PERCENT"));
            }
            if limit.is_some() {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "multiple LIMIT clauses not allowed"));
            }
            limit = Some(fetch.quantity.as_ref().unwrap_or(&one));
        }
        if limit.is_none() && offset.is_none() {
            return Ok(rel);
        }
        let mut counts = Vec::new();
        let fetch = limit.map(|e| self.row_count(e, Clause::Limit, &mut counts)).transpose()?;
        let skip = offset.map(|e| self.row_count(e, Clause::Offset, &mut counts)).transpose()?;
        let plan = LogicalPlan::Limit(Limit {
            skip: skip.map(Box::new),
            fetch: fetch.map(Box::new),
            input: Arc::new(rel.plan),
        });
        let rel = Rel { plan, columns: rel.columns };
        let pending = self.take_pending();
        if pending.is_empty() {
            return Ok(rel);
        }
        if rel.plan.exists(|node| Ok(params::locks_of(node).is_some()))? {
            return Err(SqlError::unsupported("a subquery in LIMIT or OFFSET of a query that locks rows"));
        }
        self.beside_subqueries(pending, rel, counts)
    }

    /// A number of rows. One that subqueries make is known when they have run: a parameter until then.
    fn row_count(
        &mut self,
        expr: &ast::Expr,
        clause: Clause,
        counts: &mut Vec<(String, Expr)>,
    ) -> Result<Expr, SqlError> {
        let pos = self.positions.of(expr);
        let typed = self.in_clause(clause, |b| b.expr(expr))?;
        let (ty, pos) = (typed.ty, typed.pos.or(pos));
        let typed = self.cast(typed, PgType::Int8, -1, CastContext::Assignment).map_err(|e| {
            if e.sqlstate != SqlState::CANNOT_COERCE {
                return e;
            }
            let message = format!("argument of {} must be type bigint, not type {ty}", clause.name());
            SqlError::new(SqlState::DATATYPE_MISMATCH, message)
        });
        let typed = typed.at(pos)?;
        let made = |b: &mut Self, column: &Column| b.level().pending.iter().any(|p| p.name == column.name);
        let columns = typed.expr.column_refs();
        if !columns.iter().all(|column| made(self, column)) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("argument of {} must not contain variables", clause.name()),
            ))
            .at(pos);
        }
        if !columns.is_empty() {
            self.counter += 1;
            let id = format!("$o{}", self.counter);
            counts.push((id.clone(), typed.expr));
            return Ok(placeholder(&id, PgType::Int8));
        }
        if params::expr_has_placeholder(&typed.expr)? {
            return Ok(typed.expr);
        }
        let value = constant(&typed.expr, self.ctx.engine.props())?;
        check_row_count(&value, clause == Clause::Limit)?;
        Ok(Expr::Literal(value, None))
    }
}

/// 2201W or 2201X for a negative number.
pub(crate) fn check_row_count(value: &ScalarValue, limit: bool) -> Result<(), SqlError> {
    match value {
        ScalarValue::Int64(Some(n)) if *n < 0 => Err(if limit {
            SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT must not be negative")
        } else {
            SqlError::new(SqlState::INVALID_ROW_COUNT_IN_OFFSET, "OFFSET must not be negative")
        }),
        _ => Ok(()),
    }
}
