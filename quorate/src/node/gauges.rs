//! The replicas of the node in `/metrics`: how many are in which mode (DESIGN §7), and how far the frontiers E D C A F T lie
//! apart (DESIGN §2). There may be thousands of replicas, so the node tells sums and extremes; `quorate.replicas` tells each.

use quorate_proto::placement::{Frontiers, ReplicaReport, ShardMode};

const MODES: [(ShardMode, &str); 5] = [
    (ShardMode::Target, "target"),
    (ShardMode::Election, "election"),
    (ShardMode::Degraded, "degraded"),
    (ShardMode::Recovery, "recovery"),
    (ShardMode::Damaged, "damaged"),
];

/// Two frontiers, by what an entry has reached and what it has not reached yet.
type Gap = (&'static str, fn(&Frontiers) -> (u64, u64));

const GAPS: [Gap; 5] = [
    ("appended_durable", |f| (f.appended.index, f.durable.index)),
    ("durable_committed", |f| (f.durable.index, f.committed.index)),
    ("committed_applied", |f| (f.committed.index, f.applied.index)),
    ("applied_flushed", |f| (f.applied.index, f.flushed.index)),
    ("flushed_trimmed", |f| (f.flushed.index, f.trimmed.index)),
];

/// Sets the gauges to what the replicas say.
pub fn set(replicas: &[ReplicaReport]) {
    for (mode, name) in MODES {
        let count = replicas.iter().filter(|replica| replica.mode == mode).count();
        metrics::gauge!("quorate_shard_replicas", "mode" => name).set(count as f64);
    }
    for (between, most, sum) in lags(replicas) {
        metrics::gauge!("quorate_shard_lag_max_entries", "between" => between).set(most as f64);
        metrics::gauge!("quorate_shard_lag_sum_entries", "between" => between).set(sum as f64);
    }
}

/// Of each gap the widest and the sum of all, in entries.
fn lags(replicas: &[ReplicaReport]) -> [(&'static str, u64, u64); 5] {
    GAPS.map(|(between, gap)| {
        let lag = |replica: &ReplicaReport| {
            let (ahead, behind) = gap(&replica.frontiers);
            // What a follower knows to be committed need not be durable on it yet.
            ahead.saturating_sub(behind)
        };
        let lags = replicas.iter().map(lag);
        (between, lags.clone().max().unwrap_or(0), lags.sum())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::{LogPosition, ReplicaId, ShardDescriptor, ShardId, Span, placement::ShardLoad};

    fn replica(frontiers: [u64; 6]) -> ReplicaReport {
        let at = |n: usize| LogPosition { term: 1, index: frontiers[n] };
        let id = ShardId(1);
        ReplicaReport {
            shard: id,
            replica: ReplicaId(1),
            leader: false,
            term: 1,
            descriptor: ShardDescriptor {
                id,
                span: Span::ALL,
                version: 1,
                config_epoch: 1,
                replicas: vec![],
            },
            size_bytes: 0,
            frontiers: Frontiers {
                appended: at(0),
                durable: at(1),
                committed: at(2),
                applied: at(3),
                flushed: at(4),
                trimmed: at(5),
            },
            mode: ShardMode::Target,
            load: ShardLoad::default(),
        }
    }

    #[test]
    fn the_widest_gap_and_the_sum_of_all() {
        let replicas = [replica([100, 90, 95, 90, 50, 10]), replica([20, 20, 15, 12, 12, 12])];
        let expected = [
            ("appended_durable", 10, 10),
            ("durable_committed", 5, 5),
            ("committed_applied", 5, 8),
            ("applied_flushed", 40, 40),
            ("flushed_trimmed", 40, 40),
        ];
        assert_eq!(lags(&replicas), expected);
        assert!(lags(&[]).iter().all(|(_, most, sum)| most + sum == 0));
    }
}
