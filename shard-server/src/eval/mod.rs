//! Evaluation of requests on the leader (DESIGN §5): latch, look at one snapshot, turn into a batch, replicate.

mod commit;
mod decide;
mod follower_read;
mod locking_read;
pub(crate) mod orphans;
pub(crate) mod pass_by;
mod prepare;
mod prevent;
mod proof;
mod propose;
mod query;
mod read;
mod recover;
mod refresh;
mod resolve;
pub(crate) mod room;
mod scan;
mod settle;
mod wait;

use crate::replica::{RangeState, Replica};
use quorate_proto::kv::{ReadOp, ReleaseLocks, ShardAnswer, ShardOp, ShardReply, ShardRequest};
use quorate_proto::{Key, KvError, ShardDescriptor, Span, Timestamp, TxnId};
use std::{sync::Arc, time::Duration};

/// Requests that take this long are logged, those that wait for locks too.
const SLOW: Duration = Duration::from_secs(2);

impl Replica {
    /// Answers one request. Runs to its end even if the caller has gone.
    pub async fn handle(self: &Arc<Self>, request: ShardRequest) -> ShardAnswer {
        let ShardRequest { version, config_epoch, op, .. } = request;
        let mut keys = Vec::new();
        let (kind, began) = (kind(&op), self.context.env.boottime());
        let mut state = self.state.load_full();
        if state.descriptor.version != version || state.sealed.is_some() {
            for_each_key(&op, |key| keys.push(key.clone()));
        }
        if state.sealed.is_some() && !may_answer_alone(&op) {
            self.await_merge().await;
            state = self.state.load_full();
        }
        let mut result = match self.admit(&state, version, &op) {
            Ok(()) => {
                if self.leader_now().is_some() {
                    self.requests.note(&op);
                    self.stir();
                }
                match self.stand_in_line(&op).await {
                    Ok(_pass) => self.evaluate(version, op).await,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        let took = self.context.env.boottime().saturating_sub(began);
        if took >= SLOW {
            let error = result.as_ref().err().map(ToString::to_string);
            tracing::info!(shard = self.shard.0, kind, ?took, error, "slow request");
        }
        let now = self.state.load();
        if let Err(KvError::StaleRoute { newer, .. }) = &mut result {
            *newer = self.newer(&now.descriptor, keys.iter());
            return ShardAnswer { result, newer: Vec::new() };
        }
        // Old members are no reason to refuse, but the caller should know.
        let news = now.descriptor.config_epoch > config_epoch;
        ShardAnswer { result, newer: if news { vec![now.descriptor.clone()] } else { Vec::new() } }
    }

    fn newer<'a>(&self, own: &ShardDescriptor, keys: impl Iterator<Item = &'a Key>) -> Vec<ShardDescriptor> {
        let mut newer = self.context.owners(keys);
        if self.is_retired() {
            newer.extend(self.context.owners(std::iter::once(&own.span.start)));
        } else {
            newer.extend(own.span.end.iter().flat_map(|end| self.context.owners(std::iter::once(end))));
            newer.push(own.clone());
        }
        newer.sort_by_key(|descriptor| descriptor.id);
        newer.dedup_by_key(|descriptor| descriptor.id);
        newer
    }

    /// What can be refused without looking at any data.
    fn admit(&self, state: &RangeState, version: u64, op: &ShardOp) -> Result<(), KvError> {
        if self.context.env.clock().is_fenced() && !quorate_env::planted!("shard.fenced_answers") {
            return Err(self.fenced());
        }
        if self.is_retired() {
            crate::server::release_everywhere(&self.context, op);
            return Err(KvError::StaleRoute { shard: self.shard, newer: Vec::new() });
        }
        let own = state.descriptor.version;
        if own > version {
            // A transaction's locks may have gone to any shard of this node by a split.
            crate::server::release_everywhere(&self.context, op);
            return Err(KvError::StaleRoute { shard: self.shard, newer: Vec::new() });
        }
        if own < version {
            return Err(self.not_ready("it has not applied its newest range yet"));
        }
        if let Some(key) = first_outside(&state.descriptor.span, op) {
            return Err(KvError::BadRequest { why: format!("{key:?} is not in shard {}", self.shard) });
        }
        let bytes = request_bytes(op);
        if bytes > self.context.config.max_request_bytes {
            return Err(KvError::BadRequest { why: format!("a request of {bytes} bytes") });
        }
        self.check_room(op)
    }

    async fn release_locks(&self, version: u64, release: &ReleaseLocks) -> Result<(), KvError> {
        let leader = self.leader()?;
        let _latched = self.latch_against_hand_over(&leader, release.txn).await?;
        // Locks that a split has taken along meanwhile must be released there.
        self.still(&leader, version)?;
        leader.release(release);
        Ok(())
    }

    async fn evaluate(self: &Arc<Self>, version: u64, op: ShardOp) -> Result<ShardReply, KvError> {
        match op {
            ShardOp::Read(request) => {
                let read = self.read(version, request).await.map(ShardReply::Read);
                self.elsewhere_if_damaged(read)
            }
            ShardOp::CommitLocal(request) => self.commit_local(version, request).await,
            ShardOp::Prepare(request) => self.prepare(version, request).await,
            ShardOp::Decide(request) => self.decide(version, request).await,
            ShardOp::Resolve(request) => self.resolve(version, request).await.map(|()| ShardReply::Resolved),
            ShardOp::Refresh(request) => self.refresh(version, request).await,
            ShardOp::QueryTxn(request) => self.query_txn(version, request).await.map(ShardReply::Txn),
            ShardOp::Heartbeat(request) => self.heartbeat(version, request).await,
            ShardOp::ReleaseLocks(request) => {
                self.release_locks(version, &request).await.map(|()| ShardReply::Released)
            }
            ShardOp::Prevent(request) => self.prevent(version, request).await.map(ShardReply::Intent),
            ShardOp::Settle(request) => {
                let (span, clear) = self.settle(version, request.until).await?;
                Ok(ShardReply::Settled(span, clear))
            }
            ShardOp::Waits(report) => {
                let now = self.context.env.boottime();
                Ok(ShardReply::Circle(self.leader()?.core().detector.report(&report, now)))
            }
        }
    }

    /// Waits until `ts` is not beyond the clock + ε: so every later leader's low water covers it (PROTOCOL 11).
    async fn wait_clock(&self, ts: Timestamp) -> Result<(), KvError> {
        let clock = self.context.env.clock();
        let latest = clock.physical().plus(clock.bound());
        if ts <= latest || quorate_env::planted!("shard.future_admitted") {
            return Ok(());
        }
        if ts.since(latest) > self.context.config.clock_patience {
            return Err(KvError::BadRequest { why: format!("the timestamp {ts} lies in the future") });
        }
        quorate_env::probe!("shard.waited_for_clock");
        clock.wait_until_past(ts.minus(clock.bound())).await;
        Ok(())
    }

    /// Holds an answer back that met a version at `ts`, until nobody can find it from the future (PROTOCOL 15).
    async fn reveal(&self, ts: Timestamp) {
        let clock = self.context.env.clock();
        if ts > Timestamp::ZERO && !quorate_env::planted!("shard.revealed_early") {
            clock.wait_until_past(if clock.commit_wait() { ts.plus(clock.bound()) } else { ts }).await;
        }
    }

    /// After its deadline a transaction writes and decides nothing any more (PROTOCOL 12): by the clock, and whatever the clock
    /// says if its record may have been removed. To be asked when no final record was found, and after the engine's snapshot
    /// was taken: what was removed before that was removed at or below this threshold.
    fn check_deadline(&self, state: &RangeState, txn: TxnId, deadline: Timestamp) -> Result<(), KvError> {
        if deadline <= state.record_threshold && !quorate_env::planted!("shard.forgotten_made_anew") {
            quorate_env::probe!("shard.copy_after_record");
            return Err(KvError::Forgotten { txn });
        }
        self.check_clock(txn, deadline)
    }

    fn check_clock(&self, txn: TxnId, deadline: Timestamp) -> Result<(), KvError> {
        let now = self.context.env.clock().physical();
        if now > deadline && !quorate_env::planted!("shard.deadline_ignored") {
            let why = format!("its deadline {deadline} had passed at {now}");
            return Err(KvError::TxnAborted { txn, why });
        }
        Ok(())
    }
}

/// It asks for a state that a seal leaves readable.
fn may_answer_alone(op: &ShardOp) -> bool {
    matches!(op, ShardOp::Read(read) if read.follower)
}

pub(crate) fn kind(op: &ShardOp) -> &'static str {
    match op {
        ShardOp::Read(read) if read.lock.is_some() => "locking read",
        ShardOp::Read(_) => "read",
        ShardOp::CommitLocal(_) => "commit",
        ShardOp::Prepare(_) => "prepare",
        ShardOp::Decide(_) => "decide",
        ShardOp::Resolve(_) => "resolve",
        ShardOp::Refresh(_) => "refresh",
        ShardOp::QueryTxn(_) => "query",
        ShardOp::Heartbeat(_) => "heartbeat",
        ShardOp::ReleaseLocks(_) => "release",
        ShardOp::Waits(_) => "waits",
        ShardOp::Prevent(_) => "prevent",
        ShardOp::Settle(_) => "settle",
    }
}

pub(crate) fn for_each_key<'a>(op: &'a ShardOp, mut visit: impl FnMut(&'a Key)) {
    match op {
        ShardOp::Read(read) => read.ops.iter().for_each(|op| match op {
            ReadOp::Get(key) => visit(key),
            ReadOp::Scan(scan) => visit(&scan.span.start),
        }),
        ShardOp::CommitLocal(c) => {
            c.writes.iter().for_each(|write| visit(&write.key));
            c.checks.iter().for_each(|check| visit(&check.key));
            c.refresh.iter().for_each(|span| visit(&span.start));
        }
        ShardOp::Prepare(p) => {
            p.writes.iter().for_each(|write| visit(&write.key));
            p.checks.iter().for_each(|check| visit(&check.key));
            p.refresh.iter().for_each(|span| visit(&span.start));
        }
        ShardOp::Decide(decide) => visit(&decide.txn.anchor),
        ShardOp::Resolve(resolve) => resolve.keys.iter().for_each(visit),
        ShardOp::Refresh(refresh) => {
            refresh.checks.iter().for_each(|check| visit(&check.key));
            refresh.spans.iter().for_each(|span| visit(&span.start));
        }
        ShardOp::QueryTxn(query) => visit(&query.anchor),
        ShardOp::Heartbeat(heartbeat) => visit(&heartbeat.txn.anchor),
        ShardOp::Waits(waits) => visit(&waits.keeper),
        ShardOp::Prevent(prevent) => visit(&prevent.key),
        ShardOp::Settle(settle) => visit(&settle.at),
        ShardOp::ReleaseLocks(_) => {}
    }
}

pub(crate) fn for_each_span<'a>(op: &'a ShardOp, mut visit: impl FnMut(&'a Span)) {
    match op {
        ShardOp::Read(read) => read.ops.iter().for_each(|op| {
            if let ReadOp::Scan(scan) = op {
                visit(&scan.span);
            }
        }),
        ShardOp::CommitLocal(commit) => commit.refresh.iter().for_each(visit),
        ShardOp::Prepare(prepare) => prepare.refresh.iter().for_each(visit),
        ShardOp::Refresh(refresh) => refresh.spans.iter().for_each(visit),
        _ => {}
    }
}

fn first_outside(own: &Span, op: &ShardOp) -> Option<Key> {
    let mut outside = None;
    for_each_key(op, |key| {
        if outside.is_none() && !own.contains(key) {
            outside = Some(key.clone());
        }
    });
    if let ShardOp::CommitLocal(commit) = op
        && !own.contains(&commit.txn.anchor)
    {
        outside = outside.or(Some(commit.txn.anchor.clone()));
    }
    for_each_span(op, |span| {
        if outside.is_none() && !own.contains_span(span) {
            outside = Some(span.end.clone().unwrap_or_default());
        }
    });
    outside
}

fn request_bytes(op: &ShardOp) -> usize {
    let mut bytes = 0;
    for_each_key(op, |key| bytes += key.len() + 16);
    let writes = match op {
        ShardOp::CommitLocal(commit) => &commit.writes[..],
        ShardOp::Prepare(prepare) => &prepare.writes[..],
        _ => &[],
    };
    bytes + writes.iter().filter_map(|write| write.value.as_ref()).map(|value| value.len()).sum::<usize>()
}
