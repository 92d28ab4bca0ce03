//! How transactions end: decisions, what becomes of their intents, and what those do who wait for them.

use super::Step::Done;
use super::{Noted, Record, Step, Store, Version, refuse, state};
use quorate_proto::{
    Key, KvError, LogPosition, ShardId, Span, Timestamp, TxnId,
    kv::{Decide, Decision, Inquiry, QueryTxn, Resolve, ShardReply, TxnMeta, TxnState, Undone},
};

impl Store {
    pub(super) fn decide(&mut self, id: ShardId, decide: &Decide, now: Timestamp) -> Step {
        let txn = &decide.txn;
        let known = self.records.get(&txn.id).map(|(_, record)| record.clone());
        if let Some(record @ (Record::Committed(..) | Record::Aborted)) = &known {
            return Done(Ok(ShardReply::Decided(state(Some(record)), None)));
        }
        let staged = |ts| matches!(known, Some(Record::Staging(at, ..)) if at == ts);
        let record = match decide.decision {
            Decision::Commit(ts) if now <= txn.deadline || staged(ts) => {
                Record::Committed(ts, LogPosition::default())
            }
            Decision::Commit(_) => {
                return refuse(KvError::TxnAborted { txn: txn.id, why: "past its deadline".into() });
            }
            Decision::Abort => Record::Aborted,
        };
        let position = self.entry("decide");
        let said = state(Some(&record));
        self.records.insert(txn.id, (txn.anchor.clone(), record));
        // The shard's own intents go with the decision.
        let span = self.shards[&id].descriptor.span.clone();
        for key in decide.intents.iter().filter(|key| span.contains(key)) {
            self.settle(key, txn.id, decide.decision);
        }
        self.release(id, txn.id);
        Done(Ok(ShardReply::Decided(said, Some(position))))
    }

    pub(super) fn resolve(&mut self, id: ShardId, resolve: &Resolve) -> Step {
        self.entry("resolve");
        for key in &resolve.keys {
            self.settle(key, resolve.txn, resolve.decision);
        }
        self.release(id, resolve.txn);
        Done(Ok(ShardReply::Resolved))
    }

    fn settle(&mut self, key: &Key, txn: TxnId, decision: Decision) {
        if self.intents.get(key).is_none_or(|intent| intent.meta.id != txn) {
            return;
        }
        let intent = self.intents.remove(key).expect("just seen");
        let recorded = self.records.get(&txn).map(|(_, record)| state(Some(record)));
        let decided = match decision {
            Decision::Commit(ts) => TxnState::Committed(ts),
            Decision::Abort => TxnState::Aborted,
        };
        assert_eq!(recorded, Some(decided), "resolved without a decision");
        if let Decision::Commit(ts) = decision {
            assert!(intent.ts <= ts, "committed below its intent");
            let version = Version { value: intent.value, writer: txn };
            self.versions.entry(key.clone()).or_default().insert(ts, version);
        }
    }

    pub(super) fn query(&mut self, query: &QueryTxn) -> Step {
        let known = self.records.get(&query.txn).map(|(_, record)| record.clone());
        let undecided = !matches!(known, Some(Record::Committed(..) | Record::Aborted));
        if undecided && query.why == Inquiry::End {
            let record = self.end(query.txn, &query.anchor);
            return Done(Ok(ShardReply::Txn(state(Some(&record)))));
        }
        Done(Ok(ShardReply::Txn(state(known.as_ref()))))
    }

    /// Decides a transaction for its coordinator: by its intents if it is staged, else by aborting it.
    fn end(&mut self, txn: TxnId, anchor: &Key) -> Record {
        let record = match self.records.get(&txn).map(|(_, record)| record.clone()) {
            Some(Record::Staging(ts, _, keys)) => match keys.iter().find(|key| !self.stands(key, txn, ts)) {
                None => {
                    self.entry("recover");
                    Record::Committed(ts, LogPosition::default())
                }
                Some(missing) => {
                    // Prevented: a read in nobody's name.
                    self.notes.push(Noted { span: Span::point(missing), ts, by: TxnId(0) });
                    self.entry("abort");
                    Record::Aborted
                }
            },
            _ => {
                self.entry("abort");
                Record::Aborted
            }
        };
        self.records.insert(txn, (anchor.clone(), record.clone()));
        record
    }

    fn stands(&self, key: &Key, txn: TxnId, ts: Timestamp) -> bool {
        self.intents.get(key).is_some_and(|intent| intent.meta.id == txn && intent.ts <= ts)
    }

    pub(super) fn release(&mut self, id: ShardId, txn: TxnId) {
        let span = self.shards[&id].descriptor.span.clone();
        self.locks.retain(|key, held| {
            if span.contains(key) {
                held.holders.remove(&txn);
            }
            !held.holders.is_empty()
        });
    }

    pub(super) fn release_undone(&mut self, id: ShardId, txn: TxnId, undone: Undone) {
        let span = self.shards[&id].descriptor.span.clone();
        self.locks.retain(|key, held| {
            let goes = held.holders.get(&txn).is_some_and(|holder| {
                let (first, last) = holder.numbers;
                first > undone.after && last <= undone.up_to
            });
            if goes && span.contains(key) {
                held.holders.remove(&txn);
            }
            !held.holders.is_empty()
        });
    }

    /// What a waiter does about whoever stands in its way: finish what is decided, abort who has been silent for long.
    pub fn push(
        &mut self,
        key: &Key,
        holder: &TxnMeta,
        lock: bool,
        now: Timestamp,
        liveness: std::time::Duration,
    ) {
        let met = *self.met.entry(holder.id).or_insert(now);
        match self.records.get(&holder.id).map(|(_, record)| record.clone()) {
            // A lock of a transaction that is over came late: its request was slow on the way.
            Some(over @ (Record::Committed(..) | Record::Aborted)) => {
                let decision = match over {
                    Record::Committed(ts, _) => Decision::Commit(ts),
                    _ => Decision::Abort,
                };
                self.settle(key, holder.id, decision);
                if lock && let Some(held) = self.locks.get_mut(key) {
                    held.holders.remove(&holder.id);
                }
            }
            known => {
                let heard = match known {
                    Some(Record::Pending(heard) | Record::Staging(_, heard, _)) => heard.max(met),
                    _ => met,
                };
                if now.since(heard) > liveness {
                    self.end(holder.id, &holder.anchor);
                }
            }
        }
    }
}
