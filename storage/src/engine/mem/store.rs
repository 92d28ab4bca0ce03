//! The versioned maps.

use crate::engine::{Family, FamilyRange};
use crate::{WriteBatch, WriteOp};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Values of one key, oldest first, with the numbers of the batches that wrote them; `None` deletes. Invariants: numbers
/// rise; never empty; the last one of a chain of one is a value.
type Chain = Vec<(u64, Option<Bytes>)>;

#[derive(Default)]
pub(super) struct Store {
    maps: [BTreeMap<Bytes, Chain>; 4],
    /// Number of the last batch.
    written: u64,
    /// Number of the last batch that a crash leaves.
    flushed: u64,
    /// Batch numbers that snapshots look at, with how many do.
    pins: BTreeMap<u64, usize>,
    /// Keys with more than one value in their chain.
    untidy: BTreeSet<(Family, Bytes)>,
}

fn visible(chain: &Chain, at: u64) -> Option<&Bytes> {
    chain.iter().rev().find(|(number, _)| *number <= at)?.1.as_ref()
}

impl Store {
    pub fn pin(&mut self) -> u64 {
        *self.pins.entry(self.written).or_default() += 1;
        self.written
    }

    pub fn unpin(&mut self, at: u64) {
        if let Some(count) = self.pins.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&at);
            }
        }
    }

    pub fn unflushed(&self) -> u64 {
        self.written - self.flushed
    }

    pub fn get_newest(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.get(family, key, u64::MAX)
    }

    pub fn get(&self, family: Family, key: &[u8], at: u64) -> Option<Bytes> {
        visible(self.maps[family as usize].get(key)?, at).cloned()
    }

    /// The first pair visible at `at` within the bounds, or the last.
    pub fn find(
        &self,
        family: Family,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        last: bool,
    ) -> Option<(Bytes, Bytes)> {
        if is_empty(bounds) {
            return None;
        }
        let range = self.maps[family as usize].range::<[u8], _>(bounds);
        let pair = |(key, chain): (&Bytes, &Chain)| Some((key.clone(), visible(chain, at)?.clone()));
        if last { range.rev().find_map(pair) } else { range.into_iter().find_map(pair) }
    }

    pub fn write(&mut self, batch: &WriteBatch) {
        self.written += 1;
        for op in &batch.ops {
            match op {
                WriteOp::Put(family, key, value) => self.set(*family, key, Some(value.clone())),
                WriteOp::Delete(family, key) => self.set(*family, key, None),
                WriteOp::DeleteRange(family, start, end) => {
                    let bounds = range_bounds(start, end.as_ref());
                    if is_empty(bounds) {
                        continue;
                    }
                    let keys =
                        self.maps[*family as usize].range::<[u8], _>(bounds).map(|(key, _)| key.clone());
                    for key in keys.collect::<Vec<_>>() {
                        self.set(*family, &key, None);
                    }
                }
            }
        }
    }

    fn set(&mut self, family: Family, key: &Bytes, value: Option<Bytes>) {
        let map = &mut self.maps[family as usize];
        if value.is_none() && !map.contains_key(key) {
            return;
        }
        let chain = map.entry(key.clone()).or_default();
        match chain.last_mut() {
            Some((number, last)) if *number == self.written => *last = value,
            _ => chain.push((self.written, value)),
        }
        self.tidy(family, key);
    }

    /// Drops the values of a chain that neither a snapshot nor a crash would show.
    fn tidy(&mut self, family: Family, key: &Bytes) {
        let map = &mut self.maps[family as usize];
        let Some(chain) = map.get_mut(key) else { return };
        if chain.len() > 1 {
            let ends: Vec<u64> = chain.iter().skip(1).map(|(number, _)| *number).collect();
            let (pins, flushed) = (&self.pins, self.flushed);
            let mut ends = ends.into_iter();
            chain.retain(|(number, _)| match ends.next() {
                // Shown to everyone who looks at [number, end).
                Some(end) => (*number..end).contains(&flushed) || pins.range(*number..end).next().is_some(),
                None => true,
            });
        }
        if chain.len() == 1 && chain[0].1.is_none() {
            map.remove(key);
        } else if chain.len() > 1 {
            self.untidy.insert((family, key.clone()));
            return;
        }
        self.untidy.remove(&(family, key.clone()));
    }

    pub fn flush(&mut self) {
        self.flushed = self.written;
        for (family, key) in self.untidy.clone() {
            self.tidy(family, &key);
        }
    }

    pub fn fall_back(&mut self) {
        let flushed = self.flushed;
        for map in &mut self.maps {
            map.retain(|_, chain| {
                chain.retain(|(number, _)| *number <= flushed);
                chain.last().is_some_and(|(_, value)| value.is_some() || chain.len() > 1)
            });
        }
        self.written += 1; // Snapshots taken from here on see nothing of what was lost, whatever their number.
        self.flushed = self.written;
        for (family, key) in self.untidy.clone() {
            self.tidy(family, &key);
        }
    }

    pub fn size(&self, range: &FamilyRange) -> u64 {
        let bounds = range_bounds(&range.start, range.end.as_ref());
        if is_empty(bounds) {
            return 0;
        }
        let rows = self.maps[range.family as usize].range::<[u8], _>(bounds);
        rows.map(|(key, chain)| (key.len() + visible(chain, u64::MAX).map_or(0, Bytes::len)) as u64).sum()
    }

    pub fn dump(&self) -> Vec<(Family, Bytes, Bytes)> {
        let of = |family: Family| {
            let rows = self.maps[family as usize].iter();
            rows.filter_map(move |(key, chain)| {
                Some((family, key.clone(), visible(chain, u64::MAX)?.clone()))
            })
        };
        Family::ALL.into_iter().flat_map(of).collect()
    }
}

fn range_bounds<'a>(start: &'a Bytes, end: Option<&'a Bytes>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(&start[..]), end.map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..])))
}

/// `BTreeMap::range` panics on such bounds.
fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Included(start), Bound::Excluded(end)) | (Bound::Excluded(start), Bound::Excluded(end)) => {
            start >= end
        }
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end)) => start > end,
        _ => false,
    }
}
