//! One group's replica on this node, as its users see it.

use crate::{Leadership, Lease, Membership, ProposeError, ReadCertificate};
use bytes::Bytes;
use quorate_proto::placement::{Frontiers, MemberProgress, ShardMode};
use quorate_proto::{KvError, LogPosition, Replica, ReplicaId, ShardId};
use tokio::sync::watch;

pub struct Group {}

impl Group {
    pub fn shard(&self) -> ShardId {
        todo!()
    }

    pub fn replica(&self) -> ReplicaId {
        todo!()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        todo!()
    }

    /// The lease as of now; `None` when this replica does not lead, is not ready, or is not supported by a quorum.
    pub fn lease(&self) -> Option<Lease> {
        todo!()
    }

    /// Makes sure that a read evaluated on a snapshot taken after this returns misses nothing committed before it was called.
    /// By lease if there is one, else by read-index.
    pub async fn confirm_read(&self) -> Result<ReadCertificate, KvError> {
        todo!()
    }

    /// Replicates a command evaluated in `evaluated_term`; returns its position and the state machine's reply after it
    /// was applied here.
    pub async fn propose(&self, evaluated_term: u64, command: Bytes) -> Result<(LogPosition, Bytes), ProposeError> {
        let _ = (evaluated_term, command);
        todo!()
    }

    /// Makes `members` the group's members: adds learners, waits until they have caught up, then changes the voters by
    /// joint consensus. Returns the position of the entry that completed it; at once if they are the members already.
    /// Only on the leader.
    pub async fn change_members(&self, members: Vec<Replica>) -> Result<LogPosition, KvError> {
        let _ = members;
        todo!()
    }

    /// Hands leadership to a voter. Returns when another leads; the lease is given up before anything is sent.
    pub async fn transfer(&self, to: ReplicaId) -> Result<(), KvError> {
        let _ = to;
        todo!()
    }

    /// Asks for an election now, through the pre-vote rule: nothing happens while a leader is supported.
    pub fn campaign(&self) {
        todo!()
    }

    /// E D C A F T as of now (K is the state machine's).
    pub fn frontiers(&self) -> Frontiers {
        todo!()
    }

    /// What the leader knows of each member's log; empty elsewhere.
    pub fn progress(&self) -> Vec<MemberProgress> {
        todo!()
    }

    pub fn mode(&self) -> ShardMode {
        todo!()
    }

    /// The newest membership in the log, committed or not.
    pub fn members(&self) -> Membership {
        todo!()
    }

    /// Ticks are off and no heartbeats flow.
    pub fn is_quiet(&self) -> bool {
        todo!()
    }

    /// Stops this replica; its log stays.
    pub async fn stop(&self) {
        todo!()
    }
}
