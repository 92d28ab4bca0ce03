//! Key columns. Each is `02` for NULL, or `01` and the value in an encoding whose bytes compare as the values do; all of it is
//! complemented in a descending column. So NULLs stand where PostgreSQL sorts them, behind the values.
//!
//! Equal values have equal keys even where they look different (`1.0` and `1.00`, `0` and `-0`, `'a '` and `'a'` as
//! `char(2)`); columns of such types are therefore kept in the row's value too ([`is_exact_in_key`]).

use crate::{
    error::SqlError,
    types::{Datum, Numeric, PgType},
};
use quorate_proto::{Key, Span, key::prefix, ordered};

const VALUE: u8 = 1;
const NULL: u8 = 2;
/// Before each element of an array; a null comes last, and the end before all.
const ARRAY_END: u8 = 0;
const ARRAY_ITEM: u8 = 1;
const ARRAY_NULL: u8 = 2;
const MICROS_PER_DAY: i128 = 86_400_000_000;

/// Length of [`index_prefix`].
pub const PREFIX_LENGTH: usize = 17;

/// What all keys of an index begin with.
pub fn index_prefix(table: u64, index: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.push(prefix::TABLE);
    ordered::put_u64(&mut out, table);
    ordered::put_u64(&mut out, u64::from(index));
    out
}

/// All keys of one index.
pub fn index_span(table: u64, index: u32) -> Span {
    Span::prefix(&index_prefix(table, index).into())
}

/// All keys of all indexes of a table.
pub fn table_span(table: u64) -> Span {
    let mut start = vec![prefix::TABLE];
    ordered::put_u64(&mut start, table);
    Span::prefix(&start.into())
}

/// The table that a key belongs to, or at which its rows begin.
pub fn table_of(key: &[u8]) -> Option<u64> {
    let mut rest = key.strip_prefix(&[prefix::TABLE])?;
    ordered::take_u64(&mut rest).ok()
}

/// Table and index that a key belongs to; `None` for keys that are not of rows.
pub fn split_prefix(key: &[u8]) -> Option<(u64, u32, &[u8])> {
    let mut rest = key.strip_prefix(&[prefix::TABLE])?;
    let table = ordered::take_u64(&mut rest).ok()?;
    let index = ordered::take_u64(&mut rest).ok()?;
    Some((table, u32::try_from(index).ok()?, rest))
}

/// Whether a value of this type can be read back from a key exactly as it was.
pub fn is_exact_in_key(ty: PgType) -> bool {
    ty.has_plain_equality()
}

