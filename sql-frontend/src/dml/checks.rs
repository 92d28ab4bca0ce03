//! `NOT NULL` and `CHECK`: 23502 and 23514.

use super::{
    Row, Writer,
    violation::{check_violation, not_null_violation},
};
use crate::{
    bind::{BindContext, bind_expr_over_table},
    catalog::TableDescriptor,
    error::SqlError,
    exec::program::Compiled,
    session::{parse::parse_expression, view::SessionView},
    types::{Datum, PgType},
};
use std::sync::Arc;

/// The `CHECK` conditions of a table, ready to run.
pub struct Checks(Vec<Check>);

struct Check {
    name: String,
    condition: Compiled,
    leaving: bool,
}

impl Writer {
    /// Compiles the table's conditions, once a statement.
    pub fn checks(&self, table: &Arc<TableDescriptor>) -> Result<Checks, SqlError> {
        let mut all = Vec::new();
        for check in &table.checks {
            let view = SessionView::of(&self.ctx)?;
            let ctx = BindContext {
                catalog: &view.names,
                sql: &check.condition,
                engine: &self.ctx.engine,
                zone: self.ctx.session.timezone,
                param_types: &[],
            };
            let expr = parse_expression(&check.condition)?;
            let program = bind_expr_over_table(&ctx, Some(table), &expr, PgType::Bool, -1)?;
            let condition = program.compile(&[], &self.ctx)?;
            all.push(Check { name: check.name.clone(), condition, leaving: check.leaving });
        }
        Ok(Checks(all))
    }

    /// Checks new rows. `old` are the rows that they replace, if they do: what goes with a dropped column is not asked of rows
    /// that have lost it already, by the hand of a node that is one step ahead.
    pub fn check(
        &self,
        table: &TableDescriptor,
        checks: &Checks,
        old: Option<&[&Row]>,
        new: &[&Row],
    ) -> Result<(), SqlError> {
        for (number, row) in new.iter().enumerate() {
            for (at, column) in table.columns.iter().enumerate() {
                if !row[at].is_null() || column.nullable {
                    continue;
                }
                let lost = column.leaving && old.is_some_and(|old| old[number][at].is_null());
                if !lost {
                    return Err(not_null_violation(table, column, row));
                }
            }
        }
        for check in &checks.0 {
            let before = match old {
                Some(old) if check.leaving => check.condition.rows(old)?,
                _ => Vec::new(),
            };
            for (number, result) in check.condition.rows(new)?.iter().enumerate() {
                if refuses(result) && !before.get(number).is_some_and(|before| refuses(before)) {
                    return Err(check_violation(table, &check.name, new[number]));
                }
            }
        }
        Ok(())
    }
}

fn refuses(result: &[Datum]) -> bool {
    result.first() == Some(&Datum::Bool(false))
}
