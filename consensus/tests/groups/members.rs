//! Members come and go, fall behind and catch up.

use crate::{
    SECOND, bytes,
    common::{Cluster, SHARD, ms, replica, replicas, run},
};
use quorate_env::NodeId;
use quorate_proto::{KvError, Replica, ReplicaId, ReplicaRole};

#[test]
fn members_come_and_go_through_learners_and_joint_consensus() {
    run(5, |world| async move {
        let cluster = Cluster::new(world, 1..=5);
        cluster.found(SHARD, 1..=3).await;
        let _watch = cluster.watch_leases(SHARD);
        cluster.wait_leader(SHARD, SECOND).await;
        let mut written = Vec::new();
        for n in 0..20 {
            let value = format!("v{n}");
            cluster.write(SHARD, &value).await;
            written.push(value);
        }
        // Replace 1 by 4, and a follower by 5, whoever leads.
        for (out, new) in [(1, 4), (2, 5)] {
            cluster.learner(SHARD, &replica(new)).await;
            let present: Vec<u64> = members(&cluster);
            let wanted = replicas(present.iter().copied().filter(|n| *n != out).chain([new]));
            change(&cluster, wanted.clone()).await;
            let again = change(&cluster, wanted.clone()).await;
            assert_eq!(again, change(&cluster, wanted).await, "repeating changes nothing");
            let value = format!("without {out}");
            cluster.write(SHARD, &value).await;
            written.push(value);
        }
        let values: Vec<&str> = written.iter().map(String::as_str).collect();
        cluster.same_everywhere(SHARD, &[3, 4, 5], &values).await;
        for new in [4, 5] {
            assert_eq!(*cluster.machine(new, SHARD).restored.lock(), 1, "a new member gets a snapshot");
        }
        let mut left = members(&cluster);
        left.sort_unstable();
        assert_eq!(left, [3, 4, 5]);
        cluster.consensus(1).remove(SHARD).await.unwrap();
        // A learner stays one, and a demoted voter becomes one.
        let mut wanted = replicas([3, 4]);
        wanted.push(Replica { role: ReplicaRole::Learner, ..replica(5) });
        change(&cluster, wanted.clone()).await;
        cluster.write(SHARD, "two voters").await;
        let (leader, _) = cluster.wait_leader(SHARD, 3 * SECOND).await;
        let mut found = cluster.group(leader, SHARD).members().replicas;
        found.sort_by_key(|r| r.id);
        assert_eq!(found, wanted);
        cluster
            .eventually("the learner follows", SECOND, || {
                cluster.machine(5, SHARD).values().last() == Some(&bytes("two voters"))
            })
            .await;
    });
}

fn members(cluster: &Cluster) -> Vec<u64> {
    let (leader, _) = cluster.leader(SHARD).unwrap();
    cluster.group(leader, SHARD).members().replicas.iter().map(|r| r.node.0).collect()
}

async fn change(cluster: &Cluster, members: Vec<Replica>) -> quorate_proto::LogPosition {
    let until = cluster.world.elapsed() + 20 * SECOND;
    loop {
        if let Some((leader, _)) = cluster.leader(SHARD) {
            match cluster.group(leader, SHARD).change_members(members.clone()).await {
                Ok(position) => return position,
                Err(KvError::BadRequest { why }) => panic!("{why}"),
                Err(error) => println!("{error}"),
            }
        }
        assert!(cluster.world.elapsed() < until);
        cluster.world.sleep(ms(50)).await;
    }
}

#[test]
fn a_single_replica_grows_to_three_and_loses_its_first() {
    run(6, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, [1]).await;
        let _watch = cluster.watch_leases(SHARD);
        cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        assert!(cluster.group(1, SHARD).lease().is_some());
        for new in [2, 3] {
            cluster.learner(SHARD, &replica(new)).await;
        }
        change(&cluster, replicas(1..=3)).await;
        cluster.write(SHARD, "b").await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
        cluster.crash(1).await;
        cluster.write(SHARD, "c").await;
        cluster.restart(1).await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b", "c"]).await;
    });
}

#[test]
fn a_member_whose_log_was_trimmed_away_gets_a_snapshot() {
    run(7, |world| async move {
        let config = quorate_consensus::ConsensusConfig { keep_entries: 40, ..Default::default() };
        let cluster = Cluster::with_config(world, 1..=3, config);
        cluster.found(SHARD, 1..=3).await;
        let (leader, _) = cluster.wait_leader(SHARD, SECOND).await;
        let away = leader % 3 + 1;
        cluster.write(SHARD, "v").await;
        cluster.crash(away).await;
        for n in 0..300 {
            cluster.write(SHARD, &n.to_string()).await;
        }
        let third = (1..=3).find(|n| *n != leader && *n != away).unwrap();
        for node in [leader, third] {
            let before = cluster.group(node, SHARD).frontiers();
            assert!(before.trimmed.index <= 10, "F has not moved");
            cluster.flush(node, SHARD);
            cluster
                .eventually("the log is trimmed", 5 * SECOND, || {
                    cluster.group(node, SHARD).frontiers().trimmed.index > 200
                })
                .await;
        }
        cluster.restart(away).await;
        cluster
            .eventually("the snapshot arrives", 10 * SECOND, || {
                *cluster.machine(away, SHARD).restored.lock() == 1
            })
            .await;
        cluster.write(SHARD, "after").await;
        cluster
            .eventually("and the log after it", 5 * SECOND, || {
                cluster.machine(away, SHARD).values().len() == 302
            })
            .await;
        // What came by snapshot survives a crash as well.
        cluster.crash(away).await;
        cluster.restart(away).await;
        cluster
            .eventually("it is all there", 5 * SECOND, || cluster.machine(away, SHARD).values().len() == 302)
            .await;
    });
}

#[test]
fn a_black_holed_member_wedges_nothing_and_catches_up() {
    run(10, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        let hole = leader % 3 + 1;
        // Nothing reaches it any more; what it sends arrives.
        cluster.world.cut(NodeId(leader), NodeId(hole));
        let mut written = Vec::new();
        for n in 0..200 {
            let before = cluster.world.elapsed();
            let value = n.to_string();
            cluster.group(leader, SHARD).propose(term, bytes(&value)).await.unwrap();
            assert!(cluster.world.elapsed() - before < ms(50), "write {n}");
            written.push(value);
            cluster.world.sleep(ms(25)).await;
        }
        assert_eq!(cluster.leader(SHARD), Some((leader, term)), "pre-vote leaves the leader alone");
        assert!(cluster.group(leader, SHARD).lease().is_some());
        cluster.world.heal();
        let values: Vec<&str> = written.iter().map(String::as_str).collect();
        cluster.same_everywhere(SHARD, &[1, 2, 3], &values).await;
    });
}

#[test]
fn an_unknown_replica_id_is_not_taken_for_the_one_that_is_there() {
    run(12, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=2).await;
        cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        // The member that the group names is not the one that node 3 carries.
        let other = Replica { id: ReplicaId(999), ..replica(3) };
        cluster.learner(SHARD, &other).await;
        let (leader, _) = cluster.leader(SHARD).unwrap();
        let group = cluster.group(leader, SHARD);
        let change = cluster.env(leader).timeout(5 * SECOND, group.change_members(replicas(1..=3))).await;
        assert!(change.is_err(), "it cannot catch up");
        assert!(cluster.machine(3, SHARD).values().is_empty());
        cluster.write(SHARD, "b").await;
    });
}
