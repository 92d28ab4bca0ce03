//! Random transactions at once, with lost answers, new leaders, splits and dying gateways: what was acknowledged is there,
//! what was refused is not, and the whole is serializable.

mod support;

use futures::TryStreamExt;
use parking_lot::Mutex;
use quorate_env::{
    NodeId,
    sim::{NetworkFaults, SimConfig},
};
use quorate_proto::{ErrorClass, Key, ShardId, Span, TxnId, Value};
use quorate_txn::{Coordinator, ScanOptions, Txn, TxnError, TxnOptions};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{
    FakeShards, exclusive,
    graph::{Observed, assert_serializable},
    key, run_with,
};

const KEYS: [&str; 8] = ["a", "c", "e", "h", "j", "l", "p", "r"];

/// What a client knows of its transactions.
#[derive(Default)]
struct Known {
    committed: BTreeMap<TxnId, (Observed, Vec<Key>)>,
    refused: Vec<TxnId>,
    unknown: Vec<TxnId>,
}

/// The value says who wrote it, so that readers can tell.
fn signed(txn: &Txn) -> Value {
    Value::from(format!("{}", txn.id()).into_bytes())
}

fn writer(value: &Value) -> TxnId {
    String::from_utf8_lossy(value).parse().expect("a transaction's id")
}

async fn attempt(coordinator: &Coordinator, txn: &Txn) -> Result<(Observed, Vec<Key>), TxnError> {
    let env = coordinator.env();
    let (mut observed, mut written) = (Observed::default(), Vec::new());
    for _ in 0..env.random_range(1..5) {
        let picked = key(KEYS[env.random_range(0..8) as usize]);
        match env.random_range(0..10) {
            0..3 => {
                let found = txn.get(&picked, None).await?;
                if !written.contains(&picked) {
                    observed.reads.push((picked, found.as_ref().map(writer)));
                }
            }
            3..6 => {
                let found = txn.get(&picked, exclusive()).await?;
                if !written.contains(&picked) {
                    observed.reads.push((picked.clone(), found.as_ref().map(writer)));
                }
                if env.random_range(0..3) > 0 {
                    txn.put(picked.clone(), signed(txn));
                    written.push(picked);
                }
            }
            6..8 => {
                txn.put(picked.clone(), signed(txn));
                written.push(picked);
            }
            _ => {
                let span = Span { start: picked, end: None };
                let lock = if env.random_range(0..3) == 0 { exclusive() } else { None };
                let options = ScanOptions { reverse: env.random_range(0..2) == 0, limit: None, lock };
                let pages: Vec<_> = txn.scan(span.clone(), options).try_collect().await?;
                let found: BTreeMap<Key, Value> = pages.into_iter().flatten().collect();
                for name in KEYS.map(key) {
                    if span.contains(&name) && !written.contains(&name) {
                        observed.reads.push((name.clone(), found.get(&name).map(writer)));
                    }
                }
            }
        }
        env.sleep(Duration::from_micros(env.random_range(0..2000))).await;
    }
    txn.commit().await?;
    Ok((observed, written))
}

async fn client(coordinator: Arc<Coordinator>, known: Arc<Mutex<Known>>, rounds: u32) {
    for _ in 0..rounds {
        // The fake shards find no deadlocks.
        let lock_timeout = Some(Duration::from_millis(700));
        let mut txn = coordinator.begin(TxnOptions { lock_timeout, ..TxnOptions::default() });
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
fn note(known: &Mutex<Known>, txn: Txn, result: Result<(Observed, Vec<Key>), TxnError>) -> Option<Txn> {
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
    for (id, (_, keys)) in &known.committed {
        let mut keys = keys.clone();
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
        let aborted = matches!(store.records.get(id), Some((_, support::store::Record::Aborted)));
        assert!(!aborted || at.is_empty(), "{id} is aborted and there");
    }
    let observed = known.committed.iter().map(|(id, (observed, _))| (*id, observed.clone())).collect();
    assert_serializable(&store, &observed);
}

struct Chaos {
    lose_answers: u64,
    moves: bool,
    splits: bool,
    crashes: bool,
    network: NetworkFaults,
}

fn history(seed: u64, chaos: Chaos) {
    // Clocks that stray are other tests' business: these would end in a fence.
    let config = SimConfig { network: chaos.network.clone(), clock_drift_ppm: 0, ..SimConfig::new(seed) };
    run_with(config, seed.is_multiple_of(2), move |shards| async move {
        shards.faults.lock().lose_answers = chaos.lose_answers;
        let known: Arc<Mutex<Known>> = Arc::default();
        let start = |node: u64| {
            let (coordinator, known) = (shards.coordinator(node), known.clone());
            let env = shards.world.env(NodeId(node)).expect("up");
            env.spawn("test.client", client(coordinator, known, 12))
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
                store.move_leader(id, to, now);
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
        let done = known.lock().committed.len();
        assert!(done > 20, "only {done} transactions got through");
    });
}

fn seeds() -> std::ops::Range<u64> {
    let given = |name: &str| std::env::var(name).ok().and_then(|raw| raw.parse::<u64>().ok());
    let first = given("QUORATE_TXN_SEED").unwrap_or(100);
    first..first + given("QUORATE_TXN_SEEDS").unwrap_or(6)
}

#[test]
fn in_peace() {
    for seed in seeds() {
        let network = NetworkFaults::default();
        history(seed, Chaos { lose_answers: 0, moves: false, splits: false, crashes: false, network });
    }
}

#[test]
fn with_new_leaders_and_splits() {
    for seed in seeds() {
        let network = NetworkFaults::default();
        history(seed, Chaos { lose_answers: 0, moves: true, splits: true, crashes: false, network });
    }
}

#[test]
fn with_lost_answers_and_crashes() {
    for seed in seeds() {
        let network = NetworkFaults {
            loss: 0.01,
            duplicate: 0.02,
            reorder: 0.1,
            late: 0.01,
            ..NetworkFaults::default()
        };
        history(seed, Chaos { lose_answers: 2, moves: true, splits: true, crashes: true, network });
    }
}
