//! The workload: transfers between accounts in several shards, and audits of the sum.
//!
//! An account's row holds its balance and a sequence number; a transfer also leaves a mark that names the versions it
//! wrote, so that in the end everything can be accounted for ([`super::transfers`]).

use super::{
    Workload,
    ground::{Ground, Try, damaged},
    past,
    transfers::{History, Record, Seen, TransferId},
};
use crate::{cluster::Cluster, node::Node};
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use quorate_proto::{
    Key, Span, Timestamp, Value,
    kv::{LockMode, LockRequest, WaitPolicy},
};
use quorate_txn::{ScanOptions, Txn, TxnError, TxnOptions};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub const ACCOUNTS: u64 = 12;
const START_BALANCE: u64 = 1000;
/// The first byte of all its keys.
pub const AREA: u8 = 0x40;

fn account_key(account: u64) -> Key {
    vec![AREA, account as u8].into()
}

fn mark_key(account: u64, id: TransferId) -> Key {
    let mut raw = vec![AREA, account as u8, 1];
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

/// The bank as its clients share it.
pub struct Bank {
    ground: Ground,
    history: Mutex<Vec<Record>>,
    next: AtomicU64,
    /// Real time is promised.
    strict: bool,
}

#[async_trait]
impl Workload for Bank {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    async fn open(&self) -> Result<(), String> {
        let account = Account { balance: START_BALANCE, sequence: 0 };
        self.ground
            .lay_out((0..ACCOUNTS).map(|number| (account_key(number), account.encode())).collect())
            .await
    }

    async fn step(&self, node: &Node) {
        if self.ground.chance(0.2) {
            let past = self.ground.chance(0.5).then(|| past::draw(&self.ground.cluster.world, node));
            self.audit(node, past).await;
        } else {
            self.transfer(node).await;
        }
    }

    async fn settle(&self) -> Result<Vec<String>, String> {
        let rows = self.ground.everything().await?;
        Ok(self.account_for(rows).map_or_else(|problem| vec![problem], |history| history.problems()))
    }
}

impl Bank {
    pub fn new(cluster: Cluster, strict: bool) -> Self {
        let ground = Ground::new("bank", AREA, cluster);
        Bank { ground, history: Mutex::default(), next: AtomicU64::new(1), strict }
    }

    async fn transfer(&self, node: &Node) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let order = Order::draw(self.ground.cluster.world.random(), id);
        let tried = self.ground.attempt(node, TxnOptions::default(), move |txn| transfer(txn, order)).await;
        self.record(id, true, tried);
    }

    /// As of the present, or of a time in the past: then it is answered by whatever replicas have closed it.
    async fn audit(&self, node: &Node, past: Option<Timestamp>) {
        let scanning = self.ground.chance(0.3);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let options = TxnOptions { read_only: true, read_ts: past, ..TxnOptions::default() };
        let mut tried = self.ground.attempt(node, options, move |txn| audit(txn, scanning)).await;
        if past.is_some() {
            // What it reads may be older than all that ended before it began.
            tried.begun = Duration::ZERO;
        }
        self.record(id, false, tried);
    }

    fn record(&self, id: TransferId, wrote: bool, tried: Try<BTreeMap<u64, u64>>) {
        let Try { begun, ended, told, value } = tried;
        let seen = Seen { reads: value.unwrap_or_default(), wrote };
        self.history.lock().push(Record { id, begun, ended, told, seen });
    }

    fn account_for(&self, rows: BTreeMap<Vec<u8>, Value>) -> Result<History, String> {
        let mut history =
            History { records: self.history.lock().clone(), real_time: self.strict, ..History::default() };
        let mut sum = 0;
        for (key, value) in rows {
            match &key[..] {
                [account] => {
                    let state = Account::decode(&value).ok_or("an unreadable account")?;
                    sum += state.balance;
                    history.last.insert(u64::from(*account), state.sequence);
                }
                [_, 1, id @ ..] => {
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
    let exclusive = LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(0), firm: false };
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

fn encode_versions(versions: &BTreeMap<u64, u64>) -> Value {
    let words =
        versions.iter().flat_map(|(account, sequence)| [account.to_be_bytes(), sequence.to_be_bytes()]);
    words.flatten().collect::<Vec<u8>>().into()
}

fn decode_versions(raw: &[u8]) -> Option<BTreeMap<u64, u64>> {
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    raw.chunks(16).map(|pair| Some((word(pair.get(..8)?)?, word(pair.get(8..)?)?))).collect()
}
