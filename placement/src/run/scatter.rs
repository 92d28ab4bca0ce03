//! Scatter: moves copies and leaders of the shards in a span one by one, each as an operation of its own, until the planner
//! sees nothing better. A new leader plans anew from what it finds.

use super::{
    ask::{Stop, propose},
    operation::Job,
    view,
};
use crate::{
    command::{Command, Reply},
    planner,
};
use quorate_proto::{ShardId, Span, placement::OperationState};
use std::{collections::BTreeSet, time::Duration};

/// Steps that may fail before the rest is left as it is.
const FAILURES: u32 = 3;
/// How long leaders that were not reported yet are waited for.
const UNKNOWN: Duration = Duration::from_secs(10);

pub(super) async fn scatter(job: &Job, span: &Span) -> Result<(), Stop> {
    let env = &job.placement.env;
    let origin = format!("scatter {}", job.id);
    let began = env.boottime();
    let mut failures = 0;
    loop {
        if let Some(child) = child(job, &origin) {
            wait(job, child).await?;
        }
        let view = view(&job.placement, &job.session);
        let shards: BTreeSet<ShardId> =
            view.shards.values().filter(|shard| shard.span.overlaps(span)).map(|shard| shard.id).collect();
        let unknown = shards.iter().any(|shard| !view.leaders.contains_key(shard));
        if unknown && env.boottime() - began < UNKNOWN {
            env.sleep(Duration::from_millis(200)).await;
            continue;
        }
        let at = env.clock().physical();
        let Some(planned) = planner::spread(&view, &shards, at) else { return Ok(()) };
        job.at_step(&planned.decision.chosen).await?;
        let command = Command::StartOperation {
            operation: planned.operation,
            origin: origin.clone(),
            at,
            decision: Some(planned.decision),
        };
        let Reply::Number(id) = propose(&job.placement, command).await? else {
            return Err(Stop::Retry("a step was not started".into()));
        };
        if let OperationState::Failed(why) = wait(job, id).await? {
            failures += 1;
            if failures >= FAILURES {
                return Err(Stop::Failed(why));
            }
        }
    }
}

/// A step that an earlier leader has started.
pub(super) fn child(job: &Job, origin: &str) -> Option<u64> {
    let state = job.placement.machine.state();
    state.running().find(|record| record.status.origin == origin).map(|record| record.status.id)
}

pub(super) async fn wait(job: &Job, id: u64) -> Result<OperationState, Stop> {
    let mut changes = job.placement.machine.changes();
    loop {
        changes.mark_unchanged();
        let state = {
            let state = job.placement.machine.state();
            state.operations.get(&id).map(|record| record.status.state.clone())
        };
        match state {
            Some(OperationState::Running) => {}
            Some(over) => return Ok(over),
            None => return Ok(OperationState::Done),
        }
        if changes.changed().await.is_err() || !super::is_current(&job.placement, &job.session) {
            return Err(Stop::Lost);
        }
    }
}
