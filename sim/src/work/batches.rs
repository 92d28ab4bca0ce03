//! Many rows that are all written by each transaction that writes any: too many for its memory, where the seed draws little of
//! it. Whoever reads them sees those of one transaction.

use super::{
    Workload,
    ground::{Ground, Told, Try, put, scan},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use futures::future::try_join;
use parking_lot::Mutex;
use quorate_proto::{Key, Span, Timestamp, Value};
use quorate_txn::{Txn, TxnOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

const SLOTS: u64 = 2;
const HALVES: [u8; 2] = [0x10, 0x90];
/// In each half.
const ROWS: u8 = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Batch {
    slot: u64,
    told: Told,
}

pub struct Batches {
    ground: Ground,
    next: AtomicU64,
    written: Mutex<BTreeMap<u64, Batch>>,
    problems: Mutex<Vec<String>>,
}

/// The batch to which all rows of a slot belong, given both halves of it.
fn batch(rows: &BTreeMap<Vec<u8>, Value>) -> Result<Option<u64>, String> {
    let numbers: BTreeSet<Option<u64>> = rows.values().map(|row| rows::number(row)).collect();
    let all = HALVES.len() * usize::from(ROWS);
    match (rows.len(), numbers.first()) {
        (0, _) => Ok(None),
        (length, Some(Some(number))) if length == all && numbers.len() == 1 => Ok(Some(*number)),
        (length, _) => Err(format!("{length} rows are of the batches {numbers:?}")),
    }
}

impl Batches {
    pub fn new(ground: Ground) -> Self {
        let (written, problems) = (Mutex::default(), Mutex::default());
        Batches { ground, next: AtomicU64::new(1), written, problems }
    }

    fn rows(&self, slot: u64, number: u64) -> Vec<(Key, Value)> {
        let keys = HALVES.iter().flat_map(|half| (0..ROWS).map(|row| [*half, slot as u8, row]));
        // Of some length.
        keys.map(|key| (self.ground.key(&key), rows::encode(&[number; 8]))).collect()
    }

    async fn write(&self, node: &Node) {
        let (slot, number) = (self.ground.draw(SLOTS), self.next.fetch_add(1, Ordering::Relaxed));
        let rows = self.rows(slot, number);
        let tried = self.ground.attempt(node, TxnOptions::default(), put(rows)).await;
        self.written.lock().insert(number, Batch { slot, told: tried.told });
    }

    async fn look(&self, node: &Node) {
        let slot = self.ground.draw(SLOTS);
        let [one, other] = HALVES.map(|half| Span::prefix(&self.ground.key(&[half, slot as u8])));
        let body = move |txn: Txn| {
            let halves = [one.clone(), other.clone()].map(|half| scan(txn.clone(), half));
            async move {
                let [one, other] = halves;
                let (mut one, other) = try_join(one, other).await?;
                one.extend(other);
                Ok(one)
            }
        };
        let tried: Try<BTreeMap<Vec<u8>, Value>> =
            self.ground.attempt(node, self.ground.looking(node), body).await;
        if let (Told::Committed(ts), Some(rows)) = (tried.told, tried.value) {
            self.problems
                .lock()
                .extend(batch(&rows).err().map(|what| format!("slot {slot} at {ts}: {what}")));
        }
    }

    /// What is wrong with the batch that is left in a slot.
    fn judge(&self, slot: u64, number: u64) -> Option<String> {
        let written = self.written.lock();
        let latest: Option<(Timestamp, u64)> = written
            .iter()
            .filter(|(_, batch)| batch.slot == slot)
            .filter_map(|(number, batch)| match batch.told {
                Told::Committed(ts) => Some((ts, *number)),
                _ => None,
            })
            .max();
        match (written.get(&number).map(|batch| batch.told), latest) {
            (Some(Told::Failed), _) => Some(format!("batch {number} of slot {slot} has failed and is there")),
            (Some(Told::Committed(ts)), Some((later, other))) if later > ts => {
                Some(format!("slot {slot} holds batch {number} of {ts}; {other} of {later} is lost"))
            }
            (None, Some((ts, other))) => {
                Some(format!("slot {slot} is as it was at first; batch {other} of {ts} is lost"))
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Workload for Batches {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn open(&self) -> Result<(), String> {
        self.ground.lay_out((0..SLOTS).flat_map(|slot| self.rows(slot, 0)).collect()).await
    }

    async fn step(&self, node: &Node) {
        if self.ground.chance(0.5) {
            self.look(node).await;
        } else {
            self.write(node).await;
        }
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let everything = self.ground.everything().await?;
        let mut problems = self.problems.lock().clone();
        for slot in 0..SLOTS {
            let rows = everything.iter().filter(|(key, _)| key.get(1) == Some(&(slot as u8)));
            match batch(&rows.map(|(key, row)| (key.clone(), row.clone())).collect()) {
                Ok(Some(number)) => problems.extend(self.judge(slot, number)),
                Ok(None) => problems.push(format!("slot {slot} is empty in the end")),
                Err(what) => problems.push(format!("slot {slot} in the end: {what}")),
            }
        }
        Ok(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: impl Fn(u8) -> u64) -> BTreeMap<Vec<u8>, Value> {
        let rows = HALVES.iter().flat_map(|half| (0..ROWS).map(|row| vec![*half, 0, row]));
        rows.map(|key| (key.clone(), rows::encode(&[number(key[2])]))).collect()
    }

    #[test]
    fn a_batch_is_whole_or_none() {
        assert_eq!(batch(&slot(|_| 5)), Ok(Some(5)));
        assert_eq!(batch(&BTreeMap::new()), Ok(None));
        assert!(batch(&slot(|row| if row == 3 { 4 } else { 5 })).is_err());
        let mut short = slot(|_| 5);
        short.pop_first();
        assert!(batch(&short).is_err());
    }
}
