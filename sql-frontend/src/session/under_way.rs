//! The transactions of a gateway, and what its sessions do with them, for those who look after the cluster
//! (`quorate.transactions`).

use super::{
    Session,
    cancel::{Doing, SessionEntry},
};
use crate::{server::Shared, wire::backend::Status};
use quorate_proto::placement::TransactionInfo;
use quorate_txn::{Isolation, TxnInfo};
use std::{collections::BTreeMap, sync::Arc};

impl Session {
    /// A message of the client is carried out.
    pub(super) fn note_work(&self) {
        self.tell_doing(true);
    }

    /// The client is told that it is its turn.
    pub(super) fn note_rest(&self) {
        self.tell_doing(false);
    }

    fn tell_doing(&self, active: bool) {
        let mut doing = self.admission.entry.doing.lock();
        doing.active = active;
        doing.failed = self.status() == Status::Failed;
        let application = self.settings.get("application_name").unwrap_or_default();
        if doing.application != application {
            doing.application = application.to_string();
        }
    }
}

impl Shared {
    /// What is under way at this node: transactions of clients, and those that it runs for itself.
    pub fn transactions(&self) -> Vec<TransactionInfo> {
        let sessions: BTreeMap<u32, Arc<SessionEntry>> =
            self.sessions.all().into_iter().map(|entry| (entry.pid, entry)).collect();
        let all = self.coordinator.transactions().into_iter();
        all.map(|txn| told(&txn, txn.owner.and_then(|pid| sessions.get(&pid)))).collect()
    }
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
