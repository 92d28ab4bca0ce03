//! One row that a query has found, looked at again.
//!
//! Between the time at which a row is found and the time at which it is locked it may change. Then the query is asked once more
//! of that row alone: of the same plan, but with a row of given values in the place of each relation. PostgreSQL calls
//! this `EvalPlanQual`.

use super::scope::NsItem;
use crate::error::SqlError;
use crate::exec::apply::Apply;
use crate::exec::lock_rows::RowValue;
use crate::exec::params::apply_of;
use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, Operator, Projection, binary_expr,
};
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
    pub fn of<'a>(
        plan: &LogicalPlan,
        relations: impl Iterator<Item = &'a NsItem> + Clone,
    ) -> Result<Recheck, SqlError> {
        let columns = |item: &NsItem| item.columns.iter().map(|c| c.column.clone()).collect();
        let presence = |item: &NsItem| {
            let table = item.table.as_ref()?;
            let first = table.primary.columns.first().and_then(|c| table.position(c.column))?;
            Some(item.columns.get(first)?.column.clone())
        };
        let mut maker = Maker {
            relations: relations.clone().map(columns).collect(),
            presence: relations.filter_map(presence).collect(),
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
                Some(apply) if apply.kind.is_lateral() => return self.lateral_again(apply),
                Some(apply) => vec![self.again(&apply.input)?],
            },
        };
        let exprs = plan.expressions();
        self.needed.extend(exprs.iter().flat_map(Expr::column_refs).cloned());
        Ok(plan.with_new_exprs(exprs, inputs)?)
    }

    /// What a lateral subquery gives for the row as it is now; of that, the row that was found beside it.
    fn lateral_again(&mut self, apply: &Apply) -> Result<LogicalPlan, SqlError> {
        let input = self.again(&apply.input)?;
        let mut inner = LogicalPlanBuilder::from(LogicalPlan::clone(&apply.inner));
        for (name, (relation, field)) in apply.names.iter().zip(apply.inner.schema().iter()) {
            let column = Column::new(relation.cloned(), field.name());
            // Of these there is no comparison.
            if !field.data_type().is_nested() {
                self.needed.insert(Column::from_name(name));
                let found = self.value_of(Column::from_name(name), field);
                inner =
                    inner.filter(binary_expr(Expr::Column(column), Operator::IsNotDistinctFrom, found))?;
            }
        }
        let inner = Arc::new(inner.limit(0, Some(1))?.build()?);
        self.needed.extend(apply.params.iter().flat_map(|(_, e)| e.column_refs()).cloned());
        let (params, names) = (apply.params.clone(), apply.names.clone());
        let again = Apply::try_new(apply.id, Arc::new(input), inner, params, None, apply.kind, names)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(again) }))
    }

    /// A given value.
    fn value_of(&mut self, column: Column, field: &Field) -> Expr {
        let id = format!("$row.{}", column.flat_name());
        // What nobody needs is left NULL.
        let nullable = Arc::new(field.clone().with_nullable(true));
        self.row.push(RowValue { id: id.clone(), column, ty: field.data_type().clone() });
        Expr::Placeholder(Placeholder::new_with_field(id, Some(nullable)))
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
            let value = self.value_of(column.clone(), field);
            values.push(value.alias_qualified(relation.cloned(), field.name()));
            if self.presence.contains(&column) {
                present = Some(Expr::Column(column.clone()).is_not_null());
                self.needed.insert(column);
            }
        }
        let row = Projection::try_new(values, Arc::new(super::from::one_row()))?;
        let row = LogicalPlanBuilder::from(LogicalPlan::Projection(row));
        Ok(match present {
            Some(present) => row.filter(present)?.build()?,
            None => row.build()?,
        })
    }
}
