//! `DROP TABLE`, `DROP INDEX`, `DROP SEQUENCE`, `DROP SCHEMA`, and the removal of the rows that remain.

use super::{AfterCommit, Change, close::close, create_index, job, placement};
use crate::{
    catalog::{IndexState, Object, SequenceDescriptor, TableDescriptor, TableState, keys, store},
    error::{SqlError, SqlState},
    row::{index_span, table_span},
    server::Shared,
    session::{
        errors::from_txn,
        names::{Names, no_schema},
        run::Outcome,
    },
};
use futures::TryStreamExt;
use quorate_proto::Span;
use quorate_txn::ScanOptions;
use sqlparser::ast::{Ident, ObjectName, ObjectType, Statement};
use std::sync::Arc;

/// Rows removed by one transaction.
const PAGE: u64 = 2000;

pub async fn run(change: &mut Change, statement: &Statement) -> Result<Outcome, SqlError> {
    let Statement::Drop { object_type, if_exists, names, cascade, restrict: _, purge, temporary, table } =
        statement
    else {
        return Err(SqlError::internal("not DROP"));
    };
    if *temporary || *purge || table.is_some() {
        return Err(SqlError::unsupported("this form of DROP"));
    }
    let tag = format!("DROP {object_type}");
    for name in names {
        match object_type {
            ObjectType::Table => drop_table(change, name, *if_exists).await?,
            ObjectType::Index => drop_index(change, name, *if_exists).await?,
            ObjectType::Sequence => drop_sequence(change, name, *if_exists).await?,
            ObjectType::Schema => drop_schema(change, name, *if_exists, *cascade).await?,
            ObjectType::View | ObjectType::MaterializedView if *if_exists => {
                change.notice(SqlState("00000"), format!("view \"{name}\" does not exist, skipping"));
            }
            other => return Err(SqlError::unsupported(format!("DROP {other}"))),
        }
    }
    Ok(Outcome::done(tag))
}

fn missing(change: &mut Change, what: &str, name: &str, if_exists: bool) -> Result<(), SqlError> {
    if if_exists {
        change.notice(SqlState("00000"), format!("{what} \"{name}\" does not exist, skipping"));
        return Ok(());
    }
    let state = if what == "index" { SqlState::UNDEFINED_OBJECT } else { SqlState::UNDEFINED_TABLE };
    Err(SqlError::new(state, format!("{what} \"{name}\" does not exist")))
}

fn find(change: &Change, name: &ObjectName) -> Result<(String, Option<Object>), SqlError> {
    let (schema, name) = Names::split(name)?;
    let found = change.view()?.names.within(change.now().clone()).object(schema.as_deref(), &name);
    Ok((name, found.map(|(_, object)| object)))
}

async fn drop_table(change: &mut Change, name: &ObjectName, if_exists: bool) -> Result<(), SqlError> {
    let (name, found) = find(change, name)?;
    match found {
        Some(Object::Table(id)) => {
            let table = change.now().tables.get(&id).cloned();
            let table = table.ok_or_else(|| SqlError::internal("a name without its table"))?;
            remove_table(change, &table).await
        }
        Some(_) => Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a table"))),
        None => missing(change, "table", &name, if_exists),
    }
}

async fn remove_table(change: &mut Change, table: &TableDescriptor) -> Result<(), SqlError> {
    let mut newest = change.lock_table(table).await?;
    let txn = change.txn.clone();
    store::free_name(&txn, &newest.schema, &newest.name).await?;
    if newest.has_declared_key() {
        store::free_name(&txn, &newest.schema, &newest.primary.name).await?;
    }
    for index in &newest.indexes {
        store::free_name(&txn, &newest.schema, &index.name).await?;
    }
    let owned: Vec<Arc<SequenceDescriptor>> = change
        .now()
        .sequences
        .values()
        .filter(|sequence| sequence.owner.is_some_and(|(owner, _)| owner == newest.id))
        .cloned()
        .collect();
    for sequence in owned {
        remove_sequence(change, &sequence).await?;
    }
    store::raise_generation(&txn).await?;
    newest.state = TableState::Dropped;
    let new = change.is_new(newest.id)?;
    let id = newest.id;
    change.put_table(newest);
    let shared = change.shared()?;
    let job = job::create(&shared, &txn, job::Kind::Remove { table: id, indexes: vec![] }).await?;
    if !new {
        change.after_commit.push(AfterCommit::Close(id));
    }
    change.after_commit.push(AfterCommit::Job(job));
    Ok(())
}

