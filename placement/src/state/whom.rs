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
            | Operation::Remake { shard, .. } => vec![*shard],
            Operation::Scatter { .. } | Operation::Decommission { .. } => Vec::new(),
            Operation::Merge { at } => {
                self.neighbours(at).map(|(left, right)| vec![left.id, right.id]).unwrap_or_default()
            }
        }
    }

    /// The shards that some operation works on.
    pub fn busy(&self) -> BTreeSet<ShardId> {
        self.running().flat_map(|record| self.concerned(&record.status.operation)).collect()
    }

    /// The shard that begins at the key and the one before it; `None`: none begins there.
    pub fn neighbours(&self, at: &[u8]) -> Option<(&ShardDescriptor, &ShardDescriptor)> {
        let right = self.owner(at).filter(|shard| shard.span.start[..] == *at)?;
        Some((self.owner_before(at)?, right))
    }

    /// What a scheduler has planned may have been overtaken by what somebody asked for.
    pub(super) fn refuse_if_busy(&self, operation: &Operation, origin: &str) -> Option<Reply> {
        let busy = self.busy();
        let concerned = self.concerned(operation);
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
