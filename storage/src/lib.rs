//! Where Quorate keeps bytes: the state of all shards of a node ([`Engine`]) and the Raft log of all its groups
//! ([`LogStore`]), each behind one trait with a durable implementation and a crash-lossy one in memory.
//!
//! On top of the engine's ordered keys stand the codecs of what shards store: versions ([`mvcc`]), intents ([`intent`]),
//! transaction records ([`record`]) and metadata ([`meta`]).
//!
//! Absent on purpose: no transaction logic (`shard-server`), no Raft (`consensus`), no clock and no randomness. Only
//! this crate names rocksdb.

pub mod batch;
pub mod engine;
pub mod error;
pub mod intent;
pub mod log;
pub mod meta;
pub mod mvcc;
pub mod record;

pub use batch::{WriteBatch, WriteOp};
pub use engine::mem::MemEngine;
#[cfg(feature = "rocks")]
pub use engine::rocks::{RocksOptions, ScratchDir, ScratchFiles, ScratchRange, open_rocks};
pub use engine::{CachedEngine, Cursor, Damage, Engine, Family, FamilyRange, Ingest, OnDamage, Snapshot};
pub use error::{Result, StorageError};
pub use log::file::{FileLog, FileLogOptions};
pub use log::mem::MemLog;
pub use log::{Done, GroupKey, LogEntry, LogState, LogStore, SpawnThread};
