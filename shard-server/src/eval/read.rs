//! Reads at a timestamp, by the leader.
//!
//! The order is that of PROTOCOL 9: latch, timestamp cache, engine snapshot; only then term, lease (or read-index), range
//! version and GC threshold, against that snapshot; then evaluate. A reader that checked first could wait for a latch while
//! its leader is deposed, and then read a state without a write that has been committed elsewhere.

use crate::{
    latch::{Access, LatchSet},
    leader::Leader,
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{ReadCertificate, ReadOp, ReadReply, ReadRequest, ReadResult, Row, TxnMeta};
use quorate_proto::{Key, KvError, Timestamp, TxnId};
use quorate_storage::{Snapshot, intent, intent::Intent, mvcc};
use std::sync::Arc;

/// How a read looks at the state.
pub(super) struct View<'a> {
    pub snapshot: &'a dyn Snapshot,
    pub txn: Option<&'a TxnMeta>,
    pub read_ts: Timestamp,
    /// Values up to here may have been committed before the read began (PROTOCOL 16).
    pub uncertain_to: Timestamp,
    /// The highest version or tombstone that the answer rests on.
    pub met: Timestamp,
    /// Intents of others that are in the way.
    pub blocked: Vec<(Key, Arc<TxnMeta>)>,
}

/// At most so many intents are entered at once for one scan.
pub(super) const MAX_BLOCKED: usize = 64;

impl<'a> View<'a> {
    pub fn new(
        snapshot: &'a dyn Snapshot,
        txn: Option<&'a TxnMeta>,
        read_ts: Timestamp,
        uncertain_to: Timestamp,
    ) -> Self {
        let uncertain_to = if quorate_env::planted!("shard.uncertain_ignored") {
            read_ts
        } else {
            uncertain_to.max(read_ts)
        };
        View { snapshot, txn, read_ts, uncertain_to, met: Timestamp::ZERO, blocked: Vec::new() }
    }

    /// Whether the intent is the reader's own and of its present attempt: then its value is what it reads.
    pub fn owns(&self, intent: &Intent) -> bool {
        self.txn.is_some_and(|txn| txn.id == intent.txn.id && txn.attempt == intent.txn.attempt)
    }

    /// Whether the intent is another's and may become a version that the read must see.
    pub fn in_the_way(&self, intent: &Intent) -> bool {
        self.txn.is_none_or(|txn| txn.id != intent.txn.id) && intent.ts <= self.uncertain_to
    }

    pub fn block(&mut self, key: &Key, intent: Intent) {
        if self.blocked.len() < MAX_BLOCKED {
            self.blocked.push((key.clone(), Arc::new(intent.txn)));
        }
    }

    fn get(&mut self, key: &Key) -> Result<Option<Row>, KvError> {
        if let Some(found) = intent::get(self.snapshot, key).map_err(internal)? {
            if self.owns(&found) {
                return Ok(found.value.map(|value| Row { key: key.clone(), value, ts: found.ts }));
            }
            if self.in_the_way(&found) {
                self.block(key, found);
                return Ok(None);
            }
        }
        let Some(version) = mvcc::get(self.snapshot, key, self.uncertain_to).map_err(internal)? else {
            return Ok(None);
        };
        if version.ts > self.read_ts {
            return Err(KvError::Uncertain { key: key.clone(), value_ts: version.ts });
        }
        self.met = self.met.max(version.ts);
        Ok(version.value.map(|value| Row { key: key.clone(), value, ts: version.ts }))
    }
}

