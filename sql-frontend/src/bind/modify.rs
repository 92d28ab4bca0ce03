//! What `INSERT`, `UPDATE` and `DELETE` have in common: targets, assignments, defaults, `RETURNING`, `ON CONFLICT`.

use super::call::function_name;
use super::catalog::Relation;
use super::datatype::fold;
use super::dml::{BoundConflict, BoundInsert, ConflictAction, ReturningClause};
use super::position::At;
use super::scope::{Clause, Level, NsColumn, NsItem};
use super::select::{Rel, RelColumn, Unknowns};
use super::typed::{Typed, field};
use super::{Binder, BoundQuery, OutColumn, Positions};
use crate::catalog::{ColumnDescriptor, TableDescriptor};
use crate::error::{SqlError, SqlState};
use crate::exec::RowProgram;
use crate::types::PgType;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Values};
use quorate_proto::kv::{LockMode, LockRequest, WaitPolicy};
use sqlparser::ast::{
    self, AssignmentTarget, ConflictTarget, OnConflictAction, OnInsert, SetExpr, TableFactor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::collections::HashMap;
use std::sync::Arc;

/// A row that expressions are evaluated on, as a relation of that name.
pub(super) struct RowInput {
    item: NsItem,
}

impl RowInput {
    /// All columns of a table, hidden ones too; `qualified` if `schema.table.column` finds them.
    pub fn of_table(table: &Arc<TableDescriptor>, alias: &str, qualified: bool) -> Self {
        let reference = Some(TableReference::bare(format!("row_{alias}")));
        let columns = table
            .columns
            .iter()
            .map(|c| NsColumn {
                name: c.name.clone(),
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
    alias: String,
    pos: Option<u32>,
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

    fn target_column(
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
        let expr = Parser::new(&PostgreSqlDialect {})
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
            let rows = self.in_clause(Clause::Values, |b| b.insert_rows(table, targets, values));
            let pending = self.take_pending();
            self.levels.pop();
            let rows = rows?;
            if pending.is_empty() {
                return self.values_rel(table, rows);
            }
            let [row] = &rows[..] else {
                return Err(SqlError::unsupported("a subquery in VALUES of several rows"));
            };
            let plan = self.apply_all(super::from::one_row(), pending)?;
            return Ok((self.row_rel(table, plan, row.clone())?, None));
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
            check_width(cells.len(), targets.len(), targets.len() == table.visible_columns().count())
                .at(extra.or(pos))?;
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
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
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
        Ok((Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?), types))
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

    pub(super) fn on_conflict(
        &mut self,
        table: &Arc<TableDescriptor>,
        alias: &str,
        on: &OnInsert,
    ) -> Result<BoundConflict, SqlError> {
        let OnInsert::OnConflict(on) = on else {
            return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE"));
        };
        let arbiters = on.conflict_target.as_ref().map(|target| self.arbiters(table, target)).transpose()?;
        let update = match &on.action {
            OnConflictAction::DoNothing => {
                return Ok(BoundConflict { arbiters, action: ConflictAction::Nothing });
            }
            OnConflictAction::DoUpdate(update) => update,
        };
        if arbiters.is_none() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .hint("For example, ON CONFLICT (column_name)."));
        }
        let assigned = self.assignments(table, &update.assignments)?;
        let inputs = vec![
            RowInput::of_table(table, alias, alias == table.name),
            RowInput::of_table(table, "excluded", false),
        ];
        let (schema, types) = self.open_rows(inputs)?;
        // Names without a relation mean the existing row.
        self.level().items[1].columns_visible = false;
        let subqueries = std::mem::replace(&mut self.subqueries, false);
        let bound = self.conflict_exprs(table, &assigned, update.selection.as_ref());
        self.subqueries = subqueries;
        self.levels.pop();
        let (exprs, condition) = bound?;
        let assigned: Vec<usize> = assigned.into_iter().map(|(at, _)| at).collect();
        let columns = assigned
            .iter()
            .map(|at| {
                let c = &table.columns[*at];
                OutColumn { name: c.name.clone(), ty: c.ty, typmod: c.typmod, origin: Some((table.id, c.id)) }
            })
            .collect();
        let values = RowProgram::new(Arc::clone(&schema), types.clone(), exprs, columns, vec![])?;
        let condition = condition
            .map(|c| {
                let column =
                    OutColumn { name: "condition".into(), ty: PgType::Bool, typmod: -1, origin: None };
                RowProgram::new(schema, types, vec![c], vec![column], vec![])
            })
            .transpose()?;
        Ok(BoundConflict { arbiters, action: ConflictAction::Update { assigned, values, condition } })
    }

    fn conflict_exprs(
        &mut self,
        table: &TableDescriptor,
        assigned: &[(usize, Assigned<'_>)],
        condition: Option<&ast::Expr>,
    ) -> Result<(Vec<Expr>, Option<Expr>), SqlError> {
        let mut exprs = Vec::with_capacity(assigned.len());
        for (at, value) in assigned {
            exprs.push(self.assigned_value(&table.columns[*at], value)?);
        }
        let condition = match condition {
            Some(condition) => {
                let typed = self.in_clause(Clause::Where, |b| b.expr(condition))?;
                Some(self.condition(typed, "WHERE")?.expr)
            }
            None => None,
        };
        Ok((exprs, condition))
    }

    fn arbiters(&mut self, table: &TableDescriptor, target: &ConflictTarget) -> Result<Vec<u32>, SqlError> {
        let unique = || table.readable_indexes().filter(|i| i.unique || i.id == table.primary.id);
        match target {
            ConflictTarget::Columns(names) => {
                let mut wanted = Vec::with_capacity(names.len());
                for name in names {
                    let pos = self.positions.of_span(name.span);
                    let found = table.column_named(&fold(name)).filter(|c| !c.hidden);
                    let column = found.ok_or_else(|| {
                        SqlError::new(
                            SqlState::UNDEFINED_COLUMN,
                            format!("column \"{}\" does not exist", fold(name)),
                        )
                    });
                    wanted.push(column.at(pos)?.id);
                }
                wanted.sort_unstable();
                wanted.dedup();
                let matching = unique().filter(|index| {
                    let mut columns: Vec<u32> = index.columns.iter().map(|c| c.column).collect();
                    columns.sort_unstable();
                    columns == wanted
                });
                let ids: Vec<u32> = matching.map(|i| i.id).collect();
                if ids.is_empty() {
                    return Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                    ));
                }
                Ok(ids)
            }
            ConflictTarget::OnConstraint(name) => {
                let (_, name) = function_name(name)?;
                let found = unique().find(|i| i.name == name).map(|i| vec![i.id]);
                found.ok_or_else(|| {
                    SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
                    )
                })
            }
        }
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
                ))
                .at(pos);
            }
            out.push((at, if is_default(value) { Assigned::Default } else { Assigned::Expr(value) }));
            Ok(())
        };
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(name) => add(self, name, &assignment.value)?,
                AssignmentTarget::Tuple(names) => {
                    let values = match &assignment.value {
                        ast::Expr::Tuple(values) => values.as_slice(),
                        ast::Expr::Nested(one) if names.len() == 1 => std::slice::from_ref(&**one),
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

    fn assigned_value(&mut self, column: &ColumnDescriptor, value: &Assigned<'_>) -> Result<Expr, SqlError> {
        match value {
            Assigned::Default => self.default_of(column),
            Assigned::Expr(expr) => {
                let typed = self.in_clause(Clause::Set, |b| b.expr(expr))?;
                Ok(self.assign(typed, &column.name, column.ty, column.typmod)?.expr)
            }
        }
    }

    /// The locked scan of the table that is changed.
    pub(super) fn target_scan(&mut self, factor: &TableFactor) -> Result<TargetScan, SqlError> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(SqlError::unsupported("anything but a table as the target"));
        };
        let pos = self.positions.of(name);
        let (schema, _) = function_name(name)?;
        let table = self.target(name)?;
        let named = alias.as_ref().map_or_else(|| table.name.clone(), |a| fold(&a.name));
        let lock = LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0) };
        let (plan, item) = self.stored(&table, schema, &named, alias.as_ref(), Some(lock))?;
        self.locked = true;
        Ok(TargetScan { table, plan, item, alias: named, pos })
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
        self.add_item(target.item.clone(), target.pos)?;
        let mut plan = target.plan.clone();
        for item in from {
            plan = self.joined(Some(plan), item)?;
        }
        if let Some(condition) = condition {
            plan = self.filter(plan, condition)?;
        }
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

fn check_width(given: usize, targets: usize, implicit: bool) -> Result<(), SqlError> {
    if given > targets {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns"));
    }
    if given < targets && !implicit {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more target columns than expressions"));
    }
    Ok(())
}

/// The keyword `DEFAULT`, which the parser takes for a name.
fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(i) if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"))
}
