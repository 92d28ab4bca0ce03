//! The lease on which the advisory locks of a node's sessions rest: a row with the time until when it runs, put off again and
//! again while some session has use for it.
//!
//! It is put off by a commit below its time (PROTOCOL 20 does so with schema versions): a lease that has run out is never
//! taken up again, and whoever reads behind its time that it has run out knows that for good.

use super::{keeper::Keeper, keys::LeaseId};
use crate::{SqlError, SqlState};
use crate::{catalog::store::exclusive, session::errors::from_txn};
use parking_lot::Mutex;
use quorate_proto::{Timestamp, Value, rpc};
use quorate_txn::{Txn, TxnError, TxnOptions};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Between two looks after a lease, and after what its sessions wait for.
const TICK: Duration = Duration::from_secs(1);

/// Whoever has a place that rests on it holds it.
#[derive(Debug)]
pub struct Lease {
    pub id: LeaseId,
    /// It is known to run until then: what the row says, or less.
    until: Mutex<Timestamp>,
}

impl Lease {
    pub fn until(&self) -> Timestamp {
        *self.until.lock()
    }
}

/// The session cannot say any more that it holds its locks.
pub fn lost() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "the session's advisory locks are lost")
        .detail("The node has not reached a quorum for so long that others may have taken them.")
}

impl Keeper {
    /// A lease that runs.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Arc<Lease>, SqlError> {
        let mut current = self.current.lock().await;
        if let Some(lease) = &*current
            && self.runs(lease)
        {
            return Ok(lease.clone());
        }
        let id = LeaseId { node: self.env.node(), number: self.env.random_u64() };
        let lease = Arc::new(Lease { id, until: Mutex::new(Timestamp::ZERO) });
        self.put_off(&lease).await.map_err(from_txn)?;
        *current = Some(lease.clone());
        let (keeper, kept) = (self.clone(), lease.clone());
        self.env.spawn("sql.advisory", async move { keeper.keep(kept).await }).detach();
        Ok(lease)
    }

    pub(super) fn runs(&self, lease: &Lease) -> bool {
        self.env.clock().physical() < lease.until()
    }

    /// Looks after a lease until it is given up or has run out.
    async fn keep(self: Arc<Self>, lease: Arc<Lease>) {
        // Three more tries follow before its end.
        let (renew, patience) = (self.length / 4, self.length / 5);
        let mut renew_at = self.env.boottime() + renew;
        while self.runs(&lease) {
            self.env.sleep(TICK).await;
            self.report_sessions();
            if self.env.boottime() < renew_at {
                continue;
            }
            if self.give_up(&lease, patience).await {
                return;
            }
            match self.env.timeout(patience, self.put_off(&lease)).await {
                Ok(Ok(())) => renew_at = self.env.boottime() + renew,
                Ok(Err(error)) => tracing::debug!(%error, "the lease of the advisory locks was not put off"),
                Err(_) => tracing::debug!("the lease of the advisory locks was not put off in time"),
            }
        }
        tracing::warn!("the lease of the node's advisory locks has run out");
    }

    /// Without anybody who uses it a lease goes; whether it has gone.
    async fn give_up(&self, lease: &Arc<Lease>, patience: Duration) -> bool {
        {
            let mut current = self.current.lock().await;
            // Held here and by whoever looks after it. It is handed out under this lock only.
            let unused =
                Arc::strong_count(lease) == 2 && current.as_ref().is_some_and(|l| Arc::ptr_eq(l, lease));
            if !unused {
                return false;
            }
            *current = None;
        }
        let key = lease.id.key();
        let remove = self.coordinator.run(TxnOptions::default(), |txn| {
            let key = key.clone();
            async move {
                txn.delete(key);
                Ok(())
            }
        });
        // A row that stays is removed by the next who reads that it is over.
        let _ = self.env.timeout(patience, remove).await;
        true
    }

    /// Puts the lease's end off, or begins it.
    async fn put_off(&self, lease: &Lease) -> Result<(), TxnError> {
        let known = lease.until();
        let begins = known == Timestamp::ZERO;
        let until = self.env.clock().physical().plus(self.length);
        let key = lease.id.key();
        let options = TxnOptions { commit_before: (!begins).then_some(known), ..TxnOptions::default() };
        let write = |txn: Txn| {
            let key = key.clone();
            async move {
                let found = txn.get(&key, Some(exclusive())).await?;
                let there = begins || found.is_some();
                if there {
                    txn.put(key, Value(rpc::encode(&until)));
                }
                Ok(there)
            }
        };
        let (there, _) = self.coordinator.run(options, write).await?;
        *lease.until.lock() = if there { until } else { Timestamp::ZERO };
        Ok(())
    }

    /// Which of these leases are over, as of the transaction's reads. Their rows go with it.
    pub(super) async fn over(
        &self,
        txn: &Txn,
        leases: &BTreeSet<LeaseId>,
    ) -> Result<BTreeSet<LeaseId>, TxnError> {
        let keys: Vec<_> = leases.iter().map(|id| id.key()).collect();
        let found = txn.get_many(&keys, None).await?;
        let mut over = BTreeSet::new();
        for ((id, key), found) in leases.iter().zip(keys).zip(found) {
            let Some(raw) = found else {
                over.insert(*id);
                continue;
            };
            let until: Timestamp = super::keeper::decode(txn, &raw)?;
            // With the bound on the clocks, so that whoever is told of it reads behind that time, on whichever node.
            if until.plus(self.env.clock().bound()) < txn.read_ts() {
                txn.delete(key);
                over.insert(*id);
            }
        }
        Ok(over)
    }
}
