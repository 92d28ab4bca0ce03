//! Money that clients move between accounts, and add up meanwhile.

use super::{
    run::{Plan, Workload},
    session::{Broken, Session, Step, number, transaction},
    tables::Tables,
};
use crate::{
    attempt::Attempt,
    bank::{Did, History, Transfer},
    level::Level,
};
use anyhow::{Context, Result, bail};
use rand::{Rng, rngs::StdRng};
use std::{cell::Cell, iter};

const ACCOUNTS: i64 = 16;
const OPENING: i64 = 1000;

pub struct Bank {
    /// `accounts (id, balance)` and `ledger (id, debit, credit, amount)`.
    accounts: String,
    ledger: String,
    level: Level,
    next: Cell<i64>,
}

impl Bank {
    /// With its tables, and the accounts opened.
    ///
    /// # Errors
    /// When these cannot be made.
    pub async fn create(session: &Session, tables: &Tables, number: usize, level: Level) -> Result<Self> {
        let columns = "id int8 PRIMARY KEY, balance int8 NOT NULL";
        let splits = (4..ACCOUNTS).step_by(4);
        let accounts = tables.table(session, format!("accounts_{number}"), columns, splits).await?;
        let columns = "id int8 PRIMARY KEY, debit int8 NOT NULL, credit int8 NOT NULL, amount int8 NOT NULL";
        let ledger = tables.table(session, format!("ledger_{number}"), columns, iter::empty()).await?;
        let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENING})")).collect();
        let open = format!("INSERT INTO {accounts} VALUES {}", rows.join(", "));
        session.one(&open).await.context("opening the accounts")?;
        Ok(Bank { accounts, ledger, level, next: Cell::new(0) })
    }

    /// The balances are changed where they are, or read, changed by the client and written: READ COMMITTED allows that to
    /// overwrite others' changes, so there the rows are read with locks.
    async fn move_money(
        &self,
        session: &Session,
        transfer: Transfer,
        by_client: bool,
        in_order: bool,
    ) -> Result<(), Broken> {
        let Transfer { id, debit, credit, amount } = transfer;
        let lock = if self.level == Level::ReadCommitted { " FOR UPDATE" } else { "" };
        let mut changes = [(debit, -amount), (credit, amount)];
        if in_order {
            changes.sort_unstable();
        }
        for (account, change) in changes {
            let mut to = format!("balance + {change}");
            if by_client {
                let read = format!("SELECT balance FROM {} WHERE id = {account}{lock}", self.accounts);
                let balance = session.rows(&read, |row| number(row, 0)).await?;
                let balance = balance.first().ok_or_else(|| Broken::unreadable(&read))?;
                to = (balance + change).to_string();
            }
            session.one(&format!("UPDATE {} SET balance = {to} WHERE id = {account}", self.accounts)).await?;
        }
        let entry = format!("INSERT INTO {} VALUES ({id}, {debit}, {credit}, {amount})", self.ledger);
        session.one(&entry).await.map(drop)
    }

    async fn transfer(&self, session: &Session, random: &mut StdRng) -> Step<Did> {
        let debit = random.random_range(0..ACCOUNTS);
        let credit = (debit + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
        self.next.set(self.next.get() + 1);
        let transfer = Transfer { id: self.next.get(), debit, credit, amount: random.random_range(1..20) };
        // In any order some would wait for one another in a circle, which takes long to find out.
        let (by_client, in_order) = (random.random_ratio(1, 2), random.random_ratio(7, 8));
        let body = async |_: &mut Did| self.move_money(session, transfer, by_client, in_order).await;
        transaction(session, Did::Transfer(transfer), body).await
    }

    /// In one statement, or, where a transaction has one snapshot, in two.
    async fn audit(&self, session: &Session, random: &mut StdRng) -> Step<Did> {
        let half = random.random_range(1..ACCOUNTS);
        let conditions = if self.level == Level::ReadCommitted || random.random_ratio(1, 2) {
            vec!["true".to_owned()]
        } else {
            vec![format!("id < {half}"), format!("id >= {half}")]
        };
        let body = async |did: &mut Did| {
            let mut found = 0;
            for condition in &conditions {
                let sql = format!("SELECT sum(balance)::int8 FROM {} WHERE {condition}", self.accounts);
                found += session.rows(&sql, |row| number(row, 0)).await?.iter().sum::<i64>();
            }
            *did = Did::Audit { sum: found };
            Ok(())
        };
        transaction(session, Did::Audit { sum: 0 }, body).await
    }

    /// With all accounts and the whole ledger as they are in the end.
    ///
    /// # Errors
    /// When nobody answers any more.
    pub async fn history(&self, transactions: Vec<Attempt<Did>>, plan: &Plan) -> Result<History> {
        // In one transaction: one of unknown outcome may still commit.
        let both = format!(
            "BEGIN; SELECT id, balance FROM {}; SELECT id, debit, credit, amount FROM {}; COMMIT",
            self.accounts, self.ledger
        );
        let account = |row: &[Option<String>]| Some((number(row, 0)?, number(row, 1)?));
        let entry = |row: &[Option<String>]| {
            let [id, debit, credit, amount] = [0, 1, 2, 3].map(|at| number(row, at));
            Some(Transfer { id: id?, debit: debit?, credit: credit?, amount: amount? })
        };
        let read = plan.settled(async |session| {
            let answers = session.run(&both).await?;
            let [_, accounts, ledger, _] = &answers[..] else {
                bail!("{} answers to `{both}`", answers.len())
            };
            Ok((accounts.read(account)?, ledger.read(entry)?))
        });
        let (balances, ledger) = read.await?;
        let balances = balances.into_iter().collect();
        Ok(History { opening: OPENING, transactions, balances, ledger })
    }
}

impl Workload for Bank {
    type Did = Did;

    async fn step(&self, session: &Session, random: &mut StdRng) -> Step<Did> {
        if random.random_ratio(1, 4) {
            self.audit(session, random).await
        } else {
            self.transfer(session, random).await
        }
    }
}
