//! Locks, from the statement that takes them to the end of their transaction.

use crate::{
    put_all, quiet,
    support::{FRUGAL, FakeShards, exclusive, key, run, run_as, value},
};
use quorate_proto::{
    KvError, NodeId, ShardId,
    kv::{LockMode, LockRequest, WaitPolicy},
};
use quorate_txn::{Isolation, Txn, TxnConfig, TxnOptions};
use std::time::Duration;

const LEVELS: [Isolation; 3] = [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted];

fn begin(shards: &FakeShards, node: u64, isolation: Isolation) -> Txn {
    let txn = shards.coordinator(node).begin(TxnOptions { isolation, ..TxnOptions::default() });
    txn.begin_statement();
    txn
}

async fn lock(txn: &Txn, keys: &[&str]) {
    let keys: Vec<_> = keys.iter().copied().map(key).collect();
    txn.get_many(&keys, exclusive()).await.unwrap();
}

/// What anybody holds, when the last of what goes has gone.
async fn held(shards: &FakeShards, txn: &Txn) -> Vec<String> {
    txn.released(Duration::from_secs(5)).await;
    let store = shards.store.lock();
    store.locks.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
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

/// Whether the gateway has heard of the merge or hears of it now.
#[test]
fn locks_are_given_back_to_whoever_has_their_keys_after_a_merge() {
    run(quiet(6), |shards| async move {
        put_all(&shards, &[("a", "1"), ("c", "1"), ("e", "1")]).await;
        for known in [true, false] {
            shards.store.lock().split(&key("d"));
            put_all(&shards, &[("e", "2")]).await;
            let txn = shards.coordinator(1).begin(TxnOptions::default());
            txn.get_many(&["e"].map(key), exclusive()).await.unwrap();
            assert_eq!(shards.store.lock().locks.len(), 1);
            shards.store.lock().merge(&key("d"));
            if known {
                put_all(&shards, &[("f", "2")]).await;
            }
            txn.rollback();
            txn.released(Duration::from_secs(5)).await;
            assert!(shards.store.lock().locks.is_empty(), "{known}: {:?}", shards.store.lock().locks);
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

#[test]
fn a_long_wait_is_one_wait_in_all_its_requests() {
    run(quiet(41), |shards| async move {
        put_all(&shards, &[("a", "1")]).await;
        let [owner, waiter] = [1, 2].map(|node| begin(&shards, node, Isolation::ReadCommitted));
        lock(&owner, &["a"]).await;
        let id = waiter.id();
        let waits = async move {
            lock(&waiter, &["a"]).await;
            waiter.rollback();
        };
        let waits = shards.world.env(NodeId(2)).unwrap().spawn("test.waits", waits);
        shards.world.sleep(Duration::from_secs(2)).await;
        let asked: Vec<_> = {
            let store = shards.store.lock();
            store.asked.iter().filter(|((txn, _), _)| *txn == id).map(|(_, at)| *at).collect()
        };
        assert!(asked.len() > 2 && asked.windows(2).all(|two| two[0] == two[1]), "{asked:?}");
        owner.rollback();
        waits.join().await.unwrap();
    });
}

/// Also over several shards, and however the rows are named.
#[test]
fn who_locks_the_same_rows_waits_in_one_line() {
    for seed in 40..50 {
        run(quiet(seed), |shards| async move {
            put_all(&shards, &[("a", "1"), ("i", "1"), ("r", "1")]).await;
            let mut lockers = Vec::new();
            for keys in [["a", "i", "r"], ["r", "i", "a"], ["i", "r", "a"], ["r", "a", "i"]] {
                let txn = begin(&shards, 1, Isolation::ReadCommitted);
                let locker = async move {
                    let keys: Vec<_> = keys.into_iter().map(key).collect();
                    let lock =
                        LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::Block(2000), firm: false };
                    let locked = txn.get_many(&keys, Some(lock)).await.map(drop);
                    txn.rollback();
                    locked
                };
                lockers.push(shards.world.env(NodeId(1)).unwrap().spawn("test.locks", locker));
            }
            for locker in lockers {
                locker.join().await.unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_savepoint_gives_back_what_was_locked_since_and_nothing_else() {
    run(quiet(30), |shards| async move {
        put_all(&shards, &[("a", "1"), ("c", "1"), ("i", "1")]).await;
        // One of the nodes keeps nothing in memory.
        for node in [1, FRUGAL.0] {
            for isolation in LEVELS {
                let txn = begin(&shards, node, isolation);
                lock(&txn, &["a", "r"]).await;
                txn.put(key("a"), value("2"));
                let outer = txn.savepoint();
                lock(&txn, &["c", "r"]).await;
                let inner = txn.savepoint();
                lock(&txn, &["c", "i", "none"]).await;
                txn.put(key("i"), value("2"));
                txn.rollback_to(inner);
                assert_eq!(held(&shards, &txn).await, ["a", "c", "r"], "{isolation:?}");
                lock(&txn, &["i", "r"]).await;
                txn.release(inner);
                txn.rollback_to(outer);
                assert_eq!(held(&shards, &txn).await, ["a", "r"], "{isolation:?}");
                lock(&txn, &["c"]).await;
                assert_eq!(held(&shards, &txn).await, ["a", "c", "r"], "{isolation:?}");
                txn.commit().await.unwrap();
                assert!(held(&shards, &txn).await.is_empty(), "{isolation:?}");
            }
        }
    });
}

/// The client has seen it, and another transaction has changed it since: neither could come before the other.
#[test]
fn what_was_read_under_a_lock_that_is_given_back_stays_read() {
    for isolation in LEVELS {
        run(quiet(31), move |shards| async move {
            put_all(&shards, &[("a", "1"), ("i", "1")]).await;
            let txn = begin(&shards, 1, isolation);
            let savepoint = txn.savepoint();
            assert_eq!(txn.get(&key("a"), exclusive()).await.unwrap(), Some(value("1")));
            txn.rollback_to(savepoint);
            assert!(held(&shards, &txn).await.is_empty());
            let other = begin(&shards, 2, isolation);
            assert_eq!(other.get(&key("i"), None).await.unwrap(), Some(value("1")));
            other.put(key("a"), value("2"));
            other.commit().await.unwrap();
            txn.begin_statement();
            let again = txn.get(&key("a"), None).await.unwrap();
            let committed = isolation == Isolation::ReadCommitted;
            assert_eq!(again, Some(value(if committed { "2" } else { "1" })), "{isolation:?}");
            txn.put(key("i"), value("2"));
            let result = txn.commit().await;
            match isolation {
                Isolation::Serializable => {
                    assert!(matches!(result.unwrap_err().error, KvError::Conflict { .. }));
                }
                _ => drop(result.unwrap()),
            }
        });
    }
}

/// The lock was lost before the transaction moved on and gave it back: what was read under it has not been proven on the way.
#[test]
fn a_lock_that_was_lost_before_it_was_given_back_is_found_at_commit() {
    run(quiet(32), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = begin(&shards, 1, Isolation::Serializable);
        let savepoint = txn.savepoint();
        assert_eq!(txn.get(&key("a"), exclusive()).await.unwrap(), Some(value("1")));
        let now = shards.now();
        shards.store.lock().move_leader(ShardId(1), NodeId(2), now);
        put_all(&shards, &[("a", "2"), ("i", "2")]).await;
        assert_eq!(txn.get(&key("i"), exclusive()).await.unwrap(), Some(value("2")));
        txn.rollback_to(savepoint);
        assert!(held(&shards, &txn).await.is_empty());
        txn.put(key("r"), value("1"));
        let error = txn.commit().await.unwrap_err();
        assert!(matches!(error.error, KvError::LockLost { .. }), "{error}");
    });
}

#[test]
fn a_statement_that_fails_leaves_no_locks_behind_its_savepoint() {
    run(quiet(33), |shards| async move {
        let other = begin(&shards, 2, Isolation::Serializable);
        lock(&other, &["c"]).await;
        let txn = begin(&shards, 1, Isolation::Serializable);
        lock(&txn, &["a"]).await;
        let savepoint = txn.savepoint();
        let nowait = Some(LockRequest { mode: LockMode::Exclusive, wait: WaitPolicy::NoWait, firm: false });
        let error = txn.get_many(&["b", "c"].map(key), nowait).await.unwrap_err();
        assert!(matches!(error.error, KvError::LockNotAvailable { .. }), "{error}");
        txn.rollback_to(savepoint);
        assert_eq!(held(&shards, &txn).await, ["a", "c"]);
        other.rollback();
        assert_eq!(held(&shards, &other).await, ["a"]);
        // What is left of it is told at the end, though the commit has nothing to do.
        txn.release(savepoint);
        txn.commit().await.unwrap();
        assert!(held(&shards, &txn).await.is_empty());
    });
}

/// A statement under READ COMMITTED that begins again keeps its place.
#[test]
fn writes_alone_can_be_undone() {
    run(quiet(34), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = begin(&shards, 1, Isolation::ReadCommitted);
        let outer = txn.savepoint();
        let statement = txn.savepoint();
        lock(&txn, &["a"]).await;
        txn.put(key("i"), value("2"));
        txn.rollback_writes_to(statement);
        txn.release(statement);
        assert_eq!((held(&shards, &txn).await, txn.buffered().0), (vec!["a".into()], 0));
        txn.rollback_to(outer);
        assert!(held(&shards, &txn).await.is_empty());
    });
}

#[test]
fn halves_of_a_split_hear_of_a_return_to_a_savepoint_too() {
    run(quiet(35), |shards| async move {
        put_all(&shards, &[("a", "1"), ("c", "1"), ("e", "1")]).await;
        for (at, heard) in [("e", true), ("c", false)] {
            let txn = begin(&shards, 1, Isolation::ReadCommitted);
            lock(&txn, &["b"]).await;
            let savepoint = txn.savepoint();
            lock(&txn, &["a", "c", "e"]).await;
            shards.store.lock().split(&key(at));
            if heard {
                put_all(&shards, &[("f", at)]).await;
            }
            txn.rollback_to(savepoint);
            assert_eq!(held(&shards, &txn).await, ["b"], "split at {at}");
            txn.rollback();
            assert!(held(&shards, &txn).await.is_empty());
        }
    });
}

/// Its shard cannot be reached: the transaction goes on, and what it locks anew then is not given back by what was said before.
#[test]
fn a_return_to_a_savepoint_waits_for_nobody_and_takes_no_new_lock_away() {
    run(quiet(36), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "1")]).await;
        let txn = begin(&shards, 1, Isolation::ReadCommitted);
        let savepoint = txn.savepoint();
        lock(&txn, &["i", "j"]).await;
        shards.world.partition(&[NodeId(1)], &[NodeId(2)]);
        txn.rollback_to(savepoint);
        txn.released(Duration::from_millis(10)).await;
        assert_eq!(shards.store.lock().locks.len(), 2, "nobody has been told");
        shards.world.heal();
        lock(&txn, &["i"]).await;
        // What is tried again until somebody has heard it comes behind that.
        shards.world.sleep(Duration::from_secs(12)).await;
        assert_eq!(held(&shards, &txn).await, ["i"]);
        txn.put(key("i"), value("2"));
        txn.commit().await.unwrap();
    });
}

#[test]
fn what_an_attempt_has_undone_takes_nothing_from_the_next() {
    run(quiet(37), |shards| async move {
        put_all(&shards, &[("i", "1")]).await;
        let first = begin(&shards, 1, Isolation::Serializable);
        let savepoint = first.savepoint();
        lock(&first, &["i"]).await;
        shards.world.partition(&[NodeId(1)], &[NodeId(2)]);
        first.rollback_to(savepoint);
        shards.world.heal();
        let next = first.restart();
        assert_eq!(next.id(), first.id());
        lock(&next, &["i"]).await;
        shards.world.sleep(Duration::from_secs(12)).await;
        assert_eq!(held(&shards, &next).await, ["i"]);
    });
}

/// Without the deadlock detector nobody knows whether those who wait stand in a circle (PROTOCOL 19).
#[test]
fn a_wait_that_nobody_looks_at_ends_and_no_other() {
    let config = TxnConfig { unwatched_wait: Duration::from_secs(3), ..TxnConfig::default() };
    run_as(quiet(50), config, |shards| async move {
        let holder = begin(&shards, 1, Isolation::ReadCommitted);
        lock(&holder, &["a"]).await;
        let wait = || {
            let waiter = begin(&shards, 2, Isolation::ReadCommitted);
            let waits = async move { waiter.get(&key("a"), exclusive()).await.map(drop) };
            shards.world.env(NodeId(2)).unwrap().spawn("test.waits", waits)
        };
        // Now and then is often enough.
        let watched = wait();
        for _ in 0..5 {
            shards.faults.lock().unwatched = true;
            shards.world.sleep(Duration::from_secs(2)).await;
            shards.faults.lock().unwatched = false;
            shards.world.sleep(Duration::from_millis(900)).await;
        }
        assert!(!watched.is_finished(), "its holder lives, and it is no circle");
        shards.faults.lock().unwatched = true;
        let unwatched = wait();
        shards.world.sleep(Duration::from_secs(4)).await;
        assert!(watched.is_finished() && unwatched.is_finished(), "nobody looks");
        for waited in [watched, unwatched] {
            let error = waited.join().await.unwrap().expect_err("it may be a circle");
            assert!(matches!(error.error, KvError::WaitUnwatched { .. }), "{error}");
        }
        shards.faults.lock().unwatched = false;
        let last = wait();
        shards.world.sleep(Duration::from_secs(1)).await;
        holder.rollback();
        last.join().await.unwrap().expect("the lock is free");
    });
}

/// PROTOCOL 18: who lives keeps its record alive, however long it does nothing.
#[test]
fn who_lives_keeps_its_locks_and_who_dies_does_not() {
    run(quiet(51), |shards| async move {
        put_all(&shards, &[("a", "1")]).await;
        let holder = begin(&shards, 1, Isolation::RepeatableRead);
        lock(&holder, &["a"]).await;
        let waiter = begin(&shards, 2, Isolation::ReadCommitted);
        let waits = async move { waiter.get(&key("a"), exclusive()).await };
        let waits = shards.world.env(NodeId(2)).unwrap().spawn("test.waits", waits);
        // Four times as long as one who is silent is waited for.
        shards.world.sleep(Duration::from_secs(8)).await;
        assert!(!waits.is_finished());
        holder.put(key("a"), value("2"));
        holder.commit().await.expect("nobody has ended it");
        assert_eq!(waits.join().await.unwrap().unwrap(), Some(value("2")));

        let dies = begin(&shards, 1, Isolation::RepeatableRead);
        lock(&dies, &["i"]).await;
        shards.world.sleep(Duration::from_secs(4)).await;
        shards.crash(NodeId(1)).await;
        let heir = begin(&shards, 2, Isolation::ReadCommitted);
        let found = heir.get(&key("i"), exclusive()).await;
        assert_eq!(found.expect("nobody keeps the lock"), None);
    });
}