pub async fn remove_sequence(change: &mut Change, sequence: &SequenceDescriptor) -> Result<(), SqlError> {
    store::free_name(&change.txn, &sequence.schema, &sequence.name).await?;
    store::delete_sequence(&change.txn, sequence.id).await?;
    change.after_commit.push(AfterCommit::ForgetSequence(sequence.id));
    let id = sequence.id;
    change.overlay(|snapshot| {
        snapshot.sequences.remove(&id);
    });
    Ok(())
}

async fn drop_sequence(change: &mut Change, name: &ObjectName, if_exists: bool) -> Result<(), SqlError> {
    let (name, found) = find(change, name)?;
    let sequence = match found {
        Some(Object::Sequence(id)) => change.now().sequences.get(&id).cloned(),
        Some(_) => {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence")));
        }
        None => return missing(change, "sequence", &name, if_exists),
    };
    let sequence = sequence.ok_or_else(|| SqlError::internal("a name without its sequence"))?;
    let user = change
        .now()
        .public_tables()
        .find(|table| table.columns.iter().any(|column| column.sequence == Some(sequence.id)));
    if let Some(table) = user {
        return Err(SqlError::new(
            SqlState("2BP01"),
            format!("cannot drop sequence {name} because other objects depend on it"),
        )
        .detail(format!("A default value of table {} depends on sequence {name}.", table.name)));
    }
    store::raise_generation(&change.txn).await?;
    remove_sequence(change, &sequence).await
}

