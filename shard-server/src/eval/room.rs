//! What a leader takes in when disks fill.
//!
//! New rows are refused before anything is done for them, while there is still space for what must go on: the ends of
//! transactions that have begun, their records and intents; changes of members and leaders; the removal of garbage. What only
//! takes rows away goes on for a while as well, and so do the catalog, advisory locks and idempotency records, which are
//! small. With hardly any space left none of these begins.
//!
//! Where the engine does not keep up with what is written, new writes stand in line, rows behind the rest, and are told to come
//! again when they have for too long: slower answers first, then errors.

use crate::{ShardConfig, replica::Replica};
use quorate_env::{
    Env,
    gate::{Crowded, Gate, Pass, Priority},
};
use quorate_proto::key::prefix;
use quorate_proto::kv::{ShardOp, Write};
use quorate_proto::{KvError, Room};
use quorate_storage::Engine;
use std::sync::Arc;

/// Milliseconds after which a write that was not let in is tried again.
const AGAIN: u64 = 100;

/// Of all writes of a node.
pub(crate) fn gate(env: &Env, engine: &Arc<dyn Engine>, config: &ShardConfig) -> Arc<Gate> {
    let engine = engine.clone();
    Gate::new(env.clone(), config.least_writes, move |_| engine.is_strained())
}

fn writes(op: &ShardOp) -> &[Write] {
    match op {
        ShardOp::CommitLocal(request) => &request.writes,
        ShardOp::Prepare(request) => &request.writes,
        _ => &[],
    }
}

impl Replica {
    /// Until the engine bears what the request writes. Who does not lead refuses it anyhow.
    pub(super) async fn stand_in_line(&self, op: &ShardOp) -> Result<Option<Pass>, KvError> {
        let writes = writes(op);
        if writes.is_empty() || self.leader_now().is_none() {
            return Ok(None);
        }
        let priority = if writes.iter().any(is_new_row) { Priority::Normal } else { Priority::High };
        let context = &self.context;
        let pass = context.writes.enter(priority, context.config.write_wait).await;
        pass.map(Some).map_err(|Crowded(_)| {
            let what =
                format!("the disk of node {} does not keep up with what is written", context.env.node());
            KvError::Overloaded { what, retry_after_millis: AGAIN }
        })
    }

    /// Whether there is room for what the request wants to write. (The answer to a copy of one that was carried out before
    /// may be a refusal: its sender knows that it does not know.)
    pub(super) fn check_room(&self, op: &ShardOp) -> Result<(), KvError> {
        let writes = writes(op);
        if writes.is_empty() || quorate_env::planted!("shard.full_disk_ignored") {
            return Ok(());
        }
        let Ok(group) = self.group() else { return Ok(()) };
        let nodes = group.without_room();
        let room = nodes.iter().map(|(_, space)| space.room).max().unwrap_or_default();
        let refused = match room {
            Room::Plenty => false,
            Room::Short => writes.iter().any(is_new_row),
            Room::Full => true,
        };
        if !refused || !group.leadership().borrow().is_leader {
            return Ok(());
        }
        let own = nodes.iter().all(|(node, _)| *node == self.context.env.node());
        if own && group.has_fit_heir() {
            return Err(self.not_ready("its leader makes way for one with space on its disk"));
        }
        quorate_env::probe!("shard.refused_for_space");
        quorate_env::count!("quorate_shard_refused_for_space_total");
        Err(KvError::DiskFull { shard: self.shard, nodes })
    }
}

fn is_new_row(write: &Write) -> bool {
    let system = [prefix::IDEMPOTENCY, prefix::ADVISORY, prefix::CATALOG];
    write.value.is_some() && write.key.first().is_none_or(|first| !system.contains(first))
}
