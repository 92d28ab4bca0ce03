//! Records: what a frame's body is made of. Integers are LEB128 varints unless said otherwise.
//!
//! ```text
//! record  := kind u8, shard, replica, fields
//! 1 entries  first index, count, count × entry        follow the last one
//! 2 vote     length, bytes
//! 3 committed  term, index
//! 4 truncate from  index
//! 5 purge to  term, index
//! 6 install  term, index, vote?                         entries gone, purged = committed = here
//! 7 remove
//! 8 head     vote?, committed?, purged?                 rewritten, so that an old file can go
//! 9 moved    index, entry                               rewritten likewise
//! entry   := term, crc32c of payload (u32 little-endian), length, payload
//! x?      := 0, or 1 and x
//! ```

use crate::log::GroupKey;
use crate::{Result, StorageError};
use bytes::Bytes;
use quorate_proto::{LogPosition, ReplicaId, ShardId};

/// Where a payload stands in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub offset: u32,
    pub length: u32,
    pub crc: u32,
}

/// What is kept of a group beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub vote: Option<Bytes>,
    pub committed: Option<LogPosition>,
    pub purged: Option<LogPosition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Appended in order.
    Entries(Vec<(LogPosition, Extent)>),
    Vote(Bytes),
    Committed(LogPosition),
    TruncateFrom(u64),
    PurgeTo(LogPosition),
    Install(LogPosition, Option<Bytes>),
    Remove,
    Head(Head),
    Moved(LogPosition, Extent),
}

fn put_int(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    put_int(out, blob.len() as u64);
    out.extend_from_slice(blob);
}

fn put_position(out: &mut Vec<u8>, position: LogPosition) {
    put_int(out, position.term);
    put_int(out, position.index);
}

fn put_option<T>(out: &mut Vec<u8>, value: &Option<T>, put: impl Fn(&mut Vec<u8>, &T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

fn put_start(out: &mut Vec<u8>, kind: u8, group: GroupKey) {
    out.push(kind);
    put_int(out, group.shard.0);
    put_int(out, group.replica.0);
}

/// Writes the payload; its place is counted from the beginning of `out`.
fn put_entry(out: &mut Vec<u8>, term: u64, payload: &[u8], crc: u32) -> Extent {
    put_int(out, term);
    out.extend_from_slice(&crc.to_le_bytes());
    put_int(out, payload.len() as u64);
    let offset = out.len() as u32;
    out.extend_from_slice(payload);
    Extent { offset, length: payload.len() as u32, crc }
}

/// Entries that follow one another. Returns where their payloads stand in `out`.
pub(super) fn put_entries(out: &mut Vec<u8>, group: GroupKey, entries: &[crate::LogEntry]) -> Vec<Extent> {
    let Some(first) = entries.first() else { return Vec::new() };
    put_start(out, 1, group);
    put_int(out, first.position.index);
    put_int(out, entries.len() as u64);
    entries
        .iter()
        .map(|entry| put_entry(out, entry.position.term, &entry.payload, crc32c::crc32c(&entry.payload)))
        .collect()
}

pub(super) fn put_moved(
    out: &mut Vec<u8>,
    group: GroupKey,
    at: LogPosition,
    payload: &[u8],
    crc: u32,
) -> Extent {
    put_start(out, 9, group);
    put_int(out, at.index);
    put_entry(out, at.term, payload, crc)
}

pub(super) fn put_vote(out: &mut Vec<u8>, group: GroupKey, vote: &[u8]) {
    put_start(out, 2, group);
    put_blob(out, vote);
}

pub(super) fn put_committed(out: &mut Vec<u8>, group: GroupKey, at: LogPosition) {
    put_start(out, 3, group);
    put_position(out, at);
}

pub(super) fn put_truncate(out: &mut Vec<u8>, group: GroupKey, index: u64) {
    put_start(out, 4, group);
    put_int(out, index);
}

pub(super) fn put_purge(out: &mut Vec<u8>, group: GroupKey, to: LogPosition) {
    put_start(out, 5, group);
    put_position(out, to);
}

pub(super) fn put_install(out: &mut Vec<u8>, group: GroupKey, at: LogPosition, vote: &Option<Bytes>) {
    put_start(out, 6, group);
    put_position(out, at);
    put_option(out, vote, |out, vote| put_blob(out, vote));
}

pub(super) fn put_remove(out: &mut Vec<u8>, group: GroupKey) {
    put_start(out, 7, group);
}

pub(super) fn put_head(out: &mut Vec<u8>, group: GroupKey, head: &Head) {
    put_start(out, 8, group);
    put_option(out, &head.vote, |out, vote| put_blob(out, vote));
    put_option(out, &head.committed, |out, at| put_position(out, *at));
    put_option(out, &head.purged, |out, at| put_position(out, *at));
}

/// Reads a body's records; extents are counted from the body's beginning.
pub(super) struct Records<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Records { body, at: 0 }
    }

    pub fn next(&mut self) -> Result<Option<(GroupKey, Record)>> {
        if self.at == self.body.len() {
            return Ok(None);
        }
        let kind = self.byte()?;
        let group = GroupKey { shard: ShardId(self.int()?), replica: ReplicaId(self.int()?) };
        let record = match kind {
            1 => Record::Entries(self.entries()?),
            2 => Record::Vote(self.blob()?),
            3 => Record::Committed(self.position()?),
            4 => Record::TruncateFrom(self.int()?),
            5 => Record::PurgeTo(self.position()?),
            6 => Record::Install(self.position()?, self.option(Self::blob)?),
            7 => Record::Remove,
            8 => Record::Head(Head {
                vote: self.option(Self::blob)?,
                committed: self.option(Self::position)?,
                purged: self.option(Self::position)?,
            }),
            9 => {
                let index = self.int()?;
                let (term, extent) = self.entry()?;
                Record::Moved(LogPosition { term, index }, extent)
            }
            _ => return Err(malformed("unknown kind")),
        };
        Ok(Some((group, record)))
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = *self.body.get(self.at).ok_or_else(|| malformed("cut short"))?;
        self.at += 1;
        Ok(byte)
    }

    fn int(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("integer too long"))
    }

    fn raw(&mut self, length: u64) -> Result<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| malformed("length"))?;
        let end = self.at.checked_add(length).ok_or_else(|| malformed("length"))?;
        let raw = self.body.get(self.at..end).ok_or_else(|| malformed("cut short"))?;
        self.at = end;
        Ok(raw)
    }

    fn blob(&mut self) -> Result<Bytes> {
        let length = self.int()?;
        self.raw(length).map(Bytes::copy_from_slice)
    }

    fn position(&mut self) -> Result<LogPosition> {
        Ok(LogPosition { term: self.int()?, index: self.int()? })
    }

    fn option<T>(&mut self, take: impl Fn(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.byte()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            _ => Err(malformed("option")),
        }
    }

    fn entry(&mut self) -> Result<(u64, Extent)> {
        let term = self.int()?;
        let crc: [u8; 4] = self.raw(4)?.try_into().map_err(|_| malformed("checksum"))?;
        let length = self.int()?;
        let offset = self.at as u32;
        self.raw(length)?;
        Ok((term, Extent { offset, length: length as u32, crc: u32::from_le_bytes(crc) }))
    }

    fn entries(&mut self) -> Result<Vec<(LogPosition, Extent)>> {
        let first = self.int()?;
        let count = self.int()?;
        let mut entries = Vec::new();
        for at in 0..count {
            let (term, extent) = self.entry()?;
            let index = first.checked_add(at).ok_or_else(|| malformed("index"))?;
            entries.push((LogPosition { term, index }, extent));
        }
        Ok(entries)
    }
}

