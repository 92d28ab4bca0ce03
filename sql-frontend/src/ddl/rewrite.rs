//! Moving a table to new indexes: `ALTER TABLE … ADD PRIMARY KEY`, and `TRUNCATE` of a large table.
//!
//! 1. The table is marked as being rewritten; when that is known everywhere, no writer is left.
//! 2. All rows go into the new indexes, page by page; a duplicate key ends it.
//! 3. The new indexes become the table's in one step, and the old ones are removed.
//!
//! Whoever takes the job over begins again with the second step: writing the same entries once more is harmless.

use super::{Change, job};
use crate::{
    catalog::{TableDescriptor, TableState, store},
    error::{SqlError, SqlState},
    row::{RowDecoder, encode_row, index_entry, index_span},
    server::Shared,
    session::errors::from_txn,
    types::{Datum, TimeZone},
};
use futures::TryStreamExt;
use quorate_proto::{Key, Span, Value};
use quorate_txn::{ScanOptions, Txn};
use std::{collections::BTreeMap, sync::Arc};

/// Rows moved by one transaction.
const PAGE: u64 = 1000;

/// Gives all indexes of the table new ids, so that they are other places in the key space.
pub fn with_new_indexes(table: &TableDescriptor) -> TableDescriptor {
    let mut target = table.clone();
    target.primary.id = target.next_index_id;
    target.next_index_id += 1;
    for index in &mut target.indexes {
        index.id = target.next_index_id;
        target.next_index_id += 1;
    }
    target
}

/// Starts the job and waits for it. `target` is what the table shall be.
pub async fn start(
    change: &mut Change,
    mut table: TableDescriptor,
    target: TableDescriptor,
    truncate: bool,
) -> Result<(), SqlError> {
    table.state = TableState::Rewriting;
    // Ids once used for a failed attempt are not used again.
    table.next_index_id = target.next_index_id;
    let kind = job::Kind::Rewrite { table: table.id, target: Box::new(target), truncate };
    change.begin_job(table, kind).await
}

/// The job.
pub async fn carry_out(
    shared: &Arc<Shared>,
    id: u64,
    table: u64,
    target: TableDescriptor,
    truncate: bool,
) -> Result<(), SqlError> {
    shared.catalog.settle().await?;
    let snapshot = shared.catalog.refresh().await?;
    let found = snapshot.tables.get(&table).filter(|t| t.state == TableState::Rewriting);
    let Some(source) = found.cloned() else {
        return job::transact(shared, |txn| async move { job::finish(&txn, id).await }).await;
    };
    let moved = if truncate { Ok(()) } else { move_rows(shared, &source, &target).await };
    if let Err(error) = &moved
        && !matches!(error.sqlstate, SqlState::UNIQUE_VIOLATION | SqlState::NOT_NULL_VIOLATION)
    {
        return moved;
    }
    // Either the target becomes the table, or the attempt is cleared away.
    let (keep, old) = match &moved {
        Ok(()) => (&target, &*source),
        Err(_) => (&*source, &target),
    };
    let gone: Vec<u32> = std::iter::once(old.primary.id).chain(old.indexes.iter().map(|i| i.id)).collect();
    let (gone, source_name) = (&gone, &source.primary.name);
    let (renamed, was_named) = (moved.is_ok(), source.has_declared_key());
    job::transact(shared, |txn| async move {
        let newest = store::lock_table(&txn, table).await?;
        let newest = newest.ok_or_else(|| SqlError::internal("the table is gone under its rewrite"))?;
        let mut next = keep.clone();
        next.version = newest.version + 1;
        next.next_index_id = newest.next_index_id;
        next.state = TableState::Public;
        let named = next.has_declared_key();
        if renamed && named && !(was_named && next.primary.name == *source_name) {
            store::take_name(&txn, &next.schema, &next.primary.name, table).await?;
        }
        store::put_table(&txn, &next);
        store::raise_generation(&txn).await?;
        job::put(shared, &txn, id, job::Kind::Remove { table, indexes: gone.clone() });
        Ok(())
    })
    .await?;
    shared.catalog.refresh().await?;
    shared.catalog.settle().await?;
    job::spawn(shared, id);
    moved
}

