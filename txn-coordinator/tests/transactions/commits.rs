//! What becomes of commits when shards split, answers are lost and parts are refused.

use crate::{
    put_all, quiet, rows,
    support::{FRUGAL, exclusive, key, run, run_as, run_with, value},
};
use quorate_proto::{KvError, NodeId, ShardId, Span};
use quorate_txn::{Outcome, ScanOptions, Txn, TxnConfig, TxnOptions};
use std::{collections::BTreeMap, time::Duration};

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

/// Commits whose intents are not resolved keep others waiting, each by as many as it has laid.
#[test]
fn unresolved_intents_are_bounded() {
    const MOST: usize = 20;
    let little = TxnConfig { max_unresolved: MOST, parallel_commit: false, ..TxnConfig::default() };
    run_as(quiet(41), little, |shards| async move {
        let coordinator = shards.coordinator(1);
        shards.faults.lock().late = Some(("resolve", Duration::from_millis(20)));
        let mut commits = Vec::new();
        for n in 0..30 {
            let (size, txn) = ([2, 3, 60][n % 3], coordinator.begin(TxnOptions::default()));
            for k in 0..size {
                txn.put(key(&format!("{}{n:02}-{k}", if k % 2 == 0 { "a" } else { "r" })), value("1"));
            }
            let commit = async move { txn.commit().await.map(drop) };
            commits.push(shards.world.env(NodeId(1)).unwrap().spawn("test.commit", commit));
        }
        let (mut peak, mut laid_at_peak) = (0, 0);
        while commits.iter().any(|commit| !commit.is_finished()) || coordinator.unresolved_intents() > 0 {
            // A large one counts as half of all.
            let mut laid = BTreeMap::new();
            shards
                .store
                .lock()
                .intents
                .values()
                .for_each(|found| *laid.entry(found.meta.id).or_default() += 1);
            let weight: usize = laid.values().map(|intents: &usize| MOST.min(*intents).min(MOST / 2)).sum();
            assert!(weight <= MOST, "{laid:?}");
            peak = peak.max(coordinator.unresolved_intents());
            laid_at_peak = laid_at_peak.max(weight);
            shards.world.sleep(Duration::from_micros(200)).await;
        }
        for commit in commits {
            commit.join().await.unwrap().expect("it had its turn");
        }
        assert!(
            peak >= 60 && laid_at_peak > MOST / 2,
            "{peak}, {laid_at_peak}: there was something to bound"
        );
    });
}

#[test]
fn a_commit_that_finds_no_room_in_time_has_not_happened() {
    let little = TxnConfig { max_unresolved: 2, ..TxnConfig::default() };
    run_as(quiet(42), little, |shards| async move {
        let commit = |keys: [&str; 3]| {
            let options = TxnOptions { deadline: Some(Duration::from_secs(1)), ..TxnOptions::default() };
            let txn = shards.coordinator(1).begin(options);
            keys.iter().for_each(|k| txn.put(key(k), value("1")));
            async move { txn.commit().await.map(drop) }
        };
        shards.faults.lock().late = Some(("resolve", Duration::from_secs(2)));
        commit(["a", "i", "r"]).await.unwrap();
        commit(["b", "j", "s"]).await.unwrap();
        let error = commit(["c", "k", "t"]).await.expect_err("there is no room");
        assert!(matches!(error.error, KvError::Overloaded { .. }) && !error.retryable(), "{error}");
        assert!(!shards.store.lock().intents.contains_key(&key("c")), "nothing was sent");
        shards.world.sleep(Duration::from_secs(2)).await;
        assert_eq!(shards.coordinator(1).unresolved_intents(), 0);
        commit(["c", "k", "t"]).await.unwrap();
    });
}

#[test]
fn a_commit_that_shards_never_let_in_has_not_happened() {
    run(quiet(43), |shards| async move {
        for (kind, keys) in [("local", &["a"][..]), ("prepare", &["a", "i", "r"])] {
            shards.faults.lock().crowded = Some((kind, Duration::from_secs(2)));
            let txn = shards.coordinator(1).begin(TxnOptions::default());
            keys.iter().for_each(|k| txn.put(key(k), value("1")));
            let error = txn.commit().await.expect_err("nobody lets it in");
            assert!(matches!(error.error, KvError::Overloaded { .. }) && !error.retryable(), "{error}");
            shards.faults.lock().crowded = None;
            let txn = shards.coordinator(2).begin(TxnOptions::default());
            assert_eq!(txn.get(&key("a"), None).await.unwrap(), None);
            keys.iter().for_each(|k| txn.put(key(k), value("2")));
            txn.commit().await.unwrap();
            let again = shards.coordinator(2).begin(TxnOptions::default());
            keys.iter().for_each(|k| again.delete(key(k)));
            again.commit().await.unwrap();
        }
    });
}
