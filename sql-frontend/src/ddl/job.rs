//! Schema changes that take several steps, and removal of what nobody uses any more.
//!
//! A job is a row of the catalog with an owner and a lease. The owner carries it out and renews the lease; when a node dies,
//! another one finds the lease expired, takes the job over and goes on from what the descriptors say. Every step may
//! be repeated.

use super::{add_column, create_index, drop, drop_column, rewrite};
use crate::{
    catalog::{TableDescriptor, keys, store},
    error::{SqlError, SqlState},
    server::Shared,
    session::{crowd, errors::from_txn},
};
use futures::TryStreamExt;
use minicbor::{Decode, Encode};
use quorate_env::gate::{Crowded, Pass, Priority};
use quorate_proto::{NodeId, Timestamp, Value, rpc};
use quorate_txn::{ScanOptions, Txn, TxnOptions};
use std::{future::Future, sync::Arc, time::Duration};

/// A job whose owner has not been heard of for this long is taken over.
const LEASE: Duration = Duration::from_secs(30);
/// Between two looks for abandoned jobs.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Job {
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub kind: Kind,
    #[n(2)]
    pub owner: NodeId,
    #[n(3)]
    pub lease_until: Timestamp,
    #[n(4)]
    pub created: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Kind {
    /// Bring an index from delete-only to public.
    #[n(0)]
    CreateIndex {
        #[n(0)]
        table: u64,
        #[n(1)]
        index: u32,
    },
    /// Bring an index from wherever it is to nothing.
    #[n(1)]
    DropIndex {
        #[n(0)]
        table: u64,
        #[n(1)]
        index: u32,
    },
    /// Copy all rows into the indexes of `target`, and make it the table.
    #[n(2)]
    Rewrite {
        #[n(0)]
        table: u64,
        #[n(1)]
        target: Box<TableDescriptor>,
        /// Begin empty instead (`TRUNCATE`).
        #[n(2)]
        truncate: bool,
    },
    /// Remove the rows of indexes that no descriptor names any more; none: all of the table, which is dropped.
    #[n(3)]
    Remove {
        #[n(0)]
        table: u64,
        #[n(1)]
        indexes: Vec<u32>,
    },
    /// Show a column that all writers keep.
    #[n(4)]
    AddColumn {
        #[n(0)]
        table: u64,
        #[n(1)]
        column: u32,
    },
    /// Bring a column, and what rests on it, from wherever it is to nothing.
    #[n(5)]
    DropColumn {
        #[n(0)]
        table: u64,
        #[n(1)]
        column: u32,
    },
}

impl Kind {
    pub fn describe(&self) -> String {
        match self {
            Kind::CreateIndex { table, index } => format!("create index {index} of table {table}"),
            Kind::DropIndex { table, index } => format!("drop index {index} of table {table}"),
            Kind::Rewrite { table, truncate: true, .. } => format!("truncate table {table}"),
            Kind::Rewrite { table, .. } => format!("rewrite table {table}"),
            Kind::Remove { table, indexes } if indexes.is_empty() => {
                format!("remove the rows of table {table}")
            }
            Kind::Remove { table, indexes } => format!("remove indexes {indexes:?} of table {table}"),
            Kind::AddColumn { table, column } => format!("add column {column} of table {table}"),
            Kind::DropColumn { table, column } => format!("drop column {column} of table {table}"),
        }
    }
}

/// Writes a new job, owned by this node.
pub async fn create(shared: &Shared, txn: &Txn, kind: Kind) -> Result<u64, SqlError> {
    let id = super::allocate_ids(shared, 1).await?;
    put(shared, txn, id, kind);
    Ok(id)
}

/// The same with an id from before.
pub fn put(shared: &Shared, txn: &Txn, id: u64, kind: Kind) {
    let now = shared.env.clock().physical();
    let job = Job { id, kind, owner: shared.env.node(), lease_until: now.plus(LEASE), created: now };
    txn.put(keys::job(id), Value(rpc::encode(&job)));
}

