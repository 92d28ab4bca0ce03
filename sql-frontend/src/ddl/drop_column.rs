//! `ALTER TABLE … DROP COLUMN`, in steps, each in use everywhere before the next:
//!
//! | step | statements see the column | `NOT NULL` and checks with it | indexes with it |
//! |---|---|---|---|
//! | leaving | yes | kept by writers, but no reader relies on them | written, not read |
//! | withheld | no; writers keep it, new rows have its default | none | entries are removed, none added |
//! | gone | no; rewritten rows lose it | none | gone; their entries are removed then |
//!
//! Whoever uses one step can live with what the one before and the one after write. The first is left out where there is
//! nothing to let go of. Values stay in rows that nobody writes again; nobody reads them, because ids are not used twice.

use super::{AfterCommit, Change, alter, drop, job};
use crate::{
    catalog::{
        IndexDescriptor, IndexState, SequenceDescriptor, Snapshot, TableDescriptor, TableState, store,
    },
    error::{SqlError, SqlState},
    server::Shared,
    session::parse::{fold, parse_expression},
};
use quorate_txn::Txn;
use sqlparser::ast::{Expr, visit_expressions};
use std::{ops::ControlFlow, sync::Arc};

pub async fn run(
    change: &mut Change,
    mut table: TableDescriptor,
    name: &str,
    if_exists: bool,
    cascade: bool,
) -> Result<(), SqlError> {
    let Some(column) = table.column_named(name).filter(|c| !c.hidden).map(|c| c.id) else {
        let text = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
        if if_exists {
            change.notice(SqlState("00000"), format!("{text}, skipping"));
            return Ok(());
        }
        return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, text));
    };
    if table.is_primary_key(column) {
        return Err(SqlError::unsupported("dropping a column of the primary key").hint(
            "The rows lie in the order of the key: create a table without the column and copy them with INSERT … SELECT.",
        ));
    }
    refuse_foreign_use(change, &table, column, cascade)?;
    if change.is_new(table.id)? {
        return at_once(change, table, column).await;
    }
    change.alone("ALTER TABLE … DROP COLUMN")?;
    begin(&mut table, column)?;
    let kind = job::Kind::DropColumn { table: table.id, column };
    change.begin_job(table, kind).await
}

/// The column's own sequence goes with it, unless a default elsewhere takes numbers from it.
fn refuse_foreign_use(
    change: &Change,
    table: &TableDescriptor,
    column: u32,
    cascade: bool,
) -> Result<(), SqlError> {
    for sequence in owned_sequences(change.now(), table.id, column) {
        let takes_from = |t: &TableDescriptor| {
            let others = t.columns.iter().filter(|c| (t.id, c.id) != (table.id, column));
            others.filter_map(|c| c.default.as_ref()).any(|default| names_sequence(default, &sequence.name))
        };
        let Some(user) = change.now().public_tables().find(|t| takes_from(t)) else { continue };
        let detail = format!("A default value of table {} depends on sequence {}.", user.name, sequence.name);
        let error = match cascade {
            true => SqlError::unsupported("DROP COLUMN … CASCADE with a default of another column"),
            false => SqlError::new(
                SqlState("2BP01"),
                format!("cannot drop a column of table {} because other objects depend on it", table.name),
            ),
        };
        return Err(error.detail(detail).hint("Drop that default first, with ALTER COLUMN … DROP DEFAULT."));
    }
    Ok(())
}

/// Whether a literal in a default is this name, with or without a schema.
fn names_sequence(default: &str, name: &str) -> bool {
    let mut literals = default.split('\'').skip(1).step_by(2);
    default.contains("nextval")
        && literals.any(|text| text.rsplit('.').next().is_some_and(|last| last.trim_matches('"') == name))
}

fn owned_sequences(snapshot: &Snapshot, table: u64, column: u32) -> Vec<Arc<SequenceDescriptor>> {
    let owned = |sequence: &&Arc<SequenceDescriptor>| sequence.owner == Some((table, column));
    snapshot.sequences.values().filter(owned).cloned().collect()
}

/// From a table that nobody else knows.
async fn at_once(change: &mut Change, mut table: TableDescriptor, column: u32) -> Result<(), SqlError> {
    let shared = change.shared()?;
    withhold(&mut table, column)?;
    let indexes = remove(&change.txn, &mut table, column).await?;
    for sequence in owned_sequences(change.now(), table.id, column) {
        drop::remove_sequence(change, &sequence).await?;
    }
    if !indexes.is_empty() {
        let kind = job::Kind::Remove { table: table.id, indexes };
        let job = job::create(&shared, &change.txn, kind).await?;
        change.after_commit.push(AfterCommit::Job(job));
    }
    alter::replace(change, table).await
}

/// The step that a column is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Leaving,
    Withheld,
    Gone,
}

fn step_of(table: Option<&TableDescriptor>, column: u32) -> Step {
    let there = table.filter(|t| t.state != TableState::Dropped);
    match there.and_then(|t| t.column(column)) {
        Some(column) if column.hidden => Step::Withheld,
        Some(_) => Step::Leaving,
        None => Step::Gone,
    }
}

