//! What remains to be done when the client has its answer: resolving intents, writing aborts, releasing locks; and the
//! heartbeats of transactions that hold locks for long. All of it may be lost with the node: others then do the rest.

use super::{
    events::Part,
    room::{Place, Room},
};
use crate::{
    Router, TxnConfig,
    changes::Changes,
    route::{SendError, SendOptions},
    txn::state::{Inner, Phase},
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use quorate_env::Env;
use quorate_proto::{
    Key, LogPosition, ShardId, Span, Timestamp, TxnId,
    kv::{
        Decide, Decision, Heartbeat, ReleaseLocks, Resolve, ShardOp, ShardReply, TxnMeta, TxnState, Undone,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long a resolution is tried before it is left to whoever meets the intents.
const PATIENCE: Duration = Duration::from_secs(60);
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long a shard's leader is looked for to drop locks.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// Returns to savepoints whose locks are being dropped at a time; each takes some memory while a shard is not found.
const MAX_UNDOING: usize = 1024;
/// Keys listed in a record; of more, whoever meets an intent finds the record through the intent.
const MAX_LISTED: usize = 4096;
/// Keys of one request, and with it one log entry.
const BATCH: usize = 2048;
/// Requests of one transaction that are out at a time: a large one must not flood its shards.
const PARALLEL_BATCHES: usize = 8;

/// Keys that may have intents: by name, or as what a large transaction has kept of some spans.
#[derive(Default)]
pub(crate) struct Keys {
    listed: Vec<Key>,
    /// The last is the next.
    kept: Vec<Span>,
    changes: Arc<Changes>,
    /// How many there are.
    all: usize,
}

impl Keys {
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a Part>, changes: &Arc<Changes>) -> Self {
        let mut keys = Keys { changes: changes.clone(), ..Keys::default() };
        for part in parts {
            keys.all += part.intents();
            keys.listed.extend(part.writes.iter().map(|write| write.key.clone()));
            keys.kept.extend(part.kept.iter().map(|kept| kept.span.clone()));
        }
        keys.kept.reverse();
        keys
    }

    pub(super) fn len(&self) -> usize {
        self.all
    }

    fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.kept.is_empty()
    }

    /// What a record says of where the intents are: which keys, or if these are too many, between which.
    pub(super) fn named(&self) -> (Vec<Key>, Option<Span>) {
        if self.kept.is_empty() && self.listed.len() <= MAX_LISTED {
            return (self.listed.clone(), None);
        }
        let points = self.listed.iter().map(Span::point);
        let all = points.chain(self.kept.iter().cloned()).reduce(|a, b| Span {
            start: a.start.min(b.start),
            // None of them is without an end.
            end: a.end.max(b.end),
        });
        (Vec::new(), all)
    }

    /// The next of them, as many as that and some more; none: that was all. What cannot be read is left to whoever meets it.
    fn take(&mut self, about: usize) -> Vec<Key> {
        let rest = self.listed.len().saturating_sub(about);
        let mut some = self.listed.split_off(rest);
        while some.len() < about
            && let Some(span) = self.kept.pop()
        {
            some.extend(self.changes.buffer.writes(&span).map_while(|write| Some(write.ok()?.0)));
        }
        some
    }
}

/// Locks on their way out.
pub(crate) type Releasing = oneshot::Receiver<()>;

/// Shared by all transactions of a coordinator.
pub struct Cleanup {
    env: Env,
    router: Arc<Router>,
    /// For unresolved intents; a commit waits until there is some (back-pressure).
    pub(crate) room: Arc<Room>,
    /// Places of returns to savepoints whose locks are being dropped.
    undoing: Arc<Semaphore>,
    heartbeat: Duration,
    commit_window: Duration,
    holders: Arc<Mutex<Holders>>,
}

/// Transactions that hold locks. A task runs while there are any.
#[derive(Default)]
struct Holders {
    by_id: BTreeMap<TxnId, Weak<Inner>>,
    running: bool,
}

impl Cleanup {
    pub(crate) fn new(env: Env, router: Arc<Router>, config: &TxnConfig) -> Self {
        Cleanup {
            env,
            router,
            room: Room::new(config.max_unresolved),
            undoing: Arc::new(Semaphore::new(MAX_UNDOING)),
            heartbeat: config.heartbeat,
            commit_window: config.commit_window,
            holders: Arc::default(),
        }
    }

    /// Turns intents into versions, or removes them, batched by shard. What is not resolved in time is left to whoever meets it,
    /// and counts no more.
    pub(crate) fn resolve(&self, txn: TxnId, decision: Decision, keys: Keys, mut place: Place) {
        if keys.is_empty() {
            return;
        }
        if self.env.fault("txn.left_intents") {
            return;
        }
        let (env, router) = (self.env.clone(), self.router.clone());
        let task = async move {
            if let Err(error) = resolve(&env, &router, txn, decision, keys, &mut place).await {
                left_to_others(txn, &error);
            }
        };
        self.env.spawn("txn.resolve", task).detach();
    }

    /// Takes down that a staged transaction is committed, as it is by its intents, and turns these into versions. The
    /// anchor's shard does so with its own at once.
    pub(crate) fn finish(
        &self,
        meta: TxnMeta,
        ts: Timestamp,
        keys: Keys,
        prepared: Vec<(ShardId, LogPosition)>,
        mut place: Place,
    ) {
        if self.env.fault("txn.left_intents") {
            return;
        }
        let (env, router, txn) = (self.env.clone(), self.router.clone(), meta.id);
        let task = async move {
            match conclude(&env, &router, meta, Decision::Commit(ts), keys, prepared, &mut place).await {
                Ok(state) => {
                    assert_eq!(state, TxnState::Committed(ts), "{txn}, committed by its intents");
                }
                Err(error) => left_to_others(txn, &error),
            }
        };
        self.env.spawn("txn.finish", task).detach();
    }

    /// Writes ABORTED for one that has laid no intents.
    pub(crate) fn abort_record(&self, meta: TxnMeta) {
        self.abort(meta, Keys::default(), self.room.enter_decided(0));
    }

    /// Writes ABORTED, and then removes the intents, not before: should the record say otherwise, they go by that.
    pub(crate) fn abort(&self, meta: TxnMeta, keys: Keys, mut place: Place) {
        quorate_env::count!("quorate_txn_aborts_written_total");
        let (env, router, txn) = (self.env.clone(), self.router.clone(), meta.id);
        let task = async move {
            match conclude(&env, &router, meta, Decision::Abort, keys, Vec::new(), &mut place).await {
                Ok(TxnState::Aborted) => {}
                Ok(state) => {
                    quorate_env::count!("quorate_txn_contradicted_aborts_total");
                    tracing::error!(%txn, ?state, "a failed transaction is not aborted");
                }
                Err(error) => left_to_others(txn, &error),
            }
        };
        self.env.spawn("txn.abort", task).detach();
    }

    /// Drops all unreplicated locks. A leader that cannot be told has lost them, or will let waiters ask after their holder. What it
    /// returns ends when all have been told; None: there are none.
    pub(crate) fn release(&self, txn: TxnId, shards: BTreeSet<ShardId>) -> Option<Releasing> {
        self.tell_all(ReleaseLocks { txn, undone: None }, shards, None)
    }

    /// The same with those that a return to a savepoint has undone; they are left to the end of the transaction where there is
    /// too much of this under way.
    pub(crate) fn release_undone(
        &self,
        txn: TxnId,
        undone: Undone,
        shards: BTreeSet<ShardId>,
    ) -> Option<Releasing> {
        let place = self.undoing.clone().try_acquire_owned().ok()?;
        self.tell_all(ReleaseLocks { txn, undone: Some(undone) }, shards, Some(place))
    }

    fn tell_all(
        &self,
        release: ReleaseLocks,
        shards: BTreeSet<ShardId>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Option<Releasing> {
        if shards.is_empty() || self.env.fault("txn.kept_locks") {
            return None;
        }
        let (all_told, releasing) = oneshot::channel();
        let router = self.router.clone();
        let task = async move {
            let all = shards
                .into_iter()
                .map(|shard| router.tell(shard, ShardOp::ReleaseLocks(release.clone()), RELEASE_PATIENCE));
            futures::future::join_all(all).await;
            drop(place);
            // Whoever waited may be gone.
            let _ = all_told.send(());
        };
        self.env.spawn("txn.release", task).detach();
        Some(releasing)
    }

    pub(crate) fn heartbeat(&self, heartbeat: Heartbeat) {
        if quorate_env::planted!("txn.no_heartbeats") {
            return;
        }
        let (env, router) = (self.env.clone(), self.router.clone());
        let interval = self.heartbeat;
        let task = async move {
            let options =
                SendOptions { deadline: env.boottime() + interval, attempt: interval, follower: false };
            if let Err(error) = router.send(ShardOp::Heartbeat(heartbeat), options).await {
                tracing::debug!(error = %error.error, "a heartbeat got lost");
            }
        };
        self.env.spawn("txn.heartbeat", task).detach();
    }

    /// From now on the transaction counts as one that holds locks.
    pub(crate) fn watch(&self, txn: &Arc<Inner>) {
        let mut holders = self.holders.lock();
        if holders.by_id.insert(txn.id, Arc::downgrade(txn)).is_none() && !holders.running {
            holders.running = true;
            let (env, router, holders) = (self.env.clone(), self.router.clone(), self.holders.clone());
            let task = beat(env, router, holders, self.heartbeat, self.commit_window);
            self.env.spawn("txn.heartbeats", task).detach();
        }
    }

    pub(crate) fn forget(&self, txn: TxnId) {
        let mut holders = self.holders.lock();
        // An attempt that follows under the same id has taken the place already.
        if holders.by_id.get(&txn).is_some_and(|held| held.strong_count() == 0) {
            holders.by_id.remove(&txn);
        }
    }
}

fn options(env: &Env) -> SendOptions {
    SendOptions { deadline: env.boottime() + PATIENCE, attempt: ATTEMPT, follower: false }
}

fn left_to_others(txn: TxnId, error: &SendError) {
    quorate_env::probe!("txn.resolve_left_to_others");
    tracing::info!(%txn, error = %error.error, "intents are left for others to resolve");
}

/// Has the decision taken down and the intents resolved by what the record then says, which is returned. The anchor's shard
/// does so with its own at once (not if it finds that others have aborted the transaction; those leave the intents alone).
async fn conclude(
    env: &Env,
    router: &Arc<Router>,
    meta: TxnMeta,
    decision: Decision,
    mut keys: Keys,
    prepared: Vec<(ShardId, LogPosition)>,
    place: &mut Place,
) -> Result<TxnState, SendError> {
    let (txn, anchor) = (meta.id, meta.anchor.clone());
    let (intents, span) = keys.named();
    let few = span.is_none();
    let decide = Decide { txn: meta, decision, intents, prepared, span };
    let sent = router.send(ShardOp::Decide(decide), options(env)).await?;
    let ShardReply::Decided(state, _) = sent.reply else { return Ok(TxnState::Unknown) };
    let said = match state {
        TxnState::Committed(ts) => Decision::Commit(ts),
        TxnState::Aborted => Decision::Abort,
        TxnState::Pending(_) | TxnState::Unknown => return Ok(state),
    };
    if said == decision && said != Decision::Abort && few {
        let home = router.locate(&anchor, options(env).deadline).await?;
        keys.listed.retain(|key| !home.contains(key));
    }
    resolve(env, router, txn, said, keys, place).await?;
    Ok(state)
}

async fn resolve(
    env: &Env,
    router: &Arc<Router>,
    txn: TxnId,
    decision: Decision,
    mut keys: Keys,
    place: &mut Place,
) -> Result<(), SendError> {
    loop {
        let some = keys.take(PARALLEL_BATCHES * BATCH);
        if some.is_empty() {
            return Ok(());
        }
        let intents = some.len();
        resolve_some(env, router, txn, decision, some).await?;
        place.resolved(intents);
    }
}

async fn resolve_some(
    env: &Env,
    router: &Arc<Router>,
    txn: TxnId,
    decision: Decision,
    mut todo: Vec<Key>,
) -> Result<(), SendError> {
    while !todo.is_empty() {
        todo.sort();
        let mut batches: Vec<(ShardId, Vec<Key>)> = Vec::new();
        for key in std::mem::take(&mut todo) {
            let shard = router.locate(&key, options(env).deadline).await?.id;
            match batches.last_mut() {
                Some((last, keys)) if *last == shard && keys.len() < BATCH => keys.push(key),
                _ => batches.push((shard, vec![key])),
            }
        }
        let mut running = stream::iter(batches)
            .map(|(_, keys)| async move {
                let op = ShardOp::Resolve(Resolve { txn, decision, keys: keys.clone() });
                (keys, router.send(op, options(env)).await)
            })
            .buffer_unordered(PARALLEL_BATCHES);
        while let Some((keys, result)) = running.next().await {
            match result {
                Ok(_) => {}
                Err(error) if error.regroup => todo.extend(keys),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Keeps records of transactions that have held locks for longer than an interval from being taken for dead. Ends when
/// no transaction holds any.
async fn beat(
    env: Env,
    router: Arc<Router>,
    holders: Arc<Mutex<Holders>>,
    interval: Duration,
    window: Duration,
) {
    loop {
        env.sleep(interval).await;
        if quorate_env::planted!("txn.no_heartbeats") {
            continue;
        }
        let held: Vec<Arc<Inner>> = {
            let mut all = holders.lock();
            all.by_id.retain(|_, txn| txn.strong_count() > 0);
            if all.by_id.is_empty() {
                all.running = false;
                return;
            }
            all.by_id.values().filter_map(Weak::upgrade).collect()
        };
        let now = env.clock().physical();
        for txn in held {
            if env.fault("txn.missed_heartbeat") {
                continue;
            }
            let anchor = {
                let mut state = txn.state.lock();
                let old = now.since(txn.started) > interval;
                if state.phase != Phase::Open || state.lock_shards.is_empty() || !old {
                    continue;
                }
                let Some(anchor) = state.anchor.clone() else { continue };
                state.record = true;
                anchor
            };
            let until = txn.deadline.min(now.plus(window));
            let op = ShardOp::Heartbeat(Heartbeat { txn: txn.meta(anchor, txn.deadline), until });
            let options =
                SendOptions { deadline: env.boottime() + interval, attempt: interval, follower: false };
            let router = router.clone();
            let task = async move {
                if let Err(error) = router.send(op, options).await {
                    tracing::debug!(error = %error.error, "a heartbeat got lost");
                }
            };
            env.spawn("txn.heartbeat", task).detach();
        }
    }
}
