//! Locks that transactions asked for, when leadership is handed over, and when it is lost.

use super::{harness::*, locking::*};
use quorate_proto::kv::{CommitLocal, Decision, LockMode, Resolve, ShardOp, WaitPolicy};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, NodeId, ReplicaId, ShardId, Span, TxnId};
use std::time::Duration;

fn transfer(to: u64) -> ReplicaCommand {
    ReplicaCommand::TransferLeader { shard: ShardId::FIRST, to: ReplicaId(to) }
}

async fn hand_over(cluster: &Cluster) -> u64 {
    let (old, _, term) = cluster.leader("k").await;
    let next = old % 3 + 1;
    cluster.servers.command(old, transfer(next)).await.expect("handed over");
    assert_eq!(cluster.other_leader("k", old, term).await.0, next);
    next
}

#[test]
fn locks_go_along_when_leadership_is_handed_over() {
    run(21, |mut cluster| async move {
        found(&mut cluster).await;
        cluster.put(1, "k", "v").await.unwrap();
        lock(&cluster, 2, "k", LockMode::Exclusive).await.unwrap();
        lock(&cluster, 2, "s", LockMode::Shared).await.unwrap();
        lock(&cluster, 3, "s", LockMode::Shared).await.unwrap();
        lock(&cluster, 4, "free", LockMode::Exclusive).await.unwrap();
        release(&cluster, 4, "free").await;
        for _ in 0..4 {
            hand_over(&cluster).await;
            let (two, three) = (Some(TxnId(2)), Some(TxnId(3)));
            assert_eq!(refused_by(&cluster, 5, "k", LockMode::Shared).await, two);
            assert!([two, three].contains(&refused_by(&cluster, 5, "s", LockMode::Exclusive).await));
            assert_eq!(refused_by(&cluster, 5, "s", LockMode::Shared).await, None);
            assert_eq!(refused_by(&cluster, 5, "free", LockMode::Exclusive).await, None);
            release(&cluster, 5, "k").await;
        }
        // Who holds it commits, and that ends it.
        let commit = commit_op(2, cluster.now(), "k", "w");
        cluster.servers.send(&Key::from("k"), commit).await.unwrap();
        assert_eq!(refused_by(&cluster, 6, "k", LockMode::Exclusive).await, None);
        assert_eq!(refused_by(&cluster, 6, "s", LockMode::Exclusive).await, Some(TxnId(3)));
    });
}

/// They take several entries.
#[test]
fn thousands_of_locks_go_along() {
    run(22, |mut cluster| async move {
        found(&mut cluster).await;
        let keys: Vec<String> = (0..3000).map(|n| format!("k{n:0>100}")).collect();
        let all = lock_op(alive(&cluster, 2), &keys, LockMode::Exclusive, WaitPolicy::NoWait);
        cluster.servers.send(&Key::from("k"), all).await.unwrap();
        hand_over(&cluster).await;
        for key in keys.iter().step_by(50).chain(keys.last()) {
            assert_eq!(refused_by(&cluster, 3, key, LockMode::Exclusive).await, Some(TxnId(2)), "{key}");
        }
        release(&cluster, 2, "k").await;
        for key in keys.iter().step_by(50) {
            assert_eq!(refused_by(&cluster, 3, key, LockMode::Exclusive).await, None, "{key}");
        }
    });
}

/// What it writes comes before the locks in the log, or not at all.
#[test]
fn a_garbage_collection_loses_no_locks() {
    run(26, |mut cluster| async move {
        found(&mut cluster).await;
        let keys: Vec<String> = (0..3000).map(|n| format!("k{n:0>100}")).collect();
        let all = lock_op(alive(&cluster, 2), &keys, LockMode::Exclusive, WaitPolicy::NoWait);
        cluster.servers.send(&Key::from("k"), all).await.unwrap();
        for round in 0..20u64 {
            for version in 0..2 {
                cluster.put(1000 + 2 * round + version, "garbage", "v").await.unwrap();
            }
            let horizon = cluster.now();
            cluster.sim.sleep(Duration::from_secs(1)).await;
            let server = cluster.servers.get(cluster.leader("k").await.0);
            let collecting = cluster.sim.spawn("collect", async move {
                quorate_env::time::sleep(Duration::from_micros(300 * round)).await;
                server.collect_garbage(horizon).await
            });
            hand_over(&cluster).await;
            collecting.join().await.unwrap();
            for key in [keys.first(), keys.last()].into_iter().flatten() {
                let holder = refused_by(&cluster, 3, key, LockMode::Exclusive).await;
                assert_eq!(holder, Some(TxnId(2)), "round {round}");
            }
        }
    });
}

