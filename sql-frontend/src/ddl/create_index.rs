//! `CREATE INDEX`: delete-only, write-only, backfill, public; each state is in use everywhere before the next.

use super::{Change, create_table, job, naming, storage};
use crate::{
    catalog::{IndexDescriptor, IndexState, TableDescriptor, TableState, store},
    dml::check_key_size,
    error::{SqlError, SqlState},
    row::{RowDecoder, index_entry, index_span},
    server::Shared,
    session::{errors::from_txn, names::Names, run::Outcome},
    types::TimeZone,
};
use futures::TryStreamExt;
use quorate_proto::{Key, Span, Value};
use quorate_txn::{Isolation, ScanOptions, Txn, TxnOptions};
use sqlparser::ast::{CreateIndex, IndexType};
use std::{collections::BTreeMap, sync::Arc};

/// Rows filled in by one transaction.
const PAGE: u64 = 500;
/// After as many failures the rows are locked: somebody changes them all the time.
const PATIENCE: u32 = 3;

pub async fn run(change: &mut Change, create: &CreateIndex) -> Result<Outcome, SqlError> {
    refuse(create)?;
    storage::of_index(&create.with)?;
    let table = change.settled_table(&create.table_name).await?;
    let newest = change.lock_table(&table).await?;
    let columns = create_table::index_columns(&newest, &create.columns)?;
    create_table::nulls_stand_anywhere(change, &create.columns);
    let name = match &create.name {
        Some(name) => Names::split(name)?.1,
        None => naming::of_index(change.now(), &newest, &columns, "idx"),
    };
    create_table::check_name(&name)?;
    if store::is_name_taken(&change.txn, &newest.schema, &name).await? {
        if create.if_not_exists {
            change.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"));
            return Ok(Outcome::done("CREATE INDEX"));
        }
        return Err(store::name_taken(&name));
    }
    let kind = if create.unique { Kind::Unique } else { Kind::Plain };
    add(change, newest, name, columns, kind).await?;
    Ok(Outcome::done("CREATE INDEX"))
}

fn refuse(create: &CreateIndex) -> Result<(), SqlError> {
    let unsupported = [
        (create.predicate.is_some(), "a partial index"),
        (!create.include.is_empty(), "INCLUDE in an index"),
        (create.nulls_distinct == Some(false), "NULLS NOT DISTINCT"),
        (!matches!(create.using, None | Some(IndexType::BTree)), "an index that is not a btree"),
        (
            !create.index_options.is_empty() || !create.alter_options.is_empty(),
            "an option behind the columns of an index",
        ),
        (create.if_not_exists && create.name.is_none(), "IF NOT EXISTS without a name"),
    ];
    match unsupported.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}

/// What an index is made as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Unique,
    /// For a `UNIQUE` of the table.
    Constraint,
}

/// Adds an index to a locked table: in steps, or at once where nobody else can know the table.
pub async fn add(
    change: &mut Change,
    mut table: TableDescriptor,
    name: String,
    columns: Vec<crate::catalog::IndexColumn>,
    kind: Kind,
) -> Result<(), SqlError> {
    let new = change.is_new(table.id)?;
    if !new {
        change.alone("CREATE INDEX on an existing table")?;
    }
    let id = table.next_index_id;
    table.next_index_id += 1;
    let state = if new { IndexState::Public } else { IndexState::DeleteOnly };
    store::take_name(&change.txn, &table.schema, &name, table.id).await?;
    let (unique, plain) = (kind != Kind::Plain, kind != Kind::Constraint);
    table.indexes.push(IndexDescriptor { id, name, columns, unique, state, plain });
    if !new {
        let kind = job::Kind::CreateIndex { table: table.id, index: id };
        return change.begin_job(table, kind).await;
    }
    store::raise_generation(&change.txn).await?;
    let table = change.put_table(table);
    let index = table.indexes.last().ok_or_else(|| SqlError::internal("the index is not there"))?;
    fill_whole(&change.txn, &table, index).await
}

/// In one go, inside the transaction that made the table.
async fn fill_whole(txn: &Txn, table: &TableDescriptor, index: &IndexDescriptor) -> Result<(), SqlError> {
    let mut pages = txn.scan(index_span(table.id, table.primary.id), ScanOptions::default());
    while let Some(page) = pages.try_next().await.map_err(from_txn)? {
        fill(txn, table, index, &page).await?;
    }
    Ok(())
}

/// Writes the entries of some rows; 23505 if two rows have the same place in a unique index.
async fn fill(
    txn: &Txn,
    table: &TableDescriptor,
    index: &IndexDescriptor,
    rows: &[(Key, Value)],
) -> Result<(), SqlError> {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let decoder = RowDecoder::for_rows(table, &all)?;
    let mut entries = BTreeMap::new();
    let mut row = Vec::new();
    let mut keys = Vec::with_capacity(rows.len());
    let mut shown = BTreeMap::new();
    for (key, value) in rows {
        decoder.decode(key, value, &mut row)?;
        let entry = index_entry(table, index, &row)?;
        check_key_size(&entry.key, index)?;
        if entry.exclusive {
            if entries.contains_key(&entry.key) {
                return Err(duplicate(table, index, &row));
            }
            shown.insert(entry.key.clone(), row.clone());
        }
        keys.push(entry.key.clone());
        entries.insert(entry.key, entry.value);
    }
    let found = txn.claim(&keys, store::exclusive()).await.map_err(from_txn)?;
    for (key, found) in keys.iter().zip(found) {
        let Some(value) = entries.get(key) else { continue };
        match found {
            Some(there) if there == *value => {}
            Some(_) => {
                let row = shown.get(key).map_or(&[][..], |row| row);
                return Err(duplicate(table, index, row));
            }
            None => txn.put(key.clone(), value.clone()),
        }
    }
    Ok(())
}

