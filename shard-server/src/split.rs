//! Split, told in order (PROTOCOL 25).
//!
//! *Evaluate*: the leader latches the whole shard for writing. So nothing reads or writes in the right span until the split is
//! applied here, and no lock there is given back, be it by the end of a transaction that is written down in the left one. It
//! proposes the two new descriptors in the shard's own log, with the locks that transactions asked for on the right.
//! *Apply*, on every replica: one batch gives the left half its range and founds the right half's metadata; no data moves.
//! *After apply*: the right half's group is opened at its founding position; on the parent's leader it campaigns first, and
//! the others leave it a second: a second leader would not have the locks.
//! Whoever leads it first has the locks, for its term's blank entry is the first behind that position. Whoever leads later
//! has not, whatever it was told here: some may have been given back since. They go on by hand-overs ([`crate::hand_over`]).
//! *A crash* before the batch is flushed leaves neither half's metadata; the split is applied again, and a right group's log
//! and vote from before the crash are opened as they are. After the flush both halves are found at start.

use crate::{
    Context,
    command::{Command, LockImage, Split},
    hand_over,
    latch::{Access, LatchSet},
    leader::Leader,
    replica::{RangeState, Replica},
};
use quorate_consensus::{FOUNDING_POSITION, Start};
use quorate_proto::{Key, KvError, Replica as Member, ReplicaId, ShardDescriptor, ShardId, Span, Timestamp};
use quorate_storage::{StorageError, WriteBatch};
use std::{sync::Arc, time::Duration};

/// How long the answer waits for the right half to be open here.
const OPEN_WAIT: Duration = Duration::from_secs(3);

/// Splits at `at` and returns both halves' descriptors; done already if `right` begins there.
pub(crate) async fn split(
    replica: &Arc<Replica>,
    version: u64,
    at: Key,
    right: ShardId,
    right_replicas: &[ReplicaId],
) -> Result<Vec<ShardDescriptor>, KvError> {
    let _one = replica.admin.lock().await;
    let leader = replica.leader()?;
    if let Some(done) = already(&replica.context, replica, &at, right) {
        return Ok(done);
    }
    let span = replica.state.load().descriptor.span.clone();
    if !span.contains(&at) || at == span.start {
        return Err(KvError::BadRequest { why: format!("{at:?} is not inside {span:?}") });
    }
    let right_span = Span { start: at.clone(), end: span.end.clone() };
    let spans =
        if quorate_env::planted!("shard.split_unlatched") { Vec::new() } else { vec![(span, Access::Write)] };
    let set = LatchSet { spans, ..LatchSet::default() };
    let latched = leader.latch(set).await?;
    let state = replica.state.load_full();
    replica.not_sealed(&state)?;
    let descriptor = state.descriptor.clone();
    if descriptor.version != version && !quorate_env::planted!("shard.late_split_accepted") {
        return Err(KvError::StaleRoute { shard: replica.shard, newer: vec![descriptor] });
    }
    let group = replica.group()?;
    let members = group.members();
    if members.joint || members.replicas.len() != descriptor.replicas.len() {
        return Err(replica.not_ready("a change of its members is under way"));
    }
    if right_replicas.len() != descriptor.replicas.len() {
        let why = format!("{} replica ids for {} replicas", right_replicas.len(), descriptor.replicas.len());
        return Err(KvError::BadRequest { why });
    }
    let locks = locks(&leader, &right_span).ok_or_else(|| {
        quorate_env::probe!("shard.split_waits_for_locks");
        replica.not_ready("more is locked there than a split can take along")
    })?;
    let split = plan(replica, descriptor, right, right_span, right_replicas, locks);
    let both = vec![split.left.clone(), split.right.clone()];
    let mut command = Command::default();
    command.extras.split = Some(split);
    drop(replica.propose(&leader, latched, command).await?);
    quorate_env::count!("quorate_shard_splits_total");
    let open = async {
        while replica.context.replica(right).is_none_or(|r| r.group.load().is_none()) {
            replica.context.env.sleep(Duration::from_millis(5)).await;
        }
    };
    // It opens all the same when this takes longer.
    let _ = replica.context.env.timeout(OPEN_WAIT, open).await;
    Ok(both)
}

