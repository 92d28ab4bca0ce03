//! Row values: `01`, then for each column that is not NULL a tag (`column id << 3 | shape`) and the value.
//!
//! | shape | bytes | types |
//! |---|---|---|
//! | 0 | varint, zigzag | bool, int2/4/8, date, oid |
//! | 1 | 8 | float8, time, timestamp, timestamptz |
//! | 2 | length as varint, then as many | text kinds, bytea, numeric, arrays |
//! | 3 | 4 | float4 |
//! | 4 | 16 | uuid, interval |
//! | 5 | 0 | an explicit NULL, written only where absence means something else ([`missing`]) |
//!
//! The shape lets a reader pass over columns that it does not know (dropped ones, or added after its descriptor).
//!
//! [`missing`]: crate::catalog::ColumnDescriptor::missing

use super::key::malformed;
use crate::{
    error::SqlError,
    types::{Datum, Interval, Numeric, PgType, array},
};

/// First byte of every row value.
pub const FORMAT: u8 = 1;

const VARINT: u32 = 0;
const EIGHT: u32 = 1;
const BYTES: u32 = 2;
const FOUR: u32 = 3;
const SIXTEEN: u32 = 4;
const NULL: u32 = 5;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(input: &mut &[u8]) -> Result<u64, SqlError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or_else(|| malformed("varint cut short"))?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed("varint too long"))
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a column with its tag; NULLs write nothing unless `explicit_null`.
pub fn put_column(out: &mut Vec<u8>, column: u32, datum: &Datum, explicit_null: bool) {
    let tag = |out: &mut Vec<u8>, shape: u32| put_varint(out, u64::from(column) << 3 | u64::from(shape));
    let integer = |out: &mut Vec<u8>, value: i64| {
        tag(out, VARINT);
        put_varint(out, zigzag(value));
    };
    match datum {
        Datum::Null if explicit_null => tag(out, NULL),
        Datum::Null => {}
        Datum::Bool(v) => integer(out, i64::from(*v)),
        Datum::Int2(v) => integer(out, i64::from(*v)),
        Datum::Int4(v) | Datum::Date(v) => integer(out, i64::from(*v)),
        Datum::Int8(v) => integer(out, *v),
        Datum::Oid(v) => integer(out, i64::from(*v)),
        Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => {
            tag(out, EIGHT);
            out.extend_from_slice(&v.to_le_bytes());
        }
        Datum::Float8(v) => {
            tag(out, EIGHT);
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        Datum::Float4(v) => {
            tag(out, FOUR);
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        Datum::Text(v) => put_blob(out, column, v.as_bytes()),
        Datum::Bytea(v) => put_blob(out, column, v),
        Datum::Numeric(v) => put_blob(out, column, &v.encode()),
        Datum::Array(v) => put_blob(out, column, &array::encode(v)),
        Datum::Uuid(v) => {
            tag(out, SIXTEEN);
            out.extend_from_slice(v);
        }
        Datum::Interval(v) => {
            tag(out, SIXTEEN);
            out.extend_from_slice(&v.months.to_le_bytes());
            out.extend_from_slice(&v.days.to_le_bytes());
            out.extend_from_slice(&v.micros.to_le_bytes());
        }
    }
}

fn put_blob(out: &mut Vec<u8>, column: u32, raw: &[u8]) {
    put_varint(out, u64::from(column) << 3 | u64::from(BYTES));
    put_varint(out, raw.len() as u64);
    out.extend_from_slice(raw);
}

/// The bytes of one column, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct RawColumn<'a> {
    pub column: u32,
    shape: u32,
    body: &'a [u8],
}

/// Columns of a row value in the order written; start behind [`FORMAT`].
pub fn next_column<'a>(input: &mut &'a [u8]) -> Result<Option<RawColumn<'a>>, SqlError> {
    if input.is_empty() {
        return Ok(None);
    }
    let tag = take_varint(input)?;
    let column = u32::try_from(tag >> 3).map_err(|_| malformed("column id too large"))?;
    let shape = (tag & 7) as u32;
    let before = *input;
    let length = match shape {
        VARINT => {
            take_varint(input)?;
            let length = before.len() - input.len();
            return Ok(Some(RawColumn { column, shape, body: &before[..length] }));
        }
        EIGHT => 8,
        FOUR => 4,
        SIXTEEN => 16,
        NULL => 0,
        BYTES => usize::try_from(take_varint(input)?).map_err(|_| malformed("length too large"))?,
        _ => return Err(malformed("unknown shape of a column")),
    };
    let (body, rest) = input.split_at_checked(length).ok_or_else(|| malformed("column cut short"))?;
    *input = rest;
    Ok(Some(RawColumn { column, shape, body }))
}

