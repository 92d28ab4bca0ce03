//! SQL's order of values.

use super::{Datum, PgType};
use std::cmp::Ordering;

pub(super) fn compare(a: &Datum, b: &Datum, ty: PgType) -> Option<Ordering> {
    let _ = (a, b, ty);
    todo!()
}
