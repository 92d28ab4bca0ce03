//! Transactions over fake shards: what they read, what they cost, and what becomes of them when things go wrong.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use futures::TryStreamExt;
use quorate_env::sim::SimConfig;
use quorate_proto::{KvError, NodeId, ShardId, Span, Timestamp};
use quorate_txn::{Isolation, Outcome, ScanOptions, Txn, TxnConfig, TxnError, TxnOptions};
use std::{sync::Arc, time::Duration};
use support::{FRUGAL, FakeShards, exclusive, key, run, run_as, run_with, value};

fn quiet(seed: u64) -> SimConfig {
    SimConfig { shake: 0.0, ..SimConfig::new(seed) }
}

async fn put_all(shards: &FakeShards, rows: &[(&str, &str)]) {
    let txn = shards.coordinator(1).begin(TxnOptions::default());
    rows.iter().for_each(|(k, v)| txn.put(key(k), value(v)));
    txn.commit().await.expect("nothing stands in the way");
    shards.world.sleep(Duration::from_millis(50)).await;
    shards.seen();
}

async fn rows(txn: &Txn, span: Span, options: ScanOptions) -> Result<Vec<String>, TxnError> {
    let pages: Vec<_> = txn.scan(span, options).try_collect().await?;
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    Ok(pages.into_iter().flatten().map(|(k, v)| format!("{}={}", text(&k), text(&v))).collect())
}

#[test]
fn one_shard_costs_one_entry_and_one_round() {
    run(quiet(1), |shards| async move {
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("b"), value("2"));
        let committed = txn.commit().await.unwrap();
        assert_eq!((committed.cost.rounds, committed.cost.entries, committed.cost.calls), (1, 1, 0));
        assert_eq!(shards.seen(), ["local"]);
        let evidence = shards.coordinator(1).evidence(txn.id()).unwrap();
        assert_eq!(evidence.outcome, Outcome::Committed(committed.ts));
        assert!(evidence.decided.is_some());
    });
}

#[test]
fn a_transfer_between_shards_costs_one_round() {
    // Intents are resolved while the commit is waited out.
    transfer(true, 1, &["lock", "lock", "prepare", "prepare", "decide", "resolve"]);
}

#[test]
fn a_transfer_without_staging_costs_two_rounds() {
    transfer(false, 2, &["lock", "lock", "prepare", "prepare", "decide", "resolve", "resolve"]);
}

fn transfer(parallel: bool, rounds: u64, seen: &'static [&'static str]) {
    run_with(quiet(2), parallel, move |shards| async move {
        put_all(&shards, &[("a", "10"), ("i", "10")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        for k in ["a", "i"] {
            assert_eq!(txn.get(&key(k), exclusive()).await.unwrap(), Some(value("10")));
        }
        txn.put(key("a"), value("9"));
        txn.put(key("i"), value("11"));
        let committed = txn.commit().await.unwrap();
        let cost = committed.cost;
        assert_eq!((cost.rounds, cost.entries, cost.calls), (rounds, 3, 2), "{cost:?}");
        assert_eq!(shards.seen(), seen);
        shards.world.sleep(Duration::from_millis(50)).await;
        assert_eq!((shards.value("a").unwrap(), shards.value("i").unwrap()), ("9".into(), "11".into()));
        assert!(shards.store.lock().locks.is_empty() && shards.store.lock().intents.is_empty());
    });
}

#[test]
fn reading_elsewhere_does_not_cost_a_second_round() {
    run(quiet(3), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "2"), ("q", "3")]).await;
        let txn = shards.coordinator(2).begin(TxnOptions::default());
        txn.get_many(&[key("a"), key("i"), key("q")], None).await.unwrap();
        txn.put(key("i"), value("6"));
        let committed = txn.commit().await.unwrap();
        assert_eq!(committed.cost.rounds, 1);
        // Somebody has read the key later: the timestamp must move, and with it the reads elsewhere must be proven.
        shards.seen();
        let txn = shards.coordinator(2).begin(TxnOptions::default());
        txn.get(&key("a"), None).await.unwrap();
        let other = shards.coordinator(3).begin(TxnOptions::default());
        other.get(&key("i"), None).await.unwrap();
        txn.put(key("i"), value("7"));
        let committed = txn.commit().await.unwrap();
        assert_eq!(committed.cost.rounds, 2);
        let seen = shards.seen();
        let commit: Vec<_> = seen.into_iter().filter(|kind| *kind != "read").collect();
        assert_eq!(commit[..4], ["local", "prepare", "prepare", "decide"]);
    });
}

