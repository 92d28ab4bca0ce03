//! What goes wrong with a transaction, and what its caller may do about it.

use quorate_proto::{ErrorClass, KvError, ShardId, TxnId};
use std::fmt;

/// A shard's or the router's error, with the transaction that met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnError {
    pub error: KvError,
    pub txn: TxnId,
    /// The shard that said so, when it was one.
    pub shard: Option<ShardId>,
}

impl TxnError {
    pub fn new(txn: TxnId, error: KvError) -> Self {
        TxnError { error, txn, shard: None }
    }

    /// What to do: `RetryTransaction` can be run again by [`crate::Txn::restart`] if no result has reached the client.
    pub fn class(&self) -> ErrorClass {
        self.error.class()
    }

    /// Running the transaction again from its start may succeed, and nothing of it has happened.
    pub fn retryable(&self) -> bool {
        self.class() == ErrorClass::RetryTransaction
    }

    pub fn sqlstate(&self) -> &'static str {
        self.error.sqlstate()
    }

    /// The transaction that stood in the way, if it is known.
    pub fn other(&self) -> Option<TxnId> {
        match &self.error {
            KvError::Conflict { other, .. } => *other,
            KvError::LockLost { change, .. } => change.by,
            KvError::LockTimeout { holder, .. }
            | KvError::WaitUnwatched { holder, .. }
            | KvError::LockNotAvailable { holder, .. } => holder.map(|holder| holder.txn),
            KvError::Deadlock { cycle } => cycle.iter().map(|stuck| stuck.who.txn).find(|t| *t != self.txn),
            _ => None,
        }
    }
}

impl fmt::Display for TxnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl std::error::Error for TxnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
