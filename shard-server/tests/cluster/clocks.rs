//! Clocks that break the bound they promised: only real-time order may suffer, never isolation; and who knows that its own
//! one does is silent (PROTOCOL 21).

use super::harness::*;
use quorate_env::NodeId;
use quorate_proto::kv::{ReadRequest, ShardOp, ShardReply};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, ReplicaId, ShardId, Timestamp};
use std::time::Duration;

/// A read of the leader, whose clock turns out to be three seconds ahead of the others'.
async fn read(cluster: &Cluster, key: &str) -> Timestamp {
    let read_ts = cluster.now();
    cluster.servers.send(&Key::from(key), get_op(key, read_ts)).await.expect("the leader answers");
    read_ts
}

/// It dies, and what is written under its successor, whose clock has not come to the read's time, must stand above it.
async fn written_by_its_successor(cluster: &mut Cluster, key: &str, txn: u64) -> Timestamp {
    let (old, _, term) = cluster.leader(key).await;
    for other in (1..=3).filter(|node| *node != old) {
        cluster.sim.jump_clock(NodeId(other), -3_000_000);
    }
    cluster.crash(old).await;
    cluster.other_leader(key, old, term).await;
    // Until the clocks have been measured anew the nodes are fenced.
    for _ in 0..100 {
        let write = commit_op(txn, cluster.now(), key, "w");
        if let Ok(ShardReply::Committed(ts, _)) = cluster.servers.send(&Key::from(key), write).await {
            return ts;
        }
        cluster.sim.sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing can be written");
}

#[test]
fn a_new_leader_writes_above_what_a_clock_far_ahead_has_read() {
    for seed in 71..74 {
        run(seed, |mut cluster| async move {
            cluster.found(&[1, 2, 3]).await;
            cluster.put(1, "z", "v").await.unwrap();
            let read_ts = read(&cluster, "z").await;
            let ts = written_by_its_successor(&mut cluster, "z", 2).await;
            assert!(ts > read_ts, "{ts} is not above the read at {read_ts}");
        });
    }
}

/// The read was made before the split.
#[test]
fn a_new_leader_of_a_right_half_does_so_too() {
    for seed in 74..77 {
        run(seed, |mut cluster| async move {
            cluster.found(&[1, 2, 3]).await;
            cluster.put(1, "z", "v").await.unwrap();
            let (leader, ..) = cluster.leader("z").await;
            let read_ts = read(&cluster, "z").await;
            let right_replicas = vec![ReplicaId(11), ReplicaId(12), ReplicaId(13)];
            let (shard, at, right) = (ShardId::FIRST, Key::from("m"), ShardId(2));
            let split = ReplicaCommand::Split { shard, at, right, right_replicas, version: 1 };
            cluster.servers.command(leader, split).await.unwrap();
            let servers = cluster.servers.clone();
            let led = || servers.leader(&Key::from("z")).is_some_and(|(_, d, _)| d.id == right);
            let split = || (1..=3).all(|node| servers.get(node).descriptors().len() == 2);
            cluster.until("the right half is led, and everywhere", || led() && split()).await;
            let ts = written_by_its_successor(&mut cluster, "z", 2).await;
            assert!(ts > read_ts, "{ts} is not above the read at {read_ts}");
        });
    }
}

/// A follower that is asked about the past needs no lease, nor anybody else.
#[test]
fn a_replica_whose_clock_strays_answers_nothing() {
    run(77, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "z", "v").await.unwrap();
        let follower = cluster.leader("z").await.0 % 3 + 1;
        cluster.sim.sleep(Duration::from_secs(2)).await;
        let ShardOp::Read(read) = get_op("z", cluster.now().minus(Duration::from_secs(1))) else { panic!() };
        let read = ShardOp::Read(ReadRequest { follower: true, ..read });
        let answer = cluster.servers.send_to(follower, &shard, read.clone()).await;
        assert_eq!(value_of(answer.unwrap()).as_deref(), Some("v"));
        cluster.sim.jump_clock(NodeId(follower), -500_000);
        let env = cluster.sim.env(NodeId(follower)).unwrap();
        cluster.until("it is fenced", || env.clock().is_fenced()).await;
        let refused = cluster.servers.send_to(follower, &shard, read).await;
        assert!(matches!(refused, Err(KvError::ClockFenced { .. })), "{refused:?}");
    });
}
