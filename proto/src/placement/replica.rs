//! What the placement driver asks of a node about one of its replicas.

use super::Testimony;
use crate::{Key, KvError, LogPosition, NodeId, Replica, ReplicaId, Seal, ShardDescriptor, ShardId};
use minicbor::{Decode, Encode};

/// What the driver asks of a node about one shard. All may be repeated harmlessly.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReplicaCommand {
    /// Create the copies of a brand new shard; every founding member gets the same descriptor.
    #[n(0)]
    CreateShard {
        #[n(0)]
        descriptor: ShardDescriptor,
    },
    /// Create an empty learner that waits for its leader's snapshot.
    #[n(1)]
    CreateLearner {
        #[n(0)]
        descriptor: ShardDescriptor,
        #[n(1)]
        replica: Replica,
    },
    /// To the leader: split at the key. `right` and its replicas' ids were allocated by the driver, in the order of the
    /// left's replicas.
    #[n(2)]
    Split {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        at: Key,
        #[n(2)]
        right: ShardId,
        #[n(3)]
        right_replicas: Vec<ReplicaId>,
        /// Refused if the shard is at another version: a copy that comes after a merge at the key would bring back ids that
        /// are used up.
        #[n(4)]
        version: u64,
    },
    /// To the leader: make exactly these the members (joint consensus; learners that become voters must be caught up).
    #[n(3)]
    ChangeMembers {
        #[n(0)]
        shard: ShardId,
        /// Refused if the shard is at another epoch.
        #[n(1)]
        config_epoch: u64,
        #[n(2)]
        members: Vec<Replica>,
    },
    /// To the leader: hand leadership over.
    #[n(4)]
    TransferLeader {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        to: ReplicaId,
    },
    /// Remove a copy that is a member no longer.
    #[n(5)]
    Destroy {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        replica: ReplicaId,
    },
    /// How far each member is, as the leader sees it.
    #[n(6)]
    Status {
        #[n(0)]
        shard: ShardId,
    },
    /// To each node: answers when it holds copies of both shards, and has made durable what they have applied.
    #[n(7)]
    PrepareMerge {
        #[n(0)]
        left: ShardId,
        #[n(1)]
        right: ShardId,
    },
    /// To the leader: seal the shard for its left neighbour. Refused if either is at another version.
    #[n(8)]
    Seal {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        version: u64,
        #[n(2)]
        left: ShardDescriptor,
    },
    /// To each node: answers when its copy of the sealed shard has applied the seal, durably.
    #[n(9)]
    AwaitSeal(#[n(0)] Seal),
    /// To the left's leader: take the keys of the sealed shard over.
    #[n(10)]
    Absorb(#[n(0)] Seal),
    /// To the left's leader: never do so. Answered by its descriptor if it has.
    #[n(11)]
    Forget(#[n(0)] Seal),
    /// To the leader: serve again, after the left has forgotten the seal; and without one, refuse one that comes late. Answered by
    /// the seal if it does not show here that the left has forgotten it.
    #[n(12)]
    Unseal {
        #[n(0)]
        shard: ShardId,
        /// At which it is, or was, sealed.
        #[n(1)]
        version: u64,
    },
    /// What of the shard is left here.
    #[n(13)]
    Testify {
        #[n(0)]
        shard: ShardId,
    },
    /// Never vote, acknowledge or answer again under this id: the shard goes on without it.
    #[n(14)]
    Fence {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        replica: ReplicaId,
    },
    /// Go on alone, under a new id and new epochs; answered when it leads.
    #[n(15)]
    Revive {
        #[n(0)]
        shard: ShardId,
        #[n(1)]
        old: ReplicaId,
        #[n(2)]
        new: ReplicaId,
        /// The end of its log; refused if it is another.
        #[n(3)]
        last: LogPosition,
        /// At least.
        #[n(4)]
        epochs: (u64, u64),
    },
    /// Of which shards there are copies on the node at this moment. (What its heartbeats tell is older.)
    #[n(16)]
    Holdings,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MemberProgress {
    #[n(0)]
    pub replica: Replica,
    /// Highest log index known to be durable there.
    #[n(1)]
    pub matched: u64,
    #[n(2)]
    pub caught_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReplicaReply {
    #[n(0)]
    Done,
    /// The descriptors after the change (both halves after a split).
    #[n(1)]
    Changed(#[n(0)] Vec<ShardDescriptor>),
    #[n(2)]
    Status {
        #[n(0)]
        descriptor: ShardDescriptor,
        #[n(1)]
        leader: Option<NodeId>,
        #[n(2)]
        members: Vec<MemberProgress>,
        /// It is sealed, and waits to be absorbed.
        #[n(3)]
        seal: Option<Box<Seal>>,
    },
    #[n(3)]
    Sealed(#[n(0)] Box<Seal>),
    #[n(4)]
    Testimony(#[n(0)] Box<Testimony>),
    #[n(5)]
    Holdings(#[n(0)] Vec<ShardId>),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplicaAnswer {
    #[n(0)]
    pub result: Result<ReplicaReply, KvError>,
}