impl RawColumn<'_> {
    /// Reads the bytes as a value of `ty`.
    pub fn read(&self, ty: PgType) -> Result<Datum, SqlError> {
        let wrong = || malformed("a column's shape does not fit its type");
        if self.shape == NULL {
            return Ok(Datum::Null);
        }
        let integer = || -> Result<i64, SqlError> {
            if self.shape != VARINT {
                return Err(wrong());
            }
            take_varint(&mut &self.body[..]).map(unzigzag)
        };
        let eight =
            || -> Result<i64, SqlError> { self.body.try_into().map(i64::from_le_bytes).map_err(|_| wrong()) };
        let blob = || if self.shape == BYTES { Ok(self.body) } else { Err(wrong()) };
        Ok(match ty {
            PgType::Bool => Datum::Bool(integer()? != 0),
            PgType::Int2 => Datum::Int2(integer()?.try_into().map_err(|_| wrong())?),
            PgType::Int4 => Datum::Int4(integer()?.try_into().map_err(|_| wrong())?),
            PgType::Date => Datum::Date(integer()?.try_into().map_err(|_| wrong())?),
            PgType::Int8 => Datum::Int8(integer()?),
            PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => {
                Datum::Oid(integer()?.try_into().map_err(|_| wrong())?)
            }
            PgType::Time => Datum::Time(eight()?),
            PgType::Timestamp => Datum::Timestamp(eight()?),
            PgType::Timestamptz => Datum::Timestamptz(eight()?),
            PgType::Float8 => Datum::Float8(f64::from_bits(eight()? as u64)),
            PgType::Float4 => {
                Datum::Float4(f32::from_bits(u32::from_le_bytes(self.body.try_into().map_err(|_| wrong())?)))
            }
            PgType::Numeric => Datum::Numeric(Numeric::decode(blob()?)?),
            PgType::Bytea => Datum::Bytea(blob()?.to_vec()),
            PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => {
                Datum::Array(array::decode(ty, blob()?)?)
            }
            PgType::Text
            | PgType::Varchar
            | PgType::Bpchar
            | PgType::Name
            | PgType::Char
            | PgType::Json
            | PgType::Unknown
            | PgType::Void => Datum::Text(
                std::str::from_utf8(blob()?).map_err(|_| malformed("text is not UTF-8"))?.to_string(),
            ),
            PgType::Uuid => Datum::Uuid(self.body.try_into().map_err(|_| wrong())?),
            PgType::Interval => {
                let raw: &[u8; 16] = self.body.try_into().map_err(|_| wrong())?;
                let number = |at: usize| i32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
                let (low, high) = (number(8) as u32, number(12));
                Datum::Interval(Interval {
                    months: number(0),
                    days: number(4),
                    micros: i64::from(high) << 32 | i64::from(low),
                })
            }
        })
    }
}

/// The form of [`ColumnDescriptor::missing`](crate::catalog::ColumnDescriptor::missing).
pub fn encode_missing(datum: &Datum) -> Vec<u8> {
    let mut out = Vec::new();
    put_column(&mut out, 0, datum, true);
    out
}

pub fn decode_missing(raw: &[u8], ty: PgType) -> Result<Datum, SqlError> {
    match next_column(&mut &raw[..])? {
        Some(column) => column.read(ty),
        None => Ok(Datum::Null),
    }
}
