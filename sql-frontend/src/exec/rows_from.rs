//! Functions that return sets, side by side, as a table: `generate_series`, `unnest`, `generate_subscripts`.

use super::leaf::LeafExec;
use super::program::constant;
use super::schema;
use super::series::Steps;
use crate::error::SqlError;
use crate::types::{Datum, PgType, from_scalar, to_array};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, InvariantLevel, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What makes the values of one column, from arguments of these types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetFunction {
    /// Start, stop and step; the step's type is the same, or interval.
    Series { ty: PgType, step: PgType },
    /// The elements of an array of this type.
    Unnest(PgType),
    /// The subscripts of an array of this type in a dimension, and whether backwards.
    Subscripts(PgType),
}

impl SetFunction {
    pub fn name(&self) -> &'static str {
        match self {
            SetFunction::Series { .. } => "generate_series",
            SetFunction::Unnest(_) => "unnest",
            SetFunction::Subscripts(_) => "generate_subscripts",
        }
    }

    pub fn result(&self) -> PgType {
        match self {
            SetFunction::Series { ty, .. } => *ty,
            SetFunction::Unnest(array) => array.element().unwrap_or(PgType::Text),
            SetFunction::Subscripts(_) => PgType::Int4,
        }
    }

    fn argument(&self, at: usize) -> PgType {
        match (self, at) {
            (SetFunction::Series { step, .. }, 2) => *step,
            (SetFunction::Series { ty, .. }, _) => *ty,
            (SetFunction::Unnest(array) | SetFunction::Subscripts(array), 0) => *array,
            (SetFunction::Subscripts(_), 1) => PgType::Int4,
            _ => PgType::Bool,
        }
    }

    fn start(&self, args: Vec<Datum>) -> Result<Source, SqlError> {
        let mut args = args.into_iter();
        let mut next = || args.next().unwrap_or(Datum::Null);
        Ok(match self {
            SetFunction::Series { ty, step } => {
                Source::Series(Steps::new(next(), next(), next(), *ty, *step)?)
            }
            SetFunction::Unnest(_) => match next() {
                Datum::Array(items) => Source::Items(items.into_iter()),
                _ => Source::none(),
            },
            SetFunction::Subscripts(array) => {
                let (items, dimension, back) = (next(), next(), next());
                match (items, dimension) {
                    (Datum::Array(items), Datum::Int4(1)) => {
                        let first = i32::from(!array.is_vector());
                        let all = (first..first + items.len() as i32).map(Datum::Int4);
                        let back = back == Datum::Bool(true);
                        let all: Vec<Datum> = if back { all.rev().collect() } else { all.collect() };
                        Source::Items(all.into_iter())
                    }
                    _ => Source::none(),
                }
            }
        })
    }
}

#[derive(Clone)]
enum Source {
    Series(Steps),
    Items(std::vec::IntoIter<Datum>),
}

impl Source {
    fn none() -> Source {
        Source::Items(Vec::new().into_iter())
    }

    fn take(&mut self) -> Result<Option<Datum>, SqlError> {
        match self {
            Source::Series(steps) => steps.take(),
            Source::Items(items) => Ok(items.next()),
        }
    }
}

/// A logical leaf with a column for each function; a function that ends before others goes on with nulls. The arguments are
/// constants once parameters and outer columns are filled in.
#[derive(Clone, Debug)]
pub struct RowsFrom {
    pub id: u64,
    pub functions: Vec<SetFunction>,
    /// Of all functions, one after the other, and how many each has.
    args: Vec<Expr>,
    counts: Vec<usize>,
    /// A last column counts the rows.
    ordinality: bool,
    schema: DFSchemaRef,
}

