//! Metadata of shards and of the node.
//!
//! Family `Meta`. Key: `shard id (8 bytes, big-endian) ++ kind (1 byte) ++ suffix`; node-wide values use the shard id
//! `u64::MAX`. Value: the kind's type in CBOR. Kinds below [`FIRST_FREE_KIND`] are listed here; a crate that stores more
//! declares its own [`Kind`]s from there on, e.g. the placement driver its state under [`ShardId::PLACEMENT`].

use crate::engine::{Engine, Family, FamilyRange, Snapshot};
use crate::{Result, StorageError, WriteBatch};
use bytes::Bytes;
use minicbor::{Decode, Encode};
use quorate_proto::{LogPosition, NodeId, ReplicaId, ShardDescriptor, ShardId, Timestamp, rpc};
use std::marker::PhantomData;

/// A kind of metadata and the type of its value.
pub struct Kind<T> {
    code: u8,
    value: PhantomData<fn() -> T>,
}

impl<T> Kind<T> {
    pub const fn new(code: u8) -> Self {
        Kind { code, value: PhantomData }
    }

    pub const fn code(&self) -> u8 {
        self.code
    }
}

/// Kinds from here on are free for other crates; each shard has its own set.
pub const FIRST_FREE_KIND: u8 = 64;

/// Node-wide values stand under this id, which is no shard's.
pub const NODE: ShardId = ShardId(u64::MAX);

/// Range, members and epochs, as of the applied position.
pub const DESCRIPTOR: Kind<ShardDescriptor> = Kind::new(1);
/// A: stands in the batch of every applied entry.
pub const APPLIED: Kind<Applied> = Kind::new(2);
/// The last applied membership, encoded by `consensus`.
pub const MEMBERSHIP: Kind<Membership> = Kind::new(3);
/// Versions below may be gone (PROTOCOL 24).
pub const GC_THRESHOLD: Kind<Timestamp> = Kind::new(4);
/// Which replica of the shard this node holds, and in what state.
pub const REPLICA: Kind<ReplicaState> = Kind::new(5);
/// Closed timestamp that the state inherited or logged last (PROTOCOL 22).
pub const CLOSED: Kind<Timestamp> = Kind::new(6);
/// No write below: inherited by split, merge and hand-over (PROTOCOL 21, 26).
pub const LOW_WATER: Kind<Timestamp> = Kind::new(7);

/// Records of transactions with deadlines at or below may be gone (PROTOCOL 12).
pub const RECORD_THRESHOLD: Kind<Timestamp> = Kind::new(8);

/// Node-wide: who this node is. Written once.
pub const IDENTITY: Kind<NodeIdentity> = Kind::new(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Applied {
    #[n(0)]
    pub position: LogPosition,
    /// The node that led in the position's term, if known (openraft's log id names it).
    #[n(1)]
    pub leader: Option<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Membership {
    /// The entry that brought it.
    #[n(0)]
    pub position: LogPosition,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub encoded: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReplicaState {
    /// Takes part.
    #[n(0)]
    Active(#[n(0)] ReplicaId),
    /// Created, and waiting for its first snapshot.
    #[n(1)]
    Empty(#[n(0)] ReplicaId),
    /// Destroyed; no replica with this id or a smaller one is ever created again here.
    #[n(2)]
    Gone(#[n(0)] ReplicaId),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeIdentity {
    #[n(0)]
    pub cluster_id: String,
    #[n(1)]
    pub node: NodeId,
}

/// `shard ++ kind`.
pub fn meta_key<T>(shard: ShardId, kind: &Kind<T>) -> Vec<u8> {
    meta_key_with(shard, kind, &[])
}

/// `shard ++ kind ++ suffix`, for kinds with many values.
pub fn meta_key_with<T>(shard: ShardId, kind: &Kind<T>, suffix: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(9 + suffix.len());
    raw.extend_from_slice(&shard.0.to_be_bytes());
    raw.push(kind.code);
    raw.extend_from_slice(suffix);
    raw
}

/// All metadata of a shard.
pub fn shard_range(shard: ShardId) -> FamilyRange {
    FamilyRange {
        family: Family::Meta,
        start: Bytes::copy_from_slice(&shard.0.to_be_bytes()),
        end: shard.0.checked_add(1).map(|next| Bytes::copy_from_slice(&next.to_be_bytes())),
    }
}

/// Anything that single keys can be read from.
pub trait Read {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;
}

impl Read for dyn Engine {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.get(family, key)
    }
}

impl Read for dyn Snapshot + '_ {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.get(family, key)
    }
}

pub fn get<T>(from: &(impl Read + ?Sized), shard: ShardId, kind: &Kind<T>) -> Result<Option<T>>
where
    T: for<'b> Decode<'b, ()>,
{
    get_with(from, shard, kind, &[])
}

pub fn get_with<T>(
    from: &(impl Read + ?Sized),
    shard: ShardId,
    kind: &Kind<T>,
    suffix: &[u8],
) -> Result<Option<T>>
where
    T: for<'b> Decode<'b, ()>,
{
    match from.read(Family::Meta, &meta_key_with(shard, kind, suffix))? {
        Some(raw) => Ok(Some(rpc::decode(&raw)?)),
        None => Ok(None),
    }
}

pub fn put<T: Encode<()>>(batch: &mut WriteBatch, shard: ShardId, kind: &Kind<T>, value: &T) {
    put_with(batch, shard, kind, &[], value);
}

pub fn put_with<T: Encode<()>>(
    batch: &mut WriteBatch,
    shard: ShardId,
    kind: &Kind<T>,
    suffix: &[u8],
    value: &T,
) {
    batch.put(Family::Meta, meta_key_with(shard, kind, suffix), rpc::encode(value));
}

pub fn remove<T>(batch: &mut WriteBatch, shard: ShardId, kind: &Kind<T>) {
    batch.delete(Family::Meta, meta_key(shard, kind));
}

/// All values of a kind with many, with their suffixes, in order.
pub fn scan<'a, T>(
    snapshot: &'a dyn Snapshot,
    shard: ShardId,
    kind: &Kind<T>,
) -> impl Iterator<Item = Result<(Bytes, T)>> + 'a
where
    T: for<'b> Decode<'b, ()> + 'a,
{
    let start = meta_key(shard, kind);
    let mut end = start.clone();
    let end = match end.pop() {
        Some(code) if code < u8::MAX => {
            end.push(code + 1);
            Some(end)
        }
        _ => shard_range(shard).end.map(Vec::from),
    };
    snapshot.iter(Family::Meta, &start, end.as_deref(), false).map(|pair| {
        let (key, value) = pair?;
        Ok((key.slice(9..), rpc::decode(&value)?))
    })
}

/// Every shard that this node holds or held metadata of, ascending; the node-wide values are left out.
pub fn shards(snapshot: &dyn Snapshot) -> Result<Vec<ShardId>> {
    let mut found = Vec::new();
    let mut cursor = snapshot.cursor(Family::Meta, &[], Some(&NODE.0.to_be_bytes()))?;
    let mut more = cursor.first()?;
    while more {
        let raw =
            cursor.key().first_chunk::<8>().ok_or_else(|| StorageError::corrupt("metadata key cut short"))?;
        let id = u64::from_be_bytes(*raw);
        found.push(ShardId(id));
        more = cursor.seek(&(id + 1).to_be_bytes())?;
    }
    Ok(found)
}
