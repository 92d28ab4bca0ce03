//! The session's transaction: begun by a statement or by `BEGIN`, ended with the batch or by `COMMIT` and `ROLLBACK`.

use super::{
    Session, commit,
    errors::from_txn,
    explain::Spent,
    guard::guarded,
    once::Once,
    parse::{Level, Modes},
    past::Past,
    plan::{Body, Planned},
    replay::Log,
    settings::{self, Settings},
};
use crate::{
    advisory::{SessionLocks, session::Released},
    catalog::{Catalog, Pinned, Snapshot},
    ddl::{self, AfterCommit},
    error::{SqlError, SqlState},
    wire::{backend, io::Outbox},
};
use quorate_env::planted;
use quorate_proto::{KvError, Timestamp};
use quorate_txn::{Isolation, Savepoint, Txn, TxnOptions};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long the end of a transaction waits until its locks are free.
const RELEASE: Duration = Duration::from_secs(1);
/// The same for what a savepoint has undone, which the end frees if need be.
const RELEASE_UNDONE: Duration = Duration::from_millis(100);

pub enum Tx {
    Idle,
    Open(Box<OpenTx>),
}

impl Tx {
    /// An error came up: nothing but its end may follow. What it holds is let go of at once, but for what a savepoint may bring
    /// back: others need not wait until the client has taken notice.
    pub fn fail(&mut self, catalog: &Arc<Catalog>) {
        if let Tx::Open(open) = self {
            open.failed = true;
            let freed = open.locks.end_since(open.savepoints.len());
            open.freed = std::mem::take(&mut open.freed).with(freed);
            if let Some(mark) = open.savepoints.last() {
                open.txn.rollback_to(mark.savepoint);
            } else {
                open.txn.rollback();
                open.pinned = Arc::new(catalog.pin());
            }
        }
    }
}

/// A transaction under way.
pub struct OpenTx {
    pub txn: Txn,
    /// The session's advisory locks, some of them this transaction's.
    pub locks: Arc<SessionLocks>,
    /// [`SessionLocks::effects`] at its beginning.
    pub effects: u64,
    /// Advisory locks that an error has cost it.
    pub freed: Released,
    pub pinned: Arc<Pinned>,
    /// The catalog with this transaction's own changes.
    pub overlay: Option<Arc<Snapshot>>,
    /// Begun by `BEGIN`.
    pub explicit: bool,
    pub failed: bool,
    pub level: Level,
    pub read_only: bool,
    /// It reads the past.
    pub past: Option<Past>,
    /// It reads the present where it might have read the past.
    pub instead_of_past: bool,
    /// Without effect: what only reads never has to give way.
    pub deferrable: bool,
    /// Some statement has run.
    pub used: bool,
    /// Some query has run: the isolation level is settled.
    pub queried: bool,
    pub savepoints: Vec<Mark>,
    /// Microseconds since 1970: `now()`.
    pub started: i64,
    /// What the settings return to on rollback.
    pub settings_before: Arc<Settings>,
    /// What they become on commit: like the present ones, without `SET LOCAL`.
    pub settings_after: Arc<Settings>,
    /// What has run and may be run again, as long as the client knows nothing of it.
    pub log: Log,
    /// To be done once it is committed.
    pub after_commit: Vec<AfterCommit>,
    /// The key under which it happens once.
    pub once: Once,
}

impl OpenTx {
    /// The statement begins, which holds up changes of the tables that it is bound to, and no others, unless it looks at the
    /// catalog while it runs.
    pub(super) fn uses(&mut self, planned: &Planned) {
        self.used = true;
        if matches!(planned.body, Body::Utility) || planned.needs_newest_catalog() {
            self.pinned.used(&planned.tables);
        } else {
            self.pinned.bound(&planned.tables);
        }
    }
}

/// A savepoint.
pub struct Mark {
    pub name: String,
    savepoint: Savepoint,
    settings: Arc<Settings>,
    settings_after: Arc<Settings>,
    /// What is set below it ends with it, also if it is released.
    read_only: bool,
    overlay: Option<Arc<Snapshot>>,
    after_commit: usize,
    /// Those opened later go with what was done later.
    portals: BTreeSet<String>,
}

/// `past`: the transaction reads at a time that was named already.
fn refuse_writes_in_past(modes: &Modes, past: bool) -> Result<(), SqlError> {
    if modes.read_only == Some(false) && (past || modes.as_of.is_some()) {
        let text = "a transaction AS OF SYSTEM TIME cannot be read-write";
        return Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, text));
    }
    Ok(())
}

/// How a transaction of the session with this number begins.
pub(super) fn options(pid: u32, isolation: Isolation, read_only: bool) -> TxnOptions {
    TxnOptions { isolation, read_only, owner: Some(pid), ..TxnOptions::default() }
}

