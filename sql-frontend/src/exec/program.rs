//! Expressions over one row, evaluated without a plan: `DEFAULT`, `CHECK`, `RETURNING`, `ON CONFLICT`, `VALUES`.

use super::memory::sql_error;
use super::{Answers, ExecContext, engine, params};
use crate::bind::OutColumn;
use crate::error::SqlError;
use crate::types::{Datum, PgType, datum_at, to_array};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::{Arc, OnceLock};

/// Bound expressions over the columns of one input row. Immutable, to be cached with the statement.
#[derive(Clone, Debug)]
pub struct RowProgram {
    /// The input row.
    pub input: Vec<PgType>,
    /// One for each expression.
    pub columns: Vec<OutColumn>,
    /// Of the statement.
    pub param_types: Vec<PgType>,
    schema: Arc<DFSchema>,
    exprs: Vec<Expr>,
    /// Whether any expression holds placeholders; if not, `compiled` serves all executions.
    placeholders: bool,
    compiled: Arc<OnceLock<Vec<Arc<dyn PhysicalExpr>>>>,
}

impl RowProgram {
    /// `schema` describes the input in the order of `input`; the expressions name its columns.
    pub(crate) fn new(
        schema: Arc<DFSchema>,
        input: Vec<PgType>,
        exprs: Vec<Expr>,
        columns: Vec<OutColumn>,
        param_types: Vec<PgType>,
    ) -> Result<Self, SqlError> {
        let mut placeholders = false;
        for expr in &exprs {
            use datafusion::common::tree_node::TreeNode;
            placeholders |= expr.exists(|e| Ok(matches!(e, Expr::Placeholder(_)))).map_err(sql_error)?;
        }
        Ok(RowProgram { input, columns, param_types, schema, exprs, placeholders, compiled: Arc::default() })
    }

    /// Arrow schema of the input row.
    pub fn input_schema(&self) -> SchemaRef {
        Arc::clone(self.schema.inner())
    }

    /// Makes it executable with the statement's parameters; the result serves any number of rows of one execution.
    pub fn compile(&self, params: &[Datum], ctx: &ExecContext) -> Result<Compiled, SqlError> {
        self.compile_answered(params, &vec![], ctx)
    }

    /// The same with what the statement has asked.
    pub fn compile_answered(
        &self,
        params: &[Datum],
        answers: &Answers,
        ctx: &ExecContext,
    ) -> Result<Compiled, SqlError> {
        engine::check_params(&self.param_types, params)?;
        if let Some(exprs) = self.compiled.get() {
            return Ok(self.with(exprs.clone()));
        }
        let given = engine::statement_values(&self.param_types, params, ctx);
        let value = |id: &str| match answers.iter().find(|(asked, _)| asked == id) {
            Some((_, answer)) => Some(answer.clone()),
            None => given(id),
        };
        let mut exprs = Vec::with_capacity(self.exprs.len());
        for expr in &self.exprs {
            let bound = params::substitute_expr(expr.clone(), &value).map_err(sql_error)?.data;
            exprs.push(physical_expr(&bound, &self.schema, ctx.engine.props()).map_err(sql_error)?);
        }
        if !self.placeholders {
            // Another thread may have been faster; both are equal.
            let _ = self.compiled.set(exprs.clone());
        }
        Ok(self.with(exprs))
    }

    fn with(&self, exprs: Vec<Arc<dyn PhysicalExpr>>) -> Compiled {
        Compiled {
            input: self.input.clone(),
            output: self.columns.iter().map(|c| c.ty).collect(),
            schema: self.input_schema(),
            exprs,
        }
    }

    /// Evaluates on one row: [`RowProgram::compile`] and [`Compiled::row`] in one.
    pub fn evaluate(
        &self,
        row: &[Datum],
        params: &[Datum],
        ctx: &ExecContext,
    ) -> Result<Vec<Datum>, SqlError> {
        self.compile(params, ctx)?.row(row)
    }
}

/// Expressions ready to run.
#[derive(Clone, Debug)]
pub struct Compiled {
    input: Vec<PgType>,
    output: Vec<PgType>,
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Compiled {
    /// One row in, one row out.
    pub fn row(&self, row: &[Datum]) -> Result<Vec<Datum>, SqlError> {
        let mut rows = self.rows(std::slice::from_ref(&row))?;
        rows.pop().ok_or_else(|| SqlError::internal("one row was expected"))
    }

    /// Several rows.
    pub fn rows<R: AsRef<[Datum]>>(&self, rows: &[R]) -> Result<Vec<Vec<Datum>>, SqlError> {
        let batch = self.input_batch(rows)?;
        let columns = self.columns(&batch).map_err(sql_error)?;
        let mut out = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            out.push(
                columns
                    .iter()
                    .zip(&self.output)
                    .map(|(c, ty)| datum_at(c, row, *ty))
                    .collect::<Result<_, _>>()?,
            );
        }
        Ok(out)
    }

    /// A batch of the input's schema, evaluated; one array for each expression.
    pub fn columns(&self, batch: &RecordBatch) -> DfResult<Vec<ArrayRef>> {
        self.exprs.iter().map(|e| e.evaluate(batch)?.into_array(batch.num_rows())).collect()
    }

    /// A batch of the output's types, named by position.
    pub fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
        let columns = self.columns(batch).map_err(sql_error)?;
        let fields: Vec<Field> = self
            .output
            .iter()
            .enumerate()
            .map(|(i, ty)| Field::new(i.to_string(), ty.arrow(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    /// The input batch of rows of datums.
    pub fn input_batch<R: AsRef<[Datum]>>(&self, rows: &[R]) -> Result<RecordBatch, SqlError> {
        let columns = self
            .input
            .iter()
            .enumerate()
            .map(|(i, ty)| to_array(rows.iter().map(|r| &r.as_ref()[i]), *ty))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// A physical expression for an expression that already has its final types.
pub(crate) fn physical_expr(
    expr: &Expr,
    schema: &DFSchema,
    props: &ExecutionProps,
) -> DfResult<Arc<dyn PhysicalExpr>> {
    create_physical_expr(expr, schema, props, &PhysicalPlanningContext::default())
}

/// The value of an expression without columns and placeholders.
pub(crate) fn constant(expr: &Expr, props: &ExecutionProps) -> DfResult<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Ok(value.clone());
    }
    let physical = physical_expr(expr, &DFSchema::empty(), props)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let array = physical.evaluate(&batch)?.into_array(1)?;
    ScalarValue::try_from_array(&array, 0)
}

/// What an expression compares: without the key around it (see [`crate::func::key`]).
pub(crate) fn unkey(expr: &Expr) -> &Expr {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "key" => match &call.args[..] {
            [inner] => inner,
            _ => expr,
        },
        other => other,
    }
}
