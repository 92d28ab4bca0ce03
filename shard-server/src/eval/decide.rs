//! The final word on a transaction, in its record at the anchor (PROTOCOL 12, 14); and heartbeats until then.
//!
//! *Evaluate*: a record that is final already is the answer, whatever was asked for. *Entry*: the record, and at once the
//! resolution of the transaction's intents in this shard, which saves the anchor's shard one entry. *A crash* before the
//! entry is committed leaves the transaction pending, for recovery to abort.

use super::commit::older_attempt;
use crate::{
    command::{Command, Record},
    latch::{Access, LatchSet, RecordLatch},
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{Decide, Decision, Heartbeat, ShardReply, TxnMeta, TxnState};
use quorate_proto::{Key, KvError, LogPosition};
use quorate_storage::record::{self, TxnRecord};
use std::sync::Arc;

/// Intents resolved together with the decision; the others wait for `Resolve`.
const MAX_AT_ONCE: usize = 4096;

impl Replica {
    pub(super) async fn decide(
        self: &Arc<Self>,
        version: u64,
        request: Decide,
    ) -> Result<ShardReply, KvError> {
        let Decide { txn, decision, intents, prepared, span: all } = request;
        if let Decision::Commit(ts) = decision {
            self.wait_clock(ts).await?;
        }
        let leader = self.leader()?;
        let span = self.state.load().descriptor.span.clone();
        let (mut local, mut elsewhere): (Vec<Key>, Vec<Key>) =
            intents.into_iter().partition(|key| span.contains(key));
        elsewhere.extend(local.drain(local.len().min(MAX_AT_ONCE)..));
        let points = local.iter().map(|key| (key.clone(), Access::Write)).collect();
        let latched = leader
            .latch(LatchSet { points, record: Some(RecordLatch::of(&txn, Access::Write)), spans: Vec::new() })
            .await?;
        let snapshot = self.context.engine.snapshot();
        let state = self.still(&leader, version)?;
        match record::get(&*snapshot, &txn.anchor, txn.id).map_err(internal)? {
            Some(record) if record.is_final() && !quorate_env::planted!("shard.final_overwritten") => {
                quorate_env::probe!("shard.repeated_decide");
                return Ok(ShardReply::Decided(record.state(), record.position()));
            }
            Some(record) if record.undecided().is_some_and(|(known, _)| known.attempt > txn.attempt) => {
                return Err(older_attempt(&txn));
            }
            // Committed already, by its intents; that is taken down at any time.
            Some(TxnRecord::Staging { ts, .. }) if decision == Decision::Commit(ts) => {}
            _ if matches!(decision, Decision::Commit(_)) => {
                self.check_deadline(&state, txn.id, txn.deadline)?;
            }
            _ => {}
        }
        let mut command = Command::default();
        let resolved =
            super::resolve::resolution(&*snapshot, &state, txn.id, decision, &local, &mut command)?;
        drop(snapshot);
        let TxnMeta { attempt, deadline, .. } = txn;
        let position = LogPosition::default();
        let record = match decision {
            Decision::Commit(ts) => TxnRecord::Committed {
                ts,
                attempt,
                deadline,
                intents: elsewhere,
                prepared,
                position,
                span: all,
            },
            Decision::Abort => TxnRecord::Aborted { attempt, deadline, intents: elsewhere, position },
        };
        let state = record.state();
        command.extras.records.push(Record { anchor: txn.anchor, txn: txn.id, record });
        let (position, latched) = self.propose(&leader, latched, command).await?;
        leader.finish_txn(txn.id, resolved.iter());
        drop(latched);
        if matches!(decision, Decision::Commit(_)) {
            metrics::counter!("quorate_shard_commits_total", "kind" => "decided").increment(1);
        }
        Ok(ShardReply::Decided(state, Some(position)))
    }

    /// Notes that the coordinator lives.
    pub(super) async fn heartbeat(
        self: &Arc<Self>,
        version: u64,
        request: Heartbeat,
    ) -> Result<ShardReply, KvError> {
        let Heartbeat { txn, until } = request;
        let leader = self.leader()?;
        let record = Some(RecordLatch::of(&txn, Access::Write));
        let latched = leader.latch(LatchSet { record, ..LatchSet::default() }).await?;
        let snapshot = self.context.engine.snapshot();
        let state = self.still(&leader, version)?;
        let known = record::get(&*snapshot, &txn.anchor, txn.id).map_err(internal)?;
        if !known.as_ref().is_some_and(TxnRecord::is_final) {
            self.check_deadline(&state, txn.id, until)?;
        }
        let heartbeat = self.context.env.clock().physical();
        let (id, anchor) = (txn.id, txn.anchor.clone());
        let record = match known {
            Some(record) if record.is_final() => return Ok(ShardReply::HeartbeatSeen(record.state())),
            Some(record) if record.undecided().is_some_and(|(known, _)| known.attempt > txn.attempt) => {
                return Err(older_attempt(&txn));
            }
            Some(TxnRecord::Staging { txn, ts, keys, .. }) => TxnRecord::Staging { txn, ts, heartbeat, keys },
            _ => TxnRecord::Pending { txn, heartbeat },
        };
        let mut command = Command::default();
        command.extras.records.push(Record { anchor, txn: id, record });
        drop(self.propose(&leader, latched, command).await?);
        Ok(ShardReply::HeartbeatSeen(TxnState::Pending(Some(heartbeat))))
    }
}
