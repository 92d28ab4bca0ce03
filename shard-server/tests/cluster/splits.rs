//! Splits under load and crashes (PROTOCOL 25).

use super::harness::*;
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId};
use quorate_storage::{Engine, meta};
use std::time::Duration;

fn split(at: &str) -> ReplicaCommand {
    let right_replicas = vec![ReplicaId(11), ReplicaId(12), ReplicaId(13)];
    let (shard, right, version) = (ShardId::FIRST, ShardId(2), 1);
    ReplicaCommand::Split { shard, at: Key::from(at), right, right_replicas, version }
}

#[test]
fn the_parents_leader_leads_the_right_half_and_a_restarted_follower_has_both() {
    run(7, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        for n in 0..20 {
            cluster.put(n + 1, &format!("k{n:02}"), "before").await.unwrap();
        }
        let (leader, old, _) = cluster.leader("k").await;
        cluster.servers.command(leader, split("k10")).await.unwrap();
        cluster.servers.command(leader, split("k10")).await.expect("twice is harmless");
        cluster.until("the right half is led", || servers_lead(&cluster, "k10")).await;
        assert_eq!(cluster.leader("k10").await.0, leader, "the parent's leader campaigns first");
        // A request by the old map is refused with both halves, wherever its key went.
        let request = quorate_proto::kv::ShardRequest {
            shard: old.id,
            version: old.version,
            config_epoch: old.config_epoch,
            op: get_op("k15", cluster.now()),
        };
        let answer = cluster.servers.get(leader).handle(request).await;
        let Err(KvError::StaleRoute { newer, .. }) = answer.result else { panic!("{:?}", answer.result) };
        assert!(newer.iter().any(|d| d.contains(&Key::from("k15")) && d.id == ShardId(2)), "{newer:?}");

        // A follower loses everything unflushed: it applies the split again, and the right half's log is still there.
        let follower = leader % 3 + 1;
        cluster.put(100, "k15", "after").await.unwrap();
        cluster.crash(follower).await;
        cluster.put(101, "k05", "after").await.unwrap();
        cluster.up(follower).await;
        let servers = cluster.servers.clone();
        cluster.until("both halves are back", || servers.get(follower).descriptors().len() == 2).await;
        cluster.crash(leader).await;
        assert_eq!(cluster.get("k15").await.as_deref(), Some("after"));
        assert_eq!(cluster.get("k05").await.as_deref(), Some("after"));
        assert_eq!(cluster.get("k19").await.as_deref(), Some("before"));
    });
}

/// Power fails before the split is flushed. The right half's log, with what was acknowledged since, is not begun anew.
#[test]
fn a_split_that_is_applied_again_leaves_the_right_halfs_log_alone() {
    run(11, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "k15", "before").await.unwrap();
        let (leader, ..) = cluster.leader("k").await;
        let follower = leader % 3 + 1;
        let lagging = follower % 3 + 1;
        cluster.servers.command(leader, split("k10")).await.unwrap();
        let servers = cluster.servers.clone();
        let everywhere = || (1..=3).all(|node| servers.get(node).descriptors().len() == 2);
        cluster
            .until("the right half is led, and everywhere", || everywhere() && servers_lead(&cluster, "k15"))
            .await;
        cluster.sim.partition(&[NodeId(lagging)], &[NodeId(leader), NodeId(follower)]);
        cluster.put(2, "k15", "after").await.unwrap();
        cluster.crash(follower).await;
        cluster.crash(leader).await;
        let engine = cluster.engine(follower);
        let lost = meta::get(&engine as &dyn Engine, ShardId(2), &meta::REPLICA).unwrap();
        assert_eq!(lost, None, "its split is lost with the crash");
        cluster.sim.heal();
        cluster.up(follower).await;
        assert_eq!(cluster.get("k15").await.as_deref(), Some("after"));
    });
}

