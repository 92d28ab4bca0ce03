//! A snapshot that remembers: an evaluation asks for the same intent and the same newest version several times, once for
//! each thing that it proves of a key.

use super::{Cursor, Family, Snapshot};
use crate::Result;
use bytes::Bytes;
use parking_lot::Mutex;

/// Answers kept. Looking through them must cost less than asking again, and most requests concern a few keys.
const KEPT: usize = 16;

/// Keeps its first few answers to [`Snapshot::get`] and [`Snapshot::seek_prefix`]; a snapshot never answers otherwise.
pub struct Remembered {
    inner: Box<dyn Snapshot>,
    answers: Mutex<Vec<Answer>>,
}

struct Answer {
    family: Family,
    key: Vec<u8>,
    /// `None` asks for the key itself.
    prefix: Option<usize>,
    found: Option<(Bytes, Bytes)>,
}

impl Remembered {
    pub fn new(inner: Box<dyn Snapshot>) -> Self {
        Remembered { inner, answers: Mutex::default() }
    }

    fn answer(
        &self,
        family: Family,
        key: &[u8],
        prefix: Option<usize>,
        ask: impl FnOnce() -> Result<Option<(Bytes, Bytes)>>,
    ) -> Result<Option<(Bytes, Bytes)>> {
        let same = |known: &&Answer| known.family == family && known.prefix == prefix && known.key == key;
        if let Some(known) = self.answers.lock().iter().find(same) {
            return Ok(known.found.clone());
        }
        let found = ask()?;
        let mut answers = self.answers.lock();
        if answers.len() < KEPT {
            answers.push(Answer { family, key: key.to_vec(), prefix, found: found.clone() });
        }
        Ok(found)
    }
}

impl Snapshot for Remembered {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let ask = || Ok(self.inner.get(family, key)?.map(|value| (Bytes::new(), value)));
        Ok(self.answer(family, key, None, ask)?.map(|(_, value)| value))
    }

    fn seek_prefix(&self, family: Family, from: &[u8], prefix: usize) -> Result<Option<(Bytes, Bytes)>> {
        self.answer(family, from, Some(prefix), || self.inner.seek_prefix(family, from, prefix))
    }

    fn cursor(&self, family: Family, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>> {
        self.inner.cursor(family, start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemEngine, WriteBatch, engine::Engine};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    struct Counting(Box<dyn Snapshot>, Arc<AtomicUsize>);

    impl Snapshot for Counting {
        fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(family, key)
        }

        fn seek_prefix(&self, family: Family, from: &[u8], prefix: usize) -> Result<Option<(Bytes, Bytes)>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.seek_prefix(family, from, prefix)
        }

        fn cursor(&self, family: Family, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>> {
            self.0.cursor(family, start, end)
        }
    }

    /// Each question that snapshots answer, asked of the snapshot.
    fn all_answers(snapshot: &dyn Snapshot) -> Vec<Option<(Bytes, Bytes)>> {
        let mut answers = Vec::new();
        for key in [&b"a1"[..], b"a2", b"b", b"b1"] {
            for family in [Family::Data, Family::Intent] {
                answers.push(snapshot.get(family, key).unwrap().map(|value| (Bytes::new(), value)));
                for prefix in 0..=key.len() {
                    answers.push(snapshot.seek_prefix(family, key, prefix).unwrap());
                }
            }
        }
        answers
    }

    #[test]
    fn answers_are_those_of_the_snapshot_and_asked_for_once() {
        let engine = MemEngine::new();
        let mut batch = WriteBatch::default();
        for (family, key) in
            [(Family::Data, "a2"), (Family::Data, "b1"), (Family::Intent, "a1"), (Family::Intent, "b")]
        {
            batch.put(family, key.as_bytes().to_vec(), Bytes::from(format!("{family:?} {key}")));
        }
        engine.write(&batch).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let remembered = Remembered::new(Box::new(Counting(engine.snapshot(), asked.clone())));
        let expected = all_answers(&*engine.snapshot());
        assert!(expected.len() > KEPT, "more than are kept");
        for round in 0..3 {
            assert_eq!(all_answers(&remembered), expected, "round {round}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3 * expected.len() - 2 * KEPT);
    }
}
