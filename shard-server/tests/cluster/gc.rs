//! Garbage collection: what is removed on one replica is removed on all, and none answers below the threshold (PROTOCOL 24).

use super::harness::*;
use quorate_proto::kv::{ReadRequest, ShardOp, ShardReply};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, ReplicaRole, ShardDescriptor, ShardId, Timestamp};
use quorate_storage::{Engine, Family, mvcc};
use std::time::Duration;

async fn committed(cluster: &Cluster, txn: u64, value: &str) -> Timestamp {
    match cluster.put(txn, "k", value).await {
        Ok(ShardReply::Committed(ts, _)) => ts,
        other => panic!("{other:?}"),
    }
}

async fn old_read(
    cluster: &Cluster,
    node: u64,
    to: &ShardDescriptor,
    at: Timestamp,
) -> Result<String, KvError> {
    let ShardOp::Read(read) = get_op("k", at) else { unreachable!() };
    let op = ShardOp::Read(ReadRequest { follower: true, ..read });
    let reply = cluster.servers.send_to(node, to, op).await?;
    Ok(value_of(reply).unwrap_or_default())
}

fn threshold(cluster: &Cluster, node: u64) -> Timestamp {
    let all = cluster.servers.get(node).gc_thresholds();
    all.into_iter().find(|(shard, _)| *shard == ShardId::FIRST).map(|(_, at)| at).unwrap_or_default()
}

async fn until_all_know(cluster: &Cluster, nodes: &[u64], at: Timestamp) {
    cluster
        .until("all replicas know the threshold", || nodes.iter().all(|n| threshold(cluster, *n) == at))
        .await;
}

fn versions(cluster: &Cluster, node: u64) -> Vec<Timestamp> {
    let engine = cluster.engine(node);
    let pairs = engine.snapshot().iter(Family::Data, &[], None, false).collect::<Vec<_>>();
    let version = |pair: Result<(bytes::Bytes, bytes::Bytes), _>| {
        let (key, _) = pair.expect("memory can be read");
        mvcc::split_data_key(&key).expect("a version").1
    };
    pairs.into_iter().map(version).collect()
}

fn refused(answer: Result<String, KvError>, at: Timestamp) {
    let Err(KvError::BelowGcThreshold { threshold, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(threshold, at);
}

#[test]
fn no_replica_answers_below_the_threshold_under_no_leader() {
    run(41, |mut cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        let (_, b, c) = (
            committed(&cluster, 1, "a").await,
            committed(&cluster, 2, "b").await,
            committed(&cluster, 3, "c").await,
        );
        cluster.sim.sleep(Duration::from_secs(2)).await;
        let (leader, _, term) = cluster.leader("k").await;
        let follower = leader % 3 + 1;
        assert_eq!(cluster.servers.get(follower).collect_garbage(b).await, 0, "the leader's business");
        assert_eq!(cluster.servers.get(leader).collect_garbage(b).await, 1);
        until_all_know(&cluster, &[1, 2, 3], b).await;
        cluster.until("all have removed it", || (1..=3).all(|n| versions(&cluster, n) == [c, b])).await;
        for node in 1..=3 {
            refused(old_read(&cluster, node, &shard, b.prev()).await, b);
            assert_eq!(old_read(&cluster, node, &shard, b).await.unwrap(), "b");
        }

        // The horizon may say what it likes: what is not closed yet is not collected.
        let d = committed(&cluster, 4, "d").await;
        let future = cluster.now().plus(Duration::from_secs(60));
        cluster.servers.get(leader).collect_garbage(future).await;
        assert!(threshold(&cluster, leader) < cluster.now());

        cluster.crash(leader).await;
        let (heir, shard, _) = cluster.other_leader("k", leader, term).await;
        let at = threshold(&cluster, heir);
        assert!(at >= b);
        refused(old_read(&cluster, heir, &shard, at.prev()).await, at);
        let late = cluster.servers.send(&Key::from("k"), commit_op(5, b, "k", "e")).await;
        let Ok(ShardReply::Committed(e, _)) = late else { panic!("{late:?}") };
        assert!(e > d && e > at, "whoever comes late goes above it");
        cluster.up(leader).await;
        cluster.sim.sleep(Duration::from_secs(3)).await;
        cluster.servers.get(heir).collect_garbage(e).await;
        until_all_know(&cluster, &[1, 2, 3], e).await;
        cluster.until("all have removed the rest", || (1..=3).all(|n| versions(&cluster, n) == [e])).await;
    });
}

#[test]
fn a_copy_that_comes_by_snapshot_inherits_the_threshold() {
    run(42, |cluster| async move {
        let descriptor = cluster.found(&[1, 2]).await;
        committed(&cluster, 1, "a").await;
        let b = committed(&cluster, 2, "b").await;
        cluster.sim.sleep(Duration::from_secs(2)).await;
        let (leader, ..) = cluster.leader("k").await;
        assert_eq!(cluster.servers.get(leader).collect_garbage(b).await, 1);
        let replica = member(3, ReplicaRole::Learner);
        let command = ReplicaCommand::CreateLearner { descriptor, replica };
        cluster.servers.command(3, command).await.unwrap();
        let members = (1..=3).map(|node| member(node, ReplicaRole::Voter)).collect();
        let change = ReplicaCommand::ChangeMembers { shard: ShardId::FIRST, config_epoch: 1, members };
        cluster.servers.command(leader, change).await.unwrap();
        until_all_know(&cluster, &[1, 2, 3], b).await;
        let (_, shard, _) = cluster.leader("k").await;
        let closed = || cluster.servers.get(3).closed().iter().any(|(_, at)| *at >= b);
        cluster.until("the copy closes", closed).await;
        refused(old_read(&cluster, 3, &shard, b.prev()).await, b);
        assert_eq!(old_read(&cluster, 3, &shard, b).await.unwrap(), "b");
    });
}
