//! `ON CONFLICT`.

use super::call::function_name;
use super::datatype::fold;
use super::dml::{BoundConflict, ConflictAction};
use super::modify::{Assigned, RowInput};
use super::position::At;
use super::scope::{Clause, PendingApply};
use super::{Binder, OutColumn};
use crate::catalog::TableDescriptor;
use crate::error::{SqlError, SqlState};
use crate::exec::{Asked, RowProgram};
use crate::types::PgType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
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
        let inputs = vec![RowInput::of_table(table, alias, alias == table.name), RowInput::excluded(table)];
        let (schema, types) = self.open_rows(inputs)?;
        let bound = self.conflict_exprs(table, &assigned, update.selection.as_ref());
        let pending = self.take_pending();
        self.levels.pop();
        let (mut exprs, mut condition) = bound?;
        let asked = if pending.is_empty() {
            None
        } else {
            Some(self.asked(pending, exprs.iter_mut().chain(&mut condition))?)
        };
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
        Ok(BoundConflict { arbiters, action: ConflictAction::Update { assigned, values, condition, asked } })
    }

    /// Subqueries that the rows have no part in, apart from the expressions that use them.
    fn asked<'e>(
        &mut self,
        pending: Vec<PendingApply>,
        exprs: impl Iterator<Item = &'e mut Expr>,
    ) -> Result<Asked, SqlError> {
        if pending.iter().any(|p| !p.params.is_empty() || p.probe.is_some()) {
            return Err(SqlError::unsupported(
                "a subquery of ON CONFLICT DO UPDATE that mentions the row, or stands behind IN",
            ));
        }
        let names: Vec<String> = pending.iter().map(|p| p.name.clone()).collect();
        let plan = self.apply_all(super::from::one_row(), pending)?;
        let answers = plan.schema().fields().iter().zip(&names);
        let answers: Vec<(Column, Expr)> = answers
            .map(|(field, name)| {
                let placeholder = Placeholder::new_with_field(format!("${name}"), Some(Arc::clone(field)));
                (Column::from_name(name), Expr::Placeholder(placeholder))
            })
            .collect();
        for expr in exprs {
            let used = std::mem::take(expr).transform_up(|e| match &e {
                Expr::Column(c) => match answers.iter().find(|(column, _)| column == c) {
                    Some((_, answer)) => Ok(Transformed::yes(answer.clone())),
                    None => Ok(Transformed::no(e)),
                },
                _ => Ok(Transformed::no(e)),
            })?;
            *expr = used.data;
        }
        let ids = names.iter().map(|name| format!("${name}")).collect();
        Ok(Asked::new(self.ctx.engine.optimize(plan)?, ids))
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
