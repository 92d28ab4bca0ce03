//! The rows of advisory locks, as one node's sessions change and watch them.
//!
//! Each change is a small transaction that is serializable, whatever the session's own is, and is no part of that. It locks the
//! row, so that those who want to change it queue at its leader for as long as a commit takes; nobody waits there for an
//! advisory lock itself. Whoever does looks at the row again and again, and at once when something has changed at this node.

use super::{
    keys::LockId,
    lease::Lease,
    line::{Line, Place, Ticket},
    session::SessionLocks,
};
use crate::{SqlError, catalog::store::exclusive, session::errors::from_txn};
use minicbor::Decode;
use parking_lot::Mutex;
use quorate_env::Env;
use quorate_proto::{
    ErrorClass, Key, KvError, ShardId, Timestamp, TxnId, Value,
    kv::{Blocked, Stuck, Waits},
    rpc,
};
use quorate_txn::{Coordinator, Txn, TxnError, TxnOptions};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

/// Between two tries to give a place up.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What waits for advisory locks waits in no shard; the detector of deadlocks keeps it under this one.
const NO_SHARD: ShardId = ShardId(u64::MAX);

/// One per node.
pub struct Keeper {
    pub(super) env: Env,
    pub(super) coordinator: Arc<Coordinator>,
    /// How long a node's locks outlive its last sign of life.
    pub(super) length: Duration,
    /// The lease for new places; whoever makes one lets the others wait.
    pub(super) current: tokio::sync::Mutex<Option<Arc<Lease>>>,
    /// Those that hold or have held something, by how the detector of deadlocks knows them.
    sessions: Mutex<BTreeMap<TxnId, Weak<SessionLocks>>>,
    /// A place has been given up here.
    pub(super) changed: Notify,
    /// Sessions that stand in line.
    pub(super) waiting: AtomicUsize,
    next: AtomicU64,
}

/// A place in a line, and what it rests on.
#[derive(Clone, Debug)]
pub struct Hold {
    pub lease: Arc<Lease>,
    pub ticket: Ticket,
}

/// What becomes of one who enters a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    Granted,
    Waits,
    /// He did not want to wait.
    Refused,
}

/// What one who waits finds.
pub enum Found {
    Granted,
    /// These are in the way.
    Waits(Vec<Place>),
    /// His place is no longer there: its lease has run out.
    Nothing,
}

impl Keeper {
    pub fn new(env: Env, coordinator: Arc<Coordinator>, length: Duration) -> Arc<Self> {
        Arc::new(Keeper {
            env,
            coordinator,
            length,
            current: tokio::sync::Mutex::default(),
            sessions: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            next: AtomicU64::new(0),
        })
    }

    /// Sessions of this node that wait for an advisory lock.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A place that nobody has, resting on a lease that runs.
    pub(super) async fn hold(self: &Arc<Self>) -> Result<Hold, SqlError> {
        let lease = self.lease().await?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { lease: lease.id, number };
        Ok(Hold { lease, ticket })
    }

    /// Enters the lock's line. After an error, or if it is dropped before its end, the place may have been taken.
    pub(super) async fn enter(
        &self,
        lock: LockId,
        place: &Place,
        lease: &Lease,
        wait: bool,
    ) -> Result<Entered, SqlError> {
        let key = lock.key();
        let enter = |txn: Txn| {
            let key = key.clone();
            async move {
                txn.set_commit_before(lease.until());
                let mut line = load(&txn, &key, true).await?;
                if line.find(place.ticket).is_some() {
                    // A commit that was lost sight of.
                    return Ok(entered(&line, place.ticket));
                }
                let before = line.clone();
                if !line.enter(place.clone()) {
                    let mut others = line.leases();
                    others.remove(&lease.id);
                    line.bury(&self.over(&txn, &others).await?);
                }
                let entered = entered(&line, place.ticket);
                if entered == Entered::Waits && !wait {
                    line.leave(place.ticket);
                    store_if(line != before, &txn, key, &line);
                    return Ok(Entered::Refused);
                }
                store_if(true, &txn, key, &line);
                Ok(entered)
            }
        };
        loop {
            if !self.runs(lease) {
                return Err(super::lease::lost());
            }
            match self.coordinator.run(TxnOptions::default(), &enter).await {
                Ok((entered, _)) => return Ok(entered),
                Err(error) if error.class() == ErrorClass::Ambiguous => {}
                Err(error) => return Err(from_txn(error)),
            }
        }
    }

