//! Multi-version values.
//!
//! Family `Data`. Key: `put_bytes(user key) ++ !ts` (8 bytes, big-endian complement), so that a key's versions stand
//! together, newest first. Value: one byte `00` for a tombstone, or `01 ++ value`.
//!
//! Everything here works on a [`Snapshot`] and knows nothing of intents, locks or clocks.

mod changed;
mod garbage;
mod scan;

pub use changed::{changed_between, key_changed_between};
pub use garbage::{Garbage, collect_garbage};
pub use scan::{Page, Scan, scan, scan_page};

use crate::engine::{Family, VERSION_SUFFIX as SUFFIX};
use crate::{Result, Snapshot, StorageError, WriteBatch};
use bytes::Bytes;
use quorate_proto::ordered::{put_bytes, take_bytes};
use quorate_proto::{Key, Timestamp, Value};

const TOMBSTONE: u8 = 0;
const LIVE: u8 = 1;

/// One version of a key; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub ts: Timestamp,
    pub value: Option<Value>,
}

/// `put_bytes(user key) ++ !ts`.
pub fn data_key(key: &[u8], ts: Timestamp) -> Vec<u8> {
    let mut raw = Vec::with_capacity(key.len() + 4 + SUFFIX);
    put_bytes(&mut raw, key);
    raw.extend_from_slice(&(!ts.0).to_be_bytes());
    raw
}

/// User key and timestamp out of a raw key.
pub fn split_data_key(raw: &[u8]) -> Result<(Key, Timestamp)> {
    let (prefix, ts) = split_raw(raw)?;
    let mut rest = prefix;
    let key = take_bytes(&mut rest)?;
    if !rest.is_empty() {
        return Err(StorageError::corrupt("data key with bytes between key and timestamp"));
    }
    Ok((key.into(), ts))
}

/// Encoded user key (an intent's raw key) and timestamp, without decoding the former.
pub fn split_raw(raw: &[u8]) -> Result<(&[u8], Timestamp)> {
    let (prefix, suffix) =
        raw.split_last_chunk::<SUFFIX>().ok_or_else(|| StorageError::corrupt("data key cut short"))?;
    Ok((prefix, Timestamp(!u64::from_be_bytes(*suffix))))
}

fn decode_value(raw: Bytes) -> Result<Option<Value>> {
    match raw.first() {
        Some(&LIVE) => Ok(Some(Value(raw.slice(1..)))),
        Some(&TOMBSTONE) if raw.len() == 1 => Ok(None),
        _ => Err(StorageError::corrupt("version of an unknown form")),
    }
}

/// The newest version at or below `ts`, tombstones included.
pub fn get(snapshot: &dyn Snapshot, key: &[u8], ts: Timestamp) -> Result<Option<Version>> {
    let from = data_key(key, ts);
    match snapshot.seek_prefix(Family::Data, &from, from.len() - SUFFIX)? {
        Some((raw, value)) => Ok(Some(Version { ts: split_raw(&raw)?.1, value: decode_value(value)? })),
        None => Ok(None),
    }
}

/// The newest version of all, tombstones included.
pub fn newest(snapshot: &dyn Snapshot, key: &[u8]) -> Result<Option<Version>> {
    get(snapshot, key, Timestamp::MAX)
}

/// Adds a version; `None` is a tombstone.
pub fn put_version(batch: &mut WriteBatch, key: &[u8], ts: Timestamp, value: Option<&[u8]>) {
    let mut raw = Vec::with_capacity(1 + value.map_or(0, <[u8]>::len));
    match value {
        Some(value) => {
            raw.push(LIVE);
            raw.extend_from_slice(value);
        }
        None => raw.push(TOMBSTONE),
    }
    batch.put(Family::Data, data_key(key, ts), raw);
}
