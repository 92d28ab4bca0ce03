//! Who carries the placement driver, and what its leader asks of a node about the driver's replica there.

use crate::{KvError, LogPosition, NodeId, Replica, ReplicaId, ReplicaRole};
use minicbor::{Decode, Encode};

/// The members of the driver's own group, as one committed entry of its log has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DriverMembers {
    /// Where that entry stands: of two, the later one holds. Zero: as they were at the founding, or not known.
    #[n(0)]
    pub at: LogPosition,
    #[n(1)]
    pub replicas: Vec<Replica>,
    /// Where nodes listen, for those who have not heard of them; not always told.
    #[n(2)]
    #[cbor(default)]
    pub addresses: Vec<(NodeId, String)>,
}

impl DriverMembers {
    /// Those that may lead it.
    pub fn nodes(&self) -> Vec<NodeId> {
        let may_lead = self.replicas.iter().filter(|replica| replica.role != ReplicaRole::Learner);
        may_lead.map(|replica| replica.node).collect()
    }

    /// A founder that is no member any more: ids are used once, so it will never be one again.
    pub fn is_without(&self, founder: ReplicaId) -> bool {
        self.at > LogPosition::default() && self.replicas.iter().all(|replica| replica.id != founder)
    }
}

/// What a node tells with its heartbeats of the driver's replica on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Carries {
    /// It has not looked yet.
    #[n(0)]
    #[default]
    Unsaid,
    #[n(1)]
    Nothing,
    #[n(2)]
    Replica(#[n(0)] ReplicaId),
}

/// From the driver's leader to a node. Both may be repeated harmlessly.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DriverCommand {
    /// Make an empty replica of the driver, which waits to be brought up.
    #[n(0)]
    Create(#[n(0)] ReplicaId),
    /// It is no member any more: stop it, and remove what it holds.
    #[n(1)]
    Remove(#[n(0)] ReplicaId),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DriverAnswer {
    #[n(0)]
    pub result: Result<(), KvError>,
}
