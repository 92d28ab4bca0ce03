//! Rows that point to one another in a ring, of which clients exchange two neighbours: reading any of it not as of one moment, or
//! losing a write, breaks the ring (FoundationDB's workload "Cycle").

use super::{
    Workload,
    ground::{Ground, Told, damaged, scan},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_proto::{Key, Span, Value};
use quorate_txn::{Txn, TxnError, TxnOptions};
use std::collections::BTreeMap;

const MEMBERS: u64 = 8;

pub struct Ring {
    ground: Ground,
    problems: Mutex<Vec<String>>,
}

/// Neighbours lie in different halves of the stretch, at first.
fn place(member: u64) -> [u8; 2] {
    [if member.is_multiple_of(2) { 0x10 } else { 0x90 }, member as u8]
}

/// What is wrong with it, if anything is.
fn broken(rows: &BTreeMap<Vec<u8>, Value>) -> Option<String> {
    let next = |member: u64| rows.get(&place(member)[..]).and_then(|row| rows::number(row));
    let mut seen = vec![0];
    while let Some(member) = next(seen[seen.len() - 1]) {
        if member == 0 && seen.len() as u64 == MEMBERS {
            return None;
        }
        seen.push(member);
        if member == 0 || seen.len() as u64 > MEMBERS {
            break;
        }
    }
    Some(format!("the ring is broken: {seen:?}"))
}

impl Ring {
    pub fn new(ground: Ground) -> Self {
        Ring { ground, problems: Mutex::default() }
    }

    /// Exchanges the two that come after a member.
    async fn exchange(&self, node: &Node) {
        let (ground, first) = (self.ground.clone(), self.ground.draw(MEMBERS));
        let body = move |txn: Txn| exchange(txn, ground.clone(), first);
        self.ground.attempt(node, TxnOptions::default(), body).await;
    }

    async fn look(&self, node: &Node) {
        let span = Span::prefix(&self.ground.key(&[]));
        let options = self.ground.looking(node);
        let tried = self.ground.attempt(node, options, move |txn| scan(txn, span.clone())).await;
        // The past may be that in which there was nothing yet.
        if let (Told::Committed(ts), Some(rows)) = (tried.told, tried.value.filter(|rows| !rows.is_empty())) {
            self.problems.lock().extend(broken(&rows).map(|what| format!("{what} at {ts}")));
        }
    }
}

async fn exchange(txn: Txn, ground: Ground, first: u64) -> Result<(), TxnError> {
    let key = |member: u64| -> Key { ground.key(&place(member)) };
    let mut members = vec![first];
    for at in 0..3 {
        let row = txn.get(&key(members[at]), None).await?.and_then(|row| rows::number(&row));
        members.push(row.ok_or_else(|| damaged(&txn, format!("member {} is gone", members[at])))?);
    }
    let [first, second, third, fourth] = members[..] else { return Ok(()) };
    for (member, next) in [(first, third), (second, fourth), (third, second)] {
        txn.put(key(member), rows::encode(&[next]));
    }
    Ok(())
}

#[async_trait]
impl Workload for Ring {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn open(&self) -> Result<(), String> {
        let row = |member| (self.ground.key(&place(member)), rows::encode(&[(member + 1) % MEMBERS]));
        self.ground.lay_out((0..MEMBERS).map(row).collect()).await
    }

    async fn step(&self, node: &Node) {
        if self.ground.chance(0.3) {
            self.look(node).await;
        } else {
            self.exchange(node).await;
        }
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let mut problems = self.problems.lock().clone();
        problems.extend(broken(&self.ground.everything().await?).map(|what| format!("{what} in the end")));
        Ok(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(next: impl Fn(u64) -> u64) -> BTreeMap<Vec<u8>, Value> {
        (0..MEMBERS).map(|member| (place(member).to_vec(), rows::encode(&[next(member)]))).collect()
    }

    #[test]
    fn a_ring_is_told_from_others() {
        assert_eq!(broken(&ring(|member| (member + 3) % MEMBERS)), None);
        assert!(broken(&ring(|member| (member + 2) % MEMBERS)).is_some());
        assert!(broken(&ring(|member| if member == 5 { 2 } else { (member + 1) % MEMBERS })).is_some());
        let mut gap = ring(|member| (member + 1) % MEMBERS);
        gap.remove(&place(4)[..]);
        assert!(broken(&gap).is_some());
    }
}
