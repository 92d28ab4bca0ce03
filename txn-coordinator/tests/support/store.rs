//! Shards without consensus: everything a leader evaluates, in one place. Pure; waiting is told, not done.

use quorate_proto::{
    Key, KvError, LogPosition, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span,
    Timestamp, TxnId, Value,
    kv::{
        Check, CheckKind, CommitLocal, Decide, Decision, LockMode, Prepare, QueryTxn, ReadCertificate,
        ReadOp, ReadReply, ReadRequest, ReadResult, Refresh, Resolve, Row, ScanResult, ShardAnswer, ShardOp,
        ShardReply, ShardRequest, TxnMeta, TxnState, WaitPolicy, Write,
    },
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub struct Version {
    pub value: Option<Value>,
    pub writer: TxnId,
}

#[derive(Clone, Debug)]
pub struct Intent {
    pub meta: TxnMeta,
    pub ts: Timestamp,
    pub value: Option<Value>,
}

#[derive(Clone, Debug)]
pub struct Held {
    pub mode: LockMode,
    pub holders: BTreeMap<TxnId, TxnMeta>,
}

#[derive(Clone, Debug)]
pub struct Noted {
    span: Span,
    ts: Timestamp,
    by: TxnId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Pending(Timestamp),
    /// Staged at the first timestamp, heard of at the second.
    Staging(Timestamp, Timestamp, Vec<Key>),
    Committed(Timestamp, LogPosition),
    Aborted,
}

pub struct Shard {
    pub descriptor: ShardDescriptor,
    pub leader: NodeId,
    pub low_water: Timestamp,
}

#[derive(Default)]
pub struct Store {
    pub shards: BTreeMap<ShardId, Shard>,
    pub versions: BTreeMap<Key, BTreeMap<Timestamp, Version>>,
    pub intents: BTreeMap<Key, Intent>,
    pub locks: BTreeMap<Key, Held>,
    pub records: BTreeMap<TxnId, (Key, Record)>,
    pub notes: Vec<Noted>,
    pub index: u64,
    /// Entries proposed, by what they were.
    pub entries: BTreeMap<&'static str, u64>,
    /// First time that somebody waited for this transaction.
    pub met: BTreeMap<TxnId, Timestamp>,
    pub epsilon: std::time::Duration,
}

/// What becomes of a request now.
pub enum Step {
    Done(Result<ShardReply, KvError>),
    /// Come again: this transaction stands in the way, with an intent or with a lock.
    Wait {
        key: Key,
        holder: TxnMeta,
        lock: bool,
    },
}

use Step::{Done, Wait};

fn done<T>(result: Result<T, Step>, map: impl FnOnce(T) -> ShardReply) -> Step {
    match result {
        Ok(value) => Done(Ok(map(value))),
        Err(step) => step,
    }
}

fn refuse(error: KvError) -> Step {
    Done(Err(error))
}

impl Store {
    /// Shards that begin at these keys, led round robin by the nodes.
    pub fn new(starts: &[&str], nodes: &[NodeId], epsilon: std::time::Duration) -> Self {
        let mut store = Store { epsilon, ..Store::default() };
        for (i, start) in starts.iter().enumerate() {
            let id = ShardId(i as u64 + 1);
            let end = starts.get(i + 1).map(|end| Key::from(*end));
            let replicas = nodes.iter().map(|node| Replica {
                id: ReplicaId(id.0 * 100 + node.0),
                node: *node,
                role: ReplicaRole::Voter,
            });
            let descriptor = ShardDescriptor {
                id,
                span: Span { start: Key::from(*start), end },
                version: 1,
                config_epoch: 1,
                replicas: replicas.collect(),
            };
            let leader = nodes[i % nodes.len()];
            store.shards.insert(id, Shard { descriptor, leader, low_water: Timestamp::ZERO });
        }
        store
    }

    pub fn owner(&self, key: &[u8]) -> ShardId {
        let owner = self.shards.values().find(|shard| shard.descriptor.span.contains(key));
        owner.expect("the shards cover everything").descriptor.id
    }

    pub fn descriptors(&self) -> Vec<ShardDescriptor> {
        self.shards.values().map(|shard| shard.descriptor.clone()).collect()
    }

    pub fn split(&mut self, at: &Key) {
        let id = self.owner(at);
        let new = ShardId(self.shards.keys().last().expect("some").0 + 1);
        let shard = self.shards.get_mut(&id).expect("owner");
        if shard.descriptor.span.start == *at {
            return;
        }
        let mut right = shard.descriptor.clone();
        shard.descriptor.version += 1;
        shard.descriptor.span.end = Some(at.clone());
        right.id = new;
        right.version += 1;
        right.span.start = at.clone();
        let (leader, low_water) = (shard.leader, shard.low_water);
        self.shards.insert(new, Shard { descriptor: right, leader, low_water });
    }

    /// Another leader: unreplicated locks and the timestamp cache are gone, the low water covers them (PROTOCOL 11).
    pub fn move_leader(&mut self, id: ShardId, to: NodeId, now: Timestamp) {
        let shard = self.shards.get_mut(&id).expect("known");
        shard.leader = to;
        shard.low_water = now.plus(2 * self.epsilon);
        let span = shard.descriptor.span.clone();
        self.locks.retain(|key, _| !span.contains(key));
    }

    /// Routing, then evaluation.
    pub fn handle(&mut self, node: NodeId, request: &ShardRequest, now: Timestamp) -> Step {
        let newer = || self.descriptors();
        let Some(shard) = self.shards.get(&request.shard) else {
            return refuse(KvError::StaleRoute { shard: request.shard, newer: newer() });
        };
        if shard.leader != node {
            return refuse(KvError::NotLeader { shard: request.shard, leader: Some(shard.leader) });
        }
        if shard.descriptor.version != request.version {
            return refuse(KvError::StaleRoute { shard: request.shard, newer: newer() });
        }
        let id = request.shard;
        match &request.op {
            ShardOp::Read(read) => self.read(read, now),
            ShardOp::CommitLocal(commit) => self.commit_local(id, commit, now),
            ShardOp::Prepare(prepare) => self.prepare(id, prepare, now),
            ShardOp::Decide(decide) => self.decide(id, decide, now),
            ShardOp::Resolve(resolve) => self.resolve(id, resolve),
            ShardOp::Refresh(refresh) => self.refresh(refresh),
            ShardOp::QueryTxn(query) => self.query(query),
            ShardOp::Heartbeat(beat) => {
                let txn = &beat.txn;
                let anchor = txn.anchor.clone();
                let (_, record) = self.records.entry(txn.id).or_insert((anchor, Record::Pending(now)));
                if let Record::Pending(last) = record {
                    *last = now;
                }
                Done(Ok(ShardReply::HeartbeatSeen(state(Some(record)))))
            }
            ShardOp::ReleaseLocks(release) => {
                self.release(id, release.txn);
                Done(Ok(ShardReply::Released))
            }
            ShardOp::Waits(_) => Done(Ok(ShardReply::Circle(Vec::new()))),
            ShardOp::Prevent(_) => unreachable!("coordinators leave it to the anchor's shard"),
        }
    }

    pub fn answer(&self, result: Result<ShardReply, KvError>) -> ShardAnswer {
        ShardAnswer { result, newer: Vec::new() }
    }

    fn entry(&mut self, what: &'static str) -> LogPosition {
        self.index += 1;
        *self.entries.entry(what).or_default() += 1;
        LogPosition { term: 1, index: self.index }
    }

    fn read(&mut self, read: &ReadRequest, _now: Timestamp) -> Step {
        let me = read.txn.as_ref().map_or(TxnId(0), |txn| txn.id);
        if let Some(lock) = &read.lock {
            return self.locking_read(read, lock.mode, lock.wait);
        }
        let mut ts = read.read_ts;
        let spans: Vec<Span> = read.ops.iter().map(span_of).collect();
        for span in &spans {
            for (key, versions) in range(&self.versions, span) {
                let Some((newest, _)) = versions.last_key_value() else { continue };
                if *newest > ts && *newest <= read.uncertain_to {
                    if !read.may_forward {
                        return refuse(KvError::Uncertain { key: key.clone(), value_ts: *newest });
                    }
                    ts = *newest;
                }
            }
        }
        for span in &spans {
            let intents = range(&self.intents, span).map(|(key, intent)| (key.clone(), intent.clone()));
            for (key, intent) in intents.collect::<Vec<_>>() {
                if intent.meta.id != me && intent.ts <= ts.max(read.uncertain_to) {
                    return Wait { key, holder: intent.meta, lock: false };
                }
            }
        }
        for span in spans {
            self.notes.push(Noted { span, ts, by: me });
        }
        let results = read.ops.iter().map(|op| self.see(op, ts)).collect();
        let certificate = ReadCertificate::Lease(1);
        Done(Ok(ShardReply::Read(ReadReply { results, read_ts: ts, certificate })))
    }

    fn see(&self, op: &ReadOp, ts: Timestamp) -> ReadResult {
        let at = |key: &Key| {
            let (version_ts, version) = self.versions.get(key)?.range(..=ts).next_back()?;
            Some(Row { key: key.clone(), value: version.value.clone()?, ts: *version_ts })
        };
        match op {
            ReadOp::Get(key) => ReadResult::Get(at(key)),
            ReadOp::Scan(scan) => {
                let mut rows: Vec<Row> =
                    range(&self.versions, &scan.span).filter_map(|(key, _)| at(key)).collect();
                if scan.reverse {
                    rows.reverse();
                }
                let mut resume = None;
                // Small pages, so that scans come in several.
                let page = if scan.max_rows == 0 { 3 } else { scan.max_rows.min(3) } as usize;
                if rows.len() > page {
                    rows.truncate(page);
                    let last = &rows[page - 1].key;
                    resume = Some(if scan.reverse {
                        Span { start: scan.span.start.clone(), end: Some(last.clone()) }
                    } else {
                        Span { start: last.successor(), end: scan.span.end.clone() }
                    });
                }
                ReadResult::Scan(ScanResult { rows, resume })
            }
        }
    }

    fn locking_read(&mut self, read: &ReadRequest, mode: LockMode, wait: WaitPolicy) -> Step {
        let txn = read.txn.clone().expect("locks have owners");
        let mut results = Vec::new();
        let mut newest = read.read_ts;
        for op in &read.ops {
            let result = self.see(op, Timestamp::MAX);
            let keys: Vec<Key> = match (op, &result) {
                (ReadOp::Get(key), _) => vec![key.clone()],
                (_, ReadResult::Scan(scan)) => scan.rows.iter().map(|row| row.key.clone()).collect(),
                _ => unreachable!(),
            };
            for key in &keys {
                if let Some((holder, lock)) = self.blocker(key, &txn, mode) {
                    match wait {
                        WaitPolicy::Block(_) => return Wait { key: key.clone(), holder, lock },
                        WaitPolicy::NoWait => {
                            let (key, holder) = (key.clone(), Some(holder.id));
                            return refuse(KvError::LockNotAvailable { key, holder });
                        }
                        WaitPolicy::SkipLocked => return Done(Ok(skipped(read))),
                    }
                }
            }
            if let ReadOp::Scan(scan) = op {
                // An intent of somebody else in a gap may become a row.
                let foreign = range(&self.intents, &scan.span).find(|(_, i)| i.meta.id != txn.id);
                if let Some((key, intent)) = foreign {
                    return Wait { key: key.clone(), holder: intent.meta.clone(), lock: false };
                }
                let versions = range(&self.versions, &scan.span);
                newest = newest.max(
                    versions
                        .filter_map(|(_, v)| v.last_key_value())
                        .map(|(ts, _)| *ts)
                        .max()
                        .unwrap_or_default(),
                );
            }
            for key in keys {
                let last = self.versions.get(&key).and_then(|v| v.last_key_value());
                newest = newest.max(last.map(|(ts, _)| *ts).unwrap_or_default());
                let fresh = || Held { mode, holders: BTreeMap::new() };
                let held = self.locks.entry(key).or_insert_with(fresh);
                if mode == LockMode::Exclusive {
                    held.mode = mode;
                }
                held.holders.insert(txn.id, txn.clone());
            }
            results.push(result);
        }
        for op in &read.ops {
            if let ReadOp::Scan(scan) = op {
                self.notes.push(Noted { span: scan.span.clone(), ts: newest, by: txn.id });
            }
        }
        let certificate = ReadCertificate::Lease(1);
        Done(Ok(ShardReply::Read(ReadReply { results, read_ts: newest, certificate })))
    }

    /// Whose intent or lock keeps `txn` from locking or writing the key.
    fn blocker(&self, key: &Key, txn: &TxnMeta, mode: LockMode) -> Option<(TxnMeta, bool)> {
        if let Some(intent) = self.intents.get(key)
            && intent.meta.id != txn.id
        {
            return Some((intent.meta.clone(), false));
        }
        let held = self.locks.get(key)?;
        let shared = held.mode == LockMode::Shared && mode == LockMode::Shared;
        let other = held.holders.values().find(|holder| holder.id != txn.id)?;
        (!shared).then(|| (other.clone(), true))
    }

    /// Proves reads and checks, finds the timestamp, notes what must stay so.
    #[allow(clippy::too_many_arguments)]
    fn prove(
        &mut self,
        id: ShardId,
        txn: &TxnMeta,
        read_ts: Timestamp,
        floor: Timestamp,
        before: Timestamp,
        refresh: &[Span],
        checks: &[Check],
        writes: &[Write],
        now: Timestamp,
    ) -> Result<Timestamp, Step> {
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

    fn commit_local(&mut self, id: ShardId, commit: &CommitLocal, now: Timestamp) -> Step {
        if let Some((_, Record::Committed(ts, position))) = self.records.get(&commit.txn.id) {
            return Done(Ok(ShardReply::Committed(*ts, *position)));
        }
        if let Err(step) = self.decided(id, &commit.txn) {
            return step;
        }
        let c = commit;
        let proven = self.prove(
            id,
            &c.txn,
            c.read_ts,
            c.commit_ts,
            c.commit_before,
            &c.refresh,
            &c.checks,
            &c.writes,
            now,
        );
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

    fn prepare(&mut self, id: ShardId, prepare: &Prepare, now: Timestamp) -> Step {
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
        let proven = self.prove(
            id,
            &p.txn,
            p.read_ts,
            p.commit_ts,
            p.commit_before,
            &p.refresh,
            &p.checks,
            &p.writes,
            now,
        );
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

    fn decide(&mut self, id: ShardId, decide: &Decide, now: Timestamp) -> Step {
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

    fn resolve(&mut self, id: ShardId, resolve: &Resolve) -> Step {
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

    fn refresh(&mut self, refresh: &Refresh) -> Step {
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

    fn query(&mut self, query: &QueryTxn) -> Step {
        let known = self.records.get(&query.txn).map(|(_, record)| record.clone());
        let undecided = !matches!(known, Some(Record::Committed(..) | Record::Aborted));
        if undecided && query.abort_now {
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

    fn release(&mut self, id: ShardId, txn: TxnId) {
        let span = self.shards[&id].descriptor.span.clone();
        self.locks.retain(|key, held| {
            if span.contains(key) {
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

fn skipped(read: &ReadRequest) -> ShardReply {
    let results = read.ops.iter().map(|op| match op {
        ReadOp::Get(_) => ReadResult::Get(None),
        ReadOp::Scan(_) => ReadResult::Scan(ScanResult::default()),
    });
    let (results, certificate) = (results.collect(), ReadCertificate::Lease(1));
    ShardReply::Read(ReadReply { results, read_ts: read.read_ts, certificate })
}

pub fn state(record: Option<&Record>) -> TxnState {
    match record {
        None => TxnState::Pending(None),
        Some(Record::Pending(at) | Record::Staging(_, at, _)) => TxnState::Pending(Some(*at)),
        Some(Record::Committed(ts, _)) => TxnState::Committed(*ts),
        Some(Record::Aborted) => TxnState::Aborted,
    }
}

fn span_of(op: &ReadOp) -> Span {
    match op {
        ReadOp::Get(key) => Span::point(key),
        ReadOp::Scan(scan) => scan.span.clone(),
    }
}

fn range<'a, T>(map: &'a BTreeMap<Key, T>, span: &'a Span) -> impl Iterator<Item = (&'a Key, &'a T)> {
    map.iter().filter(move |(key, _)| span.contains(key))
}
