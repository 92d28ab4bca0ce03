//! The end of a staged transaction whose coordinator is gone, brought about by the anchor's leader (DESIGN §6.5).
//!
//! Every key of the STAGING record is asked for its intent, and a missing one is prevented. All there: the transaction was
//! committed, and its client may have been told. One missing: it was not and cannot be. Then the decision is written as the
//! coordinator would have; whoever comes first, both would write the same. The idea is CockroachDB's parallel commit.

use crate::{registry::internal, replica::Replica};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use quorate_proto::kv::{Decide, Decision, Prevent, ShardOp, ShardReply, TxnMeta, TxnState};
use quorate_proto::{Key, KvError, Timestamp};
use quorate_storage::record::TxnRecord;
use std::{sync::Arc, time::Duration};

/// Keys asked at a time.
const PARALLEL: usize = 8;

impl Replica {
    pub(super) async fn recover(
        self: &Arc<Self>,
        version: u64,
        staged: TxnRecord,
    ) -> Result<TxnState, KvError> {
        let TxnRecord::Staging { txn, ts, keys, .. } = staged else {
            return Err(internal("a record that is not staged"));
        };
        let asked = keys.iter().filter(|_| !quorate_env::planted!("shard.intents_not_asked"));
        let asking: Vec<_> = asked.map(|key| self.clone().stands(version, &txn, ts, key)).collect();
        let mut asking = stream::iter(asking).buffer_unordered(PARALLEL);
        let mut decision = Decision::Commit(ts);
        while let Some(stands) = asking.next().await {
            if !stands? {
                decision = Decision::Abort;
                break;
            }
        }
        drop(asking);
        let env = &self.context.env;
        if env.fault("shard.recovery_stalls") {
            env.sleep(Duration::from_millis(env.random_range(1..2000))).await;
        }
        quorate_env::probe!("shard.recovered_staged");
        tracing::debug!(shard = self.shard.0, txn = %txn.id, ?decision, "decided in the coordinator's place");
        match self
            .decide(version, Decide { txn, decision, intents: keys, prepared: Vec::new(), span: None })
            .await?
        {
            ShardReply::Decided(state, _) => Ok(state),
            other => Err(internal(format!("{other:?} in answer to Decide"))),
        }
    }

    fn stands(
        self: Arc<Self>,
        version: u64,
        txn: &TxnMeta,
        ts: Timestamp,
        key: &Key,
    ) -> BoxFuture<'static, Result<bool, KvError>> {
        let key = key.clone();
        let request = Prevent { txn: txn.id, attempt: txn.attempt, ts, key: key.clone() };
        async move {
            if self.state.load().descriptor.contains(&key) {
                return self.prevent(version, request).await;
            }
            match self.context.peers.shard_call(&key, ShardOp::Prevent(request)).await? {
                ShardReply::Intent(stands) => Ok(stands),
                other => Err(internal(format!("{other:?} in answer to Prevent"))),
            }
        }
        .boxed()
    }
}
