//! Records of idempotency keys count for `idempotency_ttl` (PROTOCOL 17); after that a key is as one that was never used.
//!
//! *Counting*: the time of a record's version, its transaction's commit, against the gateway's clock. As long as the gateway
//! has not heard of the setting, all records count.
//! *Removal*: whoever wants to use a key again removes its old record first, in a transaction of its own. The others go in the
//! background: each gateway looks through the records in shards that its own node leads, a page at a time, several times in
//! the course of `idempotency_ttl`. Removal is an ordinary transaction that looks at the record again; what it leaves is a deleted
//! version like any other, for garbage collection.

use super::{errors::from_txn, outcome::Record};
use crate::{error::SqlError, server::Shared};
use futures::TryStreamExt;
use quorate_proto::{Key, Span, Timestamp, Value, key::prefix};
use quorate_txn::{ScanOptions, Txn, TxnError, TxnOptions};
use std::{sync::Arc, time::Duration};

/// How often it is looked whether it is time.
const LOOK: Duration = Duration::from_secs(1);
/// Records looked at together.
const PAGE: usize = 500;
/// Between two pages, so that others are not held up.
const BREATH: Duration = Duration::from_millis(20);

/// Records from before do not count.
pub fn horizon(shared: &Shared) -> Timestamp {
    let now = shared.env.clock().physical();
    shared.cluster.idempotency_ttl().map_or(Timestamp::ZERO, |ttl| now.minus(ttl))
}

/// Removes those of the records that are from before `horizon`; how many.
pub async fn remove(shared: &Shared, places: &[Key], horizon: Timestamp) -> Result<u64, SqlError> {
    let look = |txn: Txn| async move {
        let mut removed = 0;
        for place in places {
            if txn.get_committed(place).await?.is_some_and(|(_, at)| at < horizon) {
                txn.delete(place.clone());
                removed += 1;
            }
        }
        Ok::<_, TxnError>(removed)
    };
    let (removed, _) = shared.coordinator.run(TxnOptions::default(), look).await.map_err(from_txn)?;
    quorate_env::count!("quorate_sql_idempotency_records_removed_total", removed);
    Ok(removed)
}

/// Runs as long as the node does.
pub fn start(shared: &Arc<Shared>) {
    let shared = shared.clone();
    let env = shared.env.clone();
    env.spawn("sql.expiry", async move {
        let mut next = Duration::ZERO;
        while !shared.env.shutdown().is_set() {
            shared.env.sleep(shared.env.jittered(LOOK)).await;
            let Some(ttl) = shared.cluster.idempotency_ttl() else { continue };
            let now = shared.env.boottime();
            if now < next {
                // The setting may have been lowered.
                next = next.min(now + pause(ttl));
                continue;
            }
            next = now + pause(ttl);
            if let Err(error) = sweep(&shared).await {
                tracing::debug!(%error, "old idempotency records could not be removed");
            }
        }
    })
    .detach();
}

fn pause(ttl: Duration) -> Duration {
    (ttl / 4).clamp(LOOK, Duration::from_secs(6 * 3600))
}

/// The records in shards that this node leads.
async fn sweep(shared: &Shared) -> Result<(), SqlError> {
    let (horizon, own) = (horizon(shared), Some(shared.env.node()));
    let all = Span::prefix(&Key::from(vec![prefix::IDEMPOTENCY]));
    let mut spans = shared.cluster.shards();
    spans.retain(|(_, leader)| *leader == own);
    for mut rest in spans.iter().filter_map(|(shard, _)| shard.span.intersection(&all)) {
        loop {
            let page = page(shared, rest.clone()).await?;
            let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
                remove_old(shared, page, horizon).await?;
                break;
            };
            rest.start = last.successor();
            remove_old(shared, page, horizon).await?;
            shared.env.sleep(BREATH).await;
        }
    }
    Ok(())
}

async fn page(shared: &Shared, span: Span) -> Result<Vec<(Key, Value)>, SqlError> {
    let txn = shared.coordinator.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    let options = ScanOptions { limit: Some(PAGE as u64), ..ScanOptions::default() };
    let pages: Vec<_> = txn.scan(span, options).try_collect().await.map_err(from_txn)?;
    Ok(pages.concat())
}

/// A record says when its transaction began, which is before it was committed: the time of its version has the last word.
async fn remove_old(shared: &Shared, page: Vec<(Key, Value)>, horizon: Timestamp) -> Result<(), SqlError> {
    let old = page.into_iter().filter(|(_, raw)| Record::began(raw).is_none_or(|began| began < horizon));
    let old: Vec<Key> = old.map(|(place, _)| place).collect();
    if !old.is_empty() {
        remove(shared, &old, horizon).await?;
    }
    Ok(())
}
