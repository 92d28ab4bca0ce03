//! The schedulers that watch over all shards: now and then they are shown the picture, and what they want done is started as
//! operations, a few at a time. Their pictures live with the leader's session; a new one begins to watch anew.

use super::view;
use crate::{
    Placement,
    command::Command,
    leader::Session,
    planner::{
        Planned,
        seen::{Limits, Picture, Seen},
    },
    settings,
    slowness::Judge,
    state::{SCHEDULER, State},
};
use quorate_proto::{
    NodeId, ReplicaId, ShardDescriptor, ShardId, Timestamp,
    placement::{Operation, OperationState, OperationStatus, PlacementError, ReplicaReport},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Looks that a leader stays where it is, and that a new session of the driver watches before it does anything.
const SETTLE: u32 = 2;
/// Looks for which shards rest that an operation has failed for, or that were moved.
const REST: u32 = 12;
/// Who was silent for longer is not compared with others.
const HEARD_OF: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Schedulers {
    /// On `Env::boottime`.
    next: Duration,
    /// Shards that are small and hardly asked for: under which version, and since when.
    cold: BTreeMap<ShardId, (u64, Duration)>,
    judge: Judge,
}

impl Schedulers {
    pub async fn look(&mut self, placement: &Placement, session: &Session) {
        let now = placement.env.boottime();
        if now < self.next {
            return;
        }
        let (every, limits, slow) = {
            let state = placement.machine.state();
            let every = settings::duration(state.setting(&settings::LOOK_EVERY)).unwrap_or(super::TICK);
            let slow = settings::duration(state.setting(&settings::SLOW_NODE)).unwrap_or(Duration::MAX);
            (every, settings::limits(&state), slow)
        };
        self.next = now + every;
        *session.slow.lock() = self.judge.judge(&session.tempos(HEARD_OF, now), slow, now);
        *session.seen.lock() = self.watch(placement, session, &limits, every);
        for _ in 0..limits.moves {
            let at = placement.env.clock().physical();
            let Some(planned) = present(placement, session).next_step(at) else { return };
            if !start(placement, planned, at).await {
                return;
            }
        }
    }

    /// Takes in what leaders have told, each under the range that the map shows, and of shards whose copies all are there: where
    /// one is damaged or lost, it is replaced first.
    fn watch(
        &mut self,
        placement: &Placement,
        session: &Session,
        limits: &Limits,
        every: Duration,
    ) -> BTreeMap<ShardId, Seen> {
        let now = placement.env.boottime();
        let led = session.led_for(now);
        let state = placement.machine.state();
        let known = |report: &ReplicaReport| {
            state
                .shards
                .get(&report.shard)
                .is_some_and(|record| report.leader && record.descriptor.version == report.descriptor.version)
        };
        let rest = REST * every;
        let moved = lately(&state, placement.env.clock().physical(), rest, |status| {
            matches!(status.operation, Operation::MoveReplica { .. } | Operation::TransferLeader { .. })
        });
        let mut cold = BTreeMap::new();
        let mut seen = BTreeMap::new();
        let reports = session.replicas();
        let held: BTreeSet<(NodeId, ReplicaId)> =
            reports.iter().filter(|(_, r)| r.is_sound()).map(|(node, r)| (*node, r.replica)).collect();
        let whole = |shard: &ShardDescriptor| shard.replicas.iter().all(|r| held.contains(&(r.node, r.id)));
        for (node, report) in reports {
            let Some((leader, led_for)) = led.get(&report.shard) else { continue };
            if *leader != node || !known(&report) || !whole(&report.descriptor) {
                continue;
            }
            let version = report.descriptor.version;
            let is_cold = limits
                .merge
                .as_ref()
                .is_some_and(|merge| report.size_bytes <= merge.size && report.load.requests() <= merge.load);
            let before = self.cold.get(&report.shard).filter(|(of, _)| *of == version);
            let since = before.map_or(now, |(_, since)| *since);
            if is_cold {
                cold.insert(report.shard, (version, since));
            }
            let seen_now = Seen {
                bytes: report.size_bytes,
                cold_for: if is_cold { now.saturating_sub(since) } else { Duration::ZERO },
                load: report.load,
                settled: *led_for >= SETTLE * every,
                rested: !moved.contains(&report.shard),
            };
            seen.insert(report.shard, seen_now);
        }
        self.cold = cold;
        seen
    }
}

/// What the schedulers decide from, as it is now.
pub(crate) fn present(placement: &Placement, session: &Session) -> Picture {
    let mut view = view(placement, session);
    let state = placement.machine.state();
    let every = settings::duration(state.setting(&settings::LOOK_EVERY)).unwrap_or(super::TICK);
    let failed = |status: &OperationStatus| matches!(status.state, OperationState::Failed(_));
    view.busy.extend(lately(&state, placement.env.clock().physical(), REST * every, failed));
    let mut picture = Picture {
        view,
        seen: session.seen.lock().clone(),
        boundaries: state.boundaries.clone(),
        limits: settings::limits(&state),
        under_way: state.running().count(),
        waits: waits(&state, placement.env.boottime().saturating_sub(session.began), every),
    };
    state.running().for_each(|record| picture.expect(&record.status.operation));
    picture
}

/// Why nothing at all is done now.
fn waits(state: &State, led_for: Duration, every: Duration) -> Option<String> {
    if led_for < SETTLE * every {
        return Some("the placement driver has a new leader, which only watches for the first looks".into());
    }
    // Two who spread shards would fight.
    let scatters = |operation: &Operation| matches!(operation, Operation::Scatter { .. });
    let scattering = state.running().any(|record| scatters(&record.status.operation));
    scattering.then(|| "a SCATTER is under way".into())
}

/// The shards of the schedulers' operations of a kind that have ended, or begun, not long ago.
fn lately(
    state: &State,
    now: Timestamp,
    rest: Duration,
    kind: impl Fn(&OperationStatus) -> bool,
) -> BTreeSet<ShardId> {
    let statuses = state.operations.values().map(|record| &record.status);
    let own = statuses.filter(|status| status.origin == SCHEDULER && status.updated.plus(rest) > now);
    own.filter(|status| kind(status)).flat_map(|status| state.concerned(&status.operation)).collect()
}

/// `false`: not now.
async fn start(placement: &Placement, planned: Planned, at: Timestamp) -> bool {
    match &planned.operation {
        Operation::Split { .. } => quorate_env::count!("quorate_placement_splits_decided_total"),
        Operation::Merge { .. } => quorate_env::count!("quorate_placement_merges_decided_total"),
        Operation::MoveReplica { .. } => quorate_env::count!("quorate_placement_moves_decided_total"),
        _ => quorate_env::count!("quorate_placement_transfers_decided_total"),
    }
    probe(&planned);
    let about =
        format!("{}: {}, so {}", planned.decision.scheduler, planned.decision.seen, planned.decision.chosen);
    let command = Command::StartOperation {
        operation: planned.operation,
        origin: SCHEDULER.into(),
        at,
        decision: Some(planned.decision),
    };
    match placement.propose(command).await {
        Ok(_) => {
            tracing::info!("{about}");
            true
        }
        Err(PlacementError::Refused(why)) => {
            tracing::debug!(why, "a scheduler was overtaken");
            false
        }
        Err(error) => {
            tracing::info!(%error, "what a scheduler wants was not started");
            false
        }
    }
}

fn probe(planned: &Planned) {
    match planned.decision.scheduler.as_str() {
        "constraints" => quorate_env::probe!("placement.kept_constraints"),
        "spread" => quorate_env::probe!("placement.spread_copies"),
        "slow nodes" => quorate_env::probe!("placement.left_a_slow_node"),
        _ => probe_kind(&planned.operation),
    }
}

fn probe_kind(operation: &Operation) {
    match operation {
        Operation::Split { .. } => quorate_env::probe!("placement.split_by_itself"),
        Operation::Merge { .. } => quorate_env::probe!("placement.merged_by_itself"),
        Operation::MoveReplica { .. } => quorate_env::probe!("placement.balanced_copies"),
        _ => quorate_env::probe!("placement.balanced_leaders"),
    }
}
