//! The rows of an `INSERT`.

use super::Binder;
use super::call::function_name;
use super::dml::BoundInsert;
use super::modify::is_default;
use super::position::At;
use super::scope::{Clause, Level};
use super::select::{Rel, RelColumn, Unknowns};
use super::typed::field;
use crate::catalog::TableDescriptor;
use crate::error::{SqlError, SqlState};
use crate::exec::{RowProgram, schema};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Values};
use sqlparser::ast::{self, SetExpr};
use std::sync::Arc;

impl Binder<'_> {
    /// The rows of an `INSERT` as a plan over all columns of the table; and, for plain `VALUES`, as expressions.
    pub(super) fn insert_source(
        &mut self,
        table: &Arc<TableDescriptor>,
        targets: &[usize],
        insert: &ast::Insert,
    ) -> Result<(Rel, Option<Vec<Vec<Expr>>>), SqlError> {
        let Some(query) = &insert.source else {
            // DEFAULT VALUES
            let row = (0..table.columns.len())
                .map(|at| self.default_of(&table.columns[at]))
                .collect::<Result<_, _>>()?;
            return self.values_rel(table, vec![row]);
        };
        let bare = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty();
        if let SetExpr::Values(values) = &*query.body
            && bare
        {
            self.levels.push(Level::new());
            let rows =
                self.in_clause(Clause::Values, |b| b.insert_rows(table, targets, &insert.columns, values));
            let pending = self.take_pending();
            self.levels.pop();
            let rows = rows?;
            if pending.is_empty() {
                return self.values_rel(table, rows);
            }
            if let [row] = &rows[..] {
                let plan = self.apply_all(super::from::one_row(), pending)?;
                return Ok((self.row_rel(table, plan, row.clone())?, None));
            }
            let mut rows = rows;
            let columns = self.row_columns(table);
            let params = self.cells_as_params(&mut rows, &columns);
            let (rel, _) = self.values_rel(table, rows)?;
            return Ok((self.beside_subqueries(pending, rel, params)?, None));
        }
        let rel = self.query(query, Unknowns::Keep)?;
        check_width(rel.columns.len(), targets.len(), insert.columns.is_empty())
            .at(self.positions.of(&*query.body))?;
        let mut row = Vec::with_capacity(table.columns.len());
        for (at, column) in table.columns.iter().enumerate() {
            let from = targets.iter().position(|t| *t == at).and_then(|i| rel.columns.get(i));
            row.push(match from {
                Some(from) => {
                    let typed = self.typed_column(from);
                    self.assign(typed, &column.name, column.ty, column.typmod)?.expr
                }
                None => self.default_of(column)?,
            });
        }
        Ok((self.row_rel(table, rel.plan, row)?, None))
    }

    fn insert_rows(
        &mut self,
        table: &TableDescriptor,
        targets: &[usize],
        names: &[ast::ObjectName],
        values: &ast::Values,
    ) -> Result<Vec<Vec<Expr>>, SqlError> {
        let mut defaults: Vec<Option<Expr>> = vec![None; table.columns.len()];
        let mut rows = Vec::with_capacity(values.rows.len());
        let width = values.rows.first().map_or(0, |r| r.content.len());
        for source in &values.rows {
            let cells = &source.content;
            let pos = cells.first().and_then(|e| self.positions.of(e));
            if cells.len() != width {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    "VALUES lists must all be the same length",
                ))
                .at(pos);
            }
            let extra = cells.get(targets.len()).and_then(|e| self.positions.of(e));
            let missing = names.get(cells.len()).and_then(|n| self.positions.of(n));
            check_width(cells.len(), targets.len(), names.is_empty()).at(extra.or(missing))?;
            let mut row = Vec::with_capacity(table.columns.len());
            for (at, column) in table.columns.iter().enumerate() {
                let cell = targets.iter().position(|t| *t == at).and_then(|i| cells.get(i));
                row.push(match cell {
                    Some(cell) if !is_default(cell) => {
                        let typed = self.expr(cell)?;
                        self.assign(typed, &column.name, column.ty, column.typmod)?.expr
                    }
                    _ => match &defaults[at] {
                        Some(known) => known.clone(),
                        None => {
                            let expr = self.default_of(column)?;
                            defaults[at] = Some(expr.clone());
                            expr
                        }
                    },
                });
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn values_rel(
        &mut self,
        table: &TableDescriptor,
        rows: Vec<Vec<Expr>>,
    ) -> Result<(Rel, Option<Vec<Vec<Expr>>>), SqlError> {
        let columns = self.row_columns(table);
        let fields = columns.iter().map(|c| (None, field(&c.column.name, c.ty))).collect();
        let schema = Arc::new(schema::of_fields(fields)?);
        let plan = LogicalPlan::Values(Values { schema, values: rows.clone() });
        Ok((Rel { plan, columns }, Some(rows)))
    }

    fn row_rel(
        &mut self,
        table: &TableDescriptor,
        plan: LogicalPlan,
        row: Vec<Expr>,
    ) -> Result<Rel, SqlError> {
        let columns = self.row_columns(table);
        let exprs = row.into_iter().zip(&columns).map(|(e, c)| e.alias(c.column.name.clone())).collect();
        Ok(Rel { plan: LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?), columns })
    }

    fn row_columns(&mut self, table: &TableDescriptor) -> Vec<RelColumn> {
        let columns = table.columns.iter().map(|c| RelColumn {
            name: c.name.clone(),
            column: Column::from_name(self.fresh("c")),
            ty: c.ty,
            typmod: c.typmod,
            origin: Some((table.id, c.id)),
            pending: None,
            pos: None,
        });
        columns.collect()
    }

    /// One program for each row of `VALUES`.
    pub(super) fn value_programs(
        &mut self,
        rows: Vec<Vec<Expr>>,
        bound: &BoundInsert,
    ) -> Result<Vec<RowProgram>, SqlError> {
        let schema = Arc::new(DFSchema::empty());
        rows.into_iter()
            .map(|row| {
                RowProgram::new(
                    Arc::clone(&schema),
                    vec![],
                    row,
                    bound.source.columns.clone(),
                    bound.param_types.clone(),
                )
            })
            .collect()
    }

    /// Positions of the columns named by an `INSERT`; all visible ones if none are.
    pub(super) fn target_columns(
        &mut self,
        table: &TableDescriptor,
        names: &[ast::ObjectName],
    ) -> Result<Vec<usize>, SqlError> {
        if names.is_empty() {
            return Ok((0..table.columns.len()).filter(|at| !table.columns[*at].hidden).collect());
        }
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            let pos = self.positions.of(name);
            let (_, column) = function_name(name)?;
            let at = self.target_column(table, &column, pos)?;
            if out.contains(&at) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{column}\" specified more than once"),
                ))
                .at(pos);
            }
            out.push(at);
        }
        Ok(out)
    }
}

fn check_width(given: usize, targets: usize, implicit: bool) -> Result<(), SqlError> {
    if given > targets {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns"));
    }
    if given < targets && !implicit {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more target columns than expressions"));
    }
    Ok(())
}
