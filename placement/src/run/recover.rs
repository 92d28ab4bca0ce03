//! Bringing a shard back from one copy when its quorum is lost for good (`docs/recovery.md`).
//!
//! *Survey*: nodes that live are asked what is left; a plan is made of it, which whoever asks is shown. *Look again*: the operation
//! goes on only if what is left is what was shown. *Begin*: the new replica's id and the end of the old members are in the
//! replicated state before anybody is told. *Fence* the other copies that are left, *revive* the one that is taken, *learn* its
//! descriptor. Schedulers bring it to its number of copies, and the old ones go as strays. Each step may be repeated by the next leader.

use super::{
    ask::{Stop, learn, propose, tell},
    operation::Job,
    view,
};
use crate::{
    Placement,
    command::{Command, GearRequest},
    leader::{SCHEMA_LEASE, Session},
    planner::recover::{self, Answer, Scene},
};
use futures::future::join_all;
use quorate_env::probe;
use quorate_proto::{
    KvError, NodeId, ShardDescriptor, ShardId,
    placement::{PlacementError, RecoveryPlan, ReplicaCommand, ReplicaReply, Survey},
};
use std::collections::{BTreeMap, BTreeSet};

/// What is left of the shards that have no quorum, as far as is known, or of one.
pub(crate) async fn survey(
    placement: &Placement,
    session: &Session,
    shard: Option<ShardId>,
) -> Result<Vec<Survey>, PlacementError> {
    let view = view(placement, session);
    let near = |node: NodeId| view.nodes.get(&node).is_some_and(|node| node.near);
    let away = |shard: &&ShardDescriptor| {
        let left = shard.voters().filter(|voter| near(voter.node) && session.serves(shard.id, voter)).count();
        left * 2 <= shard.voters().count()
    };
    let shards: Vec<ShardDescriptor> = match shard {
        Some(ShardId::PLACEMENT) => {
            return Err(PlacementError::Refused("the placement driver answers: it has its quorum".into()));
        }
        Some(id) => match view.shards.get(&id) {
            Some(shard) => vec![shard.clone()],
            None => return Err(PlacementError::Refused(format!("there is no shard {id}"))),
        },
        None => view.shards.values().filter(away).cloned().collect(),
    };
    Ok(join_all(shards.iter().map(|shard| one(placement, session, shard))).await)
}

async fn one(placement: &Placement, session: &Session, shard: &ShardDescriptor) -> Survey {
    let mut answers = BTreeMap::new();
    let told = session.replicas().into_iter().filter(|(_, report)| report.shard == shard.id);
    let mut nodes: BTreeSet<NodeId> = told.map(|(node, _)| node).collect();
    loop {
        // Logs may name members that the map does not know of.
        nodes.extend(recover::concerned(shard, &answers));
        let open: Vec<NodeId> = nodes.iter().filter(|node| !answers.contains_key(node)).copied().collect();
        if open.is_empty() {
            break;
        }
        let asked = open.into_iter().map(async |node| (node, ask(placement, session, shard.id, node).await));
        answers.extend(join_all(asked).await);
    }
    let now = placement.env.clock().physical();
    recover::survey(&Scene { shard, answers: &answers, now, farewell: SCHEMA_LEASE })
}

async fn ask(placement: &Placement, session: &Session, shard: ShardId, node: NodeId) -> Answer {
    let near = view(placement, session).nodes.get(&node).is_some_and(|node| node.near);
    if !near {
        return Answer::Silent(session.last_word(node), session.silence(node, placement.env.boottime()));
    }
    match tell(placement, node, &ReplicaCommand::Testify { shard }).await {
        Ok(ReplicaReply::Testimony(testimony)) => Answer::Told(testimony),
        Ok(other) => Answer::Unclear(format!("it answered {other:?}")),
        Err(KvError::StaleRoute { .. }) => Answer::Nothing("its node does not hold it any more".into()),
        Err(KvError::BadRequest { why }) => Answer::Nothing(why),
        Err(error) => Answer::Unclear(error.to_string()),
    }
}

pub(super) async fn recover(job: &Job, shown: &RecoveryPlan) -> Result<(), Stop> {
    if !has_begun(job) {
        look_again(job, shown).await?;
        let (of, node) = (shown.shard, Some(shown.taken.node));
        job.equip(GearRequest { shard: false, replicas: 1, of, node, above: 0 }).await?;
        propose(&job.placement, Command::BeginRecovery(job.id)).await?;
    }
    job.at_step("fencing the copies that are given up").await?;
    for other in &shown.others {
        let fence = ReplicaCommand::Fence { shard: shown.shard, replica: other.id };
        told(tell(&job.placement, other.node, &fence).await, other.node)?;
    }
    job.at_step("reviving the copy that goes on").await?;
    let gear = job.gear().ok_or_else(|| Stop::Failed("it has no new replica's id".into()))?;
    let revive = ReplicaCommand::Revive {
        shard: shown.shard,
        old: shown.taken.id,
        new: quorate_proto::ReplicaId(gear.replica),
        last: shown.last,
        epochs: shown.after,
    };
    match told(tell(&job.placement, shown.taken.node, &revive).await, shown.taken.node)? {
        ReplicaReply::Changed(descriptors) => learn(&job.placement, descriptors).await?,
        other => return Err(Stop::Failed(format!("an unexpected answer: {other:?}"))),
    }
    probe!("placement.recovered_a_shard");
    Ok(())
}

fn has_begun(job: &Job) -> bool {
    let state = job.placement.machine.state();
    state.recoveries.get(&job.id).is_some_and(|recovery| recovery.begun)
}

async fn look_again(job: &Job, shown: &RecoveryPlan) -> Result<(), Stop> {
    job.at_step("looking what is left").await?;
    let shard = job.shard(shown.shard)?;
    match one(&job.placement, &job.session, &shard).await.plan {
        Ok(now) if now.is_as_shown(shown) => Ok(()),
        Ok(_) => Err(Stop::Failed("what is left is not what was shown: look again".into())),
        Err(why) => Err(Stop::Failed(why)),
    }
}

fn told(answer: Result<ReplicaReply, KvError>, node: NodeId) -> Result<ReplicaReply, Stop> {
    answer.map_err(|error| match error {
        KvError::BadRequest { why } => Stop::Failed(format!("node {node}: {why}")),
        other => Stop::Retry(format!("node {node}: {other}")),
    })
}