impl Session {
    fn default_level(&self) -> Level {
        let default = self.settings.get("default_transaction_isolation");
        default.ok().and_then(Level::of_name).unwrap_or(Level::Serializable)
    }

    /// Level, read-only and deferrable, of the present transaction or else of the next.
    pub(super) fn present_modes(&self) -> (Level, bool, bool) {
        let flag = |name| self.settings.flag(name);
        match &self.tx {
            Tx::Open(open) => (open.level, open.read_only, open.deferrable),
            Tx::Idle => (
                self.default_level(),
                flag("default_transaction_read_only"),
                flag("default_transaction_deferrable"),
            ),
        }
    }

    /// The settings, with those that tell of the present transaction.
    pub(super) fn present_settings(&self) -> Arc<Settings> {
        let (level, read_only, deferrable) = self.present_modes();
        let mut settings = self.settings.clone();
        if (level, read_only, deferrable) != (Level::Serializable, false, false) {
            Arc::make_mut(&mut settings).tell_transaction(level.name(), read_only, deferrable);
        }
        settings
    }

    /// Opens a transaction unless one is open.
    pub(super) fn ensure_tx(&mut self) {
        if let Tx::Idle = self.tx {
            self.begin(false, &Modes::default());
        }
    }

    fn begin(&mut self, explicit: bool, modes: &Modes) {
        let flag = |given: Option<bool>, name| given.unwrap_or_else(|| self.settings.flag(name));
        let level = modes.isolation.unwrap_or_else(|| self.default_level());
        let read_only = flag(modes.read_only, "default_transaction_read_only");
        let deferrable = flag(modes.deferrable, "default_transaction_deferrable");
        let started = self.shared.env.clock().physical().unix_micros() as i64;
        self.tx = Tx::Open(Box::new(OpenTx {
            txn: self.shared.coordinator.begin(options(self.pid(), level.isolation(), read_only)),
            locks: self.locks.clone(),
            effects: self.locks.effects(),
            freed: Released::default(),
            pinned: Arc::new(self.shared.catalog.pin()),
            overlay: None,
            explicit,
            failed: false,
            level,
            read_only,
            past: None,
            instead_of_past: false,
            deferrable,
            used: false,
            queried: false,
            savepoints: Vec::new(),
            started,
            settings_before: self.settings.clone(),
            settings_after: self.settings.clone(),
            log: Log::default(),
            after_commit: Vec::new(),
            once: Once::default(),
        }));
    }

    /// `BEGIN`. Inside a batch it turns the implicit transaction into an explicit one.
    pub(super) fn begin_explicit(&mut self, modes: &Modes, out: &mut Outbox) -> Result<(), SqlError> {
        match &mut self.tx {
            Tx::Open(open) if open.explicit => {
                self.warn(out, SqlState::ACTIVE_TRANSACTION, "there is already a transaction in progress");
            }
            Tx::Open(open) if open.used => open.explicit = true,
            _ => {
                refuse_writes_in_past(modes, false)?;
                self.begin(true, modes);
                let past = modes.as_of.as_ref().map_or(Ok(()), |as_of| self.begin_past(as_of));
                let begun = past.and_then(|()| self.begin_once(modes, out));
                if begun.is_err() {
                    self.tx = Tx::Idle;
                }
                return begun;
            }
        }
        self.set_modes(modes, out)
    }

