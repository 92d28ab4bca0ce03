//! What a leader may answer alone, and for how long.

use crate::{
    SECOND, bytes,
    common::{Cluster, SHARD, ms, run, run_with},
};
use quorate_consensus::{ProposeError, ReadCertificate};
use quorate_env::{NodeId, sim::SimConfig};
use quorate_proto::{KvError, placement::ShardMode};
use std::time::Duration;

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
