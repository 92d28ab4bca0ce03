//! One participant's part of a commit across shards.
//!
//! *Evaluate*: prove reads and checks up to a timestamp not below the one asked for. *Entry*: the writes as intents at that
//! timestamp; none without writes, then the proof alone is the answer, under the leader's lease. *A repeated copy* finds its
//! intents and is answered like the first; one that comes after these were turned into versions finds them, and is refused.
//! *When the coordinator dies* whoever meets an intent asks the anchor's shard.
//!
//! With `staging`, at the anchor, a STAGING record goes down in the same entry, unless the timestamp had to be moved.

use super::{
    commit::{aborted, older_attempt},
    proof::{Claims, Established, Proven},
};
use crate::{
    command::{Command, Record},
    latch::Access,
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{Prepare, ShardReply, TxnMeta};
use quorate_proto::{KvError, LogPosition, Timestamp};
use quorate_storage::{
    Snapshot,
    intent::{self, Intent},
    record::{self, TxnRecord},
};
use std::sync::Arc;

impl Replica {
    pub(super) async fn prepare(
        self: &Arc<Self>,
        version: u64,
        request: Prepare,
    ) -> Result<ShardReply, KvError> {
        let txn = Arc::new(request.txn.clone());
        let anchored = self.state.load().descriptor.contains(&txn.anchor);
        let claims = Claims {
            txn: &txn,
            read_ts: request.read_ts,
            floor: request.commit_ts.max(request.read_ts),
            before: request.commit_before,
            asked: Some(request.commit_ts),
            refresh: &request.refresh,
            checks: &request.checks,
            writes: &request.writes,
        };
        let early = |snapshot: &dyn Snapshot| {
            let record = if anchored { undecided(snapshot, &txn)? } else { None };
            let prepared = prepared(snapshot, &request)?;
            // The record went down with the intents, or there is none.
            let missing = request.staging.is_some()
                && prepared.is_some_and(|(ts, _)| ts == request.commit_ts)
                && !matches!(record, Some(TxnRecord::Staging { ts, .. }) if ts == request.commit_ts);
            let prepared = prepared.filter(|_| !missing);
            Ok(prepared.map(|(ts, at)| ShardReply::Prepared(ts, Some(at))))
        };
        // Parts of a large transaction go side by side; its decision waits for all that are under way.
        let staged = request.staging.is_some();
        let record = anchored.then_some(if staged { Access::Write } else { Access::Read });
        let Proven { leader, latched, ts, borrowed: _borrowed, .. } =
            match self.establish(version, claims, record, early).await? {
                Established::Answer(reply) => return Ok(reply),
                Established::Proven(proven) => proven,
            };
        if request.writes.is_empty() {
            drop(latched);
            self.certify(&leader).await?;
            return Ok(ShardReply::Prepared(ts, None));
        }
        let mut command = Command::default();
        let position = LogPosition::default();
        command.extras.intents = request
            .writes
            .iter()
            .map(|write| {
                let intent = Intent { txn: request.txn.clone(), ts, value: write.value.clone(), position };
                (write.key.clone(), intent)
            })
            .collect();
        if let Some(keys) = request.staging.filter(|_| ts == request.commit_ts) {
            let heartbeat = self.context.env.clock().physical();
            let record = TxnRecord::Staging { txn: request.txn.clone(), ts, heartbeat, keys };
            let (anchor, txn) = (request.txn.anchor.clone(), request.txn.id);
            command.extras.records.push(Record { anchor, txn, record });
        }
        let (position, latched) = self.propose(&leader, latched, command).await?;
        leader.core().locks.laid_intents(&txn, request.writes.iter().map(|write| &write.key));
        drop(latched);
        quorate_env::count!("quorate_shard_prepares_total");
        Ok(ShardReply::Prepared(ts, Some(position)))
    }
}

/// The record at the anchor: a transaction that is decided takes no more intents.
fn undecided(snapshot: &dyn Snapshot, txn: &TxnMeta) -> Result<Option<TxnRecord>, KvError> {
    match record::get(snapshot, &txn.anchor, txn.id).map_err(internal)? {
        Some(TxnRecord::Committed { ts, .. }) => Err(KvError::TxnCommitted { txn: txn.id, ts }),
        Some(TxnRecord::Aborted { .. }) if !quorate_env::planted!("shard.staged_over_final") => {
            Err(aborted(txn))
        }
        Some(record) if record.undecided().is_some_and(|(known, _)| known.attempt > txn.attempt) => {
            Err(older_attempt(txn))
        }
        record => Ok(record),
    }
}

/// Where the same attempt has prepared all of this already, at a timestamp that is high enough.
fn prepared(snapshot: &dyn Snapshot, request: &Prepare) -> Result<Option<(Timestamp, LogPosition)>, KvError> {
    let mut found: Option<(Timestamp, LogPosition)> = None;
    for write in &request.writes {
        let own = intent::get(snapshot, &write.key).map_err(internal)?.filter(|intent| {
            intent.txn.id == request.txn.id
                && intent.txn.attempt == request.txn.attempt
                && intent.ts >= request.commit_ts
        });
        let Some(own) = own else { return Ok(None) };
        let (ts, position) = found.unwrap_or_default();
        found = Some((ts.max(own.ts), position.max(own.position)));
    }
    if found.is_some() {
        quorate_env::probe!("shard.repeated_prepare");
    }
    Ok(found)
}
