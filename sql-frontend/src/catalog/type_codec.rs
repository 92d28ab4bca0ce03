//! Types in descriptors: the pair of OID and type modifier that PostgreSQL itself keeps in `pg_attribute`.

use crate::types::PgType;
use minicbor::{Decoder, Encoder, decode, encode};

pub fn encode<C, W: encode::Write>(
    ty: &PgType,
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    e.array(2)?.u32(ty.oid())?.i32(ty.typmod())?.ok()
}

pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<PgType, decode::Error> {
    if d.array()? != Some(2) {
        return Err(decode::Error::message("a type is a pair of OID and modifier"));
    }
    let (oid, typmod) = (d.u32()?, d.i32()?);
    PgType::from_oid(oid, typmod).ok_or_else(|| decode::Error::message("unknown type OID in the catalog"))
}
