//! What becomes of a shard that has lost its quorum for good: which copy goes on alone, and what may be missing of what was
//! acknowledged (`docs/recovery.md` has the argument).

use quorate_env::planted;
use quorate_proto::{
    LogPosition, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, Timestamp,
    placement::{Loss, LostCopy, RecoveryPlan, Survey, Testimony},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A node counts as lost when it has been silent for so long: the leases of its catalog, and so what its gateways acknowledge, are
/// over then.
pub const QUIET: Duration = Duration::from_secs(10);

/// What a node says of its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Told(Box<Testimony>),
    /// It lives, and has no copy that could be used, for this reason.
    Nothing(String),
    /// It was heard of at this time, at the latest, and since then not for so long.
    Silent(Timestamp, Duration),
    /// It lives, and does not answer.
    Unclear(String),
}

/// The picture of one shard.
pub struct Scene<'a> {
    /// As the map has it.
    pub shard: &'a ShardDescriptor,
    pub answers: &'a BTreeMap<NodeId, Answer>,
    pub now: Timestamp,
    /// Behind the last word of a node, its gateways acknowledge nothing any more after this.
    pub farewell: Duration,
}

/// The nodes that may hold a member, as far as was heard.
pub fn concerned(shard: &ShardDescriptor, answers: &BTreeMap<NodeId, Answer>) -> BTreeSet<NodeId> {
    members(shard, answers).values().map(|member| member.node).collect()
}

fn members(shard: &ShardDescriptor, answers: &BTreeMap<NodeId, Answer>) -> BTreeMap<ReplicaId, Replica> {
    let told = told(answers).flat_map(|testimony| &testimony.members);
    shard.replicas.iter().chain(told).map(|member| (member.id, member.clone())).collect()
}

fn told(answers: &BTreeMap<NodeId, Answer>) -> impl Iterator<Item = &Testimony> {
    answers.values().filter_map(|answer| match answer {
        Answer::Told(testimony) => Some(&**testimony),
        _ => None,
    })
}

/// Takes the copy with the newest log, as an election would.
pub fn survey(scene: &Scene<'_>) -> Survey {
    let mut left: Vec<Testimony> = told(scene.answers).cloned().collect();
    left.sort_by_key(|copy| {
        Reverse((copy.last, copy.replica.role == ReplicaRole::Voter, Reverse(copy.replica.node)))
    });
    let (lost, unclear) = lost(scene, &left);
    let plan = match obstacle(scene, &left).or_else(|| unclear.into_iter().next()) {
        Some(why) => Err(why),
        None => Ok(plan(scene, &left, &lost)),
    };
    Survey { descriptor: scene.shard.clone(), left, lost, plan }
}

/// The members that are lost, and why it is not clear of others.
fn lost(scene: &Scene<'_>, left: &[Testimony]) -> (Vec<LostCopy>, Vec<String>) {
    let (mut lost, mut unclear) = (Vec::new(), Vec::new());
    let there = |id: ReplicaId| left.iter().any(|copy| copy.replica.id == id);
    for member in members(scene.shard, scene.answers).into_values().filter(|member| !there(member.id)) {
        let node = member.node;
        let gone = |heard, why: String| LostCopy { replica: member.clone(), heard, why };
        match scene.answers.get(&node) {
            Some(Answer::Silent(heard, silent)) if *silent >= QUIET => {
                lost.push(gone(*heard, "its node is silent".into()));
            }
            Some(Answer::Silent(_, silent)) => unclear.push(format!(
                "node {node} has been silent for {} s only; what it may still be doing is over after {} s",
                silent.as_secs(),
                QUIET.as_secs()
            )),
            Some(Answer::Nothing(why)) => lost.push(gone(scene.now, why.clone())),
            Some(Answer::Told(other)) => {
                lost.push(gone(scene.now, format!("its node holds replica {} instead", other.replica.id)));
            }
            Some(Answer::Unclear(why)) => unclear.push(format!("node {node} lives: {why}")),
            None => unclear.push(format!("node {node} is not known")),
        }
    }
    (lost, unclear)
}

