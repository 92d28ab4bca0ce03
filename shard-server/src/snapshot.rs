//! A shard's whole state on its way to a replica that the log can no longer bring up to date.
//!
//! First chunk: [`Header`] in CBOR. Every other: rows `family (1) ++ key length (4) ++ key ++ value length (4) ++ value`,
//! lengths big-endian, families one after the other, keys rising. The receiver takes them into one ingest, which
//! replaces data and metadata in a single durable step (PROTOCOL 8): a crash leaves the old state or the new one.

use crate::{command::Sealed, machine::fatal, merge, replica::RangeState, replica::Replica};
use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use quorate_consensus::{Applied, Fatal, Membership, SnapshotSink, SnapshotSource};
use quorate_proto::{LogPosition, ShardDescriptor, Span, Timestamp, rpc};
use quorate_storage::{Family, FamilyRange, Ingest, Snapshot, WriteBatch, meta};
use std::sync::Arc;

const CHUNK_BYTES: usize = 256 << 10;

#[derive(Clone, Debug, Encode, Decode)]
struct Header {
    #[n(0)]
    descriptor: ShardDescriptor,
    #[n(1)]
    gc_threshold: Timestamp,
    #[n(2)]
    low_water: Timestamp,
    /// Read before the state: all versions at or below are in it.
    #[n(3)]
    closed: Timestamp,
    #[n(4)]
    record_threshold: Timestamp,
    #[n(5)]
    sealed: Option<Sealed>,
}

pub struct Source {
    snapshot: Box<dyn Snapshot>,
    position: LogPosition,
    membership: (LogPosition, Bytes),
    header: Header,
    header_sent: bool,
    /// What is left to send, the next one last.
    ranges: Vec<FamilyRange>,
}

impl Source {
    pub(crate) fn open(replica: &Replica) -> Result<Source, Fatal> {
        let closed = replica.closed();
        let snapshot = replica.context.engine.snapshot();
        let shard = replica.shard;
        let missing = |what: &str| Fatal(format!("shard {shard}: {what} is missing"));
        let applied = meta::get(&*snapshot, shard, &meta::APPLIED).map_err(fatal)?;
        let descriptor = meta::get(&*snapshot, shard, &meta::DESCRIPTOR).map_err(fatal)?;
        let descriptor = descriptor.ok_or_else(|| missing("the descriptor"))?;
        let membership = meta::get(&*snapshot, shard, &meta::MEMBERSHIP).map_err(fatal)?;
        let gc_threshold = meta::get(&*snapshot, shard, &meta::GC_THRESHOLD).map_err(fatal)?;
        let gc_threshold =
            gc_threshold.filter(|_| !quorate_env::planted!("shard.snapshot_without_threshold"));
        let record_threshold = meta::get(&*snapshot, shard, &meta::RECORD_THRESHOLD).map_err(fatal)?;
        let low_water = meta::get(&*snapshot, shard, &meta::LOW_WATER).map_err(fatal)?;
        let sealed = meta::get(&*snapshot, shard, &merge::SEALED).map_err(fatal)?;
        let without = |family: &Family| {
            quorate_env::planted!("shard.snapshot_without_intents") && *family == Family::Intent
        };
        let families = Family::KEYED.iter().rev().filter(|family| !without(family));
        let ranges = families.map(|family| FamilyRange::of_span(*family, &descriptor.span)).collect();
        Ok(Source {
            snapshot,
            position: applied.ok_or_else(|| missing("the applied position"))?.position,
            membership: membership
                .map(|m| (m.position, Bytes::from(m.encoded)))
                .ok_or_else(|| missing("the membership"))?,
            header: Header {
                descriptor,
                gc_threshold: gc_threshold.unwrap_or_default(),
                low_water: low_water.unwrap_or_default(),
                closed,
                record_threshold: record_threshold.unwrap_or_default(),
                sealed,
            },
            header_sent: false,
            ranges,
        })
    }
}

impl SnapshotSource for Source {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn membership(&self) -> (LogPosition, Bytes) {
        self.membership.clone()
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>, Fatal> {
        if !self.header_sent {
            self.header_sent = true;
            return Ok(Some(rpc::encode(&self.header)));
        }
        let mut chunk = BytesMut::new();
        while let Some(range) = self.ranges.last_mut() {
            let mut last = None;
            for pair in self.snapshot.iter(range.family, &range.start, range.end.as_deref(), false) {
                let (key, value) = pair.map_err(fatal)?;
                chunk.put_u8(range.family as u8);
                chunk.put_u32(key.len() as u32);
                chunk.put_slice(&key);
                chunk.put_u32(value.len() as u32);
                chunk.put_slice(&value);
                if chunk.len() >= CHUNK_BYTES {
                    last = Some(key);
                    break;
                }
            }
            match last {
                Some(key) => {
                    // The smallest raw key above the last one sent.
                    let mut next = key.to_vec();
                    next.push(0);
                    range.start = next.into();
                    break;
                }
                None => drop(self.ranges.pop()),
            }
        }
        Ok((!chunk.is_empty()).then(|| chunk.freeze()))
    }
}

pub struct Sink {
    replica: Arc<Replica>,
    ingest: Box<dyn Ingest>,
    header: Option<Header>,
}

impl Sink {
    pub(crate) fn open(replica: &Arc<Replica>) -> Result<Sink, Fatal> {
        let ingest = replica.context.engine.ingest().map_err(fatal)?;
        Ok(Sink { replica: replica.clone(), ingest, header: None })
    }