/// What a transaction reads besides writing `a` and `i`, long after it has begun, so that it commits above its read timestamp.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// The rows that it writes.
    Written,
    /// All beside them in the same shards.
    Beside,
    /// A row of a shard in which it writes nothing.
    Elsewhere,
}

async fn old_transfer(shards: &FakeShards, reads: Reads, disturbed: Option<&str>) -> Result<u64, TxnError> {
    put_all(shards, &[("a", "1"), ("c", "1"), ("i", "1"), ("k", "1"), ("q", "1")]).await;
    let txn = shards.coordinator(1).begin(TxnOptions::default());
    match reads {
        Reads::Written => drop(txn.get_many(&[key("a"), key("i")], None).await?),
        Reads::Beside => {
            rows(&txn, Span::new("a", "d"), ScanOptions::default()).await?;
            rows(&txn, Span::new("i", "l"), ScanOptions::default()).await?;
        }
        Reads::Elsewhere => drop(txn.get(&key("q"), None).await?),
    }
    shards.world.sleep(Duration::from_millis(200)).await;
    if let Some(disturbed) = disturbed {
        put_all(shards, &[(disturbed, "2")]).await;
    }
    txn.put(key("a"), value("0"));
    txn.put(key("i"), value("2"));
    let read_ts = txn.read_ts();
    let committed = txn.commit().await?;
    assert!(committed.ts > read_ts);
    Ok(committed.cost.rounds)
}

#[test]
fn what_is_read_where_it_is_written_costs_no_second_round() {
    run(quiet(19), |shards| async move {
        for (reads, rounds) in [(Reads::Written, 1), (Reads::Beside, 1), (Reads::Elsewhere, 2)] {
            assert_eq!(old_transfer(&shards, reads, None).await.unwrap(), rounds, "{reads:?}");
        }
        let disturbed =
            [(Reads::Written, "i"), (Reads::Beside, "c"), (Reads::Beside, "k"), (Reads::Elsewhere, "q")];
        for (reads, other) in disturbed {
            let error = old_transfer(&shards, reads, Some(other)).await.unwrap_err();
            assert!(matches!(error.error, KvError::Conflict { .. }), "{reads:?}: {error}");
        }
    });
}

#[test]
fn reads_see_own_writes_and_scans_are_merged_both_ways() {
    own_writes(1);
    own_writes(FRUGAL.0);
}

fn own_writes(gateway: u64) {
    run(quiet(4), move |shards| async move {
        put_all(&shards, &[("a", "1"), ("c", "1"), ("i", "1"), ("k", "1"), ("q", "1"), ("r", "1")]).await;
        let txn = shards.coordinator(gateway).begin(TxnOptions::default());
        txn.put(key("b"), value("2"));
        txn.put(key("i"), value("2"));
        txn.delete(key("q"));
        txn.put(key("z"), value("2"));
        let all = rows(&txn, Span::ALL, ScanOptions::default()).await.unwrap();
        assert_eq!(all, ["a=1", "b=2", "c=1", "i=2", "k=1", "r=1", "z=2"]);
        let reverse = ScanOptions { reverse: true, limit: Some(4), lock: None };
        assert_eq!(rows(&txn, Span::ALL, reverse).await.unwrap(), ["z=2", "r=1", "k=1", "i=2"]);
        let limit = ScanOptions { limit: Some(2), ..ScanOptions::default() };
        assert_eq!(rows(&txn, Span::new("b", "j"), limit).await.unwrap(), ["b=2", "c=1"]);
        // A statement does not meet what it writes itself.
        let mut scan = txn.scan(Span::ALL, ScanOptions::default());
        let first = scan.try_next().await.unwrap().unwrap();
        assert_eq!(first.len(), 3);
        txn.put(key("x"), value("9"));
        let rest: Vec<_> = scan.try_collect::<Vec<_>>().await.unwrap().into_iter().flatten().collect();
        assert!(rest.iter().all(|(k, _)| *k != key("x")));
        let savepoint = txn.savepoint();
        txn.delete(key("a"));
        txn.rollback_to(savepoint);
        assert_eq!(txn.get(&key("a"), None).await.unwrap(), Some(value("1")));
        txn.rollback();
    });
}

