//! What nodes and the placement driver say to one another: what is asked of the driver here, what it asks of replicas and what is
//! asked of a node itself, of nodes that leave, of shards that are brought back, and of who carries the driver, in files of their own.

mod driver;
mod leaving;
mod load;
mod node;
mod recover;
mod replica;
mod rule;

pub use driver::*;
pub use leaving::*;
pub use load::*;
pub use node::*;
pub use recover::*;
pub use replica::*;
pub use rule::*;

use crate::{
    Key, LogPosition, NodeId, Replica, ReplicaId, ShardDescriptor, ShardId, Space, Span, Tempo, Timestamp,
};
use minicbor::{Decode, Encode};

/// A node as the driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeInfo {
    #[n(0)]
    pub id: NodeId,
    #[n(1)]
    pub incarnation: u64,
    #[n(2)]
    pub rpc_address: String,
    #[n(3)]
    pub sql_address: String,
    #[n(4)]
    pub http_address: String,
    /// `key=value` pairs from the widest to the narrowest.
    #[n(5)]
    pub locality: Vec<(String, String)>,
    /// Bit 0: placement (it may carry the driver), bit 1: shard, bit 2: sql.
    #[n(6)]
    pub roles: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NodeState {
    #[n(0)]
    Live,
    /// Silent for longer than the liveness timeout.
    #[n(1)]
    Suspect,
    /// Silent for longer than the repair delay; its replicas are being replaced.
    #[n(2)]
    Dead,
    #[n(3)]
    Draining,
    #[n(4)]
    Decommissioned,
    #[n(5)]
    Decommissioning,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeStatus {
    #[n(0)]
    pub info: NodeInfo,
    #[n(1)]
    pub state: NodeState,
    #[n(2)]
    pub last_heartbeat: Timestamp,
    #[n(3)]
    pub clock_offset_micros: i64,
    #[n(4)]
    pub replicas: u64,
    #[n(5)]
    pub leaders: u64,
    /// The catalog version that all its statements use, at least; 0 while it has not said.
    #[n(6)]
    #[cbor(default)]
    pub schema_version: u64,
    /// Of the disk that its data lies on, as it last said.
    #[n(7)]
    #[cbor(default)]
    pub space: Space,
    /// Its SQL sessions, as it last said.
    #[n(8)]
    #[cbor(default)]
    pub sessions: u64,
    /// It is a member of the placement driver.
    #[n(9)]
    #[cbor(default)]
    pub carries_driver: bool,
    /// Of its disk and network, as it last said.
    #[n(10)]
    #[cbor(default)]
    pub tempo: Tempo,
    /// Why it counts as slow: it is given no copies, and leads nothing; see the driver's planner. Empty: it does not.
    #[n(11)]
    #[cbor(default)]
    pub slow: String,
}

impl NodeStatus {
    pub fn serves_sql(&self) -> bool {
        self.info.roles & 4 != 0
    }
}

/// What a node says of one of its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplicaReport {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub replica: ReplicaId,
    #[n(2)]
    pub leader: bool,
    #[n(3)]
    pub term: u64,
    /// The shard's own idea of itself, as of the entries applied here; authoritative when `leader`.
    #[n(4)]
    pub descriptor: ShardDescriptor,
    #[n(5)]
    pub size_bytes: u64,
    #[n(6)]
    pub frontiers: Frontiers,
    /// `TARGET`, `ELECTION`, `DEGRADED`, `RECOVERY` (DESIGN §7), `DAMAGED`.
    #[n(7)]
    pub mode: ShardMode,
    /// Empty unless `leader`.
    #[n(8)]
    #[cbor(default)]
    pub load: ShardLoad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ShardMode {
    #[n(0)]
    Target,
    #[n(1)]
    Election,
    #[n(2)]
    Degraded,
    #[n(3)]
    Recovery,
    /// It does not read back, and is out of service until it is replaced.
    #[n(4)]
    Damaged,
}

impl ReplicaReport {
    pub fn is_sound(&self) -> bool {
        self.mode != ShardMode::Damaged
    }
}

/// E D C A F T of DESIGN §2; K is asked for ([`NodeCommand::Closed`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Frontiers {
    #[n(0)]
    pub appended: LogPosition,
    #[n(1)]
    pub durable: LogPosition,
    #[n(2)]
    pub committed: LogPosition,
    #[n(3)]
    pub applied: LogPosition,
    #[n(4)]
    pub flushed: LogPosition,
    /// Last index no longer in the log.
    #[n(5)]
    pub trimmed: LogPosition,
}

