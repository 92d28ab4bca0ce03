//! What a commit must prove in this shard: its reads unchanged, its keys exclusive, its writes above everything that was
//! read or written (PROTOCOL 5, 12, 13).

use super::wait::Waited;
use crate::{
    latch::{Access, LatchSet, RecordLatch},
    leader::{Borrowed, LatchGuard, Leader, Wanted},
    lock_table::NEVER_UNDONE,
    registry::internal,
    replica::{RangeState, Replica},
};
use quorate_proto::kv::{Check, CheckKind, LockMode, ShardReply, TxnMeta, Write};
use quorate_proto::{Key, KvError, Span, Timestamp, TxnId};
use quorate_storage::{Snapshot, intent, intent::Intent, mvcc};
use std::sync::Arc;

/// One transaction's claims on one shard.
pub(super) struct Claims<'a> {
    pub txn: &'a Arc<TxnMeta>,
    pub read_ts: Timestamp,
    /// The commit timestamp is not below this,
    pub floor: Timestamp,
    /// and not above this.
    pub before: Timestamp,
    /// For a request of which a copy may come after its transaction's end: what it asked for. See [`Late`].
    pub asked: Option<Timestamp>,
    pub refresh: &'a [Span],
    pub checks: &'a [Check],
    pub writes: &'a [Write],
}

/// What came of proving.
enum Proof {
    /// Everything holds up to this timestamp, at which the writes may stand.
    Holds(Timestamp),
    /// This intent of another transaction must go first.
    Blocked(Key, Arc<TxnMeta>),
    /// A key that must be absent has a live version of this time.
    Exists(Key, Timestamp),
    /// The timestamp lies beyond the clock + ε; start over when the clock has come closer (PROTOCOL 11).
    TooEarly(Timestamp),
}

impl Claims<'_> {
    fn latches(&self, record: Option<Access>) -> LatchSet {
        let writes = self.writes.iter().map(|write| (write.key.clone(), Access::Write));
        let checks = self.checks.iter().map(|check| (check.key.clone(), Access::Read));
        LatchSet {
            points: writes.chain(checks).collect(),
            spans: self.refresh.iter().map(|span| (span.clone(), Access::Read)).collect(),
            record: record.map(|access| RecordLatch::of(self.txn, access)),
        }
    }

    /// Below the threshold the versions that show a late copy (see [`Late`]) may be gone.
    fn still_tells(&self, state: &RangeState) -> Result<(), KvError> {
        let (Some(asked), Some(first)) = (self.asked, self.writes.first()) else { return Ok(()) };
        if state.still_holds(asked).is_ok() {
            return Ok(());
        }
        quorate_env::probe!("shard.prepare_below_threshold");
        let (key, other) = (first.key.clone(), Some(self.txn.id));
        Err(KvError::Conflict { key, other, their_ts: asked, our_ts: self.read_ts })
    }

    /// The first write that must stand in line for another's lock.
    fn blocked_write(&self, leader: &Leader) -> Option<Key> {
        let core = leader.core();
        if core.locks.is_empty() {
            return None;
        }
        let blocked = |write: &&Write| core.locks.admits_write(&write.key, self.txn.id).is_err();
        self.writes.iter().find(blocked).map(|write| write.key.clone())
    }
}

/// A version at or above the timestamp asked for stands where this copy would write: it may be the transaction's own, whose
/// intent was resolved meanwhile, and then the copy is late. It must lay no intent, which nobody could resolve: the
/// transaction has been decided below it. A version of somebody else's cannot be told from it, save by its time.
#[derive(Default)]
struct Late(Option<KvError>);

impl Late {
    /// The newest version of a key that is to be written. One at the very timestamp asked for is perhaps the transaction's own,
    /// staged there and committed by a recovery; nothing else that the proof finds may hide that.
    fn met(
        &mut self,
        snapshot: &dyn Snapshot,
        claims: &Claims<'_>,
        key: &Key,
        newest: Timestamp,
    ) -> Result<(), KvError> {
        let Some(asked) = claims.asked.filter(|asked| newest >= *asked) else { return Ok(()) };
        if quorate_env::planted!("shard.late_copy_accepted") {
            return Ok(());
        }
        let refusal =
            |their_ts, other| KvError::Conflict { key: key.clone(), other, their_ts, our_ts: claims.read_ts };
        if mvcc::get(snapshot, key, asked).map_err(internal)?.is_some_and(|version| version.ts == asked) {
            quorate_env::probe!("shard.late_prepare");
            return Err(refusal(asked, Some(claims.txn.id)));
        }
        self.0.get_or_insert_with(|| refusal(newest, None));
        Ok(())
    }
}

