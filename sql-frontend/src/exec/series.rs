//! `generate_series(start, stop [, step])` as a table.

use super::leaf::LeafExec;
use super::program::constant;
use crate::error::{SqlError, SqlState};
use crate::func::{StatementContext, resolve_binary_operator};
use crate::types::{Datum, Interval, Numeric, PgType, from_scalar, to_array};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, InvariantLevel, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use std::any::Any;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A logical leaf with one column. The arguments are constants once parameters and outer columns are filled in.
#[derive(Clone, Debug)]
pub struct Series {
    pub id: u64,
    /// Start, stop and step.
    pub args: [Expr; 3],
    pub ty: PgType,
    /// Of the step: the same, or interval.
    pub step_ty: PgType,
    schema: DFSchemaRef,
}

impl Series {
    pub fn try_new(id: u64, name: &str, args: [Expr; 3], ty: PgType, step_ty: PgType) -> Result<Self> {
        let field = Arc::new(Field::new(name, ty.arrow(), true));
        let schema = Arc::new(DFSchema::new_with_metadata(vec![(None, field)], HashMap::new())?);
        Ok(Series { id, args, ty, step_ty, schema })
    }
}

impl UserDefinedLogicalNode for Series {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "Series"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn check_invariants(&self, _: InvariantLevel) -> Result<()> {
        Ok(())
    }

    fn expressions(&self) -> Vec<Expr> {
        self.args.to_vec()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [start, stop, step] = &self.args;
        write!(f, "Series: {start} to {stop} by {step}")
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        _: Vec<LogicalPlan>,
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let args = exprs.try_into().map_err(|_| SqlError::internal("a series has three arguments"))?;
        Ok(Arc::new(Series { args, ..self.clone() }))
    }

    fn dyn_hash(&self, mut state: &mut dyn Hasher) {
        self.id.hash(&mut state);
    }

    fn dyn_eq(&self, other: &dyn UserDefinedLogicalNode) -> bool {
        other.as_any().downcast_ref::<Series>().is_some_and(|o| self.id == o.id && self.args == o.args)
    }

    fn dyn_ord(&self, other: &dyn UserDefinedLogicalNode) -> Option<Ordering> {
        other.as_any().downcast_ref::<Series>().and_then(|o| self.id.partial_cmp(&o.id))
    }
}

pub(super) fn plan(series: &Series, props: &ExecutionProps) -> Result<Arc<dyn ExecutionPlan>> {
    let [start, stop, step] = &series.args;
    let value = |e: &Expr, ty| -> Result<Datum> { Ok(from_scalar(&constant(e, props)?, ty)?) };
    let steps = Steps::new(
        value(start, series.ty)?,
        value(stop, series.ty)?,
        value(step, series.step_ty)?,
        series.ty,
        series.step_ty,
    )?;
    let schema = Arc::clone(series.schema.inner());
    let out: SchemaRef = Arc::clone(&schema);
    let start = move |_| {
        let schema = Arc::clone(&out);
        Ok(futures::stream::iter(steps.clone().batches(schema)).boxed())
    };
    Ok(Arc::new(LeafExec::new("Function Scan on generate_series".into(), schema, Arc::new(start))))
}

#[derive(Clone)]
struct Steps {
    next: Option<Datum>,
    stop: Datum,
    step: Datum,
    ty: PgType,
    step_ty: PgType,
    up: bool,
}

impl Steps {
    fn new(start: Datum, stop: Datum, step: Datum, ty: PgType, step_ty: PgType) -> Result<Self, SqlError> {
        let none = start.is_null() || stop.is_null() || step.is_null();
        let zero = match step_ty {
            PgType::Int4 => Datum::Int4(0),
            PgType::Int8 => Datum::Int8(0),
            PgType::Numeric => Datum::Numeric(Numeric::zero()),
            _ => Datum::Interval(Interval::default()),
        };
        let up = match step.compare(&zero, step_ty) {
            Some(Ordering::Equal) => {
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero"));
            }
            Some(Ordering::Less) => false,
            _ => true,
        };
        Ok(Steps { next: (!none).then_some(start), stop, step, ty, step_ty, up })
    }

    fn advance(&self, from: &Datum) -> Result<Option<Datum>, SqlError> {
        match (from, &self.step) {
            // The end of the type ends the series, as in PostgreSQL.
            (Datum::Int4(a), Datum::Int4(b)) => Ok(a.checked_add(*b).map(Datum::Int4)),
            (Datum::Int8(a), Datum::Int8(b)) => Ok(a.checked_add(*b).map(Datum::Int8)),
            _ => {
                let plus = resolve_binary_operator("+", self.ty, self.step_ty)?;
                plus.eval(&[from.clone(), self.step.clone()], &StatementContext::default()).map(Some)
            }
        }
    }

    fn take(&mut self) -> Result<Option<Datum>, SqlError> {
        let Some(value) = self.next.take() else { return Ok(None) };
        let beyond = if self.up { Ordering::Greater } else { Ordering::Less };
        if value.compare(&self.stop, self.ty) == Some(beyond) {
            return Ok(None);
        }
        self.next = self.advance(&value)?;
        Ok(Some(value))
    }

    fn batches(mut self, schema: SchemaRef) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        std::iter::from_fn(move || {
            let mut values = Vec::new();
            while values.len() < super::engine::MAX_BATCH_ROWS {
                match self.take() {
                    Ok(Some(value)) => values.push(value),
                    Ok(None) => break,
                    Err(error) => return Some(Err(error.into())),
                }
            }
            if values.is_empty() {
                return None;
            }
            let batch = to_array(&values, self.ty)
                .map_err(Into::into)
                .and_then(|array| Ok(RecordBatch::try_new(Arc::clone(&schema), vec![array])?));
            Some(batch)
        })
    }
}
