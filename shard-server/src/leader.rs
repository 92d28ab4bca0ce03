//! What a leader keeps in memory for the time of one term: latches, locks and the timestamp cache, behind one mutex, and
//! who waits for them. All of it dies with the term (PROTOCOL 5), but for locks when leadership is handed over
//! ([`crate::hand_over`]) or their keys go to another shard ([`crate::split`]).

use crate::{
    ShardConfig,
    closed::evaluations::Evaluations,
    command::HeldBy,
    detector::Detector,
    eval::pass_by::LastAsked,
    group_commit::GroupCommit,
    latch::{LatchId, LatchSet, Latches},
    lock_table::{Asked, LockTable, Turn, WaiterId, Wakes},
    ts_cache::TsCache,
};
use parking_lot::{Mutex, MutexGuard};
use quorate_env::Env;
use quorate_proto::kv::{LockMode, ReleaseLocks, TxnMeta};
use quorate_proto::{Key, KvError, NodeId, ShardId, Span, Timestamp, TxnId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};
use tokio::sync::oneshot;

pub struct Leader {
    pub shard: ShardId,
    pub term: u64,
    over: AtomicBool,
    /// Known when another leader is, for the refusal.
    successor: OnceLock<NodeId>,
    core: Mutex<Core>,
    pub proposals: GroupCommit,
    env: Env,
    max_locks: usize,
    max_waiters: usize,
}

#[derive(Debug)]
pub struct Core {
    pub latches: Latches,
    pub cache: TsCache,
    pub evaluations: Evaluations,
    pub locks: LockTable,
    /// Used in the one shard that keeps it for all.
    pub detector: Detector,
    /// When someone first asked for a transaction without a record (on `Env::boottime`).
    pub asked: BTreeMap<TxnId, Duration>,
    /// Transactions that someone is pushing right now.
    pub pushing: BTreeSet<TxnId>,
    /// Of those who were passed by.
    pub last_asked: LastAsked,
    latch_waiters: BTreeMap<LatchId, oneshot::Sender<()>>,
    lock_waiters: BTreeMap<WaiterId, oneshot::Sender<Turn>>,
    /// Locks that commits took which wait for others, see [`Borrowed`].
    borrowed: BTreeSet<(TxnId, Key)>,
}

/// A lock as a request wants it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub mode: LockMode,
    /// The request's number among those of its transaction, or [`NEVER_UNDONE`](crate::lock_table::NEVER_UNDONE).
    pub number: u64,
    /// It must be held, or be refused.
    pub firm: bool,
    /// When the transaction first asked for it.
    pub asked: Timestamp,
}

/// At most so many transactions are remembered in [`Core::asked`].
const MAX_ASKED: usize = 4096;

impl Core {
    fn wake_latches(&mut self, ready: Vec<LatchId>) {
        for id in ready {
            // The receiver of one that gave up is gone; its guard gives the latches back.
            if let Some(waiter) = self.latch_waiters.remove(&id) {
                let _ = waiter.send(());
            }
        }
    }

    pub fn wake_locks(&mut self, wakes: Wakes) {
        for (id, turn) in wakes {
            if let Some(waiter) = self.lock_waiters.remove(&id) {
                let _ = waiter.send(turn);
            }
        }
    }

    /// The transaction's locks here go, for its coordinator will not release them.
    pub fn drop_locks(&mut self, txn: TxnId) {
        quorate_env::probe!("shard.lock_fell");
        let wakes = self.locks.release_all(txn);
        self.wake_locks(wakes);
    }

    /// The locks in the span that transactions asked for: who hands it over tells them. A request that has borrowed some is
    /// sent away with them, and intents are in the engine.
    pub fn held(&self, span: &Span) -> Vec<HeldBy> {
        self.locks.held(|txn, key| span.contains(key) && !self.borrowed.contains(&(txn, key.clone())))
    }

    /// Since when someone has been asking for the transaction.
    pub fn first_asked(&mut self, txn: TxnId, now: Duration) -> Duration {
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&txn) {
            let oldest = self.asked.iter().min_by_key(|(id, at)| (**at, **id)).map(|(id, _)| *id);
            oldest.map(|id| self.asked.remove(&id));
        }
        *self.asked.entry(txn).or_insert(now)
    }
}