/// What [`Replica::establish`] comes back with.
pub(super) enum Established {
    /// The request was answered before, or needs no proof.
    Answer(ShardReply),
    Proven(Proven),
}

pub(super) struct Proven {
    pub leader: Arc<Leader>,
    /// Of what will be written, and of the record.
    pub latched: LatchGuard,
    pub snapshot: Box<dyn Snapshot>,
    pub ts: Timestamp,
    /// To be kept until the outcome is known.
    pub borrowed: Option<Borrowed>,
}

impl Replica {
    /// Latches, looks whether the request was carried out before (`early`), waits for locks and intents in its way without
    /// holding latches (PROTOCOL 10), and proves the claims. `record`: how the transaction's record, if it lies in this shard,
    /// is latched.
    pub(super) async fn establish(
        self: &Arc<Self>,
        version: u64,
        mut claims: Claims<'_>,
        record: Option<Access>,
        early: impl Fn(&dyn Snapshot) -> Result<Option<ShardReply>, KvError>,
    ) -> Result<Established, KvError> {
        let give_up = self.context.env.boottime() + self.context.config.lock_wait;
        let asked = self.context.env.clock().physical();
        let mut borrowed: Option<Borrowed> = None;
        loop {
            self.wait_clock(claims.floor).await?;
            let leader = self.leader()?;
            let latched = leader.latch(claims.latches(record)).await?;
            let snapshot = self.context.engine.snapshot();
            let state = self.still(&leader, version)?;
            if let Some(answer) = early(&*snapshot)? {
                return Ok(Established::Answer(answer));
            }
            self.check_deadline(&state, claims.txn.id, claims.txn.deadline)?;
            let blocked = match claims.blocked_write(&leader) {
                Some(key) => (key, None),
                None => match self
                    .prove(&leader, &latched, &state, &*snapshot, &claims)
                    .map_err(|error| self.with_writer(error, claims.txn.id))?
                {
                    Proof::Holds(ts) => {
                        latched.release_reads();
                        return Ok(Established::Proven(Proven { leader, latched, snapshot, ts, borrowed }));
                    }
                    Proof::TooEarly(ts) => {
                        claims.floor = ts;
                        continue;
                    }
                    Proof::Exists(key, ts) => {
                        self.certify(&leader).await?;
                        drop(latched);
                        self.reveal(ts).await;
                        return Err(KvError::Exists { key });
                    }
                    Proof::Blocked(key, other) => (key, Some(other)),
                },
            };
            if !quorate_env::planted!("shard.waits_with_latches") {
                drop((latched, snapshot));
            }
            // However the wait ends, the record is looked at anew: another copy may have committed meanwhile.
            match blocked {
                (key, Some(other)) if !claims.writes.iter().any(|write| write.key == key) => {
                    let _ = self.await_intents(&leader, &[(key, other)], Some(claims.txn), give_up).await?;
                }
                (key, met) => {
                    let met = met.as_ref();
                    let want = Wanted { mode: LockMode::Exclusive, number: NEVER_UNDONE, firm: false, asked };
                    let waited = self.await_lock(&leader, &key, claims.txn, want, met, give_up).await?;
                    if let Waited::Over = waited {
                        let new = || Borrowed::new(leader.clone(), claims.txn.id);
                        borrowed.get_or_insert_with(new).add(&leader, key);
                    }
                }
            }
        }
    }

    /// Names whoever is in the way, if it is certainly another: what may be the transaction's own is told by [`Late`] alone.
    fn with_writer(&self, error: KvError, own: TxnId) -> KvError {
        match error {
            KvError::Conflict { key, other: None, their_ts, our_ts } => {
                let other = self.context.writers.of(their_ts).filter(|other| *other != own);
                KvError::Conflict { key, other, their_ts, our_ts }
            }
            error => error,
        }
    }