/// A follower was away during the split: nobody else may create its copy of the right half before it has split itself.
#[test]
fn a_copy_of_overlapping_keys_is_created_by_the_split_only() {
    run(8, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "v").await.unwrap();
        let (leader, ..) = cluster.leader("a").await;
        let away = leader % 3 + 1;
        let third = away % 3 + 1;
        cluster.sim.partition(
            &[quorate_env::NodeId(away)],
            &[quorate_env::NodeId(leader), quorate_env::NodeId(third)],
        );
        cluster.servers.command(leader, split("m")).await.unwrap();
        cluster.until("the right half is led", || servers_lead(&cluster, "m")).await;
        let right = cluster.leader("m").await.1;
        let replica = right.replicas.iter().find(|r| r.node.0 == away).cloned().unwrap();
        let create = ReplicaCommand::CreateLearner { descriptor: right, replica };
        let refused = cluster.servers.command(away, create).await;
        assert!(matches!(refused, Err(KvError::NotReady { .. })), "{refused:?}");
        cluster.sim.heal();
        let servers = cluster.servers.clone();
        cluster.until("the split has reached it", || servers.get(away).descriptors().len() == 2).await;
        cluster.put(2, "z", "w").await.unwrap();
        cluster.crash(leader).await;
        assert_eq!(cluster.get("z").await.as_deref(), Some("w"));
        assert_eq!(cluster.get("a").await.as_deref(), Some("v"));
    });
}

/// A learner is brought up by a snapshot from after the split: no split makes its right half, so it is made by hand, once.
#[test]
fn a_right_half_that_no_split_made_is_made_unless_it_was_here() {
    run(10, |mut cluster| async move {
        let parent = cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "v").await.unwrap();
        cluster.put(2, "z", "w").await.unwrap();
        cluster.replace_disk(4);
        cluster.up(4).await;
        let learner = member(4, ReplicaRole::Learner);
        let create = |descriptor: &ShardDescriptor, replica: &Replica| ReplicaCommand::CreateLearner {
            descriptor: descriptor.clone(),
            replica: replica.clone(),
        };
        cluster.servers.command(4, create(&parent, &learner)).await.unwrap();
        let all = [1, 2, 3].map(NodeId);
        cluster.sim.partition(&[NodeId(4)], &all);
        let (leader, ..) = cluster.leader("a").await;
        let members = [parent.replicas.clone(), vec![learner]].concat();
        let change = ReplicaCommand::ChangeMembers { shard: parent.id, config_epoch: 1, members };
        cluster.servers.command(leader, change).await.unwrap();
        let right_replicas = [11, 12, 13, 14].map(ReplicaId).to_vec();
        let (at, right) = (Key::from("m"), ShardId(2));
        let version = parent.version;
        let split = ReplicaCommand::Split { shard: parent.id, at, right, right_replicas, version };
        cluster.servers.command(leader, split).await.unwrap();
        cluster.until("the right half is led", || servers_lead(&cluster, "m")).await;
        cluster.sim.heal();
        let servers = cluster.servers.clone();
        cluster.until("the learner has the left half", || servers.get(4).descriptors().len() == 1).await;
        let right = cluster.leader("m").await.1;
        let replica = right.replica_on(NodeId(4)).cloned().unwrap();
        cluster.servers.command(4, create(&right, &replica)).await.unwrap();
        cluster.until("and the right one", || servers.get(4).descriptors().len() == 2).await;
        // On a node that has lost all it had it may have promised something.
        cluster.crash(4).await;
        cluster.replace_disk(4);
        cluster.up(4).await;
        let refused = cluster.servers.command(4, create(&right, &replica)).await;
        assert!(matches!(refused, Err(KvError::BadRequest { .. })), "{refused:?}");
    });
}

/// Writers go on through a split; every acknowledged write is there afterwards, in the half that owns it.
#[test]
fn writes_go_on_through_a_split() {
    run(9, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        let mut writers = Vec::new();
        for w in 0..4u64 {
            let (servers, sim) = (cluster.servers.clone(), cluster.sim.clone());
            writers.push(cluster.sim.spawn("writer", async move {
                for n in 0..50u64 {
                    let key = format!("k{:03}", (w * 50 + n) * 7 % 200);
                    let now = sim.env(quorate_env::NodeId(1)).unwrap().clock().physical();
                    let op = commit_op(1000 + w * 50 + n, now, &key, &key);
                    servers.send(&Key::from(key.as_str()), op).await.expect("written");
                }
            }));
        }
        cluster.sim.sleep(Duration::from_millis(30)).await;
        let (leader, ..) = cluster.leader("k").await;
        cluster.servers.command(leader, split("k100")).await.unwrap();
        for writer in writers {
            writer.join().await.unwrap();
        }
        // The writers did not wait their commits out.
        cluster.sim.sleep(Duration::from_millis(50)).await;
        for n in 0..200 {
            let key = format!("k{n:03}");
            assert_eq!(cluster.get(&key).await.as_deref(), Some(key.as_str()));
        }
    });
}

fn servers_lead(cluster: &Cluster, key: &str) -> bool {
    cluster.servers.leader(&Key::from(key)).is_some_and(|(_, d, _)| d.id == ShardId(2))
}
