//! Types in descriptors are kept by OID.

use crate::types::PgType;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decoder, Encoder};

pub fn encode<C, W: Write>(ty: &PgType, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
    e.u32(ty.oid())?.ok()
}

pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<PgType, DecodeError> {
    PgType::from_oid(d.u32()?).ok_or_else(|| DecodeError::message("unknown type OID in the catalog"))
}
