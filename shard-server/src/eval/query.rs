//! What became of a transaction, by its record; and its end, if nobody else can bring it about (PROTOCOL 12, DESIGN §6.5).
//!
//! Without a record, and where records of its time may have been removed, it depends on why somebody asks: its outcome is
//! unknown; but whoever stands before an intent of it may take it for aborted, for a commit's record goes after its intents
//! ([`crate::forget`]). Neither is written down, as nobody can commit it any more.

use crate::{
    command::{Command, Record},
    latch::{Access, LatchSet, RecordLatch},
    leader::Leader,
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{Inquiry, QueryTxn, TxnMeta, TxnState};
use quorate_proto::{KvError, LogPosition, Timestamp};
use quorate_storage::record::{self, TxnRecord};
use std::{sync::Arc, time::Duration};

/// For the decision of a staged transaction.
const STAGED_PATIENCE: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

enum Todo {
    /// This is the answer.
    Stands(TxnState),
    /// The intents have the word.
    Staged(TxnRecord),
    /// It is to be aborted.
    ToAbort(TxnMeta),
    /// There is no record any more, or there never was one: nobody makes one now who has not latched it already.
    Gone,
}

impl Replica {
    pub(crate) async fn query_txn(
        self: &Arc<Self>,
        version: u64,
        query: QueryTxn,
    ) -> Result<TxnState, KvError> {
        let leader = self.leader()?;
        if query.why == Inquiry::Settled {
            self.await_decision(&leader, version, &query).await?;
        }
        match self.see_to(&leader, version, &query)? {
            Todo::Stands(state) => return Ok(state),
            Todo::Staged(staged) => return self.recover(version, staged).await,
            Todo::ToAbort(_) | Todo::Gone => {}
        }
        // Once more, with the record latched.
        let record = RecordLatch { txn: query.txn, anchor: query.anchor.clone(), access: Access::Write };
        let latched = leader.latch(LatchSet { record: Some(record), ..LatchSet::default() }).await?;
        let meta = match self.see_to(&leader, version, &query)? {
            Todo::Stands(state) => return Ok(state),
            Todo::Staged(staged) => {
                // Meanwhile. Whoever asks its keys needs the record's latch in the end.
                drop(latched);
                return self.recover(version, staged).await;
            }
            Todo::ToAbort(meta) => meta,
            Todo::Gone => return Ok(gone(query.why)),
        };
        if quorate_env::planted!("shard.abort_not_written") {
            return Ok(TxnState::Aborted);
        }
        let (attempt, deadline) = (meta.attempt, meta.deadline);
        let (intents, position) = (Vec::new(), LogPosition::default());
        let record = TxnRecord::Aborted { attempt, deadline, intents, position };
        let mut command = Command::default();
        command.extras.records.push(Record { anchor: query.anchor, txn: query.txn, record });
        drop(self.propose(&leader, latched, command).await?);
        leader.core().asked.remove(&query.txn);
        leader.release_txn(query.txn);
        quorate_env::probe!("shard.aborted_for_another");
        quorate_env::count!("quorate_shard_aborts_by_others_total");
        Ok(TxnState::Aborted)
    }

    /// Until a staged transaction is decided, by its coordinator as a rule; not for long, for one of its writes may wait for
    /// somebody's lock.
    async fn await_decision(&self, leader: &Leader, version: u64, query: &QueryTxn) -> Result<(), KvError> {
        let env = &self.context.env;
        let until = env.boottime() + STAGED_PATIENCE;
        loop {
            let snapshot = self.context.engine.snapshot();
            self.still(leader, version)?;
            let record = record::get(&*snapshot, &query.anchor, query.txn).map_err(internal)?;
            if !matches!(record, Some(TxnRecord::Staging { .. })) || env.boottime() >= until {
                return Ok(());
            }
            drop(snapshot);
            quorate_env::probe!("shard.awaited_decision");
            env.sleep(LOOK_AGAIN).await;
        }
    }

    /// What is to be done, by the record as it is now.
    fn see_to(&self, leader: &Leader, version: u64, query: &QueryTxn) -> Result<Todo, KvError> {
        let snapshot = self.context.engine.snapshot();
        let state = self.still(leader, version)?;
        let Some(record) = record::get(&*snapshot, &query.anchor, query.txn).map_err(internal)? else {
            return Ok(match query.meta.as_ref().filter(|meta| meta.deadline > state.record_threshold) {
                None => Todo::Gone,
                Some(meta) if self.must_end(leader, query, meta, None) => Todo::ToAbort(meta.clone()),
                Some(_) => Todo::Stands(TxnState::Pending(None)),
            });
        };
        let undecided = record.undecided();
        let ends = undecided.is_some_and(|(meta, heard)| self.must_end(leader, query, meta, Some(heard)));
        Ok(match record {
            staged @ TxnRecord::Staging { .. } if ends => Todo::Staged(staged),
            TxnRecord::Pending { txn, .. } if ends => Todo::ToAbort(txn),
            stands => Todo::Stands(stands.state()),
        })
    }

    /// Whether an undecided transaction, of which a record speaks since its coordinator was `heard`, is to be brought to an end.
    fn must_end(&self, leader: &Leader, query: &QueryTxn, meta: &TxnMeta, heard: Option<Timestamp>) -> bool {
        let silence = self.context.config.coordinator_silence;
        let now = self.context.env.clock().physical();
        let silent = || {
            self.context.coordinator_is_over(meta.gateway, meta.incarnation)
                || match heard {
                    Some(heard) => now > heard.plus(silence),
                    None => {
                        let boot = self.context.env.boottime();
                        boot > leader.core().first_asked(query.txn, boot) + silence
                    }
                }
        };
        // After its deadline nobody can commit it any more.
        let over = now > meta.deadline;
        over || match query.why {
            Inquiry::Outcome | Inquiry::Settled => false,
            Inquiry::End => true,
            Inquiry::Intent => silent() && !quorate_env::planted!("shard.silent_kept_alive"),
        }
    }
}

fn gone(why: Inquiry) -> TxnState {
    quorate_env::probe!("shard.record_gone");
    match why {
        Inquiry::Outcome | Inquiry::End if !quorate_env::planted!("shard.gone_means_aborted") => {
            TxnState::Unknown
        }
        _ => TxnState::Aborted,
    }
}
