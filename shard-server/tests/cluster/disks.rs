//! Disks that fill: new rows are refused in time, those that have space go on, and all goes on when there is some again.

use super::harness::*;
use quorate_env::NodeId;
use quorate_proto::kv::{ShardOp, ShardReply};
use quorate_proto::{KvError, Timestamp};
use quorate_storage::{Family, engine::mem::MemFault};
use std::time::Duration;

const RESERVE: u64 = 100;

/// What the node's look at its disk finds.
fn free(cluster: &Cluster, node: u64, bytes: u64) {
    cluster.sim.env(NodeId(node)).expect("it is up").space().tell(bytes, RESERVE, false);
}

/// Nothing can be written to it any more, and `free` says when it can.
fn stuck(cluster: &Cluster, node: u64, on: bool) {
    cluster.log(node).stall(on);
    cluster.engine(node).fail(MemFault::Full, on);
    let bytes = if on { 0 } else { 10 * RESERVE };
    cluster.sim.env(NodeId(node)).expect("it is up").space().tell(bytes, RESERVE, on);
}

fn delete_op(txn: u64, now: Timestamp, key: &str) -> ShardOp {
    let ShardOp::CommitLocal(mut commit) = commit_op(txn, now, key, "") else { panic!("a commit") };
    commit.writes[0].value = None;
    ShardOp::CommitLocal(commit)
}

/// Long enough for the nodes to hear of one another's disks.
async fn heard(cluster: &Cluster) {
    cluster.sim.sleep(Duration::from_secs(1)).await;
}

fn refused_for(outcome: Result<ShardReply, KvError>) -> Vec<u64> {
    match outcome {
        Err(KvError::DiskFull { nodes, .. }) => nodes.iter().map(|(node, _)| node.0).collect(),
        other => panic!("not refused for a full disk: {other:?}"),
    }
}

/// All replicas hold the same rows.
async fn converged(cluster: &Cluster) {
    let rows = |node| {
        let all = cluster.engine(node).dump();
        all.into_iter().filter(|(family, ..)| *family == Family::Data).collect::<Vec<_>>()
    };
    cluster.until("the replicas are alike", || rows(1) == rows(2) && rows(2) == rows(3)).await;
}

#[test]
fn a_full_leader_makes_way_for_one_with_space() {
    run(171, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "v").await.unwrap();
        let (leader, _, term) = cluster.leader("a").await;
        free(&cluster, leader, RESERVE / 2);
        cluster.put(2, "a", "w").await.unwrap();
        cluster.other_leader("a", leader, term).await;
        // It follows, and takes over again when nobody else can.
        converged(&cluster).await;
        free(&cluster, leader, 2 * RESERVE);
        cluster.put(3, "a", "x").await.unwrap();
        converged(&cluster).await;
    });
}

#[test]
fn a_leader_whose_log_is_stuck_makes_way_and_comes_back() {
    for seed in 172..176 {
        run(seed, |cluster| async move {
            cluster.found(&[1, 2, 3]).await;
            cluster.put(1, "a", "v").await.unwrap();
            let (leader, _, term) = cluster.leader("a").await;
            stuck(&cluster, leader, true);
            for n in 2..20 {
                cluster.put(n, &format!("k{n}"), "v").await.unwrap();
            }
            cluster.other_leader("a", leader, term).await;
            stuck(&cluster, leader, false);
            converged(&cluster).await;
        });
    }
}

/// Then no majority is left that could take new rows; what takes some away can go on for a while.
#[test]
fn rows_are_refused_unless_a_quorum_has_space() {
    run(176, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "v").await.unwrap();
        let (leader, ..) = cluster.leader("a").await;
        let mut others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        free(&cluster, others[0], RESERVE / 2);
        heard(&cluster).await;
        cluster.put(2, "b", "v").await.unwrap();
        free(&cluster, others[1], RESERVE / 2);
        heard(&cluster).await;
        assert_eq!(refused_for(cluster.put(3, "b", "w").await), others);
        assert_eq!(cluster.get("b").await.as_deref(), Some("v"));
        let key = quorate_proto::Key::from("b");
        let deleted = cluster.servers.send(&key, delete_op(4, cluster.now(), "b")).await;
        assert!(matches!(deleted, Ok(ShardReply::Committed(..))), "{deleted:?}");
        others.iter().for_each(|node| free(&cluster, *node, 0));
        heard(&cluster).await;
        assert_eq!(refused_for(cluster.servers.send(&key, delete_op(5, cluster.now(), "a")).await), others);
        others.push(leader);
        others.iter().for_each(|node| free(&cluster, *node, 10 * RESERVE));
        heard(&cluster).await;
        cluster.put(6, "b", "x").await.unwrap();
        converged(&cluster).await;
    });
}

#[test]
fn with_all_disks_full_reads_go_on_and_writes_are_refused() {
    run(177, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "v").await.unwrap();
        let (leader, ..) = cluster.leader("a").await;
        (1..=3).for_each(|node| stuck(&cluster, node, true));
        heard(&cluster).await;
        assert_eq!(refused_for(cluster.put(2, "a", "w").await), [leader]);
        cluster.sim.sleep(Duration::from_secs(60)).await;
        assert_eq!(refused_for(cluster.put(3, "a", "w").await), [leader]);
        assert_eq!(cluster.get("a").await.as_deref(), Some("v"));
        (1..=3).for_each(|node| stuck(&cluster, node, false));
        heard(&cluster).await;
        cluster.put(4, "a", "x").await.unwrap();
        assert_eq!(cluster.get("a").await.as_deref(), Some("x"));
        converged(&cluster).await;
    });
}
