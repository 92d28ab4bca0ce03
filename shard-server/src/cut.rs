//! Where a shard might be split: at a row of its own with another one before it, so that neither half is empty.

use quorate_proto::{Key, Span, placement::Cut};
use quorate_storage::{Engine, Family, FamilyRange, Snapshot, mvcc};

/// Fewer requests say nothing.
const ENOUGH: usize = 32;
/// Of a thousand requests each half must get so many, or the split is not worth it.
const WORTH: u64 = 250;
/// A half is one within a sixteenth of the whole; the search ends after so many steps at the latest.
const NEAR: u64 = 16;
const STEPS: u32 = 48;

/// The key that divides these requests best. Requests that ask for both sides count for none.
pub fn by_load(engine: &dyn Engine, span: &Span, asked: &[Span]) -> Option<Cut> {
    let inside: Vec<&Span> = asked.iter().filter(|asked| span.overlaps(asked)).collect();
    if inside.len() < ENOUGH {
        return None;
    }
    let mut keys: Vec<&Key> = inside.iter().map(|asked| &asked.start).collect();
    keys.sort();
    keys.dedup();
    let best = keys.into_iter().filter(|key| **key > span.start).max_by_key(|key| {
        let (left, right) = shares(key, &inside);
        left.min(right)
    })?;
    // Asked for is also what is not there.
    let snapshot = engine.snapshot();
    let at = row(&*snapshot, &Span { start: best.clone(), end: span.end.clone() }, false)?;
    row(&*snapshot, &Span { start: span.start.clone(), end: Some(at.clone()) }, false)?;
    let (left_load, right_load) = shares(&at, &inside);
    let worth = left_load >= WORTH && right_load >= WORTH;
    worth.then(|| {
        let (left_bytes, right_bytes) = halves(engine, span, &at);
        Cut { at, left_bytes, right_bytes, left_load, right_load }
    })
}

/// Of a thousand requests, how many lie before the key, and how many behind it.
fn shares(at: &Key, asked: &[&Span]) -> (u64, u64) {
    let left = asked.iter().filter(|asked| asked.end.as_ref().is_some_and(|end| end <= at)).count();
    let right = asked.iter().filter(|asked| asked.start >= *at).count();
    let of_all = |part: usize| (part * 1000 / asked.len().max(1)) as u64;
    (of_all(left), of_all(right))
}

/// The key with about as many bytes before it as behind it. No row is read on the way: the search halves the space of keys.
pub fn by_size(engine: &dyn Engine, span: &Span) -> Option<Cut> {
    let snapshot = engine.snapshot();
    let (first, last) = (row(&*snapshot, span, false)?, row(&*snapshot, span, true)?);
    let all = bytes(engine, span);
    let (mut low, mut high) = (first.clone(), last);
    for _ in 0..STEPS {
        let Some(middle) = between(&low, &high) else { break };
        let (left, _) = halves(engine, span, &middle);
        if left < all / 2 {
            low = middle;
        } else {
            high = middle;
        }
        if left.abs_diff(all / 2) <= all / NEAR {
            break;
        }
    }
    // The last step has moved one of them to where it wants to be; nothing is cut off before the first row.
    let start = if low > first && near(engine, span, &low, all) { low } else { high };
    let at = row(&*snapshot, &Span { start, end: span.end.clone() }, false)?;
    let (left_bytes, right_bytes) = halves(engine, span, &at);
    (at > first).then_some(Cut { at, left_bytes, right_bytes, left_load: 0, right_load: 0 })
}

fn near(engine: &dyn Engine, span: &Span, at: &Key, all: u64) -> bool {
    halves(engine, span, at).0.abs_diff(all / 2) <= all / NEAR
}

/// The first or the last key of the span at which something is stored.
fn row(snapshot: &dyn Snapshot, span: &Span, last: bool) -> Option<Key> {
    let range = FamilyRange::of_span(Family::Data, span);
    let (raw, _) = snapshot.iter(Family::Data, &range.start, range.end.as_deref(), last).next()?.ok()?;
    mvcc::split_data_key(&raw).ok().map(|(key, _)| key)
}

fn halves(engine: &dyn Engine, span: &Span, at: &Key) -> (u64, u64) {
    let left = Span { start: span.start.clone(), end: Some(at.clone()) };
    let right = Span { start: at.clone(), end: span.end.clone() };
    (bytes(engine, &left), bytes(engine, &right))
}

/// All that is stored for these keys, about. What cannot be told counts for nothing: then there is no split.
pub fn bytes(engine: &dyn Engine, span: &Span) -> u64 {
    let of = |family: &Family| engine.size(&FamilyRange::of_span(*family, span)).unwrap_or_default();
    Family::KEYED.iter().map(of).sum()
}

