//! An ordered map that keeps what was touched last in memory and the rest in scratch space.

use crate::scratch::{Pair, Result, ScratchError, ScratchStore};
use bytes::Bytes;
use minicbor::{Decode, Encode};
use quorate_proto::{Key, Span};
use std::{cmp::Ordering, collections::BTreeMap, iter::Peekable, ops::Bound, sync::Arc};

/// Several maps may share one store, each in a space of its own.
///
/// In the store: `[space] ++ key` → the value in CBOR.
#[derive(Clone)]
pub struct OverflowMap<V> {
    space: u8,
    /// What counts; `None`: removed, though there may be one below.
    recent: BTreeMap<Key, Option<V>>,
    below: Option<Arc<dyn ScratchStore>>,
}

impl<V: Clone + Sync + Encode<()> + for<'b> Decode<'b, ()>> OverflowMap<V> {
    pub fn new(space: u8) -> Self {
        OverflowMap { space, recent: BTreeMap::new(), below: None }
    }

    /// What `look` makes of the key's value.
    pub fn with<R>(&self, key: &Key, look: impl FnOnce(&V) -> R) -> Result<Option<R>> {
        match self.recent.get(key) {
            Some(value) => Ok(value.as_ref().map(look)),
            None => Ok(self.fetch(key)?.as_ref().map(look)),
        }
    }

    pub fn contains(&self, key: &Key) -> Result<bool> {
        Ok(self.with(key, |_| ())?.is_some())
    }

    /// The value to be changed in place; it is in memory then.
    pub fn get_mut(&mut self, key: &Key) -> Result<Option<&mut V>> {
        if self.below.is_some() && !self.recent.contains_key(key) {
            match self.fetch(key)? {
                Some(value) => drop(self.recent.insert(key.clone(), Some(value))),
                None => return Ok(None),
            }
        }
        Ok(self.recent.get_mut(key).and_then(Option::as_mut))
    }

    pub fn insert(&mut self, key: Key, value: V) {
        self.recent.insert(key, Some(value));
    }

    pub fn remove(&mut self, key: &Key) {
        if self.below.is_some() {
            self.recent.insert(key.clone(), None);
        } else {
            self.recent.remove(key);
        }
    }

    /// The pairs of a span, in key order or against it.
    pub fn range<'a>(&'a self, span: &Span, reverse: bool) -> Range<'a, V> {
        let (recent, below): (Recent<'a, V>, Below<'a>) = if span.is_empty() {
            (Box::new(std::iter::empty()), Box::new(std::iter::empty()))
        } else {
            (self.recent_range(span, reverse), self.below_range(span, reverse))
        };
        Range { reverse, recent: recent.peekable(), below: below.peekable() }
    }

    fn recent_range(&self, span: &Span, reverse: bool) -> Recent<'_, V> {
        let end = span.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.recent.range::<Key, _>((Bound::Included(&span.start), end));
        if reverse { Box::new(range.rev()) } else { Box::new(range) }
    }

    fn below_range(&self, span: &Span, reverse: bool) -> Below<'_> {
        let Some(store) = &self.below else { return Box::new(std::iter::empty()) };
        let end = span.end.as_ref().map_or_else(|| vec![self.space + 1], |end| self.raw(end));
        store.range(&self.raw(&span.start), &end, reverse)
    }

    /// Moves all that is in memory down.
    pub fn spill(&mut self, store: &Arc<dyn ScratchStore>) -> Result<()> {
        self.below = Some(store.clone());
        let mut raw = Vec::new();
        while let Some(first) = self.recent.first_entry() {
            let key = self::raw(self.space, first.key());
            match first.get() {
                None => store.delete(&key)?,
                Some(value) => {
                    raw.clear();
                    minicbor::encode(value, &mut raw).map_err(|error| ScratchError(error.to_string()))?;
                    store.put(&key, &raw)?;
                }
            }
            first.remove();
        }
        Ok(())
    }

    fn fetch(&self, key: &Key) -> Result<Option<V>> {
        let Some(store) = &self.below else { return Ok(None) };
        store.get(&self.raw(key))?.map(|raw| decode(&raw)).transpose()
    }

    fn raw(&self, key: &Key) -> Vec<u8> {
        raw(self.space, key)
    }
}

