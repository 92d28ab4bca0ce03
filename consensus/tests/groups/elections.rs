//! Who leads: after a start, a crash, a restart, and among many groups at once.

use crate::{
    SECOND, bytes,
    common::{Cluster, SHARD, ms, run},
    others_than,
};
use quorate_consensus::{OpenError, ProposeError, ReadCertificate};
use quorate_env::NodeId;
use quorate_proto::{KvError, placement::ShardMode};

#[test]
fn founders_elect_a_leader_and_replicate() {
    run(1, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        let group = cluster.group(leader, SHARD);
        let (position, reply) = group.propose(term, bytes("a")).await.unwrap();
        assert_eq!((position.term, position.index), (term, 12), "after the blank entry at 11");
        assert_eq!(reply, bytes("1"));
        cluster.write(SHARD, "b").await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
        assert!(matches!(group.confirm_read().await.unwrap(), ReadCertificate::Lease(_)));
        assert_eq!(group.mode(), ShardMode::Target);
        let frontiers = group.frontiers();
        assert!(frontiers.flushed <= frontiers.applied && frontiers.applied <= frontiers.committed);
        assert!(frontiers.committed <= frontiers.appended && frontiers.applied <= frontiers.durable);
        for other in [1, 2, 3].into_iter().filter(|n| *n != leader) {
            let follower = cluster.group(other, SHARD);
            assert!(follower.lease().is_none());
            assert!(matches!(
                follower.propose(term, bytes("x")).await,
                Err(ProposeError::NotLeader { leader: Some(l) }) if l == NodeId(leader)
            ));
            assert!(matches!(follower.confirm_read().await, Err(KvError::NotLeader { .. })));
        }
    });
}

#[test]
fn a_dead_leader_is_replaced_within_two_seconds_and_nothing_is_lost() {
    for seed in 0..5 {
        run(seed, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let watch = cluster.watch_leases(SHARD);
            let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            cluster.world.sleep(ms(cluster.world.random().range(0..3000))).await;
            cluster.crash(leader).await;
            let died = cluster.world.elapsed();
            let (next, _) = cluster.wait_leader_if(SHARD, 2 * SECOND, |_, t| t > term).await;
            println!("seed {seed}: new leader after {:?}", cluster.world.elapsed() - died);
            assert_ne!(next, leader);
            cluster.write(SHARD, "b").await;
            cluster.restart(leader).await;
            cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
            cluster.world.sleep(2 * SECOND).await;
            assert!(watch.share() > 0.3, "{}", watch.share());
        });
    }
}

/// PROTOCOL 1: the others hold an entry, and it is committed, while its leader's own disk lags and then loses it. It must not
/// propose another one in that place and term.
#[test]
fn who_led_before_a_restart_leads_in_a_new_term_only() {
    for seed in 0..3 {
        run(seed, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let (old, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            cluster.stall_log(old, true);
            let group = cluster.group(old, SHARD);
            let proposing =
                cluster.world.spawn("propose", async move { group.propose(term, bytes("b")).await });
            let hold = |n: u64| cluster.machine(n, SHARD).values() == ["a", "b"];
            cluster.eventually("the others hold it", SECOND, || others_than(old).into_iter().all(hold)).await;
            assert_eq!(
                cluster.machine(old, SHARD).values(),
                ["a"],
                "it applies what is durable here (PROTOCOL 6)"
            );
            cluster.crash_losing_all(old).await;
            cluster.restart(old).await;
            cluster.wait_leader_if(SHARD, 4 * SECOND, |_, t| t > term).await;
            cluster.write(SHARD, "c").await;
            cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b", "c"]).await;
            drop(proposing);
        });
    }
}

/// PROTOCOL 2: B acknowledges A, restarts at once, and is asked by C, who cannot see A. A still reads by lease.
#[test]
fn a_restarted_node_does_not_vote_within_a_lease_period() {
    run(3, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let _watch = cluster.watch_leases(SHARD);
        let (a, term) = cluster.wait_leader(SHARD, SECOND).await;
        let rest: Vec<u64> = (1..=3).filter(|n| *n != a).collect();
        let (b, c) = (rest[0], rest[1]);
        cluster.write(SHARD, "a").await;
        cluster.world.partition(&[NodeId(a)], &[NodeId(c)]);
        // C's promise to A runs out; B's does not, and B refuses C.
        cluster.world.sleep(3 * SECOND).await;
        assert!(cluster.group(a, SHARD).lease().is_some());
        assert_eq!(cluster.leader(SHARD), Some((a, term)));
        cluster.crash(b).await;
        cluster.world.partition(&[NodeId(a)], &[NodeId(b)]);
        cluster.world.sleep(ms(50)).await;
        cluster.restart(b).await;
        let restarted = cluster.world.elapsed();
        let lease = cluster.group(a, SHARD).lease();
        assert!(lease.is_some(), "the promise of B's earlier life");
        cluster.world.sleep(ms(1150)).await;
        assert!(cluster.group(a, SHARD).lease().is_none());
        assert_eq!(cluster.leader(SHARD), Some((a, term)), "nobody else leads yet");
        let (next, _) = cluster.wait_leader_if(SHARD, 3 * SECOND, |n, _| n != a).await;
        assert!(next == b || next == c);
        assert!(cluster.world.elapsed() - restarted >= cluster.config.support);
        cluster.world.heal();
        cluster
            .eventually("A sees the other leader", 2 * SECOND, || {
                !cluster.group(a, SHARD).leadership().borrow().is_leader
            })
            .await;
        cluster.write(SHARD, "b").await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
    });
}

