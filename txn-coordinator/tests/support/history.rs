//! Random transactions at once, with lost answers, new leaders, splits and dying gateways; and what must be true of them at
//! every level: what was acknowledged is there, what was refused is not.

use super::{FakeShards, exclusive, graph::Observed, key, run_with, store};
use futures::TryStreamExt;
use parking_lot::Mutex;
use quorate_env::{
    NodeId,
    sim::{NetworkFaults, SimConfig},
};
use quorate_proto::{ErrorClass, Key, ShardId, Span, TxnId, Value};
use quorate_txn::{Coordinator, Isolation, ScanOptions, Txn, TxnError, TxnOptions};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const KEYS: [&str; 8] = ["a", "c", "e", "h", "j", "l", "p", "r"];

/// What a committed transaction has seen and done.
#[derive(Clone, Default)]
pub struct Done {
    /// All reads, but of keys that it had written itself.
    pub observed: Observed,
    /// The same by statement, without what was locked.
    pub snapshots: Vec<Observed>,
    /// The values as they were read.
    pub values: Vec<(Key, Value)>,
    /// Whose version was there when a key was locked that was then written by the same statement.
    pub replaced: Vec<(Key, Option<TxnId>)>,
    pub written: Vec<Key>,
    /// In real time: before its snapshot was chosen, and after its commit was acknowledged.
    pub began: Duration,
    pub ended: Duration,
}

impl Done {
    fn saw(&mut self, key: &Key, value: Option<&Value>, locked: bool) {
        if self.written.contains(key) {
            return;
        }
        let read = (key.clone(), value.map(writer));
        if !locked && let Some(statement) = self.snapshots.last_mut() {
            statement.reads.push(read.clone());
        }
        self.observed.reads.push(read);
        self.values.extend(value.map(|value| (key.clone(), value.clone())));
    }
}

/// What the clients know of their transactions.
#[derive(Default)]
pub struct Known {
    pub committed: BTreeMap<TxnId, Done>,
    refused: Vec<TxnId>,
    unknown: Vec<TxnId>,
}

/// The value says who wrote it and when, so that readers can tell.
fn signed(txn: &Txn, step: usize) -> Value {
    Value::from(format!("{}#{step}", txn.id()).into_bytes())
}

pub fn writer(value: &Value) -> TxnId {
    let text = String::from_utf8_lossy(value);
    text.split('#').next().and_then(|id| id.parse().ok()).expect("a transaction's id")
}

async fn attempt(coordinator: &Coordinator, txn: &Txn) -> Result<Done, TxnError> {
    let env = coordinator.env();
    let mut done = Done { began: env.boottime(), ..Done::default() };
    let mut saved = None;
    for step in 0..env.random_range(1..6) as usize {
        match env.random_range(0..6) {
            0..2 if saved.is_none() => {
                saved = Some((txn.savepoint(), done.written.clone(), done.replaced.clone()));
            }
            0..2 => {
                // What was read stays read.
                if let Some((savepoint, written, replaced)) = saved.take() {
                    txn.rollback_to(savepoint);
                    (done.written, done.replaced) = (written, replaced);
                }
            }
            _ => {}
        }
        txn.begin_statement();
        done.snapshots.push(Observed::default());
        let picked = key(KEYS[env.random_range(0..8) as usize]);
        match env.random_range(0..10) {
            0..3 => {
                let found = txn.get(&picked, None).await?;
                done.saw(&picked, found.as_ref(), false);
            }
            3..6 => {
                let found = txn.get(&picked, exclusive()).await?;
                done.saw(&picked, found.as_ref(), true);
                if env.random_range(0..3) > 0 {
                    txn.put(picked.clone(), signed(txn, step));
                    if !done.written.contains(&picked) {
                        done.replaced.push((picked.clone(), found.as_ref().map(writer)));
                    }
                    done.written.push(picked.clone());
                    let own = txn.get(&picked, None).await?;
                    assert_eq!(own, Some(signed(txn, step)), "own writes are seen");
                }
            }
            6..8 => {
                txn.put(picked.clone(), signed(txn, step));
                done.written.push(picked);
            }
            _ => {
                let span = Span { start: picked, end: None };
                let lock = if env.random_range(0..3) == 0 { exclusive() } else { None };
                let locked = lock.is_some();
                let reverse = env.random_range(0..2) == 0;
                let options = ScanOptions { reverse, lock, ..ScanOptions::default() };
                let pages: Vec<_> = txn.scan(span.clone(), options).try_collect().await?;
                let found: BTreeMap<Key, Value> = pages.into_iter().flatten().collect();
                for name in KEYS.map(key) {
                    if span.contains(&name) {
                        done.saw(&name, found.get(&name), locked);
                    }
                }
            }
        }
        env.sleep(Duration::from_micros(env.random_range(0..2000))).await;
    }
    txn.commit().await?;
    done.ended = env.boottime();
    Ok(done)
}

