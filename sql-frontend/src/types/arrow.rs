//! Datums from and to Arrow.

use super::{Datum, PgType, TimeZone};
use crate::Result;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::scalar::ScalarValue;

/// The value in a row of an array that has `ty`'s Arrow shape.
pub fn datum_at(array: &dyn Array, row: usize, ty: PgType) -> Result<Datum> {
    let _ = (array, row, ty);
    todo!()
}

/// An array of `ty`'s Arrow shape.
pub fn to_array<'a>(values: impl IntoIterator<Item = &'a Datum>, ty: PgType) -> Result<ArrayRef> {
    let _ = (values.into_iter().count(), ty);
    todo!()
}

/// DataFusion's literal; nulls are typed.
pub fn to_scalar(value: &Datum, ty: PgType) -> ScalarValue {
    let _ = (value, ty);
    todo!()
}

pub fn from_scalar(value: &ScalarValue, ty: PgType) -> Result<Datum> {
    let _ = (value, ty);
    todo!()
}

/// Appends a row's text form straight from the array; false (and nothing written) for null.
pub fn write_text_at(
    array: &dyn Array,
    row: usize,
    ty: PgType,
    zone: &TimeZone,
    out: &mut String,
) -> Result<bool> {
    let _ = (array, row, ty, zone, out);
    todo!()
}

/// Appends a row's binary form straight from the array; false (and nothing written) for null.
pub fn write_binary_at(array: &dyn Array, row: usize, ty: PgType, out: &mut Vec<u8>) -> Result<bool> {
    let _ = (array, row, ty, out);
    todo!()
}
