//! Where advisory locks lie in the key space: [`prefix::ADVISORY`] and one byte of kind, then
//!
//! | kind | key | value |
//! |---|---|---|
//! | lease | node, number | until when it runs |
//! | lock | class, object, kind of number | [`Line`](super::line::Line); none: nobody wants it |
//!
//! No database: both names of one stand for the same data.

use minicbor::{Decode, Encode};
use quorate_proto::{Key, NodeId, key::prefix, ordered};
use std::fmt;

const LEASE: u8 = 0;
const LOCK: u8 = 1;

/// What places rest on; drawn anew by a node whenever it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct LeaseId {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub number: u64,
}

/// A lock, named as in PostgreSQL's `pg_locks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockId {
    class: u32,
    object: u32,
    kind: u8,
}

impl LockId {
    pub fn of_bigint(number: i64) -> Self {
        LockId { class: (number as u64 >> 32) as u32, object: number as u32, kind: 1 }
    }

    /// Another one than that of any single number.
    pub fn of_ints(class: i32, object: i32) -> Self {
        LockId { class: class as u32, object: object as u32, kind: 2 }
    }

    /// The lock whose line lies under this key.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let rest = key.strip_prefix(&[prefix::ADVISORY, LOCK])?;
        let (class, rest) = rest.split_first_chunk()?;
        let (object, rest) = rest.split_first_chunk()?;
        let [kind] = rest else { return None };
        Some(LockId { class: u32::from_be_bytes(*class), object: u32::from_be_bytes(*object), kind: *kind })
    }

    pub fn key(self) -> Key {
        let mut raw = vec![prefix::ADVISORY, LOCK];
        raw.extend_from_slice(&self.class.to_be_bytes());
        raw.extend_from_slice(&self.object.to_be_bytes());
        raw.push(self.kind);
        raw.into()
    }
}

/// By the numbers that the functions take.
impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            1 => write!(f, "{}", (u64::from(self.class) << 32 | u64::from(self.object)) as i64),
            _ => write!(f, "({}, {})", self.class as i32, self.object as i32),
        }
    }
}

impl LeaseId {
    pub fn key(self) -> Key {
        let mut raw = vec![prefix::ADVISORY, LEASE];
        ordered::put_u64(&mut raw, self.node.0);
        ordered::put_u64(&mut raw, self.number);
        raw.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn locks_are_told_apart() {
        let ids = [i64::MIN, -1, 0, 1, 1 << 32, i64::MAX].map(LockId::of_bigint);
        let pairs = [(0, 0), (0, 1), (1, 0), (-1, -1), (i32::MIN, i32::MAX)];
        let pairs = pairs.map(|(class, object)| LockId::of_ints(class, object));
        for id in ids.into_iter().chain(pairs) {
            assert_eq!(LockId::of_key(&id.key()), Some(id));
        }
        assert_eq!(
            ids.map(|id| id.to_string()).join(" "),
            "-9223372036854775808 -1 0 1 4294967296 9223372036854775807"
        );
        assert_eq!(pairs[3].to_string(), "(-1, -1)");
        let keys: BTreeSet<Key> = ids.into_iter().chain(pairs).map(LockId::key).collect();
        assert_eq!(keys.len(), ids.len() + pairs.len());
    }
}
