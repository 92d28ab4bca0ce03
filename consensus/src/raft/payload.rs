//! How entries, votes and memberships look on disk and on the wire.
//!
//! A payload is one tag byte and what follows: nothing for a blank entry, the evaluated term (8 bytes, big-endian) and the
//! command for a normal one, CBOR for a membership. Commands are never copied when read.

use super::types::{Command, Member, RaftEntry, RaftMembership, Vote, log_id, position, vote, vote_parts};
use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use openraft::{EntryPayload, entry::RaftEntry as _};
use quorate_proto::rpc::{decode, encode};
use quorate_proto::{LogPosition, ReplicaId};
use quorate_storage::LogEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

#[derive(Encode, Decode)]
struct MemberForm {
    #[n(0)]
    replica: u64,
    #[n(1)]
    node: u64,
    #[n(2)]
    witness: bool,
}

#[derive(Encode, Decode)]
struct MembershipForm {
    /// One set of voters, or two while a change is under way.
    #[n(0)]
    configs: Vec<Vec<u64>>,
    #[n(1)]
    members: Vec<MemberForm>,
}

#[derive(Encode, Decode)]
struct VoteForm {
    #[n(0)]
    term: u64,
    #[n(1)]
    replica: u64,
    #[n(2)]
    committed: bool,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

pub fn encode_membership(membership: &RaftMembership) -> Bytes {
    encode(&MembershipForm {
        configs: membership.get_joint_config().iter().map(|c| c.iter().copied().collect()).collect(),
        members: membership
            .nodes()
            .map(|(id, m)| MemberForm { replica: *id, node: m.node, witness: m.witness })
            .collect(),
    })
}

pub fn decode_membership(raw: &[u8]) -> io::Result<RaftMembership> {
    let form: MembershipForm = decode(raw).map_err(|e| bad(&format!("membership: {e}")))?;
    let configs: Vec<BTreeSet<u64>> = form.configs.into_iter().map(|c| c.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, Member> =
        form.members.into_iter().map(|m| (m.replica, Member { node: m.node, witness: m.witness })).collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(RaftMembership::default());
    }
    RaftMembership::new(configs, nodes).map_err(|e| bad(&format!("membership: {e}")))
}

pub fn encode_vote(v: &Vote) -> Bytes {
    let (term, replica, committed) = vote_parts(v);
    encode(&VoteForm { term, replica: replica.0, committed })
}

pub fn decode_vote(raw: &[u8]) -> io::Result<Vote> {
    let form: VoteForm = decode(raw).map_err(|e| bad(&format!("vote: {e}")))?;
    Ok(vote(form.term, ReplicaId(form.replica), form.committed))
}

pub fn encode_payload(entry: &RaftEntry) -> Bytes {
    match &entry.payload {
        EntryPayload::Blank => Bytes::from_static(&[BLANK]),
        EntryPayload::Normal(command) => {
            let mut out = BytesMut::with_capacity(9 + command.bytes.len());
            out.put_u8(COMMAND);
            out.put_u64(command.evaluated_term);
            out.put_slice(&command.bytes);
            out.freeze()
        }
        EntryPayload::Membership(membership) => {
            let mut out = BytesMut::new();
            out.put_u8(MEMBERSHIP);
            out.put_slice(&encode_membership(membership));
            out.freeze()
        }
    }
}

pub fn decode_entry(at: LogPosition, payload: &Bytes) -> io::Result<RaftEntry> {
    let payload = match payload.first() {
        Some(&BLANK) => EntryPayload::Blank,
        Some(&COMMAND) => {
            let term =
                payload.get(1..9).and_then(|raw| raw.try_into().ok()).ok_or_else(|| bad("short command"))?;
            EntryPayload::Normal(Command {
                evaluated_term: u64::from_be_bytes(term),
                bytes: payload.slice(9..),
            })
        }
        Some(&MEMBERSHIP) => EntryPayload::Membership(decode_membership(&payload[1..])?),
        _ => return Err(bad("unknown kind of entry")),
    };
    Ok(RaftEntry::new(log_id(at), payload))
}

/// An entry that sets the members.
pub fn membership_entry(at: LogPosition, membership: RaftMembership) -> LogEntry {
    to_log(&RaftEntry::new(log_id(at), EntryPayload::Membership(membership)))
}

/// The members that an entry sets, if it sets any.
pub fn membership_of(entry: &LogEntry) -> io::Result<Option<RaftMembership>> {
    match entry.payload.first() {
        Some(&MEMBERSHIP) => decode_membership(&entry.payload[1..]).map(Some),
        _ => Ok(None),
    }
}

/// An entry for the state machine, evaluated in its own term.
pub fn normal_entry(at: LogPosition, bytes: Bytes) -> LogEntry {
    let command = Command { evaluated_term: at.term, bytes };
    to_log(&RaftEntry::new(log_id(at), EntryPayload::Normal(command)))
}

pub fn to_log(entry: &RaftEntry) -> LogEntry {
    LogEntry { position: position(&entry.log_id), payload: encode_payload(entry) }
}

pub fn from_log(entry: &LogEntry) -> io::Result<RaftEntry> {
    decode_entry(entry.position, &entry.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: EntryPayload<Command, u64, Member>) -> RaftEntry {
        RaftEntry::new(log_id(LogPosition { term: 3, index: 17 }), payload)
    }

    #[test]
    fn entries_come_back() {
        let command = Command { evaluated_term: 3, bytes: Bytes::from_static(b"abc") };
        for payload in [EntryPayload::Blank, EntryPayload::Normal(command)] {
            let log = to_log(&entry(payload));
            assert_eq!(to_log(&from_log(&log).unwrap()), log);
        }
        let members = RaftMembership::new(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])],
            (1..=5).map(|id| (id, Member { node: id + 10, witness: id == 3 })).collect::<BTreeMap<_, _>>(),
        )
        .unwrap();
        let log = to_log(&entry(EntryPayload::Membership(members.clone())));
        match from_log(&log).unwrap().payload {
            EntryPayload::Membership(found) => assert_eq!(found, members),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn garbage_is_refused() {
        for raw in [&b""[..], b"\x01abc", b"\x09", b"\x02\xff"] {
            assert!(decode_entry(LogPosition::default(), &Bytes::copy_from_slice(raw)).is_err());
        }
        assert!(decode_vote(b"x").is_err());
    }

    #[test]
    fn votes_come_back() {
        let v = vote(7, ReplicaId(9), true);
        assert_eq!(decode_vote(&encode_vote(&v)).unwrap(), v);
    }
}