fn duplicate(table: &TableDescriptor, index: &IndexDescriptor, row: &[crate::types::Datum]) -> SqlError {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for column in &index.columns {
        if let Some(at) = table.position(column.column) {
            names.push(table.columns[at].name.clone());
            values
                .push(row.get(at).map_or(String::new(), |v| v.to_text(table.columns[at].ty, &TimeZone::UTC)));
        }
    }
    SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{}\"", index.name))
        .detail(format!("Key ({})=({}) is duplicated.", names.join(", "), values.join(", ")))
        .with_fields(|fields| {
            fields.schema = Some(table.schema.clone());
            fields.table = Some(table.name.clone());
            fields.constraint = Some(index.name.clone());
        })
}

/// The job: from whatever state the descriptor says.
pub async fn carry_out(shared: &Arc<Shared>, id: u64, table: u64, index: u32) -> Result<(), SqlError> {
    let snapshot = shared.catalog.refresh().await?;
    let found = snapshot.tables.get(&table).filter(|t| t.state != TableState::Dropped);
    let Some(now) = found.and_then(|t| t.indexes.iter().find(|i| i.id == index)).map(|i| i.state) else {
        // Dropped with its table in the meantime.
        return job::transact(shared, |txn| async move { job::finish(&txn, id).await }).await;
    };
    if now == IndexState::DeleteOnly {
        shared.catalog.settle().await?;
        set_state(shared, id, table, index, IndexState::WriteOnly, false).await?;
    }
    if now != IndexState::Public {
        shared.catalog.settle().await?;
        if let Err(error) = backfill(shared, table, index).await {
            // The rows do not allow the index, however often it is tried.
            if matches!(error.sqlstate, SqlState::UNIQUE_VIOLATION | SqlState::PROGRAM_LIMIT_EXCEEDED) {
                // Take it back, in the order of a drop, as this same job.
                job::transact(shared, |txn| async move {
                    job::put(shared, &txn, id, job::Kind::DropIndex { table, index });
                    Ok(())
                })
                .await?;
                job::spawn(shared, id);
            }
            return Err(error);
        }
    }
    set_state(shared, id, table, index, IndexState::Public, true).await?;
    shared.catalog.settle().await
}

/// Writes the index's state as a step of the job, finishing that with it if told to, and takes it over on this node.
pub async fn set_state(
    shared: &Arc<Shared>,
    id: u64,
    table: u64,
    index: u32,
    state: IndexState,
    finish: bool,
) -> Result<(), SqlError> {
    job::step(shared, id, |txn| async move {
        if let Some(mut descriptor) = store::lock_table(&txn, table).await? {
            for found in descriptor.indexes.iter_mut().filter(|i| i.id == index) {
                found.state = state;
            }
            descriptor.version += 1;
            store::put_table(&txn, &descriptor);
            store::raise_generation(&txn).await?;
        }
        if finish { job::finish(&txn, id).await } else { Ok(()) }
    })
    .await?;
    shared.catalog.refresh().await.map(drop)
}

/// New rows are no business of a page, since their writers know the index: with the rows locked, nothing else needs proof.
fn options(attempt: u32) -> TxnOptions {
    let isolation = if attempt < PATIENCE { Isolation::Serializable } else { Isolation::ReadCommitted };
    TxnOptions { isolation, ..TxnOptions::default() }
}

async fn backfill(shared: &Arc<Shared>, table: u64, index: u32) -> Result<(), SqlError> {
    let snapshot = shared.catalog.refresh().await?;
    let table = snapshot.tables.get(&table).cloned();
    let Some(table) = table else { return Ok(()) };
    let Some(index) = table.indexes.iter().find(|i| i.id == index).cloned() else { return Ok(()) };
    let (table, index) = (&table, &index);
    let mut span = index_span(table.id, table.primary.id);
    loop {
        let here = &span;
        let _pass = job::give_way(shared).await;
        let last = job::transact_with(shared, options, |txn, attempt| async move {
            let lock = if attempt < PATIENCE { None } else { Some(store::exclusive()) };
            let options = ScanOptions { limit: Some(PAGE), lock, ..Default::default() };
            let pages: Vec<_> = txn.scan(here.clone(), options).try_collect().await.map_err(from_txn)?;
            let rows = pages.concat();
            fill(&txn, table, index, &rows).await?;
            Ok((rows.len() as u64 == PAGE).then(|| rows.last().map(|(key, _)| key.clone())).flatten())
        })
        .await?;
        match last {
            Some(key) => span = Span { start: key.successor(), end: span.end },
            None => return Ok(()),
        }
    }
}
