//! Reads at or below K, by any replica from its own state and without a call (PROTOCOL 23).
//!
//! The order is that of PROTOCOL 9: K, and with it that all it rests on is applied; the engine's snapshot; only then range
//! version and GC threshold, against that snapshot. An intent in the way is never skipped: what became of it is the leader's
//! affair, and so is the read then. The commit wait of what was met applies here too (PROTOCOL 15).

use super::read::View;
use crate::replica::Replica;
use quorate_proto::KvError;
use quorate_proto::kv::{ReadCertificate, ReadReply, ReadRequest};
use std::sync::Arc;

impl Replica {
    /// `None`: the leader has to be asked.
    pub(super) async fn follower_read(
        self: &Arc<Self>,
        version: u64,
        request: &ReadRequest,
    ) -> Result<Option<ReadReply>, KvError> {
        let closed = self.closed();
        let read_ts = request.read_ts;
        // A value above K may still appear inside the uncertainty interval.
        if read_ts.max(request.uncertain_to) > closed && !quorate_env::planted!("shard.follower_too_new") {
            quorate_env::count!("quorate_shard_follower_reads_too_new_total");
            return Ok(None);
        }
        let snapshot = self.context.engine.snapshot();
        let state = self.held_range(version)?;
        state.still_holds(read_ts)?;
        let mut view = View::new(&*snapshot, request.txn.as_ref(), read_ts, request.uncertain_to);
        let results = self.look(&mut view, &request.ops)?;
        if !view.blocked.is_empty() && !quorate_env::planted!("shard.intents_skipped") {
            quorate_env::probe!("shard.follower_met_an_intent");
            quorate_env::count!("quorate_shard_follower_reads_blocked_total");
            return Ok(None);
        }
        let met = view.met;
        drop(snapshot);
        self.reveal(met).await;
        quorate_env::count!("quorate_shard_follower_reads_total");
        Ok(Some(ReadReply { results, read_ts, certificate: ReadCertificate::Closed(closed) }))
    }
}
