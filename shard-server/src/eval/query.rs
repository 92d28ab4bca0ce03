//! What became of a transaction, by its record; and its end, if nobody else can bring it about (PROTOCOL 12, DESIGN §6.5).

use crate::{
    command::{Command, Record},
    latch::{Access, LatchSet, RecordLatch},
    leader::Leader,
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{QueryTxn, TxnState};
use quorate_proto::{KvError, LogPosition, Timestamp};
use quorate_storage::record::{self, TxnRecord};
use std::sync::Arc;

enum Todo {
    /// This is the answer.
    Stands(TxnState),
    /// The intents have the word.
    Staged(TxnRecord),
    /// It is to be aborted.
    ToAbort(Option<TxnRecord>),
}

impl Replica {
    pub(super) async fn query_txn(
        self: &Arc<Self>,
        version: u64,
        query: QueryTxn,
    ) -> Result<TxnState, KvError> {
        let leader = self.leader()?;
        let record = match self.see_to(&leader, version, &query)? {
            Todo::Stands(state) => return Ok(state),
            Todo::Staged(staged) => return self.recover(version, staged).await,
            Todo::ToAbort(_) => {
                RecordLatch { txn: query.txn, anchor: query.anchor.clone(), access: Access::Write }
            }
        };
        // Once more, with the record latched.
        let latched = leader.latch(LatchSet { record: Some(record), ..LatchSet::default() }).await?;
        let record = match self.see_to(&leader, version, &query)? {
            Todo::Stands(state) => return Ok(state),
            Todo::Staged(staged) => {
                // Meanwhile. Whoever asks its keys needs the record's latch in the end.
                drop(latched);
                return self.recover(version, staged).await;
            }
            Todo::ToAbort(record) => record,
        };
        let meta = match &record {
            Some(record) => record.undecided().map(|(txn, _)| txn),
            None => query.meta.as_ref(),
        };
        let clock = self.context.env.clock();
        let record = TxnRecord::Aborted {
            attempt: meta.map_or(u32::MAX, |meta| meta.attempt),
            // Kept long enough for any deadline that its coordinator may have set.
            deadline: meta
                .map_or_else(|| clock.physical().plus(self.context.config.retention), |meta| meta.deadline),
            intents: Vec::new(),
            position: LogPosition::default(),
        };
        let mut command = Command::default();
        command.extras.records.push(Record { anchor: query.anchor, txn: query.txn, record });
        drop(self.propose(&leader, latched, command).await?);
        leader.core().asked.remove(&query.txn);
        leader.release_txn(query.txn);
        quorate_env::probe!("shard.aborted_for_another");
        quorate_env::count!("quorate_shard_aborts_by_others_total");
        Ok(TxnState::Aborted)
    }

    /// What is to be done, by the record as it is now.
    fn see_to(&self, leader: &Leader, version: u64, query: &QueryTxn) -> Result<Todo, KvError> {
        let snapshot = self.context.engine.snapshot();
        self.still(leader, version)?;
        let record = record::get(&*snapshot, &query.anchor, query.txn).map_err(internal)?;
        Ok(match (self.standing(leader, query, record.as_ref()), record) {
            (Some(state), _) => Todo::Stands(state),
            (None, Some(staged @ TxnRecord::Staging { .. })) => Todo::Staged(staged),
            (None, record) => Todo::ToAbort(record),
        })
    }

    /// What the record says as it stands; `None` if it is undecided and has to be aborted now.
    fn standing(&self, leader: &Leader, query: &QueryTxn, record: Option<&TxnRecord>) -> Option<TxnState> {
        if let Some(record) = record.filter(|record| record.is_final()) {
            return Some(record.state());
        }
        let (meta, heartbeat) = match record.and_then(TxnRecord::undecided) {
            Some((txn, heartbeat)) => (Some(txn), Some(heartbeat)),
            None => (query.meta.as_ref(), None),
        };
        let config = &self.context.config;
        let now = self.context.env.clock().physical();
        let deadline = meta.map_or(Timestamp::MAX, |meta| meta.deadline);
        if record.is_none() && now > deadline.plus(config.retention) {
            return Some(TxnState::Unknown);
        }
        let silent = query.abort_if_silent && {
            let over =
                meta.is_some_and(|meta| self.context.coordinator_is_over(meta.gateway, meta.incarnation));
            over || match heartbeat {
                Some(heartbeat) => now > heartbeat.plus(config.coordinator_silence),
                None => {
                    let boot = self.context.env.boottime();
                    boot > leader.core().first_asked(query.txn, boot) + config.coordinator_silence
                }
            }
        };
        // After its deadline nobody can commit it any more.
        let abort = query.abort_now || silent || now > deadline;
        (!abort).then_some(TxnState::Pending(heartbeat))
    }
}
