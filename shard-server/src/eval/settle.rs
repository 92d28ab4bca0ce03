//! No intent of a transaction that is long over is left in this shard: what others ask before their records go (PROTOCOL 12).
//!
//! *Evaluate*: intents of transactions whose deadlines have passed are cleared away as by one who meets them; then, under the
//! leader's lease, none is left. *No latches*: the asker's transactions were decided before it asked, so that all of their
//! intents were laid before that, here or under an earlier leader, and a copy of a prepare that comes after lays none that
//! stays ([`super::proof`]).

use super::resolve::AT_ONCE;
use crate::{registry::internal, replica::Replica};
use quorate_proto::kv::{Inquiry, TxnMeta};
use quorate_proto::{Key, KvError, Span, Timestamp, TxnId};
use quorate_storage::{Snapshot, intent};
use std::{collections::BTreeMap, sync::Arc};

type Old = BTreeMap<TxnId, (Arc<TxnMeta>, Vec<Key>)>;

impl Replica {
    /// The shard's span, and whether it is clear of intents with deadlines up to `until`.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        version: u64,
        until: Timestamp,
    ) -> Result<(Span, bool), KvError> {
        let leader = self.leader()?;
        let mut before = Old::new();
        loop {
            let (span, old) = {
                let snapshot = self.context.engine.snapshot();
                let state = self.still(&leader, version)?;
                let span = state.descriptor.span.clone();
                let old = old_intents(&*snapshot, &span, until).map_err(internal)?;
                (span, old)
            };
            if old.is_empty() || old == before {
                self.certify(&leader).await?;
                return Ok((span, old.is_empty()));
            }
            quorate_env::probe!("shard.settled_old_intents");
            for (txn, keys) in old.values() {
                self.push_intents(txn, keys.clone(), Inquiry::Intent).await?;
            }
            before = old;
        }
    }
}

fn old_intents(
    snapshot: &dyn Snapshot,
    span: &Span,
    until: Timestamp,
) -> Result<Old, quorate_storage::StorageError> {
    let mut old = Old::new();
    let due = |found: &Result<(Key, intent::Intent), _>| {
        found.as_ref().map_or(true, |(_, intent)| intent.txn.deadline <= until)
    };
    for found in intent::scan(snapshot, span).filter(due).take(AT_ONCE) {
        let (key, found) = found?;
        let (_, keys) = old.entry(found.txn.id).or_insert_with(|| (Arc::new(found.txn), Vec::new()));
        keys.push(key);
    }
    Ok(old)
}