#[test]
fn write_skew_is_refused_and_retried() {
    run(quiet(5), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        let (one, two) = (shards.coordinator(1), shards.coordinator(2));
        let (t1, t2) = (one.begin(TxnOptions::default()), two.begin(TxnOptions::default()));
        for txn in [&t1, &t2] {
            txn.get_many(&[key("a"), key("i")], None).await.unwrap();
        }
        t1.put(key("a"), value("0"));
        t2.put(key("i"), value("0"));
        t1.commit().await.unwrap();
        let error = t2.commit().await.unwrap_err();
        assert!(error.retryable() && matches!(error.error, KvError::Conflict { .. }), "{error}");
        let again = t2.restart();
        assert_eq!((again.attempt(), again.started()), (1, t2.started()));
        assert_eq!(again.get(&key("a"), None).await.unwrap(), Some(value("0")));
        again.put(key("i"), value("2"));
        again.commit().await.unwrap();
        // Under REPEATABLE READ the same is allowed.
        let options = || TxnOptions { isolation: Isolation::RepeatableRead, ..TxnOptions::default() };
        let (t1, t2) = (one.begin(options()), two.begin(options()));
        for txn in [&t1, &t2] {
            txn.get_many(&[key("a"), key("i")], None).await.unwrap();
        }
        t1.put(key("a"), value("5"));
        t2.put(key("i"), value("5"));
        t1.commit().await.unwrap();
        t2.commit().await.unwrap();
    });
}

#[test]
fn an_exclusion_lost_with_the_leader_is_found_at_commit() {
    run(quiet(6), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        for isolation in [Isolation::Serializable, Isolation::ReadCommitted] {
            let options = TxnOptions { isolation, ..TxnOptions::default() };
            let t1 = shards.coordinator(1).begin(options.clone());
            t1.get(&key("a"), exclusive()).await.unwrap();
            let now = shards.now();
            shards.store.lock().move_leader(ShardId(1), NodeId(2), now);
            let t2 = shards.coordinator(2).begin(options);
            t2.get(&key("a"), exclusive()).await.unwrap();
            t2.put(key("a"), value("2"));
            t2.commit().await.unwrap();
            // T1 writes elsewhere only: its lock is proven all the same.
            t1.put(key("i"), value("3"));
            let error = t1.commit().await.unwrap_err();
            assert!(matches!(error.error, KvError::Conflict { .. }), "{error}");
        }
        assert_eq!(shards.value("i").unwrap(), "1");
    });
}

#[test]
fn locks_are_given_back_to_the_halves_of_a_split_too() {
    run(quiet(6), |shards| async move {
        put_all(&shards, &[("a", "1"), ("c", "1"), ("e", "1")]).await;
        for (at, commits) in [("e", false), ("c", true)] {
            let txn = shards.coordinator(1).begin(TxnOptions::default());
            txn.get_many(&["a", "c", "e"].map(key), exclusive()).await.unwrap();
            assert_eq!(shards.store.lock().locks.len(), 3);
            shards.store.lock().split(&key(at));
            // The map hears of it.
            put_all(&shards, &[("f", at)]).await;
            if commits {
                txn.commit().await.unwrap();
            } else {
                txn.rollback();
            }
            txn.released(Duration::from_secs(5)).await;
            assert!(shards.store.lock().locks.is_empty(), "split at {at}: {:?}", shards.store.lock().locks);
        }
    });
}

