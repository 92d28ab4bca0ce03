//! What an entry of a shard's log carries: an evaluated command.
//!
//! Encoding: `length of the extras (4 bytes, big-endian) ++ extras (CBOR; absent when empty) ++ write batch`. The batch
//! comes last so that it can be decoded without copying. The length's first bit says that the entry may have to wait.

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use quorate_proto::kv::{LockMode, TxnMeta};
use quorate_proto::{Key, LogPosition, Seal, ShardDescriptor, ShardId, Timestamp, TxnId};
use quorate_storage::{WriteBatch, intent::Intent, record::TxnRecord};

/// Applied by every replica as it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    pub batch: WriteBatch,
    pub extras: Extras,
}

/// What needs the entry's position, or does more than write.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Extras {
    /// Written with the entry's position filled in.
    #[n(0)]
    pub records: Vec<Record>,
    /// Written with the entry's position filled in.
    #[n(1)]
    pub intents: Vec<(Key, Intent)>,
    #[n(2)]
    pub split: Option<Split>,
    /// From now on nothing below is read, and versions that are needed for that only may be removed (PROTOCOL 24).
    #[n(3)]
    pub gc_threshold: Option<Timestamp>,
    #[n(4)]
    pub locks: Option<LockImage>,
    /// From now on no record is made for a transaction with a deadline at or below, and those there are may go (PROTOCOL 12).
    #[n(5)]
    pub record_threshold: Option<Timestamp>,
    /// Records that go.
    #[n(6)]
    pub forgotten: Vec<Forgotten>,
    #[n(7)]
    pub merge: Option<Box<MergeStep>>,
    /// The shard goes on from one copy, at these epochs at least ([`crate::revive`]).
    #[n(8)]
    pub revived: Option<(u64, u64)>,
    /// Whose intents become versions of which times, for those who are told later who has changed something
    /// ([`crate::writers`]); records tell of theirs.
    #[n(9)]
    #[cbor(default)]
    pub resolved: Vec<(Timestamp, TxnId)>,
}

