//! Datums from and to Arrow.

use super::text::{interval_of, write_bytea, write_oid, write_uuid};
use super::{Datum, Interval, Numeric, PgType, TimeZone, binary, datetime, float};
use crate::{Result, SqlError};
use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::*;
use datafusion::scalar::ScalarValue;
use std::fmt::Write;
use std::sync::Arc;

fn of<A: Array + 'static>(array: &dyn Array, ty: PgType) -> Result<&A> {
    array.as_any().downcast_ref::<A>().ok_or_else(|| {
        SqlError::internal(format!("a column of type {ty} came as Arrow {}", array.data_type()))
    })
}

/// The value in a row of an array that has `ty`'s Arrow shape; XX000 when it has another.
pub fn datum_at(array: &dyn Array, row: usize, ty: PgType) -> Result<Datum> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(Datum::Null);
    }
    Ok(match ty {
        PgType::Bool => Datum::Bool(of::<BooleanArray>(array, ty)?.value(row)),
        PgType::Int2 => Datum::Int2(of::<Int16Array>(array, ty)?.value(row)),
        PgType::Int4 => Datum::Int4(of::<Int32Array>(array, ty)?.value(row)),
        PgType::Int8 => Datum::Int8(of::<Int64Array>(array, ty)?.value(row)),
        PgType::Float4 => Datum::Float4(of::<Float32Array>(array, ty)?.value(row)),
        PgType::Float8 => Datum::Float8(of::<Float64Array>(array, ty)?.value(row)),
        PgType::Numeric => Datum::Numeric(Numeric::decode(bytes_at(array, row, ty)?)?),
        PgType::Bytea => Datum::Bytea(bytes_at(array, row, ty)?.to_vec()),
        PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => {
            Datum::Array(super::array::decode(ty, bytes_at(array, row, ty)?)?)
        }
        PgType::Text
        | PgType::Varchar
        | PgType::Bpchar
        | PgType::Name
        | PgType::Char
        | PgType::Json
        | PgType::Unknown
        | PgType::Void => Datum::Text(str_at(array, row, ty)?.to_string()),
        PgType::Uuid => {
            let raw = of::<FixedSizeBinaryArray>(array, ty)?.value(row);
            Datum::Uuid(raw.try_into().map_err(|_| SqlError::internal("a uuid of wrong length"))?)
        }
        PgType::Date => Datum::Date(of::<Date32Array>(array, ty)?.value(row)),
        PgType::Time => Datum::Time(of::<Time64MicrosecondArray>(array, ty)?.value(row)),
        PgType::Timestamp => Datum::Timestamp(of::<TimestampMicrosecondArray>(array, ty)?.value(row)),
        PgType::Timestamptz => Datum::Timestamptz(of::<TimestampMicrosecondArray>(array, ty)?.value(row)),
        PgType::Interval => {
            let v = of::<IntervalMonthDayNanoArray>(array, ty)?.value(row);
            Datum::Interval(interval_of(v.months, v.days, v.nanoseconds))
        }
        PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => {
            Datum::Oid(of::<UInt32Array>(array, ty)?.value(row))
        }
    })
}

/// DataFusion's optimizer and operators may turn Utf8 and Binary into their view and large forms.
pub(crate) fn str_at(array: &dyn Array, row: usize, ty: PgType) -> Result<&str> {
    match array.data_type() {
        DataType::Utf8View => Ok(of::<StringViewArray>(array, ty)?.value(row)),
        DataType::LargeUtf8 => Ok(of::<LargeStringArray>(array, ty)?.value(row)),
        _ => Ok(of::<StringArray>(array, ty)?.value(row)),
    }
}

pub(crate) fn bytes_at(array: &dyn Array, row: usize, ty: PgType) -> Result<&[u8]> {
    match array.data_type() {
        DataType::BinaryView => Ok(of::<BinaryViewArray>(array, ty)?.value(row)),
        DataType::LargeBinary => Ok(of::<LargeBinaryArray>(array, ty)?.value(row)),
        _ => Ok(of::<BinaryArray>(array, ty)?.value(row)),
    }
}

/// Arrow's value of an interval.
pub(crate) fn interval_native(v: &Interval) -> IntervalMonthDayNano {
    IntervalMonthDayNano::new(v.months, v.days, v.micros.saturating_mul(1000))
}

/// Reverses [`interval_native`].
pub(crate) fn interval_from_native(v: IntervalMonthDayNano) -> Interval {
    interval_of(v.months, v.days, v.nanoseconds)
}

