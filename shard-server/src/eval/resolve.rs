//! Intents of a decided transaction become versions, or go. Missing ones are skipped, so that it may come any number of
//! times, from the coordinator and from whoever met an intent.

use crate::{
    command::Command,
    latch::{Access, LatchSet},
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{Decision, Resolve};
use quorate_proto::{Key, KvError, TxnId};
use quorate_storage::{Snapshot, intent, mvcc};
use std::sync::Arc;

impl Replica {
    pub(super) async fn resolve(self: &Arc<Self>, version: u64, request: Resolve) -> Result<(), KvError> {
        let Resolve { txn, decision, keys } = request;
        let leader = self.leader()?;
        let points = keys.iter().map(|key| (key.clone(), Access::Write)).collect();
        let latched = leader.latch(LatchSet { points, ..LatchSet::default() }).await?;
        let snapshot = self.context.engine.snapshot();
        self.still(&leader, version)?;
        let mut command = Command::default();
        resolution(&*snapshot, txn, decision, &keys, &mut command)?;
        drop(snapshot);
        let latched =
            if command.batch.is_empty() { latched } else { self.propose(&leader, latched, command).await?.1 };
        // Also for keys without an intent: someone may wait who saw one that another copy has resolved since.
        leader.finish_txn(txn, keys.iter());
        drop(latched);
        Ok(())
    }
}

/// Adds to the command what the decision makes of the transaction's intents on `keys`; returns those that had one.
pub(super) fn resolution(
    snapshot: &dyn Snapshot,
    txn: TxnId,
    decision: Decision,
    keys: &[Key],
    command: &mut Command,
) -> Result<Vec<Key>, KvError> {
    let mut resolved = Vec::new();
    for key in keys {
        let Some(own) = intent::get(snapshot, key).map_err(internal)?.filter(|intent| intent.txn.id == txn)
        else {
            continue;
        };
        if let Decision::Commit(ts) = decision {
            if own.ts > ts {
                let why = format!("decided at {ts}, below the intent on {key:?} at {}", own.ts);
                return Err(KvError::BadRequest { why });
            }
            mvcc::put_version(&mut command.batch, key, ts, own.value.as_deref());
        }
        intent::remove(&mut command.batch, key);
        resolved.push(key.clone());
    }
    Ok(resolved)
}
