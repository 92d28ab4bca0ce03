//! Where the catalog lies in the key space: [`prefix::CATALOG`] and one byte of kind, then
//!
//! | kind | key | value |
//! |---|---|---|
//! | generation | | u64, raised by every change of what follows but counters |
//! | schema | name | OID |
//! | table | id | [`TableDescriptor`](super::TableDescriptor) |
//! | sequence | id | [`SequenceDescriptor`](super::SequenceDescriptor) |
//! | name | schema, name | id of what has this name: locked by whoever gives or takes it |
//! | counter | sequence id | next value |
//! | job | id | [`Job`](crate::ddl::job::Job) |

use quorate_proto::{Key, Span, key::prefix, ordered};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Generation = 0,
    Schema = 1,
    Table = 2,
    Sequence = 3,
    Name = 4,
    Counter = 5,
    Job = 6,
}

fn start(kind: Kind) -> Vec<u8> {
    vec![prefix::CATALOG, kind as u8]
}

fn by_id(kind: Kind, id: u64) -> Key {
    let mut raw = start(kind);
    ordered::put_u64(&mut raw, id);
    raw.into()
}

pub fn generation() -> Key {
    start(Kind::Generation).into()
}

pub fn schema(name: &str) -> Key {
    let mut raw = start(Kind::Schema);
    ordered::put_bytes(&mut raw, name.as_bytes());
    raw.into()
}

pub fn table(id: u64) -> Key {
    by_id(Kind::Table, id)
}

pub fn sequence(id: u64) -> Key {
    by_id(Kind::Sequence, id)
}

pub fn name(schema: &str, name: &str) -> Key {
    let mut raw = start(Kind::Name);
    ordered::put_bytes(&mut raw, schema.as_bytes());
    ordered::put_bytes(&mut raw, name.as_bytes());
    raw.into()
}

pub fn counter(sequence: u64) -> Key {
    by_id(Kind::Counter, sequence)
}

pub fn job(id: u64) -> Key {
    by_id(Kind::Job, id)
}

/// All keys of a kind.
pub fn span(kind: Kind) -> Span {
    Span::prefix(&start(kind).into())
}

/// Generation, schemas, tables and sequences: what a snapshot is made of.
pub fn descriptors() -> Span {
    Span { start: start(Kind::Generation).into(), end: Some(start(Kind::Name).into()) }
}

/// The kind of a catalog key and what follows it.
pub fn split(key: &[u8]) -> Option<(u8, &[u8])> {
    let rest = key.strip_prefix(&[prefix::CATALOG])?;
    rest.split_first().map(|(kind, rest)| (*kind, rest))
}