/// Asked of the placement driver; only its leader answers, the others say who leads.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PlacementRequest {
    /// Sent every heartbeat interval. `changed` holds the replicas whose report differs from the last acknowledged one;
    /// `full` says that it holds all.
    #[n(0)]
    Heartbeat {
        #[n(0)]
        node: NodeInfo,
        #[n(1)]
        clock_offset_micros: i64,
        #[n(2)]
        changed: Vec<ReplicaReport>,
        #[n(3)]
        full: bool,
        /// Version of the map that the node has; the answer brings what is newer.
        #[n(4)]
        map_version: u64,
        /// The catalog version that all statements on the node use, at least (PROTOCOL 20).
        #[n(5)]
        schema_version: u64,
        /// Some transaction of the node still reads the past as of this time (PROTOCOL 24).
        #[n(6)]
        holds: Option<Timestamp>,
        /// What is left of the node's disk.
        #[n(7)]
        #[cbor(default)]
        space: Space,
        /// SQL sessions there.
        #[n(8)]
        #[cbor(default)]
        sessions: u64,
        #[n(9)]
        #[cbor(default)]
        carries: Carries,
        #[n(10)]
        #[cbor(default)]
        tempo: Tempo,
    },
    /// The map's changes after this version, waiting at most `wait_millis` for one.
    #[n(1)]
    WatchMap {
        #[n(0)]
        after_version: u64,
        #[n(1)]
        wait_millis: u64,
    },
    /// `count` consecutive ids, never given out before.
    #[n(2)]
    AllocateIds {
        #[n(0)]
        kind: IdKind,
        #[n(1)]
        count: u64,
    },
    #[n(3)]
    Nodes,
    #[n(4)]
    SetSetting {
        #[n(0)]
        name: String,
        #[n(1)]
        value: String,
    },
    #[n(5)]
    Settings,
    /// Starts an operation that outlives the driver's leader; answers with its id at once.
    #[n(6)]
    Start(#[n(0)] Operation),
    #[n(7)]
    Operations,
    #[n(8)]
    Decisions {
        #[n(0)]
        limit: u64,
    },
    /// Raises the catalog version to `to` (refused unless it is the present one + 1) and answers when every node with
    /// an unexpired schema lease has reported `to - 1` or later (PROTOCOL 20: at most two versions in use).
    #[n(9)]
    AdvanceSchema {
        #[n(0)]
        to: u64,
    },
    /// All replicas as last reported.
    #[n(10)]
    Replicas,
    /// The present catalog version, waiting at most `wait_millis` for one after this.
    #[n(14)]
    WatchSchema {
        #[n(0)]
        after: u64,
        #[n(1)]
        wait_millis: u64,
    },
    /// One operation; waits at most `wait_millis` for its end.
    #[n(11)]
    Operation {
        #[n(0)]
        id: u64,
        #[n(1)]
        wait_millis: u64,
    },
    /// Answers with the nodes.
    #[n(15)]
    Order {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        order: NodeOrder,
    },
    /// Changes what is asked for of the shards in a span; nothing: nothing is asked for any more. Answers with the rule.
    #[n(16)]
    Configure {
        #[n(0)]
        span: Span,
        #[n(1)]
        change: Option<PlacementChange>,
    },
    /// All rules, and how far they are kept.
    #[n(17)]
    Rules,
    /// Nothing lies in the span any more: rules for it, and users' boundaries within, go.
    #[n(18)]
    Forget(#[n(0)] Span),
    #[n(19)]
    Explain(#[n(0)] ExplainPlacement),
    /// The shards without a quorum, or this one if it has none: nodes are asked what is left.
    #[n(20)]
    Survey(#[n(0)] Option<ShardId>),
    /// The certificates of all recoveries.
    #[n(21)]
    Recoveries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub enum IdKind {
    #[n(0)]
    Shard,
    #[n(1)]
    Replica,
    /// Tables, indexes, sequences.
    #[n(2)]
    Object,
}

/// A change of the cluster that takes several steps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Operation {
    /// Split the shard that owns `at` so that `at` begins a shard; done already if it does.
    #[n(0)]
    Split {
        #[n(0)]
        at: Key,
    },
    /// Replace the copy on `from` by one on `to`, by joint consensus.
    #[n(1)]
    MoveReplica {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        from: NodeId,
        #[n(2)]
        to: NodeId,
    },
    #[n(2)]
    TransferLeader {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        to: NodeId,
    },
    /// Spread leaders (and, with more nodes than replicas, copies) of all shards in the span evenly.
    #[n(3)]
    Scatter {
        #[n(0)]
        span: crate::Span,
    },
    /// Replace the copy on a node that is dead.
    #[n(4)]
    Repair {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        dead: NodeId,
    },
    /// Replace a copy that its node, which lives, has lost, by one under a new replica id on the same node.
    #[n(5)]
    Remake {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        lost: Replica,
    },
    /// Merge the shard that begins at `at` into the one before it; done already if none begins there.
    #[n(6)]
    Merge {
        #[n(0)]
        at: Key,
    },
    /// Move all copies off a node and let it leave the cluster for good.
    #[n(7)]
    Decommission {
        #[n(0)]
        node: NodeId,
    },
    /// Remove a copy without a vote that nothing works on any more.
    #[n(8)]
    Withdraw {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        learner: Replica,
    },
    /// Give a shard further copies, or fewer, all at once: there is never an even number of voters.
    #[n(9)]
    Resize {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        add: Vec<NodeId>,
        #[n(2)]
        remove: Vec<NodeId>,
    },
    /// Bring a shard that has lost its quorum for good back from a copy that is left, as was shown to whoever asks.
    #[n(10)]
    Recover {
        #[n(0)]
        plan: Box<RecoveryPlan>,
        #[n(1)]
        by: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum OperationState {
    #[n(0)]
    Running,
    #[n(1)]
    Done,
    /// With the reason.
    #[n(2)]
    Failed(#[n(0)] String),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OperationStatus {
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub operation: Operation,
    #[n(2)]
    pub state: OperationState,
    /// The step it is at, in words.
    #[n(3)]
    pub step: String,
    #[n(4)]
    pub started: Timestamp,
    #[n(5)]
    pub updated: Timestamp,
    /// Who asked: `operator`, `repair`, `scatter N`, `scheduler`.
    #[n(6)]
    pub origin: String,
}

/// One decision of the driver, with what it saw (DESIGN §8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PlacementDecision {
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub at: Timestamp,
    #[n(2)]
    pub scheduler: String,
    #[n(3)]
    pub shard: Option<ShardId>,
    /// What was seen, in words.
    #[n(4)]
    pub seen: String,
    /// Candidate nodes with score and reason.
    #[n(5)]
    pub candidates: Vec<(NodeId, i64, String)>,
    #[n(6)]
    pub chosen: String,
    /// Empty while it runs.
    #[n(7)]
    pub outcome: String,
    #[n(8)]
    pub operation: Option<u64>,
    /// Candidates that are no nodes (keys, pairs of shards), with score and reason.
    #[n(9)]
    #[cbor(default)]
    pub options: Vec<(String, i64, String)>,
    /// What the planner decided from, in its own encoding: the same decision comes of it again. Empty where `seen` says all.
    #[n(10)]
    #[cbor(default, with = "minicbor::bytes")]
    pub inputs: Vec<u8>,
    /// The same for people, as JSON; only in answers.
    #[n(11)]
    #[cbor(default)]
    pub told: String,
}

/// A change of the shard map: descriptors that are new or newer, and shards that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct MapUpdate {
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub changed: Vec<ShardDescriptor>,
    #[n(2)]
    pub removed: Vec<ShardId>,
    /// `changed` is the whole map.
    #[n(3)]
    pub full: bool,
    /// Last known leaders.
    #[n(4)]
    pub leaders: Vec<(ShardId, NodeId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PlacementReply {
    #[n(0)]
    Heartbeat {
        #[n(0)]
        map: MapUpdate,
        /// Present catalog version.
        #[n(1)]
        schema_version: u64,
        /// Until when the node may use the version it has reported, or the next (PROTOCOL 20).
        #[n(2)]
        schema_lease_until: Timestamp,
        #[n(3)]
        nodes: Vec<NodeInfo>,
        /// The driver wants all replicas in the next heartbeat.
        #[n(4)]
        want_full: bool,
        #[n(5)]
        settings_version: u64,
        /// Nobody wants to read the past before this time any more; none as long as it is not known of every node.
        #[n(6)]
        horizon: Option<Timestamp>,
        /// What is decided about this node.
        #[n(7)]
        #[cbor(default)]
        leaving: Leaving,
        /// Nodes that have left for good. `nodes` does not hold them.
        #[n(8)]
        #[cbor(default)]
        gone: Vec<NodeId>,
        /// Who carries the driver now.
        #[n(9)]
        #[cbor(default)]
        driver: DriverMembers,
    },
    #[n(1)]
    Map(#[n(0)] MapUpdate),
    /// First of the consecutive ids.
    #[n(2)]
    Ids(#[n(0)] u64),
    #[n(3)]
    Nodes(#[n(0)] Vec<NodeStatus>),
    #[n(4)]
    Settings(#[n(0)] Vec<(String, String)>),
    #[n(5)]
    Started(#[n(0)] u64),
    #[n(6)]
    Operations(#[n(0)] Vec<OperationStatus>),
    #[n(7)]
    Decisions(#[n(0)] Vec<PlacementDecision>),
    #[n(8)]
    SchemaVersion(#[n(0)] u64),
    #[n(9)]
    Replicas(#[n(0)] Vec<(NodeId, ReplicaReport)>),
    #[n(10)]
    Rules(#[n(0)] Vec<PlacementStatus>),
    #[n(11)]
    Explained(#[n(0)] Vec<Explained>),
    #[n(12)]
    Surveyed(#[n(0)] Vec<Survey>),
    #[n(13)]
    Recoveries(#[n(0)] Vec<Recovery>),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum PlacementError {
    #[n(0)]
    #[error("not the leader of the placement driver")]
    NotLeader(
        /// Who leads, if that is known.
        #[n(0)]
        Option<NodeId>,
        /// Who carries the driver, as far as the node that was asked knows.
        #[n(1)]
        #[cbor(default)]
        Box<DriverMembers>,
    ),
    #[n(1)]
    #[error("{0}")]
    Refused(#[n(0)] String),
    #[n(2)]
    #[error("the placement driver has no quorum: {0}")]
    Unavailable(#[n(0)] String),
    /// Proposed, then lost sight of; all requests but `AllocateIds` and `AdvanceSchema` may be repeated.
    #[n(3)]
    #[error("outcome unknown: {0}")]
    Ambiguous(#[n(0)] String),
    #[n(4)]
    #[error("the node belongs to no cluster yet; run `quorate init`")]
    NotInitialized,
}

impl PlacementError {
    pub fn not_leader(leader: Option<NodeId>) -> Self {
        PlacementError::NotLeader(leader, Box::default())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlacementAnswer {
    #[n(0)]
    pub result: Result<PlacementReply, PlacementError>,
}
