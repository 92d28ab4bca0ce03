//! Pairs of which one must stay on duty: whoever leaves has looked whether the other is there. Two who leave at once and do not
//! see each other do is write skew (Berenson et al., 1995), which only serializability rules out. The two of a pair lie in
//! different halves of the stretch.

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
use std::sync::Arc;

const PAIRS: u64 = 4;
const HALVES: [u8; 2] = [0x10, 0x90];

pub struct Duty {
    ground: Ground,
    problems: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy)]
enum Act {
    Look,
    /// Unless the other has left.
    Leave(usize),
    Return(usize),
}

/// Whether each of a pair is on duty.
type Pair = [bool; 2];

impl Duty {
    pub fn new(ground: Ground) -> Self {
        Duty { ground, problems: Arc::default() }
    }

    fn keys(&self, pair: u64) -> [Key; 2] {
        HALVES.map(|half| self.ground.key(&[half, pair as u8]))
    }
}

fn present(on_duty: bool) -> Value {
    rows::encode(&[u64::from(on_duty)])
}

/// `None`: before the first rows were written, where the past is looked at.
async fn act(txn: Txn, keys: [Key; 2], act: Act) -> Result<Option<Pair>, TxnError> {
    let mut pair = [None; 2];
    for (key, on_duty) in keys.iter().zip(&mut pair) {
        *on_duty = txn.get(key, None).await?.and_then(|row| rows::number(&row)).map(|number| number == 1);
    }
    let pair = match pair {
        [Some(one), Some(other)] => [one, other],
        [None, None] => return Ok(None),
        _ => return Err(damaged(&txn, format!("one of the pair {keys:?} is missing"))),
    };
    match act {
        Act::Leave(who) if pair[1 - who] => txn.put(keys[who].clone(), present(false)),
        Act::Return(who) => txn.put(keys[who].clone(), present(true)),
        _ => {}
    }
    Ok(Some(pair))
}

#[async_trait]
impl Workload for Duty {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn open(&self) -> Result<(), String> {
        let keys = (0..PAIRS).flat_map(|pair| self.keys(pair));
        self.ground.lay_out(keys.map(|key| (key, present(true))).collect()).await
    }

    async fn step(&self, node: &Node) {
        let (pair, who) = (self.ground.draw(PAIRS), self.ground.draw(2) as usize);
        let what = match self.ground.draw(10) {
            0..3 => Act::Look,
            3..7 => Act::Leave(who),
            _ => Act::Return(who),
        };
        let options = match what {
            Act::Look => self.ground.looking(node),
            _ => TxnOptions::default(),
        };
        let keys = self.keys(pair);
        let tried = self.ground.attempt(node, options, move |txn| act(txn, keys.clone(), what)).await;
        if let (Told::Committed(ts), Some(Some([false, false]))) = (tried.told, tried.value) {
            self.problems.lock().push(format!("nobody of pair {pair} is on duty at {ts}: write skew"));
        }
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let there = self.ground.everything().await?;
        let mut problems = self.problems.lock().clone();
        for pair in 0..PAIRS {
            let on_duty =
                |half: &u8| there.get(&vec![*half, pair as u8]).is_some_and(|row| *row == present(true));
            if !HALVES.iter().any(on_duty) {
                problems.push(format!("nobody of pair {pair} is on duty in the end: write skew"));
            }
        }
        Ok(problems)
    }
}
