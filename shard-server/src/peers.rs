//! The way to other shards: a shard that meets a foreign intent asks the shard of its anchor.

use async_trait::async_trait;
use quorate_proto::kv::{ShardOp, ShardReply};
use quorate_proto::{Key, KvError};

/// Implemented by whoever can route; the binary puts the coordinator's router behind it.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Sends `op` to the leader of the shard that owns `key`, wherever it is, and follows re-routes for a short time.
    async fn shard_call(&self, key: &Key, op: ShardOp) -> Result<ShardReply, KvError>;
}
