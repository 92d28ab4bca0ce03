//! Reads that lock what they find: `UPDATE`, `DELETE`, `SELECT FOR …`. They return the newest version of each key.
//!
//! A lock on a single key is taken before the snapshot, so that no other write comes between the two; the rows of a scan
//! are locked while the scan's latch keeps writers out. Whoever must wait gives all latches back, stands in line and starts
//! over (PROTOCOL 10); locks already taken stay.

use super::{
    pass_by::{Met, PassedBy, Strangers},
    read::{View, latches, note},
    scan::covered,
    wait::Waited,
};
use crate::{
    leader::{Core, Leader, Wanted},
    registry::internal,
    replica::Replica,
};
use quorate_proto::kv::{
    LockRequest, ReadOp, ReadReply, ReadRequest, ReadResult, Row, Scan, ScanResult, TxnMeta, WaitPolicy,
};
use quorate_proto::{Key, KvError, Timestamp};
use quorate_storage::{
    intent,
    mvcc::{self, Page},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What one try comes to.
enum Try {
    Done {
        results: Vec<ReadResult>,
        met: Timestamp,
        passed: PassedBy,
    },
    /// Someone stands in the way on this key: with an intent that was met there, or with a lock.
    Blocked(InTheWay),
    /// Intents were met that may be passed by only if their transactions are undecided.
    Strangers,
}

/// Someone in the way, for the caller to act on by the wait policy.
struct InTheWay {
    key: Key,
    by: Met,
}

impl InTheWay {
    fn new(key: &Key, holder: Arc<TxnMeta>, intent: bool) -> Self {
        InTheWay { key: key.clone(), by: Met { holder, intent } }
    }
}

impl Replica {
    pub(super) async fn locking_read(
        self: &Arc<Self>,
        version: u64,
        request: ReadRequest,
    ) -> Result<ReadReply, KvError> {
        let (Some(lock), Some(txn)) = (&request.lock, &request.txn) else {
            return Err(KvError::BadRequest { why: "a locking read outside a transaction".into() });
        };
        let txn = Arc::new(txn.clone());
        let cap = self.context.config.lock_wait;
        let cap = match lock.wait {
            WaitPolicy::Block(millis) if millis > 0 => cap.min(Duration::from_millis(millis)),
            _ => cap,
        };
        let give_up = self.context.env.boottime() + cap;
        let mut read_ts = request.read_ts;
        let mut strangers = Strangers::default();
        loop {
            self.wait_clock(read_ts).await?;
            self.check_clock(txn.id, txn.deadline)?;
            let leader = self.leader()?;
            let want = Want { request: &request, read_ts, lock, txn: &txn };
            match self.try_locking(&leader, version, &want, &mut strangers).await? {
                // Once more as of the newest version met, so that the whole answer is noted as read there: the coordinator
                // moves its transaction to that time, and nothing may slip in below it.
                Try::Done { met, .. } if met > read_ts => read_ts = met,
                Try::Done { results, met, passed } => {
                    self.ask_after(&leader, passed);
                    let certificate = self.certify(&leader).await?;
                    self.reveal(met).await;
                    return Ok(ReadReply { results, read_ts, certificate });
                }
                Try::Strangers => self.get_to_know(&mut strangers).await,
                Try::Blocked(InTheWay { key, by }) if lock.wait == WaitPolicy::NoWait => {
                    let holder = Some(by.holder.party());
                    let mut passed = PassedBy::default();
                    passed.add(&key, by);
                    self.ask_after(&leader, passed);
                    return Err(KvError::LockNotAvailable { key, holder });
                }
                Try::Blocked(InTheWay { key, by }) => {
                    let met = by.intent.then_some(&by.holder);
                    let wanted = want.wanted();
                    if let Waited::Ended = self.await_lock(&leader, &key, &txn, wanted, met, give_up).await? {
                        let why = "it gave its locks back meanwhile".into();
                        return Err(KvError::TxnAborted { txn: txn.id, why });
                    }
                }
            }
        }
    }

    async fn try_locking(
        &self,
        leader: &Arc<Leader>,
        version: u64,
        want: &Want<'_>,
        strangers: &mut Strangers,
    ) -> Result<Try, KvError> {
        let Want { request, read_ts, txn, .. } = *want;
        let points_only = request.ops.iter().all(|op| matches!(op, ReadOp::Get(_)));
        let mut passed = PassedBy::default();
        let free = |op: &ReadOp, core: &Core| match op {
            ReadOp::Get(key) => !core.latches.blocks_read(key),
            ReadOp::Scan(_) => false,
        };
        let mut locked = None;
        if points_only {
            let mut core = leader.core();
            if request.ops.iter().all(|op| free(op, &core)) {
                locked = Some(want.lock_points(leader, &mut core, &mut passed, strangers)?);
            }
        }
        // Held until the rows of scans are locked too.
        let mut latched = None;
        let locked = match locked {
            Some(locked) => locked,
            None => {
                latched = Some(leader.latch(latches(&request.ops)).await?);
                want.lock_points(leader, &mut leader.core(), &mut passed, strangers)?
            }
        };
        if let Err(found) = locked {
            return Ok(Try::Blocked(found));
        }
        let snapshot = self.context.engine.snapshot();
        self.still(leader, version)?.still_holds(read_ts)?;
        let mut view = View::new(&*snapshot, Some(txn), read_ts, read_ts);
        let mut results = Vec::with_capacity(request.ops.len());
        for op in &request.ops {
            let looked = match op {
                ReadOp::Get(key) if passed.contains(key) => Ok(ReadResult::Get(None)),
                ReadOp::Get(key) => {
                    let found = view.get_newest(key, want, leader, &mut passed, strangers)?;
                    found.map(ReadResult::Get)
                }
                ReadOp::Scan(scan) => {
                    let page = view.page(scan, Timestamp::MAX, &self.context.config)?;
                    let found = view.lock_rows(scan, page, want, leader, &mut passed, strangers)?;
                    found.map(ReadResult::Scan)
                }
            };
            match looked {
                Ok(result) => results.push(result),
                Err(found) => return Ok(Try::Blocked(found)),
            }
        }
        drop(latched);
        if strangers.any() {
            return Ok(Try::Strangers);
        }
        Ok(Try::Done { results, met: view.met, passed })
    }
}

/// A request, as of one try.
#[derive(Clone, Copy)]
struct Want<'a> {
    request: &'a ReadRequest,
    read_ts: Timestamp,
    lock: &'a LockRequest,
    txn: &'a Arc<TxnMeta>,
}