async fn drop_schema(
    change: &mut Change,
    name: &ObjectName,
    if_exists: bool,
    cascade: bool,
) -> Result<(), SqlError> {
    let (None, name) = Names::split(name)? else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "a schema's name has one part"));
    };
    if name == crate::catalog::snapshot::PUBLIC {
        return Err(SqlError::unsupported("DROP SCHEMA public"));
    }
    if !change.now().has_schema(&name) {
        if if_exists {
            change.notice(SqlState("00000"), format!("schema \"{name}\" does not exist, skipping"));
            return Ok(());
        }
        return Err(no_schema(&name));
    }
    let tables: Vec<_> = change.now().public_tables().filter(|t| t.schema == name).cloned().collect();
    if !tables.is_empty() && !cascade {
        return Err(SqlError::new(
            SqlState("2BP01"),
            format!("cannot drop schema {name} because other objects depend on it"),
        )
        .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for table in tables {
        remove_table(change, &table).await?;
    }
    let sequences: Vec<_> = change.now().sequences.values().filter(|s| s.schema == name).cloned().collect();
    for sequence in sequences {
        remove_sequence(change, &sequence).await?;
    }
    let key = keys::schema(&name);
    store::claim(&change.txn, &key).await?;
    change.txn.delete(key);
    store::raise_generation(&change.txn).await?;
    change.overlay(|snapshot| {
        snapshot.schemas.remove(&name);
    });
    Ok(())
}

async fn drop_index(change: &mut Change, name: &ObjectName, if_exists: bool) -> Result<(), SqlError> {
    let (name, found) = find(change, name)?;
    let (table, index) = match found {
        Some(Object::Index(table, index)) => (table, index),
        Some(_) => {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not an index")));
        }
        None => return missing(change, "index", &name, if_exists),
    };
    let table = change.now().tables.get(&table).cloned();
    let mut table = table.ok_or_else(|| SqlError::internal("an index without its table"))?;
    if table.primary.id == index || table.indexes.iter().any(|i| i.id == index && i.is_constraint()) {
        let (constraint, table) = (format!("constraint {name} on table {}", table.name), &table.name);
        let text = format!("cannot drop index {name} because {constraint} requires it");
        let hint = format!("You can drop constraint {name} on table {table} instead.");
        return Err(SqlError::new(SqlState("2BP01"), text).hint(hint));
    }
    let full = [Ident::with_quote('"', &table.schema), Ident::with_quote('"', &table.name)];
    table = change.settled_table(&ObjectName::from(full.to_vec())).await?;
    remove_index(change, &table, index).await
}

/// Takes an index away: at once from a table that nobody else knows, in steps otherwise.
pub async fn remove_index(change: &mut Change, table: &TableDescriptor, index: u32) -> Result<(), SqlError> {
    let mut newest = change.lock_table(table).await?;
    if change.is_new(newest.id)? {
        return remove_new_index(change, newest, index).await;
    }
    change.alone("DROP INDEX")?;
    for found in newest.indexes.iter_mut().filter(|i| i.id == index) {
        found.state = IndexState::WriteOnly;
    }
    let kind = job::Kind::DropIndex { table: newest.id, index };
    change.begin_job(newest, kind).await
}

async fn remove_new_index(
    change: &mut Change,
    mut table: TableDescriptor,
    index: u32,
) -> Result<(), SqlError> {
    let shared = change.shared()?;
    store::raise_generation(&change.txn).await?;
    let at = table.indexes.iter().position(|i| i.id == index);
    let removed = table.indexes.remove(at.ok_or_else(|| SqlError::internal("no such index"))?);
    store::free_name(&change.txn, &table.schema, &removed.name).await?;
    let kind = job::Kind::Remove { table: table.id, indexes: vec![index] };
    change.put_table(table);
    let job = job::create(&shared, &change.txn, kind).await?;
    change.after_commit.push(AfterCommit::Job(job));
    Ok(())
}

/// The job: write-only, delete-only, gone; then its entries.
pub async fn carry_out_index(shared: &Arc<Shared>, id: u64, table: u64, index: u32) -> Result<(), SqlError> {
    let snapshot = shared.catalog.refresh().await?;
    let there = snapshot.tables.get(&table).filter(|t| t.state != TableState::Dropped);
    let found = there.and_then(|t| t.indexes.iter().find(|i| i.id == index));
    if found.is_none() {
        // Gone with its table, or never there.
        return job::transact(shared, |txn| async move { job::finish(&txn, id).await }).await;
    }
    if let Some(found) = found {
        if found.state == IndexState::Public {
            create_index::set_state(shared, id, table, index, IndexState::WriteOnly, false).await?;
        }
        if found.state != IndexState::DeleteOnly {
            shared.catalog.settle().await?;
            create_index::set_state(shared, id, table, index, IndexState::DeleteOnly, false).await?;
        }
        shared.catalog.settle().await?;
        job::step(shared, id, |txn| async move {
            if let Some(mut descriptor) = store::lock_table(&txn, table).await? {
                if let Some(at) = descriptor.indexes.iter().position(|i| i.id == index) {
                    let removed = descriptor.indexes.remove(at);
                    store::free_name(&txn, &descriptor.schema, &removed.name).await?;
                }
                descriptor.version += 1;
                store::put_table(&txn, &descriptor);
                store::raise_generation(&txn).await?;
            }
            job::put(shared, &txn, id, job::Kind::Remove { table, indexes: vec![index] });
            Ok(())
        })
        .await?;
        shared.catalog.refresh().await?;
    }
    job::spawn(shared, id);
    Ok(())
}

/// The job: when nobody can write there any more, the rows go, page by page.
pub async fn carry_out_removal(
    shared: &Arc<Shared>,
    id: u64,
    table: u64,
    indexes: &[u32],
) -> Result<(), SqlError> {
    match indexes {
        [] => close(shared, &[table]).await?,
        _ => shared.catalog.settle().await?,
    }
    let spans: Vec<Span> = match indexes {
        [] => vec![table_span(table)],
        indexes => indexes.iter().map(|index| index_span(table, *index)).collect(),
    };
    for span in spans {
        remove_span(shared, span).await?;
    }
    let whole = indexes.is_empty();
    if whole {
        placement::forget(shared, table).await?;
    }
    job::transact(shared, |txn| async move {
        if whole && store::lock_table(&txn, table).await?.is_some() {
            store::delete_table(&txn, table);
            store::raise_generation(&txn).await?;
        }
        job::finish(&txn, id).await
    })
    .await?;
    shared.catalog.refresh().await.map(drop)
}

async fn remove_span(shared: &Arc<Shared>, mut span: Span) -> Result<(), SqlError> {
    loop {
        let here = &span;
        let _pass = job::give_way(shared).await;
        let last = job::transact(shared, |txn| async move {
            let options = ScanOptions { limit: Some(PAGE), ..Default::default() };
            let pages: Vec<_> = txn.scan(here.clone(), options).try_collect().await.map_err(from_txn)?;
            let rows = pages.concat();
            for (key, _) in &rows {
                txn.delete(key.clone());
            }
            Ok((rows.len() as u64 == PAGE).then(|| rows.last().map(|(key, _)| key.clone())).flatten())
        })
        .await?;
        match last {
            Some(key) => span = Span { start: key.successor(), end: span.end },
            None => return Ok(()),
        }
    }
}
