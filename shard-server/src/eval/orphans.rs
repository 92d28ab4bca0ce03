//! Locks that nobody will give back, and that nobody waits for: a gateway's that is gone, and those that a late copy of a request took
//! when its transaction was over. Who waits for a lock asks after its holder ([`super::wait`]); these would take room among the
//! locks of their shard until it is led elsewhere.
//!
//! So a node looks through the holders of locks in the shards that it leads, now and then, as one who waits would: the locks of one
//! who is certainly over go at once, and of those who have held theirs for long a few are asked after, one by one.

use crate::{Context, leader::Leader, replica::Replica};
use quorate_proto::{TxnId, kv::TxnMeta};
use std::{sync::Arc, time::Duration};

/// Holders of one shard that are asked after in one round; the others in the next.
const ASKED: usize = 16;

/// Runs until the node stops.
pub(crate) async fn run(context: Arc<Context>) {
    loop {
        context.env.sleep(context.env.jittered(context.config.lock_review)).await;
        for replica in context.all() {
            if let Some(leader) =
                replica.leader_now().filter(|_| !quorate_env::planted!("shard.orphaned_locks_stay"))
            {
                replica.review_locks(&leader).await;
            }
        }
    }
}

impl Replica {
    async fn review_locks(self: &Arc<Self>, leader: &Arc<Leader>) {
        for (txn, since) in self.long_held(leader) {
            self.push_holder(leader, &txn, since, None).await;
        }
    }

    /// Drops the locks of those who are over. Of the others, those that are to be asked after, entered as being so.
    fn long_held(&self, leader: &Leader) -> Vec<(Arc<TxnMeta>, Duration)> {
        let mut core = leader.core();
        let holders = core.locks.holders();
        let (over, alive): (Vec<_>, Vec<_>) = holders.into_iter().partition(|(txn, _)| self.is_over(txn));
        over.into_iter().for_each(|(txn, _)| core.drop_locks(txn.id));
        let long_ago = self.context.env.boottime().saturating_sub(self.context.config.coordinator_silence);
        let long_held = alive.into_iter().filter(|(_, since)| *since <= long_ago);
        let unasked = |id: TxnId| !core.pushing.contains(&id);
        let asked: Vec<_> = long_held.filter(|(txn, _)| unasked(txn.id)).take(ASKED).collect();
        core.pushing.extend(asked.iter().map(|(txn, _)| txn.id));
        asked
    }
}
