//! What bounds a commit in time: the lease of its schema, and the gateway's clock.

use crate::{
    quiet,
    support::{key, run, value},
};
use quorate_proto::{KvError, NodeId, Timestamp};
use quorate_txn::{Txn, TxnOptions};
use std::{sync::Arc, time::Duration};

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
