//! PostgreSQL's types: identity, text and binary form, and their shape in Arrow.
//!
//! | type | Arrow | note |
//! |---|---|---|
//! | bool, int2/4/8, float4/8 | Boolean, Int16/32/64, Float32/64 | |
//! | numeric | Binary | [`Numeric::encode`]: ordered key, then the display scale |
//! | text, varchar, bpchar, name, "char", json, unknown | Utf8 | bpchar is kept padded, as PostgreSQL keeps it |
//! | bytea | Binary | |
//! | uuid | FixedSizeBinary(16) | |
//! | date | Date32 | `i32::MIN` and `MAX` are the infinities |
//! | timestamp, timestamptz | Timestamp(µs, none or "UTC") | since 1970; `i64::MIN` and `MAX` are the infinities |
//! | time | Time64(µs) | |
//! | interval | Interval(MonthDayNano) | the time part in whole microseconds |
//! | oid, regclass, regtype, regproc | UInt32 | |
//! | arrays, int2vector, oidvector | Binary | `array::encode` |
//!
//! **Equality is not always the equality of these bytes.** `1.0` and `1.00` are one number with two looks, `-0` is `0`,
//! `'a '::char(2)` is `'a'::char(2)`, one month is thirty days. Whoever compares, hashes, sorts, groups, joins,
//! partitions or removes duplicates must do it on [`crate::func::key`] of the expression, which is the expression
//! itself where bytes and equality agree. See [`PgType::has_plain_equality`].

pub(crate) mod array;
pub(crate) mod arrow;
mod binary;
pub mod datetime;
mod datum;
pub(crate) mod float;
pub(crate) mod json;
pub(crate) mod length;
pub(crate) mod numeric;
pub(crate) mod order;
mod pg_type;
pub(crate) mod text;
pub(crate) mod typmod;

pub use arrow::{datum_at, from_scalar, to_array, to_scalar, write_binary_at, write_text_at};
pub use datetime::{InputContext, TimeZone};
pub use datum::{Datum, Interval};
pub use numeric::Numeric;
pub use pg_type::{Category, PgType};
