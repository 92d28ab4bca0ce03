//! The commit: its pure core ([`machine`], in the words of [`events`]), how its work is grouped by shard ([`plan`]), what
//! drives it ([`drive`]), and what is left to do after the answer ([`cleanup`]).

pub mod cleanup;
mod drive;
pub mod events;
pub mod machine;
pub mod plan;
mod room;

use crate::{
    Evidence, Isolation, Outcome, ScratchError, Txn, TxnError,
    changes::Changes,
    txn::{
        Committed,
        state::{Inner, Phase, State, no_room},
    },
};
use events::Plan;
use plan::{GroupError, Work};
use quorate_proto::{
    Key, KvError, Span, Timestamp,
    kv::{Check, CheckKind},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Commits; see [`Txn::commit`].
pub(crate) async fn commit(txn: &Arc<Inner>) -> Result<Committed, TxnError> {
    txn.check_open()?;
    // Reads still running would add to what must be proven; they end first.
    let _alone = txn.moving.write().await;
    let (work, refused) = {
        let mut state = txn.state.lock();
        if state.phase != Phase::Open {
            return Err(txn.error(KvError::BadRequest { why: "the transaction is over".into() }));
        }
        state.phase = Phase::Committing;
        if quorate_env::planted!("txn.bound_let_go") {
            state.followed_bound = None;
        }
        (work(txn, &state), state.refused.take())
    };
    if let Some(error) = refused {
        return Err(end(txn, true, error));
    }
    if work.changes.is_empty() {
        let (read_ts, shards, _bound) = {
            let mut state = txn.state.lock();
            // Locks that a savepoint has undone may be there still.
            let shards = state.take_lock_shards(&txn.coordinator.router);
            (state.read_ts, shards, state.end(true))
        };
        let releasing = txn.coordinator.cleanup.release(txn.id, shards);
        txn.state.lock().releasing = releasing;
        return Ok(summary(txn, read_ts));
    }
    // Runs to its end even if the client waits no longer.
    let (answer, told) = oneshot::channel();
    txn.coordinator.env.spawn("txn.commit", write(txn.clone(), work, answer)).detach();
    match told.await {
        Ok(Ok(ts)) => Ok(summary(txn, ts)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let why = "the node is stopping".into();
            Err(txn.error(KvError::Ambiguous { why }))
        }
    }
}

async fn write(txn: Arc<Inner>, work: Work, answer: oneshot::Sender<Result<Timestamp, TxnError>>) {
    match plan(&txn, &work).await {
        Ok(plan) => drive::Driver::new(txn, plan, work).run(answer).await,
        // Nobody may wait for it any more.
        Err(error) => drop(answer.send(Err(end(&txn, true, error.error)))),
    }
}

fn end(txn: &Inner, clean: bool, error: KvError) -> TxnError {
    let _bound = txn.state.lock().end(clean);
    txn.error(error)
}

fn summary(txn: &Inner, ts: Timestamp) -> Committed {
    quorate_env::count!("quorate_txn_committed_total");
    let state = txn.state.lock();
    quorate_env::count!("quorate_txn_rounds_total", state.cost.rounds);
    Committed { txn: txn.id, ts, cost: state.cost, guarantee: state.guarantee }
}

/// All that the commit proves and writes.
fn work(txn: &Inner, state: &State) -> Work {
    let changes = state.changes.clone();
    // A key that was neither locked nor checked must not have been written since it could have been read.
    let unlocked = (!txn.read_committed()).then_some(state.read_ts);
    // Without writes and locks all reads were one snapshot already.
    let prove = txn.options.isolation == Isolation::Serializable && !changes.is_empty();
    let prove = prove && !quorate_env::planted!("txn.unproven_reads");
    // A key that is written is proven unchanged by its check.
    let unproven = |span: &Span| !checked_point(span, &changes, unlocked, state.read_ts);
    let refresh = if prove { state.spans.iter().filter(unproven).collect() } else { Vec::new() };
    Work { changes, refresh, unlocked }
}

/// Whether the span is one key that is checked not to have changed since it was read. (Without a write, too: a check is proven
/// up to the commit timestamp, as a span is.)
fn checked_point(span: &Span, changes: &Changes, unlocked: Option<Timestamp>, read_ts: Timestamp) -> bool {
    let unchanged = |check: Check| matches!(check.kind, CheckKind::UnchangedSince(since) if since <= read_ts);
    span.end.as_ref() == Some(&span.start.successor())
        && matches!(changes.items(span).next(), Some(Ok(item)) if item.checks(unlocked).any(unchanged))
}

async fn plan(txn: &Arc<Inner>, work: &Work) -> Result<Plan, TxnError> {
    let coordinator = &txn.coordinator;
    let full = |error: ScratchError| txn.error(no_room(&error));
    let (read_ts, commit_ts, commit_max, record, anchor) = {
        let mut state = txn.state.lock();
        let now = coordinator.env.clock().now();
        let mut commit_ts = state.read_ts.max(state.newest_met.next()).max(work.changes.latest_lock());
        let old = now.since(state.read_ts) > coordinator.stale_after()
            && !quorate_env::planted!("txn.old_stages_below");
        // Without reads to prove, the present is where the fewest have read meanwhile.
        if old || state.spans.is_empty() {
            commit_ts = commit_ts.max(now);
        }
        let anchor = anchor(&state, &work.changes).map_err(full)?;
        state.anchor = Some(anchor.clone());
        (state.read_ts, commit_ts, state.commit_max(), state.record, anchor)
    };
    if commit_ts > commit_max {
        return Err(txn.error(KvError::BoundPassed { needed: commit_ts, bound: commit_max }));
    }
    let deadline = txn.send_options().deadline;
    let (parts, stage) = if work.changes.spilled() {
        let parts = work.group(&coordinator.router, deadline).await.map_err(|error| match error {
            GroupError::Send(error) => txn.failed(error),
            GroupError::Scratch(error) => full(error),
        })?;
        (parts, false)
    } else {
        let pieces = work.pieces().map_err(full)?;
        let parts = pieces.group(&coordinator.router, deadline).await.map_err(|e| txn.failed(e))?;
        (parts, coordinator.config.parallel_commit && pieces.stageable(&anchor))
    };
    let anchor_shard = coordinator.router.locate(&anchor, deadline).await.map_err(|e| txn.failed(e))?.id;
    Ok(Plan { txn: txn.id, read_ts, commit_ts, commit_max, parts, record, anchor, anchor_shard, stage })
}

/// One of the keys written, unless its record exists elsewhere already.
fn anchor(state: &State, changes: &Changes) -> Result<Key, ScratchError> {
    if let Some(anchor) = &state.anchor
        && (state.record || changes.buffer.has(anchor)?)
    {
        return Ok(anchor.clone());
    }
    let first = changes.buffer.writes(&Span::ALL).next().transpose()?.map(|(key, ..)| key);
    match first.or_else(|| state.anchor.clone()) {
        Some(anchor) => Ok(anchor),
        None => Ok(changes.items(&Span::ALL).next().transpose()?.map(|item| item.key).unwrap_or_default()),
    }
}

/// Drops everything; see [`Txn::rollback`].
pub(crate) fn rollback(txn: &Arc<Inner>) {
    let (shards, record, _bound) = {
        let mut state = txn.state.lock();
        // With messages under way that release its locks, the id must not come back (they would release new ones).
        let clean = match state.phase {
            Phase::Committing => return,
            Phase::Ended { clean } => clean,
            Phase::Open => !state.record,
        } && state.lock_shards.is_empty();
        let record = state.record && state.phase == Phase::Open;
        let bound = state.end(clean);
        (
            state.take_lock_shards(&txn.coordinator.router),
            record.then(|| state.anchor.clone()).flatten(),
            bound,
        )
    };
    let cleanup = &txn.coordinator.cleanup;
    let releasing = cleanup.release(txn.id, shards);
    if releasing.is_some() {
        txn.state.lock().releasing = releasing;
    }
    if let Some(anchor) = record {
        cleanup.abort_record(txn.meta(anchor, txn.deadline));
    }
    txn.coordinator.history.forget(txn.id);
}

/// The next attempt; see [`Txn::restart`].
pub(crate) fn restart(txn: &Arc<Inner>) -> Txn {
    quorate_env::probe!("txn.restarted");
    quorate_env::count!("quorate_txn_restarts_total");
    let (clean, shards, record, cost, last) = {
        let mut state = txn.state.lock();
        let clean = match state.phase {
            Phase::Open => !state.record,
            Phase::Committing => false,
            Phase::Ended { clean } => clean,
        };
        let record = state.record && state.phase == Phase::Open;
        if state.phase == Phase::Open {
            state.phase = Phase::Ended { clean };
        }
        let shards = state.take_lock_shards(&txn.coordinator.router);
        let last = state.changes.buffer.seq();
        (clean, shards, record.then(|| state.anchor.clone()).flatten(), state.cost, last)
    };
    let coordinator = txn.coordinator.clone();
    let options = txn.options.clone();
    // The id stands for locks held; it can only be kept while no shard has anything durable under it.
    let id = if clean { txn.id } else { quorate_proto::TxnId(coordinator.env.random_u128()) };
    let next = Inner::new(coordinator.clone(), options, id, txn.attempt + 1, txn.started, txn.deadline, cost);
    if clean {
        let mut state = next.state.lock();
        // No savepoint of this attempt reaches back to them.
        state.lock_shards = shards.into_iter().map(|shard| (shard, 0)).collect();
        // What was undone before is told by numbers, perhaps late, and must mean none of what comes now.
        if !quorate_env::planted!("txn.numbers_start_over") {
            state.change(|changes| {
                changes.buffer.go_on_behind(last);
                Ok(())
            });
        }
    } else {
        coordinator.cleanup.release(txn.id, shards);
        if let Some(anchor) = record {
            coordinator.cleanup.abort_record(txn.meta(anchor, txn.deadline));
        }
    }
    Txn(coordinator.open.enter(next))
}

/// What to remember of a transaction that is being decided.
pub(crate) fn evidence(txn: &Inner, anchor: Key, outcome: Outcome) -> Evidence {
    Evidence { txn: txn.id, anchor, outcome, prepared: Vec::new(), decided: None }
}
