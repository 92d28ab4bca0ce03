//! Begins transactions and looks after those under way.

use crate::{
    Isolation, Router, Txn, TxnConfig, TxnError, TxnOptions,
    history::{Evidence, History, Outcome},
    txn::Committed,
};
use quorate_env::Env;
use quorate_proto::{Key, TxnId};
use std::{future::Future, sync::Arc};

/// One per gateway node.
pub struct Coordinator {
    pub(crate) env: Env,
    pub(crate) router: Arc<Router>,
    pub(crate) config: TxnConfig,
    pub(crate) history: History,
}

impl Coordinator {
    pub fn new(env: Env, router: Arc<Router>, config: TxnConfig) -> Arc<Self> {
        Arc::new(Coordinator { env, router, config, history: History::new(8192) })
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
        let _ = (options, body);
        todo!()
    }

    /// Asks the record beside `anchor` what became of a transaction. With `abort` an undecided one is aborted for good, so
    /// that the answer is never `Pending`.
    pub async fn outcome(&self, id: TxnId, anchor: &Key, abort: bool) -> Result<Outcome, TxnError> {
        let _ = (id, anchor, abort);
        todo!()
    }

    /// What this gateway remembers of a transaction that it coordinated: the certificates that it met, for the latest
    /// few thousand commits, in memory. Other gateways' transactions are found through [`Coordinator::outcome`] only, by
    /// their anchor key; the durable certificates are the record beside that key and the done-record.
    pub fn evidence(&self, id: TxnId) -> Option<Evidence> {
        self.history.get(id)
    }

    pub(crate) fn uses_spans(isolation: Isolation) -> bool {
        isolation != Isolation::ReadCommitted
    }
}
