//! Which shards operations work on, and where users have asked for shards to begin.

use super::{OperationRecord, State, Touched};
use crate::command::Reply;
use quorate_env::planted;
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

    /// Operations work on it, and all of them may have to wait for a member that was never made, since without it there may be no leader:
    /// those that replace copies on dead nodes, and merges, which do not end before their shards have told what became of a seal.
    pub fn waits_for_members(&self, id: ShardId) -> bool {
        let waits = |operation: &Operation| match operation {
            Operation::Repair { .. } => !planted!("placement.repair_waits_for_a_member"),
            Operation::Merge { .. } => !planted!("placement.merge_waits_for_a_member"),
            _ => false,
        };
        let operations = self.running().map(|record| &record.status.operation);
        let mut of_it = operations.filter(|operation| self.concerned(operation).contains(&id)).peekable();
        of_it.peek().is_some() && of_it.all(waits)
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
        let holes_count = !planted!("placement.merges_overtake");
        match (left, right) {
            (Some(left), Some(right)) if holes_count || left.span.end.as_ref() == Some(&right.span.start) => {
                vec![left.id, right.id]
            }
            (_, Some(right)) if holes_count => vec![right.id],
            _ => Vec::new(),
        }
    }

    /// Notes that a merge is about to have a shard sealed, before it does. By then the left may have been divided, so that the two do not
    /// look like neighbours, and yet its log alone decides of the seal: it is not merged away before.
    pub(super) fn begin_seal(
        &mut self,
        id: u64,
        left: ShardId,
        right: ShardId,
        touched: &mut Touched,
    ) -> Reply {
        if let Err(why) = self.may_begin_seal(id, left, right) {
            return Reply::Refused(why);
        }
        touched.operations.insert(id);
        if let Some(record) = self.operations.get_mut(&id) {
            record.seals.insert((left, right));
        }
        Reply::Done
    }

    /// # Errors
    /// Why a merge may not have a shard sealed now.
    pub fn may_begin_seal(&self, id: u64, left: ShardId, right: ShardId) -> Result<(), String> {
        let merge = self.operations.get(&id).map(|record| &record.status.operation);
        let Some(Operation::Merge { at }) = merge else {
            return Err(format!("operation {id} is no merge"));
        };
        if self.neighbours(at).is_none_or(|(one, other)| (one.id, other.id) != (left, right)) {
            return Err(format!("shards {left} and {right} are no neighbours"));
        }
        let decides = |(of, sealed): &(ShardId, ShardId)| *of == right || *sealed == left;
        let others = self.running().filter(|record| record.status.id != id);
        let before = others.filter(|record| record.seals.iter().any(decides)).map(|record| record.status.id);
        match before.min() {
            Some(before) if !planted!("placement.awaited_left_merged_away") => {
                Err(format!("waiting for operation {before}"))
            }
            _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command::Command, state::sample::shard};
    use quorate_proto::{Key, Timestamp};

    fn apply(state: &mut State, command: Command) -> Reply {
        state.apply(command, &mut Touched::default())
    }

    fn learn<const N: usize>(state: &mut State, shards: [ShardDescriptor; N]) {
        apply(state, Command::Learn(shards.into()));
    }

    fn merge(state: &mut State, at: &str) -> u64 {
        let (operation, origin) = (Operation::Merge { at: Key::from(at) }, OPERATOR.to_owned());
        let at = Timestamp::from_micros(1);
        match apply(state, Command::StartOperation { operation, origin, at, decision: None }) {
            Reply::Number(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn end(state: &mut State, id: u64) {
        let at = Timestamp::from_micros(2);
        apply(state, Command::NoteOperation { id, state: OperationState::Done, step: String::new(), at });
    }

    fn seal(state: &mut State, id: u64, left: u64, right: u64) -> Result<(), String> {
        match apply(state, Command::BeginSeal { id, left: ShardId(left), right: ShardId(right) }) {
            Reply::Refused(why) => Err(why),
            _ => Ok(()),
        }
    }

    /// Shard 3 is sealed for shard 2 when that is divided: its neighbour is shard 4 now.
    #[test]
    fn a_shard_that_another_may_be_sealed_for_is_not_merged_away() {
        let mut state = State::default();
        learn(&mut state, [shard(1, "", Some("b"), 1), shard(2, "b", Some("m"), 1), shard(3, "m", None, 1)]);
        let first = merge(&mut state, "m");
        seal(&mut state, first, 2, 3).unwrap();
        learn(&mut state, [shard(2, "b", Some("d"), 2), shard(4, "d", Some("m"), 2)]);
        let second = merge(&mut state, "b");
        seal(&mut state, second, 1, 2).unwrap_err();
        // Its left may have been divided again, and it be sealed for another: all of them count.
        seal(&mut state, first, 4, 3).unwrap();
        seal(&mut state, second, 1, 2).unwrap_err();
        end(&mut state, first);
        seal(&mut state, second, 1, 2).unwrap();
    }

    #[test]
    fn nothing_is_sealed_for_a_shard_that_may_be_sealed_itself_or_is_no_neighbour() {
        let mut state = State::default();
        learn(&mut state, [shard(1, "", Some("b"), 1), shard(2, "b", Some("m"), 1), shard(3, "m", None, 1)]);
        let (first, second) = (merge(&mut state, "m"), merge(&mut state, "b"));
        seal(&mut state, second, 1, 2).unwrap();
        seal(&mut state, first, 2, 3).unwrap_err();
        learn(&mut state, [shard(1, "", Some("m"), 2)]);
        end(&mut state, second);
        seal(&mut state, first, 2, 3).unwrap_err();
        seal(&mut state, first, 1, 3).unwrap();
    }
}
