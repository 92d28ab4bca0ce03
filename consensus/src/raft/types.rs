//! openraft's type parameters, and the bridge between its ids and ours. Terms have one leader each (the standard leader
//! id), so a log position is a term and an index.

use super::runtime::NodeRuntime;
use crate::Membership;
use bytes::Bytes;
use openraft::impls::leader_id_std;
use openraft::type_config::alias::{CommittedLeaderIdOf, LogIdOf, StoredMembershipOf, VoteOf};
use openraft::vote::RaftLeaderId;
use quorate_proto::{LogPosition, NodeId, Replica, ReplicaId, ReplicaRole};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Command;
    type R = Reply;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Command, u64, Member>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = NodeRuntime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type LogId = LogIdOf<Types>;
pub type Vote = VoteOf<Types>;
pub type RaftEntry = openraft::type_config::alias::EntryOf<Types>;
pub type RaftMembership = openraft::Membership<u64, Member>;
pub type StoredMembership = StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// A member of a group as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub node: u64,
    pub witness: bool,
}

/// What a state machine is asked to apply.
#[derive(Clone)]
pub struct Command {
    /// PROTOCOL 4.
    pub evaluated_term: u64,
    pub bytes: Bytes,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes evaluated in term {}", self.bytes.len(), self.evaluated_term)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// openraft asks for serde on everything; ours travels in its own encoding, so this form is used by nobody.
impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.evaluated_term, self.bytes.as_ref()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (evaluated_term, bytes) = <(u64, Vec<u8>)>::deserialize(deserializer)?;
        Ok(Command { evaluated_term, bytes: bytes.into() })
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Applied(Bytes),
    /// Its evaluated term was not its own (PROTOCOL 4): nothing was done.
    TermChanged,
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Reply::Applied(bytes) => Some(bytes.as_ref()),
            Reply::TermChanged => None,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<Vec<u8>>::deserialize(deserializer)? {
            Some(bytes) => Reply::Applied(bytes.into()),
            None => Reply::TermChanged,
        })
    }
}

pub fn log_id(position: LogPosition) -> LogId {
    LogId::new(CommittedLeaderIdOf::<Types>::new(position.term), position.index)
}

pub fn position(id: &LogId) -> LogPosition {
    LogPosition { term: *id.committed_leader_id().term(), index: id.index() }
}

/// The zero position stands for "none".
pub fn position_or_zero(id: Option<&LogId>) -> LogPosition {
    id.map(position).unwrap_or_default()
}

pub fn log_id_unless_zero(position: LogPosition) -> Option<LogId> {
    (position != LogPosition::default()).then(|| log_id(position))
}

trait TermOf {
    fn term(&self) -> &u64;
}

impl TermOf for CommittedLeaderIdOf<Types> {
    fn term(&self) -> &u64 {
        &self.term
    }
}

pub fn vote(term: u64, replica: ReplicaId, committed: bool) -> Vote {
    Vote { leader_id: leader_id_std::LeaderId::new(term, replica.0), committed }
}

pub fn vote_parts(vote: &Vote) -> (u64, ReplicaId, bool) {
    (vote.leader_id.term, ReplicaId(vote.leader_id.voted_for), vote.committed)
}

/// A uniform membership of these replicas.
pub fn uniform(replicas: &[Replica]) -> RaftMembership {
    let voters: BTreeSet<u64> =
        replicas.iter().filter(|r| r.role != ReplicaRole::Learner).map(|r| r.id.0).collect();
    let nodes: BTreeMap<u64, Member> = replicas.iter().map(|r| (r.id.0, member(r))).collect();
    RaftMembership::new_with_defaults_from(voters, nodes)
}

pub fn member(replica: &Replica) -> Member {
    Member { node: replica.node.0, witness: replica.role == ReplicaRole::Witness }
}

trait FromParts {
    fn new_with_defaults_from(voters: BTreeSet<u64>, nodes: BTreeMap<u64, Member>) -> RaftMembership;
}

impl FromParts for RaftMembership {
    fn new_with_defaults_from(voters: BTreeSet<u64>, nodes: BTreeMap<u64, Member>) -> RaftMembership {
        RaftMembership::new(vec![voters], nodes).expect("every voter has its member, and there is one")
    }
}

pub fn is_joint(membership: &RaftMembership) -> bool {
    membership.get_joint_config().len() > 1
}

pub fn replicas(membership: &RaftMembership) -> Vec<Replica> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    membership
        .nodes()
        .map(|(id, member)| Replica {
            id: ReplicaId(*id),
            node: NodeId(member.node),
            role: match (voters.contains(id), member.witness) {
                (false, _) => ReplicaRole::Learner,
                (true, true) => ReplicaRole::Witness,
                (true, false) => ReplicaRole::Voter,
            },
        })
        .collect()
}

/// Our view of openraft's stored membership.
pub fn membership(stored: &StoredMembership) -> Membership {
    Membership {
        position: position_or_zero(stored.log_id().as_ref()),
        encoded: super::payload::encode_membership(stored.membership()),
        replicas: replicas(stored.membership()),
        joint: is_joint(stored.membership()),
    }
}
