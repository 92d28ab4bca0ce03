//! Groups that have nothing to do.

use crate::{
    SECOND, bytes,
    common::{Cluster, SHARD, ms, replica, replicas, run},
};
use quorate_consensus::ConsensusConfig;
use quorate_env::NodeId;
use quorate_proto::ShardId;

/// A heartbeat is acknowledged by a member that lacks entries, too: it follows on what the member has.
#[test]
fn a_group_does_not_go_quiet_before_its_members_hold_the_whole_log() {
    for seed in 0..3 {
        run(seed, |world| async move {
            let config = ConsensusConfig { quiet_after: ms(500), ..ConsensusConfig::default() };
            let cluster = Cluster::with_config(world, 1..=3, config);
            cluster.found(SHARD, 1..=3).await;
            let (leader, _) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            let lagging = leader % 3 + 1;
            // Long enough to lose the append, too short to lose the promise.
            cluster.world.cut(NodeId(leader), NodeId(lagging));
            cluster.write(SHARD, "b").await;
            cluster.world.sleep(ms(150)).await;
            cluster.world.heal();
            let group = cluster.group(leader, SHARD);
            cluster.eventually("the group is quiet", 10 * SECOND, || group.is_quiet()).await;
            // What it was told last may still be on its way through its disk.
            cluster.world.sleep(ms(50)).await;
            assert_eq!(cluster.machine(lagging, SHARD).values(), ["a", "b"], "{}", cluster.describe(SHARD));
        });
    }
}

#[test]
fn a_quiet_group_keeps_its_lease_and_wakes_for_a_write() {
    run(8, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let watch = cluster.watch_leases(SHARD);
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        cluster.world.sleep(10 * SECOND).await;
        let group = cluster.group(leader, SHARD);
        for node in 1..=3 {
            assert!(cluster.group(node, SHARD).is_quiet(), "node {node}");
        }
        for _ in 0..600 {
            cluster.world.sleep(ms(100)).await;
            assert!(group.lease().is_some());
            assert!(group.is_quiet());
            assert_eq!(cluster.leader(SHARD), Some((leader, term)));
        }
        assert!(watch.share() > 0.98, "{}", watch.share());
        let before = cluster.world.elapsed();
        group.propose(term, bytes("b")).await.unwrap();
        assert!(cluster.world.elapsed() - before < ms(10), "one heartbeat round more, no timeout");
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
        cluster.world.sleep(10 * SECOND).await;
        assert!(group.is_quiet());
        cluster.crash(leader).await;
        cluster.wait_leader_if(SHARD, 2 * SECOND, |_, t| t > term).await;
    });
}

/// openraft wants a quorum's word that a quiet group does not have, though its leader's lease stands.
#[test]
fn a_quiet_group_takes_a_new_member() {
    run(20, |world| async move {
        let cluster = Cluster::new(world, 1..=4);
        cluster.found(SHARD, 1..=3).await;
        let (leader, _) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        cluster.world.sleep(10 * SECOND).await;
        let group = cluster.group(leader, SHARD);
        assert!(group.is_quiet() && group.lease().is_some());
        cluster.learner(SHARD, &replica(4)).await;
        let before = cluster.world.elapsed();
        group.change_members(replicas(1..=4)).await.unwrap();
        assert!(cluster.world.elapsed() - before < SECOND, "{:?}", cluster.world.elapsed() - before);
        cluster.same_everywhere(SHARD, &[1, 2, 3, 4], &["a"]).await;
    });
}

#[test]
fn a_member_that_restarts_is_told_of_a_quiet_group() {
    run(9, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        cluster.world.sleep(6 * SECOND).await;
        let member = leader % 3 + 1;
        cluster.crash(member).await;
        cluster.world.sleep(10 * SECOND).await;
        assert!(cluster.group(leader, SHARD).is_quiet(), "a dead member does not keep it awake");
        assert!(cluster.group(leader, SHARD).lease().is_some());
        cluster.restart(member).await;
        cluster
            .eventually("it knows the leader", 2 * SECOND, || {
                cluster.group(member, SHARD).leadership().borrow().leader.is_some()
            })
            .await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a"]).await;
        cluster.world.sleep(8 * SECOND).await;
        assert!(cluster.group(leader, SHARD).is_quiet());
        assert_eq!(cluster.leader(SHARD), Some((leader, term)), "the leadership was not disturbed");
    });
}

/// The promises of a node are for all its replicas: as long as it answers, its members' votes are bound.
#[test]
fn a_leader_that_stops_while_its_node_lives_on_is_succeeded() {
    for told in [true, false] {
        run(21, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            // Nodes without a group in common promise one another nothing.
            cluster.found(ShardId(8), 1..=3).await;
            let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            cluster.world.sleep(10 * SECOND).await;
            let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
            if !told {
                others.iter().for_each(|other| cluster.world.cut(NodeId(leader), NodeId(*other)));
            }
            cluster.group(leader, SHARD).stop().await;
            cluster.world.sleep(ms(100)).await;
            cluster.world.heal();
            if !told {
                cluster.world.sleep(10 * SECOND).await;
                assert_eq!(cluster.leader(SHARD), None, "nobody has noticed");
                cluster.group(others[0], SHARD).doubt_leader();
                cluster.group(others[1], SHARD).doubt_leader();
            }
            cluster.wait_leader_if(SHARD, 2 * SECOND, |_, t| t > term).await;
        });
    }
}
