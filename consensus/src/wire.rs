//! Messages between the replicas of a group. One way: appends and their answers, which are pipelined, and the short words
//! that settle whether a leadership still stands. Calls: votes, hand-overs, snapshots.

use crate::support::Epoch;
use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};
use quorate_proto::{LogPosition, ReplicaId, ShardId, Timestamp};

/// Who writes to whom within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Route {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub from: ReplicaId,
    /// A message for another replica id than the node carries is dropped: that one is gone, or not there yet.
    #[n(2)]
    pub to: ReplicaId,
}

impl Route {
    pub fn back(&self) -> Route {
        Route { shard: self.shard, from: self.to, to: self.from }
    }
}

#[derive(Debug, Encode, Decode)]
pub(crate) enum OneWay<'b> {
    #[b(0)]
    Append(#[b(0)] Append<'b>),
    #[n(1)]
    Answer(#[n(0)] Answer),
    /// "Do you still lead in this term? I was asked to vote."
    #[n(2)]
    Doubt {
        #[n(0)]
        route: Route,
        #[n(1)]
        term: u64,
    },
    /// "I do not lead in this term any more, and never again read by its lease."
    #[n(3)]
    Released {
        #[n(0)]
        route: Route,
        #[n(1)]
        term: u64,
    },
}

#[derive(Debug, Encode, Decode)]
pub(crate) struct Append<'b> {
    #[n(0)]
    pub route: Route,
    /// The leader's term; its vote is `route.from`, granted.
    #[n(1)]
    pub term: u64,
    /// Of the leader's process.
    #[n(2)]
    pub incarnation: u64,
    /// Appends of one stream are taken in their order only. Unique to the leader's process.
    #[n(3)]
    pub stream: u64,
    #[n(4)]
    pub sequence: u64,
    /// Zero stands for "none", as in all positions here.
    #[n(5)]
    pub prev: LogPosition,
    #[n(6)]
    pub commit: LogPosition,
    #[b(7)]
    pub entries: Vec<EntryFrame<'b>>,
    /// The only message of its stream (a heartbeat): no order to keep.
    #[n(8)]
    pub alone: bool,
}

#[derive(Debug, Encode, Decode)]
pub(crate) struct EntryFrame<'b> {
    #[n(0)]
    pub position: LogPosition,
    #[b(1)]
    pub payload: &'b ByteSlice,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Answer {
    #[n(0)]
    pub route: Route,
    #[n(1)]
    pub stream: u64,
    #[n(2)]
    pub sequence: u64,
    /// Under which the follower's node supported the leader's process when the append arrived.
    #[n(3)]
    pub epoch: Option<Epoch>,
    #[n(4)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Outcome {
    /// Everything in the message is durable.
    #[n(0)]
    Stored,
    /// `prev` is not in the log.
    #[n(1)]
    Conflict,
    #[n(2)]
    HigherVote(#[n(0)] VoteForm),
    /// Not taken: no such replica, out of order, stopped.
    #[n(3)]
    Refused(#[n(0)] String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct VoteForm {
    #[n(0)]
    pub term: u64,
    #[n(1)]
    pub replica: ReplicaId,
    #[n(2)]
    pub committed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Call {
    #[n(0)]
    Vote {
        #[n(0)]
        route: Route,
        /// Only asks what would be answered.
        #[n(1)]
        pre: bool,
        #[n(2)]
        vote: VoteForm,
        #[n(3)]
        last: LogPosition,
        /// Authorized by the present leader, who has given its lease up.
        #[n(4)]
        transfer: bool,
    },
    #[n(1)]
    Transfer {
        #[n(0)]
        route: Route,
        #[n(1)]
        vote: VoteForm,
        /// Who shall lead.
        #[n(2)]
        target: ReplicaId,
        #[n(3)]
        last: LogPosition,
    },
}

impl Call {
    pub fn route(&self) -> Route {
        match self {
            Call::Vote { route, .. } | Call::Transfer { route, .. } => *route,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum CallAnswer {
    #[n(0)]
    Vote {
        #[n(0)]
        granted: bool,
        #[n(1)]
        vote: VoteForm,
        #[n(2)]
        last: LogPosition,
        /// The largest clock reading heard of the leaders so far (PROTOCOL 21).
        #[n(3)]
        clock: Timestamp,
    },
    #[n(1)]
    Transfer {
        #[n(0)]
        accepted: bool,
    },
}

/// What a snapshot's sender asks, step by step.
#[derive(Debug, Encode, Decode)]
pub(crate) enum SnapshotCall<'b> {
    #[n(0)]
    Begin {
        #[n(0)]
        route: Route,
        /// Names the transfer; unique to the sender's process.
        #[n(1)]
        transfer: u64,
    },
    #[b(1)]
    Part {
        #[n(0)]
        route: Route,
        #[n(1)]
        transfer: u64,
        /// Counted from 0.
        #[n(2)]
        part: u64,
        #[b(3)]
        chunks: Vec<&'b ByteSlice>,
    },
    #[b(2)]
    Finish {
        #[n(0)]
        route: Route,
        #[n(1)]
        transfer: u64,
        #[n(2)]
        parts: u64,
        #[n(3)]
        vote: VoteForm,
        #[n(4)]
        position: LogPosition,
        #[n(5)]
        membership_position: LogPosition,
        #[b(6)]
        membership: &'b ByteSlice,
    },
    /// What has arrived of a transfer?
    #[n(3)]
    Where {
        #[n(0)]
        route: Route,
        #[n(1)]
        transfer: u64,
    },
}

/// What the receiver of a snapshot has, and what it takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Credit {
    /// Taken in.
    #[n(0)]
    pub parts: u64,
    /// How large the next part may be; it is one chunk at least.
    #[n(1)]
    pub bytes: u64,
    /// Not before so many microseconds have passed.
    #[n(2)]
    pub pause: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum SnapshotAnswer {
    #[n(0)]
    Go(#[n(0)] Credit),
    /// The receiver's vote after the installation.
    #[n(1)]
    Finished(#[n(0)] VoteForm),
    /// The transfer is over; start again.
    #[n(2)]
    Refused(#[n(0)] String),
    /// It takes in others now; ask again.
    #[n(3)]
    Later,
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::rpc::encode;

    #[test]
    fn appends_borrow_their_payloads() {
        let route = Route { shard: ShardId(1), from: ReplicaId(2), to: ReplicaId(3) };
        let payload = vec![7u8; 100];
        let at = LogPosition { term: 2, index: 11 };
        let raw = encode(&OneWay::Append(Append {
            route,
            term: 2,
            incarnation: 9,
            stream: 4,
            sequence: 0,
            prev: LogPosition { term: 1, index: 10 },
            commit: LogPosition::default(),
            entries: vec![EntryFrame { position: at, payload: payload.as_slice().into() }],
            alone: false,
        }));
        match minicbor::decode::<OneWay<'_>>(&raw).unwrap() {
            OneWay::Append(append) => {
                assert_eq!(append.entries[0].position, at);
                let found: &[u8] = append.entries[0].payload;
                assert_eq!(found, payload);
                assert!(raw.as_ptr_range().contains(&found.as_ptr()));
            }
            other => panic!("{other:?}"),
        }
    }
}