/// A merge's entries ([`crate::merge`]).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum MergeStep {
    /// In the right's log. The seal's position is filled in when it is applied.
    #[n(0)]
    Seal(#[n(0)] Sealed),
    /// In the left's log: from now on this is its range.
    #[n(1)]
    Absorb(#[n(0)] Seal, #[n(1)] ShardDescriptor),
    /// In the left's log: the seal of that shard will not be absorbed; the range's version rises to the one given.
    #[n(2)]
    Forget(#[n(0)] ShardId, #[n(1)] LogPosition, #[n(2)] u64),
    /// In the right's log: the range's version rises to the one given, and a seal stands no more.
    #[n(3)]
    Unseal(#[n(0)] u64),
}

/// What a sealed shard keeps until it is absorbed or serves again.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Sealed {
    #[n(0)]
    pub seal: Seal,
    /// For whoever leads these keys next.
    #[n(1)]
    pub locks: LockImage,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Record {
    #[n(0)]
    pub anchor: Key,
    #[n(1)]
    pub txn: TxnId,
    #[n(2)]
    pub record: TxnRecord,
}

/// A record that is not needed any more ([`crate::forget`]).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Forgotten {
    #[n(0)]
    pub anchor: Key,
    #[n(1)]
    pub txn: TxnId,
    /// What the record says.
    #[n(2)]
    pub deadline: Timestamp,
}

impl Record {
    fn size(&self) -> usize {
        let keys = |keys: &[Key]| keys.iter().map(|key| key.len() + 4).sum::<usize>();
        let lists = match &self.record {
            TxnRecord::Pending { .. } => 0,
            TxnRecord::Committed { intents, prepared, span, .. } => {
                let ends =
                    span.iter().map(|span| span.start.len() + span.end.as_ref().map_or(0, |end| end.len()));
                keys(intents) + 32 * prepared.len() + ends.sum::<usize>()
            }
            TxnRecord::Aborted { intents, .. } => keys(intents),
            TxnRecord::Staging { keys: staged, .. } => keys(staged),
        };
        128 + self.anchor.len() + lists
    }
}

/// The keys from `right.span.start` on become a shard of their own (PROTOCOL 25).
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Split {
    #[n(0)]
    pub left: ShardDescriptor,
    #[n(1)]
    pub right: ShardDescriptor,
    /// Above everything that was read in the right half before the split.
    #[n(2)]
    pub low_water: Timestamp,
    /// K of the shard, for both halves.
    #[n(3)]
    pub closed: Timestamp,
    /// The locks of the right half, for whoever leads it first.
    #[n(4)]
    pub locks: Option<LockImage>,
}

/// Locks that go to another leader ([`crate::hand_over`]), or some of them.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LockImage {
    /// What an earlier entry says does not count any more.
    #[n(0)]
    pub first: bool,
    #[n(1)]
    pub held: Vec<HeldBy>,
    /// Without the last part the others count for nothing.
    #[n(2)]
    #[cbor(default)]
    pub last: bool,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HeldBy {
    #[n(0)]
    pub txn: TxnMeta,
    #[n(1)]
    pub locks: Vec<(Key, LockMode)>,
    /// By which requests it has each of them, the first and the last. What is missing no savepoint gives back.
    #[n(2)]
    #[cbor(default)]
    pub numbers: Vec<(u64, u64)>,
}

impl Extras {
    fn is_empty(&self) -> bool {
        let thresholds = self.gc_threshold.max(self.record_threshold);
        let records = self.records.is_empty() && self.forgotten.is_empty();
        let writes = !self.intents.is_empty() || !self.resolved.is_empty();
        records && !writes && thresholds.is_none() && !self.is_alone()
    }

    /// It has an entry for itself.
    pub fn is_alone(&self) -> bool {
        self.split.is_some() || self.locks.is_some() || self.merge.is_some() || self.revived.is_some()
    }

    /// Neither data nor what is known of it.
    pub fn changes_nothing(&self) -> bool {
        let thresholds = self.gc_threshold.max(self.record_threshold);
        let records = self.records.is_empty() && self.forgotten.is_empty() && self.intents.is_empty();
        let range =
            self.split.is_some() || !matches!(self.merge.as_deref(), None | Some(MergeStep::Unseal(_)));
        records && thresholds.is_none() && !range
    }

    /// Another shard's state here must have come so far.
    fn waits(&self) -> bool {
        matches!(self.merge.as_deref(), Some(MergeStep::Absorb(..)))
    }

    /// The transactions that are over with this.
    pub fn ended(&self) -> impl Iterator<Item = TxnId> {
        self.records.iter().filter(|record| record.record.is_final()).map(|record| record.txn)
    }

    /// The transactions of which this may write versions, and when they were committed.
    pub fn committed(&self) -> impl Iterator<Item = (Timestamp, TxnId)> {
        let records = self.records.iter().filter_map(|record| match record.record {
            TxnRecord::Committed { ts, .. } => Some((ts, record.txn)),
            _ => None,
        });
        records.chain(self.resolved.iter().copied())
    }

    /// Writes records and intents as those of the entry at `position`, and removes records.
    pub fn write(self, position: LogPosition, batch: &mut WriteBatch) {
        for Record { anchor, txn, mut record } in self.records {
            record.set_position(position);
            quorate_storage::record::put(batch, &anchor, txn, &record);
        }
        for (key, mut intent) in self.intents {
            intent.position = position;
            quorate_storage::intent::put(batch, &key, &intent);
        }
        for Forgotten { anchor, txn, .. } in self.forgotten {
            quorate_storage::record::remove(batch, &anchor, txn);
        }
    }
}

impl Command {
    /// Takes up what another one does. They were evaluated side by side, under latches that kept them apart.
    pub fn join(&mut self, other: Command) {
        assert!(!other.extras.is_alone(), "it has an entry for itself");
        self.batch.extend(other.batch);
        self.extras.records.extend(other.extras.records);
        self.extras.intents.extend(other.extras.intents);
        self.extras.gc_threshold = self.extras.gc_threshold.max(other.extras.gc_threshold);
        self.extras.record_threshold = self.extras.record_threshold.max(other.extras.record_threshold);
        self.extras.forgotten.extend(other.extras.forgotten);
        self.extras.resolved.extend(other.extras.resolved);
    }

    /// About as many bytes as its entry takes.
    pub fn size(&self) -> usize {
        let intents = self.extras.intents.iter();
        let bytes = intents.map(|(key, intent)| {
            key.len() + intent.value.as_ref().map_or(0, |value| value.len()) + intent.txn.anchor.len() + 64
        });
        let records = self.extras.records.iter().map(Record::size);
        let forgotten = self.extras.forgotten.iter().map(|forgotten| forgotten.anchor.len() + 32);
        let resolved = 32 * self.extras.resolved.len();
        let records = records.sum::<usize>() + forgotten.sum::<usize>() + resolved;
        self.batch.byte_size() + bytes.sum::<usize>() + records
    }

    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.batch.byte_size() + 8 * self.batch.len());
        out.put_u32(0);
        if !self.extras.is_empty() {
            put_cbor(&self.extras, &mut out);
            let length = (out.len() - 4) as u32 | if self.extras.waits() { WAITS } else { 0 };
            out[..4].copy_from_slice(&length.to_be_bytes());
        }
        put_cbor(&self.batch, &mut out);
        out.freeze()
    }

    pub fn decode(raw: &Bytes) -> Result<Self, minicbor::decode::Error> {
        let short = || minicbor::decode::Error::message("command cut short");
        let length = (u32::from_be_bytes(*raw.first_chunk::<4>().ok_or_else(short)?) & !WAITS) as usize;
        let end = length.checked_add(4).filter(|end| *end <= raw.len()).ok_or_else(short)?;
        let extras = if length == 0 { Extras::default() } else { minicbor::decode(&raw[4..end])? };
        Ok(Command { batch: WriteBatch::from_bytes(&raw.slice(end..))?, extras })
    }
}

