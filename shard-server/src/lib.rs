//! The shard server: a node's replicas of shards, and the evaluation of requests on their leaders.
//!
//! A request comes in ([`ShardServer`]), is evaluated on the leader under latches ([`Replica::handle`]), becomes one entry of
//! the shard's log, and is applied by every replica ([`machine`]). Locks, latches and the timestamp cache live in the
//! leader's memory for one term ([`leader`]), and locks go along when that is handed over ([`hand_over`]); what must survive is in
//! the engine.
//!
//! Absent on purpose: no SQL, no routing (other shards are reached through [`Peers`]), no decision about where copies live,
//! and no Raft beyond `quorate-consensus`' groups.

mod admin;
mod closed;
mod command;
mod config;
mod context;
mod cut;
mod damage;
mod detector;
mod eval;
mod flusher;
mod forget;
mod gc;
mod group_commit;
mod hand_over;
mod latch;
mod leader;
mod load;
mod lock_table;
mod machine;
mod merge;
mod news;
mod peers;
mod registry;
mod replica;
mod revive;
mod server;
mod snapshot;
mod split;
mod story;
mod ts_cache;
mod writers;

pub use config::ShardConfig;
pub(crate) use context::Context;
pub use peers::Peers;
pub use server::ShardServer;
