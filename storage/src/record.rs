//! Transaction records: what became of a transaction, kept beside its anchor key (PROTOCOL 12).
//!
//! Family `Record`. Key: `put_bytes(anchor key) ++ transaction id (16 bytes, big-endian)`. Value: [`TxnRecord`] in CBOR.
//! An absent record means pending, unless those of its time may have been removed; then it means unknown.

use crate::engine::{Family, raw_bounds};
use crate::{Result, Snapshot, StorageError, WriteBatch};
use minicbor::{Decode, Encode};
use quorate_proto::kv::{TxnMeta, TxnState};
use quorate_proto::ordered::{put_bytes, take_bytes};
use quorate_proto::{Key, LogPosition, ShardId, Span, Timestamp, TxnId, rpc};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TxnRecord {
    /// Undecided, and its coordinator was heard of.
    #[n(0)]
    Pending {
        #[n(0)]
        txn: TxnMeta,
        #[n(1)]
        heartbeat: Timestamp,
    },
    /// Final. Without intents and span it is the done-record of a commit within one shard.
    #[n(1)]
    Committed {
        #[n(0)]
        ts: Timestamp,
        #[n(1)]
        attempt: u32,
        /// The transaction's; the record may go some retention time after it.
        #[n(2)]
        deadline: Timestamp,
        /// Keys whose intents may not be resolved yet.
        #[n(3)]
        intents: Vec<Key>,
        /// Where each participant prepared.
        #[n(4)]
        prepared: Vec<(ShardId, LogPosition)>,
        /// Of the entry that decided it.
        #[n(5)]
        position: LogPosition,
        /// Where all intents lie, if they are too many to be listed.
        #[n(6)]
        span: Option<Span>,
    },
    /// Final.
    #[n(2)]
    Aborted {
        #[n(0)]
        attempt: u32,
        #[n(1)]
        deadline: Timestamp,
        #[n(2)]
        intents: Vec<Key>,
        /// Of the entry that decided it.
        #[n(3)]
        position: LogPosition,
    },
    /// Committed at `ts` if each of `keys` holds an intent of this attempt at a timestamp not above it, and undecided as
    /// long as one does not (parallel commit; the idea is CockroachDB's).
    #[n(3)]
    Staging {
        #[n(0)]
        txn: TxnMeta,
        #[n(1)]
        ts: Timestamp,
        #[n(2)]
        heartbeat: Timestamp,
        #[n(3)]
        keys: Vec<Key>,
    },
}

impl TxnRecord {
    pub fn state(&self) -> TxnState {
        match self {
            TxnRecord::Pending { heartbeat, .. } | TxnRecord::Staging { heartbeat, .. } => {
                TxnState::Pending(Some(*heartbeat))
            }
            TxnRecord::Committed { ts, .. } => TxnState::Committed(*ts),
            TxnRecord::Aborted { .. } => TxnState::Aborted,
        }
    }

    /// What an undecided record knows of its transaction, and when its coordinator was last heard of.
    pub fn undecided(&self) -> Option<(&TxnMeta, Timestamp)> {
        match self {
            TxnRecord::Pending { txn, heartbeat } | TxnRecord::Staging { txn, heartbeat, .. } => {
                Some((txn, *heartbeat))
            }
            TxnRecord::Committed { .. } | TxnRecord::Aborted { .. } => None,
        }
    }

    pub fn is_final(&self) -> bool {
        !matches!(self, TxnRecord::Pending { .. } | TxnRecord::Staging { .. })
    }

    pub fn deadline(&self) -> Timestamp {
        match self {
            TxnRecord::Pending { txn, .. } | TxnRecord::Staging { txn, .. } => txn.deadline,
            TxnRecord::Committed { deadline, .. } | TxnRecord::Aborted { deadline, .. } => *deadline,
        }
    }
}

impl TxnRecord {
    /// Of the deciding entry; `None` while undecided.
    pub fn position(&self) -> Option<LogPosition> {
        match self {
            TxnRecord::Pending { .. } | TxnRecord::Staging { .. } => None,
            TxnRecord::Committed { position, .. } | TxnRecord::Aborted { position, .. } => Some(*position),
        }
    }

    /// Filled in where the entry is applied; its position is not known before.
    pub fn set_position(&mut self, at: LogPosition) {
        match self {
            TxnRecord::Pending { .. } | TxnRecord::Staging { .. } => {}
            TxnRecord::Committed { position, .. } | TxnRecord::Aborted { position, .. } => *position = at,
        }
    }
}

/// `put_bytes(anchor) ++ id`.
pub fn record_key(anchor: &[u8], txn: TxnId) -> Vec<u8> {
    let mut raw = Vec::with_capacity(anchor.len() + 20);
    put_bytes(&mut raw, anchor);
    raw.extend_from_slice(&txn.0.to_be_bytes());
    raw
}

/// Anchor and id out of a raw key.
pub fn split_record_key(mut raw: &[u8]) -> Result<(Key, TxnId)> {
    let anchor = take_bytes(&mut raw)?;
    let id: [u8; 16] = raw.try_into().map_err(|_| StorageError::corrupt("record key of a wrong length"))?;
    Ok((anchor.into(), TxnId(u128::from_be_bytes(id))))
}

pub fn get(snapshot: &dyn Snapshot, anchor: &[u8], txn: TxnId) -> Result<Option<TxnRecord>> {
    match snapshot.get(Family::Record, &record_key(anchor, txn))? {
        Some(raw) => Ok(Some(rpc::decode(&raw)?)),
        None => Ok(None),
    }
}

/// All records whose anchor lies in the span, in order of (anchor, id).
pub fn scan<'a>(
    snapshot: &'a dyn Snapshot,
    span: &Span,
) -> impl Iterator<Item = Result<(Key, TxnId, TxnRecord)>> + 'a {
    scan_behind(snapshot, span, None)
}

/// The same, from behind the record of `last` on.
pub fn scan_behind<'a>(
    snapshot: &'a dyn Snapshot,
    span: &Span,
    last: Option<&(Key, TxnId)>,
) -> impl Iterator<Item = Result<(Key, TxnId, TxnRecord)>> + 'a {
    let (mut start, end) = raw_bounds(span);
    if let Some((anchor, txn)) = last {
        let mut behind = record_key(anchor, *txn);
        behind.push(0);
        start = start.max(behind);
    }
    snapshot.iter(Family::Record, &start, end.as_deref(), false).map(|pair| {
        let (raw, value) = pair?;
        let (anchor, txn) = split_record_key(&raw)?;
        Ok((anchor, txn, rpc::decode(&value)?))
    })
}

pub fn put(batch: &mut WriteBatch, anchor: &[u8], txn: TxnId, record: &TxnRecord) {
    batch.put(Family::Record, record_key(anchor, txn), rpc::encode(record));
}

pub fn remove(batch: &mut WriteBatch, anchor: &[u8], txn: TxnId) {
    batch.delete(Family::Record, record_key(anchor, txn));
}
