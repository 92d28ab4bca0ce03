//! Shards for tests.

use quorate_proto::{Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span};

/// One with a copy on the first node, from `start` up to `end` (`None`: all behind it).
pub fn shard(id: u64, start: &str, end: Option<&str>, version: u64) -> ShardDescriptor {
    let replica = Replica { id: ReplicaId(10 * id), node: NodeId(1), role: ReplicaRole::Voter };
    let span = Span { start: Key::from(start), end: end.map(Key::from) };
    ShardDescriptor { id: ShardId(id), span, version, config_epoch: 1, replicas: vec![replica] }
}
