//! The set of spans that a transaction has read, in bounded memory.

use quorate_proto::{Key, Span};
use std::collections::BTreeMap;

/// Disjoint spans in key order; what touches is merged. Above `limit` spans, neighbours with the narrowest gap are joined:
/// the set then covers more than was read, which can only cause a retry too many, never one too few.
#[derive(Clone, Debug)]
pub struct SpanSet {
    /// Start → end. Invariant: no two spans overlap or touch.
    spans: BTreeMap<Key, Option<Key>>,
    limit: usize,
}

impl SpanSet {
    pub fn new(limit: usize) -> Self {
        SpanSet { spans: BTreeMap::new(), limit: limit.max(2) }
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn clear(&mut self) {
        self.spans.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.spans.iter().map(|(start, end)| Span { start: start.clone(), end: end.clone() })
    }

    pub fn covers(&self, span: &Span) -> bool {
        self.spans
            .range::<Key, _>(..=&span.start)
            .next_back()
            .is_some_and(|(start, end)| Span { start: start.clone(), end: end.clone() }.contains_span(span))
    }

    pub fn insert(&mut self, span: Span) {
        if span.is_empty() || self.covers(&span) {
            return;
        }
        let (mut start, mut end) = (span.start, span.end);
        if let Some((before, before_end)) = self.spans.range::<Key, _>(..=&start).next_back()
            && before_end.as_ref().is_none_or(|e| *e >= start)
        {
            end = later(end, before_end.clone());
            start = before.clone();
        }
        // Everything that begins inside or at the end of the new span joins it.
        loop {
            let next = match &end {
                Some(end) => self.spans.range::<Key, _>(&start..=end).next(),
                None => self.spans.range::<Key, _>(&start..).next(),
            };
            let Some((key, _)) = next else { break };
            let key = key.clone();
            if let Some(other_end) = self.spans.remove(&key) {
                end = later(end, other_end);
            }
        }
        self.spans.insert(start, end);
        if self.spans.len() > self.limit {
            self.compact();
        }
    }

    /// Halves the number of spans by joining those neighbours whose gap shares the longest prefix.
    fn compact(&mut self) {
        let spans: Vec<(Key, Option<Key>)> = std::mem::take(&mut self.spans).into_iter().collect();
        let closeness = |i: usize| -> usize {
            let (Some(end), start) = (&spans[i].1, &spans[i + 1].0) else { return usize::MAX };
            end.iter().zip(start.iter()).take_while(|(a, b)| a == b).count()
        };
        let mut gaps: Vec<usize> = (0..spans.len() - 1).collect();
        gaps.sort_by_key(|&i| (std::cmp::Reverse(closeness(i)), i));
        let mut join = vec![false; spans.len()];
        for &gap in gaps.iter().take(spans.len() / 2) {
            join[gap + 1] = true;
        }
        let mut out: Vec<(Key, Option<Key>)> = Vec::with_capacity(spans.len());
        for (i, (start, end)) in spans.into_iter().enumerate() {
            match out.last_mut() {
                Some(last) if join[i] => last.1 = later(last.1.take(), end),
                _ => out.push((start, end)),
            }
        }
        self.spans = out.into_iter().collect();
    }
}

/// The later of two ends, where none is the end of the key space.
fn later(a: Option<Key>, b: Option<Key>) -> Option<Key> {
    Some(a?.max(b?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn merges_what_touches() {
        let mut set = SpanSet::new(10);
        set.insert(Span::new("b", "d"));
        set.insert(Span::new("f", "h"));
        set.insert(Span::new("d", "e"));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Span::new("b", "e"), Span::new("f", "h")]);
        set.insert(Span::new("a", "z"));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Span::new("a", "z")]);
        set.insert(Span { start: Key::from("q"), end: None });
        assert_eq!(set.iter().collect::<Vec<_>>(), [Span { start: Key::from("a"), end: None }]);
    }

    proptest! {
        #[test]
        fn covers_all_that_was_inserted(points in prop::collection::vec((0u8..40, 1u8..6), 1..80), limit in 2usize..12) {
            let mut set = SpanSet::new(limit);
            let mut exact = SpanSet::new(10_000);
            let mut model = [false; 64];
            for (start, len) in points {
                let span = Span::new(vec![start], vec![start + len]);
                set.insert(span.clone());
                exact.insert(span);
                model[start as usize..(start + len) as usize].fill(true);
                prop_assert!(set.len() <= limit);
            }
            for (i, read) in model.iter().enumerate() {
                let inside = |s: &SpanSet| s.iter().any(|span| span.contains(&[i as u8]));
                prop_assert_eq!(inside(&exact), *read);
                prop_assert!(!read || inside(&set));
            }
            let spans: Vec<Span> = exact.iter().collect();
            prop_assert!(spans.windows(2).all(|w| w[0].end.as_ref().unwrap() < &w[1].start));
        }
    }
}
