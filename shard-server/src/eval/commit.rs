//! A transaction whose writes, reads and checks all lie in this shard: proven and committed by one entry.
//!
//! *Evaluate*: prove everything at a timestamp that the shard may move up itself, since nothing outside depends on it.
//! *Entry*: the versions and a done-record. *A repeated copy* finds the done-record and is answered like the first. *After a
//! crash or a lost answer* the done-record (or its absence, made final by an abort) tells what became of it.

use super::proof::{Claims, Established, Proven};
use crate::{
    command::{Command, Record},
    latch::Access,
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{CommitLocal, ShardReply, TxnMeta};
use quorate_proto::{KvError, LogPosition};
use quorate_storage::{Snapshot, intent, mvcc, record, record::TxnRecord};
use std::sync::Arc;

impl Replica {
    pub(super) async fn commit_local(
        self: &Arc<Self>,
        version: u64,
        request: CommitLocal,
    ) -> Result<ShardReply, KvError> {
        let txn = Arc::new(request.txn);
        let claims = Claims {
            txn: &txn,
            read_ts: request.read_ts,
            floor: request.commit_ts.max(request.read_ts),
            before: request.commit_before,
            // Its record is the first thing that a late copy meets.
            asked: None,
            refresh: &request.refresh,
            checks: &request.checks,
            writes: &request.writes,
        };
        let early = |snapshot: &dyn Snapshot| finished(snapshot, &txn);
        let Proven { leader, latched, snapshot, ts, borrowed: _borrowed } =
            match self.establish(version, claims, Some(Access::Write), early).await? {
                Established::Answer(reply) => return Ok(reply),
                Established::Proven(proven) => proven,
            };
        let mut command = Command::default();
        for write in &request.writes {
            mvcc::put_version(&mut command.batch, &write.key, ts, write.value.as_deref());
            // An earlier attempt may have prepared here.
            if intent::get(&*snapshot, &write.key).map_err(internal)?.is_some() {
                intent::remove(&mut command.batch, &write.key);
            }
        }
        drop(snapshot);
        command.extras.records.push(Record {
            anchor: txn.anchor.clone(),
            txn: txn.id,
            record: TxnRecord::Committed {
                ts,
                attempt: txn.attempt,
                deadline: txn.deadline,
                intents: Vec::new(),
                prepared: Vec::new(),
                position: LogPosition::default(),
                span: None,
            },
        });
        let (position, latched) = self.propose(&leader, latched, command).await?;
        leader.finish_txn(txn.id, request.writes.iter().map(|write| &write.key));
        drop(latched);
        metrics::counter!("quorate_shard_commits_total", "kind" => "local").increment(1);
        Ok(ShardReply::Committed(ts, position))
    }
}

/// What the record says already; `None` lets the request go on.
fn finished(snapshot: &dyn Snapshot, txn: &TxnMeta) -> Result<Option<ShardReply>, KvError> {
    match record::get(snapshot, &txn.anchor, txn.id).map_err(internal)? {
        Some(TxnRecord::Committed { ts, position, .. })
            if !quorate_env::planted!("shard.commit_repeated") =>
        {
            quorate_env::probe!("shard.repeated_commit");
            Ok(Some(ShardReply::Committed(ts, position)))
        }
        Some(TxnRecord::Aborted { .. }) => Err(aborted(txn)),
        Some(record) if record.undecided().is_some_and(|(known, _)| known.attempt > txn.attempt) => {
            Err(older_attempt(txn))
        }
        _ => Ok(None),
    }
}

pub(super) fn aborted(txn: &TxnMeta) -> KvError {
    KvError::TxnAborted { txn: txn.id, why: "its record says so".into() }
}

pub(super) fn older_attempt(txn: &TxnMeta) -> KvError {
    KvError::TxnAborted { txn: txn.id, why: "a newer attempt of it is under way".into() }
}
