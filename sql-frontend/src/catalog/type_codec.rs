//! Types in descriptors are kept by OID.

use crate::types::PgType;
use minicbor::{Decoder, Encoder, decode, encode};

pub fn encode<C, W: encode::Write>(
    ty: &PgType,
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    e.u32(ty.oid())?.ok()
}

pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<PgType, decode::Error> {
    PgType::from_oid(d.u32()?).ok_or_else(|| decode::Error::message("unknown type OID in the catalog"))
}
