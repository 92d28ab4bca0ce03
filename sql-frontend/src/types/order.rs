//! SQL's order of values. The collation is "C": bytes of UTF-8.

use super::{Datum, PgType};
use std::cmp::Ordering;

/// NaN is one value, greater than all others; the zeros are one value.
pub(crate) fn compare_f64(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

pub(super) fn compare(a: &Datum, b: &Datum, ty: PgType) -> Option<Ordering> {
    Some(match (a, b) {
        (Datum::Null, _) | (_, Datum::Null) => return None,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Int4(a), Datum::Int4(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) => a.cmp(b),
        (Datum::Float4(a), Datum::Float4(b)) => compare_f64(f64::from(*a), f64::from(*b)),
        (Datum::Float8(a), Datum::Float8(b)) => compare_f64(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.compare(b),
        (Datum::Text(a), Datum::Text(b)) if ty == PgType::Bpchar => {
            a.trim_end_matches(' ').cmp(b.trim_end_matches(' '))
        }
        (Datum::Text(a), Datum::Text(b)) => a.cmp(b),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Time(a), Datum::Time(b)) => a.cmp(b),
        (Datum::Timestamp(a), Datum::Timestamp(b)) => a.cmp(b),
        (Datum::Timestamptz(a), Datum::Timestamptz(b)) => a.cmp(b),
        (Datum::Interval(a), Datum::Interval(b)) => a.compare(b),
        (Datum::Oid(a), Datum::Oid(b)) => a.cmp(b),
        (Datum::Array(a), Datum::Array(b)) => compare_arrays(a, b, ty),
        // Two shapes under one type: whoever built them broke the contract; keep a total order all the same.
        (a, b) => format!("{a:?}").cmp(&format!("{b:?}")),
    })
}

/// Element by element; a null is greater than what is not, a longer array greater than its beginning.
fn compare_arrays(a: &[Datum], b: &[Datum], ty: PgType) -> Ordering {
    let element = ty.element().unwrap_or(PgType::Text);
    for (a, b) in a.iter().zip(b) {
        let order = compare(a, b, element).unwrap_or_else(|| a.is_null().cmp(&b.is_null()));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}
