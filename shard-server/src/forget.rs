//! Records of transactions go (PROTOCOL 12), told in order.
//!
//! *When*: once per retention, on nodes that lead, one shard after the other, and only where there may be some
//! ([`crate::gc::Litter`]): if none was written since the last look, and none waited for its time then, nobody looks.
//! *Threshold*: the first record found whose deadline lies a retention back has the leader raise it by a command of its own.
//! From then on nobody makes a record for a transaction with a deadline at or below it, whatever a clock says, under this
//! leader or a later one: late copies of commits, stagings, decisions and heartbeats are refused.
//! *What is undecided* is brought to an end, and goes the next time. *What is aborted* goes: whoever meets an intent without a
//! record takes it for aborted (see [`crate::eval`]'s `query`). *A commit in one shard* goes: it has no intents. *A commit across
//! shards* goes once every shard that its record names has been asked whether intents are left there, and says that there
//! are none. It was decided before they were asked; so all its intents were laid before that, and none will be.
//! *Removal*: entries of some records at a time, the same on every replica. Final records change no more: latches are not
//! needed. A split would take records of an entry under way to another shard: there is no split then ([`Replica::admin`]).
//! *A crash* or a change of leaders leaves some of it undone; the next look does it.

use crate::{
    Context,
    command::{Command, Forgotten},
    gc::BREATH,
    leader::Leader,
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{Inquiry, QueryTxn, Settle, ShardOp, ShardReply};
use quorate_proto::{Key, KvError, Room, Span, Timestamp, TxnId};
use quorate_storage::record::{self, TxnRecord};
use std::sync::Arc;

/// Runs until the node stops.
pub(crate) async fn run(context: Arc<Context>) {
    let retention = context.config.retention;
    loop {
        context.env.sleep(retention).await;
        let clock = context.env.clock();
        // A clock that is not to be trusted makes nobody forget.
        if !clock.is_fenced() {
            round(&context, clock.physical().minus(retention)).await;
        }
    }
}

/// All shards that this node leads, one after the other; returns how many records went, of transactions with deadlines up to
/// `until`.
pub(crate) async fn round(context: &Context, until: Timestamp) -> u64 {
    let mut removed = 0;
    if context.env.space().room() == Room::Full {
        // Even that takes space first.
        return removed;
    }
    for replica in context.all() {
        let Some(leader) = replica.leader_now() else { continue };
        if !replica.ledger.look(until) {
            continue;
        }
        let mut pass = Pass::new(&replica, leader, until);
        let outcome = pass.run().await;
        removed += pass.removed;
        match outcome {
            Ok(()) => replica.ledger.wait_for(pass.next),
            Err(error) => {
                tracing::debug!(shard = replica.shard.0, %error, "the removal of records broke off");
                replica.ledger.written();
            }
        }
    }
    removed
}

/// One look at a shard.
struct Pass<'a> {
    replica: &'a Arc<Replica>,
    leader: Arc<Leader>,
    until: Timestamp,
    removed: u64,
    /// The earliest deadline of what stays.
    next: Option<Timestamp>,
    /// Shards that have intents left.
    unclear: Vec<Span>,
    /// None after a question that brought no answer: the same shard would be asked again and again.
    asking: bool,
}

/// What is old among some records.
#[derive(Default)]
struct Page {
    undecided: Vec<QueryTxn>,
    /// Each with where its intents lie.
    done: Vec<(Forgotten, Vec<Span>)>,
    /// The last record, if there may be more.
    last: Option<(Key, TxnId)>,
}

impl<'a> Pass<'a> {
    fn new(replica: &'a Arc<Replica>, leader: Arc<Leader>, until: Timestamp) -> Self {
        Pass { replica, leader, until, removed: 0, next: None, unclear: Vec::new(), asking: true }
    }

    async fn run(&mut self) -> Result<(), KvError> {
        let mut last = None;
        loop {
            let page = self.look(last.as_ref())?;
            last = page.last.clone();
            self.clear_away(page).await?;
            if last.is_none() {
                return Ok(());
            }
            self.replica.context.env.sleep(BREATH).await;
        }
    }

    /// The records behind `last`.
    fn look(&mut self, last: Option<&(Key, TxnId)>) -> Result<Page, KvError> {
        let (mut page, mut seen) = (Page::default(), 0);
        let many = self.replica.context.config.gc_page_versions;
        let snapshot = self.replica.context.engine.snapshot();
        let span = self.replica.descriptor().span;
        for found in record::scan_behind(&*snapshot, &span, last) {
            let (anchor, txn, record) = found.map_err(internal)?;
            let deadline = record.deadline();
            if deadline <= self.until {
                page.add(Forgotten { anchor: anchor.clone(), txn, deadline }, record);
            } else {
                self.stays(deadline);
            }
            seen += 1;
            if seen == many {
                page.last = Some((anchor, txn));
                break;
            }
        }
        Ok(page)
    }

