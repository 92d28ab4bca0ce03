//! What is said about shards that have lost their quorum for good, and about what became of them (`docs/recovery.md`).

use crate::{LogPosition, NodeId, Replica, ReplicaId, ShardDescriptor, ShardId, Span, Timestamp};
use minicbor::{Decode, Encode};

/// What a node says of a copy that is left.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Testimony {
    #[n(0)]
    pub replica: Replica,
    /// As of the entries applied here.
    #[n(1)]
    pub descriptor: ShardDescriptor,
    /// The end of its log.
    #[n(2)]
    pub last: LogPosition,
    #[n(3)]
    pub committed: LogPosition,
    #[n(4)]
    pub applied: LogPosition,
    /// K: all that was written up to here is in it.
    #[n(5)]
    pub closed: Timestamp,
    /// All that its log names as members.
    #[n(6)]
    pub members: Vec<Replica>,
    /// The voters of each configuration that may be active, as far as its log shows.
    #[n(7)]
    pub configs: Vec<Vec<ReplicaId>>,
    /// It leads, and has a lease.
    #[n(8)]
    pub serves: bool,
}

/// A copy that no node in reach holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LostCopy {
    #[n(0)]
    pub replica: Replica,
    /// When its node was last heard of, at the latest.
    #[n(1)]
    pub heard: Timestamp,
    /// Why it is lost.
    #[n(2)]
    pub why: String,
}

/// What may be missing of what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Loss {
    /// Nothing, for this reason.
    #[n(0)]
    Nothing(#[n(0)] String),
    /// What was acknowledged from a time on, in entries behind a place of the log.
    #[n(1)]
    Interval {
        /// All that was acknowledged before is kept; zero: that is not known of anything.
        #[n(0)]
        from: Timestamp,
        /// The lost nodes, if they are dead, have committed nothing above.
        #[n(1)]
        until: Timestamp,
        #[n(2)]
        after: LogPosition,
    },
}

/// How a shard would be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecoveryPlan {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub span: Span,
    /// The copy that goes on alone.
    #[n(2)]
    pub taken: Replica,
    /// The end of its log.
    #[n(3)]
    pub last: LogPosition,
    /// Copies that are left, too, and are given up.
    #[n(4)]
    pub others: Vec<Replica>,
    #[n(5)]
    pub lost: Vec<LostCopy>,
    /// `version` and `config_epoch` that come to an end,
    #[n(6)]
    pub before: (u64, u64),
    /// and those that begin, at least.
    #[n(7)]
    pub after: (u64, u64),
    #[n(8)]
    pub loss: Loss,
}

/// A shard without a quorum: what is left of it, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Survey {
    #[n(0)]
    pub descriptor: ShardDescriptor,
    /// The newest log first.
    #[n(1)]
    pub left: Vec<Testimony>,
    #[n(2)]
    pub lost: Vec<LostCopy>,
    /// Or why not.
    #[n(3)]
    pub plan: Result<RecoveryPlan, String>,
}

/// The certificate of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Recovery {
    /// The operation's number.
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub plan: RecoveryPlan,
    /// Who asked for it, as he said,
    #[n(2)]
    pub by: String,
    /// and when.
    #[n(3)]
    pub at: Timestamp,
    /// What the copy that was taken is called now.
    #[n(4)]
    pub reborn: Option<ReplicaId>,
    /// Empty while it runs.
    #[n(5)]
    pub outcome: String,
    /// The old members are over: nothing that they say counts any more.
    #[n(6)]
    pub begun: bool,
}

impl RecoveryPlan {
    /// The copies that were members before: none of them ever is again.
    pub fn ended(&self) -> impl Iterator<Item = &Replica> {
        self.lost.iter().map(|lost| &lost.replica).chain(&self.others).chain([&self.taken])
    }

    /// Whether somebody who was shown the other one has agreed to this one. (The nodes may be heard of later, and the interval grow by it.)
    pub fn is_as_shown(&self, shown: &RecoveryPlan) -> bool {
        let lost = |plan: &RecoveryPlan| plan.lost.iter().map(|lost| lost.replica.id).collect::<Vec<_>>();
        let proven = |plan: &RecoveryPlan| matches!(plan.loss, Loss::Nothing(_));
        let what = |plan: &RecoveryPlan| (plan.shard, plan.taken.clone(), plan.last, plan.others.clone());
        what(self) == what(shown) && lost(self) == lost(shown) && proven(self) == proven(shown)
    }
}

impl Loss {
    /// Whether acknowledged writes may be missing.
    pub fn is_possible(&self) -> bool {
        matches!(self, Loss::Interval { .. })
    }
}

impl LostCopy {
    pub fn node(&self) -> NodeId {
        self.replica.node
    }
}