/// An array of `ty`'s Arrow shape. XX000 for a datum of another shape.
pub fn to_array<'a>(values: impl IntoIterator<Item = &'a Datum>, ty: PgType) -> Result<ArrayRef> {
    let mut wrong = None;
    macro_rules! collect {
        ($array:ty, $variant:ident) => {
            collect!($array, $variant, Clone::clone)
        };
        ($array:ty, $variant:ident, $get:expr) => {
            Arc::new(
                values
                    .into_iter()
                    .map(|datum| match datum {
                        Datum::Null => None,
                        #[allow(clippy::redundant_closure_call)]
                        Datum::$variant(v) => Some($get(v)),
                        other => {
                            wrong.get_or_insert_with(|| format!("{other:?} is not a value of type {ty}"));
                            None
                        }
                    })
                    .collect::<$array>(),
            ) as ArrayRef
        };
    }
    let array = match ty {
        PgType::Bool => collect!(BooleanArray, Bool),
        PgType::Int2 => collect!(Int16Array, Int2),
        PgType::Int4 => collect!(Int32Array, Int4),
        PgType::Int8 => collect!(Int64Array, Int8),
        PgType::Float4 => collect!(Float32Array, Float4),
        PgType::Float8 => collect!(Float64Array, Float8),
        PgType::Numeric => collect!(BinaryArray, Numeric, |v: &Numeric| v.encode()),
        PgType::Text
        | PgType::Varchar
        | PgType::Bpchar
        | PgType::Name
        | PgType::Char
        | PgType::Json
        | PgType::Unknown
        | PgType::Void => collect!(StringArray, Text, |v: &'a String| v.as_str()),
        PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => {
            collect!(BinaryArray, Array, |v: &'a Vec<Datum>| super::array::encode(v))
        }
        PgType::Bytea => collect!(BinaryArray, Bytea, |v: &'a Vec<u8>| v.as_slice()),
        PgType::Uuid => {
            let mut builder = FixedSizeBinaryBuilder::new(16);
            for datum in values {
                match datum {
                    Datum::Uuid(v) => builder.append_value(v)?,
                    Datum::Null => builder.append_null(),
                    other => {
                        wrong.get_or_insert_with(|| format!("{other:?} is not a value of type {ty}"));
                        builder.append_null();
                    }
                }
            }
            Arc::new(builder.finish())
        }
        PgType::Date => collect!(Date32Array, Date),
        PgType::Time => collect!(Time64MicrosecondArray, Time),
        PgType::Timestamp => collect!(TimestampMicrosecondArray, Timestamp),
        PgType::Timestamptz => {
            let plain = collect!(TimestampMicrosecondArray, Timestamptz);
            let plain = plain.as_primitive::<TimestampMicrosecondType>().clone();
            Arc::new(plain.with_data_type(ty.arrow()))
        }
        PgType::Interval => collect!(IntervalMonthDayNanoArray, Interval, |v: &Interval| interval_native(v)),
        PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => collect!(UInt32Array, Oid),
    };
    match wrong {
        Some(message) => Err(SqlError::internal(message)),
        None => Ok(array),
    }
}

/// DataFusion's literal; nulls are typed. A datum of another shape than `ty`'s becomes the literal of its own shape.
pub fn to_scalar(value: &Datum, ty: PgType) -> ScalarValue {
    match value {
        Datum::Null => ScalarValue::try_new_null(&ty.arrow()).unwrap_or(ScalarValue::Null),
        Datum::Bool(v) => ScalarValue::Boolean(Some(*v)),
        Datum::Int2(v) => ScalarValue::Int16(Some(*v)),
        Datum::Int4(v) => ScalarValue::Int32(Some(*v)),
        Datum::Int8(v) => ScalarValue::Int64(Some(*v)),
        Datum::Float4(v) => ScalarValue::Float32(Some(*v)),
        Datum::Float8(v) => ScalarValue::Float64(Some(*v)),
        Datum::Numeric(v) => ScalarValue::Binary(Some(v.encode())),
        Datum::Text(v) => ScalarValue::Utf8(Some(v.clone())),
        Datum::Bytea(v) => ScalarValue::Binary(Some(v.clone())),
        Datum::Uuid(v) => ScalarValue::FixedSizeBinary(16, Some(v.to_vec())),
        Datum::Date(v) => ScalarValue::Date32(Some(*v)),
        Datum::Time(v) => ScalarValue::Time64Microsecond(Some(*v)),
        Datum::Timestamp(v) => ScalarValue::TimestampMicrosecond(Some(*v), None),
        Datum::Timestamptz(v) => ScalarValue::TimestampMicrosecond(Some(*v), Some("UTC".into())),
        Datum::Interval(v) => ScalarValue::IntervalMonthDayNano(Some(interval_native(v))),
        Datum::Oid(v) => ScalarValue::UInt32(Some(*v)),
        Datum::Array(v) => ScalarValue::Binary(Some(super::array::encode(v))),
    }
}

pub fn from_scalar(value: &ScalarValue, ty: PgType) -> Result<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    datum_at(value.to_array().map_err(SqlError::from)?.as_ref(), 0, ty)
}

/// Appends a row's text form straight from the array; false (and nothing written) for null.
pub fn write_text_at(
    array: &dyn Array,
    row: usize,
    ty: PgType,
    zone: &TimeZone,
    out: &mut String,
) -> Result<bool> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(false);
    }
    match ty {
        PgType::Int4 => drop(write!(out, "{}", of::<Int32Array>(array, ty)?.value(row))),
        PgType::Int8 => drop(write!(out, "{}", of::<Int64Array>(array, ty)?.value(row))),
        PgType::Float8 => float::write_f64(of::<Float64Array>(array, ty)?.value(row), out),
        PgType::Bytea => write_bytea(bytes_at(array, row, ty)?, out),
        PgType::Uuid => write_uuid(of::<FixedSizeBinaryArray>(array, ty)?.value(row), out),
        PgType::Text
        | PgType::Varchar
        | PgType::Bpchar
        | PgType::Name
        | PgType::Char
        | PgType::Json
        | PgType::Unknown
        | PgType::Void => out.push_str(str_at(array, row, ty)?),
        PgType::Timestamp => {
            datetime::write_timestamp(of::<TimestampMicrosecondArray>(array, ty)?.value(row), None, out);
        }
        PgType::Timestamptz => {
            datetime::write_timestamp(
                of::<TimestampMicrosecondArray>(array, ty)?.value(row),
                Some(zone),
                out,
            );
        }
        PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => {
            write_oid(of::<UInt32Array>(array, ty)?.value(row), ty, out);
        }
        _ => datum_at(array, row, ty)?.write_text(ty, zone, out),
    }
    Ok(true)
}

