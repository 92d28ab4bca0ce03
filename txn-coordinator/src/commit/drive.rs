//! Carries out what the commit machine says.

use super::{
    cleanup::Keys,
    events::{Effect, Event, Failure, Part, Plan},
    evidence,
    machine::Machine,
    plan::{Pieces, Work, size},
    room::Place,
};
use crate::{
    Outcome, TxnError,
    route::{SendError, SendOptions, Sent},
    txn::state::{Inner, no_room},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use quorate_proto::{
    Key, KvError, ShardId, Timestamp,
    kv::{
        CommitLocal, Decide, Decision, Heartbeat, Inquiry, Prepare, QueryTxn, Refresh, ShardOp, ShardReply,
        TxnMeta,
    },
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

/// How long proposing may take, all repetitions included.
const PATIENCE: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(3);
/// Parts of one large transaction that are prepared at a time.
const PARALLEL_PARTS: usize = 8;
/// Bytes a second that a large commit writes at the least; its window grows with its size.
const SLOWEST: usize = 256 << 10;

pub(super) struct Driver {
    txn: Arc<Inner>,
    machine: Machine,
    work: Work,
    first: Vec<Effect>,
    meta: TxnMeta,
    running: FuturesUnordered<BoxFuture<'static, (Event, crate::Cost)>>,
    /// Parts that wait for their turn, with the timestamp to prepare them at.
    queued: VecDeque<(usize, Timestamp)>,
    preparing: usize,
    /// For the intents.
    place: Option<Place>,
}

impl Driver {
    pub(super) fn new(txn: Arc<Inner>, plan: Plan, work: Work) -> Self {
        let coordinator = &txn.coordinator;
        let now = coordinator.env.clock().physical();
        let bytes: usize = plan.parts.iter().map(bytes).sum();
        let window = coordinator.config.commit_window + Duration::from_secs((bytes / SLOWEST) as u64);
        let deadline = txn.deadline.min(now.plus(window));
        let anchor = txn.state.lock().anchor.clone().unwrap_or_default();
        let meta = txn.meta(anchor, deadline);
        let (machine, first) = Machine::new(plan);
        Driver {
            txn,
            machine,
            work,
            first,
            meta,
            running: FuturesUnordered::new(),
            queued: VecDeque::new(),
            preparing: 0,
            place: None,
        }
    }

    pub(super) async fn run(mut self, answer: oneshot::Sender<Result<Timestamp, TxnError>>) {
        let coordinator = self.txn.coordinator.clone();
        coordinator.history.record(evidence(&self.txn, self.meta.anchor.clone(), Outcome::Pending));
        if let Err(error) = self.take_place().await {
            // The client may be gone; nothing was sent.
            drop(answer.send(self.ended(Err(error))));
            return;
        }
        let mut answer = Some(answer);
        let heartbeat = coordinator.config.heartbeat;
        let mut effects = std::mem::take(&mut self.first);
        let mut next_tick = coordinator.env.boottime() + heartbeat;
        loop {
            for effect in effects {
                if let Effect::Answer(result) = effect {
                    let result = self.ended(result);
                    if let Some(answer) = answer.take() {
                        // The client may be gone; the commit is what it is.
                        let _ = answer.send(result);
                    }
                } else {
                    self.effect(effect);
                }
            }
            if self.machine.finished() && self.running.is_empty() {
                return;
            }
            let left = next_tick.saturating_sub(coordinator.env.boottime());
            let event = match coordinator.env.timeout(left, self.running.next()).await {
                Ok(Some((event, cost))) => {
                    self.txn.state.lock().cost += cost;
                    event
                }
                Ok(None) => return,
                Err(_) => {
                    next_tick = coordinator.env.boottime() + heartbeat;
                    Event::Tick
                }
            };
            if matches!(event, Event::Prepared { .. } | Event::PrepareFailed { .. } | Event::Regrouped { .. })
            {
                self.preparing -= 1;
                if let Some((part, commit_ts)) = self.queued.pop_front() {
                    self.start_preparing(part, commit_ts);
                }
            }
            if coordinator.env.fault("txn.coordinator_stalls") {
                let longer = 2 * heartbeat.as_millis() as u64;
                let pause = Duration::from_millis(coordinator.env.random_range(1..longer.max(2)));
                coordinator.env.sleep(pause).await;
            }
            self.machine.extend(self.txn.state.lock().commit_max());
            effects = self.machine.step(event);
        }
    }

    /// Waits for room for the intents, if there will be any.
    async fn take_place(&mut self) -> Result<(), KvError> {
        if matches!(self.first.first(), Some(Effect::CommitLocal { .. })) {
            return Ok(());
        }
        let intents = self.written().map(Part::intents).sum();
        if intents == 0 {
            return Ok(());
        }
        let coordinator = &self.txn.coordinator;
        let holds_locks = !self.txn.state.lock().lock_shards.is_empty();
        let left = self.meta.deadline.since(coordinator.env.clock().physical());
        let place = coordinator.cleanup.room.enter(intents, holds_locks);
        let place = coordinator.env.timeout(left.min(PATIENCE), place).await.map_err(|_| {
            let what = "earlier commits of this gateway have left too many intents unresolved".into();
            KvError::Overloaded { what, retry_after_millis: 1000 }
        })?;
        self.place = Some(place);
        Ok(())
    }

    /// The place of the intents on these keys, which are to be resolved. One that began as a commit of a single shard has none yet.
    fn decided(&mut self, keys: &Keys) -> Place {
        let Some(mut place) = self.place.take() else {
            return self.txn.coordinator.cleanup.room.enter_decided(keys.len());
        };
        place.decided(keys.len());
        place
    }

    /// The outcome is known, or known to be unknown.
    fn ended(&mut self, result: Result<Timestamp, KvError>) -> Result<Timestamp, TxnError> {
        let coordinator = &self.txn.coordinator;
        let mut evidence = evidence(
            &self.txn,
            self.meta.anchor.clone(),
            match &result {
                Ok(ts) => Outcome::Committed(*ts),
                Err(KvError::Ambiguous { .. }) => Outcome::Unknown,
                Err(_) => Outcome::Aborted,
            },
        );
        evidence.prepared = self.machine.prepared();
        evidence.decided = self.machine.decided();
        let clean = result.is_err() && !self.machine.left_traces();
        if clean {
            coordinator.history.forget(self.txn.id);
        } else {
            coordinator.history.record(evidence);
        }
        let mut state = self.txn.state.lock();
        state.cost.rounds += self.machine.rounds;
        state.cost.entries += self.machine.entries;
        state.shards.extend(self.machine.plan().parts.iter().map(|part| part.shard));
        let bound = state.end(clean);
        if result.is_ok() {
            // Shards that were written to let go of the locks by themselves.
            let written: BTreeSet<ShardId> = self.written().map(|part| part.shard).collect();
            let locks = state.take_lock_shards(&coordinator.router);
            let others: BTreeSet<ShardId> = locks.difference(&written).copied().collect();
            drop(state);
            let releasing = coordinator.cleanup.release(self.txn.id, others);
            self.txn.state.lock().releasing = releasing;
        } else {
            drop(state);
        }
        drop(bound);
        result.map_err(|error| {
            quorate_env::count!("quorate_txn_failed_commits_total");
            self.txn.error(error)
        })
    }

    fn written(&self) -> impl Iterator<Item = &Part> {
        self.machine.plan().parts.iter().filter(|part| part.writes_something())
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::CommitLocal { part, commit_ts, commit_max } => {
                let future = self.commit_local(part, commit_ts, commit_max);
                self.running.push(future);
            }
            Effect::Prepare { part, commit_ts } if self.preparing < PARALLEL_PARTS => {
                self.start_preparing(part, commit_ts);
            }
            Effect::Prepare { part, commit_ts } => self.queued.push_back((part, commit_ts)),
            Effect::Refresh { part, from, to } => {
                let future = self.refresh(part, from, to);
                self.running.push(future);
            }
            Effect::Decide { ts } => {
                let future = self.decide(ts);
                self.running.push(future);
            }
            Effect::Ask { abort } => {
                let future = self.ask(abort);
                self.running.push(future);
            }
            Effect::Wait { ts } => {
                let env = self.txn.coordinator.env.clone();
                let bound = self.txn.coordinator.config.ambiguity_bound;
                self.running.push(
                    async move {
                        let trusted = env.timeout(bound, passed(&env, ts)).await.is_ok();
                        let event = if trusted { Event::Waited } else { Event::Unwaitable };
                        (event, crate::Cost::default())
                    }
                    .boxed(),
                );
            }
            Effect::Heartbeat => {
                let heartbeat = Heartbeat { txn: self.meta.clone(), until: self.meta.deadline };
                self.txn.coordinator.cleanup.heartbeat(heartbeat);
            }
            Effect::Answer(_) => unreachable!("answers are given by the loop"),
            Effect::Resolve { ts, parts, record } => {
                let keys = self.keys(&parts);
                let place = self.decided(&keys);
                let cleanup = &self.txn.coordinator.cleanup;
                if record {
                    let prepared = self.machine.prepared();
                    cleanup.finish(self.meta.clone(), ts, keys, prepared, place);
                } else {
                    cleanup.resolve(self.txn.id, Decision::Commit(ts), keys, place);
                }
            }
            Effect::Abort { record, parts } => {
                let keys = self.keys(&parts);
                let place = self.decided(&keys);
                let cleanup = &self.txn.coordinator.cleanup;
                if record {
                    cleanup.abort(self.meta.clone(), keys, place);
                } else {
                    cleanup.resolve(self.txn.id, Decision::Abort, keys, place);
                }
            }
        }
    }

    fn start_preparing(&mut self, part: usize, commit_ts: Timestamp) {
        self.preparing += 1;
        let future = self.prepare(part, commit_ts);
        self.running.push(future);
    }

    fn keys(&self, parts: &[usize]) -> Keys {
        Keys::of(parts.iter().map(|part| self.machine.part(*part)), &self.work.changes)
    }

    fn options(&self) -> SendOptions {
        let now = self.txn.coordinator.env.boottime();
        SendOptions { deadline: now + PATIENCE, attempt: ATTEMPT, follower: false }
    }

    fn commit_local(
        &self,
        part: usize,
        commit_ts: Timestamp,
        commit_max: Timestamp,
    ) -> BoxFuture<'static, (Event, crate::Cost)> {
        let router = self.txn.coordinator.router.clone();
        let loaded: Result<Vec<Part>, _> =
            self.machine.plan().parts.iter().map(|part| self.work.load(part)).collect();
        let mut parts = match loaded {
            Ok(parts) => parts,
            Err(error) => {
                let failure = Failure::definite(no_room(&error));
                return done(Event::Local(Err(failure)));
            }
        };
        let (all, share) = (Pieces::of_all(parts.iter()), parts.swap_remove(part));
        let read_ts = self.machine.plan().read_ts;
        let op = ShardOp::CommitLocal(CommitLocal {
            txn: self.meta.clone(),
            read_ts,
            commit_ts,
            commit_before: commit_max,
            refresh: share.refresh,
            checks: share.checks,
            writes: share.writes,
        });
        let options = self.options();
        async move {
            match router.send(op, options).await {
                Ok(Sent { reply: ShardReply::Committed(ts, position), cost, .. }) => {
                    (Event::Local(Ok((ts, position))), waited(cost))
                }
                Ok(sent) => (Event::Local(Err(wrong(&sent))), waited(sent.cost)),
                Err(error) => {
                    let cost = waited(error.cost);
                    let parts = if error.regroup {
                        quorate_env::probe!("txn.local_regrouped");
                        all.group(&router, options.deadline).await.ok()
                    } else {
                        None
                    };
                    let failure = Failure { error: error.error, maybe: error.maybe, parts };
                    (Event::Local(Err(failure)), cost)
                }
            }
        }
        .boxed()
    }

    fn prepare(&self, part: usize, commit_ts: Timestamp) -> BoxFuture<'static, (Event, crate::Cost)> {
        let router = self.txn.coordinator.router.clone();
        let share = match self.work.load(self.machine.part(part)) {
            Ok(share) => share,
            Err(error) => {
                let failure = Failure::definite(no_room(&error));
                return done(Event::PrepareFailed { part, failure });
            }
        };
        let plan = self.machine.plan();
        let op = ShardOp::Prepare(Prepare {
            txn: self.meta.clone(),
            read_ts: plan.read_ts,
            commit_ts,
            commit_before: plan.commit_max,
            refresh: share.refresh.clone(),
            checks: share.checks.clone(),
            writes: share.writes.clone(),
            staging: self.staging(&share),
        });
        let options = self.options();
        async move {
            match router.send(op, options).await {
                Ok(Sent { reply: ShardReply::Prepared(ts, position), repeated, cost, .. }) => {
                    (Event::Prepared { part, ts, position, repeated }, cost)
                }
                Ok(sent) => {
                    let cost = sent.cost;
                    (Event::PrepareFailed { part, failure: wrong(&sent) }, cost)
                }
                Err(error) if error.regroup && !error.maybe => {
                    quorate_env::probe!("txn.prepare_regrouped");
                    match Pieces::of(&share).group(&router, options.deadline).await {
                        Ok(parts) => (Event::Regrouped { part, parts, maybe: false }, error.cost),
                        Err(other) => {
                            let failure = Failure::definite(other.error);
                            (Event::PrepareFailed { part, failure }, error.cost)
                        }
                    }
                }
                // Perhaps prepared before the split: the same keys again, wherever they are now, are answered from the
                // intents.
                Err(error) if error.regroup => {
                    match Pieces::of(&share).group(&router, options.deadline).await {
                        Ok(parts) => (Event::Regrouped { part, parts, maybe: true }, error.cost),
                        Err(other) => {
                            let failure = Failure { error: other.error, maybe: true, parts: None };
                            (Event::PrepareFailed { part, failure }, error.cost)
                        }
                    }
                }
                Err(error) => {
                    let cost = error.cost;
                    (Event::PrepareFailed { part, failure: failure(error) }, cost)
                }
            }
        }
        .boxed()
    }

    /// At the anchor of a staged commit: all keys that get an intent.
    fn staging(&self, part: &Part) -> Option<Vec<Key>> {
        let anchored = part.writes.binary_search_by(|write| write.key.cmp(&self.meta.anchor)).is_ok();
        (anchored && self.machine.is_staged()).then(|| {
            let keys: BTreeSet<Key> =
                self.written().flat_map(|part| &part.writes).map(|write| write.key.clone()).collect();
            keys.into_iter().collect()
        })
    }

    /// Proves reads, and checks of keys that are not written, up to a later timestamp.
    fn refresh(
        &self,
        part: usize,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'static, (Event, crate::Cost)> {
        let router = self.txn.coordinator.router.clone();
        let share = self.machine.part(part);
        let pieces = Pieces {
            refresh: share.refresh.clone(),
            checks: share.unprotected().cloned().collect(),
            writes: Vec::new(),
        };
        let (meta, options) = (self.meta.clone(), self.options());
        async move {
            let mut cost = crate::Cost::default();
            let mut todo = vec![(pieces.refresh, pieces.checks)];
            while let Some((spans, checks)) = todo.pop() {
                let again = Pieces { refresh: spans.clone(), checks: checks.clone(), writes: Vec::new() };
                let op = ShardOp::Refresh(Refresh { txn: meta.clone(), from, to, spans, checks });
                match router.send(op, options).await {
                    Ok(sent) => cost += sent.cost,
                    Err(error) if error.regroup => {
                        cost += error.cost;
                        match again.group(&router, options.deadline).await {
                            Ok(parts) => todo.extend(parts.into_iter().map(|p| (p.refresh, p.checks))),
                            Err(error) => {
                                return (Event::RefreshFailed { part, failure: failure(error) }, cost);
                            }
                        }
                    }
                    Err(error) => {
                        cost += error.cost;
                        return (Event::RefreshFailed { part, failure: failure(error) }, cost);
                    }
                }
            }
            (Event::Refreshed { part }, cost)
        }
        .boxed()
    }

    fn decide(&self, ts: Timestamp) -> BoxFuture<'static, (Event, crate::Cost)> {
        let coordinator = self.txn.coordinator.clone();
        let (intents, span) = Keys::of(self.written(), &self.work.changes).named();
        let op = ShardOp::Decide(Decide {
            txn: self.meta.clone(),
            decision: Decision::Commit(ts),
            intents,
            prepared: self.machine.prepared(),
            span,
        });
        let mut options = self.options();
        options.deadline = coordinator.env.boottime() + coordinator.config.ambiguity_bound;
        async move {
            match coordinator.router.send(op, options).await {
                Ok(Sent { reply: ShardReply::Decided(state, position), shard, cost, .. }) => {
                    let entry = position.map(|position| (shard, position));
                    (Event::Decided { state, entry }, waited(cost))
                }
                Ok(sent) => {
                    let mut failure = wrong(&sent);
                    failure.maybe = true;
                    (Event::DecideFailed { failure }, waited(sent.cost))
                }
                Err(error) => {
                    let cost = waited(error.cost);
                    (Event::DecideFailed { failure: failure(error) }, cost)
                }
            }
        }
        .boxed()
    }

    fn ask(&self, abort: bool) -> BoxFuture<'static, (Event, crate::Cost)> {
        quorate_env::probe!("txn.outcome_asked");
        let coordinator = self.txn.coordinator.clone();
        let op = ShardOp::QueryTxn(QueryTxn {
            txn: self.txn.id,
            anchor: self.meta.anchor.clone(),
            why: if abort { Inquiry::End } else { Inquiry::Outcome },
            meta: Some(self.meta.clone()),
        });
        let mut options = self.options();
        options.deadline = coordinator.env.boottime() + coordinator.config.ambiguity_bound;
        async move {
            match coordinator.router.send(op, options).await {
                Ok(Sent { reply: ShardReply::Txn(state), cost, .. }) => (Event::Asked(state), waited(cost)),
                Ok(sent) => (Event::AskFailed, waited(sent.cost)),
                Err(error) => match error.error {
                    KvError::TxnCommitted { ts, .. } => {
                        (Event::Asked(quorate_proto::kv::TxnState::Committed(ts)), waited(error.cost))
                    }
                    _ => (Event::AskFailed, waited(error.cost)),
                },
            }
        }
        .boxed()
    }
}

