//! Changing the schema.
//!
//! What can be done in one step (a new table, a dropped one, a new name) is written in the session's own transaction and is
//! visible to it at once through an overlay; nodes that have not heard of it look again before they say that a name does not
//! exist. What others could stumble over goes in steps, each of them used by all nodes before the next (F1's schema
//! change), as a [`job`] that survives its node.

mod add_column;
mod alter;
mod close;
mod create_index;
mod create_table;
mod drop;
mod drop_column;
mod first_step;
pub mod job;
mod naming;
pub mod placement;
mod rewrite;
mod sequence;
pub mod shards;
mod storage;
mod truncate;

use crate::{
    catalog::{Snapshot, TableDescriptor, TableState, store},
    error::{SqlError, SqlState},
    exec::ExecContext,
    server::Shared,
    session::{parse::Command, run::Outcome, view::SessionView},
};
use quorate_proto::placement::{IdKind, PlacementReply, PlacementRequest};
use quorate_txn::Txn;
use sqlparser::ast::{ObjectName, Statement};
use std::{sync::Arc, time::Duration};

/// What remains to be done once the transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterCommit {
    /// Wait until every node uses the catalog as it is now.
    Settle,
    /// Wait until nobody can write to this table any more.
    Close(u64),
    /// Start the job that the transaction has written.
    Job(u64),
    /// The sequence is gone or begins anew.
    ForgetSequence(u64),
}

/// A schema statement under way.
pub struct Change {
    pub ctx: ExecContext,
    /// What the statement finds.
    pub snapshot: Arc<Snapshot>,
    pub txn: Txn,
    /// Other statements share the transaction: nothing may be committed on the side.
    pub shared_tx: bool,
    pub sql: Arc<str>,
    /// What later statements of the transaction find, once something has changed.
    pub overlay: Option<Arc<Snapshot>>,
    pub after_commit: Vec<AfterCommit>,
    pub notices: Vec<SqlError>,
    /// The first step is committed already, and `txn` is another transaction.
    pub committed: bool,
}

const PLACEMENT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for another schema change on the same table.
const OTHERS: Duration = Duration::from_secs(60);

impl Change {
    pub fn new(ctx: ExecContext, snapshot: Arc<Snapshot>, txn: Txn, shared_tx: bool, sql: Arc<str>) -> Self {
        Change {
            ctx,
            snapshot,
            txn,
            shared_tx,
            sql,
            overlay: None,
            after_commit: Vec::new(),
            notices: Vec::new(),
            committed: false,
        }
    }

    fn view(&self) -> Result<&SessionView, SqlError> {
        SessionView::of(&self.ctx)
    }

    fn shared(&self) -> Result<Arc<Shared>, SqlError> {
        Ok(self.view()?.shared.clone())
    }

    fn notice(&mut self, state: SqlState, text: impl Into<String>) {
        self.notices.push(SqlError::new(state, text));
    }

    /// The catalog as changed so far.
    fn now(&self) -> &Arc<Snapshot> {
        self.overlay.as_ref().unwrap_or(&self.snapshot)
    }

    /// Whether the table exists in this transaction only.
    fn is_new(&self, table: u64) -> Result<bool, SqlError> {
        Ok(!self.shared()?.catalog.current().tables.contains_key(&table))
    }

    fn overlay(&mut self, change: impl FnOnce(&mut Snapshot)) {
        self.overlay = Some(self.now().with(change));
    }

    /// Writes a descriptor, raised by one version, and shows it to the rest of the transaction.
    fn put_table(&mut self, mut table: TableDescriptor) -> Arc<TableDescriptor> {
        table.version += 1;
        store::put_table(&self.txn, &table);
        let table = Arc::new(table);
        let shown = table.clone();
        self.overlay(|snapshot| {
            snapshot.tables.insert(shown.id, shown);
        });
        table
    }

