//! One operation, from wherever it stands to its end.

use super::{
    ask::{Stop, propose},
    is_current,
};
use crate::{
    Placement,
    command::{Command, Gear, GearRequest, Reply},
    leader::Session,
};
use quorate_proto::{
    ShardDescriptor, ShardId,
    placement::{Operation, OperationState},
};
use std::{sync::Arc, time::Duration};

pub(crate) struct Job {
    pub placement: Arc<Placement>,
    pub session: Arc<Session>,
    pub id: u64,
    pub operation: Operation,
}

const PAUSE: Duration = Duration::from_millis(500);

impl Job {
    pub async fn run(self) {
        let env = self.placement.env.clone();
        let began = env.boottime();
        loop {
            let result = match &self.operation {
                Operation::Split { at } => super::split::step(&self, at).await,
                Operation::MoveReplica { shard, from, to } => {
                    super::member::replace(&self, *shard, *from, Some(*to)).await
                }
                Operation::Repair { shard, dead } => super::member::replace(&self, *shard, *dead, None).await,
                Operation::Remake { shard, lost } => super::remake::remake(&self, *shard, lost).await,
                Operation::Withdraw { shard, learner } => {
                    super::member::without(&self, *shard, learner).await
                }
                Operation::TransferLeader { shard, to } => {
                    super::member::transfer_as_asked(&self, *shard, *to).await
                }
                Operation::Scatter { span } => super::scatter::scatter(&self, span).await,
                Operation::Merge { at } => super::merge::step(&self, at).await,
                Operation::Decommission { node } => super::leave::decommission(&self, *node).await,
                Operation::Resize { shard, add, remove } => {
                    super::resize::resize(&self, *shard, add, remove).await
                }
                Operation::Recover { plan, .. } => super::recover::recover(&self, plan).await,
            };
            let (state, step) = match result {
                // As if its last answer had been lost: every step may be repeated.
                Ok(()) if env.fault("placement.step_repeated") => {
                    (OperationState::Running, "repeated by fault point".to_owned())
                }
                Ok(()) => (OperationState::Done, "done".to_owned()),
                Err(Stop::Failed(why)) => (OperationState::Failed(why.clone()), why),
                Err(Stop::Retry(why)) if env.boottime() - began > self.patience() => {
                    (OperationState::Failed(format!("gave up: {why}")), why)
                }
                Err(Stop::Retry(why)) => (OperationState::Running, why),
                Err(Stop::Lost) => return,
            };
            let over = state != OperationState::Running;
            if self.note(state, step).await == Err(Stop::Lost) || !is_current(&self.placement, &self.session)
            {
                return;
            }
            if over && self.is_over() {
                return;
            }
            env.sleep(env.jittered(PAUSE)).await;
        }
    }

    /// Data takes its time; everything else either works soon or is not worth waiting for.
    fn patience(&self) -> Duration {
        match self.operation {
            Operation::MoveReplica { .. }
            | Operation::Repair { .. }
            | Operation::Remake { .. }
            | Operation::Withdraw { .. }
            | Operation::Resize { .. }
            | Operation::Scatter { .. } => Duration::from_secs(4 * 3600),
            Operation::Split { .. } | Operation::TransferLeader { .. } => Duration::from_secs(60),
            // The node with the copy that is left may be starting again.
            Operation::Recover { .. } => Duration::from_secs(600),
            // Not before what it has sealed is decided: it gives up by itself.
            Operation::Merge { .. } => Duration::MAX,
            // What it waits for is shown, and whoever asked for it may call it off.
            Operation::Decommission { .. } => Duration::MAX,
        }
    }

    /// Who has asked for it.
    pub fn is_of(&self, origin: &str) -> bool {
        let state = self.placement.machine.state();
        state.operations.get(&self.id).is_some_and(|record| record.status.origin == origin)
    }

    /// By the time at which it was asked for, whoever led then.
    pub fn is_older_than(&self, age: Duration) -> bool {
        let state = self.placement.machine.state();
        let started = state.operations.get(&self.id).map(|record| record.status.started);
        started.is_some_and(|started| self.placement.env.clock().physical() > started.plus(age))
    }

    fn is_over(&self) -> bool {
        let state = self.placement.machine.state();
        state.operations.get(&self.id).is_none_or(|r| r.status.state != OperationState::Running)
    }

    /// Notes where the operation is; nothing is proposed if that is known already.
    pub async fn note(&self, state: OperationState, step: String) -> Result<(), Stop> {
        {
            let known = self.placement.machine.state();
            if let Some(record) = known.operations.get(&self.id)
                && record.status.state == state
                && record.status.step == step
            {
                return Ok(());
            }
        }
        tracing::debug!(id = self.id, operation = ?self.operation, ?state, step, "an operation");
        let at = self.placement.env.clock().physical();
        propose(&self.placement, Command::NoteOperation { id: self.id, state, step, at }).await.map(|_| ())
    }

    pub async fn at_step(&self, step: &str) -> Result<(), Stop> {
        self.note(OperationState::Running, step.to_owned()).await
    }

    /// What the operation needs to be the same at every repetition.
    pub async fn equip(&self, gear: GearRequest) -> Result<Gear, Stop> {
        match propose(&self.placement, Command::Equip { id: self.id, gear }).await? {
            Reply::Gear(gear) => Ok(gear),
            other => Err(Stop::Failed(format!("an unexpected reply: {other:?}"))),
        }
    }

    pub fn gear(&self) -> Option<Gear> {
        self.placement.machine.state().operations.get(&self.id)?.gear.clone()
    }

    pub fn shard(&self, id: ShardId) -> Result<ShardDescriptor, Stop> {
        let state = self.placement.machine.state();
        let record = state.shards.get(&id);
        record.map(|r| r.descriptor.clone()).ok_or_else(|| Stop::Failed(format!("there is no shard {id}")))
    }
}
