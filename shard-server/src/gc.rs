//! Old versions go (PROTOCOL 24), told in order.
//!
//! *Horizon*: the placement driver says, in its answers to heartbeats, up to when nobody wants to read the past any more. That
//! is courtesy, not safety: who reads below a shard's threshold is refused, whatever was said about the horizon.
//! *When*: once per [`Collector::pause`] of the horizon's way, on nodes that lead, one shard after the other, and only shards
//! with [`Litter`]: where nothing was written since the last look, and nothing waited for the horizon then, nobody looks.
//! *Threshold*: the first garbage found has the leader raise it by a command of its own, never above the horizon, and below
//! K, so that nothing is written at or below it any more. A shard without garbage keeps its whole past.
//! *Removal*: entries that delete what [`mvcc::collect_garbage`] has found, some at a time, on every replica alike. Versions
//! at or below the threshold only ever go, save for one that an intent from before becomes, which is the newest of its key
//! then: so its keys need no latches. A split would take keys of an entry under way to another shard: there is no split then
//! ([`Replica::admin`]). Behind locks that are handed over nothing may come: it waits for hand-overs, and they for it.
//! *A crash* or a change of leaders anywhere leaves some of it undone; the next leader begins with a look of its own.

use crate::{Context, command::Command, leader::Leader, registry::internal, replica::Replica};
use parking_lot::Mutex;
use quorate_proto::{KvError, Room, Span, Timestamp};
use quorate_storage::{WriteBatch, mvcc};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Between two pages of a shard, so that requests are not held up.
pub(crate) const BREATH: Duration = Duration::from_millis(2);

/// What a node knows of the horizon.
#[derive(Default)]
pub(crate) struct Collector {
    horizon: AtomicU64,
    /// In microseconds.
    pause: AtomicU64,
    /// Of the last round.
    reached: AtomicU64,
    wake: Notify,
}

impl Collector {
    /// Nobody wants to read below `horizon`, which is about `ttl` ago.
    pub fn set_horizon(&self, horizon: Timestamp, ttl: Duration) {
        let pause = (ttl / 8).clamp(Duration::from_millis(100), Duration::from_secs(600));
        self.pause.store(pause.as_micros() as u64, Ordering::Relaxed);
        self.horizon.store(horizon.0, Ordering::Relaxed);
        let reached = Timestamp(self.reached.load(Ordering::Relaxed));
        if horizon >= reached.plus(pause) {
            self.wake.notify_one();
        }
    }

    fn horizon(&self) -> Timestamp {
        Timestamp(self.horizon.load(Ordering::Relaxed))
    }
}

/// Whether a replica may hold garbage: old versions, or old records ([`crate::forget`]).
pub(crate) struct Litter {
    /// Some were written since the last look began.
    written: AtomicBool,
    /// What was there then is garbage once the threshold is here.
    more_at: Mutex<Option<Timestamp>>,
}

/// Nobody knows what was before the process began.
impl Default for Litter {
    fn default() -> Self {
        Litter { written: AtomicBool::new(true), more_at: Mutex::new(None) }
    }
}

impl Litter {
    pub fn written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    pub fn wait_for(&self, at: Option<Timestamp>) {
        *self.more_at.lock() = at;
    }

    /// Whether anything may be found; it is up to whoever looks from now on.
    pub fn look(&self, horizon: Timestamp) -> bool {
        let waited = self.more_at.lock().is_some_and(|at| at <= horizon);
        self.written.swap(false, Ordering::Relaxed) || waited
    }
}

/// Runs until the node stops.
pub(crate) async fn run(context: Arc<Context>) {
    loop {
        context.collector.wake.notified().await;
        let horizon = context.collector.horizon();
        context.collector.reached.store(horizon.0, Ordering::Relaxed);
        round(&context, horizon).await;
    }
}

/// All shards that this node leads, one after the other; returns how many versions went.
pub(crate) async fn round(context: &Context, horizon: Timestamp) -> u64 {
    let mut removed = 0;
    if context.env.space().room() == Room::Full {
        // Even that takes space first.
        return removed;
    }
    for replica in context.all() {
        let Some(leader) = replica.leader_now() else { continue };
        if !replica.litter.look(horizon) {
            continue;
        }
        let mut pass = Pass { replica: &replica, leader, removed: 0, more_at: None };
        let outcome = pass.run(horizon).await;
        removed += pass.removed;
        match outcome {
            Ok(()) => replica.litter.wait_for(pass.more_at),
            Err(error) => {
                tracing::debug!(shard = replica.shard.0, %error, "garbage collection broke off");
                replica.litter.written();
            }
        }
    }
    removed
}

/// One look at a shard.
struct Pass<'a> {
    replica: &'a Arc<Replica>,
    leader: Arc<Leader>,
    removed: u64,
    more_at: Option<Timestamp>,
}

impl Pass<'_> {
    async fn run(&mut self, horizon: Timestamp) -> Result<(), KvError> {
        let closed = self.leader.core().evaluations.closed();
        let threshold = if quorate_env::planted!("shard.garbage_above_closed") {
            horizon
        } else {
            horizon.min(closed.prev())
        };
        let mut rest = Some(self.replica.descriptor().span);
        while let Some(span) = rest {
            rest = self.page(span, threshold).await?;
            if rest.is_some() {
                self.replica.context.env.sleep(BREATH).await;
            }
        }
        Ok(())
    }

    /// Looks at the first part of the span, and removes what it finds there.
    async fn page(&mut self, span: Span, threshold: Timestamp) -> Result<Option<Span>, KvError> {
        let replica = self.replica;
        let _one = replica.admin.lock().await;
        let state = replica.state.load_full();
        // A split may have taken its end, or all of it, away.
        let Some(span) = span.intersection(&state.descriptor.span) else { return Ok(None) };
        let found = {
            let snapshot = replica.context.engine.snapshot();
            let many = replica.context.config.gc_page_versions;
            mvcc::collect_garbage(&*snapshot, &span, threshold, many).map_err(internal)?
        };
        self.more_at = self.more_at.into_iter().chain(found.more_at).min();
        if !found.batch.is_empty() {
            if threshold > state.gc_threshold && !quorate_env::planted!("shard.threshold_not_raised") {
                self.raise(threshold).await?;
            }
            let many = found.batch.len() as u64;
            let command = Command { batch: found.batch, ..Command::default() };
            replica.propose_bare(&self.leader, command).await?;
            self.removed += many;
            metrics::counter!("quorate_shard_garbage_versions_total").increment(many);
        }
        Ok(found.resume)
    }

    /// Before anything goes, every replica that is to remove it knows that nobody may look for it.
    async fn raise(&self, threshold: Timestamp) -> Result<(), KvError> {
        let mut command = Command { batch: WriteBatch::new(), ..Command::default() };
        command.extras.gc_threshold = Some(threshold);
        quorate_env::probe!("shard.threshold_raised");
        self.replica.propose_bare(&self.leader, command).await
    }
}
