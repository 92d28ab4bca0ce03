//! `TRUNCATE`: small tables row by row in the session's transaction, large ones by giving them new, empty indexes.

use super::{AfterCommit, Change, rewrite};
use crate::{
    catalog::{TableDescriptor, keys, store},
    dml::check_room,
    error::SqlError,
    row::table_span,
    session::{errors::from_txn, kv::write_lock, run::Outcome},
};
use futures::TryStreamExt;
use quorate_proto::Key;
use quorate_txn::{Isolation, ScanOptions};
use sqlparser::ast::{CascadeOption, Truncate, TruncateIdentityOption};
use std::sync::Arc;

/// Entries that are removed one by one.
const SMALL: usize = 20_000;

pub async fn run(change: &mut Change, truncate: &Truncate) -> Result<Outcome, SqlError> {
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() || truncate.if_exists {
        return Err(SqlError::unsupported("this form of TRUNCATE"));
    }
    // Without foreign keys there is nothing to cascade to.
    let _ = matches!(truncate.cascade, Some(CascadeOption::Cascade));
    let restart = matches!(truncate.identity, Some(TruncateIdentityOption::Restart));
    let mut tables = Vec::new();
    for target in &truncate.table_names {
        tables.push(change.settled_table(&target.name).await?);
    }
    for table in &tables {
        one(change, table).await?;
        if restart {
            restart_identity(change, table).await?;
        }
    }
    Ok(Outcome::done("TRUNCATE TABLE"))
}

async fn one(change: &mut Change, table: &Arc<TableDescriptor>) -> Result<(), SqlError> {
    // In a transaction with others there is no other way than entry by entry.
    if change.shared_tx {
        // Rows that come meanwhile are kept out by proof at commit.
        if change.txn.isolation() != Isolation::Serializable && !change.is_new(table.id)? {
            return Err(SqlError::unsupported("TRUNCATE in a transaction block that is not SERIALIZABLE")
                .hint("Run it by itself, or begin the block with BEGIN ISOLATION LEVEL SERIALIZABLE."));
        }
        return empty(change, table).await;
    }
    if let Some(keys) = few(change, table).await? {
        for key in keys {
            change.txn.delete(key);
        }
        return Ok(());
    }
    let newest = change.lock_table(table).await?;
    let target = rewrite::with_new_indexes(&newest);
    rewrite::start(change, newest, target, true).await
}

/// Whoever has locked a row is waited for here, where timeouts and cancellation reach, and not by the commit.
fn locking(change: &Change) -> Result<ScanOptions, SqlError> {
    let lock = write_lock(change.view()?.settings.now().lock_timeout());
    Ok(ScanOptions { lock: Some(lock), ..ScanOptions::default() })
}

/// All keys of a table, if they are not many.
async fn few(change: &Change, table: &TableDescriptor) -> Result<Option<Vec<Key>>, SqlError> {
    let mut pages = change.txn.scan(table_span(table.id), locking(change)?);
    let mut seen = Vec::new();
    while let Some(page) = pages.try_next().await.map_err(from_txn)? {
        seen.extend(page.into_iter().map(|(key, _)| key));
        if seen.len() > SMALL {
            return Ok(None);
        }
    }
    Ok(Some(seen))
}

/// Removes the entries page by page, each before the next is read: what the transaction may hold of changes bounds it.
async fn empty(change: &Change, table: &TableDescriptor) -> Result<(), SqlError> {
    let mut pages = change.txn.scan(table_span(table.id), locking(change)?);
    while let Some(page) = pages.try_next().await.map_err(from_txn)? {
        for (key, _) in page {
            change.txn.delete(key);
        }
        check_room(&change.txn)?;
    }
    Ok(())
}

async fn restart_identity(change: &mut Change, table: &TableDescriptor) -> Result<(), SqlError> {
    for id in table.columns.iter().filter_map(|column| column.sequence) {
        let key = keys::counter(id);
        store::claim(&change.txn, &key).await?;
        change.txn.delete(key);
        // This node forgets its block at once; others' last numbers are used up from theirs.
        change.after_commit.push(AfterCommit::ForgetSequence(id));
        let now = change.now().clone();
        change.overlay = Some(now);
    }
    Ok(())
}