/// Until a commit at `ts` may be told of (PROTOCOL 15), by a clock that may be trusted (PROTOCOL 21).
async fn passed(env: &quorate_env::Env, ts: Timestamp) {
    let clock = env.clock();
    if quorate_env::planted!("txn.commit_wait_skipped") {
        return;
    }
    loop {
        clock.wait_until_past(if clock.commit_wait() { ts.plus(clock.bound()) } else { ts }).await;
        if !clock.is_fenced() || quorate_env::planted!("txn.fenced_acknowledges") {
            return;
        }
        env.sleep(Duration::from_millis(20)).await;
    }
}

/// Of the keys and values that a part writes, about.
fn bytes(part: &Part) -> usize {
    let kept = part.kept.as_ref().map_or(0, |kept| kept.bytes);
    kept + part.writes.iter().map(size).sum::<usize>()
}

/// Over before anything was sent.
fn done(event: Event) -> BoxFuture<'static, (Event, crate::Cost)> {
    futures::future::ready((event, crate::Cost::default())).boxed()
}

fn waited(mut cost: crate::Cost) -> crate::Cost {
    cost.waits += 1;
    cost
}

fn failure(error: SendError) -> Failure {
    Failure { error: error.error, maybe: error.maybe, parts: None }
}

/// A shard that answers another question than was asked is broken, and may have done anything.
fn wrong(sent: &Sent) -> Failure {
    let why = format!("shard {} answered another question: {:?}", sent.shard, sent.reply);
    Failure { error: KvError::Internal { why }, maybe: true, parts: None }
}
