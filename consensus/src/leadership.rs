//! Who leads, until when, and what a read may rest on.

use quorate_proto::{LogPosition, NodeId, ReplicaId, Timestamp};
use std::time::Duration;

/// What this replica knows of its group's leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<(ReplicaId, NodeId)>,
    /// This replica leads in `term`.
    pub is_leader: bool,
    /// It leads, and the term's blank entry is applied: it may evaluate (PROTOCOL 4).
    pub ready: bool,
    /// Position of the term's blank entry once `ready`.
    pub ready_at: LogPosition,
    /// `Env::boottime` when the lease of this term began: no earlier leader answers by lease after it. Meaningful when
    /// `ready`.
    pub lease_start: Duration,
    /// No earlier leader has answered a read at or above this time, whatever the clocks do: what this term's voters heard of
    /// their clocks, plus a lease period (PROTOCOL 21). Zero if they heard of none.
    pub predecessors_until: Timestamp,
}

/// A promise of a quorum of nodes not to elect another leader before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub term: u64,
    /// On `Env::boottime`, already shortened by the safety margin of PROTOCOL 2.
    pub until: Duration,
}

/// Why a read misses nothing that was committed before it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCertificate {
    Lease(Lease),
    /// A quorum confirmed the leader of `term` after the read arrived; everything up to `applied` is applied here.
    ReadIndex {
        term: u64,
        applied: LogPosition,
    },
}

impl ReadCertificate {
    pub fn term(&self) -> u64 {
        match self {
            ReadCertificate::Lease(lease) => lease.term,
            ReadCertificate::ReadIndex { term, .. } => *term,
        }
    }
}
