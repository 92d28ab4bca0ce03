//! Rows and index entries into the transaction's buffer, after their keys were locked and checked.

use super::{Row, violation::unique_violation};
use crate::{
    catalog::{IndexDescriptor, IndexState, TableDescriptor},
    error::{SqlError, SqlState},
    exec::ExecContext,
    row::{IndexEntry, index_entry, primary_key, row_value},
    server::Shared,
    session::{errors::from_txn, kv::write_lock},
};
use quorate_proto::{Key, Value};
use quorate_txn::Txn;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// One row's change: what it was, what it becomes.
pub struct Change {
    pub old: Option<Row>,
    pub new: Option<Row>,
}

/// Writes for one statement.
pub struct Writer {
    pub shared: Arc<Shared>,
    pub txn: Txn,
    pub ctx: ExecContext,
    pub lock_timeout: Duration,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, txn: Txn, ctx: ExecContext, lock_timeout: Duration) -> Self {
        Writer { shared, txn, ctx, lock_timeout }
    }

    /// Locks the keys that are about to be written, and says what is there now.
    async fn claim(&self, keys: &[Key]) -> Result<Vec<Option<Value>>, SqlError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.txn.claim(keys, write_lock(self.lock_timeout)).await.map_err(from_txn)
    }

    /// Locks what may be in the way of a new row, to leave it or to act upon it.
    pub async fn claim_to_act(&self, key: &Key) -> Result<Option<Value>, SqlError> {
        let keys = std::slice::from_ref(key);
        let found = self.txn.claim_to_act(keys, write_lock(self.lock_timeout)).await.map_err(from_txn)?;
        Ok(found.into_iter().next().flatten())
    }

    /// Writes changes of rows whose old keys are locked already. New keys are locked and must be free: 23505.
    pub async fn apply(&self, table: &TableDescriptor, changes: &[Change]) -> Result<(), SqlError> {
        let mut plan = Plan::default();
        for change in changes {
            plan.add(table, change)?;
        }
        let touched: Vec<Key> = plan.touched.iter().cloned().collect();
        let found = self.claim(&touched).await?;
        for key in &plan.deletes {
            self.txn.delete(key.clone());
        }
        // What is there and is not about to be removed by this very statement is in the way.
        let mut taken: BTreeSet<&Key> = touched
            .iter()
            .zip(&found)
            .filter(|(key, value)| value.is_some() && !plan.deletes.contains(*key))
            .map(|(key, _)| key)
            .collect();
        for (key, put) in &plan.puts {
            if let Some((index, change)) = put.unique
                && !taken.insert(key)
            {
                let row = changes[change].new.as_deref().unwrap_or_default();
                return Err(unique_violation(table, index_by_id(table, index)?, row));
            }
        }
        for (key, put) in plan.puts {
            self.txn.put(key, put.value);
        }
        check_room(&self.txn)
    }
}

/// 54000 for a transaction that has changed more than one may; or what else keeps its changes from being held.
pub fn check_room(txn: &Txn) -> Result<(), SqlError> {
    let Some(most) = txn.overfull() else {
        return txn.refused().map_or(Ok(()), |refused| Err(from_txn(refused)));
    };
    Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the transaction changes too much")
        .detail(format!("A transaction holds at most {most} bytes of changes."))
        .hint("Change fewer rows at a time, and commit in between."))
}

pub(super) fn index_by_id(table: &TableDescriptor, id: u32) -> Result<&IndexDescriptor, SqlError> {
    std::iter::once(&table.primary)
        .chain(&table.indexes)
        .find(|index| index.id == id)
        .ok_or_else(|| SqlError::internal(format!("table {} has no index {id}", table.name)))
}

struct Put {
    value: Value,
    /// The index whose uniqueness forbids that the key exists, and the change it is for.
    unique: Option<(u32, usize)>,
}

/// What a number of changes come down to.
#[derive(Default)]
struct Plan {
    deletes: BTreeSet<Key>,
    /// In the order of the changes, so that the first row in the way is the one that is told of.
    puts: Vec<(Key, Put)>,
    /// Keys to lock before anything is written.
    touched: BTreeSet<Key>,
    changes: usize,
}

impl Plan {
    fn add(&mut self, table: &TableDescriptor, change: &Change) -> Result<(), SqlError> {
        let number = self.changes;
        self.changes += 1;
        let old_key = change.old.as_ref().map(|row| primary_key(table, row)).transpose()?;
        let new_key = change.new.as_ref().map(|row| primary_key(table, row)).transpose()?;
        if let Some(old) = &old_key
            && new_key.as_ref() != Some(old)
        {
            self.deletes.insert(old.clone());
        }
        if let (Some(key), Some(row)) = (new_key, &change.new) {
            let fresh = old_key.as_ref() != Some(&key);
            let unique = fresh.then_some((table.primary.id, number));
            check_key_size(&key, &table.primary)?;
            // Hidden row ids are new by construction; nobody else can have one.
            if fresh && table.has_declared_key() {
                self.touched.insert(key.clone());
            }
            self.puts.push((key, Put { value: row_value(table, row), unique }));
        }
        for index in &table.indexes {
            self.add_index(table, index, change, number)?;
        }
        Ok(())
    }

    fn add_index(
        &mut self,
        table: &TableDescriptor,
        index: &IndexDescriptor,
        change: &Change,
        number: usize,
    ) -> Result<(), SqlError> {
        let entry = |row: &Option<Row>| -> Result<Option<IndexEntry>, SqlError> {
            row.as_ref().map(|row| index_entry(table, index, row)).transpose()
        };
        let (old, new) = (entry(&change.old)?, entry(&change.new)?);
        if old == new && index.state == IndexState::Public {
            return Ok(());
        }
        if let Some(old) = &old
            && new.as_ref().is_none_or(|new| new.key != old.key)
        {
            self.deletes.insert(old.key.clone());
            self.touched.insert(old.key.clone());
        }
        if let Some(new) = new
            && index.state != IndexState::DeleteOnly
        {
            check_key_size(&new.key, index)?;
            let fresh = old.as_ref().is_none_or(|old| old.key != new.key);
            let unique = (new.exclusive && fresh).then_some((index.id, number));
            self.touched.insert(new.key.clone());
            self.puts.push((new.key, Put { value: new.value, unique }));
        }
        Ok(())
    }
}

/// 54000 for what cannot be a key.
pub fn check_key_size(key: &Key, index: &IndexDescriptor) -> Result<(), SqlError> {
    const LONGEST: usize = 8192;
    if key.len() > LONGEST {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("index row size {} exceeds maximum {LONGEST} for index \"{}\"", key.len(), index.name),
        ));
    }
    Ok(())
}
