//! A queue of jobs: workers take the first that nobody else has locked, or give up at one that is, and write what they did. Each
//! job is done once, and none is lost.

use super::{
    Workload,
    ground::{Ground, Told, put},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use quorate_proto::{
    Key, Span, Value,
    kv::{LockMode, LockRequest, WaitPolicy},
};
use quorate_txn::{Isolation, ScanOptions, Txn, TxnError, TxnOptions};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Each half of the stretch has a queue.
const JOBS: [u8; 2] = [0x10, 0x90];
const DONE: u8 = 0x50;

pub struct Queue {
    ground: Ground,
    next: AtomicU64,
    /// Jobs that were put in, and what their clients were told.
    put: Mutex<BTreeMap<u64, Told>>,
    /// Jobs whose doing was acknowledged.
    done: Mutex<Vec<u64>>,
}

/// What is wrong with what is left.
fn judge(rows: &BTreeMap<Vec<u8>, Value>, put: &BTreeMap<u64, Told>, done: &[u64]) -> Vec<String> {
    let (waiting, finished) = (rows::numbered(rows, &JOBS), rows::numbered(rows, &[DONE]));
    let mut problems = Vec::new();
    for (job, times) in &finished {
        if *times != 1 || waiting.contains_key(job) {
            problems
                .push(format!("job {job} was done {times} times, and waits: {}", waiting.contains_key(job)));
        }
    }
    for (job, told) in put {
        match (told, waiting.contains_key(job) || finished.contains_key(job)) {
            (Told::Committed(ts), false) => {
                problems.push(format!("job {job} was put in at {ts} and is lost"))
            }
            (Told::Failed, true) => problems.push(format!("job {job} was said to have failed and is there")),
            _ => {}
        }
    }
    let lost = done.iter().filter(|job| !finished.contains_key(job));
    problems.extend(lost.map(|job| format!("that job {job} was done was acknowledged, and is lost")));
    problems
}

/// Takes a job and does it; `None`: there is none that is free. Where its shard keeps no more locks, it fails.
async fn work(txn: Txn, ground: Ground, jobs: Span, wait: WaitPolicy) -> Result<Option<u64>, TxnError> {
    let lock = Some(LockRequest { mode: LockMode::Exclusive, wait, firm: true });
    let mut pages = txn.scan(jobs, ScanOptions { limit: Some(1), lock, ..ScanOptions::default() });
    let mut first: Option<Key> = None;
    while let Some(page) = pages.next().await {
        first = first.or(page?.into_iter().next().map(|(key, _)| key));
    }
    drop(pages);
    let Some((key, job)) = first.and_then(|key| Some((key.clone(), rows::number(&key[2..])?))) else {
        return Ok(None);
    };
    // A second time would show.
    let done = ground.numbered(DONE, job);
    let times = txn.get(&done, None).await?.and_then(|row| rows::number(&row)).unwrap_or_default();
    txn.delete(key);
    txn.put(done, rows::encode(&[times + 1]));
    Ok(Some(job))
}

impl Queue {
    pub fn new(ground: Ground) -> Self {
        Queue { ground, next: AtomicU64::new(1), put: Mutex::default(), done: Mutex::default() }
    }

    async fn put(&self, node: &Node) {
        let (job, half) = (self.next.fetch_add(1, Ordering::Relaxed), JOBS[self.ground.draw(2) as usize]);
        let key = self.ground.numbered(half, job);
        let body = put(vec![(key, rows::encode(&[job]))]);
        let tried = self.ground.attempt(node, TxnOptions::default(), body).await;
        self.put.lock().insert(job, tried.told);
    }

    async fn work(&self, node: &Node) {
        let jobs = Span::prefix(&self.ground.key(&[JOBS[self.ground.draw(2) as usize]]));
        let wait = if self.ground.chance(0.7) { WaitPolicy::SkipLocked } else { WaitPolicy::NoWait };
        let isolation =
            if self.ground.chance(0.5) { Isolation::ReadCommitted } else { Isolation::Serializable };
        let options = TxnOptions { isolation, ..TxnOptions::default() };
        let ground = self.ground.clone();
        let body = move |txn| work(txn, ground.clone(), jobs.clone(), wait);
        let tried = self.ground.attempt(node, options, body).await;
        self.done.lock().extend(tried.value.flatten());
    }
}

#[async_trait]
impl Workload for Queue {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    /// There are no jobs at first.
    async fn open(&self) -> Result<(), String> {
        Ok(())
    }

    async fn step(&self, node: &Node) {
        if self.ground.chance(0.5) {
            self.put(node).await;
        } else {
            self.work(node).await;
        }
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let rows = self.ground.everything().await?;
        Ok(judge(&rows, &self.put.lock(), &self.done.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Timestamp;

    #[test]
    fn lost_and_doubled_jobs_are_seen() {
        let left = rows::table(&[(JOBS[0], 1, 1), (JOBS[1], 2, 2), (DONE, 3, 1)]);
        let told = |told: &[(u64, Told)]| told.iter().copied().collect::<BTreeMap<_, _>>();
        let at = Told::Committed(Timestamp(5));
        assert!(
            judge(&left, &told(&[(1, at), (2, Told::Unknown), (3, at), (4, Told::Failed)]), &[3]).is_empty()
        );
        assert_eq!(judge(&left, &told(&[(9, at)]), &[]).len(), 1);
        assert_eq!(judge(&left, &told(&[(1, Told::Failed)]), &[]).len(), 1);
        assert_eq!(judge(&left, &told(&[]), &[1]).len(), 1);
        assert_eq!(judge(&rows::table(&[(DONE, 3, 2)]), &told(&[]), &[]).len(), 1);
        assert_eq!(judge(&rows::table(&[(DONE, 3, 1), (JOBS[0], 3, 3)]), &told(&[]), &[]).len(), 1);
    }
}
