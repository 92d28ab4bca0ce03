//! What `INSERT`, `UPDATE` and `DELETE` have in common: targets, assignments, defaults, `RETURNING`, `ON CONFLICT`.

use super::call::function_name;
use super::catalog::Relation;
use super::datatype::fold;
use super::dml::ReturningClause;
use super::locking::locked_relation;
use super::position::At;
use super::scope::{Clause, Level, NsColumn, NsItem, seen_name};
use super::select::{Rel, RelColumn};
use super::typed::{Typed, field};
use super::{Binder, BoundQuery, OutColumn, Positions};
use crate::catalog::{ColumnDescriptor, TableDescriptor};
use crate::error::{SqlError, SqlState};
use crate::exec::{RowProgram, schema};
use crate::session::parse::Dialect;
use crate::types::PgType;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use quorate_proto::kv::{LockMode, LockRequest, WaitPolicy};
use sqlparser::ast::{self, AssignmentTarget, TableFactor};
use sqlparser::parser::Parser;
use std::sync::Arc;

/// A row that expressions are evaluated on, as a relation of that name.
pub(super) struct RowInput {
    item: NsItem,
}

impl RowInput {
    /// All columns of a table, hidden ones too; `qualified` if `schema.table.column` finds them.
    pub fn of_table(table: &Arc<TableDescriptor>, alias: &str, qualified: bool) -> Self {
        Self::named(table, alias, qualified, TableReference::bare(format!("row_{alias}")))
    }

    /// The row that was to be inserted; the table may have the same name.
    pub fn excluded(table: &Arc<TableDescriptor>) -> Self {
        Self::named(table, "excluded", false, TableReference::bare("proposed_row"))
    }

    fn named(table: &Arc<TableDescriptor>, alias: &str, qualified: bool, reference: TableReference) -> Self {
        let reference = Some(reference);
        let columns = table
            .columns
            .iter()
            .map(|c| NsColumn {
                name: seen_name(table, c),
                column: Column::new(reference.clone(), c.name.clone()),
                ty: c.ty,
                typmod: c.typmod,
                origin: Some((table.id, c.id)),
                hidden: c.hidden,
            })
            .collect();
        RowInput {
            item: NsItem {
                schema: qualified.then(|| table.schema.clone()),
                alias: alias.to_string(),
                columns,
                columns_visible: true,
                table: Some(Arc::clone(table)),
            },
        }
    }
}

/// The scanned target of an `UPDATE` or `DELETE`.
pub(super) struct TargetScan {
    pub table: Arc<TableDescriptor>,
    plan: LogicalPlan,
    item: NsItem,
    lock: LockRequest,
    alias: String,
}

/// A bound `UPDATE` or `DELETE`.
pub(super) struct Modified {
    pub table: Arc<TableDescriptor>,
    pub scan: BoundQuery,
    pub extra: usize,
    pub returning: Option<ReturningClause>,
}

/// What a column is set to.
pub(super) enum Assigned<'q> {
    Expr(&'q ast::Expr),
    Default,
}

