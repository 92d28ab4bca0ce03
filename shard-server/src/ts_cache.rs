//! The timestamp cache: up to when each key has been read. A write goes above it, so that no answered read turns false.
//!
//! Bounded: two generations of entries; when the newer one is full, the older one is folded into the *low water*, the
//! timestamp up to which everything counts as read. Forgetting therefore only ever pushes writes further up. A new
//! leader knows nothing of its predecessor's reads and starts with a low water above all of them (PROTOCOL 5, 11, 21).

use quorate_proto::{Key, Span, Timestamp, TxnId};
use std::{
    collections::BTreeMap,
    hash::{BuildHasherDefault, DefaultHasher},
};

/// The latest read of some keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    pub ts: Timestamp,
    /// Who read at `ts`, if only one transaction did: it may write there itself.
    pub by: Option<TxnId>,
}

impl Noted {
    /// Where `txn` may write after this was read.
    pub fn floor_for(self, txn: TxnId) -> Timestamp {
        if self.by == Some(txn) { self.ts } else { self.ts.next() }
    }

    fn merge(self, other: Noted) -> Noted {
        match self.ts.cmp(&other.ts) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Noted { ts: self.ts, by: self.by.filter(|_| self.by == other.by) },
        }
    }
}

#[expect(clippy::disallowed_types, reason = "`DefaultHasher` with fixed keys, and the map is never iterated")]
type Points = std::collections::HashMap<Key, Noted, BuildHasherDefault<DefaultHasher>>;

#[derive(Debug, Default)]
struct Generation {
    points: Points,
    /// Disjoint: start → (end, latest read).
    spans: BTreeMap<Key, (Option<Key>, Noted)>,
    bytes: usize,
    /// Of all entries.
    max: Timestamp,
}

/// What an entry costs beside its key.
const ENTRY_OVERHEAD: usize = 64;

impl Generation {
    fn get(&self, key: &Key) -> Noted {
        let point = self.points.get(key).copied().unwrap_or_default();
        match self.spans.range::<Key, _>(..=key).next_back() {
            Some((_, (end, noted))) if end.as_ref().is_none_or(|end| key < end) => point.merge(*noted),
            _ => point,
        }
    }

    fn add_point(&mut self, key: &Key, noted: Noted) {
        self.max = self.max.max(noted.ts);
        match self.points.get_mut(key) {
            Some(old) => *old = old.merge(noted),
            None => {
                self.bytes += key.len() + ENTRY_OVERHEAD;
                self.points.insert(key.clone(), noted);
            }
        }
    }

    /// Merges `noted` into all that is known of the span; pieces that become equal become one.
    fn add_span(&mut self, span: &Span, noted: Noted) {
        self.max = self.max.max(noted.ts);
        self.cut_at(&span.start);
        if let Some(end) = &span.end {
            self.cut_at(end);
        }
        let before_end = |start: &Key| span.end.as_ref().is_none_or(|end| start < end);
        let inside: Vec<Key> = self
            .spans
            .range(span.start.clone()..)
            .map(|(start, _)| start)
            .take_while(|s| before_end(s))
            .cloned()
            .collect();
        let mut pieces: Vec<(Key, Option<Key>, Noted)> = Vec::with_capacity(2 * inside.len() + 1);
        let mut push = |start: Key, end: Option<Key>, noted: Noted| match pieces.last_mut() {
            Some((_, last_end, last)) if *last == noted => *last_end = end,
            _ => pieces.push((start, end, noted)),
        };
        let mut from = Some(span.start.clone());
        for start in inside {
            let Some((end, old)) = self.spans.remove(&start) else { continue };
            self.bytes -= start.len() + ENTRY_OVERHEAD;
            if let Some(from) = from.filter(|from| *from < start) {
                push(from, Some(start.clone()), noted);
            }
            push(start, end.clone(), old.merge(noted));
            from = end;
        }
        if let Some(from) = from.filter(before_end) {
            push(from, span.end.clone(), noted);
        }
        for (start, end, noted) in pieces {
            self.put_span(start, end, noted);
        }
    }

    fn put_span(&mut self, start: Key, end: Option<Key>, noted: Noted) {
        self.bytes += start.len() + ENTRY_OVERHEAD;
        self.spans.insert(start, (end, noted));
    }

