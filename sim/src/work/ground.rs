//! What all workloads stand on: a stretch of keys, transactions through a node, and a count of what came of them.

use super::past;
use crate::{
    cluster::Cluster,
    node::{Node, on_node},
};
use futures::StreamExt;
use parking_lot::Mutex;
use quorate_env::timeline::{self, Happening};
use quorate_proto::{ErrorClass, Key, KvError, Span, Timestamp, TxnId, Value};
use quorate_txn::{ScanOptions, Txn, TxnError, TxnOptions};
use std::{
    collections::BTreeMap,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

/// How long what must succeed is tried.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(200);

/// What its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Acknowledged, at this place in the order.
    Committed(Timestamp),
    Failed,
    /// Neither yes nor no.
    Unknown,
}

/// One transaction of one client.
#[derive(Clone, Debug)]
pub struct Try<T> {
    pub begun: Duration,
    pub ended: Duration,
    pub told: Told,
    /// What the attempt that was committed gave.
    pub value: Option<T>,
}

/// What clients were told so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub acknowledged: u64,
    failed: u64,
    unknown: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged, {} failed, {} unknown", self.acknowledged, self.failed, self.unknown)
    }
}

/// A body of [`Ground::attempt`] found what cannot be; what it was is told as a problem if the transaction is committed.
pub fn damaged(txn: &Txn, what: String) -> TxnError {
    TxnError::new(txn.id(), KvError::Internal { why: what })
}

#[derive(Clone)]
pub struct Ground {
    pub name: &'static str,
    area: u8,
    pub cluster: Cluster,
    tally: Arc<Mutex<Tally>>,
}

impl Ground {
    pub fn new(name: &'static str, area: u8, cluster: Cluster) -> Self {
        Ground { name, area, cluster, tally: Arc::default() }
    }

    pub fn tally(&self) -> Tally {
        *self.tally.lock()
    }

    pub fn key(&self, rest: &[u8]) -> Key {
        [&[self.area], rest].concat().into()
    }

    /// The key of a numbered row of a sort; [`rows::numbered`] reads them.
    pub fn numbered(&self, sort: u8, number: u64) -> Key {
        self.key(&[&[sort], &number.to_be_bytes()[..]].concat())
    }

    /// A number below `bound`.
    pub fn draw(&self, bound: u64) -> u64 {
        self.cluster.world.random().range(0..bound)
    }

    pub fn chance(&self, probability: f64) -> bool {
        self.cluster.world.random().chance(probability)
    }

    /// Options of one who only looks: in one case of three at the past, answered by whatever replicas have closed it.
    pub fn looking(&self, node: &Node) -> TxnOptions {
        let past = self.chance(0.3).then(|| past::draw(&self.cluster.world, node));
        TxnOptions { read_only: true, read_ts: past, ..TxnOptions::default() }
    }

