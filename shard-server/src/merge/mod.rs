//! Merge of a shard, *the right*, into its left neighbour, told in order (PROTOCOL 26; `docs/merges.md` tells it with the
//! placement driver's part and what a crash leaves at each step).
//!
//! *Seal* ([`seal`]): an entry of the right's log. From its evaluation on nothing is written there, nothing is read above K, and K
//! stands. It takes the locks of the right along.
//! *Everywhere*: each node that holds the two has applied the seal, durably, so that its copy of the right is complete whatever
//! happens to the other copies.
//! *Absorb* ([`absorb`]): an entry of the left's log. Each replica waits until its local copy of the right has come to the seal,
//! then takes its keys over; no data moves. Or *forget*, in the left's log too: then never. Both ask for the left at the version
//! that the seal names and raise it, so that one of them counts. Behind the right's locks and low water, in that order, its keys
//! are open to requests at the left.
//! *Unseal*, in the right's log: it serves again, at a later version. The leader looks at the local copy of the left for the proof
//! that it never will be absorbed.
//!
//! A shard that is sealed changes no data: whatever stands in its log behind the seal is checked for that on every replica.

mod absorb;
mod seal;

pub(crate) use absorb::{Absorbed, absorb, forget, has_absorbed, is_decided, put_gone};
pub(crate) use seal::{await_seal, prepare, seal, unseal};

use crate::{
    Context,
    command::{Command, LockImage, MergeStep, Sealed},
    replica::{RangeState, Replica},
};
use quorate_consensus::Fatal;
use quorate_proto::{KvError, LogPosition, Replica as Member, ReplicaRole, ShardDescriptor, ShardId};
use quorate_storage::{
    WriteBatch,
    meta::{self, Kind},
};
use std::sync::Arc;

/// Present while the shard is sealed.
pub(crate) const SEALED: Kind<Sealed> = Kind::new(meta::FIRST_FREE_KIND);

pub(crate) fn put_sealed(batch: &mut WriteBatch, shard: ShardId, sealed: Option<&Sealed>) {
    match sealed {
        Some(sealed) => meta::put(batch, shard, &SEALED, sealed),
        None => meta::remove(batch, shard, &SEALED),
    }
}

/// What is left to do once the batch is written.
pub(crate) enum Afterwards {
    Sealed,
    /// The copy whose keys this one has now.
    Absorbed(Arc<Replica>),
    Unsealed(LogPosition, LockImage),
}

/// While a step is applied.
pub(crate) fn apply(
    replica: &Arc<Replica>,
    step: MergeStep,
    at: LogPosition,
    state: &mut RangeState,
    batch: &mut WriteBatch,
) -> Result<Option<Afterwards>, Fatal> {
    match step {
        MergeStep::Seal(mut sealed) => {
            sealed.seal.position = at;
            state.sealed = Some(Arc::new(sealed));
            Ok(Some(Afterwards::Sealed))
        }
        MergeStep::Absorb(seal, descriptor) => {
            absorb::take_over(replica, seal, descriptor, at, state, batch).map(Afterwards::Absorbed).map(Some)
        }
        MergeStep::Forget(_, _, version) => {
            state.descriptor.version = version;
            Ok(None)
        }
        MergeStep::Unseal(version) => {
            state.descriptor.version = version;
            let sealed = state.sealed.take();
            Ok(sealed.map(|sealed| Afterwards::Unsealed(at, sealed.locks.clone())))
        }
    }
}

/// Once the batch of a step is written.
pub(crate) fn after_apply(replica: &Arc<Replica>, done: Afterwards) {
    match done {
        Afterwards::Sealed => {
            quorate_env::probe!("shard.sealed");
            if let Some(leader) = replica.leader_now() {
                // Who waits for a lock asks anew. The locks themselves stand in the seal.
                leader.split_off(&replica.state.load().descriptor.span.start);
            }
        }
        Afterwards::Absorbed(right) => {
            quorate_env::probe!("shard.absorbed");
            replica.litter.written();
            replica.ledger.written();
            replica.context.let_go(&right);
        }
        Afterwards::Unsealed(at, locks) => {
            quorate_env::probe!("shard.unsealed");
            hand(replica, at, locks);
            replica.decided.notify_waiters();
        }
    }
}

/// To the leader, or to whoever leads next if its term begins right behind `at`.
fn hand(replica: &Replica, at: LogPosition, locks: LockImage) {
    let locks = if quorate_env::planted!("shard.locks_lost_at_merge") {
        LockImage { held: Vec::new(), ..locks }
    } else {
        locks
    };
    match replica.leader_now().filter(|leader| !leader.is_over()) {
        Some(leader) => leader.core().locks.restore(locks.held, replica.context.env.boottime()),
        None => replica.inherit(at, locks),
    }
}

/// Behind a seal stands nothing that changes data: copies of the right are alike wherever behind it they stand.
pub(crate) fn check_sealed(state: &RangeState, at: LogPosition, command: &Command) -> Result<(), Fatal> {
    let harmless = command.batch.is_empty() && command.extras.changes_nothing();
    match &state.sealed {
        Some(sealed) if !harmless => Err(Fatal(format!(
            "shard {}: entry {at} changes what entry {} has sealed",
            state.descriptor.id, sealed.seal.position
        ))),
        _ => Ok(()),
    }
}

/// Where copies of both must be, and nothing is about to change: all with a vote and data.
fn nodes(members: &[Member]) -> Option<Vec<u64>> {
    let mut nodes: Vec<u64> = members.iter().map(|member| member.node.0).collect();
    nodes.sort_unstable();
    members.iter().all(|member| member.role == ReplicaRole::Voter).then_some(nodes)
}

/// Whether the replica's members are those of the descriptor, with no change under way, and on these nodes.
fn is_aligned(replica: &Replica, other: &ShardDescriptor) -> Result<bool, KvError> {
    let own = replica.descriptor();
    let members = replica.group()?.members();
    let settled = !members.joint && nodes(&members.replicas) == nodes(&own.replicas);
    Ok(settled && nodes(&own.replicas).is_some() && nodes(&own.replicas) == nodes(&other.replicas))
}

impl Replica {
    pub(crate) fn not_sealed(&self, state: &RangeState) -> Result<(), KvError> {
        match &state.sealed {
            Some(sealed) if !quorate_env::planted!("shard.sealed_serves") => {
                let why = format!("its keys are being taken over by shard {}", sealed.seal.left);
                Err(self.not_ready(&why))
            }
            _ => Ok(()),
        }
    }

    /// Until a sealed shard serves again or has been absorbed, but not for long.
    pub(crate) async fn await_merge(&self) {
        quorate_env::probe!("shard.waits_for_merge");
        let over = async {
            loop {
                let mut decided = std::pin::pin!(self.decided.notified());
                decided.as_mut().enable();
                if self.is_retired() || self.state.load().sealed.is_none() {
                    return;
                }
                decided.await;
            }
        };
        // Who is refused then asks again, or gives up.
        let _ = self.context.env.timeout(self.context.config.seal_wait, over).await;
    }
}

/// Whether an entry that absorbs another shard can be applied here: its local copy has come to the seal.
pub(crate) fn may_apply(context: &Context, step: &MergeStep) -> bool {
    let MergeStep::Absorb(seal, _) = step else { return true };
    if quorate_env::planted!("shard.absorbed_too_early") {
        return true;
    }
    let right = context.replica(seal.right.id);
    right.is_some_and(|right| {
        let state = right.state.load();
        state.sealed.as_ref().is_some_and(|sealed| sealed.seal.position == seal.position)
            && right.applied.lock().position >= seal.position
    })
}