fn already(
    context: &Arc<Context>,
    replica: &Replica,
    at: &Key,
    right: ShardId,
) -> Option<Vec<ShardDescriptor>> {
    let right = context.replica(right)?.descriptor();
    (right.span.start == *at).then(|| vec![replica.descriptor(), right])
}

fn locks(leader: &Leader, right: &Span) -> Option<LockImage> {
    let held = leader.core().held(right);
    let held = if quorate_env::planted!("shard.locks_lost_at_split") { Vec::new() } else { held };
    hand_over::in_one(held)
}

fn plan(
    replica: &Replica,
    left: ShardDescriptor,
    id: ShardId,
    span: Span,
    ids: &[ReplicaId],
    locks: LockImage,
) -> Split {
    let closed =
        if quorate_env::planted!("shard.split_forgets_closed") { Timestamp::ZERO } else { replica.closed() };
    let clock = replica.context.env.clock();
    let version = left.version + 1;
    let replicas = left.replicas.iter().zip(ids);
    let right = ShardDescriptor {
        id,
        span: span.clone(),
        version,
        config_epoch: left.config_epoch,
        replicas: replicas.map(|(member, id)| Member { id: *id, ..member.clone() }).collect(),
    };
    let left = ShardDescriptor {
        span: Span { start: left.span.start.clone(), end: Some(span.start) },
        version,
        ..left
    };
    // Nothing that was read lies beyond the clock + ε (PROTOCOL 11), and nothing is read there any more.
    let low_water = clock.physical().plus(clock.bound()).max(closed);
    Split { left, right, low_water, closed, locks: Some(locks) }
}

/// While the split is applied: the right half's metadata and its place in the registry.
pub(crate) fn found_right(
    replica: &Replica,
    split: &Split,
    parent: &RangeState,
    batch: &mut WriteBatch,
) -> Result<bool, StorageError> {
    let mut state = RangeState {
        descriptor: split.right.clone(),
        low_water: split.low_water.max(parent.low_water),
        closed: split.closed,
        sealed: None,
        ..parent.clone()
    };
    if quorate_env::planted!("shard.split_forgets_low_water") {
        state.low_water = Timestamp::ZERO;
    }
    if quorate_env::planted!("shard.split_forgets_thresholds") {
        (state.gc_threshold, state.record_threshold) = (Timestamp::ZERO, Timestamp::ZERO);
    }
    replica.context.add_right(state, batch)
}

/// After the batch is written: opens the right half's group, which inherits the locks of its keys.
pub(crate) fn after_apply(replica: &Arc<Replica>, split: Split) {
    let context = replica.context.clone();
    replica.frontier.lock().raise(split.closed);
    let leader = replica.leader_now();
    if let Some(leader) = &leader {
        leader.split_off(&split.right.span.start);
    }
    let Some(right) = context.replica(split.right.id) else { return };
    if let Some(locks) = split.locks {
        right.inherit(FOUNDING_POSITION, locks);
    }
    quorate_env::probe!("shard.split_applied");
    let leads = leader.is_some();
    let open = async move {
        let start = Start::Founding { members: split.right.replicas };
        if let Err(error) = context.open(&right, start).await {
            tracing::error!(shard = right.shard.0, %error, "the right half of a split cannot be opened");
            return;
        }
        let Some(group) = right.group.load_full() else { return };
        if leads {
            group.campaign();
        } else if !quorate_env::planted!("shard.right_half_raced_for") {
            group.leave_to_another();
        }
    };
    replica.context.env.spawn("shard.open_right", open).detach();
}
