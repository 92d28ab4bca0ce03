//! Locks, from the statement that takes them to the end of their transaction.

use crate::{
    put_all, quiet,
    support::{exclusive, key, run, run_as, value},
};
use quorate_proto::{KvError, NodeId, ShardId};
use quorate_txn::{Isolation, TxnConfig, TxnOptions};
use std::time::Duration;

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
            assert!(matches!(error.error, KvError::LockLost { .. }), "{error}");
            assert_eq!(error.other(), Some(t2.id()), "{error}");
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