    /// Makes `key` a border between entries.
    fn cut_at(&mut self, key: &Key) {
        let Some((start, (end, noted))) = self.spans.range_mut::<Key, _>(..=key).next_back() else { return };
        if start == key || end.as_ref().is_some_and(|end| end <= key) {
            return;
        }
        let (right, noted) = (end.replace(key.clone()), *noted);
        self.put_span(key.clone(), right, noted);
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

    /// The latest read that `key` may have seen.
    pub fn get(&self, key: &Key) -> Noted {
        let low = Noted { ts: self.low_water, by: None };
        low.merge(self.current.get(key)).merge(self.previous.get(key))
    }

    /// Nothing was read above.
    pub fn latest(&self) -> Timestamp {
        self.low_water.max(self.current.max).max(self.previous.max)
    }

    pub fn add_point(&mut self, key: &Key, ts: Timestamp, by: Option<TxnId>) {
        if ts > self.low_water {
            self.current.add_point(key, Noted { ts, by });
            self.bound();
        }
    }

    pub fn add_span(&mut self, span: &Span, ts: Timestamp, by: Option<TxnId>) {
        if ts > self.low_water && !span.is_empty() {
            self.current.add_span(span, Noted { ts, by });
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.current.bytes > self.max_bytes {
            if !quorate_env::planted!("shard.cache_forgets") {
                self.low_water = self.low_water.max(self.previous.max);
            }
            self.previous = std::mem::take(&mut self.current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<TxnId> = Some(TxnId(1));
    const B: Option<TxnId> = Some(TxnId(2));

    fn ts(n: u64) -> Timestamp {
        Timestamp(n)
    }

    fn key(text: &str) -> Key {
        Key::from(text)
    }

    #[test]
    fn the_highest_read_wins() {
        let mut cache = TsCache::new(ts(5), 1 << 20);
        cache.add_point(&key("a"), ts(3), A);
        assert_eq!(cache.get(&key("a")), Noted { ts: ts(5), by: None });
        cache.add_point(&key("a"), ts(9), A);
        cache.add_point(&key("a"), ts(7), B);
        assert_eq!((cache.get(&key("a")).ts, cache.get(&key("b")).ts), (ts(9), ts(5)));
        cache.add_span(&Span::new("b", "d"), ts(8), A);
        cache.add_span(&Span { start: key("c"), end: None }, ts(10), A);
        let got = ["a", "b", "bz", "c", "d", "zz"].map(|k| cache.get(&key(k)).ts.0);
        assert_eq!(got, [9, 8, 8, 10, 10, 10]);
    }

    #[test]
    fn one_may_write_where_only_oneself_has_read() {
        let mut cache = TsCache::new(ts(0), 1 << 20);
        cache.add_span(&Span::new("a", "z"), ts(9), A);
        assert_eq!(cache.get(&key("k")).floor_for(TxnId(1)), ts(9));
        assert_eq!(cache.get(&key("k")).floor_for(TxnId(2)), ts(10));
        cache.add_point(&key("k"), ts(9), B);
        assert_eq!(cache.get(&key("k")).floor_for(TxnId(1)), ts(10), "both have read there");
        cache.add_span(&Span::new("p", "q"), ts(9), B);
        assert_eq!(cache.get(&key("p")).by, None);
        assert_eq!(cache.get(&key("q")).by, A);
    }

    #[test]
    fn forgetting_raises_the_low_water() {
        let mut cache = TsCache::new(ts(0), 400);
        for n in 1..=20u64 {
            cache.add_point(&key(&format!("k{n}")), ts(n), A);
            assert!(cache.current.bytes + cache.previous.bytes <= 400 + ENTRY_OVERHEAD + 8);
        }
        assert!(cache.low_water > ts(0) && cache.low_water < ts(20));
        for n in 1..=20u64 {
            assert!(cache.get(&key(&format!("k{n}"))).ts >= ts(n));
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_plain_list(ops in proptest::collection::vec((0u8..12, 0u8..12, 1u64..9, 0u128..3), 1..60)) {
            let mut cache = TsCache::new(ts(0), 1 << 20);
            let mut list = Vec::new();
            let name = |n: u8| Key::from(vec![b'a' + n]);
            for (a, b, at, by) in ops {
                let noted = Noted { ts: ts(at), by: (by > 0).then_some(TxnId(by)) };
                if a == b {
                    cache.add_point(&name(a), noted.ts, noted.by);
                    list.push((Span::point(&name(a)), noted));
                } else {
                    let end = (a.max(b) < 11).then(|| name(a.max(b)));
                    let span = Span { start: name(a.min(b)), end };
                    cache.add_span(&span, noted.ts, noted.by);
                    list.push((span, noted));
                }
                for n in 0..13 {
                    let k = name(n);
                    let want = list.iter().filter(|(s, _)| s.contains(&k)).map(|(_, n)| *n).reduce(Noted::merge);
                    assert_eq!(cache.get(&k), want.unwrap_or_default());
                }
                let pieces: Vec<_> = cache.current.spans.iter().collect();
                for pair in pieces.windows(2) {
                    assert!(pair[0].1.0.as_ref().is_some_and(|end| end <= pair[1].0), "disjoint");
                }
                let bytes: usize = cache.current.spans.keys().chain(cache.current.points.keys())
                    .map(|k| k.len() + ENTRY_OVERHEAD).sum();
                assert_eq!(bytes, cache.current.bytes);
            }
        }
    }
}
