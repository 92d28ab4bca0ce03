//! Makes applied state durable now and then, so that the logs can be trimmed (F of DESIGN §2). One for the node: the
//! engine flushes all shards at once. Nothing happens while nothing changes.

use crate::{Context, replica::Replica};
use quorate_storage::StorageError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Between two tries to flush to a full disk.
const NO_SPACE_RETRY: Duration = Duration::from_secs(1);

pub struct Flush {
    bytes: AtomicU64,
    limit: u64,
    wake: Notify,
}

impl Flush {
    pub(crate) fn new(limit: u64) -> Self {
        Flush { bytes: AtomicU64::new(0), limit, wake: Notify::new() }
    }

    /// So much was applied.
    pub(crate) fn changed(&self, bytes: u64) {
        let bytes = bytes.max(1);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if before == 0 || (before < self.limit && before + bytes >= self.limit) {
            self.wake.notify_one();
        }
    }
}

/// Runs until the node stops.
pub(crate) async fn run(context: Arc<Context>) {
    let mut retry = Duration::from_secs(1);
    loop {
        while context.flush.bytes.load(Ordering::Acquire) == 0 {
            context.flush.wake.notified().await;
        }
        let until = context.env.boottime() + context.config.flush_interval;
        while context.flush.bytes.load(Ordering::Acquire) < context.flush.limit {
            let left = until.saturating_sub(context.env.boottime());
            if left.is_zero() || context.env.timeout(left, context.flush.wake.notified()).await.is_err() {
                break;
            }
        }
        if context.env.fault("shard.flush_missed") {
            context.env.sleep(retry).await;
            continue;
        }
        match flush(&context).await {
            Ok(()) => retry = Duration::from_secs(1),
            Err(error @ StorageError::NoSpace(_)) => {
                // F stays, and with it the log. The engine has said it once, and the log waits for space itself.
                tracing::debug!(%error, "the engine cannot be flushed");
                quorate_env::count!("quorate_shard_flushes_without_space_total");
                context.flush.changed(1);
                context.env.sleep(NO_SPACE_RETRY).await;
            }
            Err(error) => {
                // F stays, and with it the log: nothing is lost, but the disk fills.
                tracing::error!(%error, "flushing the engine failed");
                quorate_env::count!("quorate_shard_flush_failures_total");
                context.flush.changed(1);
                context.env.sleep(retry).await;
                retry = (retry * 2).min(Duration::from_secs(60));
            }
        }
    }
}

/// Flushes the engine and moves every replica's F to what was applied before.
pub(crate) async fn flush(context: &Arc<Context>) -> Result<(), StorageError> {
    context.flush.bytes.store(0, Ordering::Release);
    let place = |replica: Arc<Replica>| {
        let position = replica.applied.lock().position;
        (position, replica)
    };
    let applied: Vec<_> = context.all().into_iter().map(place).collect();
    let absorbed = context.absorbed.lock().logs();
    let engine = context.engine.clone();
    let start = context.env.boottime();
    if !quorate_env::planted!("shard.flushed_too_early") {
        context.env.blocking("shard.flush", move || engine.flush()).await?;
    }
    metrics::histogram!("quorate_shard_flush_seconds").record((context.env.boottime() - start).as_secs_f64());
    for (position, replica) in applied {
        let mut flushed = replica.flushed.lock();
        *flushed = position.max(*flushed);
    }
    for shard in absorbed {
        match context.consensus.remove(shard).await {
            Ok(()) => context.absorbed.lock().log_is_gone(shard),
            Err(error) => tracing::warn!(%shard, %error, "the log of an absorbed shard goes later"),
        }
    }
    Ok(())
}
