//! Records of transactions: what goes on one replica goes on all, and no leader takes a late copy for a new transaction
//! (PROTOCOL 12). The clock stays below the deadlines, so that it has no say.

use super::harness::*;
use quorate_proto::kv::{Inquiry, QueryTxn, ShardOp, ShardReply, TxnState};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, ReplicaRole, ShardId, Timestamp};
use quorate_storage::{Engine, Family, meta};
use std::time::Duration;

/// A transaction that has committed, whose record has gone: its request and its deadline.
async fn forgotten(cluster: &Cluster) -> (ShardOp, Timestamp) {
    let now = cluster.now();
    let request = commit_op(1, now, "k", "a");
    let answer = cluster.servers.send(&Key::from("k"), request.clone()).await;
    assert!(matches!(answer, Ok(ShardReply::Committed(..))), "{answer:?}");
    let deadline = meta(1, "k", now).deadline;
    let (leader, ..) = cluster.leader("k").await;
    let follower = leader % 2 + 1;
    assert_eq!(cluster.servers.get(leader).forget_records(deadline.prev()).await, 0, "not yet");
    assert_eq!(cluster.servers.get(follower).forget_records(deadline).await, 0, "the leader's business");
    assert_eq!(cluster.servers.get(leader).forget_records(deadline).await, 1);
    assert_eq!(cluster.servers.get(leader).forget_records(deadline).await, 0);
    (request, deadline)
}

fn records(cluster: &Cluster, node: u64) -> usize {
    cluster.engine(node).snapshot().iter(Family::Record, &[], None, false).count()
}

fn threshold(cluster: &Cluster, node: u64) -> Option<Timestamp> {
    meta::get(&*cluster.engine(node).snapshot(), ShardId::FIRST, &meta::RECORD_THRESHOLD)
        .expect("memory can be read")
}

async fn refused(cluster: &Cluster, late: ShardOp, deadline: Timestamp) {
    let answer = cluster.servers.send(&Key::from("k"), late).await;
    assert!(matches!(answer, Err(KvError::Forgotten { .. })), "{answer:?}");
    let txn = quorate_proto::kv::TxnMeta { deadline, ..meta(1, "k", deadline) };
    let query = QueryTxn { txn: txn.id, anchor: Key::from("k"), why: Inquiry::End, meta: Some(txn) };
    let answer = cluster.servers.send(&Key::from("k"), ShardOp::QueryTxn(query)).await;
    assert_eq!(answer, Ok(ShardReply::Txn(TxnState::Unknown)));
    assert_eq!(cluster.get("k").await.as_deref(), Some("a"));
}

#[test]
fn no_leader_takes_a_late_copy_for_a_new_transaction() {
    run(44, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        let (request, deadline) = forgotten(&cluster).await;
        cluster.until("all have removed it", || (1..=3).all(|node| records(&cluster, node) == 0)).await;
        refused(&cluster, request.clone(), deadline).await;
        let (leader, _, term) = cluster.leader("k").await;
        cluster.crash(leader).await;
        cluster.other_leader("k", leader, term).await;
        refused(&cluster, request, deadline).await;
        cluster.up(leader).await;
        cluster.until("it knows again", || threshold(&cluster, leader) == Some(deadline)).await;
    });
}

#[test]
fn a_copy_that_comes_by_snapshot_inherits_the_threshold_of_records() {
    run(45, |cluster| async move {
        let descriptor = cluster.found(&[1, 2]).await;
        let (_, deadline) = forgotten(&cluster).await;
        let (leader, ..) = cluster.leader("k").await;
        let replica = member(3, ReplicaRole::Learner);
        let command = ReplicaCommand::CreateLearner { descriptor, replica };
        cluster.servers.command(3, command).await.unwrap();
        let members = (1..=3).map(|node| member(node, ReplicaRole::Voter)).collect();
        let change = ReplicaCommand::ChangeMembers { shard: ShardId::FIRST, config_epoch: 1, members };
        cluster.servers.command(leader, change).await.unwrap();
        cluster.until("the copy knows", || threshold(&cluster, 3) == Some(deadline)).await;
        cluster.sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(records(&cluster, 3), 0);
    });
}