/// The gateway hears of the splits when it gives the locks back.
#[test]
fn locks_are_given_back_to_halves_that_nobody_has_told_of() {
    run(quiet(6), |shards| async move {
        put_all(&shards, &[("a", "1"), ("c", "1"), ("e", "1")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.get_many(&["a", "c", "e"].map(key), exclusive()).await.unwrap();
        assert_eq!(shards.store.lock().locks.len(), 3);
        for at in ["e", "c"] {
            shards.store.lock().split(&key(at));
        }
        txn.rollback();
        txn.released(Duration::from_secs(5)).await;
        assert!(shards.store.lock().locks.is_empty(), "{:?}", shards.store.lock().locks);
    });
}

#[test]
fn a_locked_read_brings_the_newest_version_and_moves_the_transaction_there() {
    run(quiet(7), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        put_all(&shards, &[("a", "2")]).await;
        assert_eq!(
            txn.get(&key("a"), exclusive()).await.unwrap(),
            Some(value("2")),
            "nothing was read before"
        );
        txn.get(&key("i"), None).await.unwrap();
        put_all(&shards, &[("k", "1")]).await;
        assert_eq!(
            txn.get(&key("k"), exclusive()).await.unwrap(),
            Some(value("1")),
            "what was read is refreshed"
        );
        assert!(shards.seen().contains(&"refresh"));
        put_all(&shards, &[("i", "2"), ("m", "2")]).await;
        let error = txn.get(&key("m"), exclusive()).await.unwrap_err();
        assert!(error.retryable(), "{error}");
        txn.rollback();
    });
}

/// Its commit lies above the tombstone that it met, at which a prepare would be taken for a late copy.
#[test]
fn a_locked_row_that_was_deleted_since_can_be_inserted_again() {
    run(quiet(18), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        shards.world.sleep(Duration::from_millis(30)).await;
        let other = shards.coordinator(2).begin(TxnOptions::default());
        other.delete(key("a"));
        other.commit().await.unwrap();
        assert_eq!(txn.get(&key("a"), exclusive()).await.unwrap(), None);
        txn.put(key("a"), value("2"));
        txn.put(key("i"), value("2"));
        txn.commit().await.unwrap();
    });
}

#[test]
fn absence_is_proven_at_commit() {
    run(quiet(8), |shards| async move {
        let insert = |node: u64| {
            let txn = shards.coordinator(node).begin(TxnOptions::default());
            txn.check_absent(key("a"));
            txn.put(key("a"), value("new"));
            txn
        };
        let (t1, t2) = (insert(1), insert(2));
        t1.commit().await.unwrap();
        assert!(matches!(t2.commit().await.unwrap_err().error, KvError::Exists { .. }));
    });
}

/// More changes than belong into memory, over all shards: all of them, or after a conflict none, and no intent is left.
#[test]
fn a_transaction_that_does_not_fit_into_memory_commits_whole_or_not_at_all() {
    run(quiet(22), |shards| async move {
        put_all(&shards, &[("a", "0"), ("z", "0")]).await;
        let keys: Vec<String> = (0..9000).map(|n| format!("{}{n:05}", ["b", "i", "q"][n % 3])).collect();
        for other in [true, false] {
            let txn = shards.coordinator(FRUGAL.0).begin(TxnOptions::default());
            assert_eq!(txn.get(&key("a"), None).await.unwrap(), Some(value("0")));
            txn.get(&key("z"), exclusive()).await.unwrap();
            for k in &keys {
                txn.put(key(k), value(&"x".repeat(100)));
            }
            let savepoint = txn.savepoint();
            keys.iter().for_each(|k| txn.delete(key(k)));
            txn.rollback_to(savepoint);
            assert_eq!(rows(&txn, Span::ALL, ScanOptions::default()).await.unwrap().len(), keys.len() + 2);
            if other {
                put_all(&shards, &[("a", "0")]).await;
                let error = txn.commit().await.unwrap_err();
                assert!(matches!(error.error, KvError::Conflict { .. }), "{error}");
            } else {
                txn.commit().await.unwrap();
            }
            shards.world.sleep(Duration::from_secs(5)).await;
            let there = keys.iter().filter(|k| shards.value(k).is_some()).count();
            assert_eq!(there, if other { 0 } else { keys.len() });
            let store = shards.store.lock();
            assert!(store.intents.is_empty() && store.locks.is_empty());
        }
    });
}

#[test]
fn splits_under_a_commit_are_followed() {
    splits(true, 1);
    splits(false, 1);
    splits(false, FRUGAL.0);
}

fn splits(parallel: bool, gateway: u64) {
    run_with(quiet(9), parallel, move |shards| async move {
        let first = shards.coordinator(gateway).begin(TxnOptions::default());
        first.put(key("a"), value("1"));
        first.commit().await.unwrap();
        let txn = shards.coordinator(gateway).begin(TxnOptions::default());
        txn.put(key("a"), value("2"));
        txn.put(key("c"), value("2"));
        shards.store.lock().split(&key("b"));
        let committed = txn.commit().await.unwrap();
        assert_eq!(committed.cost.entries, 4, "one shard has become two");
        let txn = shards.coordinator(gateway).begin(TxnOptions::default());
        for k in ["a", "c", "d", "i"] {
            txn.put(key(k), value("3"));
        }
        shards.store.lock().split(&key("d"));
        txn.commit().await.unwrap();
        shards.world.sleep(Duration::from_millis(100)).await;
        assert!(["a", "c", "d", "i"].iter().all(|k| shards.value(k).unwrap() == "3"));
        assert!(shards.store.lock().intents.is_empty());
    });
}