/// Why none of the copies that are left can go on alone.
fn obstacle(scene: &Scene<'_>, left: &[Testimony]) -> Option<String> {
    let Some(newest) = left.first() else { return Some("no copy is left".into()) };
    if let Some(leader) = left.iter().find(|copy| copy.serves) {
        return Some(format!("the copy on node {} leads, and has a quorum", leader.replica.node));
    }
    let ids: BTreeSet<ReplicaId> = left.iter().map(|copy| copy.replica.id).collect();
    let has_quorum = |config: &Vec<ReplicaId>| config.len() - lost_of(config, &ids) >= majority(config);
    if newest.configs.iter().all(has_quorum) {
        return Some("enough copies are left for a quorum: they will elect a leader".into());
    }
    let (here, known) = (newest.descriptor.version, scene.shard.version);
    if here < known {
        return Some(format!(
            "the newest copy that is left knows the shard at version {here}, and the map at {known}: it has missed a \
             split or a merge"
        ));
    }
    (newest.replica.role == ReplicaRole::Witness)
        .then(|| "the newest log is a witness's, without data".into())
}

fn majority(config: &[ReplicaId]) -> usize {
    config.len() / 2 + 1
}

fn lost_of(config: &[ReplicaId], left: &BTreeSet<ReplicaId>) -> usize {
    config.iter().filter(|id| !left.contains(id)).count()
}

fn plan(scene: &Scene<'_>, left: &[Testimony], lost: &[LostCopy]) -> RecoveryPlan {
    let newest = &left[0];
    let (version, config_epoch) = newest.descriptor.epochs();
    let before = (version.max(scene.shard.version), config_epoch.max(scene.shard.config_epoch));
    RecoveryPlan {
        shard: scene.shard.id,
        span: newest.descriptor.span.clone(),
        taken: newest.replica.clone(),
        last: newest.last,
        others: left[1..].iter().map(|copy| copy.replica.clone()).collect(),
        lost: lost.to_vec(),
        before,
        after: (before.0 + 1, before.1 + 1),
        loss: loss(scene, left, lost),
    }
}

/// Every acknowledged entry is in the logs of a majority of an active configuration. If the copies that are left are in each of
/// these majorities, one of them has it, and so has the one with the newest log.
fn loss(scene: &Scene<'_>, left: &[Testimony], lost: &[LostCopy]) -> Loss {
    let newest = &left[0];
    let ids: BTreeSet<ReplicaId> = left.iter().map(|copy| copy.replica.id).collect();
    let outvoted = |config: &&Vec<ReplicaId>| lost_of(config, &ids) >= majority(config);
    let proven = match planted!("placement.one_majority_proves_all") {
        true => newest.configs.iter().any(|config| !outvoted(&config)),
        false => !newest.configs.iter().any(|config| outvoted(&config)),
    };
    if proven && !newest.configs.is_empty() {
        return Loss::Nothing(proof(newest, &ids));
    }
    let last_words = lost.iter().map(|lost| lost.heard.plus(scene.farewell).min(scene.now));
    Loss::Interval {
        from: newest.closed,
        until: last_words.max().unwrap_or(scene.now).max(newest.closed),
        after: newest.last,
    }
}

fn proof(newest: &Testimony, left: &BTreeSet<ReplicaId>) -> String {
    let told = newest.configs.iter().map(|config| {
        format!(
            "{} of {} voters are lost, and a write needed {}",
            lost_of(config, left),
            config.len(),
            majority(config)
        )
    });
    let told: Vec<String> = told.collect();
    format!("{}: each is in a log that is left, and so in the newest one", told.join("; "))
}

/// For people: the copies that are left, and how far the log of the one that is taken goes.
pub fn candidates(plan: &RecoveryPlan) -> Vec<(NodeId, i64, String)> {
    let LogPosition { term, index } = plan.last;
    let score = i64::try_from(index).unwrap_or(i64::MAX);
    let taken = (
        plan.taken.node,
        score,
        format!("replica {} has the newest log, up to {term}.{index}", plan.taken.id),
    );
    let others = plan.others.iter().map(|copy| (copy.node, 0, format!("replica {} is behind it", copy.id)));
    [taken].into_iter().chain(others).collect()
}

/// The same of what is lost.
pub fn told_of_loss(plan: &RecoveryPlan) -> String {
    let lost = plan.lost.iter().map(|lost| format!("node {} ({})", lost.node(), lost.why));
    let lost: Vec<String> = lost.collect();
    let missing = match &plan.loss {
        Loss::Nothing(proof) => format!("no acknowledged write can be missing: {proof}"),
        Loss::Interval { after, .. } => format!("acknowledged writes behind entry {after} may be missing"),
    };
    format!("lost are the copies on {}; {missing}", lost.join(", "))
}

#[cfg(test)]
mod tests;
