//! What is proven before anything is written, and the writes: at once in one shard, or as intents.

#![expect(clippy::result_large_err, reason = "a test")]

use super::Step::{Done, Wait};
use super::{Intent, Noted, Record, Step, Store, Version, done, range, refuse};
use quorate_proto::{
    Key, KvError, LogPosition, ShardId, Span, Timestamp,
    kv::{Check, CheckKind, CommitLocal, LockMode, Prepare, Refresh, ShardReply, TxnMeta, Write},
};
use std::collections::BTreeSet;

/// What a request wants proven, up to a timestamp from `floor` to `before`.
struct Claims<'a> {
    txn: &'a TxnMeta,
    read_ts: Timestamp,
    floor: Timestamp,
    before: Timestamp,
    refresh: &'a [Span],
    checks: &'a [Check],
    writes: &'a [Write],
}

impl Store {
    pub(super) fn commit_local(&mut self, id: ShardId, commit: &CommitLocal, now: Timestamp) -> Step {
        if let Some((_, Record::Committed(ts, position))) = self.records.get(&commit.txn.id) {
            return Done(Ok(ShardReply::Committed(*ts, *position)));
        }
        if let Err(step) = self.decided(id, &commit.txn) {
            return step;
        }
        let c = commit;
        let claims = Claims {
            txn: &c.txn,
            read_ts: c.read_ts,
            floor: c.commit_ts,
            before: c.commit_before,
            refresh: &c.refresh,
            checks: &c.checks,
            writes: &c.writes,
        };
        let proven = self.prove(id, &claims, now);
        let ts = match proven {
            Ok(ts) => ts,
            Err(step) => return step,
        };
        let position = self.entry("local");
        for write in &c.writes {
            let version = Version { value: write.value.clone(), writer: c.txn.id };
            self.versions.entry(write.key.clone()).or_default().insert(ts, version);
        }
        self.records.insert(c.txn.id, (c.txn.anchor.clone(), Record::Committed(ts, position)));
        self.release(id, c.txn.id);
        Done(Ok(ShardReply::Committed(ts, position)))
    }

    pub(super) fn prepare(&mut self, id: ShardId, prepare: &Prepare, now: Timestamp) -> Step {
        let p = prepare;
        if let Err(step) = self.decided(id, &p.txn) {
            return step;
        }
        if let Some(ts) = self.prepared(p) {
            return Done(Ok(ShardReply::Prepared(ts, Some(LogPosition { term: 1, index: self.index }))));
        }
        if let Some(refusal) = self.late(p) {
            return refuse(refusal);
        }
        let claims = Claims {
            txn: &p.txn,
            read_ts: p.read_ts,
            floor: p.commit_ts,
            before: p.commit_before,
            refresh: &p.refresh,
            checks: &p.checks,
            writes: &p.writes,
        };
        let proven = self.prove(id, &claims, now);
        let ts = match proven {
            Ok(ts) => ts,
            Err(step) => return step,
        };
        if p.writes.is_empty() {
            return Done(Ok(ShardReply::Prepared(ts, None)));
        }
        let position = self.entry("prepare");
        for write in &p.writes {
            let intent = Intent { meta: p.txn.clone(), ts, value: write.value.clone() };
            self.intents.insert(write.key.clone(), intent);
        }
        if let Some(keys) = p.staging.clone().filter(|_| ts == p.commit_ts) {
            let staged = Record::Staging(ts, now, keys);
            self.records.insert(p.txn.id, (p.txn.anchor.clone(), staged));
        }
        Done(Ok(ShardReply::Prepared(ts, Some(position))))
    }

    /// Where a copy of this has been prepared already and stands as it was.
    fn prepared(&self, p: &Prepare) -> Option<Timestamp> {
        let own = |write: &Write| {
            let intent = self.intents.get(&write.key)?;
            let same = intent.meta.id == p.txn.id && intent.meta.attempt == p.txn.attempt;
            (same && intent.ts >= p.commit_ts).then_some(intent.ts)
        };
        let all: Option<Vec<Timestamp>> = p.writes.iter().map(own).collect();
        all?.into_iter().max()
    }

    /// Perhaps its own versions, of an intent that was resolved since the first copy.
    fn late(&self, p: &Prepare) -> Option<KvError> {
        let mut late = None;
        for Write { key, .. } in &p.writes {
            let Some(versions) = self.versions.get(key) else { continue };
            let Some((at, version)) = versions.range(p.commit_ts..).next() else { continue };
            let refusal =
                |other| KvError::Conflict { key: key.clone(), other, their_ts: *at, our_ts: p.read_ts };
            if *at == p.commit_ts {
                return Some(refusal(Some(p.txn.id)));
            }
            let inserts = p.checks.iter().any(|check| check.key == *key && check.kind == CheckKind::Absent);
            if !inserts || version.value.is_none() {
                late.get_or_insert(refusal(None));
            }
        }
        late
    }

