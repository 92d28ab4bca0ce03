//! A group of one replica in memory, for the unit tests of whoever implements a [`StateMachine`].

use crate::{Consensus, Group, StateMachine};
use quorate_env::Env;
use quorate_proto::ShardId;
use std::sync::Arc;

/// Founds `shard` with this node's replica as its only member over a log in memory, and returns once it leads and is ready.
/// The state machine must report [`crate::FOUNDING_POSITION`] as applied.
pub async fn single(env: Env, shard: ShardId, machine: Arc<dyn StateMachine>) -> (Arc<Consensus>, Arc<Group>) {
    let _ = (env, shard, machine);
    todo!()
}
