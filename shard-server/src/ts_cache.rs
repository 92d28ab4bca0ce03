//! The timestamp cache: up to when each key has been read. A write goes above it, so that no answered read turns false.
//!
//! Bounded: two generations of entries; when the newer one is full, the older one is folded into the *low water*, the
//! timestamp up to which everything counts as read. Forgetting therefore only ever pushes writes further up. A new
//! leader knows nothing of its predecessor's reads and starts with a low water above all of them (PROTOCOL 5, 11, 21).

use quorate_proto::{Key, Span, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
};

/// `DefaultHasher` with fixed keys; the map is never iterated.
type Points = HashMap<Key, Timestamp, BuildHasherDefault<DefaultHasher>>;

#[derive(Debug, Default)]
struct Generation {
    points: Points,
    /// Disjoint: start → (end, timestamp).
    spans: BTreeMap<Key, (Option<Key>, Timestamp)>,
    bytes: usize,
    /// Of all entries.
    max: Timestamp,
}

/// What an entry costs beside its key.
const ENTRY_OVERHEAD: usize = 64;

impl Generation {
    fn get(&self, key: &Key) -> Timestamp {
        let point = self.points.get(key).copied().unwrap_or_default();
        let span = match self.spans.range::<Key, _>(..=key).next_back() {
            Some((_, (end, ts))) if end.as_ref().is_none_or(|end| key < end) => *ts,
            _ => Timestamp::ZERO,
        };
        point.max(span)
    }

    fn add_point(&mut self, key: &Key, ts: Timestamp) {
        self.max = self.max.max(ts);
        match self.points.get_mut(key) {
            Some(old) => *old = ts.max(*old),
            None => {
                self.bytes += key.len() + ENTRY_OVERHEAD;
                self.points.insert(key.clone(), ts);
            }
        }
    }

    /// Raises `span` to `ts`: entries below it are replaced, those above it stay, gaps are filled.
    fn add_span(&mut self, span: &Span, ts: Timestamp) {
        self.max = self.max.max(ts);
        self.cut_at(&span.start);
        if let Some(end) = &span.end {
            self.cut_at(end);
        }
        let inside: Vec<_> = self
            .spans
            .range(span.start.clone()..)
            .take_while(|(start, _)| span.end.as_ref().is_none_or(|end| *start < end))
            .map(|(start, (end, ts))| (start.clone(), end.clone(), *ts))
            .collect();
        let mut from = Some(span.start.clone());
        for (start, end, old) in inside {
            if old <= ts {
                self.bytes -= start.len() + ENTRY_OVERHEAD;
                self.spans.remove(&start);
                continue;
            }
            if let Some(from) = from.filter(|from| *from < start) {
                self.put_span(from, Some(start), ts);
            }
            from = end;
        }
        if let Some(from) = from.filter(|from| span.end.as_ref().is_none_or(|end| from < end)) {
            self.put_span(from, span.end.clone(), ts);
        }
    }

    fn put_span(&mut self, start: Key, end: Option<Key>, ts: Timestamp) {
        self.bytes += start.len() + ENTRY_OVERHEAD;
        self.spans.insert(start, (end, ts));
    }

    /// Makes `key` a border between entries.
    fn cut_at(&mut self, key: &Key) {
        let Some((start, (end, ts))) = self.spans.range_mut::<Key, _>(..=key).next_back() else { return };
        if start == key || end.as_ref().is_some_and(|end| end <= key) {
            return;
        }
        let (right, ts) = (end.replace(key.clone()), *ts);
        self.put_span(key.clone(), right, ts);
    }
}

#[derive(Debug)]
pub struct TsCache {
    low_water: Timestamp,
    /// Of one generation.
    max_bytes: usize,
    current: Generation,
    previous: Generation,
}

impl TsCache {
    /// Holds at most about `max_bytes`; everything counts as read up to `low_water`.
    pub fn new(low_water: Timestamp, max_bytes: usize) -> Self {
        let (current, previous) = Default::default();
        TsCache { low_water, max_bytes: max_bytes / 2, current, previous }
    }

    /// The highest timestamp at which `key` may have been read.
    pub fn get(&self, key: &Key) -> Timestamp {
        self.low_water.max(self.current.get(key)).max(self.previous.get(key))
    }

    pub fn add_point(&mut self, key: &Key, ts: Timestamp) {
        if ts > self.low_water {
            self.current.add_point(key, ts);
            self.bound();
        }
    }

    pub fn add_span(&mut self, span: &Span, ts: Timestamp) {
        if ts > self.low_water && !span.is_empty() {
            self.current.add_span(span, ts);
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.current.bytes > self.max_bytes {
            self.low_water = self.low_water.max(self.previous.max);
            self.previous = std::mem::take(&mut self.current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(n: u64) -> Timestamp {
        Timestamp(n)
    }

    fn key(text: &str) -> Key {
        Key::from(text)
    }

    #[test]
    fn the_highest_read_wins() {
        let mut cache = TsCache::new(ts(5), 1 << 20);
        cache.add_point(&key("a"), ts(3));
        assert_eq!(cache.get(&key("a")), ts(5));
        cache.add_point(&key("a"), ts(9));
        cache.add_point(&key("a"), ts(7));
        assert_eq!((cache.get(&key("a")), cache.get(&key("b"))), (ts(9), ts(5)));
        cache.add_span(&Span::new("b", "d"), ts(8));
        cache.add_span(&Span { start: key("c"), end: None }, ts(10));
        let got = ["a", "b", "bz", "c", "d", "zz"].map(|k| cache.get(&key(k)).0);
        assert_eq!(got, [9, 8, 8, 10, 10, 10]);
    }

    #[test]
    fn forgetting_raises_the_low_water() {
        let mut cache = TsCache::new(ts(0), 400);
        for n in 1..=20u64 {
            cache.add_point(&key(&format!("k{n}")), ts(n));
            assert!(cache.current.bytes + cache.previous.bytes <= 400 + ENTRY_OVERHEAD + 8);
        }
        assert!(cache.low_water > ts(0) && cache.low_water < ts(20));
        for n in 1..=20u64 {
            assert!(cache.get(&key(&format!("k{n}"))) >= ts(n));
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_plain_list(ops in proptest::collection::vec((0u8..12, 0u8..12, 1u64..50), 1..60)) {
            let mut cache = TsCache::new(ts(0), 1 << 20);
            let mut list = Vec::new();
            let name = |n: u8| Key::from(vec![b'a' + n]);
            for (a, b, at) in ops {
                if a == b {
                    cache.add_point(&name(a), ts(at));
                    list.push((Span::point(&name(a)), ts(at)));
                } else {
                    let end = (a.max(b) < 11).then(|| name(a.max(b)));
                    let span = Span { start: name(a.min(b)), end };
                    cache.add_span(&span, ts(at));
                    list.push((span, ts(at)));
                }
                for n in 0..13 {
                    let k = name(n);
                    let want = list.iter().filter(|(s, _)| s.contains(&k)).map(|(_, t)| *t).max();
                    assert_eq!(cache.get(&k), want.unwrap_or_default());
                }
                let starts: Vec<_> = cache.current.spans.iter().collect();
                for pair in starts.windows(2) {
                    assert!(pair[0].1.0.as_ref().is_some_and(|end| end <= pair[1].0), "disjoint");
                }
                let bytes: usize = cache.current.spans.keys().chain(cache.current.points.keys())
                    .map(|k| k.len() + ENTRY_OVERHEAD).sum();
                assert_eq!(bytes, cache.current.bytes);
            }
        }
    }
}
