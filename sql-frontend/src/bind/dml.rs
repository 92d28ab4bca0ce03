//! `INSERT`, `UPDATE`, `DELETE`: where their rows come from and what is computed from each. Writing them is `crate::dml`'s.

use super::datatype::fold;
use super::modify::RowInput;
use super::scope::Clause;
use super::{BindContext, Binder, BoundQuery, OutColumn};
use crate::catalog::TableDescriptor;
use crate::error::{SqlError, SqlState};
use crate::exec::{Asked, RowProgram};
use crate::types::PgType;
use sqlparser::ast;
use std::sync::Arc;

/// `RETURNING`: evaluated on the written row, followed by what the statement's scan appended for it.
#[derive(Clone, Debug)]
pub struct ReturningClause {
    /// Input: all columns of the table, then [`BoundUpdate::extra`] (or [`BoundDelete::extra`]) columns.
    pub program: RowProgram,
}

impl ReturningClause {
    pub fn columns(&self) -> &[OutColumn] {
        &self.program.columns
    }
}

/// `INSERT`, see [`super::bind_insert`].
#[derive(Clone, Debug)]
pub struct BoundInsert {
    pub table: Arc<TableDescriptor>,
    /// Yields all columns of the table, in its order, ready to be written (hidden row ids as NULL if nothing fills them).
    pub source: BoundQuery,
    /// The same without a plan, for `VALUES` without subqueries: one program for each row, over no input.
    pub values: Option<Vec<RowProgram>>,
    pub on_conflict: Option<BoundConflict>,
    pub returning: Option<ReturningClause>,
    pub param_types: Vec<PgType>,
}

/// `ON CONFLICT`.
#[derive(Clone, Debug)]
pub struct BoundConflict {
    /// Ids of the unique indexes that arbitrate (the primary one included); `None`: all of them (`DO NOTHING` without a target).
    pub arbiters: Option<Vec<u32>>,
    pub action: ConflictAction,
}

#[derive(Clone, Debug)]
pub enum ConflictAction {
    Nothing,
    Update {
        /// Positions in the table's columns.
        assigned: Vec<usize>,
        /// New values for them. Input: the existing row, then the row proposed for insertion (`excluded`).
        values: RowProgram,
        /// Only rows for which this is true are updated; same input, one boolean.
        condition: Option<RowProgram>,
        /// Subqueries in these.
        asked: Option<Asked>,
    },
}

/// `UPDATE`, see [`super::bind_update`].
#[derive(Clone, Debug)]
pub struct BoundUpdate {
    pub table: Arc<TableDescriptor>,
    /// Yields the old row (all columns of the table), the new values of `assigned`, and `extra` more columns.
    pub scan: BoundQuery,
    /// There is a `FROM`, so a row may come several times; the first counts.
    pub joined: bool,
    /// Positions in the table's columns.
    pub assigned: Vec<usize>,
    /// How many columns follow for `RETURNING`.
    pub extra: usize,
    pub returning: Option<ReturningClause>,
    pub param_types: Vec<PgType>,
}

/// `DELETE`, see [`super::bind_delete`].
#[derive(Clone, Debug)]
pub struct BoundDelete {
    pub table: Arc<TableDescriptor>,
    /// Yields the old row (all columns of the table) and `extra` more columns.
    pub scan: BoundQuery,
    /// There is a `USING`, so a row may come several times.
    pub joined: bool,
    pub extra: usize,
    pub returning: Option<ReturningClause>,
    pub param_types: Vec<PgType>,
}

pub(super) fn bind_insert(
    ctx: &BindContext<'_>,
    with: Option<&ast::With>,
    insert: &ast::Insert,
) -> Result<BoundInsert, SqlError> {
    let extra = insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.has_table_keyword
        || insert.replace_into
        || insert.priority.is_some()
        || insert.insert_alias.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || insert.output.is_some()
        || insert.multi_table_insert_type.is_some();
    if extra {
        return Err(SqlError::unsupported("this form of INSERT"));
    }
    let mut binder = Binder::new(ctx);
    if let Some(with) = with {
        binder.with(with)?;
    }
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(SqlError::unsupported("INSERT into anything but a table"));
    };
    let table = binder.target(name)?;
    binder.tables.push((table.id, table.version));
    let targets = binder.target_columns(&table, &insert.columns)?;
    let (rel, values) = binder.insert_source(&table, &targets, insert)?;
    let alias = match &insert.table_alias {
        Some(alias) => fold(&alias.alias),
        None => table.name.clone(),
    };
    let on_conflict = insert.on.as_ref().map(|on| binder.on_conflict(&table, &alias, on)).transpose()?;
    let returning = binder.returning(&table, &alias, insert.returning.as_deref(), vec![], vec![])?;
    let source = binder.finish(rel)?;
    let param_types = source.param_types.clone();
    let mut bound = BoundInsert { table, source, values: None, on_conflict, returning, param_types };
    if let Some(rows) = values {
        bound.values = Some(binder.value_programs(rows, &bound)?);
    }
    let types = bound.param_types.clone();
    if let Some(conflict) = &mut bound.on_conflict
        && let ConflictAction::Update { values, condition, asked, .. } = &mut conflict.action
    {
        if let Some(asked) = asked {
            asked.set_param_types(types.clone());
        }
        values.param_types = types.clone();
        if let Some(condition) = condition {
            condition.param_types = types.clone();
        }
    }
    if let Some(returning) = &mut bound.returning {
        returning.program.param_types = types;
    }
    Ok(bound)
}