#[test]
fn lost_answers_are_asked_for_and_nothing_happens_twice() {
    lost_answers(true, 1);
    lost_answers(false, 1);
    lost_answers(false, FRUGAL.0);
}

fn lost_answers(parallel: bool, gateway: u64) {
    run_with(quiet(10), parallel, move |shards| async move {
        let decide = if parallel { "local" } else { "decide" };
        for lost in ["local", "prepare", decide] {
            shards.faults.lock().lose_next = Some((lost, 1));
            let txn = shards.coordinator(gateway).begin(TxnOptions::default());
            txn.put(key("a"), value(lost));
            if lost != "local" {
                txn.put(key("i"), value(lost));
            }
            let committed = txn.commit().await.unwrap();
            shards.world.sleep(Duration::from_millis(50)).await;
            assert_eq!(shards.value("a").unwrap(), lost);
            let written = shards.store.lock().versions[&key("a")].len();
            assert!(committed.cost.reroutes >= 1 && written <= 3);
        }
    });
}

#[test]
fn without_an_answer_the_outcome_is_told_to_be_unknown_within_a_bound() {
    run_with(quiet(11), false, |shards| async move {
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("i"), value("1"));
        let before = shards.world.elapsed();
        // Everybody answers until the decision, which is taken and never told.
        shards.faults.lock().lose_next = Some(("decide", 100));
        let muting = shards.clone();
        shards
            .world
            .spawn("test.mute", async move {
                muting.world.sleep(Duration::from_millis(100)).await;
                muting.faults.lock().mute = true;
            })
            .detach();
        let error = txn.commit().await.unwrap_err();
        assert!(matches!(error.error, KvError::Ambiguous { .. }), "{error}");
        assert!(shards.world.elapsed() - before < Duration::from_secs(40));
        // Once they answer again, whoever asks is told.
        shards.faults.lock().mute = false;
        shards.faults.lock().lose_next = None;
        let outcome = shards.coordinator(2).outcome(txn.id(), &key("a"), false).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    });
}

