//! One row that a query has found, looked at again.
//!
//! Between the time at which a row is found and the time at which it is locked it may change. Then the query is asked once more
//! of that row alone: of the same plan, but with a row of given values in the place of each relation. PostgreSQL calls
//! this `EvalPlanQual`.

use super::scope::NsItem;
use crate::error::SqlError;
use crate::exec::apply::ApplyKind;
use crate::exec::lock_rows::RowValue;
use crate::exec::params::apply_of;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use std::collections::BTreeSet;
use std::sync::Arc;

/// See the module.
pub(super) struct Recheck {
    /// Gives the row again, or none. Its columns are those of the plan that found it.
    pub plan: LogicalPlan,
    /// The values it is given.
    pub row: Vec<RowValue>,
    /// Columns whose values decide.
    pub needed: BTreeSet<Column>,
}

impl Recheck {
    /// Of a plan over these relations.
    pub fn of(plan: &LogicalPlan, relations: &[NsItem]) -> Result<Recheck, SqlError> {
        let columns = |item: &NsItem| item.columns.iter().map(|c| c.column.clone()).collect();
        let presence = |item: &NsItem| {
            let table = item.table.as_ref()?;
            let first = table.primary.columns.first().and_then(|c| table.position(c.column))?;
            Some(item.columns.get(first)?.column.clone())
        };
        let mut maker = Maker {
            relations: relations.iter().map(columns).collect(),
            presence: relations.iter().filter_map(presence).collect(),
            row: Vec::new(),
            needed: BTreeSet::new(),
        };
        let plan = maker.again(plan)?;
        Ok(Recheck { plan, row: maker.row, needed: maker.needed })
    }
}

struct Maker {
    relations: Vec<BTreeSet<Column>>,
    /// A column of each table that is NULL only where an outer join has found no row of it.
    presence: BTreeSet<Column>,
    row: Vec<RowValue>,
    needed: BTreeSet<Column>,
}

impl Maker {
    fn again(&mut self, plan: &LogicalPlan) -> Result<LogicalPlan, SqlError> {
        let columns: BTreeSet<Column> = plan.schema().columns().into_iter().collect();
        let inputs = match plan {
            LogicalPlan::Filter(filter) => vec![self.again(&filter.input)?],
            LogicalPlan::Join(join) => {
                let left = self.again(&join.left)?;
                // What a condition asks whether it exists is none of the row's own relations.
                let right = match join.join_type {
                    JoinType::LeftSemi | JoinType::LeftAnti => LogicalPlan::clone(&join.right),
                    _ => self.again(&join.right)?,
                };
                vec![left, right]
            }
            // Columns that `USING` merges.
            LogicalPlan::Projection(projection) if !self.relations.contains(&columns) => {
                vec![self.again(&projection.input)?]
            }
            _ => match apply_of(plan) {
                None => return self.row_of(plan.schema(), &columns),
                Some(apply) if matches!(apply.kind, ApplyKind::LateralInner | ApplyKind::LateralLeft) => {
                    let input = self.again(&apply.input)?;
                    let own = apply.names.iter().map(Column::from_name).collect();
                    let right = self.row_of(plan.schema(), &own)?;
                    return Ok(LogicalPlanBuilder::from(input).cross_join(right)?.build()?);
                }
                Some(apply) => vec![self.again(&apply.input)?],
            },
        };
        let exprs = plan.expressions();
        self.needed.extend(exprs.iter().flat_map(Expr::column_refs).cloned());
        Ok(plan.with_new_exprs(exprs, inputs)?)
    }

    /// A row of given values for these columns.
    fn row_of(&mut self, schema: &DFSchema, columns: &BTreeSet<Column>) -> Result<LogicalPlan, SqlError> {
        let mut values = Vec::with_capacity(columns.len());
        let mut present = None;
        for (relation, field) in schema.iter() {
            let column = Column::new(relation.cloned(), field.name());
            if !columns.contains(&column) {
                continue;
            }
            let id = format!("$row.{}", column.flat_name());
            let value = Expr::Placeholder(Placeholder::new_with_field(id.clone(), Some(Arc::clone(field))));
            values.push(value.alias_qualified(relation.cloned(), field.name()));
            if self.presence.contains(&column) {
                present = Some(Expr::Column(column.clone()).is_not_null());
                self.needed.insert(column.clone());
            }
            self.row.push(RowValue { id, column, ty: field.data_type().clone() });
        }
        let row = Projection::try_new(values, Arc::new(super::from::one_row()))?;
        let row = LogicalPlanBuilder::from(LogicalPlan::Projection(row));
        Ok(match present {
            Some(present) => row.filter(present)?.build()?,
            None => row.build()?,
        })
    }
}
