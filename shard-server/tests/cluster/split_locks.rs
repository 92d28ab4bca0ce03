//! Locks that transactions asked for, when their shard is split (PROTOCOL 25).

use super::{harness::*, locking::*};
use quorate_env::sim::NetworkFaults;
use quorate_proto::kv::{Check, CheckKind, CommitLocal, LockMode, ShardOp, ShardReply};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, NodeId, ReplicaId, ShardId, TxnId};
use std::time::Duration;

/// Of the first shard, at its present version.
fn split(at: &str, right: u64, version: u64) -> ReplicaCommand {
    let right_replicas = (1..=3).map(|node| ReplicaId(10 * right + node)).collect();
    let (shard, right) = (ShardId::FIRST, ShardId(right));
    ReplicaCommand::Split { shard, at: Key::from(at), right, right_replicas, version }
}

fn led(cluster: &Cluster, key: &str, shard: u64) -> Option<u64> {
    let leader = cluster.servers.leader(&Key::from(key));
    leader.filter(|(_, descriptor, _)| descriptor.id == ShardId(shard)).map(|(node, ..)| node.0)
}

/// The parent's leader is cut off between its split and its election.
#[test]
fn whoever_leads_the_right_half_first_has_its_locks() {
    for seed in 61..64 {
        run(seed, |mut cluster| async move {
            found(&mut cluster).await;
            cluster.put(1, "s", "v").await.unwrap();
            lock(&cluster, 2, "k", LockMode::Exclusive).await.unwrap();
            lock(&cluster, 2, "s", LockMode::Exclusive).await.unwrap();
            lock(&cluster, 3, "t", LockMode::Shared).await.unwrap();
            lock(&cluster, 4, "free", LockMode::Exclusive).await.unwrap();
            lock(&cluster, 4, "u", LockMode::Exclusive).await.unwrap();
            release(&cluster, 4, "u").await;
            let (old, ..) = cluster.leader("k").await;
            let servers = cluster.servers.clone();
            let splitting =
                cluster.sim.spawn("split", async move { servers.command(old, split("m", 2, 1)).await });
            while cluster.servers.get(old).descriptors().len() < 2 {
                cluster.sim.sleep(Duration::from_micros(20)).await;
            }
            let others: Vec<NodeId> = (1..=4).filter(|node| *node != old).map(NodeId).collect();
            cluster.sim.partition(&[NodeId(old)], &others);
            cluster.until("the right half is led", || led(&cluster, "s", 2).is_some()).await;
            assert_ne!(led(&cluster, "s", 2), Some(old), "it was cut off before");
            let (two, three) = (Some(TxnId(2)), Some(TxnId(3)));
            assert_eq!(refused_by(&cluster, 5, "s", LockMode::Shared).await, two);
            assert_eq!(refused_by(&cluster, 5, "t", LockMode::Exclusive).await, three);
            assert_eq!(refused_by(&cluster, 5, "t", LockMode::Shared).await, None);
            assert_eq!(refused_by(&cluster, 5, "u", LockMode::Exclusive).await, None);
            release(&cluster, 2, "s").await;
            assert_eq!(refused_by(&cluster, 6, "s", LockMode::Exclusive).await, None);
            cluster.sim.heal();
            drop(splitting.join().await);
        });
    }
}

/// Its votes come late. Had another campaigned meanwhile, each might lead in turn, and the second would not have the locks.
#[test]
fn the_parents_leader_is_left_time_to_lead_the_right_half() {
    for seed in 67..73 {
        run(seed, |mut cluster| async move {
            found(&mut cluster).await;
            lock(&cluster, 2, "s", LockMode::Exclusive).await.unwrap();
            let (leader, ..) = cluster.leader("k").await;
            let delay = Duration::from_millis(15)..Duration::from_millis(40);
            cluster.sim.set_network(NetworkFaults { delay, ..NetworkFaults::default() });
            cluster.servers.command(leader, split("m", 2, 1)).await.unwrap();
            cluster.until("the right half is led", || led(&cluster, "s", 2).is_some()).await;
            cluster.sim.sleep(Duration::from_secs(2)).await;
            let (first, _, term) = cluster.leader("s").await;
            assert_eq!((first, term), (leader, 1));
            assert_eq!(refused_by(&cluster, 5, "s", LockMode::Shared).await, Some(TxnId(2)));
        });
    }
}

