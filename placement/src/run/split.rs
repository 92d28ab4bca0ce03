//! Split at a key. *Prepare*: ids of the right half and of its replicas are in the state. *Tell* the leader, which splits and
//! answers with both halves. *Learn* both. A repetition uses the same ids and finds the work done. A merge at the key that nobody
//! has asked for is waited for: it may come too late to be given up.

use super::{
    ask::{Stop, tell_leader},
    operation::Job,
};
use crate::{command::GearRequest, state::SCHEDULER};
use quorate_proto::{
    Key, ReplicaId,
    placement::{Operation, ReplicaCommand, ReplicaReply},
};

pub(super) async fn step(job: &Job, at: &Key) -> Result<(), Stop> {
    let owner = job.placement.machine.state().owner(at).cloned();
    let shard = owner.ok_or_else(|| Stop::Retry("no shard is known for the key".into()))?;
    if shard.span.start == *at {
        merge_is_over(job, at)?;
        return Ok(());
    }
    let replicas = shard.replicas.len() as u64;
    let gear = job.equip(GearRequest { shard: true, replicas, of: shard.id, node: None, above: 0 }).await?;
    job.at_step("splitting").await?;
    let command = ReplicaCommand::Split {
        shard: shard.id,
        at: at.clone(),
        right: gear.shard,
        version: shard.version,
        right_replicas: (gear.replica..gear.replica + gear.replicas).map(ReplicaId).collect(),
    };
    match tell_leader(&job.placement, &job.session, &shard, &command).await {
        Ok(ReplicaReply::Changed(_)) => {}
        Ok(other) => return Err(Stop::Failed(format!("an unexpected answer: {other:?}"))),
        // The map was behind the shard: the key lies in another one by now.
        Err(Stop::Failed(why)) => return Err(Stop::Retry(why)),
        Err(other) => return Err(other),
    }
    let owner = job.placement.machine.state().owner(at).cloned();
    match owner {
        Some(shard) if shard.span.start == *at => Ok(()),
        _ => Err(Stop::Retry("the map does not show the split yet".into())),
    }
}

fn merge_is_over(job: &Job, at: &Key) -> Result<(), Stop> {
    let state = job.placement.machine.state();
    let merge = Operation::Merge { at: at.clone() };
    let mut merges = state
        .running()
        .filter(|record| record.status.operation == merge && record.status.origin == SCHEDULER);
    match merges.next() {
        Some(record) => Err(Stop::Retry(format!("waiting for operation {}", record.status.id))),
        None => Ok(()),
    }
}