impl Want<'_> {
    fn waits(&self) -> bool {
        matches!(self.lock.wait, WaitPolicy::Block(_))
    }

    fn wanted(&self) -> Wanted {
        let ReadRequest { number, asked, .. } = *self.request;
        Wanted { mode: self.lock.mode, number, firm: self.lock.firm, asked }
    }

    fn skips(&self) -> bool {
        self.lock.wait == WaitPolicy::SkipLocked
    }

    /// Whether an intent must not be passed by yet, which is noted.
    fn is_strange(&self, key: &Key, owner: &TxnMeta, strangers: &mut Strangers) -> bool {
        !self.waits() && strangers.meet(key, owner)
    }

    /// Locks the single keys of the request and notes all its reads.
    fn lock_points(
        &self,
        leader: &Leader,
        core: &mut Core,
        passed: &mut PassedBy,
        strangers: &mut Strangers,
    ) -> Result<Result<(), InTheWay>, KvError> {
        for op in &self.request.ops {
            let ReadOp::Get(key) = op else { continue };
            let Err(holder) = leader.try_lock(core, key, self.txn, self.wanted())? else { continue };
            let intent = core.locks.holder(key, holder.id).is_some_and(|blocker| blocker.intent);
            if (intent && self.is_strange(key, &holder, strangers)) || self.skips() {
                passed.add(key, Met { holder, intent: false });
            } else {
                return Ok(Err(InTheWay::new(key, holder, false)));
            }
        }
        note(core, &self.request.ops, self.read_ts, Some(self.txn.id));
        Ok(Ok(()))
    }
}

