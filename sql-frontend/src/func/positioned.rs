//! `lag`, `lead`, `nth_value` and `ntile` whose number is looked at row by row, as PostgreSQL does. DataFusion's take literals
//! only, and no error from them; where those are enough, they need less than the whole partition at a time.

use crate::{SqlError, SqlState};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, UInt64Array};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use std::ops::Range;
use std::sync::Arc;

/// Arguments: the value (any type; `Ntile` has none), the number (`Int32`), the default (the value's type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Positioned {
    Lag,
    Lead,
    NthValue,
    Ntile,
}

impl Positioned {
    pub(crate) fn udwf(self) -> Arc<WindowUDF> {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Arc::new(WindowUDF::new_from_impl(Function { kind: self, signature }))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Positioned,
    signature: Signature,
}

impl WindowUDFImpl for Function {
    fn name(&self) -> &str {
        match self.kind {
            Positioned::Lag => "lag",
            Positioned::Lead => "lead",
            Positioned::NthValue => "nth_value",
            Positioned::Ntile => "ntile",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs<'_>,
    ) -> DfResult<Box<dyn PartitionEvaluator>> {
        Ok(match self.kind {
            Positioned::Lag => Box::new(Shift { forwards: false }),
            Positioned::Lead => Box::new(Shift { forwards: true }),
            Positioned::NthValue => Box::new(NthValue { row: 0 }),
            Positioned::Ntile => Box::new(Ntile),
        })
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> DfResult<FieldRef> {
        let ty = match args.input_fields() {
            [value, ..] if self.kind != Positioned::Ntile => value.data_type().clone(),
            _ => DataType::Int32,
        };
        Ok(Arc::new(Field::new(args.name(), ty, true)))
    }
}

#[derive(Debug)]
struct Shift {
    forwards: bool,
}

impl Shift {
    /// The row that `offset` leads to from `row` in a partition of `rows`.
    fn target(&self, row: usize, offset: i32, rows: usize) -> Option<u64> {
        let offset = if self.forwards { i64::from(offset) } else { -i64::from(offset) };
        let at = u64::try_from(row as i64 + offset).ok()?;
        (at < rows as u64).then_some(at)
    }
}

impl PartitionEvaluator for Shift {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        let offsets = values[1].as_primitive::<Int32Type>();
        let targets: UInt64Array = (0..rows)
            .map(|row| offsets.is_valid(row).then(|| self.target(row, offsets.value(row), rows))?)
            .collect();
        let found = take(&values[0], &targets, None)?;
        let Some(default) = values.get(2) else { return Ok(found) };
        // Only who looks beyond the partition gets the default: an offset that is null makes null.
        let beyond: BooleanArray =
            (0..rows).map(|row| Some(offsets.is_valid(row) && targets.is_null(row))).collect();
        Ok(zip(&beyond, default, &found)?)
    }
}

/// Called once for each row of the partition, in their order, with all of its rows.
#[derive(Debug)]
struct NthValue {
    row: usize,
}

impl PartitionEvaluator for NthValue {
    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> DfResult<ScalarValue> {
        let row = self.row;
        self.row += 1;
        let null = || ScalarValue::try_from(values[0].data_type());
        let numbers = values[1].as_primitive::<Int32Type>();
        if numbers.is_null(row) {
            return null();
        }
        let number = positive(numbers.value(row), "nth_value", SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE)?;
        if number > frame.len() {
            return null();
        }
        ScalarValue::try_from_array(&values[0], frame.start + number - 1)
    }

    fn uses_window_frame(&self) -> bool {
        true
    }
}

/// The number counts as it is in the first of the partition's rows where it is not null; those before are in no bucket.
#[derive(Debug)]
struct Ntile;

impl PartitionEvaluator for Ntile {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        let numbers = values[0].as_primitive::<Int32Type>();
        let Some(first) = (0..rows).find(|row| numbers.is_valid(*row)) else {
            return Ok(Arc::new(Int32Array::new_null(rows)));
        };
        let number = numbers.value(first);
        let buckets = positive(number, "ntile", SqlState::INVALID_ARGUMENT_FOR_NTILE)?;
        // The first `larger` buckets have one row more than the others.
        let (size, larger) = (rows / buckets, rows % buckets);
        let in_larger = larger * (size + 1);
        let bucket = |row: usize| {
            let row = row.checked_sub(first)?;
            let before = if row < in_larger { row / (size + 1) } else { larger + (row - in_larger) / size };
            i32::try_from(before + 1).ok()
        };
        Ok(Arc::new((0..rows).map(bucket).collect::<Int32Array>()))
    }
}

fn positive(number: i32, function: &str, state: SqlState) -> Result<usize, SqlError> {
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(SqlError::new(state, format!("argument of {function} must be greater than zero"))),
    }
}
