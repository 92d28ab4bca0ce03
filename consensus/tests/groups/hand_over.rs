//! Leadership that is given to another.

use crate::{
    SECOND,
    common::{Cluster, LeaseWatch, SHARD, ms, replica, run},
    others_than,
};
use quorate_env::{
    NodeId,
    sim::{NetworkFaults, SimWorld},
};
use quorate_proto::KvError;
use std::time::Duration;

/// A group of three that has written "a", its leases watched from the start; who leads it, and in which term.
async fn led(world: SimWorld) -> (Cluster, LeaseWatch, u64, u64) {
    let cluster = Cluster::new(world, 1..=3);
    cluster.found(SHARD, 1..=3).await;
    let watch = cluster.watch_leases(SHARD);
    let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
    cluster.write(SHARD, "a").await;
    (cluster, watch, leader, term)
}

#[test]
fn leadership_is_handed_over_and_the_giver_keeps_no_lease() {
    for seed in 0..4 {
        run(seed, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let _watch = cluster.watch_leases(SHARD);
            let (mut leader, mut term) = cluster.wait_leader(SHARD, SECOND).await;
            for round in 0..6 {
                cluster.write(SHARD, &format!("v{round}")).await;
                if round % 2 == 1 {
                    cluster.world.sleep(5 * SECOND).await;
                    assert!(cluster.group(leader, SHARD).is_quiet());
                }
                let heir = leader % 3 + 1;
                let group = cluster.group(leader, SHARD);
                assert!(group.lease().is_some());
                let before = cluster.world.elapsed();
                let (done, ()) = tokio::join!(group.transfer(replica(heir).id), async {
                    cluster.world.sleep(Duration::from_micros(1)).await;
                });
                done.unwrap();
                assert!(cluster.world.elapsed() - before < ms(200));
                assert!(group.lease().is_none());
                let (next, newer) = cluster.wait_leader_if(SHARD, SECOND, |_, t| t > term).await;
                assert_eq!(next, heir);
                (leader, term) = (next, newer);
            }
            let others = (1..=3).filter(|n| *n != leader);
            for other in others {
                assert!(matches!(
                    cluster.group(other, SHARD).transfer(replica(other).id).await,
                    Err(KvError::NotLeader { .. })
                ));
            }
        });
    }
}

/// PROTOCOL 2: the heir is elected by the third member, and the giver does not even hear of that.
#[test]
fn a_giver_that_hears_nothing_more_has_no_lease_all_the_same() {
    for seed in 0..3 {
        run(seed, |world| async move {
            let (cluster, _watch, giver, term) = led(world).await;
            cluster.world.sleep(SECOND).await;
            let group = cluster.group(giver, SHARD);
            assert!(group.lease().is_some());
            for other in others_than(giver) {
                cluster.world.cut(NodeId(other), NodeId(giver));
            }
            let heir = giver % 3 + 1;
            let (_, ()) = tokio::join!(group.transfer(replica(heir).id), async {
                let (next, _) = cluster.wait_leader_if(SHARD, SECOND, |_, t| t > term).await;
                assert_eq!((next, group.lease()), (heir, None));
            });
            cluster.world.heal();
            cluster.write(SHARD, "b").await;
            cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
        });
    }
}

/// openraft refuses writes for good once it has begun to hand over; here nobody hears of it.
#[test]
fn a_hand_over_whose_messages_are_lost_does_not_leave_a_leader_that_refuses_all() {
    for seed in 0..3 {
        run(seed, |world| async move {
            let (cluster, _watch, leader, term) = led(world).await;
            cluster.world.sleep(SECOND).await;
            let others: Vec<NodeId> = (1..=3).filter(|n| *n != leader).map(NodeId).collect();
            let group = cluster.group(leader, SHARD);
            cluster.world.partition(&[NodeId(leader)], &others);
            let (handed, ()) = tokio::join!(group.transfer(replica(leader % 3 + 1).id), async {
                // Healed before the promises to the leader's node run out.
                cluster.world.sleep(ms(400)).await;
                cluster.world.heal();
            });
            println!("seed {seed}: {handed:?}");
            cluster.wait_leader_if(SHARD, 3 * SECOND, |_, t| t > term).await;
            cluster.write(SHARD, "b").await;
            cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
        });
    }
}

/// The heir has its votes and is not heard of yet: neither the giver nor the third member takes leadership from it for a second.
/// Locks that went along would be lost with another leader in between.
#[test]
fn a_slow_heir_is_left_its_time() {
    for seed in 0..12 {
        run(seed, |world| async move {
            let (cluster, _watch, giver, term) = led(world).await;
            cluster.world.sleep(5 * SECOND).await;
            assert!(cluster.group(giver, SHARD).is_quiet());
            let slow = NetworkFaults { delay: ms(40)..ms(180), ..NetworkFaults::default() };
            cluster.world.set_network(slow);
            let heir = giver % 3 + 1;
            // Whether it has taken over in time is nobody's business here.
            let _ = cluster.group(giver, SHARD).transfer(replica(heir).id).await;
            cluster.world.sleep(SECOND).await;
            let now = cluster.wait_leader_if(SHARD, 5 * SECOND, |_, t| t > term).await;
            assert_eq!(now, (heir, term + 1), "seed {seed}");
            cluster.world.set_network(NetworkFaults::default());
            cluster.write(SHARD, "b").await;
            cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
        });
    }
}

#[test]
fn a_node_that_stops_in_order_leaves_no_gap() {
    run(13, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        let shards: Vec<_> = (1..=12).map(quorate_proto::ShardId).collect();
        for shard in &shards {
            cluster.found(*shard, 1..=3).await;
            cluster.wait_leader(*shard, SECOND).await;
        }
        cluster.world.sleep(SECOND).await;
        let before = cluster.world.elapsed();
        assert_eq!(cluster.consensus(2).hand_over().await, 0);
        cluster.consensus(2).stop().await;
        for shard in &shards {
            let (leader, _) = cluster.wait_leader(*shard, SECOND).await;
            assert_ne!(leader, 2);
            cluster.write(*shard, "x").await;
        }
        assert!(cluster.world.elapsed() - before < SECOND);
    });
}