/// Appends a key column.
pub fn column_to_key(out: &mut Vec<u8>, ty: PgType, datum: &Datum, descending: bool) -> Result<(), SqlError> {
    let start = out.len();
    if datum.is_null() {
        out.push(NULL);
    } else {
        out.push(VALUE);
        put(out, ty, datum)?;
    }
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

/// A value's bytes in the order of its type; not for null.
pub(crate) fn ordered_bytes(ty: PgType, datum: &Datum) -> Result<Vec<u8>, SqlError> {
    let mut out = Vec::new();
    put(&mut out, ty, datum)?;
    Ok(out)
}

fn put(out: &mut Vec<u8>, ty: PgType, datum: &Datum) -> Result<(), SqlError> {
    match datum {
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Int2(v) => ordered::put_i64(out, i64::from(*v)),
        Datum::Int4(v) | Datum::Date(v) => ordered::put_i64(out, i64::from(*v)),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => {
            ordered::put_i64(out, *v)
        }
        Datum::Float4(v) => ordered::put_f64(out, f64::from(*v)),
        Datum::Float8(v) => ordered::put_f64(out, *v),
        Datum::Numeric(v) => v.write_key(out),
        Datum::Text(v) if ty == PgType::Bpchar => ordered::put_bytes(out, v.trim_end_matches(' ').as_bytes()),
        Datum::Text(v) => ordered::put_bytes(out, v.as_bytes()),
        Datum::Bytea(v) => ordered::put_bytes(out, v),
        Datum::Uuid(v) => out.extend_from_slice(v),
        Datum::Oid(v) => ordered::put_i64(out, i64::from(*v)),
        Datum::Interval(v) => {
            let days = i128::from(v.months) * 30 + i128::from(v.days);
            let micros = days * MICROS_PER_DAY + i128::from(v.micros);
            out.extend_from_slice(&((micros as u128) ^ (1 << 127)).to_be_bytes());
        }
        Datum::Array(items) => {
            let element = ty.element().unwrap_or(PgType::Text);
            for item in items {
                if item.is_null() {
                    out.push(ARRAY_NULL);
                } else {
                    out.push(ARRAY_ITEM);
                    put(out, element, item)?;
                }
            }
            out.push(ARRAY_END);
        }
        Datum::Null => return Err(SqlError::internal("NULL has no ordered value")),
    }
    Ok(())
}

/// Takes a key column off `input`.
pub fn column_from_key(input: &mut &[u8], ty: PgType, descending: bool) -> Result<Datum, SqlError> {
    if !descending {
        return take(input, ty);
    }
    let plain: Vec<u8> = input.iter().map(|byte| !byte).collect();
    let mut rest = &plain[..];
    let datum = take(&mut rest, ty)?;
    *input = &input[plain.len() - rest.len()..];
    Ok(datum)
}

fn take(input: &mut &[u8], ty: PgType) -> Result<Datum, SqlError> {
    match take_array::<1>(input)? {
        [NULL] => return Ok(Datum::Null),
        [VALUE] => {}
        _ => return Err(malformed("unknown mark before a key column")),
    }
    take_value(input, ty)
}

fn take_value(input: &mut &[u8], ty: PgType) -> Result<Datum, SqlError> {
    let number = |input: &mut &[u8]| ordered::take_i64(input).map_err(|e| malformed(e.0));
    let narrow = |what: i64| i32::try_from(what).map_err(|_| malformed("integer too large"));
    Ok(match ty {
        PgType::Bool => Datum::Bool(take_array::<1>(input)? != [0]),
        PgType::Int2 => {
            Datum::Int2(i16::try_from(number(input)?).map_err(|_| malformed("smallint too large"))?)
        }
        PgType::Int4 => Datum::Int4(narrow(number(input)?)?),
        PgType::Date => Datum::Date(narrow(number(input)?)?),
        PgType::Int8 => Datum::Int8(number(input)?),
        PgType::Time => Datum::Time(number(input)?),
        PgType::Timestamp => Datum::Timestamp(number(input)?),
        PgType::Timestamptz => Datum::Timestamptz(number(input)?),
        PgType::Float4 => Datum::Float4(ordered::take_f64(input).map_err(|e| malformed(e.0))? as f32),
        PgType::Float8 => Datum::Float8(ordered::take_f64(input).map_err(|e| malformed(e.0))?),
        PgType::Numeric => Datum::Numeric(Numeric::take_key(input, 0)?),
        PgType::Text
        | PgType::Varchar
        | PgType::Bpchar
        | PgType::Name
        | PgType::Char
        | PgType::Json
        | PgType::Unknown
        | PgType::Void => {
            let raw = ordered::take_bytes(input).map_err(|e| malformed(e.0))?;
            Datum::Text(String::from_utf8(raw).map_err(|_| malformed("text is not UTF-8"))?)
        }
        PgType::Bytea => Datum::Bytea(ordered::take_bytes(input).map_err(|e| malformed(e.0))?),
        PgType::Uuid => Datum::Uuid(take_array(input)?),
        PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => {
            Datum::Oid(u32::try_from(number(input)?).map_err(|_| malformed("oid too large"))?)
        }
        PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => {
            let element = ty.element().unwrap_or(PgType::Text);
            let mut items = Vec::new();
            loop {
                items.push(match take_array::<1>(input)? {
                    [ARRAY_END] => return Ok(Datum::Array(items)),
                    [ARRAY_NULL] => Datum::Null,
                    [ARRAY_ITEM] => take_value(input, element)?,
                    _ => return Err(malformed("unknown mark before an element")),
                });
            }
        }
        PgType::Interval => {
            let micros = (u128::from_be_bytes(take_array(input)?) ^ (1 << 127)) as i128;
            let days = micros.div_euclid(MICROS_PER_DAY);
            Datum::Interval(crate::types::Interval {
                months: 0,
                days: i32::try_from(days).map_err(|_| malformed("interval too large"))?,
                micros: micros.rem_euclid(MICROS_PER_DAY) as i64,
            })
        }
    })
}

/// Moves over a key column without reading it.
pub fn skip_column(input: &mut &[u8], ty: PgType, descending: bool) -> Result<(), SqlError> {
    // Fixed widths cover the types that keys are mostly made of.
    let width = match ty {
        PgType::Bool => 1,
        PgType::Uuid | PgType::Interval => 16,
        PgType::Int2
        | PgType::Int4
        | PgType::Int8
        | PgType::Date
        | PgType::Time
        | PgType::Timestamp
        | PgType::Timestamptz
        | PgType::Float4
        | PgType::Float8
        | PgType::Oid
        | PgType::Regclass
        | PgType::Regtype
        | PgType::Regproc => 8,
        _ => return column_from_key(input, ty, descending).map(drop),
    };
    let mark = input.first().copied().ok_or_else(|| malformed("key cut short"))?;
    let null = mark == if descending { !NULL } else { NULL };
    let length = if null { 1 } else { 1 + width };
    *input = input.get(length..).ok_or_else(|| malformed("key cut short"))?;
    Ok(())
}

fn take_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], SqlError> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or_else(|| malformed("key cut short"))?;
    *input = rest;
    Ok(*head)
}

pub(super) fn malformed(what: &str) -> SqlError {
    SqlError::internal(format!("malformed row: {what}"))
}

/// The smallest key above all that begin with these bytes; keys of rows always have one.
pub fn prefix_end(start: &[u8]) -> Option<Key> {
    Key::copy_from(start).prefix_end()
}