impl Binder<'_> {
    /// The table that a statement writes. 42809 for what cannot be written.
    pub(super) fn target(&mut self, name: &ast::ObjectName) -> Result<Arc<TableDescriptor>, SqlError> {
        let pos = self.positions.of(name);
        let (schema, table) = function_name(name)?;
        match self.ctx.catalog.relation(schema.as_deref(), &table) {
            Some(Relation::Table(table)) => Ok(table),
            Some(Relation::Virtual(_)) => Err(SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("cannot change system table \"{table}\""),
            ))
            .at(pos),
            None => {
                let shown = schema.map_or_else(|| table.clone(), |s| format!("{s}.{table}"));
                Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist")))
                    .at(pos)
            }
        }
    }

    pub(super) fn target_column(
        &self,
        table: &TableDescriptor,
        name: &str,
        pos: Option<u32>,
    ) -> Result<usize, SqlError> {
        let found = table.columns.iter().position(|c| c.name == name && !c.hidden);
        found
            .ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
                )
            })
            .at(pos)
    }

    /// A column's default, cast to its type; NULL without one.
    pub(super) fn default_of(&mut self, column: &ColumnDescriptor) -> Result<Expr, SqlError> {
        let Some(text) = &column.default else {
            let null = Typed::null(None);
            return Ok(self.coerce(null, column.ty)?.expr);
        };
        let expr = Parser::new(&Dialect)
            .try_with_sql(text)
            .and_then(|mut p| p.parse_expr())
            .map_err(|e| SqlError::internal(format!("the default of column \"{}\": {e}", column.name)))?;
        let positions = std::mem::replace(&mut self.positions, Positions::new(text));
        let allowed = std::mem::replace(&mut self.params_allowed, false);
        self.levels.push(Level::new());
        let typed = self.in_clause(Clause::Default, |b| b.expr(&expr));
        let pending = self.take_pending();
        self.levels.pop();
        self.params_allowed = allowed;
        self.positions = positions;
        if !pending.is_empty() {
            return Err(SqlError::internal("a default with a subquery"));
        }
        let strip = |mut e: SqlError| {
            e.position = None;
            e
        };
        let typed = typed.map_err(strip)?;
        let assigned = self.assign(Typed { pos: None, ..typed }, &column.name, column.ty, column.typmod);
        Ok(assigned.map_err(strip)?.expr)
    }

    /// Opens a level whose relations are rows; it gives the schema and types of all their columns together.
    pub(super) fn open_rows(
        &mut self,
        inputs: Vec<RowInput>,
    ) -> Result<(Arc<DFSchema>, Vec<PgType>), SqlError> {
        let mut fields = Vec::new();
        let mut types = Vec::new();
        let mut level = Level::new();
        for input in inputs {
            for column in &input.item.columns {
                fields.push((column.column.relation.clone(), field(&column.column.name, column.ty)));
                types.push(column.ty);
            }
            level.items.push(input.item);
        }
        self.levels.push(level);
        Ok((Arc::new(schema::of_fields(fields)?), types))
    }

    /// `RETURNING` over the written row and more relations (of `FROM`), whose columns follow it.
    pub(super) fn returning(
        &mut self,
        table: &Arc<TableDescriptor>,
        alias: &str,
        items: Option<&[ast::SelectItem]>,
        others: Vec<NsItem>,
        param_types: Vec<PgType>,
    ) -> Result<Option<ReturningClause>, SqlError> {
        let Some(items) = items else { return Ok(None) };
        let mut inputs = vec![RowInput::of_table(table, alias, alias == table.name)];
        inputs.extend(others.into_iter().map(|item| RowInput { item }));
        let (schema, types) = self.open_rows(inputs)?;
        let subqueries = std::mem::replace(&mut self.subqueries, false);
        let outputs = self.in_clause(Clause::Returning, |b| b.select_list(items));
        self.subqueries = subqueries;
        self.levels.pop();
        let mut exprs = Vec::new();
        let mut columns = Vec::new();
        for output in outputs? {
            let typed = self.settle(output.typed)?;
            columns.push(OutColumn {
                name: output.name,
                ty: typed.ty,
                typmod: typed.typmod,
                origin: typed.origin,
            });
            exprs.push(typed.expr);
        }
        let program = RowProgram::new(schema, types, exprs, columns, param_types)?;
        Ok(Some(ReturningClause { program }))
    }

    /// `SET` items by column position.
    pub(super) fn assignments<'q>(
        &mut self,
        table: &TableDescriptor,
        assignments: &'q [ast::Assignment],
    ) -> Result<Vec<(usize, Assigned<'q>)>, SqlError> {
        let mut out: Vec<(usize, Assigned<'q>)> = Vec::with_capacity(assignments.len());
        let mut add = |b: &Self, name: &ast::ObjectName, value: &'q ast::Expr| -> Result<(), SqlError> {
            let pos = b.positions.of(name);
            if name.0.len() != 1 {
                return Err(SqlError::unsupported("a qualified column in SET")).at(pos);
            }
            let (_, column) = function_name(name)?;
            let at = b.target_column(table, &column, pos)?;
            if out.iter().any(|(other, _)| *other == at) {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("multiple assignments to same column \"{column}\""),
                ));
            }
            out.push((at, if is_default(value) { Assigned::Default } else { Assigned::Expr(value) }));
            Ok(())
        };
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(name) => add(self, name, &assignment.value)?,
                AssignmentTarget::Tuple(names) => {
                    let values = match (super::row::items(&assignment.value), &assignment.value) {
                        (Some(values), _) => values,
                        (None, ast::Expr::Nested(one)) if names.len() == 1 => vec![&**one],
                        _ => return Err(SqlError::unsupported("assigning the columns of a subquery")),
                    };
                    if values.len() != names.len() {
                        return Err(SqlError::new(
                            SqlState::SYNTAX_ERROR,
                            "number of columns does not match number of values",
                        ));
                    }
                    for (name, value) in names.iter().zip(values) {
                        add(self, name, value)?;
                    }
                }
            }
        }
        Ok(out)
    }

    pub(super) fn assigned_value(
        &mut self,
        column: &ColumnDescriptor,
        value: &Assigned<'_>,
    ) -> Result<Expr, SqlError> {
        match value {
            Assigned::Default => self.default_of(column),
            Assigned::Expr(expr) => {
                let typed = self.in_clause(Clause::Set, |b| b.expr(expr))?;
                Ok(self.assign(typed, &column.name, column.ty, column.typmod)?.expr)
            }
        }
    }

    /// The scan of the table that is changed.
    pub(super) fn target_scan(&mut self, factor: &TableFactor) -> Result<TargetScan, SqlError> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(SqlError::unsupported("anything but a table as the target"));
        };
        let (schema, _) = function_name(name)?;
        let table = self.target(name)?;
        let named = alias.as_ref().map_or_else(|| table.name.clone(), |a| fold(&a.name));
        let lock = LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0), firm: false };
        let (plan, item) = self.stored(&table, schema, &named, alias.as_ref(), Some(lock.clone()))?;
        Ok(TargetScan { table, plan, item, lock, alias: named })
    }

    /// The rows to change: target, `FROM` or `USING`, `WHERE`, new values.
    pub(super) fn modify(
        &mut self,
        target: TargetScan,
        from: &[ast::TableWithJoins],
        condition: Option<&ast::Expr>,
        assigned: &[(usize, Assigned<'_>)],
        returning: Option<&[ast::SelectItem]>,
    ) -> Result<Modified, SqlError> {
        self.levels.push(Level::new());
        let bound = self.modify_level(&target, from, condition, assigned, returning.is_some());
        let level = self.levels.pop();
        let (rel, extra) = bound?;
        let others: Vec<NsItem> = level.map(|l| l.items).unwrap_or_default().into_iter().skip(1).collect();
        let others = self.as_extra_rows(others);
        let mut returning = self.returning(&target.table, &target.alias, returning, others, vec![])?;
        let scan = self.finish(rel)?;
        if let Some(returning) = &mut returning {
            returning.program.param_types = scan.param_types.clone();
        }
        Ok(Modified { table: target.table, scan, extra, returning })
    }

    fn modify_level(
        &mut self,
        target: &TargetScan,
        from: &[ast::TableWithJoins],
        condition: Option<&ast::Expr>,
        assigned: &[(usize, Assigned<'_>)],
        returning: bool,
    ) -> Result<(Rel, usize), SqlError> {
        self.add_item(target.item.clone())?;
        let mut plan = target.plan.clone();
        for item in from {
            plan = self.joined(Some(plan), item)?;
        }
        if let Some(condition) = condition {
            plan = self.filter(plan, condition)?;
        }
        let locked = locked_relation(&target.item, target.lock.clone())?;
        self.level().locked.push(locked);
        let recheck = self.recheck(&plan)?;
        plan = self.lock_rows(plan, recheck, vec![])?;
        let mut row: Vec<(Expr, String, PgType)> = Vec::new();
        for (column, described) in target.item.columns.iter().zip(&target.table.columns) {
            row.push((Expr::Column(column.column.clone()), described.name.clone(), described.ty));
        }
        for (at, value) in assigned {
            let column = &target.table.columns[*at];
            row.push((self.assigned_value(column, value)?, column.name.clone(), column.ty));
        }
        let mut extra = 0;
        if returning {
            for item in self.level().items.clone().into_iter().skip(1) {
                for column in item.columns {
                    row.push((Expr::Column(column.column), column.name, column.ty));
                    extra += 1;
                }
            }
        }
        let pending = self.take_pending();
        plan = self.apply_all(plan, pending)?;
        let mut exprs = Vec::with_capacity(row.len());
        let mut columns = Vec::with_capacity(row.len());
        for (expr, name, ty) in row {
            let fresh = self.fresh("c");
            exprs.push(expr.alias(&fresh));
            columns.push(RelColumn {
                name,
                column: Column::from_name(fresh),
                ty,
                typmod: -1,
                origin: None,
                pending: None,
                pos: None,
            });
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        Ok((Rel { plan, columns }, extra))
    }

    /// The relations of `FROM` as rows behind the written one: every column gets a name of its own.
    fn as_extra_rows(&mut self, items: Vec<NsItem>) -> Vec<NsItem> {
        let mut out = Vec::with_capacity(items.len());
        for mut item in items {
            for column in &mut item.columns {
                column.column = Column::from_name(self.fresh("x"));
            }
            out.push(item);
        }
        out
    }
}

/// The keyword `DEFAULT`, which the parser takes for a name.
pub(super) fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(i) if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"))
}
