//! Rows with unique names: an index of the names in one half of the stretch, the rows in the other, changed together. No two rows
//! may have one name, and whoever reads all of both at once, while shards are split, sees them agree.

use super::{
    Workload,
    ground::{Ground, Told, Try, scan},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use futures::future::try_join;
use parking_lot::Mutex;
use quorate_proto::{Key, Span, Value};
use quorate_txn::{Txn, TxnError, TxnOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const NAMES: u64 = 8;
const NAME: u8 = 0x10;
const ROW: u8 = 0x90;

pub struct Directory {
    ground: Ground,
    next: AtomicU64,
    inserted: Mutex<BTreeMap<u64, Told>>,
    /// Rows that somebody has meant to delete.
    given_up: Arc<Mutex<BTreeSet<u64>>>,
    problems: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Without a look whether the name is free: the commit proves it.
    InsertBlindly {
        row: u64,
        name: u64,
    },
    Insert {
        row: u64,
        name: u64,
    },
    Rename {
        from: u64,
        to: u64,
    },
    Delete {
        name: u64,
    },
}

/// The keys of a directory.
#[derive(Clone)]
struct Keys(Ground);

impl Keys {
    fn name(&self, name: u64) -> Key {
        self.0.numbered(NAME, name)
    }

    fn row(&self, row: u64) -> Key {
        self.0.numbered(ROW, row)
    }

    async fn owner(&self, txn: &Txn, name: u64) -> Result<Option<u64>, TxnError> {
        Ok(txn.get(&self.name(name), None).await?.and_then(|row| rows::number(&row)))
    }

    fn enter(&self, txn: &Txn, row: u64, name: u64) {
        txn.put(self.name(name), rows::encode(&[row]));
        txn.put(self.row(row), rows::encode(&[name]));
    }
}

/// Whether the row was inserted, where one was to be.
async fn act(txn: Txn, keys: Keys, act: Act, given_up: Arc<Mutex<BTreeSet<u64>>>) -> Result<bool, TxnError> {
    match act {
        Act::InsertBlindly { row, name } => {
            txn.check_absent(keys.name(name));
            keys.enter(&txn, row, name);
            return Ok(true);
        }
        Act::Insert { row, name } => {
            let free = keys.owner(&txn, name).await?.is_none();
            if free {
                keys.enter(&txn, row, name);
            }
            return Ok(free);
        }
        Act::Rename { from, to } => {
            if let (Some(row), None) = (keys.owner(&txn, from).await?, keys.owner(&txn, to).await?) {
                txn.delete(keys.name(from));
                keys.enter(&txn, row, to);
            }
        }
        Act::Delete { name } => {
            if let Some(row) = keys.owner(&txn, name).await? {
                given_up.lock().insert(row);
                txn.delete(keys.name(name));
                txn.delete(keys.row(row));
            }
        }
    }
    Ok(false)
}

type Rows = BTreeMap<Vec<u8>, Value>;

/// The rows by their numbers, with their names, and how index and rows disagree.
fn compare(all: &Rows) -> (BTreeMap<u64, u64>, Option<String>) {
    let rows = rows::numbered(all, &[ROW]);
    let names: BTreeSet<(u64, u64)> = rows::numbered(all, &[NAME]).into_iter().collect();
    let named: BTreeSet<(u64, u64)> = rows.iter().map(|(row, name)| (*name, *row)).collect();
    let wrong = (names != named).then(|| format!("the index says {names:?}, the rows say {named:?}"));
    (rows, wrong)
}

impl Directory {
    pub fn new(ground: Ground) -> Self {
        let (inserted, problems) = (Mutex::default(), Mutex::default());
        Directory { ground, next: AtomicU64::new(1), inserted, given_up: Arc::default(), problems }
    }

    async fn change(&self, node: &Node) {
        let (row, name) = (self.next.fetch_add(1, Ordering::Relaxed), self.ground.draw(NAMES));
        let what = match self.ground.draw(10) {
            0..3 => Act::InsertBlindly { row, name },
            3..5 => Act::Insert { row, name },
            5..8 => Act::Rename { from: name, to: self.ground.draw(NAMES) },
            _ => Act::Delete { name },
        };
        let (keys, given_up) = (Keys(self.ground.clone()), self.given_up.clone());
        let body = move |txn| act(txn, keys.clone(), what, given_up.clone());
        let tried = self.ground.attempt(node, TxnOptions::default(), body).await;
        match (what, tried.told, tried.value) {
            (_, Told::Committed(_), Some(false)) | (Act::Rename { .. } | Act::Delete { .. }, ..) => {}
            (_, told, _) => {
                self.inserted.lock().insert(row, told);
            }
        }
    }

    async fn look(&self, node: &Node) {
        let [names, owners] = [NAME, ROW].map(|sort| Span::prefix(&self.ground.key(&[sort])));
        let body = move |txn: Txn| {
            let (names, owners) = (scan(txn.clone(), names.clone()), scan(txn, owners.clone()));
            async move {
                let (mut names, owners) = try_join(names, owners).await?;
                names.extend(owners);
                Ok(names)
            }
        };
        let tried: Try<Rows> = self.ground.attempt(node, self.ground.looking(node), body).await;
        if let (Told::Committed(ts), Some(rows)) = (tried.told, tried.value) {
            self.problems.lock().extend(compare(&rows).1.map(|wrong| format!("at {ts} {wrong}")));
        }
    }
}

#[async_trait]
impl Workload for Directory {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    /// It is empty at first.
    async fn open(&self) -> Result<(), String> {
        Ok(())
    }

    async fn step(&self, node: &Node) {
        if self.ground.chance(0.3) {
            self.look(node).await;
        } else {
            self.change(node).await;
        }
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let (rows, wrong) = compare(&self.ground.everything().await?);
        let mut problems = self.problems.lock().clone();
        problems.extend(wrong.map(|wrong| format!("in the end {wrong}")));
        let given_up = self.given_up.lock();
        for (row, told) in &*self.inserted.lock() {
            match (told, rows.contains_key(row)) {
                (Told::Committed(ts), false) if !given_up.contains(row) => {
                    problems.push(format!("row {row} was acknowledged at {ts} and is lost"));
                }
                (Told::Failed, true) => {
                    problems.push(format!("row {row} was said to have failed and is there"));
                }
                _ => {}
            }
        }
        Ok(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_rows_are_compared() {
        let (rows, wrong) = compare(&rows::table(&[(NAME, 3, 8), (ROW, 8, 3)]));
        assert_eq!((rows, wrong), (BTreeMap::from([(8, 3)]), None));
        assert!(compare(&rows::table(&[(NAME, 3, 8)])).1.is_some());
        assert!(compare(&rows::table(&[(NAME, 3, 8), (ROW, 8, 3), (ROW, 9, 3)])).1.is_some());
    }
}
