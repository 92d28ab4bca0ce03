//! The end of a statement whose change goes in steps: its own transaction is the first of them, and a job does the rest.

use super::{Change, job};
use crate::{
    catalog::{TableDescriptor, store},
    error::SqlError,
    server::Shared,
    session::errors::from_txn,
};
use quorate_txn::Txn;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Change {
    /// Makes the table's new descriptor and the job one transaction, the statement's own, which holds nothing else; commits it
    /// and waits until the job is carried out. Both go on when the statement ends before its time: what it has begun is either
    /// finished or taken back, and never left lying. The session gets a new transaction, in which nothing has happened.
    pub async fn begin_job(&mut self, table: TableDescriptor, kind: job::Kind) -> Result<(), SqlError> {
        let shared = self.shared()?;
        store::raise_generation(&self.txn).await?;
        self.put_table(table);
        let id = job::create(&shared, &self.txn, kind).await?;
        self.commit_and_run(&shared, id).await
    }

    async fn commit_and_run(&mut self, shared: &Arc<Shared>, id: u64) -> Result<(), SqlError> {
        self.leaves_behind(shared, goes_on(id))?;
        let (first, committed) = oneshot::channel();
        let (last, ended) = oneshot::channel();
        let (running, txn) = (shared.clone(), self.txn.clone());
        let work = async move {
            let result = commit(&running, &txn).await;
            let go_on = result.is_ok();
            let _ = first.send(result);
            if go_on {
                let _ = last.send(job::run(&running, id).await);
            }
        };
        shared.env.spawn("sql.change", work).detach();
        committed.await.map_err(|_| stopping())??;
        self.txn = shared.coordinator.begin(Default::default());
        self.committed = true;
        self.overlay = None;
        match ended.await.map_err(|_| stopping())? {
            Err(error) if is_there(shared, id).await => Err(with_rest(error, id)),
            result => result,
        }
    }

    /// What a client is told whose statement is cancelled from now on.
    fn leaves_behind(&self, shared: &Arc<Shared>, what: String) -> Result<(), SqlError> {
        shared.sessions.leaves_behind(self.view()?.pid, what);
        Ok(())
    }
}

async fn commit(shared: &Arc<Shared>, txn: &Txn) -> Result<(), SqlError> {
    txn.set_commit_before(shared.cluster.schema().borrow().until);
    txn.commit().await.map_err(from_txn)?;
    shared.catalog.refresh().await.map(drop)
}

async fn is_there(shared: &Arc<Shared>, id: u64) -> bool {
    !matches!(job::read(shared, id).await, Ok(None))
}

/// A row in the way of a constraint, or too long for an index, makes the job take its change back; after anything else it is
/// taken up again.
fn with_rest(error: SqlError, id: u64) -> SqlError {
    let taken_back = ["23", "54"].iter().any(|class| error.sqlstate.0.starts_with(class));
    if taken_back { error } else { error.hint(goes_on(id)) }
}

fn goes_on(id: u64) -> String {
    format!(
        "The schema change goes on by itself once it has begun; quorate.jobs shows job {id} until it is done."
    )
}

fn stopping() -> SqlError {
    SqlError::internal("the node is stopping")
}
