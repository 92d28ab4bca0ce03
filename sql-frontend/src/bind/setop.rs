//! `VALUES`, `UNION`, `INTERSECT`, `EXCEPT`.

use super::Binder;
use super::locking::{RowLock, refuse_locks};
use super::position::At;
use super::scope::{Clause, Level};
use super::select::{Rel, RelColumn, Unknowns};
use super::typed::{Typed, field, placeholder};
use crate::error::{SqlError, SqlState};
use crate::exec::schema;
use crate::func::{CastContext, common_type, key};
use crate::types::PgType;
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, Values};
use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn values(&mut self, values: &ast::Values, unknowns: Unknowns) -> Result<Rel, SqlError> {
        if values.explicit_row || values.value_keyword {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error in VALUES"));
        }
        self.levels.push(Level::new());
        let rows = self.in_clause(Clause::Values, |b| b.value_rows(values));
        let pending = self.take_pending();
        self.levels.pop();
        let rows = rows?;
        let width = rows[0].len();
        let mut columns: Vec<Vec<Typed>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (column, typed) in columns.iter_mut().zip(row) {
                column.push(typed);
            }
        }
        let single = columns[0].len() == 1;
        let mut out = Vec::with_capacity(width);
        let mut fields = Vec::with_capacity(width);
        let mut bound: Vec<std::vec::IntoIter<Typed>> = Vec::with_capacity(width);
        for (at, column) in columns.into_iter().enumerate() {
            let (column, ty) = self.unify_values(column, single && unknowns == Unknowns::Keep)?;
            let name = self.fresh("c");
            fields.push((None, field(&name, ty)));
            let same = column.iter().all(|c| c.typmod == column[0].typmod);
            out.push(RelColumn {
                name: format!("column{}", at + 1),
                column: Column::from_name(name),
                ty,
                typmod: if same { column[0].typmod } else { -1 },
                origin: None,
                pending: column[0].pending.clone().filter(|_| single),
                pos: column[0].pos,
            });
            bound.push(column.into_iter());
        }
        let mut rows: Vec<Vec<Expr>> = Vec::new();
        loop {
            let row: Vec<Expr> = bound.iter_mut().filter_map(|c| c.next().map(|t| t.expr)).collect();
            if row.is_empty() {
                break;
            }
            rows.push(row);
        }
        let params = self.cells_as_params(&mut rows, &out);
        let schema = Arc::new(schema::of_fields(fields)?);
        let rel = Rel { plan: LogicalPlan::Values(Values { schema, values: rows }), columns: out };
        if pending.is_empty() { Ok(rel) } else { self.beside_subqueries(pending, rel, params) }
    }

    /// Puts parameters in the place of cells that subqueries make.
    pub(super) fn cells_as_params(
        &mut self,
        rows: &mut [Vec<Expr>],
        columns: &[RelColumn],
    ) -> Vec<(String, Expr)> {
        let mut params = Vec::new();
        for row in rows {
            for (cell, column) in row.iter_mut().zip(columns) {
                if cell.column_refs().is_empty() {
                    continue;
                }
                self.counter += 1;
                let id = format!("$o{}", self.counter);
                params.push((id.clone(), std::mem::replace(cell, placeholder(&id, column.ty))));
            }
        }
        params
    }

    fn unify_values(&mut self, column: Vec<Typed>, keep: bool) -> Result<(Vec<Typed>, PgType), SqlError> {
        if keep && column.iter().all(|c| c.pending.is_some()) {
            return Ok((column, PgType::Unknown));
        }
        self.unify("VALUES", column)
    }

    /// The rows of a `VALUES`, all of one length.
    pub(super) fn value_rows(&mut self, values: &ast::Values) -> Result<Vec<Vec<Typed>>, SqlError> {
        let mut rows: Vec<Vec<Typed>> = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            if rows.first().is_some_and(|first| first.len() != row.content.len()) {
                let pos = row.content.first().and_then(|e| self.positions.of(e));
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    "VALUES lists must all be the same length",
                ))
                .at(pos);
            }
            let mut bound = Vec::with_capacity(row.content.len());
            for expr in &row.content {
                bound.push(self.expr(expr)?);
            }
            rows.push(bound);
        }
        if rows.first().is_none_or(Vec::is_empty) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "VALUES needs a row with a column"));
        }
        Ok(rows)
    }

    pub(super) fn set_operation(
        &mut self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
    ) -> Result<Rel, SqlError> {
        let (name, all) = match (op, quantifier) {
            (SetOperator::Union, q) => ("UNION", q),
            (SetOperator::Intersect, q) => ("INTERSECT", q),
            (SetOperator::Except, q) => ("EXCEPT", q),
            (SetOperator::Minus, _) => return Err(SqlError::unsupported("MINUS")),
        };
        let all = match all {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            _ => return Err(SqlError::unsupported("BY NAME")),
        };
        let pos = self.positions.of(right);
        refuse_locks_in(left)?;
        refuse_locks_in(right)?;
        let left = self.set_expr(left, Unknowns::Keep)?;
        let right = self.set_expr(right, Unknowns::Keep)?;
        self.combine(left, right, name, all, pos)
    }

    pub(super) fn combine(
        &mut self,
        left: Rel,
        right: Rel,
        name: &str,
        all: bool,
        pos: Option<u32>,
    ) -> Result<Rel, SqlError> {
        let pos = right.columns.first().and_then(|c| c.pos).or(pos);
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("each {name} query must have the same number of columns"),
            ))
            .at(pos);
        }
        let mut types = Vec::with_capacity(left.columns.len());
        for (l, r) in left.columns.iter().zip(&right.columns) {
            types.push(common_type(name, &[l.ty, r.ty]).at(r.pos.or(pos))?);
        }
        let names: Vec<String> = types.iter().map(|_| self.fresh("c")).collect();
        let columns: Vec<RelColumn> = left
            .columns
            .iter()
            .zip(&right.columns)
            .zip(types.iter().zip(&names))
            .map(|((l, r), (ty, name))| RelColumn {
                name: l.name.clone(),
                column: Column::from_name(name.clone()),
                ty: *ty,
                typmod: if l.ty == *ty && r.ty == *ty && l.typmod == r.typmod { l.typmod } else { -1 },
                origin: None,
                pending: None,
                pos: None,
            })
            .collect();
        let left = self.branch(left, &types, &names)?;
        let plan = match (name, all) {
            ("UNION", all) => {
                let right = self.branch(right, &types, &names)?;
                let plan = LogicalPlanBuilder::from(left).union(right)?.build()?;
                if all { plan } else { self.distinct(plan, &columns)? }
            }
            (_, all) => {
                let others: Vec<String> = types.iter().map(|_| self.fresh("c")).collect();
                let right = self.branch(right, &types, &others)?;
                let kind = if name == "INTERSECT" { JoinType::LeftSemi } else { JoinType::LeftAnti };
                self.keep_by(left, right, &columns, &others, kind, all)?
            }
        };
        Ok(Rel { plan, columns })
    }

    /// One side, brought to the common types and names.
    fn branch(&mut self, rel: Rel, types: &[PgType], names: &[String]) -> Result<LogicalPlan, SqlError> {
        let mut exprs = Vec::with_capacity(types.len());
        for (column, (ty, name)) in rel.columns.iter().zip(types.iter().zip(names)) {
            let typed = self.typed_column(column);
            exprs.push(self.cast(typed, *ty, -1, CastContext::Implicit)?.expr.alias(name));
        }
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rel.plan))?))
    }

    /// A column of a planned query as an expression; one that is a literal without a type can still take one.
    pub(super) fn typed_column(&self, column: &RelColumn) -> Typed {
        Typed {
            typmod: column.typmod,
            origin: column.origin,
            pending: column.pending.clone(),
            ..Typed::new(Expr::Column(column.column.clone()), column.ty, column.pos)
        }
    }

    /// Rows of the left side that have (have not) an equal one on the right, NULLs being equal. With `ALL` the n-th of equal
    /// rows needs an n-th on the right.
    fn keep_by(
        &mut self,
        left: LogicalPlan,
        right: LogicalPlan,
        columns: &[RelColumn],
        others: &[String],
        kind: JoinType,
        all: bool,
    ) -> Result<LogicalPlan, SqlError> {
        let left_key = |c: &RelColumn| key(c.ty, Expr::Column(c.column.clone()));
        let right_key =
            |c: &RelColumn, name: &String| key(c.ty, Expr::Column(Column::from_name(name.clone())));
        let mut on: Vec<(Expr, Expr)> =
            columns.iter().zip(others).map(|(c, name)| (left_key(c), right_key(c, name))).collect();
        let (mut left, mut right) = (left, right);
        if all {
            let (l, r): (Vec<Expr>, Vec<Expr>) = on.iter().cloned().unzip();
            let (numbered, left_number) = self.numbered(left, l, vec![])?;
            left = numbered;
            let (numbered, right_number) = self.numbered(right, r, vec![])?;
            right = numbered;
            let number = |n: String| Expr::Column(Column::from_name(n));
            on.push((number(left_number), number(right_number)));
        } else {
            left = self.distinct(left, columns)?;
        }
        let join = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            None,
            kind,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        )?;
        let kept = columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(kept, Arc::new(LogicalPlan::Join(join)))?))
    }
}

/// 0A000 for a branch that locks rows: those of the whole are nobody's.
fn refuse_locks_in(branch: &SetExpr) -> Result<(), SqlError> {
    let SetExpr::Query(query) = branch else { return Ok(()) };
    let locks = query.locks.iter().map(RowLock::new).collect::<Result<Vec<_>, _>>()?;
    refuse_locks(&locks, "UNION/INTERSECT/EXCEPT")?;
    refuse_locks_in(&query.body)
}