fn raw(space: u8, key: &Key) -> Vec<u8> {
    let mut raw = Vec::with_capacity(1 + key.len());
    raw.push(space);
    raw.extend_from_slice(key);
    raw
}

fn decode<V: for<'b> Decode<'b, ()>>(raw: &Bytes) -> Result<V> {
    minicbor::decode(raw).map_err(|error| ScratchError(error.to_string()))
}

type Recent<'a, V> = Box<dyn Iterator<Item = (&'a Key, &'a Option<V>)> + Send + 'a>;
type Below<'a> = Box<dyn Iterator<Item = Result<Pair>> + Send + 'a>;

/// Both tiers in one order; what is in memory hides what is below.
pub struct Range<'a, V> {
    reverse: bool,
    recent: Peekable<Recent<'a, V>>,
    below: Peekable<Below<'a>>,
}

impl<V: Clone + for<'b> Decode<'b, ()>> Range<'_, V> {
    /// The next key of either tier; `None` stands for one that was removed.
    fn step(&mut self) -> Result<Option<(Key, Option<V>)>> {
        let order = match (self.recent.peek(), self.below.peek()) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None | Some(_), Some(Err(_))) | (None, Some(Ok(_))) => Ordering::Greater,
            (Some((recent, _)), Some(Ok((below, _)))) => {
                let order = recent[..].cmp(&below[1..]);
                if self.reverse { order.reverse() } else { order }
            }
        };
        if order != Ordering::Less
            && let Some(pair) = self.below.next()
        {
            let (key, value) = pair?;
            if order == Ordering::Greater {
                return Ok(Some((key.slice(1..).into(), Some(decode(&value)?))));
            }
        }
        Ok(self.recent.next().map(|(key, value)| (key.clone(), value.clone())))
    }
}

impl<V: Clone + for<'b> Decode<'b, ()>> Iterator for Range<'_, V> {
    type Item = Result<(Key, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some((key, Some(value)))) => return Some(Ok((key, value))),
                Ok(Some((_, None))) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{MemoryScratch, Scratch};
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u64),
        Remove(u8),
        Change(u8, u64),
        Spill,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u8..12, any::<u64>()).prop_map(|(key, value)| Step::Insert(key, value)),
            2 => (0u8..12).prop_map(Step::Remove),
            2 => (0u8..12, any::<u64>()).prop_map(|(key, value)| Step::Change(key, value)),
            1 => Just(Step::Spill),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in steps(), start in 0u8..12, len in 0u8..12, reverse: bool) {
            let store = MemoryScratch.open().unwrap();
            let mut map = OverflowMap::new(3);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        map.insert(vec![key].into(), value);
                        model.insert(key, value);
                    }
                    Step::Remove(key) => {
                        map.remove(&vec![key].into());
                        model.remove(&key);
                    }
                    Step::Change(key, value) => {
                        let mine = map.get_mut(&vec![key].into()).unwrap();
                        prop_assert_eq!(mine.as_deref(), model.get(&key));
                        mine.into_iter().for_each(|mine| *mine = value);
                        model.entry(key).and_modify(|theirs| *theirs = value);
                    }
                    Step::Spill => map.spill(&store).unwrap(),
                }
                for key in 0..12 {
                    let mine = map.with(&vec![key].into(), |value| *value).unwrap();
                    prop_assert_eq!(mine, model.get(&key).copied());
                }
            }
            let span = Span::new(vec![start], vec![start + len]);
            let seen: Vec<_> = map.range(&span, reverse).map(|pair| pair.map(|(k, v)| (k[0], v)).unwrap()).collect();
            let mut expected: Vec<_> = model.range(start..start + len).map(|(k, v)| (*k, *v)).collect();
            if reverse { expected.reverse(); }
            prop_assert_eq!(seen, expected);
            let all: Vec<_> = map.range(&Span::ALL, false).map(|pair| pair.unwrap().0[0]).collect();
            prop_assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
        }
    }
}
