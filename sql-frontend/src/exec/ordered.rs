//! Aggregates with an `ORDER BY` of their own.
//!
//! DataFusion asks for a sorted input only of aggregates that can also run in reverse, and for one order only. Here the order's
//! keys are further arguments: the rows of a group are kept, sorted at the end, and then given to the aggregate proper. So
//! each aggregate of a query may have its own order.

use datafusion::arrow::array::{ArrayRef, UInt32Array};
use datafusion::arrow::compute::{SortColumn, SortOptions, concat, lexsort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `inner` over the first arguments, in the order of the remaining ones.
#[derive(Debug)]
pub(crate) struct Ordered {
    inner: Arc<AggregateUDF>,
    /// For each order key: ascending, NULLs first.
    order: Vec<(bool, bool)>,
    signature: Signature,
}

impl Ordered {
    pub fn udaf(inner: Arc<AggregateUDF>, order: Vec<(bool, bool)>) -> AggregateUDF {
        AggregateUDF::from(Ordered {
            inner,
            order,
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.order == other.order
    }
}

impl Eq for Ordered {}

impl Hash for Ordered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.order.hash(state);
    }
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(&args[..args.len() - self.order.len()])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let width = args.exprs.len() - self.order.len();
        let inner = self.inner.accumulator(AccumulatorArgs {
            exprs: &args.exprs[..width],
            expr_fields: &args.expr_fields[..width],
            ..args
        })?;
        Ok(Box::new(Rows { inner: Some(inner), width, order: self.order.clone(), batches: vec![] }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[ordered]", args.name), DataType::Binary, true))])
    }
}

#[derive(Debug)]
struct Rows {
    inner: Option<Box<dyn Accumulator>>,
    /// Arguments before the order keys.
    width: usize,
    order: Vec<(bool, bool)>,
    batches: Vec<Vec<ArrayRef>>,
}

impl Accumulator for Rows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.batches.push(values.to_vec());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(mut inner) = self.inner.take() else {
            return internal_err!("an ordered aggregate ends once");
        };
        if let Some(first) = self.batches.first() {
            let mut columns = Vec::with_capacity(first.len());
            for at in 0..first.len() {
                let parts: Vec<_> = self.batches.iter().map(|b| b[at].as_ref()).collect();
                columns.push(concat(&parts)?);
            }
            self.batches.clear();
            let rows = self.sorted(&columns)?;
            let sorted = columns[..self.width]
                .iter()
                .map(|c| take(c, &rows, None))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            inner.update_batch(&sorted)?;
        }
        inner.evaluate()
    }

    fn size(&self) -> usize {
        let held: usize = self.batches.iter().flatten().map(|a| a.get_array_memory_size()).sum();
        size_of::<Self>() + held
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("an ordered aggregate runs in one stage")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("an ordered aggregate runs in one stage")
    }
}

impl Rows {
    /// Row numbers in order; equal ones stay as they came.
    fn sorted(&self, columns: &[ArrayRef]) -> Result<UInt32Array> {
        let arrival = UInt32Array::from_iter_values(0..columns[0].len() as u32);
        let mut keys: Vec<SortColumn> = columns[self.width..]
            .iter()
            .zip(&self.order)
            .map(|(values, (asc, nulls_first))| SortColumn {
                values: Arc::clone(values),
                options: Some(SortOptions { descending: !asc, nulls_first: *nulls_first }),
            })
            .collect();
        keys.push(SortColumn { values: Arc::new(arrival), options: None });
        Ok(lexsort_to_indices(&keys, None)?)
    }
}