fn malformed(what: &str) -> StorageError {
    StorageError::Corruption(format!("log record with a valid checksum is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogEntry;
    use proptest::prelude::*;

    #[test]
    fn every_kind_comes_back() {
        let group = GroupKey { shard: ShardId(u64::MAX), replica: ReplicaId(300) };
        let at = |term, index| LogPosition { term, index };
        let entries: Vec<LogEntry> = ["", "x", "payload"]
            .iter()
            .zip(127..)
            .map(|(text, index)| LogEntry { position: at(9, index), payload: Bytes::from(*text) })
            .collect();
        let head = Head { vote: Some(Bytes::from("v")), committed: None, purged: Some(at(1, 2)) };
        let mut out = Vec::new();
        let extents = put_entries(&mut out, group, &entries);
        put_vote(&mut out, group, b"vote");
        put_committed(&mut out, group, at(1, 2));
        put_truncate(&mut out, group, 1 << 40);
        put_purge(&mut out, group, at(3, 4));
        put_install(&mut out, group, at(5, 6), &None);
        put_install(&mut out, group, at(5, 6), &Some(Bytes::from("v")));
        put_remove(&mut out, group);
        put_head(&mut out, group, &head);
        let moved = put_moved(&mut out, group, at(7, 8), b"moved", 42);
        let expected = [
            Record::Entries(entries.iter().map(|e| e.position).zip(extents.clone()).collect()),
            Record::Vote(Bytes::from("vote")),
            Record::Committed(at(1, 2)),
            Record::TruncateFrom(1 << 40),
            Record::PurgeTo(at(3, 4)),
            Record::Install(at(5, 6), None),
            Record::Install(at(5, 6), Some(Bytes::from("v"))),
            Record::Remove,
            Record::Head(head),
            Record::Moved(at(7, 8), moved),
        ];
        let mut records = Records::new(&out);
        for record in expected {
            assert_eq!(records.next().unwrap(), Some((group, record)));
        }
        assert_eq!(records.next().unwrap(), None);
        let last = extents[2];
        assert_eq!(&out[last.offset as usize..][..last.length as usize], b"payload");
    }

    proptest! {
        #[test]
        fn random_bodies_are_errors_or_records(body: Vec<u8>) {
            let mut records = Records::new(&body);
            while let Ok(Some(_)) = records.next() {}
        }
    }
}