/// Whenever it comes: at the old leader, at the new one, or in between.
#[test]
fn what_is_released_during_a_hand_over_is_free() {
    run(23, |mut cluster| async move {
        found(&mut cluster).await;
        for round in 0..60u64 {
            let (held, given) = (1000 + 2 * round, 1001 + 2 * round);
            lock(&cluster, held, "held", LockMode::Exclusive).await.unwrap();
            lock(&cluster, given, "given", LockMode::Exclusive).await.unwrap();
            let servers = cluster.servers.clone();
            let releasing = cluster.sim.spawn("release", async move {
                quorate_env::time::sleep(Duration::from_micros(200 * round)).await;
                servers.send(&Key::from("given"), release_op(given)).await
            });
            hand_over(&cluster).await;
            releasing.join().await.unwrap().expect("released");
            assert_eq!(refused_by(&cluster, 9, "given", LockMode::Exclusive).await, None, "round {round}");
            let holder = refused_by(&cluster, 9, "held", LockMode::Exclusive).await;
            assert_eq!(holder, Some(TxnId(u128::from(held))), "round {round}");
            release(&cluster, 9, "k").await;
            release(&cluster, held, "k").await;
        }
    });
}

/// One of the two goes away at some moment of the hand-over. Locks may be lost then, but what was given back stays so,
/// whoever leads next.
#[test]
fn what_was_released_since_is_not_taken_over() {
    for case in 0..32 {
        run(24, move |mut cluster| async move {
            found(&mut cluster).await;
            lock(&cluster, 2, "k", LockMode::Exclusive).await.unwrap();
            let (old, descriptor, _) = cluster.leader("k").await;
            let heir = old % 3 + 1;
            let servers = cluster.servers.clone();
            let handing =
                cluster.sim.spawn("hand over", async move { servers.command(old, transfer(heir)).await });
            cluster.sim.sleep(Duration::from_micros(400 * (case / 2))).await;
            let away = if case % 2 == 0 { old } else { heir };
            let others: Vec<NodeId> = (1..=4).filter(|node| *node != away).map(NodeId).collect();
            cluster.sim.partition(&[NodeId(away)], &others);
            cluster.sim.sleep(Duration::from_secs(4)).await;
            let (servers, to) = (cluster.servers.clone(), descriptor.clone());
            let early = async move { servers.send_to(old, &to, release_op(2)).await.is_ok() };
            let early = cluster.sim.spawn("release", early);
            cluster.sim.sleep(Duration::from_secs(1)).await;
            cluster.sim.heal();
            drop(handing.join().await);
            if !early.join().await.unwrap() {
                release(&cluster, 2, "k").await;
            }
            let (leader, _, term) = cluster.leader("k").await;
            assert_eq!(refused_by(&cluster, 3, "k", LockMode::Exclusive).await, None, "case {case}");
            release(&cluster, 3, "k").await;
            cluster.crash(leader).await;
            cluster.other_leader("k", leader, term).await;
            assert_eq!(refused_by(&cluster, 4, "k", LockMode::Exclusive).await, None, "case {case}");
        });
    }
}

/// PROTOCOL 13: nobody tells of a lock whose leader dies. What has happened since to the key is found out at commit.
#[test]
fn locks_die_with_their_leader_and_older_ones_do_not_come_back() {
    run(25, |mut cluster| async move {
        found(&mut cluster).await;
        lock(&cluster, 2, "k", LockMode::Exclusive).await.unwrap();
        let leader = hand_over(&cluster).await;
        let (_, _, term) = cluster.leader("k").await;
        release(&cluster, 2, "k").await;
        lock(&cluster, 3, "k", LockMode::Exclusive).await.unwrap();
        cluster.crash(leader).await;
        cluster.other_leader("k", leader, term).await;
        assert_eq!(refused_by(&cluster, 4, "k", LockMode::Exclusive).await, None);
    });
}

/// Versions do not tell; whoever leads next has learned it from the log, also of commits whose record is elsewhere.
#[test]
fn later_leaders_know_who_has_changed_a_row() {
    run(29, |mut cluster| async move {
        found(&mut cluster).await;
        let before = cluster.now();
        cluster.sim.sleep(Duration::from_millis(50)).await;
        cluster.put(2, "local", "v").await.unwrap();
        let ts = cluster.now();
        let at = Key::from("k");
        cluster.servers.send(&at, prepare_op(3, "k", ts, "k", "v")).await.unwrap();
        let resolve = Resolve { txn: TxnId(3), decision: Decision::Commit(ts), keys: vec![at.clone()] };
        cluster.servers.send(&at, ShardOp::Resolve(resolve)).await.unwrap();
        for crash in [false, false, true] {
            if crash {
                let (old, _, term) = cluster.leader("k").await;
                cluster.crash(old).await;
                cluster.other_leader("k", old, term).await;
            } else {
                hand_over(&cluster).await;
            }
            for (k, writer) in [("local", 2), ("k", 3)] {
                let ShardOp::CommitLocal(commit) = commit_op(9, cluster.now(), "z", "w") else {
                    unreachable!()
                };
                let refresh = vec![Span::point(&Key::from(k))];
                let commit = CommitLocal { refresh, read_ts: before, ..commit };
                match cluster.servers.send(&Key::from("z"), ShardOp::CommitLocal(commit)).await {
                    Err(KvError::Conflict { other, .. }) => assert_eq!(other, Some(TxnId(writer)), "{k}"),
                    other => panic!("{k} has changed: {other:?}"),
                }
            }
        }
    });
}