    /// The newest descriptor under lock. If it is not what the statement was bound against, the transaction runs again.
    async fn lock_table(&self, table: &TableDescriptor) -> Result<TableDescriptor, SqlError> {
        match store::lock_table(&self.txn, table.id).await? {
            Some(newest) if newest.state == TableState::Rewriting => Err(SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("table \"{}\" is being rewritten", newest.name),
            )
            .hint("Try again when the other schema change has ended; quorate.jobs shows it.")),
            Some(newest) if newest.version == table.version => Ok(newest),
            _ => Err(SqlError::new(
                SqlState::SERIALIZATION_FAILURE,
                format!("table \"{}\" was changed at the same time", table.name),
            )
            .because("schema_change")),
        }
    }

    /// The table of this name, when no other schema change is under way on it: such a change ends within seconds, so it is
    /// waited for, unless the transaction holds locks that it may want.
    async fn settled_table(&mut self, name: &ObjectName) -> Result<Arc<TableDescriptor>, SqlError> {
        let shared = self.shared()?;
        let deadline = shared.env.boottime() + OTHERS;
        loop {
            let table = self.view()?.names.within(self.now().clone()).table(name)?;
            if !table.is_changing() {
                self.view()?.notes.clear();
                return Ok(table);
            }
            if self.shared_tx || shared.env.boottime() > deadline {
                return Err(SqlError::new(
                    SqlState("55006"),
                    format!("another schema change is under way on table \"{}\"", table.name),
                )
                .hint("quorate.jobs shows it."));
            }
            self.view()?.notes.now(format!("waiting for another schema change on table \"{}\"", table.name));
            shared.env.sleep(Duration::from_millis(50)).await;
            self.snapshot = shared.catalog.refresh().await?;
        }
    }

    /// Refuses what has to be committed in steps where others would be committed with it.
    fn alone(&self, what: &str) -> Result<(), SqlError> {
        if self.shared_tx {
            return Err(SqlError::new(
                SqlState::ACTIVE_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            )
            .detail("It goes in several steps, each of them seen by all nodes before the next.")
            .hint("Run it on its own; on tables created in the same transaction it may run anywhere."));
        }
        Ok(())
    }
}

/// Ids for tables and sequences, never given out before.
pub async fn allocate_ids(shared: &Shared, count: u64) -> Result<u64, SqlError> {
    let request = PlacementRequest::AllocateIds { kind: IdKind::Object, count };
    match shared.placement.request(request, PLACEMENT_TIMEOUT).await {
        Ok(PlacementReply::Ids(first)) => Ok(first),
        Ok(other) => Err(SqlError::internal(format!("placement answered {other:?}"))),
        Err(error) => Err(SqlError::new(SqlState("57Q01"), format!("no id could be allocated: {error}"))),
    }
}

/// Carries out a schema statement.
pub async fn run(change: &mut Change, command: &Command) -> Result<Outcome, SqlError> {
    match command {
        Command::ShowShards(name) => shards::show(change, name).await,
        Command::SplitAt { table, rows } => shards::split_at(change, table, rows).await,
        Command::Unsplit { table, rows } => shards::unsplit(change, table, rows.as_deref()).await,
        Command::Scatter(name) => shards::scatter(change, name).await,
        Command::ConfigurePlacement { table, options } => {
            placement::configure(change, table, options.as_deref()).await
        }
        Command::ShowPlacement(name) => placement::show(change, name).await,
        Command::ExplainPlacement(asked) => placement::explain(change, *asked).await,
        Command::AlterSequence(alter) => sequence::restart(change, alter).await,
        Command::Statement(statement) => run_statement(change, statement).await,
        _ => Err(SqlError::internal("not a schema statement")),
    }
}

async fn run_statement(change: &mut Change, statement: &Statement) -> Result<Outcome, SqlError> {
    match statement {
        Statement::CreateTable(create) => create_table::run(change, create).await,
        Statement::CreateIndex(create) => create_index::run(change, create).await,
        Statement::AlterTable(alter) => alter::run(change, alter).await,
        Statement::Truncate(truncate) => truncate::run(change, truncate).await,
        Statement::Drop { .. } => drop::run(change, statement).await,
        Statement::CreateSchema { .. } => create_table::create_schema(change, statement).await,
        Statement::CreateSequence { .. } => sequence::create(change, statement).await,
        Statement::Merge(_) => {
            Err(SqlError::unsupported("MERGE")
                .hint("INSERT … ON CONFLICT DO UPDATE does much of what it does."))
        }
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            Err(SqlError::unsupported(words.join(" ").to_uppercase()))
        }
    }
}

/// After the commit: this node takes the change over, others are waited for where that matters, jobs begin.
pub async fn after_commit(shared: &Arc<Shared>, work: Vec<AfterCommit>) -> Result<(), SqlError> {
    shared.catalog.refresh().await?;
    let closing: Vec<u64> = work
        .iter()
        .filter_map(|item| if let AfterCommit::Close(table) = item { Some(*table) } else { None })
        .collect();
    let settled = match work.contains(&AfterCommit::Settle) {
        _ if !closing.is_empty() => close::close(shared, &closing).await,
        true => shared.catalog.settle().await,
        false => Ok(()),
    };
    for item in work {
        match item {
            AfterCommit::Job(id) => job::spawn(shared, id),
            AfterCommit::ForgetSequence(id) => shared.sequences.forget(id),
            AfterCommit::Settle | AfterCommit::Close(_) => {}
        }
    }
    settled
}
