//! What the driver's log holds, and what its entries answer.

use minicbor::{Decode, Encode};
use quorate_proto::{
    NodeId, ReplicaId, ShardDescriptor, ShardId, Span, Timestamp,
    placement::{
        IdKind, Leaving, NodeInfo, NodeState, Operation, OperationState, PlacementChange, PlacementDecision,
    },
};

/// A change of the driver's state. Times come from the proposing leader's clock.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// A node is new, or tells something else of itself.
    #[n(0)]
    UpsertNode(#[n(0)] NodeInfo, #[n(1)] Timestamp),
    #[n(1)]
    SetNodeState(#[n(0)] NodeId, #[n(1)] NodeState, #[n(2)] Timestamp),
    /// Descriptors as shards have told them; older ones are left alone.
    #[n(2)]
    Learn(#[n(0)] Vec<ShardDescriptor>),
    #[n(3)]
    AllocateIds(#[n(0)] IdKind, #[n(1)] u64),
    #[n(4)]
    SetSetting(#[n(0)] String, #[n(1)] String),
    /// Refused unless it is the present version + 1.
    #[n(5)]
    RaiseSchema(#[n(0)] u64),
    #[n(6)]
    StartOperation {
        #[n(0)]
        operation: Operation,
        #[n(1)]
        origin: String,
        #[n(2)]
        at: Timestamp,
        /// The decision behind it, if a scheduler started it.
        #[n(3)]
        decision: Option<PlacementDecision>,
    },
    /// Where an operation is, and how it ended.
    #[n(7)]
    NoteOperation {
        #[n(0)]
        id: u64,
        #[n(1)]
        state: OperationState,
        #[n(2)]
        step: String,
        #[n(3)]
        at: Timestamp,
    },
    /// Allocates what the operation needs and remembers it, so that a repeated step uses the same.
    #[n(8)]
    Equip {
        #[n(0)]
        id: u64,
        #[n(1)]
        gear: GearRequest,
    },
    /// The first shard, on these nodes; ignored once there is any shard.
    #[n(9)]
    Found(#[n(0)] Vec<NodeId>, #[n(1)] Timestamp),
    /// That node has created its copy of the first shard.
    #[n(10)]
    Founded(#[n(0)] ShardId, #[n(1)] NodeId),
    /// Refused if it cannot be: who has gone does not come back, and who still holds copies does not go.
    #[n(11)]
    SetLeaving(#[n(0)] NodeId, #[n(1)] Leaving, #[n(2)] Timestamp),
    /// What is asked for of the shards in a span changes, or nothing is any more. Refused if no nodes could fulfil it.
    #[n(12)]
    Configure(#[n(0)] Span, #[n(1)] Option<PlacementChange>),
    /// Nothing lies in the span any more: rules for it, and users' boundaries within, go.
    #[n(13)]
    Forget(#[n(0)] Span),
    /// From now on nothing counts any more that the shard's old members say: its copy is about to be told that it goes on alone.
    #[n(14)]
    BeginRecovery(#[n(0)] u64),
    /// A merge is about to have the right sealed for the left. Refused if they are neighbours no more, and as long as another merge
    /// may have had the left sealed, or a shard for the right: whose log decides of a seal goes on until then (PROTOCOL 26).
    #[n(15)]
    BeginSeal {
        #[n(0)]
        id: u64,
        #[n(1)]
        left: ShardId,
        #[n(2)]
        right: ShardId,
    },
}

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GearRequest {
    /// A new shard's id as well.
    #[n(0)]
    pub shard: bool,
    #[n(1)]
    pub replicas: u64,
    /// The shard that it is about, as found.
    #[n(2)]
    pub of: ShardId,
    /// The node chosen.
    #[n(3)]
    pub node: Option<NodeId>,
    /// The replicas' ids are greater than this one. (The driver's founders did not get theirs from here.)
    #[n(4)]
    #[cbor(default)]
    pub above: u64,
}

/// What an operation was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Gear {
    #[n(0)]
    pub shard: ShardId,
    /// First of the consecutive replica ids.
    #[n(1)]
    pub replica: u64,
    #[n(2)]
    pub replicas: u64,
    #[n(3)]
    pub of: ShardId,
    #[n(4)]
    pub node: Option<NodeId>,
}

impl Gear {
    pub fn gives(&self, replica: ReplicaId) -> bool {
        (self.replica..self.replica + self.replicas).contains(&replica.0)
    }
}

/// An entry's answer to its proposer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    #[n(0)]
    Done,
    /// First of the ids; or the operation's id; or the version.
    #[n(1)]
    Number(#[n(0)] u64),
    #[n(2)]
    Gear(#[n(0)] Gear),
    #[n(3)]
    Refused(#[n(0)] String),
}
