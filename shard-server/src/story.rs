//! What shards do, for the timeline of a run ([`quorate_env::timeline`]).

use crate::{
    command::{Command, Extras, MergeStep},
    eval::{for_each_key, for_each_span, kind},
};
use quorate_env::timeline::{self, Happening};
use quorate_proto::{
    Key, LogPosition, NodeId, ShardId, Span, TxnId,
    kv::{ReadResult, ShardAnswer, ShardOp, ShardReply, ShardRequest},
};
use quorate_storage::{
    Family, WriteOp, intent, mvcc,
    record::{self, TxnRecord},
};
use std::fmt::Write;

/// So much of an answer is told.
const LENGTH: usize = 300;

/// A request that is under way.
pub struct Asked(Happening);

impl Asked {
    /// `None` if nobody listens.
    pub fn of(node: NodeId, request: &ShardRequest) -> Option<Asked> {
        timeline::is_on().then(|| {
            let (mut keys, mut spans) = (Vec::<Key>::new(), Vec::<Span>::new());
            for_each_span(&request.op, |span| spans.push(span.clone()));
            for_each_key(&request.op, |key| {
                if !keys.contains(key) && !spans.iter().any(|span| span.start == *key) {
                    keys.push(key.clone());
                }
            });
            let txns = txn(&request.op).into_iter().collect();
            let what = format!("{} {}", kind(&request.op), detail(&request.op));
            Asked(Happening { node: Some(node), shard: Some(request.shard), txns, keys, spans, what })
        })
    }

    pub fn answered(mut self, answer: &ShardAnswer) {
        let told = match &answer.result {
            Ok(reply) => told(reply),
            Err(error) => format!("refused: {error}"),
        };
        let _ = write!(self.0.what, "→ {}", told.chars().take(LENGTH).collect::<String>());
        timeline::tell(|| self.0);
    }
}

fn txn(op: &ShardOp) -> Option<TxnId> {
    match op {
        ShardOp::Read(read) => read.txn.as_ref().map(|txn| txn.id),
        ShardOp::CommitLocal(commit) => Some(commit.txn.id),
        ShardOp::Prepare(prepare) => Some(prepare.txn.id),
        ShardOp::Decide(decide) => Some(decide.txn.id),
        ShardOp::Resolve(resolve) => Some(resolve.txn),
        ShardOp::Refresh(refresh) => Some(refresh.txn.id),
        ShardOp::QueryTxn(query) => Some(query.txn),
        ShardOp::Heartbeat(heartbeat) => Some(heartbeat.txn.id),
        ShardOp::ReleaseLocks(release) => Some(release.txn),
        ShardOp::Prevent(prevent) => Some(prevent.txn),
        ShardOp::Waits(_) | ShardOp::Settle(_) => None,
    }
}

/// At which timestamps, and as what.
fn detail(op: &ShardOp) -> String {
    match op {
        ShardOp::Read(read) => format!("at {} ", read.read_ts),
        ShardOp::CommitLocal(commit) => format!("read at {}, at {} ", commit.read_ts, commit.commit_ts),
        ShardOp::Prepare(prepare) => {
            let staging = if prepare.staging.is_some() { "staging " } else { "" };
            format!("{staging}read at {}, at {} ", prepare.read_ts, prepare.commit_ts)
        }
        ShardOp::Decide(decide) => format!("{:?} ", decide.decision),
        ShardOp::Resolve(resolve) => format!("{:?} ", resolve.decision),
        ShardOp::Refresh(refresh) => format!("from {} to {} ", refresh.from, refresh.to),
        ShardOp::QueryTxn(query) => format!("{:?} ", query.why),
        ShardOp::Prevent(prevent) => format!("at {} ", prevent.ts),
        _ => String::new(),
    }
}

