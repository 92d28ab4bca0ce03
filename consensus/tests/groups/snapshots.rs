//! States on their way to replicas that the log can no longer bring up to date.

use crate::{
    SECOND,
    common::{Cluster, SHARD, ms, run},
};
use quorate_consensus::ConsensusConfig;
use quorate_env::{
    NodeId,
    sim::{NetworkFaults, SimWorld},
};
use quorate_proto::ShardId;
use std::time::Duration;

const BLOB: usize = 100 << 10;
const BLOBS: usize = 60;

fn config() -> ConsensusConfig {
    ConsensusConfig { keep_entries: 4, snapshot_bytes_per_second: 2 << 20, ..ConsensusConfig::default() }
}

fn shards(count: u64) -> impl Iterator<Item = ShardId> {
    (0..count).map(|n| ShardId(SHARD.0 + n))
}

/// Node 3 is down, and lacks of each shard what the logs of the others do not hold any more.
async fn fallen_behind(world: SimWorld, config: ConsensusConfig, count: u64) -> Cluster {
    let cluster = Cluster::with_config(world, 1..=3, config);
    for shard in shards(count) {
        cluster.found(shard, 1..=3).await;
        cluster.wait_leader(shard, 3 * SECOND).await;
    }
    cluster.crash(3).await;
    for shard in shards(count) {
        for n in 0..BLOBS {
            cluster.write(shard, &format!("{n} {}", ".".repeat(BLOB))).await;
        }
        for node in [1, 2] {
            cluster.flush(node, shard);
            let trimmed = || cluster.group(node, shard).frontiers().trimmed.index > 40;
            cluster.eventually("the log is trimmed", 5 * SECOND, trimmed).await;
        }
    }
    cluster
}

async fn is_whole(cluster: &Cluster, shard: ShardId, within: Duration) {
    let whole = || cluster.machine(3, shard).values() == cluster.machine(1, shard).values();
    cluster.eventually("the state is there", within, whole).await;
    assert_eq!(*cluster.machine(3, shard).restored.lock(), 1);
}

/// A dead member holds up nobody's log.
#[test]
fn a_log_keeps_so_many_bytes_for_who_is_away() {
    run(20, |world| async move {
        let config = ConsensusConfig { keep_entries: 1000, keep_bytes: 1 << 20, ..config() };
        let cluster = fallen_behind(world, config, 1).await;
        let frontiers = cluster.group(1, SHARD).frontiers();
        assert!(frontiers.trimmed < frontiers.applied, "the last ones stay: {frontiers:?}");
        cluster.restart(3).await;
        is_whole(&cluster, SHARD, 20 * SECOND).await;
    });
}

#[test]
fn a_transfer_that_is_interrupted_goes_on_where_it_was() {
    run(21, |world| async move {
        let cluster = fallen_behind(world, config(), 1).await;
        cluster.restart(3).await;
        let machine = cluster.machine(3, SHARD);
        cluster.eventually("it begins", 10 * SECOND, || *machine.coming.lock() == 1).await;
        for _ in 0..2 {
            cluster.world.sleep(ms(700)).await;
            cluster.world.partition(&[NodeId(3)], &[NodeId(1), NodeId(2)]);
            cluster.world.sleep(4 * SECOND).await;
            cluster.world.heal();
        }
        is_whole(&cluster, SHARD, 20 * SECOND).await;
        assert_eq!(*machine.begun.lock(), 1);
    });
}

#[test]
fn a_part_whose_answer_is_lost_is_taken_in_once() {
    for seed in 30..34 {
        run(seed, |world| async move {
            let cluster = fallen_behind(world, config(), 1).await;
            cluster.restart(3).await;
            cluster.world.set_faults(true);
            let repeats = NetworkFaults { duplicate: 0.2, late: 0.05, ..NetworkFaults::default() };
            cluster.world.set_network(repeats);
            is_whole(&cluster, SHARD, 60 * SECOND).await;
        });
    }
}

#[test]
fn a_node_takes_in_so_many_states_at_a_time_and_so_many_bytes_a_second() {
    run(40, |world| async move {
        let cluster = fallen_behind(world, ConsensusConfig { snapshots_at_a_time: 2, ..config() }, 5).await;
        cluster.restart(3).await;
        let (began, mut most) = (cluster.world.elapsed(), 0);
        let restored = || shards(5).map(|shard| *cluster.machine(3, shard).restored.lock()).sum::<u64>();
        while restored() < 5 {
            most = most.max(shards(5).map(|shard| *cluster.machine(3, shard).coming.lock()).sum());
            cluster.world.sleep(ms(20)).await;
            assert!(cluster.world.elapsed() < began + 120 * SECOND, "{}", restored());
        }
        assert_eq!(most, 2);
        // All but what each of the two had credit for at first.
        let bytes = 5 * BLOB * BLOBS - (4 << 20);
        let least = Duration::from_secs_f64(bytes as f64 / f64::from(2 << 20));
        assert!(cluster.world.elapsed() > began + least, "{:?}", cluster.world.elapsed() - began);
        for shard in shards(5) {
            is_whole(&cluster, shard, SECOND).await;
        }
    });
}
