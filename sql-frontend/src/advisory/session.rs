//! The advisory locks of one session: how often it has taken each, for itself and for its transaction.
//!
//! Each lock and mode is one place in one line, however often it was taken; it is given up with the last of them. What a
//! transaction takes has the depth of the subtransaction in which it did.

use super::{
    keeper::{Entered, Found, Hold, Keeper},
    keys::LockId,
    lease::lost,
    line::{Mode, Place, Ticket},
};
use crate::{
    error::{SqlError, SqlState},
    session::errors::{from_kv, from_txn, session_of},
};
use parking_lot::Mutex;
use quorate_proto::{KvError, Timestamp, TxnId, kv::Blocked};
use quorate_txn::Txn;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Between two looks at a line in which the session stands; doubled from the first to the longest.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(160);
/// After so long the detector of deadlocks is told, and those in the way are looked at,
const PATIENCE: Duration = Duration::from_millis(350);
/// and then again and again.
const AGAIN: Duration = Duration::from_secs(1);

pub struct SessionLocks {
    keeper: Arc<Keeper>,
    /// The session, for the detector of deadlocks.
    name: TxnId,
    pid: u32,
    /// One enters a line at a time.
    turn: tokio::sync::Mutex<()>,
    held: Mutex<BTreeMap<(LockId, Mode), Held>>,
    effects: AtomicU64,
}

struct Held {
    hold: Hold,
    /// How often the session has it, whatever becomes of its transactions.
    session: u64,
    /// The transaction has it since this depth of subtransactions.
    depth: Option<usize>,
    /// So many commits that nobody waits for any more have it yet.
    commits: usize,
}

impl Held {
    fn take(&mut self, scope: Scope) {
        match scope {
            Scope::Session => self.session += 1,
            Scope::Transaction(depth) => {
                self.depth = Some(self.depth.map_or(depth, |known| known.min(depth)))
            }
        }
    }

    fn is_over(&self) -> bool {
        self.session == 0 && self.depth.is_none() && self.commits == 0
    }
}

/// For whom a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Session,
    /// In the subtransaction of this depth; 0 is none.
    Transaction(usize),
}

/// One who is willing to wait.
pub struct Waiter<'a> {
    pub txn: &'a Txn,
    /// Zero: as long as it takes.
    pub lock_timeout: Duration,
}

/// Locks that are being given up.
#[derive(Default)]
#[must_use]
pub struct Released(Vec<oneshot::Receiver<()>>);

impl Released {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn with(mut self, more: Released) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Returns when others can have them.
    pub async fn done(self) {
        for released in self.0 {
            // A node that stops tells nobody.
            let _ = released.await;
        }
    }
}

impl SessionLocks {
    pub fn new(keeper: Arc<Keeper>, pid: u32) -> Arc<Self> {
        let name = TxnId(keeper.env.random_u128());
        let (turn, held, effects) = (Default::default(), Mutex::default(), AtomicU64::new(0));
        Arc::new(SessionLocks { keeper, name, pid, turn, held, effects })
    }