impl Leader {
    pub fn new(
        shard: ShardId,
        term: u64,
        low_water: Timestamp,
        locks: LockTable,
        config: &ShardConfig,
        env: &Env,
    ) -> Self {
        Leader {
            shard,
            term,
            over: AtomicBool::new(false),
            successor: OnceLock::new(),
            core: Mutex::new(Core {
                latches: Latches::default(),
                cache: TsCache::new(low_water, config.ts_cache_bytes),
                evaluations: Evaluations::default(),
                locks,
                detector: Detector::default(),
                asked: BTreeMap::new(),
                pushing: BTreeSet::new(),
                last_asked: LastAsked::default(),
                latch_waiters: BTreeMap::new(),
                lock_waiters: BTreeMap::new(),
                borrowed: BTreeSet::new(),
            }),
            proposals: GroupCommit::default(),
            env: env.clone(),
            max_locks: config.max_locks,
            max_waiters: config.max_waiters,
        }
    }

    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub fn not_leader(&self) -> KvError {
        KvError::NotLeader { shard: self.shard, leader: self.successor.get().copied() }
    }

    /// The term is over: everyone who waits is sent away with a re-route.
    pub fn end(&self, successor: Option<NodeId>) {
        if let Some(node) = successor {
            let _ = self.successor.set(node);
        }
        self.over.store(true, Ordering::Release);
        let mut core = self.core();
        if !quorate_env::planted!("shard.waiters_outlive_term") {
            core.latch_waiters.clear();
            core.lock_waiters.clear();
        }
    }

    /// Waits for its turn and latches.
    pub async fn latch(self: &Arc<Self>, set: LatchSet) -> Result<LatchGuard, KvError> {
        let (guard, turn) = {
            let mut core = self.core();
            let (id, held) = core.latches.acquire(set);
            let guard = LatchGuard { leader: self.clone(), id };
            if held {
                (guard, None)
            } else {
                let (sender, receiver) = oneshot::channel();
                core.latch_waiters.insert(id, sender);
                (guard, Some(receiver))
            }
        };
        // Checked after entering, so that `end` either sees the waiter or is seen here.
        if self.is_over() {
            return Err(self.not_leader());
        }
        if let Some(turn) = turn {
            turn.await.map_err(|_| self.not_leader())?;
        }
        Ok(guard)
    }

    /// A request that comes now.
    pub fn asked(&self, wanted: &Wanted) -> Asked {
        Asked { at: self.env.boottime(), first: wanted.asked, number: wanted.number }
    }

    /// Takes a lock, or says who holds it. Beyond the bound one that is free is refused if it was asked for; otherwise it is not
    /// kept, and the check at commit excludes (PROTOCOL 13). Who has it already, or waits for one who has, adds nothing.
    ///
    /// # Errors
    /// [`KvError::TooManyLocks`], of a firm lock.
    pub fn try_lock(
        &self,
        core: &mut Core,
        key: &Key,
        txn: &Arc<TxnMeta>,
        wanted: Wanted,
    ) -> Result<Result<(), Arc<TxnMeta>>, KvError> {
        let Wanted { mode, firm, .. } = wanted;
        // What statements take by themselves leaves room: one that changes very many rows is not to refuse others their locks.
        let bound = if firm { self.max_locks } else { self.max_locks - self.max_locks / 4 };
        if core.locks.locks() < bound || core.locks.holds(key, txn.id) {
            return Ok(core.locks.try_lock(key, txn, mode, self.asked(&wanted)));
        }
        let admitted = core.locks.admits(key, txn.id, mode);
        if firm && admitted.is_ok() && !quorate_env::planted!("shard.asked_locks_not_kept") {
            quorate_env::probe!("shard.lock_refused");
            quorate_env::count!("quorate_shard_locks_refused_total");
            return Err(KvError::TooManyLocks { shard: self.shard, most: self.max_locks as u64 });
        }
        quorate_env::count!("quorate_shard_locks_not_kept_total");
        Ok(admitted)
    }

    /// Enters a waiter made by `enter`.
    pub fn wait(
        self: &Arc<Self>,
        core: &mut Core,
        enter: impl FnOnce(&mut LockTable) -> WaiterId,
    ) -> Result<LockWait, KvError> {
        if core.locks.waiters() >= self.max_waiters {
            let what = format!("lock waiters of shard {}", self.shard);
            return Err(KvError::Overloaded { what, retry_after_millis: 100 });
        }
        let id = enter(&mut core.locks);
        let (sender, turn) = oneshot::channel();
        core.lock_waiters.insert(id, sender);
        let wakes = core.locks.entered(id);
        core.wake_locks(wakes);
        Ok(LockWait { leader: self.clone(), id, turn })
    }

