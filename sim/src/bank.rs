//! The workload: transfers between accounts in several shards, and audits of the sum.
//!
//! An account's row holds its balance and a sequence number; a transfer also leaves a mark that names the versions it
//! wrote, so that in the end everything can be accounted for ([`crate::history`]).

use crate::{
    cluster::Cluster,
    history::{History, Record, Seen, Told, TransferId},
    node::{Node, on_node},
};
use futures::StreamExt;
use parking_lot::Mutex;
use quorate_env::sim::SimWorld;
use quorate_proto::{
    ErrorClass, Key, KvError, Span, Timestamp, Value,
    kv::{LockMode, LockRequest, WaitPolicy},
};
use quorate_txn::{Isolation, ScanOptions, Txn, TxnError, TxnOptions};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub const ACCOUNTS: u64 = 12;
const START_BALANCE: u64 = 1000;
const FIRST: u8 = 0x40;

fn account_key(account: u64) -> Key {
    vec![FIRST, account as u8].into()
}

fn mark_key(account: u64, id: TransferId) -> Key {
    let mut raw = vec![FIRST, account as u8, 1];
    raw.extend_from_slice(&id.to_be_bytes());
    raw.into()
}

/// A key at which a shard may begin: an account's, or that of one of its marks.
pub fn key(account: u64, mark: Option<TransferId>) -> Key {
    mark.map_or_else(|| account_key(account), |mark| mark_key(account, mark))
}

/// Where the key space is divided at first: the accounts lie in four shards.
pub fn splits() -> Vec<Key> {
    [0, ACCOUNTS / 3, 2 * ACCOUNTS / 3].map(account_key).to_vec()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    balance: u64,
    sequence: u64,
}

impl Account {
    fn encode(self) -> Value {
        [self.balance.to_be_bytes(), self.sequence.to_be_bytes()].concat().into()
    }

    fn decode(raw: &[u8]) -> Option<Self> {
        let word = |at: usize| raw.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        Some(Account { balance: word(0)?, sequence: word(8)? })
    }
}

fn damaged(txn: &Txn, what: String) -> TxnError {
    TxnError::new(txn.id(), KvError::Internal { why: what })
}

/// The bank as its clients share it.
#[derive(Clone)]
pub struct Bank {
    cluster: Cluster,
    history: Arc<Mutex<Vec<Record>>>,
    next: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

impl Bank {
    pub fn new(cluster: Cluster) -> Self {
        Bank { cluster, history: Arc::default(), next: Arc::new(AtomicU64::new(1)), closed: Arc::default() }
    }