/// Staged, and no participant's answer arrives: the intents have decided, and neither an abort nor a commit may be claimed
/// without them.
#[test]
fn a_staged_commit_without_answers_is_unknown_until_its_intents_are_asked() {
    run(quiet(16), |shards| async move {
        // So that the coordinator knows who leads.
        put_all(&shards, &[("a", "0"), ("i", "0")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("i"), value("1"));
        shards.faults.lock().lose_next = Some(("prepare", 100));
        let muting = shards.clone();
        let mute = async move {
            muting.world.sleep(Duration::from_millis(100)).await;
            muting.faults.lock().mute = true;
        };
        shards.world.spawn("test.mute", mute).detach();
        let error = txn.commit().await.unwrap_err();
        assert!(matches!(error.error, KvError::Ambiguous { .. }), "{error}");
        shards.faults.lock().mute = false;
        shards.faults.lock().lose_next = None;
        let outcome = |abort| {
            let coordinator = shards.coordinator(2);
            let txn = txn.id();
            async move { coordinator.outcome(txn, &key("a"), abort).await.unwrap() }
        };
        assert_eq!(outcome(false).await, Outcome::Pending, "nobody has looked at the intents");
        let forced = outcome(true).await;
        assert!(matches!(forced, Outcome::Committed(_)), "{forced:?}");
        let reader = shards.coordinator(3).begin(TxnOptions::default());
        assert_eq!(reader.get(&key("i"), None).await.unwrap(), Some(value("1")));
    });
}

/// Staged, and an answer is lost; before it is asked for again others have committed the transaction and turned its intents
/// into versions. The late copy must lay no intent, and its refusal is no failure.
#[test]
fn a_prepare_that_comes_again_after_a_recovery_changes_nothing() {
    // The anchor's answer, the other's (its shard is led by the coordinator's own node), both.
    for (node, lost) in [(1, 1), (2, 1), (1, 2)] {
        run(quiet(20), move |shards| async move {
            put_all(&shards, &[("a", "0"), ("i", "0")]).await;
            let txn = shards.coordinator(node).begin(TxnOptions::default());
            txn.put(key("a"), value("1"));
            txn.put(key("i"), value("1"));
            shards.faults.lock().lose_next = Some(("prepare", lost));
            let (others, id) = (shards.clone(), txn.id());
            let recovery = async move {
                others.world.sleep(Duration::from_millis(100)).await;
                let outcome = others.coordinator(3).outcome(id, &key("a"), true).await.unwrap();
                assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
                let reader = others.coordinator(3).begin(TxnOptions::default());
                let found = reader.get_many(&[key("a"), key("i")], None).await.unwrap();
                assert_eq!(found, [Some(value("1")), Some(value("1"))]);
            };
            shards.world.spawn("test.recovery", recovery).detach();
            txn.commit().await.expect("it is committed");
            shards.world.sleep(Duration::from_millis(100)).await;
            assert!(shards.store.lock().intents.is_empty());
        });
    }
}

/// Staged, and one part is refused: the others' intents decide nothing, and go.
#[test]
fn a_staged_commit_of_which_one_part_is_refused_is_aborted() {
    run(quiet(17), |shards| async move {
        put_all(&shards, &[("i", "0")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.check_absent(key("i"));
        txn.put(key("i"), value("1"));
        let error = txn.commit().await.unwrap_err();
        assert!(matches!(error.error, KvError::Exists { .. }), "{error}");
        shards.world.sleep(Duration::from_millis(100)).await;
        assert!(shards.store.lock().intents.is_empty());
        assert_eq!((shards.value("a"), shards.value("i").unwrap()), (None, "0".into()));
        let outcome = shards.coordinator(2).outcome(txn.id(), &key("a"), false).await.unwrap();
        assert_eq!(outcome, Outcome::Aborted);
    });
}

#[test]
fn a_shard_without_anybody_is_named_within_five_seconds() {
    run(quiet(12), |shards| async move {
        shards.store.lock().shards.get_mut(&ShardId(2)).unwrap().leader = NodeId(9);
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("i"), value("1"));
        let before = shards.world.elapsed();
        let error = txn.commit().await.unwrap_err();
        let KvError::QuorumUnavailable { shard, .. } = error.error else { panic!("{error}") };
        assert_eq!(shard, ShardId(2));
        assert!(shards.world.elapsed() - before < Duration::from_secs(7));
        // The next one does not wait as long.
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        let before = shards.world.elapsed();
        txn.get(&key("i"), None).await.unwrap_err();
        assert!(shards.world.elapsed() - before < Duration::from_secs(1));
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.commit().await.expect("the other shards serve on");
    });
}

#[test]
fn locks_fall_on_rollback_and_on_drop() {
    run(quiet(13), |shards| async move {
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.get_many(&[key("a"), key("i")], exclusive()).await.unwrap();
        assert_eq!(shards.store.lock().locks.len(), 2);
        txn.rollback();
        shards.world.sleep(Duration::from_millis(20)).await;
        assert!(shards.store.lock().locks.is_empty());
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.get(&key("a"), exclusive()).await.unwrap();
        drop(txn);
        shards.world.sleep(Duration::from_millis(20)).await;
        assert!(shards.store.lock().locks.is_empty());
    });
}

/// A commit that waits for a lock must not keep the lock's owner from committing, as one of many in a coordinator with little
/// room would if it took its place among the unresolved before it waits.
#[test]
fn one_that_waits_for_a_lock_takes_no_room_from_the_locks_owner() {
    let little = TxnConfig { max_unresolved: 1, ..TxnConfig::default() };
    run_as(quiet(21), little, |shards| async move {
        let owner = shards.coordinator(1).begin(TxnOptions::default());
        owner.get(&key("a"), exclusive()).await.unwrap();
        let waiting = shards.coordinator(1).begin(TxnOptions::default());
        waiting.put(key("a"), value("2"));
        waiting.put(key("m"), value("2"));
        let commit = async move { drop(waiting.commit().await) };
        let waits = shards.world.env(NodeId(1)).unwrap().spawn("test.waits", commit);
        shards.world.sleep(Duration::from_millis(100)).await;
        let before = shards.world.elapsed();
        owner.put(key("a"), value("1"));
        owner.put(key("r"), value("1"));
        owner.commit().await.unwrap();
        assert!(
            shards.world.elapsed() - before < Duration::from_millis(50),
            "virtual time: nothing was in the way"
        );
        waits.join().await.unwrap();
    });
}

#[test]
fn the_schema_lease_bounds_the_commit() {
    run(quiet(14), |shards| async move {
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("i"), value("1"));
        txn.set_commit_before(txn.read_ts().plus(Duration::from_millis(1)));
        // A later read pushes the commit past the lease.
        shards.world.sleep(Duration::from_millis(20)).await;
        shards.coordinator(2).begin(TxnOptions::default()).get(&key("i"), None).await.unwrap();
        let error = txn.commit().await.unwrap_err();
        assert!(matches!(error.error, KvError::BoundPassed { .. }), "{error}");
        shards.world.sleep(Duration::from_millis(100)).await;
        assert!(shards.store.lock().intents.is_empty(), "what was prepared is removed");
    });
}

/// PROTOCOL 20: a schema lease is extended for versions in use only, so a commit that outlives its session keeps its
/// version in use, and lets go of it with the outcome: the session's own schema change waits for that.
#[test]
fn what_the_commit_bound_rests_on_lives_exactly_as_long_as_the_commit() {
    run(quiet(14), |shards| async move {
        let in_use = Arc::new(());
        let alive = Arc::downgrade(&in_use);
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("i"), value("1"));
        txn.follow_commit_bound(move || {
            let _in_use = &in_use;
            Timestamp::MAX
        });
        let env = shards.world.env(NodeId(1)).unwrap();
        env.timeout(Duration::from_millis(2), txn.commit()).await.expect_err("the client does not wait");
        let other = Txn::clone(&txn);
        drop(txn);
        assert!(alive.upgrade().is_some(), "it is under way");
        shards.settled().await;
        assert_eq!(shards.value("a").as_deref(), Some("1"));
        assert!(alive.upgrade().is_none(), "also while a handle of the transaction is left");
        drop(other);
    });
}

