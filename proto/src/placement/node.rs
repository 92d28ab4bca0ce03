//! What operators and other nodes ask of a node itself.

use super::{DriverMembers, NodeInfo};
use crate::{Replica, ShardId, Timestamp, TxnId};
use minicbor::{Decode, Encode};

/// A founding member of the placement driver's group. Others may have taken its place since ([`DriverMembers`]).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Founder {
    #[n(0)]
    pub replica: Replica,
    /// Names the data directory that was there at the founding. One that was lost and made anew has another name, and what
    /// this replica has promised is not in it.
    #[n(1)]
    pub data_id: String,
}

/// What operators, `quorate init` and other nodes' SQL frontends ask of a node itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NodeCommand {
    /// Asked of a node that may join; answers with what it is.
    #[n(0)]
    Describe,
    /// From the operator to one node: found the cluster with all nodes that it knows by `--join`.
    #[n(1)]
    Init,
    /// From that node to the others: become part of this cluster; these are to carry the placement driver.
    #[n(2)]
    Adopt {
        #[n(0)]
        cluster_id: String,
        #[n(1)]
        placement: Vec<Founder>,
        #[n(2)]
        nodes: Vec<NodeInfo>,
    },
    /// Cancel the statement of a session (`backend pid`, `secret`) that this node serves.
    #[n(3)]
    CancelSession {
        #[n(0)]
        pid: u32,
        #[n(1)]
        secret: u32,
    },
    /// The transactions that are under way at this gateway.
    #[n(4)]
    Transactions,
    /// The sessions of this gateway.
    #[n(5)]
    Sessions,
    /// From an operator's session to one that this gateway serves.
    #[n(6)]
    Signal {
        #[n(0)]
        pid: u32,
        #[n(1)]
        signal: Signal,
    },
    /// Up to when each replica of this node can answer alone (PROTOCOL 23).
    #[n(7)]
    Closed,
}

/// What an operator tells a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Signal {
    /// To give its statement up.
    #[n(0)]
    Cancel,
    /// To end.
    #[n(1)]
    Terminate,
}

/// A session as its gateway knows it; times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionInfo {
    #[n(0)]
    pub pid: u32,
    #[n(1)]
    pub user: String,
    #[n(2)]
    pub database: String,
    #[n(3)]
    pub application: String,
    /// Address and port.
    #[n(4)]
    pub client: String,
    /// As in `pg_stat_activity`.
    #[n(5)]
    pub state: String,
    /// The beginning of the latest statement's text.
    #[n(6)]
    pub query: String,
    #[n(7)]
    pub began: i64,
    /// Of the open transaction.
    #[n(8)]
    pub transaction_began: Option<i64>,
    #[n(9)]
    pub query_began: Option<i64>,
    #[n(10)]
    pub state_changed: i64,
}

/// A transaction as its gateway knows it; texts are empty where no session stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TransactionInfo {
    #[n(0)]
    pub txn: TxnId,
    #[n(1)]
    pub pid: Option<u32>,
    #[n(2)]
    pub user: String,
    #[n(3)]
    pub application: String,
    #[n(4)]
    pub client: String,
    #[n(5)]
    pub state: String,
    #[n(6)]
    pub isolation: String,
    #[n(7)]
    pub read_only: bool,
    #[n(8)]
    pub started: Timestamp,
    #[n(9)]
    pub read_ts: Timestamp,
    /// It keeps versions from this time on from being removed (PROTOCOL 24).
    #[n(10)]
    pub holds: Option<Timestamp>,
    #[n(11)]
    pub guarantee: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NodeReply {
    #[n(0)]
    Described {
        #[n(0)]
        info: NodeInfo,
        #[n(1)]
        cluster_id: String,
        /// Who founded the placement driver's group; empty before `init`.
        #[n(2)]
        placement: Vec<Founder>,
        /// The nodes it knows.
        #[n(3)]
        nodes: Vec<NodeInfo>,
        /// Of its data directory; see [`Founder`].
        #[n(4)]
        data_id: String,
        /// Who carries the placement driver now, as far as it knows.
        #[n(5)]
        #[cbor(default)]
        driver: DriverMembers,
    },
    #[n(1)]
    Done,
    /// Founded (or found) under this id.
    #[n(2)]
    Initialized(#[n(0)] String),
    #[n(3)]
    Transactions(#[n(0)] Vec<TransactionInfo>),
    #[n(4)]
    Sessions(#[n(0)] Vec<SessionInfo>),
    /// Whether there is such a session.
    #[n(5)]
    Signaled(#[n(0)] bool),
    #[n(6)]
    Closed(#[n(0)] Vec<(ShardId, Timestamp)>),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeAnswer {
    #[n(0)]
    pub result: Result<NodeReply, String>,
}