impl RowsFrom {
    /// `names` are those of the columns: one for each function, and one more to count the rows.
    pub fn try_new(id: u64, functions: Vec<(SetFunction, Vec<Expr>)>, names: &[String]) -> Result<Self> {
        let ordinality = names.len() > functions.len();
        let types = functions.iter().map(|(f, _)| f.result()).chain([PgType::Int8]);
        let fields =
            names.iter().zip(types).map(|(name, ty)| (None, Arc::new(Field::new(name, ty.arrow(), true))));
        let schema = Arc::new(schema::of_fields(fields.collect())?);
        let counts = functions.iter().map(|(_, args)| args.len()).collect();
        let (functions, args): (Vec<SetFunction>, Vec<Vec<Expr>>) = functions.into_iter().unzip();
        Ok(RowsFrom { id, functions, args: args.concat(), counts, ordinality, schema })
    }
}

impl UserDefinedLogicalNode for RowsFrom {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "RowsFrom"
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
        self.args.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.functions.iter().map(SetFunction::name).collect();
        write!(f, "Function: {}", names.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        args: Vec<Expr>,
        _: Vec<LogicalPlan>,
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        Ok(Arc::new(RowsFrom { args, ..self.clone() }))
    }

    fn dyn_hash(&self, mut state: &mut dyn Hasher) {
        self.id.hash(&mut state);
    }

    fn dyn_eq(&self, other: &dyn UserDefinedLogicalNode) -> bool {
        other.as_any().downcast_ref::<RowsFrom>().is_some_and(|o| self.id == o.id && self.args == o.args)
    }

    fn dyn_ord(&self, other: &dyn UserDefinedLogicalNode) -> Option<Ordering> {
        other.as_any().downcast_ref::<RowsFrom>().and_then(|o| self.id.partial_cmp(&o.id))
    }
}

pub(super) fn plan(node: &RowsFrom, props: &ExecutionProps) -> Result<Arc<dyn ExecutionPlan>> {
    let mut args = node.args.iter();
    let mut sources = Vec::with_capacity(node.functions.len());
    for (function, count) in node.functions.iter().zip(&node.counts) {
        let mut values = Vec::with_capacity(*count);
        for (at, arg) in args.by_ref().take(*count).enumerate() {
            values.push(from_scalar(&constant(arg, props)?, function.argument(at))?);
        }
        sources.push(function.start(values)?);
    }
    let rows = Rows {
        sources,
        types: node.functions.iter().map(SetFunction::result).collect(),
        number: node.ordinality.then_some(0),
        schema: Arc::clone(node.schema.inner()),
    };
    let schema = Arc::clone(&rows.schema);
    let start = move |_| Ok(futures::stream::iter(rows.clone().batches()).boxed());
    let names: Vec<&str> = node.functions.iter().map(SetFunction::name).collect();
    let title = format!("Function Scan on {}", names.join(", "));
    let mut shown: Vec<String> = names.iter().map(ToString::to_string).collect();
    shown.extend(node.ordinality.then(|| "ordinality".to_string()));
    Ok(Arc::new(LeafExec::new(title, schema, Arc::new(start)).calling(shown)))
}

#[derive(Clone)]
struct Rows {
    sources: Vec<Source>,
    types: Vec<PgType>,
    number: Option<i64>,
    schema: SchemaRef,
}

impl Rows {
    /// False at the end.
    fn row(&mut self, columns: &mut [Vec<Datum>]) -> Result<bool, SqlError> {
        let mut any = false;
        let mut row = Vec::with_capacity(self.sources.len());
        for source in &mut self.sources {
            let value = source.take()?;
            any |= value.is_some();
            row.push(value.unwrap_or(Datum::Null));
        }
        if !any {
            return Ok(false);
        }
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
        Ok(true)
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut columns = vec![Vec::new(); self.sources.len()];
        let mut count = 0;
        while count < super::engine::MAX_BATCH_ROWS && self.row(&mut columns)? {
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(columns.len() + 1);
        for (column, ty) in columns.iter().zip(&self.types) {
            arrays.push(to_array(column, *ty)?);
        }
        if let Some(number) = &mut self.number {
            let numbers: Vec<Datum> = (1..=count as i64).map(|i| Datum::Int8(*number + i)).collect();
            *number += count as i64;
            arrays.push(to_array(&numbers, PgType::Int8)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?))
    }

    fn batches(mut self) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let batch = self.batch().transpose();
            failed = matches!(batch, Some(Err(_)));
            batch
        })
    }
}
