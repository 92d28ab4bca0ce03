//! What each level shows of others' changes, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use futures::TryStreamExt;
use quorate_env::sim::SimConfig;
use quorate_proto::{KvError, NodeId, ShardId, Span, kv::LockRequest};
use quorate_txn::{Isolation, ScanOptions, Txn, TxnError, TxnOptions};
use std::time::Duration;
use support::{FakeShards, exclusive, key, run, value};

fn quiet(seed: u64) -> SimConfig {
    SimConfig { shake: 0.0, clock_drift_ppm: 0, ..SimConfig::new(seed) }
}

/// Each row is a key and its value; an empty one deletes.
async fn write(shards: &FakeShards, rows: &[(&str, &str)]) {
    let txn = shards.coordinator(2).begin(TxnOptions::default());
    for (k, v) in rows {
        if v.is_empty() { txn.delete(key(k)) } else { txn.put(key(k), value(v)) }
    }
    txn.commit().await.expect("nothing stands in the way");
    shards.world.sleep(Duration::from_millis(50)).await;
}

fn begin(shards: &FakeShards, isolation: Isolation) -> Txn {
    let txn = shards.coordinator(1).begin(TxnOptions { isolation, ..TxnOptions::default() });
    txn.begin_statement();
    txn
}

fn lock() -> LockRequest {
    exclusive().unwrap()
}

async fn rows(txn: &Txn, lock: Option<LockRequest>) -> Result<Vec<String>, TxnError> {
    let options = ScanOptions { lock, ..ScanOptions::default() };
    let pages: Vec<_> = txn.scan(Span::ALL, options).try_collect().await?;
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    Ok(pages.into_iter().flatten().map(|(k, v)| format!("{}={}", text(&k), text(&v))).collect())
}

async fn get(txn: &Txn, k: &str, lock: Option<LockRequest>) -> Result<Option<String>, TxnError> {
    let found = txn.get(&key(k), lock).await?;
    Ok(found.map(|raw| String::from_utf8_lossy(&raw).into_owned()))
}

fn is_conflict<T: std::fmt::Debug>(result: Result<T, TxnError>) {
    let error = result.unwrap_err();
    assert!(error.retryable() && matches!(error.error, KvError::Conflict { .. }), "{error}");
}

/// Not said to be a read that was overtaken: the key had been locked.
fn is_lost_lock<T: std::fmt::Debug>(result: Result<T, TxnError>) {
    let error = result.unwrap_err();
    assert!(error.retryable() && matches!(error.error, KvError::LockLost { .. }), "{error}");
    assert!(error.other().is_some(), "{error}");
}

#[test]
fn what_has_not_read_yet_reads_at_its_first_statement() {
    for isolation in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted] {
        run(quiet(1), move |shards| async move {
            write(&shards, &[("a", "1")]).await;
            let txn = begin(&shards, isolation);
            write(&shards, &[("a", "2")]).await;
            txn.begin_statement();
            assert_eq!(get(&txn, "a", None).await.unwrap().as_deref(), Some("2"));
        });
    }
}