impl Replica {
    pub(crate) async fn read(
        self: &Arc<Self>,
        version: u64,
        request: ReadRequest,
    ) -> Result<ReadReply, KvError> {
        if request.lock.is_some() {
            return self.locking_read(version, request).await;
        }
        if request.follower
            && let Some(reply) = self.follower_read(version, &request).await?
        {
            return Ok(reply);
        }
        let env = &self.context.env;
        let mut read_ts = request.read_ts;
        let mut give_up = None;
        loop {
            self.wait_clock(read_ts).await?;
            let leader = self.leader()?;
            let checked_early = quorate_env::planted!("shard.lease_checked_early");
            let early = if checked_early { Some(self.certify(&leader).await?) } else { None };
            let snapshot = self.snapshot_for(&leader, &request, read_ts).await?;
            let state = if checked_early { self.same_range(version)? } else { self.still(&leader, version)? };
            let certificate = match early {
                Some(early) => early,
                None => self.certify(&leader).await?,
            };
            state.still_holds(read_ts)?;
            let mut view = View::new(&*snapshot, request.txn.as_ref(), read_ts, request.uncertain_to);
            match self.look(&mut view, &request.ops) {
                Ok(results) if view.blocked.is_empty() => {
                    let met = view.met;
                    drop(snapshot);
                    self.reveal(met).await;
                    return Ok(ReadReply { results, read_ts, certificate });
                }
                Ok(_) => {}
                Err(KvError::Uncertain { value_ts, .. }) if request.may_forward => {
                    quorate_env::probe!("shard.read_forwarded");
                    read_ts = value_ts;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let blocked = std::mem::take(&mut view.blocked);
            drop(snapshot);
            let give_up = *give_up.get_or_insert_with(|| env.boottime() + self.context.config.reader_wait);
            let txn = request.txn.clone().map(Arc::new);
            let _waited = self.await_intents(&leader, &blocked, txn.as_ref(), give_up).await?;
        }
    }

    pub(super) fn look(&self, view: &mut View<'_>, ops: &[ReadOp]) -> Result<Vec<ReadResult>, KvError> {
        let one = |op: &ReadOp| match op {
            ReadOp::Get(key) => view.get(key).map(ReadResult::Get),
            ReadOp::Scan(scan) => view.scan(scan, &self.context.config).map(ReadResult::Scan),
        };
        ops.iter().map(one).collect()
    }

    /// Notes the reads and takes a snapshot that holds every write which the notes did not push up.
    async fn snapshot_for(
        &self,
        leader: &Arc<Leader>,
        request: &ReadRequest,
        read_ts: Timestamp,
    ) -> Result<Box<dyn Snapshot>, KvError> {
        let ops = &request.ops;
        let by = request.txn.as_ref().map(|txn| txn.id);
        {
            let mut core = leader.core();
            let free = ops.iter().all(|op| match op {
                ReadOp::Get(key) => !core.latches.blocks_read(key),
                ReadOp::Scan(scan) => !core.latches.blocks_scan(&scan.span),
            });
            if free {
                // Writers who come later find the note; those before us are applied. No latch needs to be entered.
                note(&mut core, ops, read_ts, by);
                drop(core);
                return Ok(self.context.engine.snapshot());
            }
        }
        let _latched = leader.latch(latches(ops)).await?;
        note(&mut leader.core(), ops, read_ts, by);
        Ok(self.context.engine.snapshot())
    }

    /// Why nothing that was committed before is missed: the lease, or a quorum's confirmation.
    pub(super) async fn certify(&self, leader: &Leader) -> Result<ReadCertificate, KvError> {
        let group = self.group()?;
        if group.lease().is_some_and(|lease| lease.term == leader.term) {
            return Ok(ReadCertificate::Lease(leader.term));
        }
        let certificate = group.confirm_read().await?;
        if certificate.term() != leader.term {
            return Err(leader.not_leader());
        }
        Ok(match certificate {
            quorate_consensus::ReadCertificate::Lease(lease) => ReadCertificate::Lease(lease.term),
            quorate_consensus::ReadCertificate::ReadIndex { applied, .. } => {
                ReadCertificate::ReadIndex(applied)
            }
        })
    }
}

pub(super) fn note(core: &mut crate::leader::Core, ops: &[ReadOp], ts: Timestamp, by: Option<TxnId>) {
    if quorate_env::planted!("shard.reads_not_noted") {
        return;
    }
    for op in ops {
        match op {
            ReadOp::Get(key) => core.cache.add_point(key, ts, by),
            ReadOp::Scan(scan) => core.cache.add_span(&scan.span, ts, by),
        }
    }
}

pub(super) fn latches(ops: &[ReadOp]) -> LatchSet {
    let mut set = LatchSet::default();
    for op in ops {
        match op {
            ReadOp::Get(key) => set.points.push((key.clone(), Access::Read)),
            ReadOp::Scan(scan) => set.spans.push((scan.span.clone(), Access::Read)),
        }
    }
    set
}