    /// Runs a transaction through a node, again and again as far as the coordinator does that by itself.
    pub async fn attempt<T, F, Fut>(&self, node: &Node, options: TxnOptions, body: F) -> Try<T>
    where
        T: Send + 'static,
        F: Fn(Txn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, TxnError>> + Send + 'static,
    {
        let world = &self.cluster.world;
        let begun = world.elapsed();
        let latest: Arc<Mutex<Option<TxnId>>> = Arc::default();
        let id = latest.clone();
        let outcome = on_node(node, move |node| async move {
            let body = move |txn: Txn| {
                *id.lock() = Some(txn.id());
                body(txn)
            };
            node.coordinator.run(options, body).await
        });
        let (told, value) = match outcome.await {
            Some(Ok((value, committed))) => (Told::Committed(committed.ts), Some(value)),
            Some(Err(error)) => {
                tracing::debug!(%error, "transaction failed");
                let unknown = error.class() == ErrorClass::Ambiguous;
                (if unknown { Told::Unknown } else { Told::Failed }, None)
            }
            // The node went down, or nobody waited longer.
            None => (Told::Unknown, None),
        };
        self.count(told);
        let ended = world.elapsed();
        let (node, took) = (node.env.node(), ended - begun);
        timeline::tell(|| Happening {
            node: Some(node),
            txns: latest.lock().iter().copied().collect(),
            what: format!("{}: the client is told {told:?} after {took:?}", self.name),
            ..Happening::default()
        });
        Try { begun, ended, told, value }
    }

    fn count(&self, told: Told) {
        let mut tally = self.tally.lock();
        match told {
            Told::Committed(_) => tally.acknowledged += 1,
            Told::Failed => tally.failed += 1,
            Told::Unknown => tally.unknown += 1,
        }
    }

    /// Runs a transaction through one node after the other until one acknowledges it.
    ///
    /// # Errors
    /// When none does for a minute.
    pub async fn surely<T, F, Fut>(&self, what: &str, options: TxnOptions, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Fn(Txn) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, TxnError>> + Send + 'static,
    {
        let deadline = self.cluster.world.elapsed() + PATIENCE;
        let outcome = insist(&self.cluster, deadline, options, body).await;
        outcome.map_err(|why| format!("{}: {what} failed for a minute: {why}", self.name))
    }

    /// Writes rows before anybody works on them.
    ///
    /// # Errors
    /// When the cluster does not come to serve.
    pub async fn lay_out(&self, rows: Vec<(Key, Value)>) -> Result<(), String> {
        self.surely("the first rows", TxnOptions::default(), put(rows)).await
    }

    /// All rows of the stretch, by the bytes behind the area's.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn everything(&self) -> Result<BTreeMap<Vec<u8>, Value>, String> {
        let span = Span::prefix(&self.key(&[]));
        let options = TxnOptions { read_only: true, ..TxnOptions::default() };
        self.surely("reading everything", options, move |txn| scan(txn, span.clone())).await
    }
}

/// A transaction that does nothing but write these rows.
pub fn put(rows: Vec<(Key, Value)>) -> impl Fn(Txn) -> Ready<Result<(), TxnError>> + Clone + Send + Sync {
    move |txn| {
        rows.iter().cloned().for_each(|(key, value)| txn.put(key, value));
        ready(Ok(()))
    }
}

/// Runs a transaction through one node after the other until one acknowledges it, or the world's time is past the deadline.
///
/// # Errors
/// What came of the last try.
pub async fn insist<T, F, Fut>(
    cluster: &Cluster,
    deadline: Duration,
    options: TxnOptions,
    body: F,
) -> Result<T, String>
where
    T: Send + 'static,
    F: Fn(Txn) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T, TxnError>> + Send + 'static,
{
    loop {
        let node = cluster.running.any(&cluster.world).ok_or("no node is up")?;
        let (options, body) = (options.clone(), body.clone());
        let outcome = on_node(&node, |node| async move { node.coordinator.run(options, body).await });
        let why = match outcome.await {
            Some(Ok((value, _))) => return Ok(value),
            Some(Err(error)) => error.to_string(),
            None => "nobody answered".into(),
        };
        if cluster.world.elapsed() > deadline {
            return Err(why);
        }
        cluster.world.sleep(AGAIN).await;
    }
}

/// A transaction that writes, and changes nothing if there is no row at the key.
pub fn put_nothing(key: Key) -> impl Fn(Txn) -> Ready<Result<(), TxnError>> + Clone + Send + Sync {
    move |txn| {
        txn.delete(key.clone());
        ready(Ok(()))
    }
}

/// The rows of a span, by the bytes behind the area's.
pub async fn scan(txn: Txn, span: Span) -> Result<BTreeMap<Vec<u8>, Value>, TxnError> {
    let mut pages = txn.scan(span, ScanOptions::default());
    let mut rows = BTreeMap::new();
    while let Some(page) = pages.next().await {
        rows.extend(page?.into_iter().map(|(key, value)| (key[1..].to_vec(), value)));
    }
    Ok(rows)
}
