//! Carries out what is decided, on the leader, for as long as it leads. Every step may be repeated; what a step needs to be
//! the same the second time (ids, the node chosen) is in the replicated state before it is taken.

mod ask;
mod found;
mod leave;
mod member;
mod merge;
mod operation;
mod own;
pub(crate) mod recover;
mod remake;
mod resize;
mod scatter;
pub(crate) mod schedule;
mod split;
mod tidy;

use crate::{
    Placement,
    command::Command,
    leader::Session,
    planner::{self, NodeView, Planned, View},
    settings,
    state::{PLACEMENT_ROLE, SHARD_ROLE},
};
use operation::Job;
use quorate_env::Task;
use quorate_proto::{
    NodeId, Room, ShardId,
    placement::{Leaving, NodeState, Operation},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Between two looks around when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// And for each shard at least so long, whatever happens: a look at all of them costs some microseconds for each.
const REST_A_SHARD: Duration = Duration::from_millis(1);
/// Repairs under way at a time.
const REPAIRS: usize = 2;

/// Runs until the session is over.
pub(crate) async fn run(placement: Arc<Placement>, session: Arc<Session>) {
    let env = placement.env.clone();
    let mut changes = placement.machine.changes();
    let mut jobs: BTreeMap<u64, Task<()>> = BTreeMap::new();
    let mut schedulers = schedule::Schedulers::default();
    let mut look_again = Duration::ZERO;
    while is_current(&placement, &session) {
        changes.mark_unchanged();
        found::found(&placement, &session).await;
        let running: Vec<(u64, Operation)> = {
            let state = placement.machine.state();
            state.running().map(|r| (r.status.id, r.status.operation.clone())).collect()
        };
        jobs.retain(|_, job| !job.is_finished());
        for (id, operation) in running {
            jobs.entry(id).or_insert_with(|| {
                let job = Job { placement: placement.clone(), session: session.clone(), id, operation };
                env.spawn("placement.operation", job.run())
            });
        }
        watch_nodes(&placement, &session).await;
        let looks = env.boottime() >= look_again;
        // Where copies are to be replaced, the next one is begun as soon as one is there.
        if looks || has_dead_nodes(&placement) {
            repair(&placement, &session).await;
        }
        if looks {
            tidy::tidy(&placement, &session).await;
            schedulers.look(&placement, &session).await;
            look_again = env.boottime() + rest(&placement);
        }
        // Woken by what the log brings, for operations just started.
        let _ = env.timeout(TICK, changes.changed()).await;
    }
    // The next leader goes on where they stand.
    jobs.values().for_each(Task::abort);
}

pub(crate) fn is_current(placement: &Placement, session: &Session) -> bool {
    placement.session().is_some_and(|now| now.term == session.term)
}

/// Notes who has been silent for too long. (Who is heard of again comes back with its heartbeat.)
async fn watch_nodes(placement: &Placement, session: &Session) {
    let now = placement.env.boottime();
    let silent: Vec<NodeId> = {
        let state = placement.machine.state();
        let after = settings::duration(state.setting(&settings::REPAIR_AFTER)).unwrap_or(Duration::MAX);
        let live = state.nodes.iter().filter(|(_, record)| record.state == NodeState::Live);
        live.map(|(id, _)| *id).filter(|id| session.silence(*id, now) > after).collect()
    };
    for node in silent {
        tracing::warn!(%node, "a node is silent for so long that its replicas are replaced");
        let command = Command::SetNodeState(node, NodeState::Dead, placement.env.clock().physical());
        if let Err(error) = placement.propose(command).await {
            tracing::warn!(%node, %error, "its death was not noted");
        }
    }
}

fn has_dead_nodes(placement: &Placement) -> bool {
    placement.machine.state().nodes.values().any(|record| record.state == NodeState::Dead)
}

fn rest(placement: &Placement) -> Duration {
    REST_A_SHARD * u32::try_from(placement.machine.state().shards.len()).unwrap_or(u32::MAX)
}

async fn repair(placement: &Placement, session: &Session) {
    let at = placement.env.clock().physical();
    if let Some(planned) = planner::repair(&view(placement, session), at) {
        start_repair(placement, planned).await;
    }
}

/// Starts it unless enough are under way: then it is planned anew when one of them is over.
async fn start_repair(placement: &Placement, planned: Planned) {
    let repairing = {
        let state = placement.machine.state();
        let repairs = |o: &Operation| {
            matches!(o, Operation::Repair { .. } | Operation::Remake { .. } | Operation::Withdraw { .. })
        };
        state.running().filter(|r| repairs(&r.status.operation)).count()
    };
    if repairing >= REPAIRS {
        return;
    }
    let at = placement.env.clock().physical();
    let command = Command::StartOperation {
        operation: planned.operation,
        origin: "repair".into(),
        at,
        decision: Some(planned.decision),
    };
    if let Err(error) = placement.propose(command).await {
        tracing::warn!(%error, "a repair was not started");
    }
}

/// The picture that plans are made from.
pub(crate) fn view(placement: &Placement, session: &Session) -> View {
    let now = placement.env.boottime();
    let state = placement.machine.state();
    let suspect = settings::duration(state.setting(&settings::SUSPECT_AFTER)).unwrap_or(TICK);
    let slow = session.slow.lock().clone();
    let nodes = state.nodes.values().map(|record| {
        let id = record.info.id;
        let near = record.state == NodeState::Live && session.silence(id, now) <= suspect;
        let view = NodeView {
            id,
            usable: near && record.leaving == Leaving::No,
            near,
            leaving: record.leaving,
            dead: record.state == NodeState::Dead,
            may_carry_driver: record.info.roles & PLACEMENT_ROLE != 0,
            holds_shards: record.info.roles & SHARD_ROLE != 0,
            roomy: session.space(id).room == Room::Plenty,
            slow: slow.get(&id).cloned(),
            locality: record.info.locality.clone(),
        };
        (id, view)
    });
    let nodes = nodes.collect();
    let shards: BTreeMap<_, _> =
        state.shards.iter().map(|(id, record)| (*id, record.descriptor.clone())).collect();
    let (busy, rules) = (state.busy(), state.rules.clone());
    drop(state);
    let mut leaders = session.leaders();
    leaders.insert(ShardId::PLACEMENT, placement.env.node());
    View { nodes, driver: Some(placement.own()), shards, leaders, busy, rules }
}