    fn stays(&mut self, deadline: Timestamp) {
        self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
    }

    async fn clear_away(&mut self, page: Page) -> Result<(), KvError> {
        if page.undecided.is_empty() && page.done.is_empty() {
            return Ok(());
        }
        if self.until > self.replica.state.load().record_threshold
            && !quorate_env::planted!("shard.forgets_unannounced")
        {
            self.raise().await?;
        }
        for query in page.undecided {
            self.stays(self.until);
            let version = self.replica.descriptor().version;
            if let Err(error) = self.replica.query_txn(version, query).await {
                tracing::debug!(shard = self.replica.shard.0, %error, "an old transaction cannot be ended");
            }
        }
        let mut clear = Vec::new();
        let mut forgotten = Vec::new();
        for (record, spans) in page.done {
            if self.all_clear(&spans, &mut clear).await {
                forgotten.push(record);
            } else {
                self.stays(record.deadline);
            }
        }
        self.remove(forgotten).await
    }

    /// Before anything goes, every replica knows that nobody may make a record for such a transaction.
    async fn raise(&self) -> Result<(), KvError> {
        let mut command = Command::default();
        command.extras.record_threshold = Some(self.until);
        quorate_env::probe!("shard.record_threshold_raised");
        self.replica.propose_bare(&self.leader, command).await
    }

    /// Whether no intents are left in the spans; `clear` is what has been found clear since the records were read.
    async fn all_clear(&mut self, spans: &[Span], clear: &mut Vec<Span>) -> bool {
        for span in spans {
            if quorate_env::planted!("shard.record_before_intents") {
                return true;
            }
            let mut at = span.start.clone();
            while span.contains(&at) {
                let end = match clear.iter().find(|clear| clear.contains(&at)) {
                    Some(known) => known.end.clone(),
                    None => {
                        let Some(part) = self.ask(&at).await else { return false };
                        clear.push(part.clone());
                        part.end
                    }
                };
                let Some(end) = end else { break };
                at = end;
            }
        }
        true
    }

    /// The span of the shard that owns the key, if no intents are left there.
    async fn ask(&mut self, at: &Key) -> Option<Span> {
        if !self.asking || self.unclear.iter().any(|span| span.contains(at)) {
            return None;
        }
        let descriptor = self.replica.descriptor();
        let answer = if descriptor.contains(at) {
            self.replica.settle(descriptor.version, self.until).await
        } else {
            let op = ShardOp::Settle(Settle { at: at.clone(), until: self.until });
            match self.replica.context.peers.shard_call(at, op).await {
                Ok(ShardReply::Settled(span, clear)) => Ok((span, clear)),
                Ok(other) => Err(internal(format!("{other:?} in answer to Settle"))),
                Err(error) => Err(error),
            }
        };
        match answer {
            Ok((span, true)) => return Some(span),
            Ok((span, false)) => self.unclear.push(span),
            Err(error) => {
                tracing::debug!(shard = self.replica.shard.0, ?at, %error, "nobody tells whether intents are left");
                self.asking = false;
            }
        }
        None
    }

    async fn remove(&mut self, mut forgotten: Vec<Forgotten>) -> Result<(), KvError> {
        let _one = self.replica.admin.lock().await;
        // A split may have taken some of them away.
        let span = self.replica.descriptor().span;
        forgotten.retain(|record| span.contains(&record.anchor));
        if forgotten.is_empty() {
            return Ok(());
        }
        let many = forgotten.len() as u64;
        let mut command = Command::default();
        command.extras.forgotten = forgotten;
        self.replica.propose_bare(&self.leader, command).await?;
        self.removed += many;
        metrics::counter!("quorate_shard_records_removed_total").increment(many);
        Ok(())
    }
}

impl Page {
    fn add(&mut self, place: Forgotten, record: TxnRecord) {
        let spans = match record {
            TxnRecord::Committed { intents, span, .. } => {
                intents.iter().map(Span::point).chain(span).collect()
            }
            TxnRecord::Aborted { .. } => Vec::new(),
            TxnRecord::Pending { txn, .. } | TxnRecord::Staging { txn, .. } => {
                let Forgotten { anchor, txn: id, .. } = place;
                self.undecided.push(QueryTxn { txn: id, anchor, why: Inquiry::End, meta: Some(txn) });
                return;
            }
        };
        self.done.push((place, spans));
    }
}
