//! The coordinator of transactions: a library inside the gateway node (DESIGN §6, PROTOCOL 10–18).
//!
//! [`Router`] knows which node leads the shard of a key and finds out when that changes. [`Coordinator`] begins
//! transactions; a [`Txn`] buffers writes, reads through its buffer, and commits: in one entry where one shard holds all,
//! with two-phase commit and a replicated decision otherwise.
//!
//! The parts that decide something are pure and have no clock, no network and no tasks: [`buffer`], [`spans`],
//! [`overflow`], [`route::map`], [`commit::machine`]. What this crate never does: read a replica's state, know SQL, keep
//! anything beyond the process. What large transactions hold goes where the node says ([`Scratch`]).

pub mod buffer;
mod changes;
pub mod commit;
pub mod coordinator;
pub mod cost;
pub mod error;
mod fence;
pub mod guarantee;
pub mod history;
mod open;
pub mod options;
pub mod overflow;
pub mod route;
pub mod scratch;
pub mod spans;
pub mod txn;

pub use coordinator::Coordinator;
pub use cost::Cost;
pub use error::TxnError;
pub use guarantee::{Guarantee, Order, Recency, Scope, Visibility};
pub use history::{Evidence, Outcome};
pub use open::TxnInfo;
pub use options::{Isolation, ScanOptions, TxnConfig, TxnOptions};
pub use route::Router;
pub use scratch::{MemoryScratch, Scratch, ScratchError, ScratchStore};
pub use txn::{Committed, Savepoint, Txn};