    /// To be called with all of [`Claims::latches`] held, on a snapshot taken after that. When it holds, the reads are noted
    /// in the timestamp cache, so that they stay proven after their latches are gone.
    fn prove(
        &self,
        leader: &Leader,
        latched: &LatchGuard,
        state: &RangeState,
        snapshot: &dyn Snapshot,
        claims: &Claims<'_>,
    ) -> Result<Proof, KvError> {
        claims.still_tells(state)?;
        let (mut ts, mut late) = (claims.floor, Late::default());
        if !claims.writes.is_empty() {
            let mut core = leader.core();
            ts = latched.evaluating(&mut core, ts);
            for write in claims.writes {
                ts = ts.max(core.cache.get(&write.key).floor_for(claims.txn.id));
            }
        }
        for write in claims.writes {
            if let Some(other) = foreign_intent(snapshot, &write.key, claims.txn)? {
                return Ok(Proof::Blocked(write.key.clone(), Arc::new(other.txn)));
            }
            if let Some(newest) = mvcc::newest(snapshot, &write.key).map_err(internal)? {
                late.met(snapshot, claims, &write.key, newest.ts)?;
                ts = ts.max(newest.ts.next());
            }
        }
        for check in claims.checks {
            if let Some(other) = foreign_intent(snapshot, &check.key, claims.txn)? {
                return Ok(Proof::Blocked(check.key.clone(), Arc::new(other.txn)));
            }
            let newest = mvcc::newest(snapshot, &check.key).map_err(internal)?;
            match (check.kind, newest) {
                (CheckKind::UnchangedSince(since), newest) => {
                    prove_unchanged(state, &check.key, since, newest.map(|newest| newest.ts))?;
                }
                (CheckKind::Absent, Some(newest))
                    if newest.value.is_some() && !quorate_env::planted!("shard.absence_unproven") =>
                {
                    return Ok(Proof::Exists(check.key.clone(), newest.ts));
                }
                (CheckKind::Absent, newest) => {
                    ts = newest.map_or(ts, |tombstone| ts.max(tombstone.ts.next()));
                    // Above a tombstone that is gone, too.
                    state.still_holds(ts)?;
                }
            }
        }
        if let Some(refusal) = late.0 {
            return Err(refusal);
        }
        if ts > claims.before && !quorate_env::planted!("shard.bound_ignored") {
            return Err(KvError::BoundPassed { needed: ts, bound: claims.before });
        }
        let clock = self.context.env.clock();
        if ts > clock.physical().plus(clock.bound()) && !quorate_env::planted!("shard.future_admitted") {
            return Ok(Proof::TooEarly(ts));
        }
        if !claims.refresh.is_empty() {
            state.still_holds(claims.read_ts)?;
        }
        for span in claims.refresh {
            if let Some((key, other)) = foreign_intent_in(snapshot, span, ts, claims.txn)? {
                return Ok(Proof::Blocked(key, Arc::new(other.txn)));
            }
            let changed = mvcc::changed_between(snapshot, span, claims.read_ts, ts).map_err(internal)?;
            if let Some((key, their_ts)) =
                changed.filter(|_| !quorate_env::planted!("shard.refresh_unproven"))
            {
                return Err(KvError::Conflict { key, other: None, their_ts, our_ts: claims.read_ts });
            }
        }
        let checked = claims.checks.iter().map(|check| &check.key);
        if !quorate_env::planted!("shard.proofs_not_noted") {
            leader.note_reads(claims.refresh, checked, ts, claims.txn.id);
        }
        Ok(Proof::Holds(ts))
    }
}

fn prove_unchanged(
    state: &RangeState,
    key: &Key,
    since: Timestamp,
    newest: Option<Timestamp>,
) -> Result<(), KvError> {
    match newest {
        Some(their_ts) if their_ts > since && !quorate_env::planted!("shard.exclusion_unproven") => {
            Err(KvError::Conflict { key: key.clone(), other: None, their_ts, our_ts: since })
        }
        Some(same) if same == since => Ok(()),
        // A tombstone between `since` and the threshold may have been removed with all below it.
        _ => state.still_holds(since),
    }
}

/// Another transaction's intent on the key; or the error that a newer attempt of this one has been here (PROTOCOL 14).
fn foreign_intent(snapshot: &dyn Snapshot, key: &Key, txn: &TxnMeta) -> Result<Option<Intent>, KvError> {
    match intent::get(snapshot, key).map_err(internal)? {
        Some(found) if found.txn.id != txn.id => Ok(Some(found)),
        Some(own)
            if own.txn.attempt > txn.attempt && !quorate_env::planted!("shard.older_attempt_accepted") =>
        {
            let why =
                format!("its attempt {} has written already, and this is {}", own.txn.attempt, txn.attempt);
            Err(KvError::TxnAborted { txn: txn.id, why })
        }
        _ => Ok(None),
    }
}

fn foreign_intent_in(
    snapshot: &dyn Snapshot,
    span: &Span,
    up_to: Timestamp,
    txn: &TxnMeta,
) -> Result<Option<(Key, Intent)>, KvError> {
    for found in intent::scan(snapshot, span) {
        let (key, found) = found.map_err(internal)?;
        if found.txn.id != txn.id && found.ts <= up_to {
            return Ok(Some((key, found)));
        }
    }
    Ok(None)
}