fn told(reply: &ShardReply) -> String {
    let entry = |at: &Option<LogPosition>| at.map_or(String::new(), |at| format!(" by entry {at}"));
    match reply {
        ShardReply::Read(read) => {
            let results: Vec<String> = read.results.iter().map(found).collect();
            format!("{} as of {}, by {:?}", results.join(", "), read.read_ts, read.certificate)
        }
        ShardReply::Committed(ts, at) => format!("committed at {ts} by entry {at}"),
        ShardReply::Prepared(ts, at) => format!("prepared at {ts}{}", entry(at)),
        ShardReply::Decided(state, at) => format!("{state:?}{}", entry(at)),
        other => format!("{other:?}"),
    }
}

/// By its versions.
fn found(result: &ReadResult) -> String {
    match result {
        ReadResult::Get(None) => "nothing".into(),
        ReadResult::Get(Some(row)) => format!("version {}", row.ts),
        ReadResult::Scan(scan) => {
            let versions: Vec<String> = scan.rows.iter().map(|row| row.ts.to_string()).collect();
            format!("versions [{}]", versions.join(" "))
        }
    }
}

/// An entry is about to be applied by a replica.
pub fn applied(node: NodeId, shard: ShardId, position: LogPosition, command: &Command) {
    timeline::tell(|| {
        let mut told = Happening { node: Some(node), shard: Some(shard), ..Happening::default() };
        told.what = format!("applies {position}:");
        extras(&command.extras, &mut told);
        for op in &command.batch.ops {
            batch(op, &mut told);
        }
        told.txns.dedup();
        told.keys.dedup();
        told
    });
}

fn extras(extras: &Extras, told: &mut Happening) {
    for (key, intent) in &extras.intents {
        let _ = write!(told.what, " intent at {},", intent.ts);
        told.keys.push(key.clone());
        told.txns.push(intent.txn.id);
    }
    for record in &extras.records {
        let state = match &record.record {
            TxnRecord::Pending { .. } => "pending".to_owned(),
            TxnRecord::Staging { ts, .. } => format!("staging at {ts}"),
            TxnRecord::Committed { ts, .. } => format!("committed at {ts}"),
            TxnRecord::Aborted { .. } => "aborted".to_owned(),
        };
        let _ = write!(told.what, " record {state},");
        told.txns.push(record.txn);
    }
    for forgotten in &extras.forgotten {
        let _ = write!(told.what, " record forgotten,");
        told.txns.push(forgotten.txn);
    }
    if let Some(split) = &extras.split {
        let _ = write!(told.what, " split, right half is shard {},", split.right.id);
    }
    match extras.merge.as_deref() {
        Some(MergeStep::Seal(sealed)) => {
            let _ = write!(told.what, " sealed for shard {},", sealed.seal.left);
        }
        Some(MergeStep::Absorb(seal, _)) => {
            let _ = write!(told.what, " absorbs shard {},", seal.right.id);
        }
        Some(MergeStep::Forget(right, ..)) => {
            let _ = write!(told.what, " never absorbs shard {right} by its seal,");
        }
        Some(MergeStep::Unseal(version)) => {
            let _ = write!(told.what, " serves as version {version},");
        }
        None => {}
    }
    if let Some(threshold) = extras.gc_threshold {
        let _ = write!(told.what, " nothing is read below {threshold},");
    }
}

fn batch(op: &WriteOp, told: &mut Happening) {
    let (what, family, raw) = match op {
        WriteOp::Put(family, key, _) => ("writes", *family, key),
        WriteOp::Delete(family, key) => ("removes", *family, key),
        WriteOp::DeleteRange(..) => return,
    };
    match family {
        Family::Data => {
            if let Ok((key, ts)) = mvcc::split_data_key(raw) {
                let _ = write!(told.what, " {what} version {ts},");
                told.keys.push(key);
            }
        }
        Family::Intent => {
            if let Ok(key) = intent::split_key(raw) {
                let _ = write!(told.what, " {what} intent,");
                told.keys.push(key);
            }
        }
        Family::Record => {
            if let Ok((_, txn)) = record::split_record_key(raw) {
                let _ = write!(told.what, " {what} record,");
                told.txns.push(txn);
            }
        }
        Family::Meta => {}
    }
}
