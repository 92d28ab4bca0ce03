//! What transactions see, and what they prove of it.

use crate::{
    put_all, quiet, rows,
    support::{FRUGAL, exclusive, key, run, run_as, value},
};
use futures::TryStreamExt;
use quorate_proto::{KvError, NodeId, Span};
use quorate_txn::{Isolation, ScanOptions, TxnConfig, TxnOptions};
use std::time::Duration;

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
        let reverse = ScanOptions { reverse: true, limit: Some(4), ..ScanOptions::default() };
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

/// Longer than any request is tried for.
#[test]
fn a_plain_read_waits_for_a_commit_that_is_under_way() {
    let two_phases = TxnConfig { parallel_commit: false, ..TxnConfig::default() };
    run_as(quiet(45), two_phases, |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        shards.faults.lock().late = Some(("decide", Duration::from_secs(3600)));
        let writer = shards.coordinator(1).begin(TxnOptions::default());
        ["a", "i"].iter().for_each(|k| writer.put(key(k), value("2")));
        let commit = async move { writer.commit().await.map(drop) };
        let _commit = shards.world.env(NodeId(1)).unwrap().spawn("test.commit", commit);
        let reader = shards.coordinator(2).clone();
        let read = async move { reader.begin(TxnOptions::default()).get(&key("a"), None).await };
        shards.world.sleep(Duration::from_secs(1)).await;
        shards.crash(NodeId(1)).await;
        let read = shards.world.env(NodeId(2)).unwrap().spawn("test.read", read);
        for _ in 0..40 {
            shards.world.sleep(Duration::from_secs(1)).await;
            let now = shards.now();
            // As if it had been heard of.
            shards.store.lock().met.values_mut().for_each(|met| *met = now);
        }
        assert!(!read.is_finished());
        // Nobody hears of it any more: whoever is in its way ends it.
        shards.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(read.join().await.unwrap().unwrap(), Some(value("1")));
    });
}
