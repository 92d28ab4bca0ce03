//! Shards that go on without their quorum: the certificates, and whose word does not count any more.

use super::{State, Touched};
use crate::{command::Reply, planner::recover};
use quorate_proto::{
    ReplicaId, ShardDescriptor, ShardId, Timestamp,
    placement::{PlacementDecision, Recovery, RecoveryPlan},
};

/// The outcome of those that came to their end.
const DONE: &str = "done";

impl State {
    /// Whether the replica was a member of the shard before it was recovered. Its log, and what it says, are those of an epoch that
    /// has ended; its id is never taken back.
    pub fn is_ended(&self, shard: ShardId, replica: ReplicaId) -> bool {
        let mut later = false;
        self.recoveries.values().rev().filter(|recovery| recovery.plan.shard == shard).any(|recovery| {
            let named = recovery.begun && recovery.plan.ended().any(|member| member.id == replica);
            // One that has perhaps begun, before another one was.
            let overtaken = later && recovery.outcome != DONE && recovery.reborn == Some(replica);
            later |= recovery.begun;
            named || overtaken
        })
    }

    /// A descriptor as its old members know it.
    pub(super) fn is_of_the_ended(&self, shard: &ShardDescriptor) -> bool {
        shard.replicas.iter().any(|replica| self.is_ended(shard.id, replica.id))
    }

    pub(super) fn is_being_recovered(&self, shard: ShardId) -> bool {
        self.recoveries.values().any(|recovery| recovery.plan.shard == shard && recovery.outcome.is_empty())
    }

    /// With the operation, so that there is never one without the other.
    pub(super) fn note_recovery(
        &mut self,
        id: u64,
        plan: &RecoveryPlan,
        by: &str,
        at: Timestamp,
        touched: &mut Touched,
    ) -> PlacementDecision {
        let recovery = Recovery {
            id,
            plan: plan.clone(),
            by: by.to_owned(),
            at,
            reborn: None,
            outcome: String::new(),
            begun: false,
        };
        self.recoveries.insert(id, recovery);
        touched.recoveries.insert(id);
        PlacementDecision {
            at,
            scheduler: "recover".into(),
            shard: Some(plan.shard),
            seen: format!("the shard has lost its quorum; {}", recover::told_of_loss(plan)),
            candidates: recover::candidates(plan),
            chosen: format!("the copy on node {} goes on alone", plan.taken.node),
            operation: Some(id),
            ..PlacementDecision::default()
        }
    }

    pub(super) fn begin_recovery(&mut self, id: u64, touched: &mut Touched) -> Reply {
        let gear = self.operations.get(&id).and_then(|record| record.gear.as_ref());
        let Some((gear, recovery)) = gear.zip(self.recoveries.get_mut(&id)) else {
            return Reply::Refused(format!("no recovery {id} has a new replica's id"));
        };
        recovery.reborn = Some(ReplicaId(gear.replica));
        recovery.begun = true;
        touched.recoveries.insert(id);
        Reply::Done
    }

    /// Where it came to nothing, the old members are what they were.
    pub(super) fn end_recovery(&mut self, id: u64, outcome: &str, touched: &mut Touched) {
        let Some(recovery) = self.recoveries.get_mut(&id) else { return };
        recovery.outcome = outcome.to_owned();
        recovery.begun = outcome == DONE;
        touched.recoveries.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, GearRequest};
    use quorate_proto::{
        LogPosition, NodeId, Replica, ReplicaRole, Span,
        placement::{Loss, LostCopy, Operation, OperationState},
    };

    const SHARD: ShardId = ShardId(1);
    const AT: Timestamp = Timestamp::from_micros(1);

    fn replica(id: u64) -> Replica {
        Replica { id: ReplicaId(id), node: NodeId(id), role: ReplicaRole::Voter }
    }

    fn shard(version: u64, members: &[u64]) -> ShardDescriptor {
        let replicas = members.iter().copied().map(replica).collect();
        ShardDescriptor { id: SHARD, span: Span::ALL, version, config_epoch: 1, replicas }
    }

    fn apply(state: &mut State, command: Command) -> Reply {
        state.apply(command, &mut Touched::default())
    }

    fn learn(state: &mut State, descriptor: ShardDescriptor) -> u64 {
        apply(state, Command::Learn(vec![descriptor]));
        state.shards[&SHARD].descriptor.version
    }

    /// A shard of three of which the first goes on alone, up to where the old members' word counts no more.
    fn begun() -> (State, u64, ReplicaId) {
        let mut state = State::default();
        learn(&mut state, shard(1, &[1, 2, 3]));
        let lost = |id| LostCopy { replica: replica(id), heard: AT, why: String::new() };
        let plan = Box::new(RecoveryPlan {
            shard: SHARD,
            span: Span::ALL,
            taken: replica(1),
            last: LogPosition::default(),
            others: Vec::new(),
            lost: vec![lost(2), lost(3)],
            before: (1, 1),
            after: (2, 2),
            loss: Loss::Nothing(String::new()),
        });
        let operation = Operation::Recover { plan, by: String::new() };
        let start = Command::StartOperation { operation, origin: String::new(), at: AT, decision: None };
        let Reply::Number(id) = apply(&mut state, start.clone()) else { panic!("not started") };
        assert!(matches!(apply(&mut state, start), Reply::Refused(_)), "one at a time");
        let gear = GearRequest { shard: false, replicas: 1, of: SHARD, node: Some(NodeId(1)), above: 0 };
        let Reply::Gear(gear) = apply(&mut state, Command::Equip { id, gear }) else { panic!("no id") };
        assert_eq!(apply(&mut state, Command::BeginRecovery(id)), Reply::Done);
        (state, id, ReplicaId(gear.replica))
    }

    fn end(state: &mut State, id: u64, as_it: OperationState) {
        apply(state, Command::NoteOperation { id, state: as_it, step: String::new(), at: AT });
    }

    #[test]
    fn what_old_members_say_is_not_learned_any_more() {
        let (mut state, id, new) = begun();
        assert_eq!(learn(&mut state, shard(9, &[1, 2, 3])), 1, "while it is under way");
        assert_eq!(learn(&mut state, shard(2, &[new.0])), 2);
        end(&mut state, id, OperationState::Done);
        assert_eq!(learn(&mut state, shard(9, &[2, 3, 40])), 2, "also beside new ones");
        assert!(!state.is_ended(SHARD, new) && state.is_ended(SHARD, ReplicaId(1)));
        assert_eq!((state.recoveries[&id].reborn, &*state.recoveries[&id].outcome), (Some(new), "done"));
    }

    #[test]
    fn where_a_recovery_came_to_nothing_they_are_what_they_were() {
        let (mut state, id, _) = begun();
        end(&mut state, id, OperationState::Failed("gone".into()));
        assert_eq!(learn(&mut state, shard(9, &[1, 2, 3])), 9);
    }
}