pub(super) fn bind_update(
    ctx: &BindContext<'_>,
    with: Option<&ast::With>,
    update: &ast::Update,
) -> Result<BoundUpdate, SqlError> {
    if update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some() || update.output.is_some()
    {
        return Err(SqlError::unsupported("this form of UPDATE"));
    }
    if !update.table.joins.is_empty() {
        return Err(SqlError::unsupported("a join as the target of UPDATE"));
    }
    let from = match &update.from {
        None => &[][..],
        Some(ast::UpdateTableFromKind::AfterSet(from)) => from,
        Some(_) => return Err(SqlError::unsupported("FROM before SET")),
    };
    let mut binder = Binder::new(ctx);
    if let Some(with) = with {
        binder.with(with)?;
    }
    let scan = binder.target_scan(&update.table.relation)?;
    let assigned = binder.assignments(&scan.table, &update.assignments)?;
    let bound =
        binder.modify(scan, from, update.selection.as_ref(), &assigned, update.returning.as_deref())?;
    let (scan, extra, returning) = (bound.scan, bound.extra, bound.returning);
    let assigned = assigned.into_iter().map(|(at, _)| at).collect();
    let param_types = scan.param_types.clone();
    let joined = !from.is_empty();
    Ok(BoundUpdate { table: bound.table, scan, joined, assigned, extra, returning, param_types })
}

pub(super) fn bind_delete(
    ctx: &BindContext<'_>,
    with: Option<&ast::With>,
    delete: &ast::Delete,
) -> Result<BoundDelete, SqlError> {
    if !delete.tables.is_empty()
        || !delete.order_by.is_empty()
        || delete.limit.is_some()
        || delete.output.is_some()
    {
        return Err(SqlError::unsupported("this form of DELETE"));
    }
    let target = match &delete.from {
        ast::FromTable::WithFromKeyword(from) => from,
        ast::FromTable::WithoutKeyword(_) => {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "DELETE needs FROM"));
        }
    };
    let [target] = &target[..] else { return Err(SqlError::unsupported("DELETE from several tables")) };
    if !target.joins.is_empty() {
        return Err(SqlError::unsupported("a join as the target of DELETE"));
    }
    let mut binder = Binder::new(ctx);
    if let Some(with) = with {
        binder.with(with)?;
    }
    let scan = binder.target_scan(&target.relation)?;
    let using = delete.using.as_deref().unwrap_or(&[]);
    let bound = binder.modify(scan, using, delete.selection.as_ref(), &[], delete.returning.as_deref())?;
    let param_types = bound.scan.param_types.clone();
    Ok(BoundDelete {
        table: bound.table,
        scan: bound.scan,
        joined: !using.is_empty(),
        extra: bound.extra,
        returning: bound.returning,
        param_types,
    })
}

pub(super) fn bind_expr_over_table(
    ctx: &BindContext<'_>,
    table: Option<&Arc<TableDescriptor>>,
    expr: &ast::Expr,
    ty: PgType,
    typmod: i32,
) -> Result<RowProgram, SqlError> {
    let mut binder = Binder::new(ctx);
    binder.params_allowed = false;
    binder.subqueries = false;
    let inputs: Vec<RowInput> = table.map(|t| RowInput::of_table(t, &t.name, true)).into_iter().collect();
    let clause = if table.is_some() { Clause::Check } else { Clause::Default };
    let (schema, types) = binder.open_rows(inputs)?;
    let typed = binder.in_clause(clause, |b| b.expr(expr));
    binder.levels.pop();
    let name = super::output::name_of(expr);
    let typed = binder.assign(typed?, &name, ty, typmod)?;
    let column = OutColumn { name, ty, typmod, origin: None };
    RowProgram::new(schema, types, vec![typed.expr], vec![column], vec![])
}