    /// Gives a place up, for as long as that takes; done when the receiver hears of it. Nothing of it is lost when nobody waits
    /// for that.
    pub(super) fn leave(self: &Arc<Self>, lock: LockId, hold: Hold) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let keeper = self.clone();
        let leave = async move {
            let mut pause = FIRST_PAUSE;
            // A place whose lease has run out is taken away by whoever wants the lock.
            while keeper.runs(&hold.lease)
                && let Err(error) = keeper.take_out(lock, hold.ticket).await
            {
                tracing::debug!(%error, "an advisory lock was not released; again soon");
                keeper.env.sleep(keeper.env.jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            keeper.changed.notify_waiters();
            let _ = tell.send(());
        };
        self.env.spawn("sql.advisory_release", leave).detach();
        told
    }

    async fn take_out(&self, lock: LockId, ticket: Ticket) -> Result<(), TxnError> {
        let key = lock.key();
        let leave = |txn: Txn| {
            let key = key.clone();
            async move {
                let mut line = load(&txn, &key, true).await?;
                line.leave(ticket);
                // Also if it was not there: whatever is still on its way to enter it finds the row changed, and fails.
                store_if(true, &txn, key, &line);
                Ok(())
            }
        };
        self.coordinator.run(TxnOptions::default(), leave).await.map(drop)
    }

    pub(super) async fn look(&self, lock: LockId, ticket: Ticket) -> Result<Found, TxnError> {
        let key = lock.key();
        let look = |txn: Txn| {
            let key = key.clone();
            async move { load(&txn, &key, false).await }
        };
        let options = TxnOptions { read_only: true, ..TxnOptions::default() };
        let (line, _) = self.coordinator.run(options, look).await?;
        Ok(match line.find(ticket) {
            None => Found::Nothing,
            Some(place) if place.granted => Found::Granted,
            Some(_) => Found::Waits(line.blockers(ticket)),
        })
    }

    /// Takes those out of a line whose leases are over.
    pub(super) async fn tend(&self, lock: LockId) -> Result<(), TxnError> {
        let key = lock.key();
        let tend = |txn: Txn| {
            let key = key.clone();
            async move {
                let mut line = load(&txn, &key, false).await?;
                let over = self.over(&txn, &line.leases()).await?;
                line.bury(&over);
                store_if(!over.is_empty(), &txn, key, &line);
                Ok(())
            }
        };
        self.coordinator.run(TxnOptions::default(), tend).await.map(drop)
    }

    /// From now on the session's transactions are told to the detector of deadlocks.
    pub(super) fn know(&self, session: TxnId, locks: &Arc<SessionLocks>) {
        self.sessions.lock().insert(session, Arc::downgrade(locks));
    }

    pub(super) fn forget(&self, session: TxnId) {
        self.sessions.lock().remove(&session);
    }

    /// Whoever waits for a session waits for what its transaction waits for, such as a row.
    pub(super) fn report_sessions(&self) {
        // Dropped without the lock: the last hold of one enters [`Keeper::forget`].
        let mut sessions: Vec<Arc<SessionLocks>> =
            self.sessions.lock().values().filter_map(Weak::upgrade).collect();
        sessions.retain(|locks| locks.holds_any());
        if sessions.is_empty() {
            return;
        }
        let mut txns: BTreeMap<u32, Vec<TxnId>> = BTreeMap::new();
        for txn in self.coordinator.transactions() {
            if let Some(owner) = txn.owner {
                txns.entry(owner).or_default().push(txn.id);
            }
        }
        for locks in sessions {
            let Some(blockers) = txns.get(&locks.pid()).cloned() else { continue };
            let report = Waits {
                keeper: Key::default(),
                txn: locks.name(),
                attempt: 0,
                started: Timestamp::ZERO,
                shard: NO_SHARD,
                blocked: vec![Blocked { key: Key::default(), by: blockers }],
                session: Some(locks.pid()),
            };
            let coordinator = self.coordinator.clone();
            // It is never told to give way: whoever stands in the circle with it is younger.
            let tell = async move { drop(coordinator.report_wait(report).await) };
            self.env.spawn("sql.advisory_report", tell).detach();
        }
    }

    /// The circle that this transaction of the session must break, which waits for these sessions; for nobody: no longer.
    pub(super) async fn report(&self, txn: &Txn, pid: u32, blocked: Option<Blocked>) -> Vec<Stuck> {
        let report = Waits {
            keeper: Key::default(),
            txn: txn.id(),
            attempt: txn.attempt(),
            started: txn.started(),
            shard: NO_SHARD,
            blocked: blocked.into_iter().collect(),
            session: Some(pid),
        };
        self.coordinator.report_wait(report).await
    }
}

fn entered(line: &Line, ticket: Ticket) -> Entered {
    if line.is_granted(ticket) { Entered::Granted } else { Entered::Waits }
}

async fn load(txn: &Txn, key: &Key, lock: bool) -> Result<Line, TxnError> {
    match txn.get(key, lock.then(exclusive)).await? {
        Some(raw) => decode(txn, &raw),
        None => Ok(Line::default()),
    }
}

fn store_if(changed: bool, txn: &Txn, key: Key, line: &Line) {
    match (changed, line.is_empty()) {
        (false, _) => {}
        (true, false) => txn.put(key, Value(rpc::encode(line))),
        (true, true) => txn.delete(key),
    }
}

pub(super) fn decode<T: for<'b> Decode<'b, ()>>(txn: &Txn, raw: &[u8]) -> Result<T, TxnError> {
    let malformed = |error| {
        let why = format!("a row of the advisory locks cannot be read: {error}");
        TxnError::new(txn.id(), KvError::Internal { why })
    };
    rpc::decode(raw).map_err(malformed)
}
