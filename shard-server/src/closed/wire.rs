//! What one node tells another of the shards it leads, one message for all of them.
//!
//! Shards on which nothing happens stand in a group on both sides: the message's one timestamp is K of each, and nothing is
//! said of them. Told is what changes: who joins the group or has moved on in its log, who leaves it, and the shards whose
//! K an evaluation under way holds back. (After the side transport of CockroachDB's closed timestamps.)

use super::frontier::Place;
use minicbor::{Decode, Encode};
use quorate_proto::{ShardId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    #[n(0)]
    Closed(#[n(0)] Closed),
    /// A message of that process was lost: it shall begin anew.
    #[n(1)]
    Again(#[n(0)] u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Closed {
    /// Of the sending process.
    #[n(0)]
    pub incarnation: u64,
    /// Counts up; with 0 the group begins empty.
    #[n(1)]
    pub seq: u64,
    /// K of every shard in the group.
    #[n(2)]
    pub at: Timestamp,
    #[n(3)]
    pub joined: Vec<(ShardId, Place)>,
    #[n(4)]
    pub left: Vec<ShardId>,
    #[n(5)]
    pub held: Vec<(ShardId, Place, Timestamp)>,
}