/// The first step, in the statement's own transaction.
fn begin(table: &mut TableDescriptor, column: u32) -> Result<(), SqlError> {
    let checks = checks_with(table, column)?;
    let indexed = table.indexes.iter().any(|index| holds(index, column));
    let free = table.column(column).is_some_and(|c| c.nullable) && checks.is_empty() && !indexed;
    if free || quorate_env::planted!("sql.column_withheld_at_once") {
        return withhold(table, column);
    }
    for index in table.indexes.iter_mut().filter(|index| holds(index, column)) {
        index.state = IndexState::WriteOnly;
    }
    for check in table.checks.iter_mut().filter(|check| checks.contains(&check.name)) {
        check.leaving = true;
    }
    for found in table.columns.iter_mut().filter(|c| c.id == column) {
        found.leaving = true;
    }
    Ok(())
}

fn withhold(table: &mut TableDescriptor, column: u32) -> Result<(), SqlError> {
    let checks = checks_with(table, column)?;
    table.checks.retain(|check| !checks.contains(&check.name));
    for index in table.indexes.iter_mut().filter(|index| holds(index, column)) {
        index.state = IndexState::DeleteOnly;
    }
    for found in table.columns.iter_mut().filter(|c| c.id == column) {
        found.hidden = true;
        found.nullable = true;
    }
    Ok(())
}

/// Takes the column and its indexes away; the ids of these, whose entries remain.
async fn remove(txn: &Txn, table: &mut TableDescriptor, column: u32) -> Result<Vec<u32>, SqlError> {
    table.columns.retain(|c| c.id != column);
    let mut gone = Vec::new();
    for index in table.indexes.extract_if(.., |index| holds(index, column)) {
        store::free_name(txn, &table.schema, &index.name).await?;
        gone.push(index.id);
    }
    Ok(gone)
}

fn holds(index: &IndexDescriptor, column: u32) -> bool {
    index.columns.iter().any(|c| c.column == column)
}

/// Names of the conditions that mention the column.
fn checks_with(table: &TableDescriptor, column: u32) -> Result<Vec<String>, SqlError> {
    let Some(name) = table.column(column).map(|c| c.name.clone()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for check in &table.checks {
        let condition = parse_expression(&check.condition)?;
        let mentioned = visit_expressions(&condition, |expr| {
            let last = match expr {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(idents) => idents.last(),
                _ => None,
            };
            match last {
                Some(ident) if fold(ident) == name => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        if mentioned.is_break() {
            found.push(check.name.clone());
        }
    }
    Ok(found)
}

/// The job: whatever step the descriptor is at is in use everywhere before the next one is taken.
pub async fn carry_out(shared: &Arc<Shared>, id: u64, table: u64, column: u32) -> Result<(), SqlError> {
    loop {
        let snapshot = shared.catalog.refresh().await?;
        let at = step_of(snapshot.tables.get(&table).map(|t| &**t), column);
        if at == Step::Gone {
            job::step(shared, id, |txn| async move { job::finish(&txn, id).await }).await?;
            return Ok(());
        }
        shared.catalog.settle().await?;
        let sequences = owned_sequences(&snapshot, table, column);
        let taken = job::step(shared, id, |txn| {
            let sequences = sequences.clone();
            async move { next(shared, &txn, id, (table, column), at, &sequences).await }
        })
        .await?;
        shared.catalog.refresh().await?;
        match taken {
            // Over, by the hand of another.
            None => return Ok(()),
            Some(Step::Gone) => {
                sequences.iter().for_each(|sequence| shared.sequences.forget(sequence.id));
                shared.catalog.settle().await?;
                // The same job removes the entries of indexes, if there were any.
                job::spawn(shared, id);
                return Ok(());
            }
            Some(_) => {}
        }
    }
}

/// One step from where `at` was used everywhere; where the column is then.
async fn next(
    shared: &Shared,
    txn: &Txn,
    id: u64,
    (table, column): (u64, u32),
    at: Step,
    sequences: &[Arc<SequenceDescriptor>],
) -> Result<Step, SqlError> {
    let found = store::lock_table(txn, table).await?;
    let Some(mut descriptor) = found.filter(|found| step_of(Some(found), column) == at) else {
        return Ok(at);
    };
    let mut indexes = Vec::new();
    let step = match at {
        Step::Leaving => {
            withhold(&mut descriptor, column)?;
            Step::Withheld
        }
        Step::Withheld | Step::Gone => {
            indexes = remove(txn, &mut descriptor, column).await?;
            for sequence in sequences {
                store::free_name(txn, &sequence.schema, &sequence.name).await?;
                store::delete_sequence(txn, sequence.id).await?;
            }
            Step::Gone
        }
    };
    descriptor.version += 1;
    store::put_table(txn, &descriptor);
    store::raise_generation(txn).await?;
    match step {
        Step::Gone if indexes.is_empty() => job::finish(txn, id).await?,
        Step::Gone => job::put(shared, txn, id, job::Kind::Remove { table, indexes }),
        _ => {}
    }
    Ok(step)
}
