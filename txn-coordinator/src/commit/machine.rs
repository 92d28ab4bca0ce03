//! The commit of one transaction as a state machine. Pure: events in, effects out.
//!
//! ```text
//! Local ──────────────► Done            all in one shard: one entry
//!   │ pinned: would have to move; or split meanwhile
//!   ▼
//! Preparing ─► Refreshing ─► Deciding ─► Done
//!   │ │  failed    │ failed     │ lost ─► Asking ─► Done
//!   │ ▼            ▼            ▼
//!   │ Aborting ───────────────────► Done
//!   ├─ staged, all prepared where asked ─► Done
//!   └─ staged, an answer is missing ─► Doubting ─► Asking
//! ```
//!
//! Staged (parallel commit): with its intents the anchor's shard takes a record down that names all keys. Once all of them
//! have their intents at the staged timestamp the transaction *is* committed, without another round; the record follows.
//! That must hold for whoever looks at the intents alone, so only what the intents themselves prove may be staged: no reads
//! or checks in shards in which nothing is written, unless they need no proof ([`Machine::stageable`]).
//!
//! What keeps it safe, asserted where it happens:
//! - `Decide(Commit(ts))` is emitted at most once, after every part is prepared at or below `ts` and all reads and checks
//!   that no own intent protects are proven up to `ts`; and never if the intents have decided already.
//! - A success is answered only after the record says committed; a definite failure only if no copy of a deciding request
//!   can still succeed, or the record says aborted.

use super::events::{Effect, Event, Failure, Part, Plan};
use quorate_proto::{KvError, LogPosition, ShardId, Timestamp, kv::TxnState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Local,
    Preparing,
    Refreshing,
    Deciding,
    Asking,
    /// Staged, and it cannot be told from the answers whether all intents stand; waiting for those still out.
    Doubting,
    /// Failed; waiting for the answers still out, so that their intents can be removed.
    Aborting,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    Waiting,
    Prepared {
        ts: Timestamp,
        position: Option<LogPosition>,
        proven: Timestamp,
    },
    /// Certainly nothing of it in the shard.
    Refused,
    /// Perhaps something of it in the shard.
    Lost,
    /// Others took its place.
    Replaced,
}

/// See the module's words.
#[derive(Clone, Debug)]
pub struct Machine {
    plan: Plan,
    phase: Phase,
    status: Vec<Status>,
    refreshing: usize,
    /// The timestamp of the decision, once chosen.
    ts: Timestamp,
    /// Two-phase was used: intents may exist.
    prepared_any: bool,
    /// What the client will be told, once the commit wait is over as well.
    committed: Option<Timestamp>,
    decided: Option<(ShardId, LogPosition)>,
    /// Commit waits under way, and the latest timestamp of all that were begun.
    waits: usize,
    waits_for: Timestamp,
    answered: bool,
    failure: Option<KvError>,
    decide_sent: bool,
    decide_maybe: bool,
    /// A STAGING record was asked for.
    staged: bool,
    /// What the answers say of some part need not be the whole truth: a copy of its request was lost sight of. It may have been
    /// prepared although it is Refused or Replaced, or at the staged timestamp although it says Prepared above it.
    doubt: bool,
    /// Consensus rounds waited for.
    pub rounds: u64,
    /// Log entries asked for.
    pub entries: u64,
}