/// A key in the middle of the space between two, told apart in their first sixteen bytes behind what they share.
fn between(low: &Key, high: &Key) -> Option<Key> {
    let shared = low.iter().zip(high.iter()).take_while(|(a, b)| a == b).count();
    let number = |key: &Key| {
        let mut raw = [0; 16];
        let rest = key.get(shared..).unwrap_or_default();
        let length = rest.len().min(16);
        raw[..length].copy_from_slice(&rest[..length]);
        u128::from_be_bytes(raw)
    };
    let (from, to) = (number(low), number(high));
    let middle = from + to.checked_sub(from)? / 2;
    let raw = [&low[..shared], &middle.to_be_bytes()[..]].concat();
    let middle = Key::from(raw);
    (middle > *low && middle < *high).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Timestamp;
    use quorate_storage::{MemEngine, WriteBatch};

    fn engine(rows: impl Iterator<Item = (String, usize)>) -> MemEngine {
        let engine = MemEngine::new();
        let mut batch = WriteBatch::new();
        for (key, bytes) in rows {
            let value = vec![b'x'; bytes];
            mvcc::put_version(&mut batch, key.as_bytes(), Timestamp::from_micros(1), Some(&value));
        }
        engine.write(&batch).unwrap();
        engine
    }

    fn points<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<Span> {
        keys.into_iter().map(|key| Span::point(&Key::from(key))).collect()
    }

    #[test]
    fn by_size_in_the_middle_wherever_the_bytes_are() {
        let even = engine((0..1000).map(|n| (format!("table/{n:05}"), 100)));
        let cut = by_size(&even, &Span::ALL).unwrap();
        let share = cut.left_bytes * 100 / (cut.left_bytes + cut.right_bytes);
        assert!((42..=58).contains(&share), "{cut:?}");
        let uneven = engine((0..1000).map(|n| (format!("table/{n:05}"), if n < 900 { 10 } else { 5000 })));
        let cut = by_size(&uneven, &Span::ALL).unwrap();
        let share = cut.left_bytes * 100 / (cut.left_bytes + cut.right_bytes);
        assert!((42..=58).contains(&share) && cut.at >= Key::from("table/00900"), "{cut:?}");
        let (two, one) = (
            engine(["a", "b"].map(|key| (key.to_owned(), 9)).into_iter()),
            engine([("a".to_owned(), 9)].into_iter()),
        );
        assert_eq!(by_size(&two, &Span::ALL).unwrap().at, Key::from("b"));
        assert_eq!(by_size(&one, &Span::ALL), None);
        assert_eq!(by_size(&MemEngine::new(), &Span::ALL), None);
    }

    #[test]
    fn one_large_row_goes_to_a_half_of_its_own() {
        let engine =
            engine([("a", 10), ("b", 10), ("c", 10_000)].map(|(key, n)| (key.to_owned(), n)).into_iter());
        assert_eq!(by_size(&engine, &Span::ALL).unwrap().at, Key::from("c"));
    }

    #[test]
    fn by_load_between_the_requests() {
        let engine = engine((0..100).map(|n| (format!("k{n:02}"), 10)));
        let keys: Vec<String> = (0..64).map(|n| format!("k{:02}", 30 + n % 8)).collect();
        let cut = by_load(&engine, &Span::ALL, &points(keys.iter().map(String::as_str))).unwrap();
        assert_eq!((cut.at, cut.left_load, cut.right_load), (Key::from("k34"), 500, 500));
        assert!(cut.left_bytes > 0 && cut.right_bytes > cut.left_bytes);
    }

    #[test]
    fn one_hot_key_and_scans_of_everything_are_not_divided() {
        let engine = engine((0..100).map(|n| (format!("k{n:02}"), 10)));
        assert_eq!(by_load(&engine, &Span::ALL, &points(vec!["k50"; 100])), None);
        let scans = vec![Span::new("k00", "k99"); 100];
        assert_eq!(by_load(&engine, &Span::ALL, &scans), None);
        assert_eq!(by_load(&engine, &Span::ALL, &points(["k10", "k20"])), None, "too few");
    }

    #[test]
    fn reads_of_absent_keys_give_no_empty_half() {
        let engine = engine((0..10).map(|n| (format!("m{n}"), 10)));
        let absent: Vec<String> = (0..64).map(|n| format!("z{n:02}")).collect();
        assert_eq!(by_load(&engine, &Span::ALL, &points(absent.iter().map(String::as_str))), None);
        let absent: Vec<String> = (0..64).map(|n| format!("a{n:02}")).collect();
        assert_eq!(by_load(&engine, &Span::ALL, &points(absent.iter().map(String::as_str))), None);
        // Some of them are there: the cut is a row.
        let mixed: Vec<String> =
            (0..64).map(|n| format!("m{}{}", n % 10, if n % 2 == 0 { "" } else { "x" })).collect();
        let cut = by_load(&engine, &Span::ALL, &points(mixed.iter().map(String::as_str))).unwrap();
        assert_eq!(cut.at.len(), 2, "{cut:?}");
    }

    #[test]
    fn keys_in_the_middle() {
        let of = |low: &str, high: &str| between(&Key::from(low), &Key::from(high));
        assert!(of("a", "a").is_none());
        let middle = of("table/1", "table/9").unwrap();
        assert!(middle > Key::from("table/4") && middle < Key::from("table/6"), "{middle:?}");
        assert!(of("", "a").is_some_and(|middle| middle > Key::MIN));
    }
}
