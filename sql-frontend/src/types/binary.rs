//! Binary send and receive of every type.
use super::{Datum, PgType};
use crate::Result;

pub(super) fn receive(ty: PgType, bytes: &[u8], typmod: i32) -> Result<Datum> {
    let _ = (ty, bytes, typmod);
    todo!()
}

pub(super) fn send(value: &Datum, ty: PgType, out: &mut Vec<u8>) {
    let _ = (value, ty, out);
    todo!()
}
