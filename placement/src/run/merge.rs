//! Merge at a key: the shard that begins there, *the right*, becomes part of its left neighbour (PROTOCOL 26).
//!
//! *Align*: the right's copies move to the left's nodes, by the machinery that moves copies. *Prepare*: each of these nodes says
//! that it holds both. *Seal* the right: its leader lets nobody in any more. *Await*: each node has applied the seal, durably.
//! *Absorb*: the left's leader takes the keys over; *learn* what the left is now, and the right is gone.
//!
//! Each step is taken from what the shards show, so that a new leader goes on in the middle: a right that is sealed tells for which
//! left, and a left that has absorbed it says so. What cannot go on is *undone*: the left forgets the seal, then the right serves
//! again. Nothing ends while a right may be sealed, or a seal on its way: the end raises the right's version, which refuses it. If
//! the left cannot be reached, neither happens before it can be: only its log decides.

use super::{
    ask::{Stop, learn, propose, tell_leader},
    is_current, member,
    operation::Job,
    view,
};
use crate::{
    command::Command,
    state::{SCHEDULER, State},
};
use quorate_env::{planted, probe, rpc};
use quorate_proto::{
    NodeId, Replica, ReplicaRole, Seal, ShardDescriptor, ShardId,
    placement::{Operation, ReplicaCommand, ReplicaReply},
};
use std::{collections::BTreeSet, time::Duration};

/// One that has not come to an end after this is given up: copies that have to be moved first take their time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// For the nodes to make durable what they have applied: one question, and all of them.
const PREPARE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(10));
/// For all copies to come to the seal, and not longer: nobody is served meanwhile.
const AWAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// For copies that were just made to be reported by their nodes.
const REPORTED: Duration = Duration::from_secs(3);
/// A new leader of the driver has heard from all nodes by then, if they live.
const HEAR_FIRST: Duration = Duration::from_secs(10);

struct Pair {
    left: ShardDescriptor,
    right: ShardDescriptor,
}

/// `None`: no shard begins there, the merge has been carried out. Where half of a split is not known yet, nobody can tell.
fn pair(state: &State, at: &[u8]) -> Result<Option<Pair>, Stop> {
    match (state.owner(at), state.neighbours(at)) {
        (_, Some((left, right))) => Ok(Some(Pair { left: left.clone(), right: right.clone() })),
        (Some(shard), None) if shard.span.start[..] != *at => Ok(None),
        _ if planted!("placement.hole_taken_for_a_merge") => Ok(None),
        _ => Err(Stop::Retry("not all shards around it are known yet".into())),
    }
}

pub(super) async fn step(job: &Job, at: &[u8]) -> Result<(), Stop> {
    let found = pair(&job.placement.machine.state(), at);
    let Some(pair) = found? else { return Ok(()) };
    one_at_a_time(job, &pair)?;
    let apart = job.placement.machine.state().breaks_a_rule(&job.operation);
    let outcome = match apart {
        Some(why) => Err(Stop::Failed(why)),
        None if job.is_older_than(PATIENCE) => Err(Stop::Failed("it takes too long".into())),
        None => merge(job, &pair).await,
    };
    match outcome {
        Err(Stop::Failed(why)) => match undo(job, &pair).await? {
            Undone::Absorbed => Ok(()),
            Undone::Serves => Err(Stop::Failed(why)),
        },
        other => other,
    }
}

/// Of merges that share a shard the one that was asked for first goes on: a left that is absorbed itself could not decide.
fn one_at_a_time(job: &Job, pair: &Pair) -> Result<(), Stop> {
    let state = job.placement.machine.state();
    let own = [pair.left.id, pair.right.id];
    let earlier = state.running().filter(|record| record.status.id < job.id);
    let merges = earlier.filter(|record| matches!(record.status.operation, Operation::Merge { .. }));
    let merges = merges.map(|record| (record.status.id, state.concerned(&record.status.operation)));
    let mut shared = merges.filter(|(_, shards)| shards.iter().any(|shard| own.contains(shard)));
    match shared.next() {
        Some((id, _)) => Err(Stop::Retry(format!("waiting for operation {id}"))),
        None => Ok(()),
    }
}

