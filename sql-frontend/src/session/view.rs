//! The session as running statements see it: for virtual tables and for functions that need the session.

use super::{
    Session, config::Live, cursor::Declared, names::Names, notes::Notes, once::refused_under_key, stop::Stop,
};
use crate::{
    advisory::SessionLocks, catalog::Snapshot, error::SqlError, exec::ExecContext, func::StatementContext,
    server::Shared,
};
use parking_lot::Mutex;
use quorate_txn::Txn;
use std::{collections::BTreeMap, sync::Arc};

/// What `currval` and `lastval` tell.
#[derive(Default)]
pub struct SequenceState {
    values: Mutex<(BTreeMap<u64, i64>, Option<u64>)>,
}

impl SequenceState {
    pub fn took(&self, sequence: u64, value: i64) {
        let mut values = self.values.lock();
        values.0.insert(sequence, value);
        values.1 = Some(sequence);
    }

    pub fn current(&self, sequence: u64) -> Option<i64> {
        self.values.lock().0.get(&sequence).copied()
    }

    pub fn last(&self) -> Option<i64> {
        let values = self.values.lock();
        values.1.and_then(|sequence| values.0.get(&sequence).copied())
    }

    pub fn forget(&self) {
        *self.values.lock() = Default::default();
    }
}

/// A frozen view of the session for one statement.
pub struct SessionView {
    pub shared: Arc<Shared>,
    pub names: Names,
    pub settings: Live,
    pub stop: Stop,
    pub user: String,
    pub database: String,
    pub pid: u32,
    pub txn: Txn,
    pub locks: Arc<SessionLocks>,
    /// How many savepoints there are.
    pub subtransactions: usize,
    /// What the statement's functions have to say to the client.
    pub warnings: Mutex<Vec<SqlError>>,
    pub sequences: Arc<SequenceState>,
    pub notes: Arc<Notes>,
    pub cursors: Vec<Declared>,
}

impl SessionView {
    pub fn of(ctx: &ExecContext) -> Result<&SessionView, SqlError> {
        ctx.extension
            .downcast_ref::<SessionView>()
            .ok_or_else(|| SqlError::internal("a statement runs without its session"))
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        self.names.snapshot()
    }

    /// 0A000 while a key is set.
    pub fn refuse_under_key(&self, what: &str) -> Result<(), SqlError> {
        match self.settings.now().idempotency_key() {
            None => Ok(()),
            Some(_) => Err(refused_under_key(what)),
        }
    }
}

impl Session {
    /// What a statement of the open transaction runs with.
    pub(super) fn exec_context(&self, snapshot: Arc<Snapshot>) -> Result<ExecContext, SqlError> {
        let open = self.open()?;
        let names = self.names(snapshot);
        let schema = names.current_schema();
        let view = SessionView {
            shared: self.shared.clone(),
            names,
            settings: Live::new(self.present_settings()),
            stop: self.stop(),
            user: self.user().to_string(),
            database: self.database().to_string(),
            pid: self.admission.entry.pid,
            txn: open.txn.clone(),
            locks: self.locks.clone(),
            subtransactions: open.savepoints.len(),
            warnings: Mutex::default(),
            sequences: self.sequences.clone(),
            notes: self.notes.clone(),
            cursors: self.declared_cursors(),
        };
        let view = Arc::new(view);
        self.link.set(view.clone());
        Ok(ExecContext {
            engine: self.shared.engine.clone(),
            read: Arc::new(super::kv::TxnRead {
                txn: open.txn.clone(),
                lock_timeout: self.settings.lock_timeout(),
            }),
            session: Arc::new(self.statement_context(open.started, schema)),
            extension: view,
        })
    }

    /// For a statement that begins now.
    pub(super) fn stop(&self) -> Stop {
        Stop::new(&self.shared.env, &self.admission.entry.cancel, self.settings.statement_timeout())
    }

    fn statement_context(&self, started: i64, schema: Option<String>) -> StatementContext {
        StatementContext {
            transaction_time: started,
            statement_time: self.shared.env.clock().physical().unix_micros() as i64,
            timezone: *self.settings.zone(),
            current_user: self.user().to_string(),
            session_user: self.user().to_string(),
            database: self.database().to_string(),
            schema,
            application_name: self.settings.get("application_name").unwrap_or_default().to_string(),
            backend_pid: self.admission.entry.pid as i32,
            seed: self.shared.env.random_u128(),
        }
    }
}