    pub fn release(&self, release: &ReleaseLocks) {
        let Some(undone) = release.undone else { return self.release_txn(release.txn) };
        let mut core = self.core();
        let wakes = core.locks.release_undone(release.txn, undone);
        core.wake_locks(wakes);
    }

    pub fn release_txn(&self, txn: TxnId) {
        let mut core = self.core();
        let wakes = core.locks.release_all(txn);
        core.wake_locks(wakes);
    }

    /// The transaction is decided: its locks go, and with them the intents it had on `keys`.
    pub fn finish_txn<'a>(&self, txn: TxnId, keys: impl Iterator<Item = &'a Key>) {
        let mut core = self.core();
        if core.locks.is_empty() {
            return;
        }
        let mut wakes = Wakes::new();
        for key in keys {
            wakes.extend(core.locks.release(key, txn));
        }
        wakes.extend(core.locks.release_all(txn));
        core.wake_locks(wakes);
    }

    /// Notes reads that were proven up to `ts`.
    pub fn note_reads<'a>(
        &self,
        spans: impl IntoIterator<Item = &'a Span>,
        keys: impl IntoIterator<Item = &'a Key>,
        ts: Timestamp,
        by: TxnId,
    ) {
        let mut core = self.core();
        spans.into_iter().for_each(|span| core.cache.add_span(span, ts, Some(by)));
        keys.into_iter().for_each(|key| core.cache.add_point(key, ts, Some(by)));
    }

    /// The keys from `at` on are the right half's; who waits for their locks must ask there.
    pub fn split_off(&self, at: &Key) {
        let mut core = self.core();
        for id in core.locks.split_off(at) {
            core.lock_waiters.remove(&id);
        }
    }
}

/// Locks that a request took while it stood in line, given back when dropped, unless they have become intents. Its
/// coordinator does not know of them.
pub struct Borrowed {
    leader: Arc<Leader>,
    txn: TxnId,
    keys: Vec<Key>,
}

impl Borrowed {
    pub fn new(leader: Arc<Leader>, txn: TxnId) -> Self {
        Borrowed { leader, txn, keys: Vec::new() }
    }

    /// Also when the same transaction goes on under another leader, where it has nothing.
    pub fn add(&mut self, leader: &Arc<Leader>, key: Key) {
        if !Arc::ptr_eq(&self.leader, leader) {
            *self = Borrowed::new(leader.clone(), self.txn);
        }
        self.leader.core().borrowed.insert((self.txn, key.clone()));
        self.keys.push(key);
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut core = self.leader.core();
        for key in &self.keys {
            core.borrowed.remove(&(self.txn, key.clone()));
            let wakes = core.locks.release_lock(key, self.txn);
            core.wake_locks(wakes);
        }
    }
}

/// Latches, given back when dropped; and with them the place among the evaluations under way (PROTOCOL 22).
pub struct LatchGuard {
    leader: Arc<Leader>,
    id: LatchId,
}

impl LatchGuard {
    /// From now on, while the latches are held, nothing is closed at or above the timestamp returned: the evaluation may write
    /// there, which is not below `floor`.
    pub fn evaluating(&self, core: &mut Core, floor: Timestamp) -> Timestamp {
        core.evaluations.begin(self.id, floor)
    }

    /// Gives back what was latched for reading only.
    pub fn release_reads(&self) {
        let mut core = self.leader.core();
        let ready = core.latches.release_reads(self.id);
        core.wake_latches(ready);
    }
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        let mut core = self.leader.core();
        core.latch_waiters.remove(&self.id);
        core.evaluations.end(self.id);
        let ready = core.latches.release(self.id);
        core.wake_latches(ready);
    }
}

/// A place in a line; left when dropped.
pub struct LockWait {
    leader: Arc<Leader>,
    pub id: WaiterId,
    /// Closed when the term ends or the key goes to another shard.
    pub turn: oneshot::Receiver<Turn>,
}

impl Drop for LockWait {
    fn drop(&mut self) {
        let mut core = self.leader.core();
        core.lock_waiters.remove(&self.id);
        let wakes = core.locks.cancel(self.id);
        core.wake_locks(wakes);
    }
}