/// Whenever it comes: at the parent, at the right half, or in between; by a message, or by the end of the transaction.
#[test]
fn what_is_given_back_during_a_split_is_free() {
    run(64, |mut cluster| async move {
        found(&mut cluster).await;
        for round in 0..50u64 {
            let (held, given, ended) = (1000 + 3 * round, 1001 + 3 * round, 1002 + 3 * round);
            let key = |what: &str| format!("r{:02}-{what}", 60 - round);
            for (txn, what) in [(held, "held"), (given, "given"), (ended, "ended")] {
                lock(&cluster, txn, &key(what), LockMode::Exclusive).await.unwrap();
            }
            let pause = Duration::from_micros(200 * round);
            let (servers, place) = (cluster.servers.clone(), Key::from(key("given").as_str()));
            let releasing = cluster.sim.spawn("release", async move {
                quorate_env::time::sleep(pause).await;
                servers.send(&place, release_op(given)).await
            });
            let (servers, place) = (cluster.servers.clone(), Key::from(key("ended").as_str()));
            let commit = commit_elsewhere(&cluster, ended, &place);
            let committing = cluster.sim.spawn("commit", async move {
                quorate_env::time::sleep(pause).await;
                match servers.send(&Key::from("a"), commit).await {
                    Ok(ShardReply::Committed(..)) => {}
                    // What it has written and what it has locked are in two shards by now.
                    _ => drop(servers.send(&place, release_op(ended)).await.expect("released")),
                }
            });
            let (leader, ..) = cluster.leader("a").await;
            cluster.sim.sleep(Duration::from_millis(4)).await;
            let split = split(&format!("r{:02}", 60 - round), 2 + round, 1 + round);
            cluster.servers.command(leader, split).await.unwrap();
            releasing.join().await.unwrap().expect("released");
            committing.join().await.unwrap();
            for what in ["ended", "given"] {
                let holder = refused_by(&cluster, 9, &key(what), LockMode::Exclusive).await;
                assert_eq!(holder, None, "{what} in round {round}");
            }
            let holder = refused_by(&cluster, 9, &key("held"), LockMode::Exclusive).await;
            assert_eq!(holder, Some(TxnId(u128::from(held))), "round {round}");
        }
    });
}

/// None of them is lost: the split is tried again until they are few.
#[test]
fn a_split_waits_while_more_is_locked_than_it_can_take_along() {
    run(66, |mut cluster| async move {
        found(&mut cluster).await;
        let key = |at: u64| format!("s{at:03}{}", "x".repeat(16 << 10));
        for at in 0..300 {
            lock(&cluster, 2, &key(at), LockMode::Exclusive).await.unwrap();
        }
        lock(&cluster, 3, "t", LockMode::Exclusive).await.unwrap();
        let (leader, ..) = cluster.leader("k").await;
        let refused = cluster.servers.command(leader, split("m", 2, 1)).await;
        assert!(matches!(refused, Err(KvError::NotReady { .. })), "{refused:?}");
        assert_eq!(refused_by(&cluster, 4, &key(299), LockMode::Shared).await, Some(TxnId(2)));
        // A split that leaves them where they are has nothing to take along.
        cluster.servers.command(leader, split("s9", 3, 1)).await.unwrap();
        release(&cluster, 2, &key(0)).await;
        cluster.servers.command(leader, split("m", 2, 2)).await.unwrap();
        assert_eq!(refused_by(&cluster, 4, "t", LockMode::Shared).await, Some(TxnId(3)));
        assert_eq!(refused_by(&cluster, 4, &key(0), LockMode::Shared).await, None);
    });
}

/// Writes to the left half what rests on a lock in the right one.
fn commit_elsewhere(cluster: &Cluster, txn: u64, locked: &Key) -> ShardOp {
    let now = cluster.now();
    let ShardOp::CommitLocal(commit) = commit_op(txn, now, "a", "v") else { unreachable!() };
    let check = Check { key: locked.clone(), kind: CheckKind::UnchangedSince(now) };
    ShardOp::CommitLocal(CommitLocal { checks: vec![check], ..commit })
}

/// Not under whoever leads later, nor under one that has applied the split again since.
#[test]
fn what_was_given_back_at_the_right_half_does_not_come_back() {
    run(65, |mut cluster| async move {
        found(&mut cluster).await;
        lock(&cluster, 2, "s", LockMode::Exclusive).await.unwrap();
        let (leader, ..) = cluster.leader("k").await;
        cluster.servers.command(leader, split("m", 2, 1)).await.unwrap();
        cluster.until("the right half is led", || led(&cluster, "s", 2).is_some()).await;
        assert_eq!(refused_by(&cluster, 3, "s", LockMode::Shared).await, Some(TxnId(2)));
        release(&cluster, 2, "s").await;
        for round in 0..6 {
            let (leader, _, term) = cluster.leader("s").await;
            cluster.crash(leader).await;
            cluster.other_leader("s", leader, term).await;
            assert_eq!(refused_by(&cluster, 4, "s", LockMode::Exclusive).await, None, "round {round}");
            release(&cluster, 4, "s").await;
            cluster.up(leader).await;
            let servers = cluster.servers.clone();
            cluster.until("both halves are back", || servers.get(leader).descriptors().len() == 2).await;
            cluster.sim.sleep(Duration::from_secs(1)).await;
        }
    });
}