async fn merge(job: &Job, pair: &Pair) -> Result<(), Stop> {
    let Pair { left, right } = pair;
    let (shown, _) = status(job, left).await?;
    if shown.span.contains(&right.span.start) || shown.epochs() > left.epochs() {
        // It has absorbed it, or is another than was thought.
        learn(&job.placement, vec![shown]).await?;
        return Err(Stop::Retry("the left has changed meanwhile".into()));
    }
    let seal = match status(job, right).await? {
        (_, Some(seal)) if seal.left != left.id => {
            return Err(Stop::Failed(format!("it is sealed for shard {}", seal.left)));
        }
        (_, Some(seal)) => *seal,
        (shown, None) if shown.epochs() > right.epochs() => {
            learn(&job.placement, vec![shown]).await?;
            return Err(Stop::Retry("the right has changed meanwhile".into()));
        }
        _ => {
            gives_way(job, pair)?;
            all_answer(job, pair)?;
            all_serve(job, pair).await?;
            align(job, pair).await?;
            gives_way(job, pair)?;
            seal(job, pair).await?
        }
    };
    await_seal(job, &seal).await?;
    if job.placement.env.fault("placement.merge_given_up") {
        return Err(Stop::Failed("by fault point".into()));
    }
    job.at_step("absorbing").await?;
    let command = ReplicaCommand::Absorb(seal);
    match tell_leader(&job.placement, &job.session, left, &command).await? {
        ReplicaReply::Changed(_) => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// What one of its copies knows of a shard.
async fn status(job: &Job, shard: &ShardDescriptor) -> Result<(ShardDescriptor, Option<Box<Seal>>), Stop> {
    let command = ReplicaCommand::Status { shard: shard.id };
    match tell_leader(&job.placement, &job.session, shard, &command).await? {
        ReplicaReply::Status { descriptor, seal, .. } => Ok((descriptor, seal)),
        other => Err(unexpected(&other)),
    }
}

/// Nobody has asked for it, and now somebody asks for a shard to begin there: the split waits for the end of this.
fn gives_way(job: &Job, pair: &Pair) -> Result<(), Stop> {
    let state = job.placement.machine.state();
    let wanted = Operation::Split { at: pair.right.span.start.clone() };
    match job.is_of(SCHEDULER) && state.running().any(|record| record.status.operation == wanted) {
        true => Err(Stop::Failed("a shard is to begin there".into())),
        false => Ok(()),
    }
}

/// A node that does not answer would hold the merge up, and the merge its repair.
fn all_answer(job: &Job, pair: &Pair) -> Result<(), Stop> {
    let view = view(&job.placement, &job.session);
    let usable = |node: &NodeId| view.nodes.get(node).is_some_and(|node| node.usable);
    let mut nodes = pair.left.replicas.iter().chain(&pair.right.replicas).map(|replica| replica.node);
    match nodes.find(|node| !usable(node)) {
        None => Ok(()),
        Some(node) if job.placement.env.boottime() - job.session.began < HEAR_FIRST => {
            Err(Stop::Retry(format!("waiting for node {node}")))
        }
        Some(node) => Err(Stop::Failed(format!("node {node} does not answer"))),
    }
}

/// A copy that is lost is replaced first; nothing replaces it while this works on the shards.
async fn all_serve(job: &Job, pair: &Pair) -> Result<(), Stop> {
    let env = &job.placement.env;
    let until = env.boottime() + REPORTED;
    loop {
        let lost = [&pair.left, &pair.right]
            .into_iter()
            .find_map(|shard| Some((shard.id, job.session.unserved(shard)?)));
        match lost {
            None => return Ok(()),
            Some(_) if env.boottime() < until => env.sleep(LOOK_AGAIN).await,
            Some((shard, copy)) => {
                let why =
                    format!("the copy of shard {shard} on node {} is lost, and replaced first", copy.node);
                return Err(Stop::Failed(why));
            }
        }
    }
}

/// Moves the right's copies to the nodes of the left.
async fn align(job: &Job, pair: &Pair) -> Result<(), Stop> {
    let nodes = |shard: &ShardDescriptor| -> BTreeSet<NodeId> {
        shard.replicas.iter().filter(|r| r.role == ReplicaRole::Voter).map(|r| r.node).collect()
    };
    let (left, right) = (nodes(&pair.left), nodes(&pair.right));
    if left.len() != pair.left.replicas.len() {
        return Err(changing(job, &pair.left));
    }
    if left.len() != right.len() {
        let why = format!("the left has {} copies, the right {}", left.len(), right.len());
        return Err(Stop::Failed(why));
    }
    let (missing, extra) = (left.difference(&right), right.difference(&left));
    for (to, from) in missing.zip(extra) {
        probe!("placement.merge_moved_a_copy");
        member::replace(job, pair.right.id, *from, Some(*to)).await?;
    }
    match job.shard(pair.right.id)?.replicas.len() == left.len() {
        true => Ok(()),
        false => Err(changing(job, &job.shard(pair.right.id)?)),
    }
}

/// A copy has no vote yet. If nothing works on that, nothing will while this is under way.
fn changing(job: &Job, shard: &ShardDescriptor) -> Stop {
    let state = job.placement.machine.state();
    let works = |operation: &Operation| {
        !matches!(operation, Operation::Merge { .. }) && state.concerned(operation).contains(&shard.id)
    };
    match state.running().any(|record| works(&record.status.operation)) {
        true => Stop::Retry(format!("a change of the members of shard {} is under way", shard.id)),
        false => Stop::Failed(format!("a copy of shard {} has no vote, and is taken back first", shard.id)),
    }
}

/// From then on neither is merged into another before this has come to its end.
async fn begin_seal(job: &Job, left: ShardId, right: ShardId) -> Result<(), Stop> {
    let begin = Command::BeginSeal { id: job.id, left, right };
    propose(&job.placement, begin).await.map(|_| ()).map_err(again)
}

async fn seal(job: &Job, pair: &Pair) -> Result<Seal, Stop> {
    let Pair { left, right } = pair;
    // Seen anew: its copies may have moved.
    let right = job.shard(right.id)?;
    // The driver's log decides; who would be refused by it asks nobody else first.
    let may = job.placement.machine.state().may_begin_seal(job.id, left.id, right.id);
    may.map_err(Stop::Retry)?;
    job.at_step("asking the nodes").await?;
    let prepare = ReplicaCommand::PrepareMerge { left: left.id, right: right.id };
    everywhere(job, left, &prepare, PREPARE).await?;
    begin_seal(job, left.id, right.id).await?;
    job.at_step("sealing").await?;
    let command = ReplicaCommand::Seal { shard: right.id, version: right.version, left: left.clone() };
    match tell_leader(&job.placement, &job.session, &right, &command).await? {
        ReplicaReply::Sealed(seal) => Ok(*seal),
        other => Err(unexpected(&other)),
    }
}

/// Every node must have applied the seal. One that does not get there makes the merge fail: nobody is served meanwhile.
async fn await_seal(job: &Job, seal: &Seal) -> Result<(), Stop> {
    job.at_step("waiting for all copies").await?;
    everywhere(job, &seal.right, &ReplicaCommand::AwaitSeal(seal.clone()), AWAIT).await
}

/// Tells all nodes with copies, again and again, until all of them have answered. It fails if that takes too long.
async fn everywhere(
    job: &Job,
    shard: &ShardDescriptor,
    command: &ReplicaCommand,
    (once, patience): (Duration, Duration),
) -> Result<(), Stop> {
    let env = &job.placement.env;
    let began = env.boottime();
    loop {
        match all(job, shard, command, once).await {
            Err(why) if env.boottime() - began > patience => return Err(Stop::Failed(why)),
            Err(_) if is_current(&job.placement, &job.session) => env.sleep(LOOK_AGAIN).await,
            Err(_) => return Err(Stop::Lost),
            Ok(()) => return Ok(()),
        }
    }
}

/// Tells them at the same time, once.
async fn all(
    job: &Job,
    shard: &ShardDescriptor,
    command: &ReplicaCommand,
    patience: Duration,
) -> Result<(), String> {
    let told = shard.replicas.iter().map(|replica| async move {
        let answer = rpc::call(&job.placement.env, replica.node, command, patience).await;
        let answer = answer.map_err(|error| format!("node {}: {error}", replica.node))?;
        answer.result.map(|_| ()).map_err(|error| format!("node {}: {error}", replica.node))
    });
    futures::future::try_join_all(told).await.map(|_| ())
}

enum Undone {
    /// It came too late.
    Absorbed,
    Serves,
}

async fn undo(job: &Job, pair: &Pair) -> Result<Undone, Stop> {
    probe!("placement.merge_undone");
    job.at_step("undoing").await?;
    let right = &pair.right;
    let mut version = right.version;
    if let (_, Some(seal)) = status(job, right).await? {
        version = seal.right.version;
        let left = job.shard(seal.left).map_err(again)?;
        let forget = ReplicaCommand::Forget(*seal);
        match tell_leader(&job.placement, &job.session, &left, &forget).await.map_err(again)? {
            ReplicaReply::Changed(_) => return Ok(Undone::Absorbed),
            ReplicaReply::Done => led_beside_the_left(job, right, &left).await?,
            other => return Err(unexpected(&other)),
        }
    }
    // Also if no copy told of a seal: one that is on its way is refused from then on.
    let unseal = ReplicaCommand::Unseal { shard: right.id, version };
    match tell_leader(&job.placement, &job.session, right, &unseal).await.map_err(again)? {
        ReplicaReply::Changed(_) => Ok(Undone::Serves),
        // It came while this was under way, or the copy of the left beside the right's leader lags.
        ReplicaReply::Sealed(_) => Err(Stop::Retry("the left has not forgotten the seal yet".into())),
        other => Err(unexpected(&other)),
    }
}

/// Only beside a copy of the left that goes on can it be seen that the left has forgotten.
async fn led_beside_the_left(job: &Job, right: &ShardDescriptor, left: &ShardDescriptor) -> Result<(), Stop> {
    let serves = |node: NodeId| left.replica_on(node).is_some_and(|copy| job.session.serves(left.id, copy));
    if job.session.leader_of(right.id).is_none_or(serves) {
        return Ok(());
    }
    let beside = |copy: &&Replica| serves(copy.node) && job.session.serves(right.id, copy);
    match right.voters().find(beside) {
        Some(heir) => member::transfer(job, right.id, heir.node).await.map_err(again),
        None => Err(Stop::Retry("no copy of the right lies beside one of the left that serves".into())),
    }
}

/// What does not work now is tried again: it does not end the merge.
fn again(stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) => Stop::Retry(why),
        other => other,
    }
}

fn unexpected(reply: &ReplicaReply) -> Stop {
    Stop::Retry(format!("an unexpected answer: {reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sample::shard;

    fn knowing(shards: &[ShardDescriptor]) -> State {
        let mut state = State::default();
        state.apply(Command::Learn(shards.into()), &mut Default::default());
        state
    }

    /// The right may be sealed for the half of the left that is known: the merge would end before that is decided.
    #[test]
    fn a_merge_is_not_over_because_half_of_its_left_is_not_known() {
        let at = b"m";
        let both = knowing(&[shard(1, "", Some("m"), 1), shard(2, "m", None, 1)]);
        assert!(matches!(pair(&both, at), Ok(Some(_))));
        assert!(matches!(pair(&knowing(&[shard(1, "", None, 1)]), at), Ok(None)));
        assert!(matches!(
            pair(&knowing(&[shard(1, "", Some("d"), 1), shard(2, "m", None, 1)]), at),
            Err(Stop::Retry(_))
        ));
        assert!(matches!(pair(&knowing(&[shard(1, "", Some("m"), 1)]), at), Err(Stop::Retry(_))));
    }
}
