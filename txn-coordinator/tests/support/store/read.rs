//! Reads, with locks and without, and who stands in their way.

use super::Step::{Done, Wait};
use super::{Held, Holder, Noted, Step, Store, range, refuse};
use quorate_proto::{
    Key, KvError, Span, Timestamp, TxnId,
    kv::{
        LockMode, ReadCertificate, ReadOp, ReadReply, ReadRequest, ReadResult, Row, ScanResult, ShardReply,
        TxnMeta, WaitPolicy,
    },
};
use std::collections::BTreeMap;

impl Store {
    pub(super) fn read(&mut self, read: &ReadRequest, _now: Timestamp) -> Step {
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

    pub(super) fn locking_read(&mut self, read: &ReadRequest, mode: LockMode, wait: WaitPolicy) -> Step {
        let txn = read.txn.clone().expect("locks have owners");
        self.asked.insert((txn.id, read.number), read.asked);
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
                            let (key, holder) = (key.clone(), Some(holder.party()));
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
                let numbers = (read.number, read.number);
                let fresh = || Holder { meta: txn.clone(), numbers };
                let holder = held.holders.entry(txn.id).or_insert_with(fresh);
                let (first, last) = holder.numbers;
                holder.numbers = (first.min(read.number), last.max(read.number));
            }
            results.push(result);
        }
        for op in &read.ops {
            self.notes.push(Noted { span: span_of(op), ts: newest, by: txn.id });
        }
        let certificate = ReadCertificate::Lease(1);
        Done(Ok(ShardReply::Read(ReadReply { results, read_ts: newest, certificate })))
    }

    /// Whose intent or lock keeps `txn` from locking or writing the key.
    pub(super) fn blocker(&self, key: &Key, txn: &TxnMeta, mode: LockMode) -> Option<(TxnMeta, bool)> {
        if let Some(intent) = self.intents.get(key)
            && intent.meta.id != txn.id
        {
            return Some((intent.meta.clone(), false));
        }
        let held = self.locks.get(key)?;
        let shared = held.mode == LockMode::Shared && mode == LockMode::Shared;
        let other = held.holders.values().map(|holder| &holder.meta).find(|holder| holder.id != txn.id)?;
        (!shared).then(|| (other.clone(), true))
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

fn span_of(op: &ReadOp) -> Span {
    match op {
        ReadOp::Get(key) => Span::point(key),
        ReadOp::Scan(scan) => scan.span.clone(),
    }
}