#[test]
fn repeatable_read_keeps_its_snapshot_and_commits_above_it() {
    run(quiet(2), |shards| async move {
        write(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = begin(&shards, Isolation::RepeatableRead);
        assert_eq!(rows(&txn, None).await.unwrap(), ["a=1", "i=1"]);
        write(&shards, &[("a", "2"), ("b", "2"), ("i", "")]).await;
        txn.begin_statement();
        assert_eq!(rows(&txn, None).await.unwrap(), ["a=1", "i=1"]);
        txn.put(key("q"), value("1"));
        assert!(!shards.seen().contains(&"refresh"));
        txn.commit().await.unwrap();
        assert!(!shards.seen().contains(&"refresh"));
    });
}

#[test]
fn repeatable_read_refuses_to_lock_what_has_changed_since() {
    run(quiet(3), |shards| async move {
        write(&shards, &[("a", "1"), ("b", "1"), ("i", "1")]).await;
        let changed = || begin(&shards, Isolation::RepeatableRead);
        let [updated, deleted, scanned, inserted] = [changed(), changed(), changed(), changed()];
        for txn in [&updated, &deleted, &scanned, &inserted] {
            get(txn, "q", None).await.unwrap();
        }
        write(&shards, &[("a", "2"), ("b", ""), ("c", "2")]).await;
        is_conflict(get(&updated, "a", exclusive()).await);
        updated.rollback();
        is_conflict(get(&deleted, "b", exclusive()).await);
        deleted.rollback();
        is_conflict(rows(&scanned, exclusive()).await);
        scanned.rollback();
        // What was not there is none of its business, but still in the way of another of that name.
        assert_eq!(get(&inserted, "c", exclusive()).await.unwrap(), None);
        assert_eq!(inserted.claim(&[key("c")], lock()).await.unwrap(), [Some(value("2"))]);
        is_conflict(inserted.claim_to_act(&[key("c")], lock()).await);
        // What is gone makes room.
        assert_eq!(inserted.claim(&[key("b")], lock()).await.unwrap(), [None]);
        inserted.put(key("b"), value("3"));
        assert_eq!(get(&inserted, "i", exclusive()).await.unwrap().as_deref(), Some("1"));
        inserted.commit().await.unwrap();
        assert_eq!(shards.value("b").as_deref(), Some("3"));
    });
}

#[test]
fn repeatable_read_that_locks_first_begins_there() {
    run(quiet(4), |shards| async move {
        write(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = begin(&shards, Isolation::RepeatableRead);
        write(&shards, &[("a", "2"), ("i", "2")]).await;
        assert_eq!(get(&txn, "a", exclusive()).await.unwrap().as_deref(), Some("2"));
        assert_eq!(rows(&txn, None).await.unwrap(), ["a=2", "i=2"]);
        txn.put(key("a"), value("3"));
        txn.commit().await.unwrap();
    });
}

/// What was locked is read as it was then, also by a transaction whose lock was lost with the shard's leader.
#[test]
fn a_transaction_that_locks_first_reads_on_as_of_its_lock() {
    for isolation in [Isolation::RepeatableRead, Isolation::Serializable] {
        run(quiet(5), move |shards| async move {
            write(&shards, &[("a", "1"), ("i", "1")]).await;
            let txn = begin(&shards, isolation);
            assert_eq!(get(&txn, "a", exclusive()).await.unwrap().as_deref(), Some("1"));
            let now = shards.now();
            shards.store.lock().move_leader(ShardId(1), NodeId(2), now);
            write(&shards, &[("a", "2"), ("i", "2")]).await;
            txn.begin_statement();
            assert_eq!(rows(&txn, None).await.unwrap(), ["a=1", "i=1"], "{isolation:?}");
            assert!(get(&txn, "i", exclusive()).await.unwrap_err().retryable());
            is_lost_lock(txn.commit().await);
        });
    }
}

#[test]
fn the_first_of_two_writers_wins_under_repeatable_read() {
    run(quiet(5), |shards| async move {
        write(&shards, &[("a", "1")]).await;
        let [one, two] = [(); 2].map(|()| begin(&shards, Isolation::RepeatableRead));
        for txn in [&one, &two] {
            get(txn, "a", None).await.unwrap();
            // Without a lock first: the commit alone must tell.
            txn.put(key("a"), value("2"));
        }
        one.commit().await.unwrap();
        is_conflict(two.commit().await);
    });
}

#[test]
fn read_committed_takes_a_snapshot_a_statement() {
    run(quiet(6), |shards| async move {
        write(&shards, &[("a", "1"), ("b", "1"), ("i", "1")]).await;
        let txn = begin(&shards, Isolation::ReadCommitted);
        assert_eq!(get(&txn, "i", None).await.unwrap().as_deref(), Some("1"));
        write(&shards, &[("a", "2"), ("b", ""), ("c", "2"), ("i", "2")]).await;
        // The same statement: rows of its snapshot, as they are now when they are locked.
        assert_eq!(rows(&txn, None).await.unwrap(), ["a=1", "b=1", "i=1"]);
        assert_eq!(rows(&txn, exclusive()).await.unwrap(), ["a=2", "i=2"]);
        assert_eq!(get(&txn, "c", exclusive()).await.unwrap(), None);
        assert_eq!(txn.claim_to_act(&[key("c")], lock()).await.unwrap(), [Some(value("2"))]);
        txn.begin_statement();
        assert_eq!(rows(&txn, None).await.unwrap(), ["a=2", "c=2", "i=2"]);
        txn.put(key("a"), value("3"));
        txn.commit().await.unwrap();
    });
}

#[test]
fn a_lock_lost_with_the_leader_is_found_at_every_level() {
    for isolation in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted] {
        run(quiet(7), move |shards| async move {
            write(&shards, &[("a", "1"), ("i", "1")]).await;
            let txn = begin(&shards, isolation);
            get(&txn, "a", exclusive()).await.unwrap();
            let now = shards.now();
            shards.store.lock().move_leader(ShardId(1), NodeId(2), now);
            write(&shards, &[("a", "2")]).await;
            txn.begin_statement();
            if isolation == Isolation::ReadCommitted {
                // Locked again, and newer: what was found under the lost lock is still not true any more.
                assert_eq!(get(&txn, "a", exclusive()).await.unwrap().as_deref(), Some("2"));
            }
            txn.put(key("a"), value("3"));
            is_lost_lock(txn.commit().await);
            assert_eq!(shards.value("a").as_deref(), Some("2"));
        });
    }
}

#[test]
fn nobody_overwrites_a_row_that_he_has_not_seen() {
    for isolation in [Isolation::RepeatableRead, Isolation::ReadCommitted] {
        run(quiet(8), move |shards| async move {
            write(&shards, &[("i", "1")]).await;
            let txn = begin(&shards, isolation);
            get(&txn, "i", None).await.unwrap();
            write(&shards, &[("a", "2")]).await;
            assert_eq!(get(&txn, "a", exclusive()).await.unwrap(), None);
            txn.put(key("a"), value("3"));
            is_conflict(txn.commit().await);
        });
    }
}
