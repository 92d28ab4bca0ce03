//! Scenarios of one group on simulated nodes: elections, replication, leases, members.

#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Cluster, SHARD, ms, replica, replicas, run, run_with};
use quorate_consensus::{ConsensusConfig, OpenError, ProposeError, ReadCertificate};
use quorate_env::{NodeId, sim::SimConfig};
use quorate_proto::placement::ShardMode;
use quorate_proto::{KvError, Replica, ReplicaId, ReplicaRole};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn others_than(node: u64) -> Vec<u64> {
    (1..=3).filter(|n| *n != node).collect()
}

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

/// PROTOCOL 4: what a leader has acknowledged stands in its successor's log, which may not have applied it yet.
#[test]
fn a_new_leader_answers_nothing_before_its_first_entry_is_applied() {
    for seed in 0..3 {
        run(seed, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let (old, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            cluster.world.sleep(SECOND).await;
            cluster.write(SHARD, "b").await;
            // Before the others hear that it is committed.
            cluster.crash(old).await;
            let leads = |n: &u64| cluster.group(*n, SHARD).leadership().borrow().is_leader;
            let new = loop {
                if let Some(new) = cluster.up().into_iter().find(leads) {
                    break new;
                }
                assert!(cluster.world.elapsed() < 10 * SECOND);
                cluster.world.sleep(Duration::from_micros(50)).await;
            };
            cluster.stall_log(new, true);
            cluster.world.sleep(ms(100)).await;
            assert_eq!(cluster.machine(new, SHARD).values(), ["a"]);
            let group = cluster.group(new, SHARD);
            assert_eq!(group.lease(), None);
            let refused = group.confirm_read().await;
            assert!(matches!(refused, Err(KvError::NotReady { .. })), "{refused:?}");
            cluster.stall_log(new, false);
            cluster.wait_leader_if(SHARD, 5 * SECOND, |_, t| t > term).await;
            cluster.same_everywhere(SHARD, &cluster.up(), &["a", "b"]).await;
        });
    }
}

#[test]
fn a_cut_off_leaders_lease_ends_before_its_successor_leads() {
    for seed in 0..5 {
        run(seed, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let _watch = cluster.watch_leases(SHARD);
            let (old, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            let others: Vec<u64> = (1..=3).filter(|n| *n != old).collect();
            let ids: Vec<NodeId> = others.iter().map(|n| NodeId(*n)).collect();
            cluster.world.partition(&[NodeId(old)], &ids);
            assert!(cluster.group(old, SHARD).lease().is_some());
            let (next, newer) = cluster.wait_leader_if(SHARD, 3 * SECOND, |_, t| t > term).await;
            assert_ne!(next, old);
            assert!(cluster.group(old, SHARD).lease().is_none());
            // It still believes to lead, and refuses definitely, in bounded time.
            let before = cluster.world.elapsed();
            let refused = cluster.group(old, SHARD).propose(term, bytes("lost")).await.unwrap_err();
            assert!(
                matches!(&refused, ProposeError::NoQuorum { missing, .. } if *missing == ids),
                "{refused}"
            );
            assert!(matches!(
                cluster.group(old, SHARD).confirm_read().await,
                Err(KvError::QuorumUnavailable { .. })
            ));
            assert!(cluster.world.elapsed() - before < 4 * SECOND);
            assert_eq!(cluster.group(old, SHARD).mode(), ShardMode::Degraded);
            cluster.group(next, SHARD).propose(newer, bytes("b")).await.unwrap();
            cluster.world.heal();
            cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
            let late = cluster.group(old, SHARD).propose(term, bytes("late")).await.unwrap_err();
            assert!(late.is_definite());
        });
    }
}

/// PROTOCOL 2: a lease ends with whichever clock says so first. Its leader goes on to lead, and reads by a quorum's word.
#[test]
fn a_leader_without_a_lease_reads_by_the_word_of_a_quorum_or_not_at_all() {
    for seed in 0..3 {
        // The clock jumps past every promise and not past ε, so that nothing is fenced.
        let config = SimConfig { clock_bound: 20 * SECOND, ..SimConfig::new(seed) };
        run_with(config, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
            let written = cluster.write(SHARD, "a").await;
            let group = cluster.group(leader, SHARD);
            assert!(group.lease().is_some());
            cluster.world.jump_clock(NodeId(leader), 1_500_000);
            assert!(group.lease().is_none());
            let certificate = group.confirm_read().await.unwrap();
            assert!(
                matches!(certificate, ReadCertificate::ReadIndex { term: t, applied } if t == term && applied >= written),
                "{certificate:?}"
            );

            cluster.eventually("the promises are renewed", SECOND, || group.lease().is_some()).await;
            let others: Vec<NodeId> = (1..=3).filter(|n| *n != leader).map(NodeId).collect();
            cluster.world.partition(&[NodeId(leader)], &others);
            cluster.world.jump_clock(NodeId(leader), 1_500_000);
            assert!(group.lease().is_none());
            let before = cluster.world.elapsed();
            let refused = group.confirm_read().await;
            assert!(
                matches!(&refused, Err(KvError::QuorumUnavailable { missing, .. }) if *missing == others),
                "{refused:?}"
            );
            assert!(cluster.world.elapsed() - before < 3 * SECOND);
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

/// PROTOCOL 21. Its clock goes back, so that no promise ends by that.
#[test]
fn a_leader_whose_clock_strays_reads_nothing_and_gives_up() {
    for seed in 0..3 {
        run(seed, |world| async move {
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let (old, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
            cluster.world.sleep(2 * SECOND).await;
            let group = cluster.group(old, SHARD);
            assert!(group.lease().is_some());
            cluster.world.jump_clock(NodeId(old), -500_000);
            let until = cluster.world.elapsed() + 5 * SECOND;
            let mut fenced = false;
            while cluster.leader(SHARD).is_none_or(|(_, t)| t <= term) {
                assert!(cluster.world.elapsed() < until, "it leads on");
                cluster.world.sleep(ms(5)).await;
                let now = cluster.env(old).clock().is_fenced();
                assert!(!now || group.lease().is_none(), "fenced, with a lease");
                fenced |= now;
            }
            assert!(fenced);
            assert_ne!(cluster.leader(SHARD).map(|(node, _)| node), Some(old));
        });
    }
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
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let _watch = cluster.watch_leases(SHARD);
            let (giver, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
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
            let cluster = Cluster::new(world, 1..=3);
            cluster.found(SHARD, 1..=3).await;
            let _watch = cluster.watch_leases(SHARD);
            let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
            cluster.write(SHARD, "a").await;
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
