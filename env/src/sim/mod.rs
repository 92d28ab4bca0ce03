//! The simulated world: several nodes on one thread, under one seed, in virtual time.

pub(crate) mod virtual_time;

use crate::Scope;
use quorate_proto::NodeId;
use std::{sync::Arc, task::Context};

/// What a simulated node's scope tells its world, and asks of it.
pub(crate) struct SimHooks;

impl SimHooks {
    pub(crate) fn spawned(&self, _node: NodeId, _task: &'static str) {}

    pub(crate) fn panicked(&self, _node: NodeId, _task: &str, _text: &str) {}

    /// Called before each poll of a task. False: not now (the task was woken again, or has just died).
    pub(crate) fn may_run(&self, _scope: &Arc<Scope>, _task: &'static str, _cx: &mut Context<'_>) -> bool {
        true
    }
}

/// A simulated node's physical clock.
pub(crate) struct SimClock;

impl SimClock {
    pub(crate) fn physical_micros(&self) -> u64 {
        0
    }
}