/// The end of a job, in the transaction of its last step.
pub async fn finish(txn: &Txn, id: u64) -> Result<(), SqlError> {
    let key = keys::job(id);
    store::claim(txn, &key).await?;
    txn.delete(key);
    Ok(())
}

/// One step of a job of ours: `body` in transactions until one commits, unless the job is not ours, or over (`None`). Without
/// this, an owner that was away for long would repeat a step that others have gone beyond.
pub async fn step<T, F, Fut>(shared: &Shared, id: u64, body: F) -> Result<Option<T>, SqlError>
where
    F: Fn(Txn) -> Fut,
    Fut: Future<Output = Result<T, SqlError>>,
{
    let (node, body) = (shared.env.node(), &body);
    transact(shared, |txn| async move {
        let Some(job) = lock(&txn, id).await? else { return Ok(None) };
        if job.owner != node {
            return Err(taken_over());
        }
        body(txn).await.map(Some)
    })
    .await
}

fn taken_over() -> SqlError {
    SqlError::internal("the schema job was taken over by another node")
}

async fn lock(txn: &Txn, id: u64) -> Result<Option<Job>, SqlError> {
    let raw = store::claim(txn, &keys::job(id)).await?;
    raw.map(|raw| decode(id, &raw)).transpose()
}

fn decode(id: u64, raw: &[u8]) -> Result<Job, SqlError> {
    rpc::decode(raw).map_err(|e| SqlError::internal(format!("malformed job {id}: {e}")))
}

/// Before each page of many: where the node does not bear it all, what clients begin goes first, for a while.
pub async fn give_way(shared: &Shared) -> Result<Pass, Crowded> {
    shared.gate.enter(Priority::Low, crowd::PATIENCE).await
}

/// Runs `body` in transactions until one commits.
pub async fn transact<T, F, Fut>(shared: &Shared, body: F) -> Result<T, SqlError>
where
    F: Fn(Txn) -> Fut,
    Fut: Future<Output = Result<T, SqlError>>,
{
    transact_with(shared, |_| TxnOptions::default(), |txn, _| body(txn)).await
}

/// The same with options that may depend on how many attempts have failed, as what `body` does may.
pub async fn transact_with<T, F, Fut>(
    shared: &Shared,
    options: fn(u32) -> TxnOptions,
    body: F,
) -> Result<T, SqlError>
where
    F: Fn(Txn, u32) -> Fut,
    Fut: Future<Output = Result<T, SqlError>>,
{
    let mut attempt = 0u32;
    loop {
        let txn = shared.coordinator.begin(options(attempt));
        let result = match body(txn.clone(), attempt).await {
            Ok(value) => {
                txn.set_commit_before(shared.cluster.schema().borrow().until);
                txn.commit().await.map(|_| value).map_err(from_txn)
            }
            Err(error) => {
                txn.rollback();
                Err(error)
            }
        };
        match result {
            // Steps may be repeated, so an unknown outcome is a reason to look again.
            Err(error)
                if attempt < 50
                    && matches!(
                        error.sqlstate,
                        SqlState::SERIALIZATION_FAILURE
                            | SqlState::DEADLOCK_DETECTED
                            | SqlState::STATEMENT_COMPLETION_UNKNOWN
                    ) =>
            {
                attempt += 1;
                let pause = shared.env.random_range(0..2000 * u64::from(attempt));
                shared.env.sleep(Duration::from_micros(pause)).await;
            }
            result => return result,
        }
    }
}

pub async fn read(shared: &Shared, id: u64) -> Result<Option<Job>, SqlError> {
    transact(shared, |txn| async move {
        let raw = txn.get(&keys::job(id), None).await.map_err(from_txn)?;
        raw.map(|raw| decode(id, &raw)).transpose()
    })
    .await
}

/// All jobs there are.
pub async fn all(shared: &Shared) -> Result<Vec<Job>, SqlError> {
    transact(shared, |txn| async move {
        let scan = txn.scan(keys::span(keys::Kind::Job), ScanOptions::default());
        let pages: Vec<_> = scan.try_collect().await.map_err(from_txn)?;
        let jobs = pages
            .concat()
            .into_iter()
            .map(|(_, raw)| rpc::decode(&raw).map_err(|e| SqlError::internal(format!("malformed job: {e}"))));
        jobs.collect()
    })
    .await
}

