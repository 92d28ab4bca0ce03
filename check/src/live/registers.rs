//! Single rows that clients read, write, and compare and set, each in a statement of its own.

use super::{
    run::Workload,
    session::{Session, Step, number},
    tables::Tables,
};
use crate::{
    attempt::Outcome,
    register::{Action, Did},
};
use anyhow::Result;
use rand::{Rng, rngs::StdRng};
use std::cell::{Cell, RefCell};

/// Registers in use at a time, each in a stretch of keys of its own.
const REGISTERS: i64 = 6;
const STRETCH: i64 = 1_000_000;
/// A register gives way to an absent one after so many operations, or so many whose outcome is unknown: what may happen
/// at any time makes the search long.
const OPERATIONS: u32 = 120;
const UNKNOWN: u32 = 4;

struct Register {
    key: i64,
    operations: u32,
    unknown: u32,
    /// A value that it has had lately.
    lately: i64,
}

pub struct Registers {
    table: String,
    now: RefCell<Vec<Register>>,
    next: Cell<i64>,
}

impl Registers {
    /// With its table.
    ///
    /// # Errors
    /// When that cannot be made.
    pub async fn create(session: &Session, tables: &Tables, number: usize) -> Result<Self> {
        let splits = (1..REGISTERS).step_by(2).map(|register| register * STRETCH);
        let columns = "k int8 PRIMARY KEY, v int8 NOT NULL";
        let table = tables.table(session, format!("registers_{number}"), columns, splits).await?;
        let fresh = |at| Register { key: at * STRETCH, operations: 0, unknown: 0, lately: 0 };
        Ok(Registers { table, now: RefCell::new((0..REGISTERS).map(fresh).collect()), next: Cell::new(0) })
    }

    fn pick(&self, random: &mut StdRng) -> (usize, Did) {
        let at = random.random_range(0..REGISTERS) as usize;
        let register = &mut self.now.borrow_mut()[at];
        if register.operations >= OPERATIONS || register.unknown >= UNKNOWN {
            *register = Register { key: register.key + 1, operations: 0, unknown: 0, lately: 0 };
        }
        register.operations += 1;
        let fresh = || {
            self.next.set(self.next.get() + 1);
            self.next.get()
        };
        let action = match random.random_range(0..10) {
            0..5 => Action::Read { saw: None },
            5..8 => Action::Write { value: fresh() },
            _ => Action::CompareAndSet { from: register.lately, to: fresh(), done: false },
        };
        (at, Did { key: register.key, action })
    }

    fn sql(&self, did: &Did) -> String {
        let (table, key) = (&self.table, did.key);
        match did.action {
            Action::Read { .. } => format!("SELECT v FROM {table} WHERE k = {key}"),
            Action::Write { value } => {
                format!(
                    "INSERT INTO {table} VALUES ({key}, {value}) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
                )
            }
            Action::CompareAndSet { from, to, .. } => {
                format!("UPDATE {table} SET v = {to} WHERE k = {key} AND v = {from}")
            }
        }
    }

    /// Later operations compare with what was seen or written last.
    fn learn(&self, at: usize, key: i64, outcome: Outcome, value: Option<i64>) {
        let register = &mut self.now.borrow_mut()[at];
        if register.key == key {
            register.unknown += u32::from(outcome == Outcome::Unknown);
            register.lately = value.unwrap_or(register.lately);
        }
    }
}

impl Workload for Registers {
    type Did = Did;

    async fn step(&self, session: &Session, random: &mut StdRng) -> Step<Did> {
        let (at, mut did) = self.pick(random);
        let answer = match session.one(&self.sql(&did)).await {
            Ok(answer) => answer,
            Err(broken) => {
                let step = Step::broken_at_commit(session, did, broken).await;
                self.learn(at, step.did.key, step.outcome, None);
                return step;
            }
        };
        let value = match &mut did.action {
            Action::Read { saw } => {
                *saw = answer.rows.first().and_then(|row| number(row, 0));
                *saw
            }
            Action::Write { value } => Some(*value),
            Action::CompareAndSet { to, done, .. } => {
                *done = answer.count > 0;
                done.then_some(*to)
            }
        };
        self.learn(at, did.key, Outcome::Committed, value);
        Step::committed(did)
    }
}