    /// The key among the modes holds for this transaction only.
    fn begin_once(&mut self, modes: &Modes, out: &mut Outbox) -> Result<(), SqlError> {
        let Some(key) = &modes.idempotency_key else { return Ok(()) };
        self.check_key_may_change()?;
        if key.is_empty() {
            let text = "an idempotency key is a text that is not empty";
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, text));
        }
        let values = [key.clone()];
        self.change_settings(true, out, |settings| settings.set(settings::IDEMPOTENCY_KEY, &values).map(drop))
    }

    /// `SET TRANSACTION`.
    pub(super) fn set_modes(&mut self, modes: &Modes, out: &mut Outbox) -> Result<(), SqlError> {
        let (coordinator, pid) = (self.shared.coordinator.clone(), self.pid());
        let open = self.open_mut()?;
        let settled = |what: &str| {
            Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, format!("{what} must be set before any query")))
        };
        let level = modes.isolation.unwrap_or(open.level);
        if level != open.level {
            let called = |how: &str| {
                let text = format!("SET TRANSACTION ISOLATION LEVEL must {how}");
                Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, text))
            };
            if open.queried {
                return called("be called before any query");
            }
            if !open.savepoints.is_empty() {
                return called("not be called in a subtransaction");
            }
        }
        if modes.as_of.is_some() && (open.queried || !open.savepoints.is_empty()) {
            return settled("the time of the transaction");
        }
        let read_only = modes.read_only.unwrap_or(open.read_only);
        refuse_writes_in_past(modes, open.past.is_some())?;
        if open.read_only && !read_only && !open.savepoints.is_empty() {
            let text = "cannot set transaction read-write mode inside a read-only transaction";
            return Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, text));
        }
        if open.read_only && !read_only && open.queried {
            return settled("transaction read-write mode");
        }
        if modes.deferrable.is_some_and(|deferrable| deferrable != open.deferrable) {
            if !open.savepoints.is_empty() {
                let text = "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction";
                return Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, text));
            }
            if open.queried {
                return settled("whether the transaction is deferrable");
            }
        }
        let anew = (level, read_only) != (open.level, open.read_only);
        open.level = level;
        open.read_only = read_only;
        open.deferrable = modes.deferrable.unwrap_or(open.deferrable);
        if anew && !open.queried && open.savepoints.is_empty() {
            let read_ts = open.past.map(|past| past.at);
            let options = options(pid, level.isolation(), read_only);
            open.txn = coordinator.begin(TxnOptions { read_ts, ..options });
        }
        modes.as_of.as_ref().map_or(Ok(()), |as_of| self.begin_past(as_of))?;
        self.begin_once(modes, out)
    }

    /// Commits; the settings that were local to it fall back. After a timeout or a cancel request it may be unknown whether it has.
    pub(super) async fn commit(&mut self, out: &mut Outbox) -> Result<(), SqlError> {
        let stop = self.stop();
        loop {
            let Tx::Open(open) = &mut self.tx else { return Ok(()) };
            match open.once.seal(&open.txn) {
                Ok(false) => {}
                Ok(true) => {
                    self.past_reads.not_before(open.txn.read_ts());
                    open.txn.rollback();
                    return self.committed(out).await;
                }
                Err(error) => {
                    self.tx.fail(&self.shared.catalog);
                    return Err(error);
                }
            }
            // The lease is extended for versions in use only, and the commit may outlive this session.
            let (lease, pinned, locks) =
                (self.shared.cluster.schema(), open.pinned.clone(), self.locks.clone());
            open.txn.follow_commit_bound(move || {
                let _in_use = &pinned;
                // Behind the other bound somebody else may have an advisory lock.
                let until = lease.borrow().until;
                let until = if planted!("sql.schema_lease_unbounded") { Timestamp::MAX } else { until };
                until.min(locks.bound())
            });
            let writes = open.txn.buffered().0 > 0;
            let allowed = if writes { open.pinned.begin_commit() } else { Ok(()) };
            if let Err(error) = allowed {
                self.tx.fail(&self.shared.catalog);
                return Err(error);
            }
            match commit::awaited(&self.shared.env, open, &stop).await {
                Ok(committed) => {
                    quorate_env::count!("quorate_sql_commits_total");
                    self.guarantee = open.once.added_to(committed.guarantee);
                    if writes || open.instead_of_past {
                        self.past_reads.not_before(committed.ts);
                    }
                    self.spent = Spent { cost: committed.cost, shards: open.txn.shards() };
                    open.txn.released(RELEASE).await;
                    return self.committed(out).await;
                }
                Err(error) => {
                    let exists = match &error.error {
                        KvError::Exists { key } => Some(key.clone()),
                        _ => None,
                    };
                    let error = open.once.explained(from_txn(error), exists.as_ref());
                    let error = self.unless_happened(error).await;
                    // On the heap: seldom, and large.
                    if let Err(error) = Box::pin(guarded(&stop, None, self.retry(error, None, out))).await {
                        self.tx.fail(&self.shared.catalog);
                        return Err(self.named(error));
                    }
                }
            }
        }
    }

    /// Out of the transaction: nothing of the session refers to it any more.
    fn leave(&mut self) -> Option<Box<OpenTx>> {
        self.link.clear();
        match std::mem::replace(&mut self.tx, Tx::Idle) {
            Tx::Open(open) => Some(open),
            Tx::Idle => None,
        }
    }

    async fn committed(&mut self, out: &mut Outbox) -> Result<(), SqlError> {
        let Some(open) = self.leave() else { return Ok(()) };
        self.portals.clear();
        self.await_release(open.locks.end_since(0)).await;
        let OpenTx { settings_after, after_commit, pinned, overlay, .. } = *open;
        self.switch_settings(settings_after, out);
        // The pin would hold back the very change that is waited for.
        drop(pinned);
        if overlay.is_none() {
            return Ok(());
        }
        self.follow_up(after_commit, out).await
    }

    /// What follows the commit of a schema change. It goes on when the client waits no longer.
    async fn follow_up(&self, work: Vec<AfterCommit>, out: &mut Outbox) -> Result<(), SqlError> {
        let shared = self.shared.clone();
        let (tell, told) = oneshot::channel();
        let follow = async move { drop(tell.send(ddl::after_commit(&shared, work).await)) };
        self.shared.env.spawn("sql.after_commit", follow).detach();
        let done = async { told.await.unwrap_or_else(|_| Err(SqlError::internal("the node is stopping"))) };
        let behind = "The schema change is committed; it goes on to take effect on the other nodes.";
        self.shared.sessions.leaves_behind(self.admission.entry.pid, behind.into());
        let stop = self.stop();
        let done = guarded(&stop, None, done);
        self.in_company(out, done).await
    }

    /// Gives the transaction up, whatever state it is in.
    pub(super) async fn abort(&mut self) {
        if let Some(open) = self.leave() {
            self.portals.clear();
            open.txn.rollback();
            let freed = open.freed.with(open.locks.end_since(0));
            open.txn.released(RELEASE).await;
            self.await_release(freed).await;
        }
    }

    pub(super) async fn rollback(&mut self, out: &mut Outbox) {
        if let Tx::Open(open) = &self.tx {
            let before = open.settings_before.clone();
            self.switch_settings(before, out);
            quorate_env::count!("quorate_sql_rollbacks_total");
        }
        self.abort().await;
    }

    /// The end of a batch or of a pipeline: an implicit transaction ends with it.
    pub(super) async fn end_implicit(&mut self, out: &mut Outbox) -> Result<(), SqlError> {
        match &self.tx {
            Tx::Open(open) if !open.explicit && open.failed => {
                self.rollback(out).await;
                Ok(())
            }
            Tx::Open(open) if !open.explicit => {
                let result = self.commit(out).await;
                if result.is_err() {
                    self.rollback(out).await;
                }
                result
            }
            _ => Ok(()),
        }
    }

    pub(super) fn switch_settings(&mut self, settings: Arc<Settings>, out: &mut Outbox) {
        for (name, value) in self.settings.changes_to(&settings) {
            backend::parameter_status(&mut out.buffer, name, &value);
        }
        let differs = |name: &str| self.settings.get(name).ok() != settings.get(name).ok();
        if differs("search_path") || differs("TimeZone") {
            self.plans.clear();
            self.shapes.clear();
        }
        self.settings = settings;
    }

    pub(super) fn savepoint(&mut self, name: String) -> Result<(), SqlError> {
        let settings = self.settings.clone();
        let portals = self.portals.keys().cloned().collect();
        let open = self.explicit_tx("SAVEPOINT")?;
        open.log.close();
        let mark = Mark {
            name,
            savepoint: open.txn.savepoint(),
            settings,
            settings_after: open.settings_after.clone(),
            read_only: open.read_only,
            overlay: open.overlay.clone(),
            after_commit: open.after_commit.len(),
            portals,
        };
        open.savepoints.push(mark);
        Ok(())
    }

    fn explicit_tx(&mut self, what: &str) -> Result<&mut OpenTx, SqlError> {
        match &mut self.tx {
            Tx::Open(open) if open.explicit => Ok(open),
            _ => Err(SqlError::new(
                SqlState::NO_ACTIVE_TRANSACTION,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    fn mark(open: &OpenTx, name: &str) -> Result<usize, SqlError> {
        open.savepoints.iter().rposition(|mark| mark.name == name).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
        })
    }

    pub(super) fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let open = self.explicit_tx("RELEASE SAVEPOINT")?;
        let at = Self::mark(open, name)?;
        open.txn.release(open.savepoints[at].savepoint);
        open.read_only = open.savepoints[at].read_only;
        open.locks.merge_into(at);
        open.savepoints.truncate(at);
        Ok(())
    }

    pub(super) async fn rollback_to(&mut self, name: &str, out: &mut Outbox) -> Result<(), SqlError> {
        let open = self.explicit_tx("ROLLBACK TO SAVEPOINT")?;
        let at = Self::mark(open, name)?;
        open.savepoints.truncate(at + 1);
        let mark = &open.savepoints[at];
        open.txn.rollback_to(mark.savepoint);
        let freed = open.locks.end_since(at + 1);
        open.overlay = mark.overlay.clone();
        open.settings_after = mark.settings_after.clone();
        open.read_only = mark.read_only;
        open.after_commit.truncate(mark.after_commit);
        open.failed = false;
        let txn = open.txn.clone();
        let (settings, portals) = (mark.settings.clone(), mark.portals.clone());
        self.portals.retain(|name, _| portals.contains(name));
        self.switch_settings(settings, out);
        txn.released(RELEASE_UNDONE).await;
        self.await_release(freed).await;
        Ok(())
    }
}
