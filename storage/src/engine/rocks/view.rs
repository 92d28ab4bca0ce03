//! Snapshots and cursors.

use super::{Inner, failed, get_result, raw_end, raw_key};
use crate::Result;
use crate::engine::{Cursor, Family, Snapshot, VERSION_SUFFIX};
use bytes::Bytes;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions, SnapshotWithThreadMode};
use std::sync::Arc;

pub(super) struct RocksSnapshot {
    /// Declared before `inner`, hence dropped before it.
    snapshot: SnapshotWithThreadMode<'static, DB>,
    inner: Arc<Inner>,
}

impl RocksSnapshot {
    pub fn new(inner: Arc<Inner>) -> Self {
        // SAFETY: the database lives in the heap allocation of `inner`, which this value owns a share of and drops last;
        // the longer lifetime does not leave this module.
        let db: &'static DB = unsafe { &*std::ptr::from_ref(&inner.db) };
        RocksSnapshot { snapshot: SnapshotWithThreadMode::new(db), inner }
    }
}

impl Snapshot for RocksSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let found = get_result(self.snapshot.get_pinned(raw_key(family, key)));
        self.inner.reads(found, family, key)
    }

    fn seek_prefix(&self, family: Family, from: &[u8], prefix: usize) -> Result<Option<(Bytes, Bytes)>> {
        let raw = raw_key(family, from);
        let mut options = ReadOptions::default();
        if family == Family::Data && prefix + VERSION_SUFFIX == from.len() {
            options.set_prefix_same_as_start(true);
        } else {
            options.set_total_order_seek(true);
        }
        let mut iter = self.snapshot.raw_iterator_opt(options);
        iter.seek(&raw);
        match iter.item() {
            Some((key, value)) if key.starts_with(&raw[..1 + prefix]) => {
                Ok(Some((Bytes::copy_from_slice(&key[1..]), Bytes::copy_from_slice(value))))
            }
            Some(_) => Ok(None),
            None => {
                let status = iter.status().map(|()| None).map_err(|e| failed("seek", e));
                self.inner.reads(status, family, from)
            }
        }
    }

    fn cursor(&self, family: Family, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>> {
        let (start, end) = (raw_key(family, start), raw_end(family, end));
        if start >= end {
            return Ok(Box::new(Nothing));
        }
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_lower_bound(&start[..]);
        options.set_iterate_upper_bound(end);
        Ok(Box::new(RocksCursor {
            iter: self.snapshot.raw_iterator_opt(options),
            target: vec![family as u8],
            family,
            start,
            inner: &self.inner,
        }))
    }
}

struct RocksCursor<'a> {
    iter: DBRawIteratorWithThreadMode<'a, DB>,
    /// The family byte and room for a key.
    target: Vec<u8>,
    family: Family,
    /// Raw; with it the range begins in which a damaged block is met.
    start: Vec<u8>,
    inner: &'a Inner,
}

impl RocksCursor<'_> {
    fn moved(&self) -> Result<bool> {
        if self.iter.valid() {
            return Ok(true);
        }
        let status = self.iter.status().map(|()| false).map_err(|e| failed("iterate", e));
        self.inner.reads(status, self.family, &self.start[1..])
    }

    fn aim(&mut self, key: &[u8]) {
        self.target.truncate(1);
        self.target.extend_from_slice(key);
    }
}

impl Cursor for RocksCursor<'_> {
    fn first(&mut self) -> Result<bool> {
        self.iter.seek_to_first();
        self.moved()
    }

    fn last(&mut self) -> Result<bool> {
        self.iter.seek_to_last();
        self.moved()
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.aim(key);
        self.iter.seek(&self.target);
        self.moved()
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<bool> {
        self.aim(key);
        self.iter.seek_for_prev(&self.target);
        if self.iter.key() == Some(&self.target[..]) {
            self.iter.prev();
        }
        self.moved()
    }

    fn next(&mut self) -> Result<bool> {
        self.iter.next();
        self.moved()
    }

    fn prev(&mut self) -> Result<bool> {
        self.iter.prev();
        self.moved()
    }

    fn key(&self) -> &[u8] {
        &self.iter.key().expect("the last move of the cursor found a pair")[1..]
    }

    fn value(&self) -> &[u8] {
        self.iter.value().expect("the last move of the cursor found a pair")
    }
}

/// A cursor over an empty range.
struct Nothing;

impl Cursor for Nothing {
    fn first(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn last(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn seek(&mut self, _: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn seek_before(&mut self, _: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn next(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn prev(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn key(&self) -> &[u8] {
        unreachable!("no move of this cursor finds a pair")
    }

    fn value(&self) -> &[u8] {
        unreachable!("no move of this cursor finds a pair")
    }
}
