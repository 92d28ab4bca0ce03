//! Copies come by snapshot and go without a trace.

use super::harness::*;
use quorate_proto::placement::{ReplicaCommand, ReplicaReply};
use quorate_proto::{Key, KvError, ReplicaId, ReplicaRole, ShardId};
use quorate_storage::{Engine, Family};

#[test]
fn a_copy_moves_to_another_node_and_the_old_one_is_destroyed() {
    run(5, |mut cluster| async move {
        let descriptor = cluster.found(&[1]).await;
        for n in 0..300 {
            cluster.put(n + 1, &format!("key{n:04}"), &"x".repeat(2000)).await.unwrap();
        }
        let now = cluster.now();
        cluster.servers.send(&Key::from("z"), prepare_op(900, "z", now, "z", "half")).await.unwrap();
        // The new copies start empty and receive a snapshot of several chunks; intents and records come along.
        for node in [2, 3] {
            let replica = member(node, ReplicaRole::Learner);
            let command = ReplicaCommand::CreateLearner { descriptor: descriptor.clone(), replica };
            cluster.servers.command(node, command.clone()).await.unwrap();
            cluster.servers.command(node, command).await.expect("twice is harmless");
        }
        let members = vec![member(2, ReplicaRole::Voter), member(3, ReplicaRole::Voter)];
        let change = |members: Vec<_>, config_epoch| ReplicaCommand::ChangeMembers {
            shard: ShardId::FIRST,
            config_epoch,
            members,
        };
        let stale = cluster.servers.command(1, change(members.clone(), 77)).await;
        assert!(matches!(stale, Err(KvError::StaleRoute { .. })), "{stale:?}");
        let all = vec![member(1, ReplicaRole::Voter), members[0].clone(), members[1].clone()];
        let reply = cluster.servers.command(1, change(all, 1)).await.unwrap();
        let ReplicaReply::Changed(now) = reply else { panic!("{reply:?}") };
        assert!(now[0].config_epoch > 1 && now[0].replicas.len() == 3, "{now:?}");
        let intents = |node| cluster.engine(node).dump().iter().filter(|row| row.0 == Family::Intent).count();
        cluster.until("the intent has come along", || intents(2) == 1 && intents(3) == 1).await;
        let to = ReplicaId(2);
        cluster
            .servers
            .command(1, ReplicaCommand::TransferLeader { shard: ShardId::FIRST, to })
            .await
            .unwrap();
        cluster.other_leader("a", 1, 0).await;
        let epoch = cluster.leader("a").await.1.config_epoch;
        let reply = cluster.servers.command(2, change(members.clone(), epoch)).await.unwrap();
        let ReplicaReply::Changed(left) = reply else { panic!("{reply:?}") };
        assert_eq!(left[0].replicas, members);

        let destroy = ReplicaCommand::Destroy { shard: ShardId::FIRST, replica: ReplicaId(1) };
        cluster.servers.command(1, destroy.clone()).await.unwrap();
        cluster.servers.command(1, destroy).await.expect("twice is harmless");
        let engine = cluster.engine(1);
        let rest = engine.dump();
        assert_eq!(rest.len(), 1, "only the note that it is gone is left: {:?}", rest.len());
        let back = ReplicaCommand::CreateLearner { descriptor, replica: member(1, ReplicaRole::Learner) };
        assert!(cluster.servers.command(1, back).await.is_err(), "a destroyed replica id never comes back");

        cluster.crash(1).await;
        assert_eq!(cluster.get("key0299").await.map(|v| v.len()), Some(2000));
        assert_eq!(cluster.get("z").await, None, "the intent came along and was recovered");
        let (leader, ..) = cluster.leader("a").await;
        let engines = (cluster.engine(2), cluster.engine(3));
        cluster.until("both copies hold the same", || data(&engines.0) == data(&engines.1)).await;
        assert!(leader != 1);
    });
}

fn data(engine: &quorate_storage::MemEngine) -> Vec<(Family, bytes::Bytes, bytes::Bytes)> {
    engine.dump().into_iter().filter(|(family, ..)| *family != Family::Meta).collect()
}

/// A shard that has flushed keeps F up with A, and an idle one flushes no more.
#[test]
fn the_flusher_follows_and_rests() {
    run(6, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "k", "v").await.unwrap();
        let engine = cluster.engine(1);
        assert!(engine.unflushed() > 0);
        let servers = cluster.servers.clone();
        cluster
            .until("flushed", || {
                servers.get(1).reports().iter().all(|r| r.frontiers.flushed == r.frontiers.applied)
            })
            .await;
        assert_eq!(engine.unflushed(), 0);
        assert!(engine.flush().is_ok());
    });
}
