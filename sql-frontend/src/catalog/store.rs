//! Changing the catalog: descriptors are read and written in a transaction like any row, but always in their newest state and
//! under locks, whatever the transaction's isolation.

use super::{
    SequenceDescriptor, TableDescriptor, keys,
    snapshot::{decode_u64, encode_u64},
};
use crate::{
    error::{SqlError, SqlState},
    session::errors::from_txn,
};
use quorate_proto::{
    Key, Value,
    kv::{LockMode, LockRequest, WaitPolicy},
    rpc,
};
use quorate_txn::Txn;

/// Waits for the lock like any writer.
pub fn exclusive() -> LockRequest {
    LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0), firm: false }
}

/// Locks a key and reads its newest value.
pub async fn claim(txn: &Txn, key: &Key) -> Result<Option<Value>, SqlError> {
    let found = txn.claim(std::slice::from_ref(key), exclusive()).await.map_err(from_txn)?;
    Ok(found.into_iter().next().flatten())
}

/// Tells all nodes that the catalog has changed; once in every transaction that changes it.
pub async fn raise_generation(txn: &Txn) -> Result<(), SqlError> {
    let key = keys::generation();
    let now = claim(txn, &key).await?;
    let now = now.as_ref().and_then(|raw| decode_u64(raw)).unwrap_or(0);
    txn.put(key, encode_u64(now + 1));
    Ok(())
}

/// The newest version of a table's descriptor, locked against other changes.
pub async fn lock_table(txn: &Txn, id: u64) -> Result<Option<TableDescriptor>, SqlError> {
    let raw = claim(txn, &keys::table(id)).await?;
    raw.map(|raw| {
        rpc::decode(&raw).map_err(|e| SqlError::internal(format!("malformed descriptor of table {id}: {e}")))
    })
    .transpose()
}

pub fn put_table(txn: &Txn, table: &TableDescriptor) {
    txn.put(keys::table(table.id), Value(rpc::encode(table)));
}

pub fn delete_table(txn: &Txn, id: u64) {
    txn.delete(keys::table(id));
}

pub fn put_sequence(txn: &Txn, sequence: &SequenceDescriptor) {
    txn.put(keys::sequence(sequence.id), Value(rpc::encode(sequence)));
}

pub async fn delete_sequence(txn: &Txn, id: u64) -> Result<(), SqlError> {
    for key in [keys::sequence(id), keys::counter(id)] {
        claim(txn, &key).await?;
        txn.delete(key);
    }
    Ok(())
}

/// Gives a name to an object, or 42P07.
pub async fn take_name(txn: &Txn, schema: &str, name: &str, id: u64) -> Result<(), SqlError> {
    let key = keys::name(schema, name);
    if claim(txn, &key).await?.is_some() {
        return Err(name_taken(name));
    }
    txn.put(key, encode_u64(id));
    Ok(())
}

/// Whether the name is taken, by the newest state of the catalog.
pub async fn is_name_taken(txn: &Txn, schema: &str, name: &str) -> Result<bool, SqlError> {
    let found = claim(txn, &keys::name(schema, name)).await?;
    Ok(found.is_some())
}

pub async fn free_name(txn: &Txn, schema: &str, name: &str) -> Result<(), SqlError> {
    let key = keys::name(schema, name);
    claim(txn, &key).await?;
    txn.delete(key);
    Ok(())
}

pub fn name_taken(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}