impl View<'_> {
    /// The newest version of a key that is locked.
    fn get_newest(
        &mut self,
        key: &Key,
        want: &Want<'_>,
        leader: &Leader,
        passed: &mut PassedBy,
        strangers: &mut Strangers,
    ) -> Result<Result<Option<Row>, InTheWay>, KvError> {
        if let Some(found) = intent::get(self.snapshot, key).map_err(internal)? {
            if self.owns(&found) {
                let row = found.value.map(|value| Row { key: key.clone(), value, ts: found.ts });
                return Ok(Ok(row));
            }
            if self.txn.is_none_or(|txn| txn.id != found.txn.id) {
                if want.is_strange(key, &found.txn, strangers) {
                    return Ok(Ok(None));
                }
                let holder = Arc::new(found.txn);
                if want.skips() {
                    let mut core = leader.core();
                    let wakes = self.txn.map(|txn| core.locks.release(key, txn.id)).unwrap_or_default();
                    core.wake_locks(wakes);
                    passed.add(key, Met { holder, intent: true });
                    return Ok(Ok(None));
                }
                return Ok(Err(InTheWay::new(key, holder, true)));
            }
        }
        let Some(newest) = mvcc::newest(self.snapshot, key).map_err(internal)? else { return Ok(Ok(None)) };
        self.met = self.met.max(newest.ts);
        Ok(Ok(newest.value.map(|value| Row { key: key.clone(), value, ts: newest.ts })))
    }

    /// A page of the newest rows, each locked. Writers are kept out of the span by the caller's latch.
    fn lock_rows(
        &mut self,
        scan: &Scan,
        page: Page,
        want: &Want<'_>,
        leader: &Leader,
        passed: &mut PassedBy,
        strangers: &mut Strangers,
    ) -> Result<Result<ScanResult, InTheWay>, KvError> {
        let txn = want.txn;
        let covered = covered(&scan.span, page.resume.as_ref(), scan.reverse);
        let mut own = BTreeMap::new();
        let mut foreign = BTreeMap::new();
        for found in intent::scan(self.snapshot, &covered) {
            let (key, found) = found.map_err(internal)?;
            if self.owns(&found) {
                own.insert(key, found);
            } else if found.txn.id != txn.id {
                want.is_strange(&key, &found.txn, strangers);
                foreign.insert(key, found);
            }
        }
        if strangers.any() {
            return Ok(Ok(ScanResult { rows: Vec::new(), resume: page.resume }));
        }
        self.met = self.met.max(page.newest_met);
        // A row that is only about to appear concerns this read if it may appear before it.
        for (key, intent) in &foreign {
            let present = page.rows.iter().any(|row| row.key == *key);
            if !present && intent.ts <= self.read_ts && !want.skips() {
                let holder = Arc::new(intent.txn.clone());
                return Ok(Err(InTheWay::new(key, holder, true)));
            }
        }
        let rows = super::scan::overlay(page.rows, own, scan.reverse);
        let mut locked = Vec::with_capacity(rows.len());
        let mut core = leader.core();
        for row in rows {
            let blocker = match foreign.get(&row.key) {
                Some(intent) => Some(Met { holder: Arc::new(intent.txn.clone()), intent: true }),
                None => {
                    let locked = leader.try_lock(&mut core, &row.key, txn, want.wanted())?;
                    locked.err().map(|holder| Met { holder, intent: false })
                }
            };
            match blocker {
                None => locked.push(row),
                Some(by) if want.skips() => passed.add_row(&row.key, by),
                Some(by) => return Ok(Err(InTheWay { key: row.key, by })),
            }
        }
        Ok(Ok(ScanResult { rows: locked, resume: page.resume }))
    }
}
