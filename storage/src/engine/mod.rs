//! The engine: ordered keys in four families, atomic batches, consistent snapshots, durability on request.
//!
//! There is no write-ahead log. What is written is visible at once and durable only after [`Engine::flush`] (or an
//! ingest); a crash leaves a *prefix of the batches in the order they were written*, never a part of one and never one
//! without an earlier one, across all families (PROTOCOL 8). The Raft log brings the rest back.

mod cached;
mod damage;
pub mod mem;
#[cfg(feature = "rocks")]
pub mod rocks;

pub use cached::CachedEngine;
pub use damage::{Damage, OnDamage};

use crate::{Result, WriteBatch};
use bytes::Bytes;
use quorate_proto::Span;
use quorate_proto::ordered::put_bytes;
use std::any::Any;

/// Bytes at the end of a raw key of `Data` that do not belong to the user key: the timestamp.
pub(crate) const VERSION_SUFFIX: usize = 8;

/// A division of the engine's keys. Keys of different families never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Versions: [`crate::mvcc`].
    Data = 0,
    /// Provisional writes: [`crate::intent`].
    Intent = 1,
    /// Transaction records: [`crate::record`].
    Record = 2,
    /// Metadata of shards and of the node: [`crate::meta`].
    Meta = 3,
}

impl Family {
    pub const ALL: [Family; 4] = [Family::Data, Family::Intent, Family::Record, Family::Meta];
    /// Those whose keys begin with an encoded user key, so that a shard's part is the range [`FamilyRange::of_span`].
    pub const KEYED: [Family; 3] = [Family::Data, Family::Intent, Family::Record];

    pub fn from_u8(raw: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|f| *f as u8 == raw)
    }
}

/// Raw keys `[start, end)` of one family; no end means to the end of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyRange {
    pub family: Family,
    pub start: Bytes,
    pub end: Option<Bytes>,
}

impl FamilyRange {
    /// What a family of [`Family::KEYED`] holds for the user keys of a span.
    pub fn of_span(family: Family, span: &Span) -> Self {
        let (start, end) = raw_bounds(span);
        FamilyRange { family, start: start.into(), end: end.map(Bytes::from) }
    }

    /// Whether the stored key of the range's family lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

/// The raw bounds that hold exactly what is stored for the user keys of a span, in each family of [`Family::KEYED`].
pub fn raw_bounds(span: &Span) -> (Vec<u8>, Option<Vec<u8>>) {
    let raw = |key: &[u8]| {
        let mut out = Vec::with_capacity(key.len() + 4);
        put_bytes(&mut out, key);
        out
    };
    (raw(&span.start), span.end.as_ref().map(|end| raw(end)))
}

/// All methods may block on the disk and be called from any thread.
pub trait Engine: Send + Sync + 'static {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// A view of all families as of now; unaffected by later writes and ingests. Holding one long keeps old data alive.
    fn snapshot(&self) -> Box<dyn Snapshot>;

    /// Atomic, visible at once, durable after the next [`Engine::flush`].
    fn write(&self, batch: &WriteBatch) -> Result<()>;

    /// When it returns, everything written before the call is durable.
    fn flush(&self) -> Result<()>;

    /// Whether the disk was found full, and no space since. Reads go on; a write may have to wait for space, on its thread, so
    /// whoever can wait otherwise should; flushes fail with [`crate::StorageError::NoSpace`].
    fn is_full(&self) -> bool;

    /// Whether writes come faster than they can be put in order on the disk: it slows them down by itself, on their threads, so
    /// whoever can let fewer in should.
    fn is_strained(&self) -> bool;

    /// Tells of damaged blocks from now on, on the thread that meets one. There is one listener, the last.
    fn on_damage(&self, told: OnDamage);

    /// Why nothing can be written any more, whatever is waited for: what was written does not read back, and RocksDB has
    /// met it while it wrote files anew. `None` in good times.
    fn broken(&self) -> Option<crate::StorageError>;

    /// Approximate bytes that the keys of the range take, compressed; what is not flushed may be missing.
    fn size(&self, range: &FamilyRange) -> Result<u64>;

    /// Begins a bulk replacement of ranges (a snapshot that arrives, the rows of an import). Nothing is visible before
    /// [`Ingest::commit`]; dropping it leaves no trace.
    fn ingest(&self) -> Result<Box<dyn Ingest>>;

    /// For tests that hold an `Arc<dyn Engine>` and need the implementation's own methods.
    fn as_any(&self) -> &dyn Any;
}

/// Rows on their way in. Memory use does not grow with them.
pub trait Ingest: Send {
    /// Keys rise strictly within a family; families may come in any order and interleaved.
    fn add(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()>;

    /// All rows have come. They stand on the disk then, so that it cannot be too full for them any more.
    fn seal(&mut self) -> Result<()>;

    /// In one atomic and durable step: everything in `replace` disappears, the added rows appear, and `batch` is
    /// written on top. Everything written before is durable too.
    fn commit(self: Box<Self>, replace: &[FamilyRange], batch: &WriteBatch) -> Result<()>;
}

/// A consistent view over all families.
pub trait Snapshot: Send + Sync {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// The first pair at or after `from` whose key begins with `from[..prefix]`. In `Data`, whose keys are a prefix-free part
    /// and 8 bytes, bloom filters spare the search when `prefix` leaves out just these 8; keys of another form may then be
    /// missed.
    fn seek_prefix(&self, family: Family, from: &[u8], prefix: usize) -> Result<Option<(Bytes, Bytes)>>;

    /// A cursor over `[start, end)` of the family; place it with a seek before use.
    fn cursor(&self, family: Family, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>>;

    /// All pairs in `[start, end)`, in key order or against it. After an error comes nothing more.
    fn iter(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes)>> + '_> {
        match self.cursor(family, start, end) {
            Ok(cursor) => Box::new(Pairs { cursor, reverse, stage: Stage::Fresh }),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

/// A place in a family. Every move says whether it now stands on a pair; [`Cursor::key`] and [`Cursor::value`] may be
/// called only then. It never leaves the bounds it was made with.
pub trait Cursor: Send {
    fn first(&mut self) -> Result<bool>;
    fn last(&mut self) -> Result<bool>;
    /// To the first key `>= key`.
    fn seek(&mut self, key: &[u8]) -> Result<bool>;
    /// To the last key `< key`.
    fn seek_before(&mut self, key: &[u8]) -> Result<bool>;
    fn next(&mut self) -> Result<bool>;
    fn prev(&mut self) -> Result<bool>;
    fn key(&self) -> &[u8];
    fn value(&self) -> &[u8];
    /// The value, owned; cheaper than copying [`Cursor::value`] where the engine holds it as `Bytes`.
    fn value_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.value())
    }
}

enum Stage {
    Fresh,
    Running,
    Over,
}

struct Pairs<'a> {
    cursor: Box<dyn Cursor + 'a>,
    reverse: bool,
    stage: Stage,
}

impl Iterator for Pairs<'_> {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let moved = match (&self.stage, self.reverse) {
            (Stage::Over, _) => return None,
            (Stage::Fresh, false) => self.cursor.first(),
            (Stage::Fresh, true) => self.cursor.last(),
            (Stage::Running, false) => self.cursor.next(),
            (Stage::Running, true) => self.cursor.prev(),
        };
        self.stage = if let Ok(true) = moved { Stage::Running } else { Stage::Over };
        match moved {
            Ok(true) => Some(Ok((Bytes::copy_from_slice(self.cursor.key()), self.cursor.value_bytes()))),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