/// In the length of the extras.
const WAITS: u32 = 1 << 31;

/// Whether an encoded command may have to wait for another shard's state; without decoding all the others.
pub fn may_wait(raw: &Bytes) -> bool {
    raw.first().is_some_and(|first| first & 0x80 != 0)
}

fn put_cbor<T: Encode<()>>(value: &T, out: &mut BytesMut) {
    let mut writer = minicbor::encode::write::Writer::new(out.writer());
    minicbor::encode(value, &mut writer).expect("encoding into memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_storage::Family;

    #[test]
    fn the_size_counts_what_records_list() {
        let mut command = Command::default();
        let keys: Vec<Key> =
            (0..4000).map(|n| Key::from(format!("a key of some length {n:08}").into_bytes())).collect();
        let (deadline, position) = (Timestamp(3), LogPosition::default());
        let record = TxnRecord::Aborted { attempt: 1, deadline, intents: keys, position };
        command.extras.records.push(Record { anchor: Key::from("a"), txn: TxnId(7), record });
        let (size, encoded) = (command.size(), command.encode().len());
        assert!(size.abs_diff(encoded) < encoded / 4, "{size} instead of {encoded}");
    }

    #[test]
    fn round_trip_and_garbage() {
        let mut command = Command::default();
        command.batch.put(Family::Data, &b"k"[..], &b"v"[..]);
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
        command.extras.records.push(Record {
            anchor: Key::from("a"),
            txn: TxnId(7),
            record: TxnRecord::Aborted {
                attempt: 1,
                deadline: Timestamp(3),
                intents: Vec::new(),
                position: LogPosition::default(),
            },
        });
        let raw = command.encode();
        assert_eq!(Command::decode(&raw).unwrap(), command);
        for end in 0..raw.len() {
            assert!(Command::decode(&raw.slice(..end)).is_err());
        }
    }
}