async fn client(coordinator: Arc<Coordinator>, known: Arc<Mutex<Known>>, isolation: Isolation, rounds: u32) {
    for _ in 0..rounds {
        // The fake shards find no deadlocks.
        let lock_timeout = Some(Duration::from_millis(700));
        let mut txn = coordinator.begin(TxnOptions { isolation, lock_timeout, ..TxnOptions::default() });
        loop {
            // Noted before anything can happen: the node may die at any moment.
            known.lock().unknown.push(txn.id());
            let result = attempt(&coordinator, &txn).await;
            match note(&known, txn, result) {
                Some(next) => txn = next,
                None => break,
            }
        }
    }
}

/// Notes what the client now knows; returns the next attempt if there is to be one.
fn note(known: &Mutex<Known>, txn: Txn, result: Result<Done, TxnError>) -> Option<Txn> {
    let mut known = known.lock();
    if matches!(&result, Err(error) if error.class() == ErrorClass::Ambiguous) {
        return None;
    }
    known.unknown.retain(|id| *id != txn.id());
    match result {
        Ok(done) => {
            known.committed.insert(txn.id(), done);
            None
        }
        Err(error) if error.retryable() && txn.attempt() < 6 => {
            let next = txn.restart();
            if next.id() != txn.id() {
                known.refused.push(txn.id());
            }
            Some(next)
        }
        // Dropping it rolls it back.
        Err(_) => {
            known.refused.push(txn.id());
            None
        }
    }
}

fn check(shards: &FakeShards, known: &Known) {
    let store = shards.store.lock();
    let wrote = |id: TxnId| {
        let versions = store.versions.values().flat_map(|versions| versions.iter());
        versions.filter(|(_, version)| version.writer == id).map(|(ts, _)| *ts).collect::<Vec<_>>()
    };
    let intents = |id: TxnId| store.intents.values().filter(|intent| intent.meta.id == id).count();
    for (id, done) in &known.committed {
        let mut keys = done.written.clone();
        keys.sort();
        keys.dedup();
        let at = wrote(*id);
        assert_eq!(at.len() + intents(*id), keys.len(), "acknowledged {id} is not all there");
        assert!(at.windows(2).all(|pair| pair[0] == pair[1]), "{id} is at several timestamps");
    }
    for id in &known.refused {
        assert!(wrote(*id).is_empty(), "refused {id} is there");
    }
    for id in &known.unknown {
        let at = wrote(*id);
        let aborted = matches!(store.records.get(id), Some((_, store::Record::Aborted)));
        assert!(!aborted || at.is_empty(), "{id} is aborted and there");
    }
    // Nobody has read what was never committed, or not in its final form.
    for (id, done) in &known.committed {
        for (key, value) in &done.values {
            let mut there = store.versions.get(key).into_iter().flat_map(|versions| versions.values());
            let found = there.any(|version| version.value.as_ref() == Some(value));
            assert!(found, "{id} has read {value:?} of {key:?}");
        }
    }
}

#[derive(Clone, Default)]
pub struct Chaos {
    pub lose_answers: u64,
    pub moves: bool,
    pub splits: bool,
    pub crashes: bool,
    pub network: NetworkFaults,
    /// The clocks' bound, and how far they are apart, where that is not what is usual.
    pub clocks: Option<(Duration, Duration)>,
}

