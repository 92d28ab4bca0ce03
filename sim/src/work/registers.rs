//! Single keys that clients read, write, and compare and set: for each there must be one order of all that which fits real time.
//! Where that is not promised, they say nothing.

use super::{
    Workload,
    ground::{Ground, Try},
    judged::{outcome, problems},
    rows,
};
use crate::node::Node;
use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_check::{
    attempt::{Attempt, Outcome},
    register::{Action, Did, judge},
};
use quorate_proto::Key;
use quorate_txn::{Txn, TxnError, TxnOptions};

/// Registers in use at a time; each has a stretch of numbers of its own, of which it uses one after the other.
const REGISTERS: usize = 4;
const STRETCH: i64 = 1_000_000;
/// A register gives way to an absent one after so many operations, or so many whose outcome is unknown: what may happen at any
/// time makes the search long.
const OPERATIONS: u32 = 80;
const UNKNOWN: u32 = 3;

#[derive(Clone, Copy)]
struct Register {
    number: i64,
    operations: u32,
    unknown: u32,
    /// A value that it has had lately.
    lately: i64,
}

impl Register {
    fn fresh(number: i64) -> Self {
        Register { number, operations: 0, unknown: 0, lately: 0 }
    }
}

pub struct Registers {
    ground: Ground,
    now: Mutex<[Register; REGISTERS]>,
    next: Mutex<i64>,
    history: Mutex<Vec<Attempt<Did>>>,
}

/// Does it, and tells what came of it.
async fn act(txn: Txn, key: Key, action: Action) -> Result<Action, TxnError> {
    let write = |value: i64| txn.put(key.clone(), rows::encode(&[value as u64]));
    if let Action::Write { value } = action {
        write(value);
        return Ok(action);
    }
    let there = txn.get(&key, None).await?.and_then(|row| rows::number(&row)).map(|value| value as i64);
    Ok(match action {
        Action::CompareAndSet { from, to, .. } => {
            let done = there == Some(from);
            if done {
                write(to);
            }
            Action::CompareAndSet { from, to, done }
        }
        _ => Action::Read { saw: there },
    })
}

impl Registers {
    pub fn new(ground: Ground) -> Self {
        let now = std::array::from_fn(|at| Register::fresh(at as i64 * STRETCH));
        Registers { ground, now: Mutex::new(now), next: Mutex::new(1), history: Mutex::default() }
    }

    /// Half of them in each half of the stretch.
    fn key(&self, at: usize, number: i64) -> Key {
        let half = if at.is_multiple_of(2) { 0x10 } else { 0x90 };
        self.ground.numbered(half, number as u64)
    }

    fn pick(&self) -> (usize, Did) {
        let at = self.ground.draw(REGISTERS as u64) as usize;
        let register = &mut self.now.lock()[at];
        if register.operations >= OPERATIONS || register.unknown >= UNKNOWN {
            *register = Register::fresh(register.number + 1);
        }
        register.operations += 1;
        let fresh = || {
            let mut next = self.next.lock();
            *next += 1;
            *next
        };
        let action = match self.ground.draw(10) {
            0..5 => Action::Read { saw: None },
            5..8 => Action::Write { value: fresh() },
            _ => Action::CompareAndSet { from: register.lately, to: fresh(), done: false },
        };
        (at, Did { key: register.number, action })
    }

    /// Later operations compare with what was seen or written last.
    fn learn(&self, at: usize, did: &Did, outcome: Outcome) {
        let register = &mut self.now.lock()[at];
        if register.number != did.key {
            return;
        }
        register.unknown += u32::from(outcome == Outcome::Unknown);
        let value = match did.action {
            Action::Read { saw } => saw,
            Action::Write { value } => Some(value),
            Action::CompareAndSet { to, done, .. } => done.then_some(to),
        };
        register.lately = value.filter(|_| outcome == Outcome::Committed).unwrap_or(register.lately);
    }
}

#[async_trait]
impl Workload for Registers {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    /// All are absent at first.
    async fn open(&self) -> Result<(), String> {
        Ok(())
    }

    async fn step(&self, node: &Node) {
        let (at, Did { key: number, action }) = self.pick();
        let key = self.key(at, number);
        let body = move |txn| act(txn, key.clone(), action);
        let Try { begun, ended, told, value } = self.ground.attempt(node, TxnOptions::default(), body).await;
        let did = Did { key: number, action: value.unwrap_or(action) };
        self.learn(at, &did, outcome(told));
        self.history.lock().push(Attempt { client: 0, begun, ended, outcome: outcome(told), did });
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        Ok(problems(&judge(&self.history.lock()).findings))
    }
}