impl Machine {
    pub fn new(plan: Plan) -> (Self, Vec<Effect>) {
        let status = vec![Status::Waiting; plan.parts.len()];
        let mut machine = Machine {
            ts: plan.commit_ts,
            plan,
            phase: Phase::Done,
            status,
            refreshing: 0,
            prepared_any: false,
            committed: None,
            decided: None,
            waits: 0,
            waits_for: Timestamp::ZERO,
            answered: false,
            failure: None,
            decide_sent: false,
            decide_maybe: false,
            staged: false,
            doubt: false,
            rounds: 0,
            entries: 0,
        };
        let effects = machine.start();
        (machine, effects)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn part(&self, part: usize) -> &Part {
        &self.plan.parts[part]
    }

    /// The commit timestamp may lie as high as this now.
    pub fn extend(&mut self, commit_max: Timestamp) {
        self.plan.commit_max = self.plan.commit_max.max(commit_max);
    }

    pub fn is_staged(&self) -> bool {
        self.staged
    }

    /// Nothing is expected any more.
    pub fn finished(&self) -> bool {
        self.phase == Phase::Done && self.answered
    }

    /// Where the parts prepared, for the record and as evidence.
    pub fn prepared(&self) -> Vec<(ShardId, LogPosition)> {
        let parts = self.plan.parts.iter().zip(&self.status);
        parts
            .filter_map(|(part, status)| match status {
                Status::Prepared { position: Some(position), .. } => Some((part.shard, *position)),
                _ => None,
            })
            .collect()
    }

    pub fn decided(&self) -> Option<(ShardId, LogPosition)> {
        self.decided
    }

    /// Requests of the transaction may have left something behind, so that its id is not to be used again.
    pub fn left_traces(&self) -> bool {
        self.prepared_any || self.plan.record || self.decide_maybe
    }

    fn start(&mut self) -> Vec<Effect> {
        match self.local_part() {
            Some((part, pinned)) => {
                self.phase = Phase::Local;
                self.entries += 1;
                let commit_max = if pinned { self.plan.commit_ts } else { self.plan.commit_max };
                vec![Effect::CommitLocal { part, commit_ts: self.plan.commit_ts, commit_max }]
            }
            None => self.prepare(),
        }
    }

    /// The part that can be committed in one entry, and whether its timestamp must stay: reads in other shards hold at the
    /// read timestamp only (their timestamp caches protect them up to it and no further).
    fn local_part(&self) -> Option<(usize, bool)> {
        let mut writers = self.plan.parts.iter().enumerate().filter(|(_, part)| part.writes_something());
        let (index, part) = writers.next()?;
        if writers.next().is_some() || part.shard != self.plan.anchor_shard {
            return None;
        }
        let mut others = self.plan.parts.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, p)| p);
        if others.clone().next().is_none() {
            return Some((index, false));
        }
        let only_reads = others.all(|part| part.checks.is_empty());
        let pinned = !quorate_env::planted!("txn.local_not_pinned");
        (only_reads && self.plan.commit_ts == self.plan.read_ts).then_some((index, pinned))
    }

    fn prepare(&mut self) -> Vec<Effect> {
        self.phase = Phase::Preparing;
        self.prepared_any |= self.plan.parts.iter().any(|part| part.writes_something());
        self.staged = self.stageable();
        if self.staged {
            quorate_env::probe!("txn.staged");
        }
        self.settle_readers(0);
        let waiting = self.status.iter().enumerate().filter(|(_, s)| **s == Status::Waiting);
        let parts: Vec<usize> = waiting.map(|(part, _)| part).collect();
        self.entries += parts.iter().filter(|part| self.plan.parts[**part].writes_something()).count() as u64;
        parts.into_iter().map(|part| Effect::Prepare { part, commit_ts: self.plan.commit_ts }).collect()
    }

    /// Whether the intents at the commit timestamp prove all by themselves.
    fn stageable(&self) -> bool {
        let mut parts = self.plan.parts.iter();
        self.plan.stage
            && self.plan.parts.iter().any(|part| part.writes_something())
            && parts.all(|part| self.proven_by_intents(part))
    }

    /// Where something is written, the intents go down only after all reads and checks of the part are proven up to their
    /// timestamp. Elsewhere nothing may need proof: reads at the commit timestamp itself do not, their shards' timestamp
    /// caches protect them up to it.
    fn proven_by_intents(&self, part: &Part) -> bool {
        let reads_hold = self.plan.commit_ts == self.plan.read_ts;
        part.writes_something()
            || (part.checks.is_empty() && (part.refresh.is_empty() || reads_hold))
            || quorate_env::planted!("txn.staged_unproven")
    }

    /// Parts that have nothing to prove at the staged timestamp need not be asked.
    fn settle_readers(&mut self, first: usize) {
        if !self.staged {
            return;
        }
        let ts = self.plan.commit_ts;
        for (part, status) in self.plan.parts.iter().zip(&mut self.status).skip(first) {
            if !part.writes_something() && *status == Status::Waiting {
                *status = Status::Prepared { ts, position: None, proven: ts };
            }
        }
    }

    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Local(result) => self.local(result),
            Event::Prepared { part, ts, position, repeated } => {
                self.doubt |= repeated;
                let proven = self.plan.commit_ts;
                self.status[part] = Status::Prepared { ts, position, proven };
                self.after_prepare()
            }
            Event::PrepareFailed { part, failure } => {
                self.status[part] = if failure.maybe { Status::Lost } else { Status::Refused };
                self.doubt |= failure.maybe;
                let error = self.doubt_own(failure.error);
                self.prepare_failed(error)
            }
            Event::Regrouped { part, parts, maybe } => {
                self.doubt |= maybe;
                let proven = parts.iter().all(|part| self.proven_by_intents(part));
                if self.staged && !proven && !quorate_env::planted!("txn.taken_apart_unnoticed") {
                    return self.taken_apart(part, maybe);
                }
                self.regrouped(part, parts)
            }
            Event::Refreshed { part } => {
                if let Status::Prepared { proven, .. } = &mut self.status[part] {
                    *proven = self.ts;
                }
                self.refreshing -= 1;
                self.after_refresh()
            }
            Event::RefreshFailed { failure, .. } => {
                self.refreshing -= 1;
                self.fail(failure.error)
            }
            Event::Decided { state, entry } => self.after_decide(state, entry),
            Event::DecideFailed { failure } => self.decide_failed(failure),
            Event::Asked(state) => self.asked(state),
            Event::AskFailed => self.ask_failed(),
            Event::Waited => {
                self.waits -= 1;
                self.maybe_answer()
            }
            Event::Unwaitable => {
                let why = "the node's clock is fenced, it acknowledges nothing".into();
                self.answer(Err(KvError::Ambiguous { why }))
            }
            Event::Tick => self.tick(),
        }
    }

    fn local(&mut self, result: Result<(Timestamp, LogPosition), Failure>) -> Vec<Effect> {
        let failure = match result {
            Ok((ts, position)) => {
                self.rounds += 1;
                self.decided = Some((self.plan.anchor_shard, position));
                return self.committed(ts);
            }
            Err(failure) => failure,
        };
        match failure.error {
            KvError::TxnCommitted { ts, .. } => return self.committed(ts),
            KvError::TxnAborted { .. } if !failure.maybe => {
                // Its record says so, or its deadline; and always will.
                self.plan.record = true;
                return self.answer(Err(failure.error));
            }
            _ => {}
        }
        if failure.maybe && !quorate_env::planted!("txn.lost_commit_told_as_failed") {
            // Some copy may have been applied, or be applied later: the record must say before anything else is done.
            self.decide_maybe = true;
            self.failure = Some(failure.error);
            return self.ask();
        }
        if let Some(parts) = failure.parts {
            self.plan.parts = parts;
            self.status = vec![Status::Waiting; self.plan.parts.len()];
            return self.prepare();
        }
        match failure.error {
            // Pinned to its timestamp and in need of a later one: with all participants that can be had.
            KvError::BoundPassed { needed, .. }
                if needed <= self.plan.commit_max && self.plan.parts.len() > 1 =>
            {
                self.plan.commit_ts = needed.max(self.plan.commit_ts);
                self.ts = self.plan.commit_ts;
                self.prepare()
            }
            error => self.end(error),
        }
    }

    fn regrouped(&mut self, part: usize, parts: Vec<Part>) -> Vec<Effect> {
        self.status[part] = Status::Replaced;
        if self.phase == Phase::Aborting {
            return self.after_prepare();
        }
        let first = self.plan.parts.len();
        self.plan.parts.extend(parts);
        self.status.resize(self.plan.parts.len(), Status::Waiting);
        self.settle_readers(first);
        (first..self.plan.parts.len())
            .filter(|part| self.status[*part] == Status::Waiting)
            .map(|part| Effect::Prepare { part, commit_ts: self.plan.commit_ts })
            .collect()
    }

    /// A split has parted what was read from what is written, so that the intents would not speak for the reads any more;
    /// none of those that remain to be laid may be.
    fn taken_apart(&mut self, part: usize, maybe: bool) -> Vec<Effect> {
        quorate_env::probe!("txn.taken_apart");
        self.status[part] = if maybe { Status::Lost } else { Status::Refused };
        let why = format!("shard {} was split while it was committed", self.plan.parts[part].shard);
        self.prepare_failed(KvError::TxnAborted { txn: self.plan.txn, why })
    }

    /// Staged, a failure ends the transaction only if some part certainly has no intents; otherwise others may find it
    /// committed, and only the record's shard can tell.
    fn prepare_failed(&mut self, error: KvError) -> Vec<Effect> {
        let doubt = self.doubt && !quorate_env::planted!("txn.begun_again_in_doubt");
        if !self.staged || !doubt || self.phase == Phase::Aborting {
            return self.fail(error);
        }
        self.failure.get_or_insert(error);
        self.decide_maybe = true;
        self.phase = Phase::Doubting;
        self.ask_when_all_answered()
    }

    /// A refusal that may be due to the transaction itself: committed by others, who took its coordinator for dead.
    fn doubt_own(&mut self, error: KvError) -> KvError {
        match error {
            error if quorate_env::planted!("txn.own_commit_conflicts") => error,
            KvError::Conflict { key, other: Some(other), their_ts, our_ts } if other == self.plan.txn => {
                self.doubt = true;
                KvError::Conflict { key, other: None, their_ts, our_ts }
            }
            KvError::TxnCommitted { .. } => {
                self.doubt = true;
                error
            }
            error => error,
        }
    }

    fn ask_when_all_answered(&mut self) -> Vec<Effect> {
        if self.waiting() { Vec::new() } else { self.ask() }
    }

    /// What the record says; it is aborted if it is undecided.
    fn ask(&mut self) -> Vec<Effect> {
        self.phase = Phase::Asking;
        vec![Effect::Ask { abort: true }]
    }

    fn waiting(&self) -> bool {
        self.status.contains(&Status::Waiting)
    }

    fn after_prepare(&mut self) -> Vec<Effect> {
        if self.waiting() {
            return Vec::new();
        }
        match self.phase {
            Phase::Aborting => return self.clean_up(),
            Phase::Doubting => return self.ask_when_all_answered(),
            _ => {}
        }
        self.ts = self.plan.commit_ts;
        for status in &self.status {
            if let Status::Prepared { ts, .. } = status {
                self.ts = self.ts.max(*ts);
            }
        }
        if self.prepared_any {
            self.rounds += 1;
        }
        if self.staged && self.ts == self.plan.commit_ts {
            return self.committed_by_intents();
        }
        let bound = self.plan.commit_max;
        let passed = self.ts > bound && !quorate_env::planted!("txn.bound_not_checked_again");
        let passed = passed.then(|| KvError::BoundPassed { needed: self.ts, bound });
        if self.staged && self.doubt && !quorate_env::planted!("txn.high_intent_believed") {
            // The intent that stands too high may be a second one: the first may have completed the staged commit.
            self.decide_maybe = true;
            self.failure = passed;
            return self.ask();
        }
        if let Some(error) = passed {
            return self.fail(error);
        }
        let from = self.plan.commit_ts;
        let unproven: Vec<usize> = (0..self.status.len())
            .filter(|&part| match &self.status[part] {
                Status::Prepared { proven, .. } => *proven < self.ts && self.plan.parts[part].needs_proof(),
                _ => false,
            })
            .collect();
        if unproven.is_empty() {
            return self.decide();
        }
        self.phase = Phase::Refreshing;
        self.refreshing = unproven.len();
        unproven.into_iter().map(|part| Effect::Refresh { part, from, to: self.ts }).collect()
    }

    fn after_refresh(&mut self) -> Vec<Effect> {
        match (self.phase, self.refreshing) {
            (Phase::Refreshing, 0) => self.decide(),
            (Phase::Aborting, 0) => self.clean_up(),
            _ => Vec::new(),
        }
    }

    /// All intents stand at the staged timestamp: that is the decision.
    fn committed_by_intents(&mut self) -> Vec<Effect> {
        assert!(!self.decide_sent, "a second decision");
        quorate_env::probe!("txn.committed_by_intents");
        self.decide_sent = true;
        self.entries += 1;
        let ts = self.ts;
        let anchored = |part: &Part| part.holds(&self.plan.anchor);
        self.decided = self.plan.parts.iter().zip(&self.status).find_map(|(part, status)| match status {
            Status::Prepared { position: Some(position), .. } if anchored(part) => {
                Some((part.shard, *position))
            }
            _ => None,
        });
        self.phase = Phase::Done;
        self.committed = Some(ts);
        let parts = self.parts_with(|_, part| part.writes_something());
        let mut effects = self.wait(ts);
        effects.push(Effect::Resolve { ts, parts, record: true });
        effects
    }

    fn decide(&mut self) -> Vec<Effect> {
        for (part, status) in self.plan.parts.iter().zip(&self.status) {
            match status {
                Status::Replaced => {}
                Status::Prepared { ts, proven, .. } => assert!(
                    *ts <= self.ts && (*proven >= self.ts || !part.needs_proof()),
                    "deciding at {} with shard {} prepared at {ts}, proven to {proven}",
                    self.ts,
                    part.shard
                ),
                other => unreachable!("deciding with shard {} {other:?}", part.shard),
            }
        }
        if !self.prepared_any {
            // Only locks were proven: nothing to decide, and nobody to tell but the client.
            self.phase = Phase::Done;
            self.committed = Some(self.ts);
            return self.maybe_answer();
        }
        assert!(!self.decide_sent, "a second decision");
        self.phase = Phase::Deciding;
        self.decide_sent = true;
        self.entries += 1;
        let mut effects = vec![Effect::Decide { ts: self.ts }];
        effects.extend(self.wait(self.ts));
        effects
    }

    /// Begins the commit wait, unless one that lasts as long has begun.
    fn wait(&mut self, ts: Timestamp) -> Vec<Effect> {
        if ts <= self.waits_for {
            return Vec::new();
        }
        self.waits += 1;
        self.waits_for = ts;
        vec![Effect::Wait { ts }]
    }

    fn after_decide(&mut self, state: TxnState, entry: Option<(ShardId, LogPosition)>) -> Vec<Effect> {
        match state {
            // At another timestamp than was decided, if others were there first.
            TxnState::Committed(ts) => {
                self.rounds += 1;
                self.decided = entry;
                self.committed(ts)
            }
            TxnState::Aborted => {
                let why = "its record says so".into();
                self.aborted_by_others(KvError::TxnAborted { txn: self.plan.txn, why })
            }
            TxnState::Pending(_) | TxnState::Unknown => {
                let why = "the decision was not taken down".into();
                self.decide_failed(Failure { error: KvError::Ambiguous { why }, maybe: true, parts: None })
            }
        }
    }

    fn decide_failed(&mut self, failure: Failure) -> Vec<Effect> {
        match failure.error {
            KvError::TxnCommitted { ts, .. } => return self.committed(ts),
            // Its deadline has passed, and no copy was carried out before that: it cannot commit any more.
            KvError::TxnAborted { .. } if !failure.maybe => return self.end(failure.error),
            _ => {}
        }
        self.decide_maybe |= failure.maybe;
        self.failure = Some(failure.error);
        // A decision that was certainly not taken can be turned into an abort; one that was perhaps taken only be asked for.
        self.ask()
    }

    fn asked(&mut self, state: TxnState) -> Vec<Effect> {
        match state {
            TxnState::Committed(ts) => self.committed(ts),
            TxnState::Aborted => {
                let why = "its outcome was lost sight of, and it was aborted to be sure".into();
                let error = match self.failure.take() {
                    Some(error) if !matches!(error, KvError::Ambiguous { .. }) => error,
                    _ => KvError::TxnAborted { txn: self.plan.txn, why },
                };
                self.aborted_by_others(error)
            }
            TxnState::Pending(_) | TxnState::Unknown => self.ask_failed(),
        }
    }

    fn ask_failed(&mut self) -> Vec<Effect> {
        let error = self.failure.take().unwrap_or(KvError::Ambiguous { why: String::new() });
        if self.decide_maybe && !quorate_env::planted!("txn.unknown_told_as_failed") {
            let why = format!("transaction {}: {error}", self.plan.txn);
            return self.answer(Err(KvError::Ambiguous { why }));
        }
        // Certainly not decided, and never asked for again: it cannot commit any more.
        self.end(error)
    }

    /// Certainly not committed; the record is yet to say so.
    fn end(&mut self, error: KvError) -> Vec<Effect> {
        let mut effects = self.answer(Err(error));
        effects.extend(self.clean_up());
        effects
    }

    /// The record says committed.
    fn committed(&mut self, ts: Timestamp) -> Vec<Effect> {
        self.phase = Phase::Done;
        self.committed = Some(ts);
        let mut effects = self.wait(ts);
        effects.extend(self.maybe_answer());
        if self.prepared_any {
            let parts = self.parts_with(|_, part| part.writes_something());
            effects.push(Effect::Resolve { ts, parts, record: false });
        }
        effects
    }

    /// The record says aborted already.
    fn aborted_by_others(&mut self, error: KvError) -> Vec<Effect> {
        let mut effects = self.answer(Err(error));
        let parts = self.parts_with(|_, part| part.writes_something());
        if self.prepared_any {
            effects.push(Effect::Abort { record: false, parts });
        }
        effects
    }

    fn fail(&mut self, error: KvError) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase != Phase::Aborting {
            self.phase = Phase::Aborting;
            effects = self.answer(Err(error));
            self.phase = Phase::Aborting;
        }
        if !self.waiting() && self.refreshing == 0 {
            effects.extend(self.clean_up());
        }
        effects
    }

    fn clean_up(&mut self) -> Vec<Effect> {
        self.phase = Phase::Done;
        let parts = self.parts_with(|status, part| {
            part.writes_something() && matches!(status, Status::Prepared { .. } | Status::Lost)
        });
        if parts.is_empty() && !self.plan.record {
            return Vec::new();
        }
        vec![Effect::Abort { record: true, parts }]
    }

    fn parts_with(&self, want: impl Fn(&Status, &Part) -> bool) -> Vec<usize> {
        let parts = self.plan.parts.iter().zip(&self.status).enumerate();
        parts
            .filter(|(_, (part, status))| **status != Status::Replaced && want(status, part))
            .map(|(i, _)| i)
            .collect()
    }

    fn maybe_answer(&mut self) -> Vec<Effect> {
        match self.committed {
            Some(ts) if self.waits == 0 => self.answer(Ok(ts)),
            _ => Vec::new(),
        }
    }

    /// The client hears the first answer only: of a transaction whose outcome was unknown when it had waited long enough the
    /// rest is told to nobody.
    fn answer(&mut self, result: Result<Timestamp, KvError>) -> Vec<Effect> {
        self.phase = Phase::Done;
        if std::mem::replace(&mut self.answered, true) { Vec::new() } else { vec![Effect::Answer(result)] }
    }

    fn tick(&mut self) -> Vec<Effect> {
        let undecided =
            matches!(self.phase, Phase::Preparing | Phase::Refreshing | Phase::Deciding | Phase::Doubting);
        if undecided && self.prepared_any { vec![Effect::Heartbeat] } else { Vec::new() }
    }
}
