//! `ALTER TABLE … ADD COLUMN`: first withheld from statements, so that every writer keeps its values, then for all to see.
//! Rows written before have the column's `missing` value; none is touched.

use super::{Change, alter, create_table, job};
use crate::{
    catalog::{ColumnDescriptor, TableDescriptor, TableState, store},
    error::{SqlError, SqlState},
    row::value::encode_missing,
    server::Shared,
    session::parse::fold,
    types::Datum,
};
use sqlparser::ast::{ColumnDef, ColumnOption, Expr};
use std::sync::Arc;

pub async fn run(
    change: &mut Change,
    mut table: TableDescriptor,
    def: &ColumnDef,
    if_not_exists: bool,
) -> Result<(), SqlError> {
    let name = fold(&def.name);
    if table.column_named(&name).is_some() {
        let text = format!("column \"{name}\" of relation \"{}\" already exists", table.name);
        if if_not_exists {
            change.notice(SqlState::DUPLICATE_COLUMN, format!("{text}, skipping"));
            return Ok(());
        }
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, text));
    }
    let mut column = new_column(change, &table, def)?;
    table.next_column_id += 1;
    if change.is_new(table.id)? {
        table.columns.push(column);
        return alter::replace(change, table).await;
    }
    change.alone("ALTER TABLE … ADD COLUMN")?;
    column.hidden = true;
    let kind = job::Kind::AddColumn { table: table.id, column: column.id };
    table.columns.push(column);
    change.begin_job(table, kind).await
}

fn new_column(
    change: &Change,
    table: &TableDescriptor,
    def: &ColumnDef,
) -> Result<ColumnDescriptor, SqlError> {
    if create_table::is_serial(def) {
        return Err(SqlError::unsupported("ADD COLUMN of a column with a sequence")
            .hint("Create a sequence, add the column, and fill it with UPDATE."));
    }
    let mut column = create_table::plain_column(&change.sql, table, def)?;
    for option in &def.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull => {}
            ColumnOption::Default(expr) => set_default(change, &mut column, expr)?,
            ColumnOption::ForeignKey(_) => return Err(create_table::no_foreign_keys()),
            other => {
                return Err(SqlError::unsupported(format!("ADD COLUMN with {other}"))
                    .hint("Add the column first, and then an index or constraint."));
            }
        }
    }
    if !column.nullable && column.missing.is_none() {
        return Err(SqlError::new(
            SqlState::NOT_NULL_VIOLATION,
            format!("column \"{}\" of relation \"{}\" contains null values", column.name, table.name),
        )
        .hint("A column that is NOT NULL is added with a default."));
    }
    Ok(column)
}

fn set_default(change: &Change, column: &mut ColumnDescriptor, expr: &Expr) -> Result<(), SqlError> {
    column.default = create_table::default_text(change, expr, column.ty)?;
    let program = create_table::bind_constant(change, expr, column.ty, column.typmod)?;
    let value = program.evaluate(&[], &[], &change.ctx)?.pop().unwrap_or(Datum::Null);
    if value.is_null() {
        return Ok(());
    }
    // Volatile defaults would have to differ from row to row.
    let again = program.evaluate(&[], &[], &change.ctx)?.pop().unwrap_or(Datum::Null);
    if again != value {
        return Err(SqlError::unsupported("ADD COLUMN with a volatile default"));
    }
    column.missing = Some(encode_missing(&value));
    Ok(())
}

/// The job: once every writer keeps the column, all may see it.
pub async fn carry_out(shared: &Arc<Shared>, id: u64, table: u64, column: u32) -> Result<(), SqlError> {
    shared.catalog.settle().await?;
    job::step(shared, id, |txn| async move {
        let found = store::lock_table(&txn, table).await?;
        // A table that was dropped in the meantime took the column with it.
        if let Some(mut descriptor) = found.filter(|t| t.state != TableState::Dropped) {
            for column in descriptor.columns.iter_mut().filter(|c| c.id == column) {
                column.hidden = false;
            }
            descriptor.version += 1;
            store::put_table(&txn, &descriptor);
            store::raise_generation(&txn).await?;
        }
        job::finish(&txn, id).await
    })
    .await?;
    shared.catalog.refresh().await?;
    shared.catalog.settle().await
}
