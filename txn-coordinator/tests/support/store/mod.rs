//! Shards without consensus: everything a leader evaluates, in one place. Pure; waiting is told, not done.

mod outcome;
mod read;
mod write;

use quorate_proto::{
    Key, KvError, LogPosition, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span,
    Timestamp, TxnId, Value,
    kv::{LockMode, ShardAnswer, ShardOp, ShardReply, ShardRequest, TxnMeta, TxnState},
};
use std::collections::BTreeMap;

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
    pub holders: BTreeMap<TxnId, Holder>,
}

#[derive(Clone, Debug)]
pub struct Holder {
    meta: TxnMeta,
    /// Of the first and the last request by which it has the lock.
    numbers: (u64, u64),
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
    /// When each locking read, by its number, says that its locks were first asked for.
    pub asked: BTreeMap<(TxnId, u64), Timestamp>,
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

use Step::Done;

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

    /// The shard that begins there becomes part of the one before it.
    pub fn merge(&mut self, at: &Key) {
        let right = self.owner(at);
        let right = self.shards.remove(&right).expect("owner");
        let ends_here = |shard: &&mut Shard| shard.descriptor.span.end.as_ref() == Some(at);
        let left = self.shards.values_mut().find(ends_here).expect("a neighbour");
        left.descriptor.span.end = right.descriptor.span.end;
        left.descriptor.version = left.descriptor.version.max(right.descriptor.version) + 1;
        left.low_water = left.low_water.max(right.low_water);
    }

    /// The leader is lost, and its locks with it.
    pub fn move_leader(&mut self, id: ShardId, to: NodeId, now: Timestamp) {
        self.hand_over(id, to, now);
        let span = self.shards[&id].descriptor.span.clone();
        self.locks.retain(|key, _| !span.contains(key));
    }

    /// Another leader: the timestamp cache is gone, the low water covers it (PROTOCOL 11). The locks go along.
    pub fn hand_over(&mut self, id: ShardId, to: NodeId, now: Timestamp) {
        let shard = self.shards.get_mut(&id).expect("known");
        shard.leader = to;
        shard.low_water = now.plus(2 * self.epsilon);
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
                match release.undone {
                    Some(undone) => self.release_undone(id, release.txn, undone),
                    None => self.release(id, release.txn),
                }
                Done(Ok(ShardReply::Released))
            }
            ShardOp::Waits(_) => Done(Ok(ShardReply::Circle(Vec::new()))),
            ShardOp::Prevent(_) | ShardOp::Settle(_) => {
                unreachable!("coordinators leave it to the anchor's shard")
            }
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
}

pub fn state(record: Option<&Record>) -> TxnState {
    match record {
        None => TxnState::Pending(None),
        Some(Record::Pending(at) | Record::Staging(_, at, _)) => TxnState::Pending(Some(*at)),
        Some(Record::Committed(ts, _)) => TxnState::Committed(*ts),
        Some(Record::Aborted) => TxnState::Aborted,
    }
}

fn range<'a, T>(map: &'a BTreeMap<Key, T>, span: &'a Span) -> impl Iterator<Item = (&'a Key, &'a T)> {
    map.iter().filter(move |(key, _)| span.contains(key))
}
