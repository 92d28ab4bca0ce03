//! Locks and intents that are met by those who do not wait (`SKIP LOCKED`, `NOWAIT`).
//!
//! An intent is no lock any more once its transaction's commit has been acknowledged, which is earlier than it is resolved
//! (`docs/parallel-commit.md`). So before an intent is passed by, its transaction is asked after, at once: a decided one is
//! resolved, and the request looks again ([`Strangers`]).
//!
//! Nobody stands in line for these, so nobody would ask whether their holders still live, and a queue would pass the rows of a
//! dead gateway by until its transactions' deadlines. So whoever passes by has old ones asked after in the background, as one
//! who waits does ([`super::wait`]), and whoever comes next finds them gone. Bounded: of one holder nobody asks twice at a
//! time, nor twice a second, and one request asks after a few only.

use crate::{
    leader::{Core, Leader},
    lock_table::Blocker,
    replica::Replica,
};
use quorate_proto::kv::{Inquiry, TxnMeta};
use quorate_proto::{Key, TxnId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The same holder is asked after no more often.
const EVERY: Duration = Duration::from_secs(1);
/// Holders that are remembered for that; more are left to those who come later.
const MAX_REMEMBERED: usize = 1024;
/// Holders that one request asks after.
const AT_ONCE: usize = 16;
/// Rows of one scan that are noted for that.
const MAX_ROWS: usize = 64;
/// Transactions that one request asks after before it passes their intents by.
const MAX_STRANGERS: usize = 256;
/// For their records to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// Who holds a key.
pub(super) struct Met {
    pub holder: Arc<TxnMeta>,
    /// By an intent that was found there.
    pub intent: bool,
}

/// What a request passes by.
#[derive(Default)]
pub(super) struct PassedBy(BTreeMap<Key, Met>);

impl PassedBy {
    pub fn contains(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    pub fn add(&mut self, key: &Key, met: Met) {
        self.0.insert(key.clone(), met);
    }

    /// A row that its scan leaves out by itself.
    pub fn add_row(&mut self, key: &Key, met: Met) {
        if self.0.len() < MAX_ROWS {
            self.add(key, met);
        }
    }
}

/// Transactions whose intents a request has met, and has not asked after yet.
#[derive(Default)]
pub(super) struct Strangers {
    asked: BTreeSet<TxnId>,
    met: BTreeMap<TxnId, (Arc<TxnMeta>, Vec<Key>)>,
}

impl Strangers {
    /// Notes an intent. False: its transaction was asked after and is undecided, or there are too many to ask.
    pub fn meet(&mut self, key: &Key, txn: &TxnMeta) -> bool {
        let full = self.asked.len() + self.met.len() >= MAX_STRANGERS && !self.met.contains_key(&txn.id);
        if full || self.asked.contains(&txn.id) || quorate_env::planted!("shard.acknowledged_passed_by") {
            return false;
        }
        let (_, keys) = self.met.entry(txn.id).or_insert_with(|| (Arc::new(txn.clone()), Vec::new()));
        keys.push(key.clone());
        true
    }

    pub fn any(&self) -> bool {
        !self.met.is_empty()
    }
}

/// When whom somebody asked after last (on `Env::boottime`).
#[derive(Debug, Default)]
pub struct LastAsked(BTreeMap<TxnId, Duration>);

impl LastAsked {
    /// Whether to ask now, which is taken down.
    fn is_due(&mut self, txn: TxnId, now: Duration) -> bool {
        if self.0.get(&txn).is_some_and(|last| now < *last + EVERY) {
            return false;
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, last| now < *last + EVERY);
        }
        let room = self.0.len() < MAX_REMEMBERED;
        if room {
            self.0.insert(txn, now);
        }
        room
    }
}

/// Who is to be asked after, and why.
struct Held {
    txn: Arc<TxnMeta>,
    since: Duration,
    /// Without one it is a lock.
    intents: Vec<Key>,
}

impl Replica {
    /// Asks after all who were met, and resolves their intents if they are decided. Who does not answer in time counts as
    /// undecided.
    pub(super) async fn get_to_know(self: &Arc<Self>, strangers: &mut Strangers) {
        quorate_env::probe!("shard.asked_before_passing");
        let met = std::mem::take(&mut strangers.met);
        strangers.asked.extend(met.keys());
        let asking = met.into_values().map(|(txn, keys)| async move {
            let asked = self.push_intents(&txn, keys, Inquiry::Settled);
            if let Ok(Err(error)) = self.context.env.timeout(ANSWER_PATIENCE, asked).await {
                tracing::debug!(shard = self.shard.0, txn = %txn.id, %error, "asked in vain");
            }
        });
        futures::future::join_all(asking).await;
    }

    /// Has those whose turn it is asked after in the background.
    pub(super) fn ask_after(self: &Arc<Self>, leader: &Arc<Leader>, passed: PassedBy) {
        if passed.0.is_empty() || quorate_env::planted!("shard.passed_by_unasked") {
            return;
        }
        let due = self.due(&mut leader.core(), passed);
        if due.is_empty() {
            return;
        }
        quorate_env::probe!("shard.asked_in_passing");
        let (replica, leader) = (self.clone(), leader.clone());
        let task = async move {
            for Held { txn, since, intents } in due {
                let intents = Some(intents).filter(|keys| !keys.is_empty());
                replica.push_holder(&leader, &txn, since, intents).await;
            }
        };
        self.context.env.spawn("shard.ask_after", task).detach();
    }

    /// Those that are old and that nobody asks after, entered as being asked after. Locks that are certainly over go at once.
    fn due(&self, core: &mut Core, PassedBy(passed): PassedBy) -> Vec<Held> {
        let mut holders: BTreeMap<TxnId, Held> = BTreeMap::new();
        for (key, met) in passed {
            if let Some((txn, since, intent)) = self.old(core, &key, met) {
                let held = holders.entry(txn.id);
                let held = held.or_insert_with(|| Held { txn: txn.clone(), since, intents: Vec::new() });
                if intent {
                    // It says where the record lies.
                    held.txn = txn;
                    held.intents.push(key);
                }
            }
        }
        let now = self.context.env.boottime();
        let mut due = Vec::new();
        for (id, held) in holders {
            if held.intents.is_empty() && self.is_over(&held.txn) {
                core.drop_locks(id);
            } else if due.len() < AT_ONCE && !core.pushing.contains(&id) && core.last_asked.is_due(id, now) {
                core.pushing.insert(id);
                due.push(held);
            }
        }
        due
    }

    /// Who holds the key, since when, and whether by an intent; unless it is gone, young, or stands in line itself.
    fn old(&self, core: &Core, key: &Key, met: Met) -> Option<(Arc<TxnMeta>, Duration, bool)> {
        let env = &self.context.env;
        let patience = self.context.config.lock_patience;
        let begun_long_ago = |txn: &TxnMeta| env.clock().physical() > txn.started.plus(patience);
        if met.intent {
            return begun_long_ago(&met.holder).then_some((met.holder, Duration::ZERO, true));
        }
        let Blocker { txn, intent, since } = core.locks.holder(key, met.holder.id)?;
        let old = if intent { begun_long_ago(&txn) } else { env.boottime() >= since + patience };
        old.then_some((txn, since, intent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_after_twice_a_second() {
        let mut last = LastAsked::default();
        let at = Duration::from_millis;
        assert!(last.is_due(TxnId(1), at(0)));
        assert!(last.is_due(TxnId(2), at(500)));
        assert!(!last.is_due(TxnId(1), at(999)));
        assert!(last.is_due(TxnId(1), at(1000)));
        assert!(!last.is_due(TxnId(2), at(1000)));
        // What is remembered is bounded, and what is not is not asked.
        let full = (10..).take_while(|n| last.is_due(TxnId(*n), at(1100))).count();
        assert_eq!(full, MAX_REMEMBERED - 2);
        assert!(last.is_due(TxnId(3), at(1500)), "there is room where one second has passed");
    }
}
