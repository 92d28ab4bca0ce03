//! Replies and state, printed so that a reader of a script knows what happened.

#![expect(clippy::unwrap_used, reason = "a test")]

use parking_lot::Mutex;
use quorate_proto::kv::*;
use quorate_proto::placement::ReplicaReply;
use quorate_proto::{Key, KvError, LogPosition, Seal, Timestamp, TxnId, Value};
use quorate_storage::{Engine, MemEngine, intent, mvcc, record, record::TxnRecord};
use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

#[derive(Clone)]
pub struct Show {
    base: Timestamp,
    names: Arc<Mutex<BTreeMap<TxnId, String>>>,
    /// Positions in order of their first appearance: scripts do not depend on terms and indexes.
    positions: Arc<Mutex<Vec<LogPosition>>>,
}

impl Show {
    pub fn new(base: Timestamp) -> Self {
        Show { base, names: Arc::default(), positions: Arc::default() }
    }

    pub fn name(&self, txn: TxnId, name: &str) {
        self.names.lock().insert(txn, name.to_owned());
    }

    fn txn(&self, txn: TxnId) -> String {
        self.names.lock().get(&txn).cloned().unwrap_or_else(|| txn.to_string())
    }

    /// Milliseconds, with an optional `+logical`.
    pub fn at(&self, text: &str) -> Timestamp {
        let (millis, logical) = text.split_once('+').unwrap_or((text, "0"));
        let micros = (millis.parse::<f64>().expect("milliseconds") * 1000.0).round() as u64;
        Timestamp(self.base.plus(Duration::from_micros(micros)).0 + logical.parse::<u64>().expect("a number"))
    }

    pub fn ts(&self, ts: Timestamp) -> String {
        if ts < self.base {
            return "before".into();
        }
        let micros = ts.since(self.base).as_micros();
        let mut text = format!("{}", micros / 1000);
        if !micros.is_multiple_of(1000) {
            let _ = write!(text, ".{:03}", micros % 1000);
        }
        if ts.logical() != 0 {
            let _ = write!(text, "+{}", ts.logical());
        }
        text
    }

    fn position(&self, position: LogPosition) -> String {
        let mut known = self.positions.lock();
        let found = known.iter().position(|p| *p == position).unwrap_or_else(|| {
            known.push(position);
            known.len() - 1
        });
        format!("entry #{}", found + 1)
    }

    fn key(&self, key: &Key) -> String {
        key.escape_ascii().to_string()
    }

    fn value(&self, value: &Value) -> String {
        value.escape_ascii().to_string()
    }

    fn row(&self, row: &Row) -> String {
        format!("{}={} @{}", self.key(&row.key), self.value(&row.value), self.ts(row.ts))
    }

    fn state(&self, state: &TxnState) -> String {
        match state {
            TxnState::Pending(None) => "pending".into(),
            TxnState::Pending(Some(ts)) => format!("pending, heartbeat {}", self.ts(*ts)),
            TxnState::Committed(ts) => format!("committed @{}", self.ts(*ts)),
            TxnState::Aborted => "aborted".into(),
            TxnState::Unknown => "unknown".into(),
        }
    }

    pub fn reply(&self, reply: &Result<ShardReply, KvError>) -> String {
        match reply {
            Err(error) => self.error(error),
            Ok(ShardReply::Read(read)) => self.read(read),
            Ok(ShardReply::Committed(ts, at)) => {
                format!("committed @{} by {}", self.ts(*ts), self.position(*at))
            }
            Ok(ShardReply::Prepared(ts, Some(at))) => {
                format!("prepared @{} by {}", self.ts(*ts), self.position(*at))
            }
            Ok(ShardReply::Prepared(ts, None)) => format!("proven up to {}", self.ts(*ts)),
            Ok(ShardReply::Decided(state, at)) => {
                let by = at.map(|at| format!(" by {}", self.position(at))).unwrap_or_default();
                format!("decided: {}{by}", self.state(state))
            }
            Ok(ShardReply::Resolved) => "resolved".into(),
            Ok(ShardReply::Refreshed) => "refreshed".into(),
            Ok(ShardReply::Txn(state)) => self.state(state),
            Ok(ShardReply::HeartbeatSeen(state)) => format!("seen: {}", self.state(state)),
            Ok(ShardReply::Released) => "released".into(),
            Ok(ShardReply::Circle(circle)) => format!("circle {circle:?}"),
            Ok(ShardReply::Intent(stands)) => if *stands { "stands" } else { "prevented" }.into(),
            Ok(ShardReply::Settled(span, clear)) => {
                format!("{span:?} {}", if *clear { "is clear" } else { "has intents left" })
            }
        }
    }

    fn read(&self, read: &ReadReply) -> String {
        let one = |result: &ReadResult| match result {
            ReadResult::Get(Some(row)) => self.row(row),
            ReadResult::Get(None) => "nothing".into(),
            ReadResult::Scan(scan) => {
                let rows: Vec<_> = scan.rows.iter().map(|row| self.row(row)).collect();
                let rest = scan.resume.as_ref().map(|span| format!(" rest {span:?}")).unwrap_or_default();
                format!("[{}]{rest}", rows.join(", "))
            }
        };
        let results: Vec<_> = read.results.iter().map(one).collect();
        format!("{} (read at {})", results.join(", "), self.ts(read.read_ts))
    }

