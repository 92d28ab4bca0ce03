//! Begins transactions and looks after those under way.

use crate::{
    Router, Txn, TxnConfig, TxnError, TxnOptions,
    commit::cleanup::Cleanup,
    history::{Evidence, History, Outcome},
    open::Open,
    route::SendOptions,
    scratch::Scratch,
    txn::Committed,
};
use quorate_env::Env;
use quorate_proto::{
    Key, TxnId,
    kv::{Inquiry, QueryTxn, ShardOp, ShardReply, Stuck, TxnState, Waits},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// One per gateway node.
pub struct Coordinator {
    pub(crate) env: Env,
    pub(crate) router: Arc<Router>,
    pub(crate) config: TxnConfig,
    pub(crate) history: History,
    pub(crate) cleanup: Cleanup,
    pub(crate) open: Open,
    pub(crate) scratch: Arc<dyn Scratch>,
    /// [`TxnConfig::stale_after`], in microseconds.
    stale_after: AtomicU64,
}

impl Coordinator {
    /// `scratch` is where transactions keep what is more than [`TxnConfig::memory_bytes`].
    pub fn new(env: Env, router: Arc<Router>, config: TxnConfig, scratch: Arc<dyn Scratch>) -> Arc<Self> {
        let cleanup = Cleanup::new(env.clone(), router.clone(), &config);
        let stale_after = AtomicU64::new(config.stale_after.as_micros() as u64);
        let (history, open) = (History::new(8192), Open::default());
        Arc::new(Coordinator { env, router, config, history, cleanup, open, scratch, stale_after })
    }

    /// Leaders close timestamps at this distance from now on.
    pub fn set_closing_target(&self, target: Duration) {
        self.stale_after.store(target.as_micros() as u64 / 2, Ordering::Relaxed);
    }

    pub(crate) fn stale_after(&self) -> Duration {
        Duration::from_micros(self.stale_after.load(Ordering::Relaxed))
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Begins a transaction. Nothing is sent before its first read or its commit.
    pub fn begin(self: &Arc<Self>, options: TxnOptions) -> Txn {
        Txn::begin(self.clone(), options)
    }

    /// Runs the closure in a transaction and commits it, again and again while that fails with something that running it
    /// again may cure. Nothing of an attempt that failed remains.
    pub async fn run<T, F, Fut>(
        self: &Arc<Self>,
        options: TxnOptions,
        body: F,
    ) -> Result<(T, Committed), TxnError>
    where
        F: Fn(Txn) -> Fut,
        Fut: Future<Output = Result<T, TxnError>>,
    {
        let mut txn = self.begin(options);
        loop {
            let error = match body(txn.clone()).await {
                Ok(value) => match txn.commit().await {
                    Ok(committed) => return Ok((value, committed)),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.retryable() || txn.attempt() + 1 >= self.config.max_attempts {
                txn.rollback();
                return Err(error);
            }
            // The more often it failed, the more room is left to the others.
            let pause = Duration::from_millis(1 << txn.attempt().min(7));
            if txn.attempt() > 0 {
                self.env.sleep(self.env.jittered(pause)).await;
            }
            txn = txn.restart();
        }
    }

    /// Asks the record beside `anchor` what became of a transaction; without one that is unknown. With `abort` an undecided
    /// one is aborted for good, so that the answer is never `Pending`.
    pub async fn outcome(&self, id: TxnId, anchor: &Key, abort: bool) -> Result<Outcome, TxnError> {
        let query = QueryTxn {
            txn: id,
            anchor: anchor.clone(),
            why: if abort { Inquiry::End } else { Inquiry::Outcome },
            meta: None,
        };
        let now = self.env.boottime();
        let options = SendOptions {
            deadline: now + self.config.ambiguity_bound,
            attempt: Duration::from_secs(3),
            follower: false,
        };
        let sent = self.router.send(ShardOp::QueryTxn(query), options).await;
        let sent = sent.map_err(|e| TxnError { error: e.error, txn: id, shard: e.shard })?;
        let outcome = match sent.reply {
            ShardReply::Txn(TxnState::Committed(ts)) => Outcome::Committed(ts),
            ShardReply::Txn(TxnState::Aborted) => Outcome::Aborted,
            ShardReply::Txn(TxnState::Pending(_)) => Outcome::Pending,
            _ => Outcome::Unknown,
        };
        if let Outcome::Committed(ts) = outcome {
            // Whoever reveals a commit waits for its time (PROTOCOL 15).
            let clock = self.env.clock();
            let until = if clock.commit_wait() { ts.plus(clock.bound()) } else { ts };
            clock.wait_until_past(until).await;
        }
        Ok(outcome)
    }

    /// Tells the deadlock detector of a wait that no shard's lock table knows of (PROTOCOL 19), as shards tell it of theirs: again
    /// every second while it lasts. The circle that the reporter must break by giving up; empty if there is none, or the detector
    /// is not reached.
    pub async fn report_wait(&self, waits: Waits) -> Vec<Stuck> {
        let limit = Duration::from_secs(1);
        let options = SendOptions { deadline: self.env.boottime() + limit, attempt: limit, follower: false };
        match self.router.send(ShardOp::Waits(waits), options).await.map(|sent| sent.reply) {
            Ok(ShardReply::Circle(circle)) => circle,
            other => {
                tracing::debug!(?other, "the deadlock detector has not answered");
                Vec::new()
            }
        }
    }

    /// Intents that commits of this gateway may have laid and that are not resolved yet.
    pub fn unresolved_intents(&self) -> usize {
        self.cleanup.room.intents()
    }

    /// What this gateway remembers of a transaction that it coordinated: the certificates that it met, for the latest
    /// few thousand commits, in memory. Other gateways' transactions are found through [`Coordinator::outcome`] only, by
    /// their anchor key; the durable certificates are the record beside that key and the done-record.
    pub fn evidence(&self, id: TxnId) -> Option<Evidence> {
        self.history.get(id)
    }
}