impl Chaos {
    pub fn with_new_leaders_and_splits() -> Self {
        Chaos { moves: true, splits: true, ..Chaos::default() }
    }

    pub fn with_lost_answers_and_crashes() -> Self {
        let network = NetworkFaults {
            loss: 0.01,
            duplicate: 0.02,
            reorder: 0.1,
            late: 0.01,
            ..NetworkFaults::default()
        };
        Chaos { lose_answers: 2, moves: true, splits: true, crashes: true, network, clocks: None }
    }
}

/// Runs a history at one level; `judge` looks at what became of it.
pub fn history(
    seed: u64,
    isolation: Isolation,
    chaos: Chaos,
    judge: impl FnOnce(&store::Store, &Known) + Send + 'static,
) {
    // Clocks that stray are other tests' business: these would end in a fence.
    let mut config = SimConfig { network: chaos.network.clone(), clock_drift_ppm: 0, ..SimConfig::new(seed) };
    if let Some((bound, skew)) = chaos.clocks {
        (config.clock_bound, config.clock_skew) = (bound, skew);
    }
    run_with(config, seed.is_multiple_of(2), move |shards| async move {
        shards.faults.lock().lose_answers = chaos.lose_answers;
        let known: Arc<Mutex<Known>> = Arc::default();
        let start = |node: u64| {
            let (coordinator, known) = (shards.coordinator(node), known.clone());
            let env = shards.world.env(NodeId(node)).expect("up");
            env.spawn("test.client", client(coordinator, known, isolation, 12))
        };
        let mut clients: Vec<_> = (0..9).map(|i| start(i % 3 + 1)).collect();
        let random = shards.world.random();
        for round in 0..30 {
            shards.world.sleep(Duration::from_millis(random.range(1..40))).await;
            if chaos.moves && round % 3 == 0 {
                let now = shards.now();
                let up = shards.world.up();
                let mut store = shards.store.lock();
                let ids: Vec<ShardId> = store.shards.keys().copied().collect();
                let id = ids[random.range(0..ids.len() as u64) as usize];
                let to = up[random.range(0..up.len() as u64) as usize];
                if random.range(0..2) == 0 {
                    store.hand_over(id, to, now);
                } else {
                    store.move_leader(id, to, now);
                }
            }
            if chaos.splits && round % 7 == 3 {
                let at = key(KEYS[random.range(1..8) as usize]);
                shards.store.lock().split(&at);
            }
            if chaos.crashes && round == 12 {
                shards.crash(NodeId(3)).await;
                shards.world.sleep(Duration::from_millis(20)).await;
                shards.up(NodeId(3));
                shards.settled().await;
                clients.push(start(3));
            }
        }
        let all = futures::future::join_all(clients.into_iter().map(|client| client.join()));
        let env = shards.world.env(NodeId(1)).expect("up");
        // Those of a crashed gateway end with it; the others must get through.
        if env.timeout(Duration::from_secs(600), all).await.is_err() {
            let seen = shards.seen();
            let store = shards.store.lock();
            let last = &seen[seen.len().saturating_sub(30)..];
            panic!("stuck: intents {:?}, locks {:?}, last {last:?}", store.intents, store.locks);
        }
        shards.faults.lock().lose_answers = 0;
        shards.world.set_network(NetworkFaults::default());
        // Whatever was left behind is finished by whoever meets it.
        let reader = shards.coordinator(1).begin(TxnOptions::default());
        let all: Vec<_> = reader.scan(Span::ALL, ScanOptions::default()).try_collect().await.expect("reads");
        drop(all);
        check(&shards, &known.lock());
        judge(&shards.store.lock(), &known.lock());
        let done = known.lock().committed.len();
        assert!(done > 20, "only {done} transactions got through");
    });
}

pub fn seeds() -> std::ops::Range<u64> {
    let given = |name: &str| std::env::var(name).ok().and_then(|raw| raw.parse::<u64>().ok());
    let first = given("QUORATE_TXN_SEED").unwrap_or(100);
    first..first + given("QUORATE_TXN_SEEDS").unwrap_or(6)
}
