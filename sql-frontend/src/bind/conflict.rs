//! `ON CONFLICT`.

use super::call::function_name;
use super::datatype::fold;
use super::dml::{BoundConflict, ConflictAction};
use super::modify::{Assigned, RowInput};
use super::position::At;
use super::scope::Clause;
use super::{Binder, OutColumn};
use crate::catalog::TableDescriptor;
use crate::error::{SqlError, SqlState};
use crate::exec::RowProgram;
use crate::types::PgType;
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, ConflictTarget, OnConflictAction, OnInsert};
use std::sync::Arc;

impl Binder<'_> {
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
                let found = unique()
                    .find(|i| i.name == name && (i.is_constraint() || i.id == table.primary.id))
                    .map(|i| vec![i.id]);
                found.ok_or_else(|| {
                    SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
                    )
                })
            }
        }
    }
}