    pub(super) fn refresh(&mut self, refresh: &Refresh) -> Step {
        let proven = self.unchanged(&refresh.txn, &refresh.spans, refresh.from, refresh.to);
        let checked = proven.and_then(|()| {
            for check in &refresh.checks {
                if let Some((holder, lock)) = self.blocker(&check.key, &refresh.txn, LockMode::Shared) {
                    return Err(Wait { key: check.key.clone(), holder, lock });
                }
                let since = match check.kind {
                    CheckKind::UnchangedSince(since) => since,
                    CheckKind::Absent => refresh.from,
                };
                let newest = self.versions.get(&check.key).and_then(|v| v.last_key_value());
                if let Some((at, version)) = newest
                    && *at > since
                {
                    let (key, other) = (check.key.clone(), Some(version.writer));
                    return Err(refuse(KvError::Conflict { key, other, their_ts: *at, our_ts: since }));
                }
            }
            Ok(())
        });
        if checked.is_ok() {
            let keys = refresh.checks.iter().map(|check| Span::point(&check.key));
            let spans = refresh.spans.iter().cloned().chain(keys);
            let (ts, by) = (refresh.to, refresh.txn.id);
            self.notes.extend(spans.map(|span| Noted { span, ts, by }));
        }
        done(checked, |()| ShardReply::Refreshed)
    }

    /// Proves reads and checks, finds the timestamp, notes what must stay so.
    fn prove(&mut self, id: ShardId, claims: &Claims<'_>, now: Timestamp) -> Result<Timestamp, Step> {
        let Claims { txn, read_ts, floor, before, refresh, checks, writes } = *claims;
        if now > txn.deadline {
            let why = "past its deadline".into();
            return Err(refuse(KvError::TxnAborted { txn: txn.id, why }));
        }
        let written: BTreeSet<&Key> = writes.iter().map(|write| &write.key).collect();
        for key in written.iter().copied().chain(checks.iter().map(|check| &check.key)) {
            let mode = if written.contains(key) { LockMode::Exclusive } else { LockMode::Shared };
            if let Some((holder, lock)) = self.blocker(key, txn, mode) {
                return Err(Wait { key: key.clone(), holder, lock });
            }
        }
        if self.notes.len() > 500 {
            // The oldest are forgotten; no write slips under them all the same.
            let forgotten = self.notes.drain(..250).map(|note| note.ts).max().unwrap_or_default();
            for shard in self.shards.values_mut() {
                shard.low_water = shard.low_water.max(forgotten);
            }
        }
        let mut ts = floor.max(self.shards[&id].low_water.next());
        if writes.is_empty() {
            ts = floor;
        }
        for check in checks {
            let newest = self.versions.get(&check.key).and_then(|v| v.last_key_value());
            match (check.kind, newest) {
                (CheckKind::UnchangedSince(since), Some((at, version))) if *at > since => {
                    let (key, other) = (check.key.clone(), Some(version.writer));
                    return Err(refuse(KvError::Conflict { key, other, their_ts: *at, our_ts: since }));
                }
                (CheckKind::Absent, Some((_, Version { value: Some(_), .. }))) => {
                    return Err(refuse(KvError::Exists { key: check.key.clone() }));
                }
                (CheckKind::Absent, Some((at, _))) => ts = ts.max(at.next()),
                _ => {}
            }
        }
        for write in writes {
            if let Some((newest, _)) = self.versions.get(&write.key).and_then(|v| v.last_key_value()) {
                ts = ts.max(newest.next());
            }
            for note in self.notes.iter().filter(|note| note.span.contains(&write.key)) {
                ts = ts.max(if note.by == txn.id { note.ts } else { note.ts.next() });
            }
        }
        if ts > before {
            return Err(refuse(KvError::BoundPassed { needed: ts, bound: before }));
        }
        self.unchanged(txn, refresh, read_ts, ts)?;
        let keys = checks.iter().map(|check| Span::point(&check.key));
        let spans = refresh.iter().cloned().chain(keys);
        self.notes.extend(spans.map(|span| Noted { span, ts, by: txn.id }));
        Ok(ts)
    }

    fn unchanged(&self, txn: &TxnMeta, spans: &[Span], from: Timestamp, to: Timestamp) -> Result<(), Step> {
        for span in spans {
            for (key, intent) in range(&self.intents, span) {
                if intent.meta.id != txn.id && intent.ts <= to {
                    return Err(Wait { key: key.clone(), holder: intent.meta.clone(), lock: false });
                }
            }
            for (key, versions) in range(&self.versions, span) {
                let newest = versions.range(..=to).next_back().filter(|(at, _)| **at > from);
                if let Some((at, version)) = newest {
                    let (key, other) = (key.clone(), Some(version.writer));
                    return Err(refuse(KvError::Conflict { key, other, their_ts: *at, our_ts: from }));
                }
            }
        }
        Ok(())
    }

    /// What its record says against another write of the transaction; only the anchor's shard knows it.
    fn decided(&self, id: ShardId, txn: &TxnMeta) -> Result<(), Step> {
        match self.records.get(&txn.id).filter(|(anchor, _)| self.owner(anchor) == id) {
            Some((_, Record::Aborted)) => {
                let why = "its record".into();
                Err(refuse(KvError::TxnAborted { txn: txn.id, why }))
            }
            Some((_, Record::Committed(ts, _))) => {
                Err(refuse(KvError::TxnCommitted { txn: txn.id, ts: *ts }))
            }
            _ => Ok(()),
        }
    }
}
