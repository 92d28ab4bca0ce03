//! Keys, values and spans of keys, and the first bytes that divide the key space.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use std::{borrow::Borrow, fmt, ops::Deref};

macro_rules! blob {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Bytes);

        impl $name {
            pub fn copy_from(raw: &[u8]) -> Self {
                Self(Bytes::copy_from_slice(raw))
            }
        }

        impl Deref for $name {
            type Target = [u8];
            fn deref(&self) -> &[u8] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(raw: Vec<u8>) -> Self {
                Self(raw.into())
            }
        }

        impl From<Bytes> for $name {
            fn from(raw: Bytes) -> Self {
                Self(raw)
            }
        }

        impl From<&[u8]> for $name {
            fn from(raw: &[u8]) -> Self {
                Self::copy_from(raw)
            }
        }

        impl From<&str> for $name {
            fn from(raw: &str) -> Self {
                Self::copy_from(raw.as_bytes())
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Ok(Self::copy_from(d.bytes()?))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{}\"", self.0.escape_ascii())
            }
        }
    };
}

blob!(
    /// A key of the database, in plain bytes; shards own ranges of these.
    Key
);
blob!(
    /// A value, opaque to everything below SQL.
    Value
);

impl Key {
    /// The first key of the key space.
    pub const MIN: Key = Key(Bytes::new());

    /// The smallest key that is greater than this one.
    #[must_use]
    pub fn successor(&self) -> Key {
        let mut raw = Vec::with_capacity(self.len() + 1);
        raw.extend_from_slice(self);
        raw.push(0);
        raw.into()
    }

    /// The smallest key that is greater than every key that starts with this one; `None` if there is none.
    pub fn prefix_end(&self) -> Option<Key> {
        let mut raw = self.to_vec();
        while let Some(last) = raw.pop() {
            if last < 0xff {
                raw.push(last + 1);
                return Some(raw.into());
            }
        }
        None
    }
}

/// Keys from `start` up to and without `end`; no `end` means to the end of the key space.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Span {
    #[n(0)]
    pub start: Key,
    #[n(1)]
    pub end: Option<Key>,
}

impl Span {
    /// The whole key space.
    pub const ALL: Span = Span { start: Key::MIN, end: None };

    pub fn new(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Span { start: start.into(), end: Some(end.into()) }
    }

    /// The one key.
    pub fn point(key: &Key) -> Self {
        Span { start: key.clone(), end: Some(key.successor()) }
    }

    /// All keys with this prefix.
    pub fn prefix(key: &Key) -> Self {
        Span { start: key.clone(), end: key.prefix_end() }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    pub fn contains_span(&self, other: &Span) -> bool {
        self.start <= other.start
            && match (&self.end, &other.end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(mine), Some(theirs)) => theirs <= mine,
            }
    }

    pub fn overlaps(&self, other: &Span) -> bool {
        self.intersection(other).is_some()
    }

    /// The keys that both have; `None` if there are none.
    pub fn intersection(&self, other: &Span) -> Option<Span> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (None, end) | (end, None) => end.clone(),
            (Some(a), Some(b)) => Some(a.min(b).clone()),
        };
        let some = end.as_ref().is_none_or(|end| start < *end);
        some.then_some(Span { start, end })
    }

    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(end) => write!(f, "[{:?}, {:?})", self.start, end),
            None => write!(f, "[{:?}, …)", self.start),
        }
    }
}

/// First bytes of the key space. What follows is told by whoever owns the prefix.
pub mod prefix {
    /// Idempotency records: `hash(user, key) (8 bytes) ++ user ++ key` (PROTOCOL 17).
    pub const IDEMPOTENCY: u8 = 0x08;
    /// Advisory locks, and the leases of the nodes whose sessions hold them, written by `sql-frontend`.
    pub const ADVISORY: u8 = 0x0c;
    /// Catalog: descriptors of schemas, tables and sequences, written by `sql-frontend`.
    pub const CATALOG: u8 = 0x10;
    /// Rows: `table id ++ index id ++ columns…`, all in the encoding of [`crate::ordered`].
    pub const TABLE: u8 = 0x20;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_end_skips_trailing_ff() {
        assert_eq!(Key::from(&b"a\xff"[..]).prefix_end(), Some(Key::from("b")));
        assert_eq!(Key::from(&b"\xff\xff"[..]).prefix_end(), None);
        assert_eq!(Key::MIN.prefix_end(), None);
    }

    #[test]
    fn spans() {
        let span = Span::new("b", "d");
        assert!(span.contains(b"b") && span.contains(b"cz") && !span.contains(b"d"));
        assert!(Span::ALL.contains_span(&span) && !span.contains_span(&Span::ALL));
        assert_eq!(span.intersection(&Span::new("c", "x")), Some(Span::new("c", "d")));
        assert_eq!(span.intersection(&Span::new("d", "x")), None);
    }
}