    pub(super) fn name(&self) -> TxnId {
        self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub fn holds_any(&self) -> bool {
        !self.held.lock().is_empty()
    }

    /// Some lock stays when the transaction ends.
    pub fn holds_beyond_transaction(&self) -> bool {
        self.held.lock().values().any(|held| held.session > 0)
    }

    /// Rises with everything that cannot be undone: locks that the session has taken for itself, or given back.
    pub fn effects(&self) -> u64 {
        self.effects.load(Ordering::SeqCst)
    }

    /// Until when it is certain that the session has what it holds: whatever it commits lies below that.
    pub fn bound(&self) -> Timestamp {
        if quorate_env::planted!("sql.lost_locks_trusted") {
            return Timestamp::MAX;
        }
        self.held.lock().values().map(|held| held.hold.lease.until()).min().unwrap_or(Timestamp::MAX)
    }

    pub fn are_lost(&self) -> bool {
        self.bound() <= self.keeper.env.clock().physical()
    }

    /// Returns when they are.
    pub async fn lost(&self) -> SqlError {
        let env = &self.keeper.env;
        loop {
            let bound = self.bound();
            if bound == Timestamp::MAX {
                return std::future::pending().await;
            }
            let now = env.clock().physical();
            if now >= bound {
                return lost();
            }
            env.sleep(bound.since(now)).await;
        }
    }

    /// Takes a lock; false if somebody is in the way and there is no waiter. A wait that is dropped leaves the line.
    pub async fn acquire(
        self: &Arc<Self>,
        lock: LockId,
        mode: Mode,
        scope: Scope,
        waiter: Option<Waiter<'_>>,
    ) -> Result<bool, SqlError> {
        let _turn = self.turn.lock().await;
        if self.are_lost() {
            return Err(lost());
        }
        if self.take_again(lock, mode, scope) {
            return Ok(true);
        }
        let hold = self.keeper.hold().await?;
        let (ticket, lease) = (hold.ticket, hold.lease.clone());
        let mut entering = Entering { keeper: &self.keeper, lock, hold: Some(hold) };
        let place = Place { ticket, session: self.name, pid: self.pid, mode, granted: false };
        match (self.keeper.enter(lock, &place, &lease, waiter.is_some()).await?, waiter) {
            (Entered::Granted, _) => {}
            (Entered::Waits, Some(waiter)) => self.wait(lock, ticket, waiter).await?,
            (Entered::Waits | Entered::Refused, _) => {
                entering.hold = None;
                return Ok(false);
            }
        }
        // Who grants a place does not ask whether its lease runs.
        let hold = entering.hold.take_if(|hold| self.keeper.runs(&hold.lease)).ok_or_else(lost)?;
        self.keep(lock, mode, scope, hold);
        Ok(true)
    }

    fn take_again(&self, lock: LockId, mode: Mode, scope: Scope) -> bool {
        let mut all = self.held.lock();
        let Some(held) = all.get_mut(&(lock, mode)) else { return false };
        held.take(scope);
        drop(all);
        self.note_effect(scope);
        true
    }

    fn keep(self: &Arc<Self>, lock: LockId, mode: Mode, scope: Scope, hold: Hold) {
        let mut held = Held { hold, session: 0, depth: None, commits: 0 };
        held.take(scope);
        self.held.lock().insert((lock, mode), held);
        self.keeper.know(self.name, self);
        self.note_effect(scope);
    }

    fn note_effect(&self, scope: Scope) {
        if scope == Scope::Session {
            self.effects.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn wait(&self, lock: LockId, ticket: Ticket, waiter: Waiter<'_>) -> Result<(), SqlError> {
        let before = Mutex::default();
        let turn = self.await_turn(lock, ticket, waiter.txn, &before);
        if waiter.lock_timeout.is_zero() {
            return turn.await;
        }
        let late = |_| late(lock, &before.lock());
        self.keeper.env.timeout(waiter.lock_timeout, turn).await.map_err(late)?
    }

    /// Notes who is in the way.
    async fn await_turn(
        &self,
        lock: LockId,
        ticket: Ticket,
        txn: &Txn,
        before: &Mutex<Vec<Place>>,
    ) -> Result<(), SqlError> {
        let (keeper, env) = (&self.keeper, &self.keeper.env);
        let _counted = Counted::new(&keeper.waiting);
        let mut reports = Reports { keeper, txn, pid: self.pid, told: false };
        let (mut pause, mut tick) = (FIRST_LOOK, env.boottime() + PATIENCE);
        loop {
            // From now on no news is missed.
            let changed = keeper.changed.notified();
            match keeper.look(lock, ticket).await.map_err(from_txn)? {
                Found::Granted => return Ok(()),
                Found::Nothing => return Err(lost()),
                Found::Waits(places) => {
                    let by = places.iter().map(|place| place.session).collect();
                    *before.lock() = places;
                    if env.boottime() >= tick {
                        tick = env.boottime() + AGAIN;
                        keeper.tend(lock).await.map_err(from_txn)?;
                        reports.tell(Blocked { key: lock.key(), by }).await?;
                    }
                }
            }
            tokio::select! {
                () = changed => {}
                () = env.sleep(env.jittered(pause)) => pause = (pause * 2).min(LONGEST_LOOK),
            }
        }
    }

    /// Gives back what the session has taken for itself, once; `None` if it has not.
    pub fn unlock(&self, lock: LockId, mode: Mode) -> Option<Released> {
        let mut all = self.held.lock();
        let held = all.get_mut(&(lock, mode)).filter(|held| held.session > 0)?;
        held.session -= 1;
        self.note_effect(Scope::Session);
        Some(self.release(&mut all))
    }

    /// The same for all of them, however often they were taken.
    pub fn unlock_all(&self) -> Released {
        let mut all = self.held.lock();
        for held in all.values_mut().filter(|held| held.session > 0) {
            held.session = 0;
            self.note_effect(Scope::Session);
        }
        self.release(&mut all)
    }

    /// What the transaction has taken at this depth of subtransactions and below is over; at 0 that is all.
    pub fn end_since(&self, depth: usize) -> Released {
        let mut all = self.held.lock();
        for held in all.values_mut() {
            held.depth = held.depth.filter(|since| *since < depth);
        }
        self.release(&mut all)
    }

    /// What the transaction has stays until the [`Kept`] is dropped, although the transaction is over for its session.
    pub fn keep_for_commit(self: &Arc<Self>) -> Kept {
        let mut all = self.held.lock();
        let of_transaction = all.iter_mut().filter(|(_, held)| held.depth.is_some());
        let what = of_transaction.map(|(lock, held)| {
            held.commits += 1;
            *lock
        });
        let what = what.collect();
        Kept { locks: self.clone(), what }
    }

    /// What was taken below this depth is as if it had been taken there.
    pub fn merge_into(&self, depth: usize) {
        for held in self.held.lock().values_mut() {
            held.depth = held.depth.map(|since| since.min(depth));
        }
    }

    fn release(&self, all: &mut BTreeMap<(LockId, Mode), Held>) -> Released {
        let over = all.extract_if(.., |_, held| held.is_over());
        Released(over.map(|((lock, _), held)| self.keeper.leave(lock, held.hold)).collect())
    }
}

/// Locks of a transaction whose commit is under way.
pub struct Kept {
    locks: Arc<SessionLocks>,
    what: Vec<(LockId, Mode)>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut all = self.locks.held.lock();
        for lock in &self.what {
            if let Some(held) = all.get_mut(lock) {
                held.commits -= 1;
            }
        }
        drop(self.locks.release(&mut all));
    }
}

impl Drop for SessionLocks {
    /// However a session ends, nothing of it stays.
    fn drop(&mut self) {
        self.keeper.forget(self.name);
        for ((lock, _), held) in std::mem::take(self.held.get_mut()) {
            drop(self.keeper.leave(lock, held.hold));
        }
    }
}

/// A place that may have been taken; given up unless its session keeps it.
struct Entering<'a> {
    keeper: &'a Arc<Keeper>,
    lock: LockId,
    hold: Option<Hold>,
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            drop(self.keeper.leave(self.lock, hold));
        }
    }
}