/// PROTOCOL 3: one member has lost sight of a leader whose group is quiet. The other is asked to elect it, and supports the leader.
#[test]
fn who_supports_the_leader_elects_nobody_else() {
    run(14, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let _watch = cluster.watch_leases(SHARD);
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        cluster.world.sleep(10 * SECOND).await;
        assert!(cluster.group(leader, SHARD).is_quiet());
        let cut_off = leader % 3 + 1;
        cluster.world.partition(&[NodeId(leader)], &[NodeId(cut_off)]);
        for _ in 0..100 {
            cluster.world.sleep(ms(50)).await;
            assert_eq!(cluster.leader(SHARD), Some((leader, term)));
            assert!(cluster.group(leader, SHARD).lease().is_some());
        }
        cluster.world.heal();
        cluster.write(SHARD, "b").await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
    });
}

/// PROTOCOL 7: a vote that a crash takes back might be given twice in one term.
#[test]
fn no_vote_counts_before_it_is_on_the_disk() {
    run(15, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (old, term) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        cluster.crash(old).await;
        others_than(old).into_iter().for_each(|n| cluster.stall_log(n, true));
        for _ in 0..400 {
            cluster.world.sleep(ms(10)).await;
            let leads = |n: &u64| cluster.group(*n, SHARD).leadership().borrow().is_leader;
            assert_eq!(cluster.up().into_iter().find(leads), None, "elected by votes that are on no disk");
        }
        others_than(old).into_iter().for_each(|n| cluster.stall_log(n, false));
        cluster.wait_leader_if(SHARD, 5 * SECOND, |_, t| t > term).await;
        cluster.write(SHARD, "b").await;
    });
}

/// PROTOCOL 7: it may have voted, and acknowledged entries, and knows nothing of that any more.
#[test]
fn a_replica_that_has_lost_its_log_is_not_opened() {
    run(16, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (leader, _) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a"]).await;
        let lost = leader % 3 + 1;
        cluster.flush(lost, SHARD);
        cluster.crash(lost).await;
        cluster.lose_log(lost);
        let refused = cluster.try_restart(lost).await;
        assert!(matches!(refused, Err(OpenError::Mismatch { .. })), "{refused:?}");
        cluster.write(SHARD, "b").await;
    });
}

#[test]
fn a_term_that_is_over_is_refused() {
    run(4, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        let group = cluster.group(leader, SHARD);
        for wrong in [term - 1, term + 1] {
            assert_eq!(group.propose(wrong, bytes("x")).await, Err(ProposeError::TermChanged));
        }
        cluster.write(SHARD, "a").await;
        cluster.same_everywhere(SHARD, &[1, 2, 3], &["a"]).await;
    });
}

#[test]
fn many_groups_change_leaders_together() {
    run(11, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        let shards: Vec<_> = (1..=40).map(quorate_proto::ShardId).collect();
        for shard in &shards {
            cluster.found(*shard, 1..=3).await;
        }
        let mut led = std::collections::BTreeMap::<u64, u64>::new();
        for shard in &shards {
            let (leader, _) = cluster.wait_leader(*shard, 2 * SECOND).await;
            *led.entry(leader).or_default() += 1;
        }
        assert!(led.len() == 3 && led.values().all(|n| *n > 5), "spread over the nodes: {led:?}");
        cluster.world.sleep(6 * SECOND).await;
        cluster.crash(1).await;
        let died = cluster.world.elapsed();
        for shard in &shards {
            cluster.wait_leader_if(*shard, 2 * SECOND, |n, _| n != 1).await;
        }
        println!("40 groups have leaders after {:?}", cluster.world.elapsed() - died);
        cluster.restart(1).await;
        for shard in &shards {
            cluster.write(*shard, "x").await;
            cluster.same_everywhere(*shard, &[1, 2, 3], &["x"]).await;
        }
    });
}

/// More than a node has campaigns under way at a time.
#[test]
fn hundreds_of_groups_find_leaders_after_all_nodes_have_failed() {
    run(12, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        let shards: Vec<_> = (1..=250).map(quorate_proto::ShardId).collect();
        for shard in &shards {
            cluster.found(*shard, 1..=3).await;
        }
        for shard in &shards {
            cluster.wait_leader(*shard, 2 * SECOND).await;
        }
        for node in 1..=3 {
            cluster.crash(node).await;
        }
        for node in 1..=3 {
            cluster.restart(node).await;
        }
        let back = cluster.world.elapsed();
        for shard in &shards {
            cluster.wait_leader(*shard, 4 * SECOND).await;
        }
        let took = cluster.world.elapsed() - back;
        assert!(took < 4 * SECOND, "250 groups have leaders after {took:?}");
    });
}
