//! One value, owned.

use super::{InputContext, Numeric, PgType, TimeZone};
use crate::Result;

/// An interval as PostgreSQL keeps it: three parts that do not carry into each other by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

/// One value of any type. Several types share a shape: which type it is, the one who holds it knows.
///
/// `PartialEq` is equality of looks (`1.0` is not `1.00`, NaN is NaN); the order and equality of SQL are [`Datum::compare`].
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    Numeric(Numeric),
    /// text, varchar, bpchar (padded), name, "char", unknown.
    Text(String),
    Bytea(Vec<u8>),
    Uuid([u8; 16]),
    /// Days since 1970-01-01; `i32::MIN` and `i32::MAX` are the infinities.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamptz(i64),
    Interval(Interval),
    /// oid, regclass, regtype, regproc.
    Oid(u32),
    /// The elements of an array.
    Array(Vec<Datum>),
}

impl Datum {
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        let behind = match self {
            Datum::Text(text) => text.capacity(),
            Datum::Bytea(bytes) => bytes.capacity(),
            Datum::Numeric(numeric) => numeric.size(),
            Datum::Array(items) => items.iter().map(Datum::size).sum(),
            _ => 0,
        };
        size_of::<Datum>() + behind
    }

    /// The type's input function, then its length check for an assignment (22001, 22003). Words that need the time, such as `now`
    /// and `today`, are refused: [`Datum::input`] reads them.
    ///
    /// For the literal of an explicit cast to a type with a modifier (`'abcdef'::varchar(3)`) read with typmod −1 and
    /// apply [`crate::func::cast`] from the type to itself with the modifier, explicit: that cuts instead of refusing.
    pub fn from_text(ty: PgType, text: &str, typmod: i32, zone: &TimeZone) -> Result<Datum> {
        super::text::input(ty, text, typmod, &InputContext { zone: *zone, now: None })
    }

    /// [`Datum::from_text`] with everything that input may depend on.
    pub fn input(ty: PgType, text: &str, typmod: i32, context: &InputContext) -> Result<Datum> {
        super::text::input(ty, text, typmod, context)
    }

    /// The type's output function, appended to `out`. A null writes nothing.
    pub fn write_text(&self, ty: PgType, zone: &TimeZone, out: &mut String) {
        super::text::output(self, ty, zone, out)
    }

    /// The type's output function; an empty string for null.
    pub fn to_text(&self, ty: PgType, zone: &TimeZone) -> String {
        let mut out = String::new();
        self.write_text(ty, zone, &mut out);
        out
    }

    /// The type's binary receive function, then its length check.
    pub fn from_binary(ty: PgType, bytes: &[u8], typmod: i32) -> Result<Datum> {
        super::binary::receive(ty, bytes, typmod)
    }

    /// The type's binary send function, appended to `out`. A null writes nothing.
    pub fn write_binary(&self, ty: PgType, out: &mut Vec<u8>) {
        super::binary::send(self, ty, out)
    }

    /// The order of SQL within one type (the collation is "C"): `None` when either is null. NaN equals itself and is
    /// greater than all else.
    pub fn compare(&self, other: &Datum, ty: PgType) -> Option<std::cmp::Ordering> {
        super::order::compare(self, other, ty)
    }
}

impl From<bool> for Datum {
    fn from(v: bool) -> Self {
        Datum::Bool(v)
    }
}
impl From<i32> for Datum {
    fn from(v: i32) -> Self {
        Datum::Int4(v)
    }
}
impl From<i64> for Datum {
    fn from(v: i64) -> Self {
        Datum::Int8(v)
    }
}
impl From<&str> for Datum {
    fn from(v: &str) -> Self {
        Datum::Text(v.to_string())
    }
}
impl From<String> for Datum {
    fn from(v: String) -> Self {
        Datum::Text(v)
    }
}
impl From<Numeric> for Datum {
    fn from(v: Numeric) -> Self {
        Datum::Numeric(v)
    }
}
impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(v: Option<T>) -> Self {
        v.map_or(Datum::Null, Into::into)
    }
}
