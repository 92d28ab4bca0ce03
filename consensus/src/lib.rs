//! Raft groups: the only crate that names openraft.
//!
//! A [`Consensus`] holds all groups of a node; a [`Group`] is one replica of one of them. Whoever replicates something
//! implements [`StateMachine`], proposes commands with [`Group::propose`], and asks [`Group::confirm_read`] before it
//! answers from its own state. How leases stay safe is told in `docs/consensus.md`.

mod agenda;
mod campaigns;
mod change;
mod config;
mod driver;
mod elections;
mod error;
mod frontiers;
mod group;
mod leadership;
mod lease;
mod machine;
mod make_way;
mod node;
mod node_state;
mod pacing;
mod propose;
mod raft;
mod receive;
mod revive;
mod shared;
mod snapshot;
mod support;
pub mod testing;
mod trim;
mod wire;

pub use config::ConsensusConfig;
pub use error::{OpenError, ProposeError};
pub use group::Group;
pub use leadership::{Leadership, Lease, ReadCertificate};
pub use machine::{Applied, Entry, Fatal, Membership, SnapshotSink, SnapshotSource, StateMachine};
pub use node::{Consensus, Start, founding_membership};
pub use revive::{Remains, Revival};

use quorate_proto::LogPosition;

/// Name of a group: the shard whose log it is.
pub type GroupId = quorate_proto::ShardId;

/// Where the log of every group begins: all founders agree on a state "as of" this position without any log.
pub const FOUNDING_POSITION: LogPosition = LogPosition { term: 1, index: 10 };
