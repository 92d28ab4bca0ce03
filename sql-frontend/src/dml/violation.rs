//! Broken constraints, in PostgreSQL's words.

use crate::{
    catalog::{ColumnDescriptor, IndexDescriptor, TableDescriptor},
    error::{SqlError, SqlState},
    types::{Datum, TimeZone},
};

fn about(error: SqlError, table: &TableDescriptor) -> SqlError {
    error.with_fields(|fields| {
        fields.schema = Some(table.schema.clone());
        fields.table = Some(table.name.clone());
    })
}

/// 23505.
pub fn unique_violation(table: &TableDescriptor, index: &IndexDescriptor, row: &[Datum]) -> SqlError {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for column in &index.columns {
        if let Some(at) = table.position(column.column) {
            let descriptor = &table.columns[at];
            names.push(descriptor.name.clone());
            values.push(match &row[at] {
                Datum::Null => "null".into(),
                value => value.to_text(descriptor.ty, &TimeZone::UTC),
            });
        }
    }
    let error = SqlError::new(
        SqlState::UNIQUE_VIOLATION,
        format!("duplicate key value violates unique constraint \"{}\"", index.name),
    )
    .detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
    .with_fields(|fields| fields.constraint = Some(index.name.clone()));
    about(error, table)
}

/// 23502.
pub fn not_null_violation(table: &TableDescriptor, column: &ColumnDescriptor, row: &[Datum]) -> SqlError {
    let error = SqlError::new(
        SqlState::NOT_NULL_VIOLATION,
        format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            column.name, table.name
        ),
    )
    .detail(format!("Failing row contains {}.", failing_row(table, row)))
    .with_fields(|fields| fields.column = Some(column.name.clone()));
    about(error, table)
}

/// 23514.
pub fn check_violation(table: &TableDescriptor, check: &str, row: &[Datum]) -> SqlError {
    let error = SqlError::new(
        SqlState::CHECK_VIOLATION,
        format!("new row for relation \"{}\" violates check constraint \"{check}\"", table.name),
    )
    .detail(format!("Failing row contains {}.", failing_row(table, row)))
    .with_fields(|fields| fields.constraint = Some(check.to_string()));
    about(error, table)
}

fn failing_row(table: &TableDescriptor, row: &[Datum]) -> String {
    let shown = table.columns.iter().zip(row).filter(|(column, _)| !column.hidden);
    let shown: Vec<String> = shown
        .map(|(column, value)| match value {
            Datum::Null => "null".into(),
            value => shorten(value.to_text(column.ty, &TimeZone::UTC)),
        })
        .collect();
    format!("({})", shown.join(", "))
}

/// PostgreSQL cuts values in such details at 64 bytes.
fn shorten(text: String) -> String {
    if text.len() <= 64 {
        return text;
    }
    let mut end = 64;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}
