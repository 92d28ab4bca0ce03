//! Snapshots and cursors of the engine in memory. A cursor takes the lock for each step; it holds nothing in between.

use super::Shared;
use crate::Result;
use crate::engine::{Cursor, Family, Snapshot};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

pub(super) struct MemSnapshot {
    shared: Arc<Shared>,
    at: u64,
}

impl MemSnapshot {
    pub fn new(shared: Arc<Shared>) -> Self {
        let at = shared.store.write().pin();
        MemSnapshot { shared, at }
    }

    fn find(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        last: bool,
    ) -> Result<Option<(Bytes, Bytes)>> {
        let found = self.shared.store.read().find(family, bounds, self.at, last);
        if let Some((key, _)) = &found {
            self.shared.faults.on_read(family, key)?;
        }
        Ok(found)
    }
}

impl Drop for MemSnapshot {
    fn drop(&mut self) {
        self.shared.store.write().unpin(self.at);
    }
}

impl Snapshot for MemSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.shared.faults.on_read(family, key)?;
        Ok(self.shared.store.read().get(family, key, self.at))
    }

    fn seek_prefix(&self, family: Family, from: &[u8], prefix: usize) -> Result<Option<(Bytes, Bytes)>> {
        let found = self.find(family, (Bound::Included(from), Bound::Unbounded), false)?;
        Ok(found.filter(|(key, _)| key.starts_with(&from[..prefix])))
    }

    fn cursor(&self, family: Family, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>> {
        Ok(Box::new(MemCursor {
            snapshot: self,
            family,
            start: Bytes::copy_from_slice(start),
            end: end.map(Bytes::copy_from_slice),
            at: None,
        }))
    }
}

struct MemCursor<'a> {
    snapshot: &'a MemSnapshot,
    family: Family,
    start: Bytes,
    end: Option<Bytes>,
    at: Option<(Bytes, Bytes)>,
}

impl MemCursor<'_> {
    fn place(&mut self, from: Option<Bound<&[u8]>>, to: Option<Bound<&[u8]>>, last: bool) -> Result<bool> {
        let from = from.unwrap_or(Bound::Included(&self.start));
        let end = || self.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let found = self.snapshot.find(self.family, (from, to.unwrap_or_else(end)), last)?;
        self.at = found;
        Ok(self.at.is_some())
    }

    fn here(&self) -> &(Bytes, Bytes) {
        self.at.as_ref().expect("the last move of the cursor found a pair")
    }
}

impl Cursor for MemCursor<'_> {
    fn first(&mut self) -> Result<bool> {
        self.place(None, None, false)
    }

    fn last(&mut self) -> Result<bool> {
        self.place(None, None, true)
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if key <= &self.start[..] {
            self.first()
        } else {
            self.place(Some(Bound::Included(key)), None, false)
        }
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<bool> {
        if self.end.as_ref().is_some_and(|end| key >= &end[..]) {
            self.last()
        } else {
            self.place(None, Some(Bound::Excluded(key)), true)
        }
    }

    fn next(&mut self) -> Result<bool> {
        let key = self.here().0.clone();
        self.place(Some(Bound::Excluded(&key)), None, false)
    }

    fn prev(&mut self) -> Result<bool> {
        let key = self.here().0.clone();
        self.place(None, Some(Bound::Excluded(&key)), true)
    }

    fn key(&self) -> &[u8] {
        &self.here().0
    }

    fn value(&self) -> &[u8] {
        &self.here().1
    }

    fn value_bytes(&self) -> Bytes {
        self.here().1.clone()
    }
}
