//! Which shards operations work on, and where users have asked for shards to begin.

use super::{OperationRecord, State, Touched};
use crate::command::Reply;
use quorate_proto::{
    ShardDescriptor, ShardId,
    placement::{Operation, OperationState},
};
use std::collections::BTreeSet;

/// The origin of operations that a user has asked for,
pub const OPERATOR: &str = "operator";
/// and of those that nobody did: they give way to all others.
pub const SCHEDULER: &str = "scheduler";

impl State {
    /// The shards that an operation works on.
    pub fn concerned(&self, operation: &Operation) -> Vec<ShardId> {
        match operation {
            Operation::Split { at } => self.owner(at).into_iter().map(|shard| shard.id).collect(),
            Operation::MoveReplica { shard, .. }
            | Operation::TransferLeader { shard, .. }
            | Operation::Repair { shard, .. }
            | Operation::Withdraw { shard, .. }
            | Operation::Resize { shard, .. }
            | Operation::Remake { shard, .. } => vec![*shard],
            Operation::Recover { plan, .. } => vec![plan.shard],
            Operation::Scatter { .. } | Operation::Decommission { .. } => Vec::new(),
            Operation::Merge { at } => self.around(at),
        }
    }

    /// The shards that some operation works on.
    pub fn busy(&self) -> BTreeSet<ShardId> {
        self.running().flat_map(|record| self.concerned(&record.status.operation)).collect()
    }

    /// Operations work on it, and all of them replace copies on dead nodes. Those wait for its leader, and may have to wait for a member
    /// that was never made.
    pub fn is_only_repaired(&self, id: ShardId) -> bool {
        let operations = self.running().map(|record| &record.status.operation);
        let mut of_it = operations.filter(|operation| self.concerned(operation).contains(&id)).peekable();
        of_it.peek().is_some() && of_it.all(|operation| matches!(operation, Operation::Repair { .. }))
    }

    /// The shard that begins at the key and the one before it; `None`: none begins there.
    pub fn neighbours(&self, at: &[u8]) -> Option<(&ShardDescriptor, &ShardDescriptor)> {
        let right = self.owner(at).filter(|shard| shard.span.start[..] == *at)?;
        Some((self.owner_before(at)?, right))
    }

    /// The shard that begins at the key and the next one known before it, each if there is one: between them may be one that the
    /// map does not know yet, and merges take turns all the same.
    fn around(&self, at: &[u8]) -> Vec<ShardId> {
        let right = self.owner(at).filter(|shard| shard.span.start[..] == *at);
        let before =
            self.shards.values().map(|record| &record.descriptor).filter(|shard| shard.span.start[..] < *at);
        let left = before
            .max_by(|one, other| (&one.span.start, one.epochs()).cmp(&(&other.span.start, other.epochs())));
        let holes_count = !quorate_env::planted!("placement.merges_overtake");
        match (left, right) {
            (Some(left), Some(right)) if holes_count || left.span.end.as_ref() == Some(&right.span.start) => {
                vec![left.id, right.id]
            }
            (_, Some(right)) if holes_count => vec![right.id],
            _ => Vec::new(),
        }
    }

    /// What a scheduler has planned may have been overtaken by what somebody asked for.
    pub(super) fn refuse_if_busy(&self, operation: &Operation, origin: &str) -> Option<Reply> {
        let busy = self.busy();
        let concerned = self.concerned(operation);
        if let Operation::Recover { plan, .. } = operation
            && self.is_being_recovered(plan.shard)
        {
            return Some(Reply::Refused(format!("shard {} is being recovered", plan.shard)));
        }
        let overtaken = origin == SCHEDULER && concerned.iter().any(|shard| busy.contains(shard));
        overtaken.then(|| Reply::Refused(format!("shards {concerned:?} are being worked on")))
    }

    /// Remembers what a user has asked for, in the very entry that ends the operation: before it, the operation keeps
    /// schedulers away.
    pub(super) fn note_boundary(&mut self, id: u64, touched: &mut Touched) {
        let Some(OperationRecord { status, .. }) = self.operations.get(&id) else { return };
        if status.origin != OPERATOR || status.state != OperationState::Done {
            return;
        }
        match &status.operation {
            Operation::Split { at } => {
                touched.boundaries.insert(at.clone());
                self.boundaries.insert(at.clone());
            }
            Operation::Merge { at } => {
                touched.boundaries.insert(at.clone());
                self.boundaries.remove(at);
            }
            _ => {}
        }
    }
}