#[test]
fn a_commit_of_nothing_and_one_that_fails_at_once_let_go_of_their_bound_too() {
    run(quiet(16), |shards| async move {
        let bound = |txn: &Txn, until: Timestamp| {
            let in_use = Arc::new(());
            let alive = Arc::downgrade(&in_use);
            txn.follow_commit_bound(move || {
                let _in_use = &in_use;
                until
            });
            alive
        };
        let reader = shards.coordinator(1).begin(TxnOptions::default());
        reader.get(&key("a"), None).await.unwrap();
        let alive = bound(&reader, Timestamp::MAX);
        reader.commit().await.unwrap();
        assert!(alive.upgrade().is_none(), "a reader that is still in somebody's hands");

        let late = shards.coordinator(1).begin(TxnOptions::default());
        late.put(key("a"), value("1"));
        let alive = bound(&late, Timestamp(1));
        late.commit().await.expect_err("its bound has passed");
        assert!(alive.upgrade().is_none(), "a writer that came too late");
    });
}

/// PROTOCOL 21. It strays while its commit waits until it may be told of: by which clock?
#[test]
fn a_gateway_whose_clock_strays_acknowledges_nothing_and_begins_nothing() {
    run(quiet(17), |shards| async move {
        let coordinator = shards.coordinator(1);
        let txn = coordinator.begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("i"), value("1"));
        shards.world.jump_clock(NodeId(1), -500_000);
        let error = txn.commit().await.unwrap_err();
        assert!(matches!(error.error, KvError::Ambiguous { .. }), "{error}");
        assert!(shards.world.env(NodeId(1)).unwrap().clock().is_fenced());
        let error = coordinator.begin(TxnOptions::default()).get(&key("a"), None).await.unwrap_err();
        assert!(matches!(error.error, KvError::ClockFenced { .. }), "{error}");
    });
}

#[test]
fn run_repeats_until_it_is_through() {
    run(quiet(15), |shards| async move {
        put_all(&shards, &[("a", "0")]).await;
        let workers: Vec<_> = (1..=3)
            .map(|node| {
                let coordinator = shards.coordinator(node);
                shards.world.env(NodeId(node)).unwrap().spawn("test.worker", async move {
                    for _ in 0..10 {
                        let add = |txn: Txn| async move {
                            let old = txn.get(&key("a"), None).await?.unwrap_or_default();
                            let old: u64 = String::from_utf8_lossy(&old).parse().unwrap();
                            txn.put(key("a"), value(&(old + 1).to_string()));
                            Ok(())
                        };
                        coordinator.run(TxnOptions::default(), add).await.unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().await.unwrap();
        }
        assert_eq!(shards.value("a").unwrap(), "30");
    });
}
