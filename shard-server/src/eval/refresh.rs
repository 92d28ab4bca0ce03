//! Proves that what was read has not changed up to a later timestamp, and keeps it so (DESIGN §6.6).

use super::proof::{Claims, Established};
use crate::replica::Replica;
use quorate_proto::KvError;
use quorate_proto::kv::{Refresh, ShardReply};
use std::sync::Arc;

impl Replica {
    pub(super) async fn refresh(
        self: &Arc<Self>,
        version: u64,
        request: Refresh,
    ) -> Result<ShardReply, KvError> {
        let txn = Arc::new(request.txn);
        let claims = Claims {
            txn: &txn,
            read_ts: request.from,
            floor: request.to,
            before: request.to,
            asked: None,
            refresh: &request.spans,
            checks: &request.checks,
            writes: &[],
        };
        match self.establish(version, claims, None, |_| Ok(None)).await? {
            Established::Answer(reply) => Ok(reply),
            Established::Proven(proven) => {
                // Nothing goes through the log, so it must be proven that no other leader has written meanwhile.
                self.certify(&proven.leader).await?;
                Ok(ShardReply::Refreshed)
            }
        }
    }
}