async fn move_rows(
    shared: &Arc<Shared>,
    source: &TableDescriptor,
    target: &TableDescriptor,
) -> Result<(), SqlError> {
    let mut span = index_span(source.id, source.primary.id);
    loop {
        let here = &span;
        let last = job::transact(shared, |txn| async move {
            let options = ScanOptions { limit: Some(PAGE), ..Default::default() };
            let pages: Vec<_> = txn.scan(here.clone(), options).try_collect().await.map_err(from_txn)?;
            let rows = pages.concat();
            move_page(&txn, source, target, &rows).await?;
            Ok((rows.len() as u64 == PAGE).then(|| rows.last().map(|(key, _)| key.clone())).flatten())
        })
        .await?;
        match last {
            Some(key) => span = Span { start: key.successor(), end: span.end },
            None => return Ok(()),
        }
    }
}

async fn move_page(
    txn: &Txn,
    source: &TableDescriptor,
    target: &TableDescriptor,
    rows: &[(Key, Value)],
) -> Result<(), SqlError> {
    let all: Vec<usize> = (0..source.columns.len()).collect();
    let decoder = RowDecoder::for_rows(source, &all)?;
    // Where each column of the target comes from.
    let from: Vec<Option<usize>> = target.columns.iter().map(|c| source.position(c.id)).collect();
    let mut entries: BTreeMap<Key, (Value, bool, usize)> = BTreeMap::new();
    let mut decoded = Vec::new();
    let mut moved: Vec<Vec<Datum>> = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        decoder.decode(key, value, &mut decoded)?;
        let row: Vec<Datum> =
            from.iter().map(|at| at.map_or(Datum::Null, |at| decoded[at].clone())).collect();
        check_nulls(target, &row)?;
        let number = moved.len();
        let (key, value) = encode_row(target, &row)?;
        if entries.insert(key, (value, true, number)).is_some() {
            return Err(duplicate(target, &row));
        }
        for index in &target.indexes {
            let entry = index_entry(target, index, &row)?;
            entries.insert(entry.key, (entry.value, false, number));
        }
        moved.push(row);
    }
    let keys: Vec<Key> = entries.keys().cloned().collect();
    let found = txn.claim(&keys, store::exclusive()).await.map_err(from_txn)?;
    for ((key, (value, row_entry, number)), found) in entries.into_iter().zip(found) {
        match found {
            // From an attempt before.
            Some(there) if there == value => {}
            Some(_) if row_entry => return Err(duplicate(target, &moved[number])),
            _ => txn.put(key, value),
        }
    }
    Ok(())
}

fn check_nulls(target: &TableDescriptor, row: &[Datum]) -> Result<(), SqlError> {
    for (column, value) in target.columns.iter().zip(row) {
        if value.is_null() && target.is_primary_key(column.id) {
            return Err(SqlError::new(
                SqlState::NOT_NULL_VIOLATION,
                format!("column \"{}\" of relation \"{}\" contains null values", column.name, target.name),
            ));
        }
    }
    Ok(())
}

fn duplicate(target: &TableDescriptor, row: &[Datum]) -> SqlError {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for column in &target.primary.columns {
        if let Some(at) = target.position(column.column) {
            names.push(target.columns[at].name.clone());
            values.push(row[at].to_text(target.columns[at].ty, &TimeZone::UTC));
        }
    }
    SqlError::new(
        SqlState::UNIQUE_VIOLATION,
        format!("could not create unique index \"{}\"", target.primary.name),
    )
    .detail(format!("Key ({})=({}) is duplicated.", names.join(", "), values.join(", ")))
}
