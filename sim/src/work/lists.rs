//! Lists that clients append to and read, a few in each transaction, at one isolation level a run: the checker that ships to users
//! works out on what each transaction depends, and whether that level allows it.

use super::{
    Workload,
    ground::{Ground, damaged},
    judged::{outcome, problems},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_check::{
    append::{self, Element, History, Op, Transaction, judge},
    attempt::Attempt,
    level::Level,
};
use quorate_proto::{
    Key,
    kv::{LockMode, LockRequest, WaitPolicy},
};
use quorate_txn::{Isolation, Txn, TxnError, TxnOptions};
use std::collections::BTreeMap;

/// Lists in use at a time; each has a stretch of numbers of its own, of which it uses one after the other.
const LISTS: usize = 6;
const STRETCH: i64 = 1_000_000;
/// A list of so many elements gives way to an empty one.
const LENGTH: u64 = 20;

pub struct Lists {
    ground: Ground,
    isolation: Isolation,
    strict: bool,
    /// The list in use of each stretch, and how many appends it was given.
    now: Mutex<[(append::Key, u64); LISTS]>,
    next: Mutex<Element>,
    history: Mutex<Vec<Transaction>>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    list: append::Key,
    /// What is appended; else it is read.
    append: Option<Element>,
    locked: bool,
}

fn level(isolation: Isolation) -> Level {
    match isolation {
        Isolation::Serializable => Level::Serializable,
        Isolation::RepeatableRead => Level::RepeatableRead,
        Isolation::ReadCommitted => Level::ReadCommitted,
    }
}

impl Lists {
    pub fn new(ground: Ground, isolation: Isolation, strict: bool) -> Self {
        let now = std::array::from_fn(|at| (at as i64 * STRETCH, 0));
        let (now, next) = (Mutex::new(now), Mutex::new(0));
        Lists { ground, isolation, strict, now, next, history: Mutex::default() }
    }

    fn part(&self) -> Part {
        let at = self.ground.draw(LISTS as u64) as usize;
        let mut now = self.now.lock();
        let (list, given) = &mut now[at];
        let locked = self.ground.chance(0.3);
        if self.ground.chance(0.5) {
            return Part { list: *list, append: None, locked };
        }
        if *given == LENGTH {
            (*list, *given) = (*list + 1, 0);
        }
        *given += 1;
        let mut next = self.next.lock();
        *next += 1;
        // A statement's snapshot alone does not keep others from writing what this one has read.
        let locked = locked || self.isolation == Isolation::ReadCommitted;
        Part { list: *list, append: Some(*next), locked }
    }
}

/// Half of them in each half of the stretch.
fn key(ground: &Ground, list: append::Key) -> Key {
    let half = if (list / STRETCH) % 2 == 0 { 0x10 } else { 0x90 };
    ground.numbered(half, list as u64)
}

async fn run(txn: Txn, ground: Ground, parts: Vec<Part>) -> Result<Vec<Op>, TxnError> {
    let mut did = Vec::new();
    for part in parts {
        txn.begin_statement();
        let key = key(&ground, part.list);
        let exclusive = LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0), firm: false };
        let row = txn.get(&key, part.locked.then_some(exclusive)).await?.unwrap_or_default();
        let mut list =
            rows::decode(&row).ok_or_else(|| damaged(&txn, format!("list {} is damaged", part.list)))?;
        did.push(match part.append {
            None => Op::Read { key: part.list, list },
            Some(element) => {
                list.push(element);
                txn.put(key, rows::encode(&list));
                Op::Append { key: part.list, element }
            }
        });
    }
    Ok(did)
}

#[async_trait]
impl Workload for Lists {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    /// An absent list is empty.
    async fn open(&self) -> Result<(), String> {
        Ok(())
    }

    async fn step(&self, node: &Node) {
        let parts: Vec<Part> = (0..=self.ground.draw(4)).map(|_| self.part()).collect();
        let (ground, order) = (self.ground.clone(), parts.clone());
        let options = TxnOptions { isolation: self.isolation, ..TxnOptions::default() };
        let tried =
            self.ground.attempt(node, options, move |txn| run(txn, ground.clone(), order.clone())).await;
        // Of one that was not acknowledged, what it would have written is what matters.
        let appends = || {
            let of = |part: &Part| part.append.map(|element| Op::Append { key: part.list, element });
            parts.iter().filter_map(of).collect()
        };
        self.history.lock().push(Attempt {
            client: 0,
            begun: tried.begun,
            ended: tried.ended,
            outcome: outcome(tried.told),
            did: tried.value.unwrap_or_else(appends),
        });
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let mut last = BTreeMap::new();
        for (key, row) in self.ground.everything().await? {
            let list = rows::number(&key[1..]).zip(rows::decode(&row)).ok_or("a damaged row")?;
            last.insert(list.0 as i64, list.1);
        }
        let history = History { transactions: self.history.lock().clone(), last: Some(last) };
        Ok(problems(&judge(&history, level(self.isolation), self.strict).findings))
    }
}