    /// Keys of another replica on this node must not be touched: that one shrinks first, by its own log (PROTOCOL 25). But
    /// those that are sealed for this shard, which has taken their keys over by now: they are returned.
    fn absorbed(&self, descriptor: &ShardDescriptor) -> Result<Vec<Arc<Replica>>, Fatal> {
        let shard = self.replica.shard;
        let others = self.replica.context.overlapping(shard, &descriptor.span);
        match others.iter().find(|other| !merge::has_absorbed(descriptor, other)) {
            Some(other) => {
                let why = format!("a snapshot of shard {shard} overlaps shard {} on this node", other.shard);
                Err(Fatal(why))
            }
            None => Ok(others),
        }
    }
}

impl SnapshotSink for Sink {
    fn chunk(&mut self, chunk: Bytes) -> Result<(), Fatal> {
        if self.header.is_none() {
            let header: Header = rpc::decode(&chunk).map_err(|e| Fatal(format!("snapshot header: {e}")))?;
            self.absorbed(&header.descriptor)?;
            self.header = Some(header);
            return Ok(());
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (family, key, value) =
                take_row(&mut rest).ok_or_else(|| Fatal("a snapshot's row is cut short".into()))?;
            self.ingest.add(family, key, value).map_err(fatal)?;
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Fatal> {
        self.ingest.seal().map_err(fatal)
    }

    fn finish(self: Box<Self>, position: LogPosition, membership: Membership) -> Result<(), Fatal> {
        let header = self.header.clone().ok_or_else(|| Fatal("a snapshot without a header".into()))?;
        let replica = &self.replica;
        let _one = replica.context.ranges.lock();
        let absorbed = self.absorbed(&header.descriptor)?;
        let old = replica.state.load_full();
        let mut spans = vec![header.descriptor.span.clone()];
        if !replica.is_empty() {
            spans = union(&old.descriptor.span, &header.descriptor.span);
        }
        // What else they held belongs to nobody here.
        spans.extend(absorbed.iter().map(|other| other.descriptor().span));
        let replace: Vec<_> = spans
            .iter()
            .flat_map(|span| Family::KEYED.iter().map(|family| FamilyRange::of_span(*family, span)))
            .collect();
        let mut batch = WriteBatch::new();
        let shard = replica.shard;
        meta::put(&mut batch, shard, &meta::APPLIED, &meta::Applied { position, leader: None });
        meta::put(&mut batch, shard, &meta::DESCRIPTOR, &header.descriptor);
        meta::put(&mut batch, shard, &meta::GC_THRESHOLD, &header.gc_threshold);
        meta::put(&mut batch, shard, &meta::RECORD_THRESHOLD, &header.record_threshold);
        meta::put(&mut batch, shard, &meta::LOW_WATER, &header.low_water);
        meta::put(&mut batch, shard, &meta::CLOSED, &header.closed);
        meta::put(&mut batch, shard, &meta::REPLICA, &meta::ReplicaState::Active(replica.id));
        let stored = meta::Membership { position: membership.position, encoded: membership.encoded.to_vec() };
        meta::put(&mut batch, shard, &meta::MEMBERSHIP, &stored);
        merge::put_sealed(&mut batch, shard, header.sealed.as_ref());
        absorbed.iter().for_each(|other| merge::put_gone(&mut batch, other));
        let closed = header.closed;
        let state = RangeState {
            descriptor: header.descriptor,
            gc_threshold: header.gc_threshold,
            record_threshold: header.record_threshold,
            low_water: header.low_water,
            closed: header.closed,
            sealed: header.sealed.map(Arc::new),
        };
        absorbed.iter().for_each(|other| other.mark_retired());
        quorate_env::witness::owns(&state.descriptor);
        replica.state.store(Arc::new(state));
        replica.stir();
        self.ingest.commit(&replace, &batch).map_err(fatal)?;
        let membership = Some((membership.position, membership.encoded));
        replica.frontier.lock().raise(closed);
        *replica.applied.lock() = Applied { position, membership };
        *replica.flushed.lock() = position;
        replica.decided.notify_waiters();
        absorbed.iter().for_each(|other| replica.context.let_go(other));
        quorate_env::probe!("shard.snapshot_ingested");
        quorate_env::count!("quorate_shard_snapshots_ingested_total");
        Ok(())
    }
}

fn take_row<'a>(rest: &mut &'a [u8]) -> Option<(Family, &'a [u8], &'a [u8])> {
    let family = Family::from_u8(*rest.split_off_first()?)?;
    Some((family, take_blob(rest)?, take_blob(rest)?))
}

fn take_blob<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (blob, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(blob)
}

/// The keys of either, as disjoint spans.
fn union(a: &Span, b: &Span) -> Vec<Span> {
    if !a.overlaps(b) {
        return vec![a.clone(), b.clone()];
    }
    let end = match (&a.end, &b.end) {
        (Some(a), Some(b)) => Some(a.max(b).clone()),
        _ => None,
    };
    vec![Span { start: a.start.clone().min(b.start.clone()), end }]
}
