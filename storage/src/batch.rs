//! The write batch: what an evaluated command becomes, and the body of a Raft entry.
//!
//! Encoding (CBOR, compact because every replica stores and sends it): one flat array
//! `[code, key, value?, code, key, …]` with `code = family * 3 + kind`, kind 0 = put (key, value), 1 = delete (key),
//! 2 = delete range (start, end; an absent end is `null`). A put costs 3–5 bytes beyond its key and value.

use crate::engine::{Family, FamilyRange};
use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, data::Type, decode, encode};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOp {
    Put(Family, Bytes, Bytes),
    Delete(Family, Bytes),
    /// All keys of the family in `[start, end)`; no end means to the end of the family.
    DeleteRange(Family, Bytes, Option<Bytes>),
}

/// Operations that take effect together, in order: a later one on the same key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    pub ops: Vec<WriteOp>,
}

impl WriteBatch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push(WriteOp::Put(family, key.into(), value.into()));
    }

    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.ops.push(WriteOp::Delete(family, key.into()));
    }

    pub fn delete_range(&mut self, range: FamilyRange) {
        self.ops.push(WriteOp::DeleteRange(range.family, range.start, range.end));
    }

    /// Appends all of `other` after what is here.
    pub fn extend(&mut self, other: WriteBatch) {
        self.ops.extend(other.ops);
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of keys and values; what limits and rates are measured in.
    pub fn byte_size(&self) -> usize {
        self.ops
            .iter()
            .map(|op| match op {
                WriteOp::Put(_, key, value) => key.len() + value.len(),
                WriteOp::Delete(_, key) => key.len(),
                WriteOp::DeleteRange(_, start, end) => start.len() + end.as_ref().map_or(0, Bytes::len),
            })
            .sum()
    }

    /// Decodes without copying: keys and values share `raw`'s memory, and keep all of it alive.
    pub fn from_bytes(raw: &Bytes) -> Result<Self, decode::Error> {
        Self::decode_with(&mut Decoder::new(raw), |part| raw.slice_ref(part))
    }

    fn decode_with(d: &mut Decoder<'_>, own: impl Fn(&[u8]) -> Bytes) -> Result<Self, decode::Error> {
        let mut left = d.array()?.ok_or_else(|| decode::Error::message("batch of unknown length"))?;
        // An operation takes at least two items of at least one byte each: never trust the length for more.
        let mut ops = Vec::with_capacity((left as usize / 2).min(d.input().len()));
        while left > 0 {
            let code = d.u8()?;
            let family = Family::from_u8(code / 3).ok_or_else(|| decode::Error::message("unknown family"))?;
            let key = own(d.bytes()?);
            let (op, items) = match code % 3 {
                0 => (WriteOp::Put(family, key, own(d.bytes()?)), 3),
                1 => (WriteOp::Delete(family, key), 2),
                _ => {
                    let end = if d.datatype()? == Type::Null {
                        d.null()?;
                        None
                    } else {
                        Some(own(d.bytes()?))
                    };
                    (WriteOp::DeleteRange(family, key, end), 3)
                }
            };
            left = left
                .checked_sub(items)
                .ok_or_else(|| decode::Error::message("batch cut inside an operation"))?;
            ops.push(op);
        }
        Ok(WriteBatch { ops })
    }
}

impl<C> Encode<C> for WriteBatch {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        let items = |op: &WriteOp| if matches!(op, WriteOp::Delete(..)) { 2 } else { 3 };
        e.array(self.ops.iter().map(items).sum())?;
        for op in &self.ops {
            match op {
                WriteOp::Put(family, key, value) => {
                    e.u8(*family as u8 * 3)?.bytes(key)?.bytes(value)?;
                }
                WriteOp::Delete(family, key) => {
                    e.u8(*family as u8 * 3 + 1)?.bytes(key)?;
                }
                WriteOp::DeleteRange(family, start, end) => {
                    e.u8(*family as u8 * 3 + 2)?.bytes(start)?;
                    match end {
                        Some(end) => e.bytes(end)?,
                        None => e.null()?,
                    };
                }
            }
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for WriteBatch {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::decode_with(d, Bytes::copy_from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quorate_proto::rpc;

    pub fn any_op() -> impl Strategy<Value = WriteOp> {
        let family = (0u8..4).prop_map(|raw| Family::from_u8(raw).unwrap());
        let blob = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        (family, 0..3, blob(), blob(), any::<bool>()).prop_map(|(family, kind, a, b, open)| match kind {
            0 => WriteOp::Put(family, a, b),
            1 => WriteOp::Delete(family, a),
            _ => WriteOp::DeleteRange(family, a, (!open).then_some(b)),
        })
    }

    proptest! {
        #[test]
        fn round_trip(ops in proptest::collection::vec(any_op(), 0..20)) {
            let batch = WriteBatch { ops };
            let raw = rpc::encode(&batch);
            prop_assert!(raw.len() <= batch.byte_size() + 7 * batch.len() + 5);
            prop_assert_eq!(&WriteBatch::from_bytes(&raw).unwrap(), &batch);
            prop_assert_eq!(&rpc::decode::<WriteBatch>(&raw).unwrap(), &batch);
        }

        #[test]
        fn random_bytes_are_refused_or_decode(raw: Vec<u8>) {
            let _ = WriteBatch::from_bytes(&Bytes::from(raw));
        }
    }

    #[test]
    fn absurd_length_allocates_nothing() {
        let raw = Bytes::from_static(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(WriteBatch::from_bytes(&raw).is_err());
    }
}
