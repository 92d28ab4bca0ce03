//! Intents of a decided transaction become versions, or go. Missing ones are skipped, so that it may come any number of
//! times, from the coordinator and from whoever met an intent.

use crate::{
    command::Command,
    latch::{Access, LatchSet},
    registry::internal,
    replica::{RangeState, Replica},
};
use quorate_proto::kv::{Decision, Resolve};
use quorate_proto::{Key, KvError, Timestamp, TxnId};
use quorate_storage::{Snapshot, intent, intent::Intent, mvcc};
use std::sync::Arc;

/// Keys of one entry. What a large transaction has left makes many, between which those of others go.
pub(super) const AT_ONCE: usize = 2048;

impl Replica {
    pub(super) async fn resolve(self: &Arc<Self>, version: u64, request: Resolve) -> Result<(), KvError> {
        let Resolve { txn, decision, keys } = request;
        let leader = self.leader()?;
        let points = keys.iter().map(|key| (key.clone(), Access::Write)).collect();
        let latched = leader.latch(LatchSet { points, ..LatchSet::default() }).await?;
        let snapshot = self.context.engine.snapshot();
        let state = self.still(&leader, version)?;
        let mut command = Command::default();
        resolution(&*snapshot, &state, txn, decision, &keys, &mut command)?;
        drop(snapshot);
        if let Decision::Commit(ts) = decision {
            command.extras.resolved.push((ts, txn));
        }
        let latched =
            if command.batch.is_empty() { latched } else { self.propose(&leader, latched, command).await?.1 };
        // Also for keys without an intent: someone may wait who saw one that another copy has resolved since.
        leader.finish_txn(txn, keys.iter());
        drop(latched);
        Ok(())
    }
}

/// Adds to the command what the decision makes of the transaction's intents on `keys`; returns those that are done with.
pub(super) fn resolution(
    snapshot: &dyn Snapshot,
    state: &RangeState,
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
            if own.ts <= ts {
                mvcc::put_version(&mut command.batch, key, ts, own.value.as_deref());
            } else if !is_late(snapshot, state, key, &own, ts)? {
                continue;
            }
        }
        intent::remove(&mut command.batch, key);
        resolved.push(key.clone());
    }
    Ok(resolved)
}

/// An intent above the decision: a late copy's, if what the first one wrote is there as a version, or has been and was removed
/// as garbage, and then it may go. If it is not, the decision was wrong, or something was lost: nobody knows what to do with the intent, and no other key of the
/// transaction shall suffer from that.
fn is_late(
    snapshot: &dyn Snapshot,
    state: &RangeState,
    key: &Key,
    own: &Intent,
    decided: Timestamp,
) -> Result<bool, KvError> {
    let late = state.still_holds(decided).is_err()
        || mvcc::get(snapshot, key, decided).map_err(internal)?.is_some_and(|version| version.ts == decided);
    if late {
        quorate_env::probe!("shard.late_intent_removed");
    } else {
        quorate_env::count!("quorate_shard_unresolvable_intents_total");
        tracing::error!(?key, txn = %own.txn.id, intent = %own.ts, %decided, "an intent above its transaction's decision");
    }
    Ok(late)
}