    /// Opens the accounts.
    ///
    /// # Errors
    /// When the cluster does not come to serve within its patience.
    pub async fn open(&self) -> Result<(), String> {
        let started = self.cluster.world.elapsed();
        loop {
            let node = self.cluster.running.any(&self.cluster.world).ok_or("no node is up")?;
            let outcome = on_node(&node, |node| async move {
                let options = TxnOptions::default();
                node.coordinator
                    .run(options, |txn| async move {
                        for account in 0..ACCOUNTS {
                            txn.put(
                                account_key(account),
                                Account { balance: START_BALANCE, sequence: 0 }.encode(),
                            );
                        }
                        Ok(())
                    })
                    .await
            });
            match outcome.await {
                Some(Ok(_)) => return Ok(()),
                other if self.cluster.world.elapsed() - started > Duration::from_secs(60) => {
                    return Err(format!("the accounts cannot be opened: {other:?}"));
                }
                _ => self.cluster.world.sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Starts clients that work until [`Bank::close`].
    pub fn clients(&self, count: u64) -> Vec<quorate_env::Task<()>> {
        (0..count).map(|_| self.cluster.world.spawn("bank.client", self.clone().client())).collect()
    }

    /// Transactions acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.history.lock().iter().filter(|record| matches!(record.told, Told::Committed(_))).count()
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    async fn client(self) {
        let world = self.cluster.world.clone();
        while !self.closed.load(Ordering::Relaxed) {
            world.sleep(Duration::from_micros(world.random().range(0..60_000))).await;
            let Some(node) = self.cluster.running.any(&world) else { continue };
            if world.random().chance(0.2) {
                let past = world.random().chance(0.5).then(|| past(&world, &node));
                self.audit(&node, past).await;
            } else {
                self.transfer(&node).await;
            }
        }
    }

    async fn transfer(&self, node: &Node) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let order = Order::draw(self.cluster.world.random(), id);
        let begun = self.cluster.world.elapsed();
        let outcome = on_node(node, move |node| async move {
            let body = move |txn: Txn| transfer(txn, order);
            node.coordinator.run(TxnOptions::default(), body).await
        });
        self.record(id, begun, true, outcome.await);
    }

    /// As of the present, or of a time in the past: then it is answered by whatever replicas have closed it.
    async fn audit(&self, node: &Node, past: Option<Timestamp>) {
        let scanning = self.cluster.world.random().chance(0.3);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let begun = self.cluster.world.elapsed();
        let outcome = on_node(node, move |node| async move {
            let options = TxnOptions {
                isolation: Isolation::Serializable,
                read_only: true,
                read_ts: past,
                ..TxnOptions::default()
            };
            node.coordinator.run(options, move |txn| audit(txn, scanning)).await
        });
        // What it reads may be older than all that ended before it began.
        let begun = if past.is_some() { Duration::ZERO } else { begun };
        self.record(id, begun, false, outcome.await);
    }

    fn record(&self, id: TransferId, begun: Duration, wrote: bool, outcome: Option<Outcome>) {
        let (told, reads) = match outcome {
            Some(Ok((reads, committed))) => (Told::Committed(committed.ts), reads),
            Some(Err(error)) => {
                tracing::debug!(id, %error, "transaction failed");
                let unknown = error.class() == ErrorClass::Ambiguous;
                (if unknown { Told::Unknown } else { Told::Failed }, BTreeMap::new())
            }
            // The node went down, or nobody waited longer.
            None => (Told::Unknown, BTreeMap::new()),
        };
        let ended = self.cluster.world.elapsed();
        tracing::info!(
            id,
            ?told,
            wrote,
            begun = begun.as_secs_f64(),
            took = (ended - begun).as_secs_f64(),
            "told"
        );
        self.history.lock().push(Record { id, begun, ended, told, seen: Seen { reads, wrote } });
    }

    /// Reads everything back once all is healed, and judges the whole run.
    ///
    /// # Errors
    /// When the cluster does not answer again.
    pub async fn settle(&self, real_time: bool) -> Result<History, String> {
        let world = &self.cluster.world;
        let started = world.elapsed();
        loop {
            let node = self.cluster.running.any(world).ok_or("no node is up")?;
            let rows = on_node(&node, |node| async move {
                let options = TxnOptions { read_only: true, ..TxnOptions::default() };
                node.coordinator.run(options, everything).await
            });
            match rows.await {
                Some(Ok((rows, _))) => return self.account_for(rows, real_time),
                other if world.elapsed() - started > Duration::from_secs(60) => {
                    return Err(format!("no answer a minute after all was healed: {other:?}"));
                }
                _ => world.sleep(Duration::from_millis(500)).await,
            }
        }
    }

    fn account_for(&self, rows: Vec<(Key, Value)>, real_time: bool) -> Result<History, String> {
        let mut history = History { records: self.history.lock().clone(), real_time, ..History::default() };
        let mut sum = 0;
        for (key, value) in rows {
            match &key[..] {
                [FIRST, account] => {
                    let state = Account::decode(&value).ok_or("an unreadable account")?;
                    sum += state.balance;
                    history.last.insert(u64::from(*account), state.sequence);
                }
                [FIRST, _, 1, id @ ..] => {
                    let id = u64::from_be_bytes(id.try_into().map_err(|_| "an unreadable mark")?);
                    history.marks.insert(id, decode_versions(&value).ok_or("an unreadable mark")?);
                }
                other => return Err(format!("an unknown key {other:?}")),
            }
        }
        if sum != ACCOUNTS * START_BALANCE {
            return Err(format!("the accounts hold {sum} in the end, not {}", ACCOUNTS * START_BALANCE));
        }
        Ok(history)
    }
}

/// What the node's replicas have closed, or some moment of the last seconds; it may have been collected since.
fn past(world: &SimWorld, node: &Node) -> Timestamp {
    let clock = node.env.clock().physical();
    let closed = node.shards.closed().into_iter().map(|(_, at)| at).min();
    let far = if world.random().chance(0.3) { 12_000 } else { 3000 };
    let some = clock.minus(Duration::from_millis(world.random().range(1..far)));
    closed.filter(|_| world.random().chance(0.5)).unwrap_or(some)
}

type Outcome = Result<(BTreeMap<u64, u64>, quorate_txn::Committed), TxnError>;

/// What one transfer is to do.
#[derive(Clone, Copy, Debug)]
struct Order {
    id: TransferId,
    from: u64,
    to: u64,
    amount: u64,
    locked: bool,
    /// An account that is only looked at: two transfers that look at what the other changes must not miss each other.
    watched: Option<u64>,
    /// It is locked for that, until a savepoint is returned to.
    undone: bool,
    /// Between reading and writing.
    pause: Duration,
}

impl Order {
    fn draw(random: &quorate_env::random::Random, id: TransferId) -> Self {
        let from = random.range(0..ACCOUNTS);
        let step = random.range(1..ACCOUNTS);
        let watched = (from + step + random.range(1..ACCOUNTS)) % ACCOUNTS;
        let pause = if random.chance(0.15) { random.range(1..1000) } else { 0 };
        Order {
            id,
            from,
            to: (from + step) % ACCOUNTS,
            amount: random.range(1..100),
            locked: random.chance(0.6),
            watched: Some(watched).filter(|watched| *watched != from && random.chance(0.5)),
            undone: random.chance(0.3),
            pause: Duration::from_millis(pause),
        }
    }
}

/// The accounts were opened before the first transfer began.
async fn there(txn: &Txn, account: u64, lock: Option<LockRequest>) -> Result<Account, TxnError> {
    let row = txn.get(&account_key(account), lock).await?;
    row.and_then(|row| Account::decode(&row)).ok_or_else(|| gone(txn, account))
}

fn gone(txn: &Txn, account: u64) -> TxnError {
    tracing::error!(account, "an account is gone");
    damaged(txn, format!("account {account} is gone"))
}

async fn transfer(txn: Txn, order: Order) -> Result<BTreeMap<u64, u64>, TxnError> {
    let Order { id, from, to, .. } = order;
    let exclusive = LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0) };
    let lock = order.locked.then(|| exclusive.clone());
    let mut reads = BTreeMap::new();
    if let Some(account) = order.watched {
        let savepoint = order.undone.then(|| txn.savepoint());
        reads.insert(account, there(&txn, account, savepoint.map(|_| exclusive)).await?.sequence);
        savepoint.into_iter().for_each(|savepoint| txn.rollback_to(savepoint));
    }
    let states = [there(&txn, from, lock.clone()).await?, there(&txn, to, lock).await?];
    if !order.pause.is_zero() {
        quorate_env::time::sleep(order.pause).await;
    }
    let amount = order.amount.min(states[0].balance);
    let mut wrote = BTreeMap::new();
    for (account, state, balance) in
        [(from, states[0], states[0].balance - amount), (to, states[1], states[1].balance + amount)]
    {
        reads.insert(account, state.sequence);
        wrote.insert(account, state.sequence + 1);
        txn.put(account_key(account), Account { balance, sequence: state.sequence + 1 }.encode());
    }
    txn.put(mark_key(from, id), encode_versions(&wrote));
    Ok(reads)
}

/// The account's row, by a scan of all that begins with its key and comes before its marks.
async fn scanned(txn: &Txn, account: u64) -> Result<Option<Value>, TxnError> {
    let key = account_key(account);
    let marks = Key::from([&key[..], &[1]].concat());
    let mut pages = txn.scan(Span::new(key, marks), ScanOptions::default());
    let mut found = None;
    while let Some(page) = pages.next().await {
        found = page?.into_iter().next().map(|(_, row)| row).or(found);
    }
    Ok(found)
}

async fn audit(txn: Txn, scanning: bool) -> Result<BTreeMap<u64, u64>, TxnError> {
    let mut states = BTreeMap::new();
    for account in 0..ACCOUNTS {
        let row = if scanning {
            scanned(&txn, account).await?
        } else {
            txn.get(&account_key(account), None).await?
        };
        states.extend(row.and_then(|row| Account::decode(&row)).map(|state| (account, state)));
    }
    // They were all opened at once, which may be later than what is read.
    if states.is_empty() {
        return Err(damaged(&txn, "no account is open yet".into()));
    }
    if let Some(account) = (0..ACCOUNTS).find(|account| !states.contains_key(account)) {
        return Err(gone(&txn, account));
    }
    let sum: u64 = states.values().map(|state| state.balance).sum();
    // An attempt may still fail its proof at commit; what it read is judged in the history.
    if sum != ACCOUNTS * START_BALANCE {
        tracing::error!(sum, "an audit of one snapshot does not add up");
    }
    Ok(states.into_iter().map(|(account, state)| (account, state.sequence)).collect())
}

async fn everything(txn: Txn) -> Result<Vec<(Key, Value)>, TxnError> {
    let span = Span::prefix(&vec![FIRST].into());
    let mut pages = txn.scan(span, ScanOptions::default());
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        rows.extend(page?);
    }
    Ok(rows)
}

fn encode_versions(versions: &BTreeMap<u64, u64>) -> Value {
    let words =
        versions.iter().flat_map(|(account, sequence)| [account.to_be_bytes(), sequence.to_be_bytes()]);
    words.flatten().collect::<Vec<u8>>().into()
}

fn decode_versions(raw: &[u8]) -> Option<BTreeMap<u64, u64>> {
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    raw.chunks(16).map(|pair| Some((word(pair.get(..8)?)?, word(pair.get(8..)?)?))).collect()
}
