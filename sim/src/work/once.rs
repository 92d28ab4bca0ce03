//! Counting, each count under a key of its own that is written with it: whoever does not know whether it happened tries again
//! blindly, with the same key, through any node. It happens once.

use super::{
    Workload,
    ground::{Ground, Told, damaged},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_proto::{Key, Value};
use quorate_txn::{Txn, TxnError, TxnOptions};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

const COUNTERS: u64 = 4;
/// So often a client tries.
const TRIES: u64 = 6;

const COUNTER: u8 = 0x10;
const DONE: u8 = 0x90;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// Each try was told to have failed.
    Failed,
    Unknown,
}

pub struct Once {
    ground: Ground,
    next: AtomicU64,
    fates: Mutex<BTreeMap<u64, Fate>>,
}

/// What is wrong with what is left.
fn judge(rows: &BTreeMap<Vec<u8>, Value>, fates: &BTreeMap<u64, Fate>) -> Vec<String> {
    let done = rows::numbered(rows, &[DONE]);
    let mut problems = Vec::new();
    for (counter, count) in rows::numbered(rows, &[COUNTER]) {
        let keys = done.values().filter(|counted| **counted == counter).count() as u64;
        if keys != count {
            problems.push(format!("counter {counter} stands at {count}, by {keys} keys"));
        }
    }
    for (key, fate) in fates {
        match (fate, done.contains_key(key)) {
            (Fate::Acknowledged, false) => problems.push(format!("key {key} was acknowledged and is lost")),
            (Fate::Failed, true) => problems.push(format!("key {key} was said to have failed and is there")),
            _ => {}
        }
    }
    problems
}

impl Once {
    pub fn new(ground: Ground) -> Self {
        Once { ground, next: AtomicU64::new(1), fates: Mutex::default() }
    }

    fn counter(&self, counter: u64) -> Key {
        self.ground.numbered(COUNTER, counter)
    }
}

async fn count(txn: Txn, counter: Key, done: Key, number: u64) -> Result<(), TxnError> {
    if txn.get(&done, None).await?.is_some() {
        return Ok(());
    }
    let count = txn.get(&counter, None).await?.and_then(|row| rows::number(&row));
    let count = count.ok_or_else(|| damaged(&txn, format!("counter {number} is gone")))?;
    txn.put(counter, rows::encode(&[count + 1]));
    txn.put(done, rows::encode(&[number]));
    Ok(())
}

#[async_trait]
impl Workload for Once {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn open(&self) -> Result<(), String> {
        self.ground.lay_out((0..COUNTERS).map(|n| (self.counter(n), rows::encode(&[0]))).collect()).await
    }

    async fn step(&self, node: &Node) {
        let (key, number) = (self.next.fetch_add(1, Ordering::Relaxed), self.ground.draw(COUNTERS));
        let counter = self.counter(number);
        let done = self.ground.numbered(DONE, key);
        let cluster = &self.ground.cluster;
        let (mut node, mut fate) = (Some(node.clone()), Fate::Failed);
        for _ in 0..TRIES {
            if let Some(node) = &node {
                let (counter, done) = (counter.clone(), done.clone());
                let body = move |txn| count(txn, counter.clone(), done.clone(), number);
                match self.ground.attempt(node, TxnOptions::default(), body).await.told {
                    Told::Committed(_) => {
                        fate = Fate::Acknowledged;
                        break;
                    }
                    Told::Unknown => fate = Fate::Unknown,
                    Told::Failed => {}
                }
            }
            node = cluster.running.any(&cluster.world);
        }
        self.fates.lock().insert(key, fate);
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let rows = self.ground.everything().await?;
        Ok(judge(&rows, &self.fates.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_twice_and_what_is_lost_is_seen() {
        let good = rows::table(&[(COUNTER, 0, 2), (COUNTER, 1, 0), (DONE, 7, 0), (DONE, 9, 0)]);
        let told = |fates: &[(u64, Fate)]| judge(&good, &fates.iter().copied().collect());
        assert!(told(&[(7, Fate::Acknowledged), (9, Fate::Unknown), (4, Fate::Failed)]).is_empty());
        assert_eq!(told(&[(8, Fate::Acknowledged)]).len(), 1);
        assert_eq!(told(&[(9, Fate::Failed)]).len(), 1);
        assert_eq!(judge(&rows::table(&[(COUNTER, 0, 2), (DONE, 7, 0)]), &BTreeMap::new()).len(), 1);
    }
}