/// Appends a row's binary form straight from the array; false (and nothing written) for null.
pub fn write_binary_at(array: &dyn Array, row: usize, ty: PgType, out: &mut Vec<u8>) -> Result<bool> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(false);
    }
    match ty {
        PgType::Bytea => out.extend_from_slice(bytes_at(array, row, ty)?),
        PgType::Uuid => out.extend_from_slice(of::<FixedSizeBinaryArray>(array, ty)?.value(row)),
        PgType::Text
        | PgType::Varchar
        | PgType::Bpchar
        | PgType::Name
        | PgType::Json
        | PgType::Unknown
        | PgType::Void => {
            out.extend_from_slice(str_at(array, row, ty)?.as_bytes());
        }
        _ => binary::send(&datum_at(array, row, ty)?, ty, out),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datums_pass_through_arrow() {
        let zone = TimeZone::UTC;
        let samples = [
            (PgType::Bool, "t"),
            (PgType::Int2, "2"),
            (PgType::Int4, "4"),
            (PgType::Int8, "8"),
            (PgType::Float4, "0.25"),
            (PgType::Float8, "-0"),
            (PgType::Numeric, "1.50"),
            (PgType::Text, "x"),
            (PgType::Bytea, "\\x01"),
            (PgType::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            (PgType::Date, "2000-01-01"),
            (PgType::Time, "01:02:03"),
            (PgType::Timestamp, "2000-01-01 00:00:00"),
            (PgType::Timestamptz, "2000-01-01 00:00:00+00"),
            (PgType::Interval, "1 mon 00:00:01"),
            (PgType::Oid, "7"),
        ];
        for (ty, text) in samples {
            let value = Datum::from_text(ty, text, -1, &zone).unwrap();
            let array = to_array([&value, &Datum::Null], ty).unwrap();
            assert_eq!(*array.data_type(), ty.arrow());
            assert_eq!(datum_at(array.as_ref(), 0, ty).unwrap(), value);
            assert!(datum_at(array.as_ref(), 1, ty).unwrap().is_null());
            let scalar = to_scalar(&value, ty);
            assert_eq!(scalar.data_type(), ty.arrow());
            assert_eq!(from_scalar(&scalar, ty).unwrap(), value);
            let mut out = String::new();
            assert!(write_text_at(array.as_ref(), 0, ty, &zone, &mut out).unwrap());
            assert_eq!(out, text);
            assert_eq!(to_scalar(&Datum::Null, ty).data_type(), ty.arrow());
        }
        assert!(to_array([&Datum::Int4(1)], PgType::Text).is_err());
    }
}
