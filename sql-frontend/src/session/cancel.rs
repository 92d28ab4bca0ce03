//! Live sessions of this node, and how a statement is cancelled from another connection or node.
//!
//! The backend pid that a client gets names the node in its upper bits, so that a cancel request may come to any node: one
//! that finds no such session passes it on (`wire::connection`), and the node that has it asks [`Sessions::cancel`].

use crate::error::{SqlError, SqlState};
use parking_lot::Mutex;
use quorate_env::Env;
use quorate_proto::{NodeId, placement::Signal};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use tokio::sync::Notify;

/// Bits of a pid that count sessions within a node; the upper ones hold the node's id.
const SESSION_BITS: u32 = 20;

/// The sign by which a session is told to stop what it does.
#[derive(Default, Debug)]
pub struct Cancel {
    requested: AtomicBool,
    /// Not the client asks for it: the node goes, or an operator ends the session.
    ending: AtomicBool,
    notify: Notify,
    /// What goes on when the statement stops.
    behind: Mutex<Option<String>>,
}

impl Cancel {
    pub fn request(&self) {
        self.requested.store(true, Ordering::Release);
        // Whoever waits is told: a function that holds its statement up waits beside the statement's guard.
        self.notify.notify_waiters();
    }

    /// Ends the statement and the session, and tells the client so.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.request();
    }

    /// What a statement that was told to stop says.
    pub fn error(&self) -> SqlError {
        if self.ending.load(Ordering::Acquire) {
            return shutting_down();
        }
        SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
    }

    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Forgets requests that came while nothing ran.
    pub fn reset(&self) {
        self.requested.store(self.ending.load(Ordering::Acquire), Ordering::Release);
        *self.behind.lock() = None;
    }

    /// What a statement that is cancelled now leaves behind, for the client to know.
    pub fn behind(&self) -> Option<String> {
        self.behind.lock().clone()
    }

    pub async fn requested(&self) {
        self.until(|| self.requested.swap(false, Ordering::AcqRel)).await;
    }

    /// The session is to end.
    pub async fn ended(&self) {
        self.until(|| self.ending.load(Ordering::Acquire)).await;
    }

    async fn until(&self, told: impl Fn() -> bool) {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Before the look, or a request between the two would go unheard.
            notified.as_mut().enable();
            if told() {
                return;
            }
            notified.await;
        }
    }
}

/// For clients of a node that goes, or of a session that an operator ends.
pub fn shutting_down() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// What is known of a session besides itself.
#[derive(Debug)]
pub struct SessionEntry {
    pub pid: u32,
    pub secret: u32,
    pub user: String,
    pub database: String,
    pub client: String,
    /// Microseconds since 1970.
    pub began: i64,
    pub cancel: Arc<Cancel>,
    pub doing: Mutex<Doing>,
}

/// What a session is about, for others to look at.
#[derive(Clone, Debug, Default)]
pub struct Doing {
    /// Something of the client's is carried out.
    pub active: bool,
    /// The transaction waits for its end after an error.
    pub failed: bool,
    pub application: String,
    /// The text of the latest statement, and when it began; times are microseconds since 1970.
    pub query: Option<(Arc<str>, i64)>,
    /// When the open transaction began.
    pub transaction: Option<i64>,
    pub changed: i64,
}

#[derive(Debug)]
pub struct Sessions {
    node: NodeId,
    next: AtomicU32,
    live: Mutex<BTreeMap<u32, Arc<SessionEntry>>>,
    max: usize,
}

/// Admission of one session; leaves the registry when dropped.
pub struct Admission {
    pub entry: Arc<SessionEntry>,
    sessions: Arc<Sessions>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.sessions.live.lock().remove(&self.entry.pid);
        metrics::gauge!("quorate_sql_sessions").decrement(1.0);
    }
}

impl Sessions {
    pub fn new(node: NodeId, max: usize) -> Arc<Self> {
        Arc::new(Sessions { node, next: AtomicU32::new(1), live: Mutex::default(), max })
    }

    /// `None` when there are too many.
    pub fn admit(
        self: &Arc<Self>,
        env: &Env,
        user: String,
        database: String,
        client: String,
    ) -> Option<Admission> {
        let mut live = self.live.lock();
        if live.len() >= self.max {
            return None;
        }
        let pid = loop {
            let count = self.next.fetch_add(1, Ordering::Relaxed) & ((1 << SESSION_BITS) - 1);
            let pid = ((self.node.0 as u32) << SESSION_BITS | count) & 0x7fff_ffff;
            if count != 0 && !live.contains_key(&pid) {
                break pid;
            }
        };
        let secret = env.random_u64() as u32;
        let cancel = Arc::default();
        let began = env.clock().physical().unix_micros() as i64;
        let doing = Mutex::new(Doing { changed: began, ..Doing::default() });
        let entry = SessionEntry { pid, secret, user, database, client, began, cancel, doing };
        let entry = Arc::new(entry);
        live.insert(pid, entry.clone());
        metrics::gauge!("quorate_sql_sessions").increment(1.0);
        Some(Admission { entry, sessions: self.clone() })
    }

    /// Whether such a session lives here and was told to stop.
    pub fn cancel(&self, pid: u32, secret: u32) -> bool {
        let entry = self.live.lock().get(&pid).cloned();
        match entry {
            Some(entry) if entry.secret == secret => {
                entry.cancel.request();
                true
            }
            _ => false,
        }
    }

    /// Whether such a session lives here and was told.
    pub fn signal(&self, pid: u32, signal: Signal) -> bool {
        let Some(entry) = self.live.lock().get(&pid).cloned() else { return false };
        match signal {
            Signal::Cancel => entry.cancel.request(),
            Signal::Terminate => entry.cancel.end(),
        }
        true
    }

    /// The statement that this session runs leaves something behind when it is cancelled from now on.
    pub fn leaves_behind(&self, pid: u32, what: String) {
        if let Some(entry) = self.live.lock().get(&pid) {
            *entry.cancel.behind.lock() = Some(what);
        }
    }

    pub fn node_of(pid: u32) -> NodeId {
        NodeId(u64::from(pid >> SESSION_BITS))
    }

    /// The statement that a session of this node runs.
    pub fn query(&self, pid: u32) -> Option<Arc<str>> {
        let entry = self.live.lock().get(&pid).cloned()?;
        let doing = entry.doing.lock();
        doing.query.as_ref().filter(|_| doing.active).map(|(text, _)| text.clone())
    }

    pub fn all(&self) -> Vec<Arc<SessionEntry>> {
        self.live.lock().values().cloned().collect()
    }
}
