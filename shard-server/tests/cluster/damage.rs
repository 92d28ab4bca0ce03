//! Blocks that do not read back: nothing of them is served, and the copy is replaced.

use super::harness::*;
use quorate_proto::kv::{ReadRequest, ShardOp};
use quorate_proto::placement::{ReplicaCommand, ReplicaReport};
use quorate_proto::{Key, KvError, NodeId, Replica, ReplicaId, ReplicaRole, ShardId};
use quorate_storage::Family;
use std::time::Duration;

/// Whether the first row of the node's engine reads back.
fn damage(cluster: &Cluster, node: u64, on: bool) {
    let engine = cluster.engine(node);
    let row = engine.dump().into_iter().find(|(family, ..)| *family == Family::Data);
    engine.corrupt(Family::Data, &row.expect("there are rows").1, on);
}

fn holds(cluster: &Cluster, node: u64) -> bool {
    let serves = |report: &ReplicaReport| report.shard == ShardId::FIRST && report.is_sound();
    cluster.servers.get(node).reports().iter().any(serves)
}

#[test]
fn a_damaged_copy_is_replaced_under_a_new_id() {
    run(181, |cluster| async move {
        let descriptor = cluster.found(&[1, 2, 3]).await;
        for n in 1..9 {
            cluster.put(n, &format!("k{n}"), "v").await.unwrap();
        }
        let (node, _, term) = cluster.leader("a").await;
        damage(&cluster, node, true);
        assert_eq!(cluster.get("k1").await.as_deref(), Some("v"));
        cluster.other_leader("a", node, term).await;
        cluster.until("it counts as lost", || !holds(&cluster, node)).await;
        cluster.put(20, "k1", "w").await.unwrap();

        let create = |id: u64| ReplicaCommand::CreateLearner {
            descriptor: descriptor.clone(),
            replica: Replica { id: ReplicaId(id), node: NodeId(node), role: ReplicaRole::Learner },
        };
        let refused = cluster.servers.command(node, create(node)).await;
        assert!(
            matches!(&refused, Err(KvError::BadRequest { why }) if why.contains("damaged")),
            "{refused:?}"
        );
        damage(&cluster, node, false);
        cluster.servers.command(node, create(node + 10)).await.unwrap();
        let mut members: Vec<Replica> =
            (1..=3).filter(|n| *n != node).map(|n| member(n, ReplicaRole::Voter)).collect();
        members.push(Replica { id: ReplicaId(node + 10), node: NodeId(node), role: ReplicaRole::Learner });
        cluster.change_members("a", members.clone()).await;
        members[2].role = ReplicaRole::Voter;
        assert_eq!(cluster.change_members("a", members).await.voters().count(), 3);
        cluster.put(21, "k2", "w").await.unwrap();
        let rows = |node| {
            let all = cluster.engine(node).dump();
            all.into_iter().filter(|(family, ..)| *family == Family::Data).collect::<Vec<_>>()
        };
        cluster.until("the copies are alike", || rows(1) == rows(2) && rows(2) == rows(3)).await;
        assert!(holds(&cluster, node));
    });
}

#[test]
fn a_damaged_follower_serves_nothing_and_the_others_go_on() {
    run(182, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "k", "v").await.unwrap();
        let (leader, _, term) = cluster.leader("k").await;
        let follower = leader % 3 + 1;
        cluster.sim.sleep(Duration::from_secs(2)).await;
        damage(&cluster, follower, true);
        let ShardOp::Read(read) = get_op("k", cluster.now().minus(Duration::from_secs(1))) else { panic!() };
        let read = ShardOp::Read(ReadRequest { follower: true, ..read });
        for _ in 0..3 {
            let refused = cluster.servers.send_to(follower, &shard, read.clone()).await;
            assert!(matches!(refused, Err(KvError::NotReady { .. })), "{refused:?}");
        }
        cluster.until("it counts as lost", || !holds(&cluster, follower)).await;
        cluster.put(2, "k", "w").await.unwrap();
        let (still, _, now) = cluster.leader("k").await;
        assert_eq!((still, now), (leader, term));
    });
}

/// Nobody could replace it.
#[test]
fn the_only_copy_stays_for_what_still_reads_back() {
    run(183, |cluster| async move {
        let shard = cluster.found(&[1]).await;
        cluster.put(1, "a", "v").await.unwrap();
        cluster.put(2, "b", "v").await.unwrap();
        damage(&cluster, 1, true);
        for _ in 0..2 {
            let met = cluster.servers.send_to(1, &shard, get_op("a", cluster.now())).await;
            assert!(matches!(met, Err(KvError::Internal { .. })), "{met:?}");
        }
        assert_eq!(cluster.get("b").await.as_deref(), Some("v"));
        assert!(holds(&cluster, 1) && cluster.servers.leader(&Key::from("a")).is_some());
    });
}
