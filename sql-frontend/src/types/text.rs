//! Text input and output of every type.
use super::{Datum, PgType, TimeZone};
use crate::Result;

pub(super) fn input(ty: PgType, text: &str, typmod: i32, zone: &TimeZone) -> Result<Datum> {
    let _ = (ty, text, typmod, zone);
    todo!()
}

pub(super) fn output(value: &Datum, ty: PgType, zone: &TimeZone, out: &mut String) {
    let _ = (value, ty, zone, out);
    todo!()
}