/// The error of one who has waited too long, and for whom.
fn late(lock: LockId, before: &[Place]) -> SqlError {
    let late = SqlError::new(SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout");
    let sessions = |granted: bool| {
        let pids: BTreeSet<u32> =
            before.iter().filter(|place| place.granted == granted).map(|place| place.pid).collect();
        pids.into_iter().map(session_of).collect::<Vec<_>>().join(" and ")
    };
    let (holders, waiters) = (sessions(true), sessions(false));
    late.detail(match (holders.as_str(), waiters.as_str()) {
        ("", "") => format!("Advisory lock {lock} is held by another session."),
        ("", waiters) => format!("Advisory lock {lock} is waited for by {waiters}, who came first."),
        (holders, _) => format!("Advisory lock {lock} is held by {holders}."),
    })
}

/// What one long wait tells the detector of deadlocks (PROTOCOL 19).
struct Reports<'a> {
    keeper: &'a Arc<Keeper>,
    txn: &'a Txn,
    pid: u32,
    told: bool,
}

impl Reports<'_> {
    async fn tell(&mut self, blocked: Blocked) -> Result<(), SqlError> {
        self.told = true;
        let cycle = self.keeper.report(self.txn, self.pid, Some(blocked)).await;
        if cycle.is_empty() || quorate_env::planted!("sql.advisory_circle_unnoticed") {
            return Ok(());
        }
        quorate_env::probe!("sql.advisory_deadlock");
        Err(from_kv(&KvError::Deadlock { cycle }, Some(self.txn.id())))
    }
}

impl Drop for Reports<'_> {
    /// Edges that are not true any more must close no circle.
    fn drop(&mut self) {
        if self.told {
            let (keeper, txn, pid) = (self.keeper.clone(), self.txn.clone(), self.pid);
            let withdraw = async move { drop(keeper.report(&txn, pid, None).await) };
            self.keeper.env.spawn("sql.advisory_wait_over", withdraw).detach();
        }
    }
}

/// One more, as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
