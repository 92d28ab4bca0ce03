//! The sessions of a gateway and its transactions, for those who look after the cluster (`pg_stat_activity`,
//! `quorate.transactions`).

use super::{
    Session,
    cancel::{Doing, SessionEntry},
    tx::Tx,
};
use crate::{server::Shared, wire::backend::Status};
use quorate_proto::placement::{Leaving, SessionInfo, Signal, TransactionInfo};
use quorate_txn::{Isolation, TxnInfo};
use std::{collections::BTreeMap, sync::Arc};

impl Session {
    /// A statement of the client is carried out.
    pub(super) fn note_work(&self, sql: &Arc<str>) {
        self.tell_doing(true, |doing, now| doing.query = Some((sql.clone(), now)));
    }

    /// The client is told that it is its turn.
    pub(super) fn note_rest(&self) {
        self.tell_doing(false, |_, _| {});
    }

    fn tell_doing(&self, active: bool, more: impl FnOnce(&mut Doing, i64)) {
        let now = self.shared.env.clock().physical().unix_micros() as i64;
        let mut doing = self.admission.entry.doing.lock();
        doing.active = active;
        doing.failed = self.status() == Status::Failed;
        doing.transaction = match &self.tx {
            Tx::Open(open) => Some(open.started),
            Tx::Idle => active.then_some(now),
        };
        doing.changed = now;
        more(&mut doing, now);
        let application = self.settings.get("application_name").unwrap_or_default();
        if doing.application != application {
            doing.application = application.to_string();
        }
    }

    /// An operator has told it to end.
    pub async fn ended(&self) {
        self.admission.entry.cancel.ended().await;
    }

    /// The node stops, or leaves the cluster. Who is in a transaction or a pipeline brings that to its end first, unless it takes
    /// too long: then the session is ended.
    pub async fn sent_away(&self) {
        if self.status() != Status::Idle || !self.at_rest {
            return std::future::pending().await;
        }
        let mut leaving = self.shared.cluster.leaving();
        let goes = |leaving: &Leaving| matches!(leaving, Leaving::Decommissioning | Leaving::Gone);
        let leaves = async { leaving.wait_for(goes).await.is_ok() };
        tokio::select! {
            () = self.shared.env.shutdown().wait() => {}
            true = leaves => {}
        }
    }
}

impl Shared {
    /// Sessions of this node, for those who look after the cluster.
    pub fn sessions_under_way(&self) -> Vec<SessionInfo> {
        self.sessions.all().iter().map(|entry| session(entry)).collect()
    }

    /// Whether such a session lives here and was told.
    pub fn signal(&self, pid: u32, signal: Signal) -> bool {
        self.sessions.signal(pid, signal)
    }

    /// What is under way at this node: transactions of clients, and those that it runs for itself.
    pub fn transactions(&self) -> Vec<TransactionInfo> {
        let sessions: BTreeMap<u32, Arc<SessionEntry>> =
            self.sessions.all().into_iter().map(|entry| (entry.pid, entry)).collect();
        let all = self.coordinator.transactions().into_iter();
        all.map(|txn| told(&txn, txn.owner.and_then(|pid| sessions.get(&pid)))).collect()
    }
}

/// Bytes of a statement's text that are shown, as PostgreSQL's `track_activity_query_size` has them.
const SHOWN: usize = 1024;

fn session(entry: &SessionEntry) -> SessionInfo {
    let doing = entry.doing.lock().clone();
    let state = match doing.transaction {
        _ if doing.active => "active",
        _ if doing.failed => "idle in transaction (aborted)",
        Some(_) => "idle in transaction",
        None => "idle",
    };
    SessionInfo {
        pid: entry.pid,
        user: entry.user.clone(),
        database: entry.database.clone(),
        application: doing.application,
        client: entry.client.clone(),
        state: state.into(),
        query: doing.query.as_ref().map(|(text, _)| beginning(text)).unwrap_or_default(),
        began: entry.began,
        transaction_began: doing.transaction,
        query_began: doing.query.map(|(_, began)| began),
        state_changed: doing.changed,
    }
}

pub(super) fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN)].to_string()
}

fn told(txn: &TxnInfo, session: Option<&Arc<SessionEntry>>) -> TransactionInfo {
    let doing = session.map(|session| session.doing.lock().clone());
    let isolation = match txn.isolation {
        Isolation::Serializable => "serializable",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::ReadCommitted => "read committed",
    };
    TransactionInfo {
        txn: txn.id,
        pid: session.map(|session| session.pid),
        user: session.map(|session| session.user.clone()).unwrap_or_default(),
        application: doing.as_ref().map(|doing| doing.application.clone()).unwrap_or_default(),
        client: session.map(|session| session.client.clone()).unwrap_or_default(),
        state: state(txn, doing.as_ref()).into(),
        isolation: isolation.into(),
        read_only: txn.read_only,
        started: txn.started,
        read_ts: txn.read_ts,
        holds: txn.holds,
        guarantee: txn.guarantee.to_string(),
    }
}

fn state(txn: &TxnInfo, doing: Option<&Doing>) -> &'static str {
    match doing {
        _ if txn.committing => "committing",
        None => "internal",
        Some(doing) if doing.active => "active",
        Some(doing) if doing.failed => "idle in transaction (aborted)",
        Some(_) => "idle in transaction",
    }
}