    pub fn error(&self, error: &KvError) -> String {
        let holder = |party: &Option<Party>| party.map_or("someone".into(), |party| self.txn(party.txn));
        let text = match error {
            KvError::Conflict { key, other, their_ts, our_ts } => {
                let by = other.map(|txn| format!(", perhaps by {}", self.txn(txn))).unwrap_or_default();
                format!("{} changed @{}, after {}{by}", self.key(key), self.ts(*their_ts), self.ts(*our_ts))
            }
            KvError::LockLost { key, .. } => format!("the lock on {} was lost", self.key(key)),
            KvError::Uncertain { key, value_ts } => {
                format!("{} has an uncertain value @{}", self.key(key), self.ts(*value_ts))
            }
            KvError::BoundPassed { needed, bound } => {
                format!("needs {}, bound is {}", self.ts(*needed), self.ts(*bound))
            }
            KvError::LockTimeout { key, holder: h } => {
                format!("timeout: {} is held by {}", self.key(key), holder(h))
            }
            KvError::WaitUnwatched { key, holder: h } => {
                format!("timeout: {} is held by {}, and nobody looked for circles", self.key(key), holder(h))
            }
            KvError::LockNotAvailable { key, holder: h } => {
                format!("{} is held by {}", self.key(key), holder(h))
            }
            KvError::Deadlock { cycle } => {
                let cycle: Vec<_> = cycle
                    .iter()
                    .map(|stuck| format!("{} at {}", self.txn(stuck.who.txn), self.key(&stuck.key)))
                    .collect();
                format!("deadlock {}", cycle.join(" → "))
            }
            KvError::TxnAborted { txn, why } => format!("{} is aborted: {why}", self.txn(*txn)),
            KvError::TxnCommitted { txn, ts } => format!("{} is committed @{}", self.txn(*txn), self.ts(*ts)),
            KvError::Exists { key } => format!("{} exists", self.key(key)),
            KvError::BelowGcThreshold { read_ts, threshold } => {
                format!("{} lies below the threshold {}", self.ts(*read_ts), self.ts(*threshold))
            }
            KvError::StaleRoute { newer, .. } => {
                let newer: Vec<_> =
                    newer.iter().map(|d| format!("shard {} v{} {:?}", d.id, d.version, d.span)).collect();
                format!("stale route, now {}", newer.join(", "))
            }
            KvError::Forgotten { txn } => format!("{} is forgotten", self.txn(*txn)),
            other => other.to_string(),
        };
        format!("error: {text}")
    }

    pub fn split(&self, reply: &ReplicaReply) -> String {
        let ReplicaReply::Changed(both) = reply else { return format!("{reply:?}") };
        let both: Vec<_> =
            both.iter().map(|d| format!("shard {} v{} {:?}", d.id, d.version, d.span)).collect();
        both.join(", ")
    }

    pub fn seal(&self, seal: &Seal) -> String {
        let Seal { right, left, left_version, .. } = seal;
        let (low_water, closed) = (self.ts(seal.low_water), self.ts(seal.closed));
        let place = format!("shard {} v{}, for shard {left} v{left_version}", right.id, right.version);
        format!("sealed {place}: low water {low_water}, closed {closed}")
    }

    pub fn dump(&self, engine: &MemEngine) -> String {
        let snapshot = engine.snapshot();
        let all = quorate_proto::Span::ALL;
        let mut out = String::new();
        for pair in snapshot.iter(quorate_storage::Family::Data, &[], None, false) {
            let (raw, value) = pair.unwrap();
            let (key, ts) = mvcc::split_data_key(&raw).unwrap();
            let value = if value[0] == 0 { "gone".into() } else { format!("={}", value[1..].escape_ascii()) };
            let _ = writeln!(out, "version {}{value} @{}", self.key(&key), self.ts(ts));
        }
        for found in intent::scan(&*snapshot, &all) {
            let (key, found) = found.unwrap();
            let value = found.value.as_ref().map_or("gone".into(), |value| format!("={}", self.value(value)));
            let (txn, at) = (self.txn(found.txn.id), self.position(found.position));
            let _ = writeln!(out, "intent {}{value} of {txn} @{} by {at}", self.key(&key), self.ts(found.ts));
        }
        for found in record::scan(&*snapshot, &all) {
            let (anchor, txn, found) = found.unwrap();
            let intents = match &found {
                TxnRecord::Committed { intents, .. } | TxnRecord::Aborted { intents, .. } => intents.clone(),
                TxnRecord::Pending { .. } => Vec::new(),
                TxnRecord::Staging { keys, .. } => keys.clone(),
            };
            let state = self.state(&found.state());
            let within = match &found {
                TxnRecord::Committed { span: Some(span), .. } => format!(" and in {span:?}"),
                _ => String::new(),
            };
            let (txn, anchor) = (self.txn(txn), self.key(&anchor));
            let _ = writeln!(out, "record {txn} at {anchor}: {state}, left {intents:?}{within}");
        }
        out
    }
}
