//! Intents: provisional writes of undecided transactions, at most one on a key.
//!
//! Family `Intent`. Key: `put_bytes(user key)`. Value: [`Intent`] in CBOR.

use crate::engine::{Family, raw_bounds};
use crate::{Result, Snapshot, WriteBatch};
use minicbor::{Decode, Encode};
use quorate_proto::kv::TxnMeta;
use quorate_proto::ordered::{put_bytes, take_bytes};
use quorate_proto::{Key, LogPosition, Span, Timestamp, Value, rpc};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Intent {
    #[n(0)]
    pub txn: TxnMeta,
    /// At which it was prepared; the commit timestamp is not below it.
    #[n(1)]
    pub ts: Timestamp,
    /// `None` deletes.
    #[n(2)]
    pub value: Option<Value>,
    /// Of the entry that laid it.
    #[n(3)]
    pub position: LogPosition,
}

/// `put_bytes(user key)`.
pub fn intent_key(key: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(key.len() + 4);
    put_bytes(&mut raw, key);
    raw
}

/// The user key of an intent's raw key.
///
/// # Errors
/// If that is no intent's key.
pub fn split_key(raw: &[u8]) -> Result<Key> {
    Ok(take_bytes(&mut &raw[..])?.into())
}

pub fn get(snapshot: &dyn Snapshot, key: &[u8]) -> Result<Option<Intent>> {
    match snapshot.get(Family::Intent, &intent_key(key))? {
        Some(raw) => Ok(Some(rpc::decode(&raw)?)),
        None => Ok(None),
    }
}

/// All intents on keys of the span, in key order, read as they are asked for.
pub fn scan<'a>(snapshot: &'a dyn Snapshot, span: &Span) -> impl Iterator<Item = Result<(Key, Intent)>> + 'a {
    let (start, end) = raw_bounds(span);
    snapshot.iter(Family::Intent, &start, end.as_deref(), false).map(|pair| {
        let (raw, value) = pair?;
        Ok((split_key(&raw)?, rpc::decode(&value)?))
    })
}

pub fn put(batch: &mut WriteBatch, key: &[u8], intent: &Intent) {
    batch.put(Family::Intent, intent_key(key), rpc::encode(intent));
}

pub fn remove(batch: &mut WriteBatch, key: &[u8]) {
    batch.delete(Family::Intent, intent_key(key));
}
