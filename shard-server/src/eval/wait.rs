//! Waiting for locks and intents, and pushing whoever holds them.
//!
//! Nobody waits here with latches (PROTOCOL 10), nor longer than the cap. An intent's transaction is decided by its record:
//! after some patience the waiter asks the anchor's shard, has a silent coordinator's transaction aborted, and resolves
//! the intents itself. An unreplicated lock falls with its coordinator's process or deadline. A wait that lasts is told to
//! the deadlock detector, again and again.

use super::resolve::AT_ONCE;
use crate::{
    detector,
    leader::{Leader, LockWait, Wanted},
    lock_table::{Blocker, LockTable, Turn, WaiterId},
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{
    Decision, Inquiry, QueryTxn, Resolve, ShardOp, ShardReply, Stuck, TxnMeta, TxnState, Waits,
};
use quorate_proto::{Key, KvError};
use quorate_storage::{Family, intent, intent::Intent};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot::error::RecvError;

/// Why a wait came to its end without an error.
#[must_use]
pub(super) enum Waited {
    /// The lock is held, or the intent is gone.
    Over,
    /// The transaction's locks here were given back meanwhile: by its end, which another copy of the request may have
    /// brought about, or by its coordinator.
    Ended,
}

/// What one long wait tells the deadlock detector (PROTOCOL 19).
struct Reports {
    replica: Arc<Replica>,
    leader: Arc<Leader>,
    /// Absent for a read outside a transaction: nobody waits for that.
    txn: Option<Arc<TxnMeta>>,
    told: bool,
    /// The detector has looked at this wait.
    answered: bool,
}

impl Reports {
    fn new(replica: &Arc<Replica>, leader: &Arc<Leader>, waiter: WaiterId) -> Self {
        let txn = leader.core().locks.waiter(waiter);
        Reports { replica: replica.clone(), leader: leader.clone(), txn, told: false, answered: false }
    }

    /// The circle that this wait must break, if any. A detector that cannot be reached is told again later.
    async fn tell(&mut self) -> Vec<Stuck> {
        let Some(txn) = self.txn.clone() else { return Vec::new() };
        self.told = true;
        let report = self.report(&txn);
        let answer = self.replica.ask_detector(report).await;
        self.answered |= answer.is_some() || quorate_env::planted!("shard.unwatched_untold");
        answer.unwrap_or_default()
    }

    fn unwatched(&self) -> bool {
        self.told && !self.answered
    }

    /// All for whom the transaction waits here, by whichever of its requests.
    fn report(&self, txn: &TxnMeta) -> Waits {
        let blocked = self.leader.core().locks.blocked(txn.id);
        Waits {
            keeper: Key::default(),
            txn: txn.id,
            attempt: txn.attempt,
            started: txn.started,
            shard: self.replica.shard,
            blocked,
            session: txn.session,
        }
    }

    /// The wait is over: edges that are not true any more must close no circle.
    fn end(self) {
        if let Some(txn) = self.txn.clone().filter(|_| self.told) {
            let env = self.replica.context.env.clone();
            let withdraw = async move {
                let report = self.report(&txn);
                self.replica.ask_detector(report).await;
            };
            env.spawn("shard.wait_over", withdraw).detach();
        }
    }
}

impl Replica {
    /// The circle to break, if there is any; `None`: the detector has not answered.
    async fn ask_detector(self: &Arc<Self>, report: Waits) -> Option<Vec<Stuck>> {
        let keeper = report.keeper.clone();
        let answer = self.context.peers.shard_call(&keeper, ShardOp::Waits(report));
        match self.context.env.timeout(detector::REPORT_EVERY, answer).await {
            Ok(Ok(ShardReply::Circle(circle))) => Some(circle),
            other => {
                tracing::debug!(?other, "the deadlock detector has not answered");
                None
            }
        }
    }

    /// Waits until the first of these intents is gone. All of them are entered, so that one resolution covers them.
    pub(super) async fn await_intents(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        found: &[(Key, Arc<TxnMeta>)],
        txn: Option<&Arc<TxnMeta>>,
        give_up: Duration,
    ) -> Result<Waited, KvError> {
        let Some((first, _)) = found.first() else { return Ok(Waited::Over) };
        let wait = self.enter(leader, found, |locks| locks.await_intent(first, txn))?;
        self.wait_out(leader, wait, first, give_up).await
    }

    /// Stands in line for the lock on `key`, by the request of this number, until it is held; `met` is the owner of an intent that
    /// was found there.
    pub(super) async fn await_lock(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        key: &Key,
        txn: &Arc<TxnMeta>,
        wanted: Wanted,
        met: Option<&Arc<TxnMeta>>,
        give_up: Duration,
    ) -> Result<Waited, KvError> {
        let (mode, asked) = (wanted.mode, leader.asked(&wanted));
        let wait = match met {
            // It had the lock when it met the intent, or nobody did.
            Some(other) => self.enter(leader, &[(key.clone(), other.clone())], |locks| {
                locks.queue_first(key, txn, mode, asked)
            })?,
            None => {
                let mut core = leader.core();
                if leader.try_lock(&mut core, key, txn, wanted)?.is_ok() {
                    return Ok(Waited::Over);
                }
                leader.wait(&mut core, |locks| locks.queue(key, txn, mode, asked))?
            }
        };
        self.wait_out(leader, wait, key, give_up).await
    }

    /// Enters intents that were met, and a waiter for one of them. They were seen in a snapshot and may be gone already, in
    /// which case nobody would ever take them out again: so the engine is asked once more after entering.
    fn enter(
        &self,
        leader: &Arc<Leader>,
        found: &[(Key, Arc<TxnMeta>)],
        waiter: impl FnOnce(&mut LockTable) -> WaiterId,
    ) -> Result<LockWait, KvError> {
        let wait = {
            let mut core = leader.core();
            found.iter().for_each(|(key, owner)| core.locks.found_intent(key, owner));
            leader.wait(&mut core, waiter)?
        };
        for (key, owner) in found {
            let raw = self.context.engine.get(Family::Intent, &intent::intent_key(key)).map_err(internal)?;
            let present: Option<Intent> = raw.and_then(|raw| quorate_proto::rpc::decode(&raw).ok());
            if present.is_none_or(|present| present.txn.id != owner.id) {
                let mut core = leader.core();
                let wakes = core.locks.release(key, owner.id);
                core.wake_locks(wakes);
            }
        }
        Ok(wait)
    }

    async fn wait_out(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        mut wait: LockWait,
        key: &Key,
        give_up: Duration,
    ) -> Result<Waited, KvError> {
        // Checked after entering, so that who ends the term or takes the key away either sees the waiter or is seen here.
        self.keeps(leader, key)?;
        let env = &self.context.env;
        let config = &self.context.config;
        let start = env.boottime();
        let blocker = leader.core().locks.blocker(wait.id);
        let gone = blocker.as_ref().is_some_and(|blocker| self.is_over(&blocker.txn));
        let intent = blocker.is_some_and(|blocker| blocker.intent);
        let mut pause = if intent { config.intent_patience } else { config.lock_patience };
        if gone {
            self.push(leader, &wait).await;
        }
        let mut push_at = env.boottime() + pause;
        let mut report_at = start + config.deadlock_patience;
        let mut reports = Reports::new(self, leader, wait.id);
        let result = loop {
            let now = env.boottime();
            if now >= give_up {
                let holder = leader.core().locks.blocker(wait.id).map(|blocker| blocker.txn.party());
                let key = key.clone();
                break Err(if reports.unwatched() {
                    KvError::WaitUnwatched { key, holder }
                } else {
                    KvError::LockTimeout { key, holder }
                });
            }
            let next = give_up.min(push_at).min(report_at);
            if let Ok(turn) = env.timeout(next.saturating_sub(now), &mut wait.turn).await {
                break self.turned(leader, turn);
            }
            if env.boottime() >= push_at {
                self.push(leader, &wait).await;
                pause = (pause * 2).min(config.push_pause_max);
                push_at = env.boottime() + pause;
            }
            if env.boottime() >= report_at {
                report_at = env.boottime() + detector::REPORT_EVERY;
                let circle = tokio::select! {
                    biased;
                    turn = &mut wait.turn => break self.turned(leader, turn),
                    circle = reports.tell() => circle,
                };
                if !circle.is_empty() {
                    quorate_env::probe!("shard.deadlock_across_shards");
                    metrics::counter!("quorate_shard_deadlocks_total", "scope" => "cluster").increment(1);
                    break Err(KvError::Deadlock { cycle: circle });
                }
            }
        };
        drop(wait);
        reports.end();
        metrics::histogram!("quorate_shard_lock_wait_seconds").record((env.boottime() - start).as_secs_f64());
        result
    }

    fn keeps(&self, leader: &Leader, key: &Key) -> Result<(), KvError> {
        let state = self.state.load();
        let is_here = state.sealed.is_none() && state.descriptor.contains(key);
        match leader.is_over() {
            _ if quorate_env::planted!("shard.waits_past_term") => Ok(()),
            true => Err(leader.not_leader()),
            false if is_here => Ok(()),
            false => Err(KvError::StaleRoute { shard: self.shard, newer: Vec::new() }),
        }
    }

    fn turned(&self, leader: &Leader, turn: Result<Turn, RecvError>) -> Result<Waited, KvError> {
        match turn {
            Ok(Turn::Granted | Turn::Cleared) => Ok(Waited::Over),
            Ok(Turn::Deadlock(cycle)) => Err(KvError::Deadlock { cycle }),
            Ok(Turn::Ended) => Ok(Waited::Ended),
            Err(_) if leader.is_over() => Err(leader.not_leader()),
            // The key went to another shard.
            Err(_) => Err(KvError::StaleRoute { shard: self.shard, newer: Vec::new() }),
        }
    }

    /// No one will ever finish this transaction but those who need its keys.
    pub(super) fn is_over(&self, txn: &TxnMeta) -> bool {
        !quorate_env::planted!("shard.locks_outlive_gateway")
            && (self.context.env.clock().physical() > txn.deadline
                || self.context.coordinator_is_over(txn.gateway, txn.incarnation))
    }

    /// Asks after the transaction that stands in the way, and clears it away if it is over. One waiter at a time does so.
    async fn push(self: &Arc<Self>, leader: &Arc<Leader>, wait: &LockWait) {
        let (txn, since, intents) = {
            let mut core = leader.core();
            let Some(Blocker { txn, intent, since }) = core.locks.blocker(wait.id) else { return };
            if !intent && self.is_over(&txn) {
                core.drop_locks(txn.id);
                return;
            }
            // A lock may be held for long by one who lives: the first in line asks for all.
            if !intent && !core.locks.is_first(wait.id) {
                return;
            }
            if !core.pushing.insert(txn.id) {
                return;
            }
            let intents = intent.then(|| core.locks.intents_of(txn.id));
            (txn, since, intents)
        };
        self.push_holder(leader, &txn, since, intents).await;
    }

    /// Asks after one who holds these intents, or a lock since then, and clears away what is over. The caller has entered it
    /// among those that are being pushed.
    pub(super) async fn push_holder(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        txn: &Arc<TxnMeta>,
        since: Duration,
        intents: Option<Vec<Key>>,
    ) {
        let outcome = match intents {
            Some(keys) => self.push_intents(txn, keys, Inquiry::Intent).await,
            None => self.push_lock(leader, txn, since).await,
        };
        leader.core().pushing.remove(&txn.id);
        if let Err(error) = outcome {
            tracing::debug!(shard = self.shard.0, txn = %txn.id, %error, "push failed");
        }
    }

    /// A lock that was taken by a copy of a request that came late, after its transaction had let go of all, belongs to
    /// nobody. Its record tells, or that nobody has kept a record alive since the lock was asked for. One who lives loses a
    /// courtesy by an error here.
    async fn push_lock(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        txn: &Arc<TxnMeta>,
        since: Duration,
    ) -> Result<(), KvError> {
        let silence = self.context.config.coordinator_silence;
        let silent = match self.ask_record(txn, Inquiry::Outcome).await? {
            TxnState::Committed(_) | TxnState::Aborted | TxnState::Unknown => true,
            TxnState::Pending(Some(heard)) => self.context.env.clock().physical() > heard.plus(silence),
            TxnState::Pending(None) => self.context.env.boottime() > since + silence,
        };
        if silent {
            leader.core().drop_locks(txn.id);
        }
        Ok(())
    }

    /// What the record beside the anchor says.
    async fn ask_record(self: &Arc<Self>, txn: &TxnMeta, why: Inquiry) -> Result<TxnState, KvError> {
        let query = QueryTxn { txn: txn.id, anchor: txn.anchor.clone(), why, meta: Some(txn.clone()) };
        quorate_env::count!("quorate_shard_pushes_total");
        let state = self.state.load_full();
        if state.descriptor.contains(&txn.anchor) {
            return self.query_txn(state.descriptor.version, query).await;
        }
        match self.context.peers.shard_call(&txn.anchor, ShardOp::QueryTxn(query)).await? {
            ShardReply::Txn(state) => Ok(state),
            other => Err(internal(format!("{other:?} in answer to QueryTxn"))),
        }
    }

    /// Clears away intents of a transaction that is over.
    pub(super) async fn push_intents(
        self: &Arc<Self>,
        txn: &Arc<TxnMeta>,
        keys: Vec<Key>,
        why: Inquiry,
    ) -> Result<(), KvError> {
        let version = self.state.load().descriptor.version;
        let answer = self.ask_record(txn, why).await?;
        let decision = match answer {
            TxnState::Committed(ts) => Decision::Commit(ts),
            TxnState::Aborted => Decision::Abort,
            // It lives: the caller keeps waiting, up to the cap.
            TxnState::Pending(_) | TxnState::Unknown => return Ok(()),
        };
        quorate_env::probe!("shard.recovered_intents");
        let at_once = if quorate_env::planted!("shard.resolved_in_one_entry") { usize::MAX } else { AT_ONCE };
        for keys in keys.chunks(at_once) {
            self.resolve(version, Resolve { txn: txn.id, decision, keys: keys.to_vec() }).await?;
        }
        Ok(())
    }
}