/// Looks for abandoned jobs as long as the node runs.
pub fn start(shared: &Arc<Shared>) {
    let shared = shared.clone();
    let env = shared.env.clone();
    env.spawn("sql.jobs", async move {
        loop {
            shared.env.sleep(shared.env.jittered(LOOK)).await;
            if shared.env.shutdown().is_set() {
                return;
            }
            if let Err(error) = adopt(&shared).await {
                tracing::debug!(%error, "could not look for schema jobs");
            }
        }
    })
    .detach();
}

async fn adopt(shared: &Arc<Shared>) -> Result<(), SqlError> {
    let now = shared.env.clock().physical();
    for job in all(shared).await? {
        let abandoned = job.lease_until < now && !quorate_env::planted!("sql.abandoned_jobs_stay");
        if abandoned && claim(shared, job.id).await? == Claim::Ours {
            tracing::info!(job = job.id, what = job.kind.describe(), "taking over an abandoned schema job");
            spawn(shared, job.id);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    Ours,
    /// Another node's lease holds.
    Others,
    /// There is no such job any more.
    Over,
}

/// Makes the job ours if nobody else's lease holds.
async fn claim(shared: &Shared, id: u64) -> Result<Claim, SqlError> {
    let (node, now) = (shared.env.node(), shared.env.clock().physical());
    transact(shared, |txn| async move {
        let Some(mut job) = lock(&txn, id).await? else { return Ok(Claim::Over) };
        if job.owner != node && job.lease_until >= now {
            return Ok(Claim::Others);
        }
        job.owner = node;
        job.lease_until = now.plus(LEASE);
        txn.put(keys::job(id), Value(rpc::encode(&job)));
        Ok(Claim::Ours)
    })
    .await
}

/// Runs a job of ours in the background.
pub fn spawn(shared: &Arc<Shared>, id: u64) {
    let running = shared.clone();
    shared.env.spawn("sql.job", async move { run(&running, id).await.unwrap_or_default() }).detach();
}

/// Runs a job of ours for as long as it goes; whoever finds it abandoned goes on from there.
pub async fn run(shared: &Arc<Shared>, id: u64) -> Result<(), SqlError> {
    let result = keep_and_carry_out(shared, id).await;
    if let Err(error) = &result {
        tracing::warn!(job = id, %error, "a schema job stopped; it will be taken up again if it is not over");
    }
    result
}

/// Carries a job of ours out, keeping its lease.
async fn keep_and_carry_out(shared: &Arc<Shared>, id: u64) -> Result<(), SqlError> {
    let Some(job) = read(shared, id).await? else { return Ok(()) };
    let keep = async {
        loop {
            shared.env.sleep(LEASE / 4).await;
            match claim(shared, id).await {
                Ok(Claim::Ours) => {}
                // Its last step is taken; what follows that needs no lease.
                Ok(Claim::Over) => return std::future::pending().await,
                Ok(Claim::Others) => return taken_over(),
                Err(error) => tracing::debug!(job = id, %error, "the lease of a schema job was not renewed"),
            }
        }
    };
    tokio::select! {
        biased;
        result = carry_out(shared, job) => result,
        error = keep => Err(error),
    }
}

async fn carry_out(shared: &Arc<Shared>, job: Job) -> Result<(), SqlError> {
    shared.catalog.refresh().await?;
    match job.kind {
        Kind::CreateIndex { table, index } => create_index::carry_out(shared, job.id, table, index).await,
        Kind::DropIndex { table, index } => drop::carry_out_index(shared, job.id, table, index).await,
        Kind::Rewrite { table, target, truncate } => {
            rewrite::carry_out(shared, job.id, table, *target, truncate).await
        }
        Kind::Remove { table, indexes } => drop::carry_out_removal(shared, job.id, table, &indexes).await,
        Kind::AddColumn { table, column } => add_column::carry_out(shared, job.id, table, column).await,
        Kind::DropColumn { table, column } => drop_column::carry_out(shared, job.id, table, column).await,
    }
}
