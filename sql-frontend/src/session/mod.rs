//! A client's session: its settings, its transaction, its prepared statements and portals, and how statements run.

mod advisory;
mod answer;
pub mod cancel;
mod commit;
mod config;
mod copy;
pub(crate) mod crowd;
pub mod cursor;
pub mod errors;
pub mod expiry;
mod explain;
mod extended;
pub mod functions;
pub mod guard;
mod inquiry;
mod keys;
pub mod kv;
pub mod names;
pub mod notes;
mod nothing;
mod once;
pub mod outcome;
pub mod parse;
mod past;
pub mod plan;
mod replay;
pub mod run;
pub mod settings;
mod signal;
mod simple;
mod sleep;
pub mod stack;
mod stop;
mod tx;
mod under_way;
mod utility;
pub mod view;

use crate::{
    advisory::SessionLocks,
    error::{SqlError, SqlState},
    server::Shared,
    wire::{
        backend::{self, Severity, Status},
        io::Outbox,
    },
};
use cancel::Admission;
use extended::Portal;
use parse::Command;
use plan::{Planned, Prepared};
use quorate_env::{Env, gate::Pass};
use settings::Settings;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tx::{OpenTx, Tx};

/// Plans kept by text for the simple protocol.
const CACHED_PLANS: usize = 128;
/// Texts that begin or end transactions, of which most clients know three.
const CACHED_BOUNDS: usize = 16;

pub struct Session {
    shared: Arc<Shared>,
    admission: Admission,
    settings: Arc<Settings>,
    tx: Tx,
    prepared: BTreeMap<String, Arc<Prepared>>,
    portals: BTreeMap<String, Portal>,
    /// By text; emptied when the search path changes.
    plans: BTreeMap<Arc<str>, Arc<Planned>>,
    /// By normalized text; `None` for those that are not worth it.
    shapes: BTreeMap<String, Option<Arc<Planned>>>,
    /// What begins and ends transactions, by text.
    bounds: BTreeMap<Arc<str>, Arc<Command>>,
    /// Last numbers taken from sequences, for `currval` and `lastval`.
    sequences: Arc<view::SequenceState>,
    link: Arc<functions::Link>,
    locks: Arc<SessionLocks>,
    /// What the statement under way says it waits for.
    notes: Arc<notes::Notes>,
    /// Guarantee of the last statement that read or wrote.
    guarantee: String,
    past_reads: past::PastReads,
    /// Where the tag of the text's last statement begins among the output.
    completed: Option<u64>,
    /// What the last commit took.
    spent: explain::Spent,
    /// To be among those that run, from the beginning of the client's turn to its end.
    pass: Option<Pass>,
    /// It is the client's turn.
    at_rest: bool,
    /// The connection must end.
    over: bool,
}

impl Session {
    pub fn new(shared: Arc<Shared>, admission: Admission) -> Self {
        let settings = Arc::new(Settings::new(&admission.entry.user));
        let locks = SessionLocks::new(shared.advisory.clone(), admission.entry.pid);
        Session {
            shared,
            admission,
            settings,
            tx: Tx::Idle,
            prepared: BTreeMap::new(),
            portals: BTreeMap::new(),
            plans: BTreeMap::new(),
            shapes: BTreeMap::new(),
            bounds: BTreeMap::new(),
            sequences: Arc::default(),
            link: Arc::default(),
            locks,
            notes: Arc::default(),
            guarantee: String::new(),
            past_reads: past::PastReads::default(),
            completed: None,
            spent: explain::Spent::default(),
            pass: None,
            at_rest: true,
            over: false,
        }
    }

    pub fn env(&self) -> &Env {
        &self.shared.env
    }

    pub fn user(&self) -> &str {
        &self.admission.entry.user
    }

    pub fn database(&self) -> &str {
        &self.admission.entry.database
    }

    /// The number by which others know the session.
    fn pid(&self) -> u32 {
        self.admission.entry.pid
    }

    pub fn status(&self) -> Status {
        match &self.tx {
            Tx::Open(open) if open.failed => Status::Failed,
            Tx::Open(open) if open.explicit => Status::InTransaction,
            _ => Status::Idle,
        }
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    pub fn reported_settings(&self) -> Vec<(&'static str, String)> {
        self.settings.reported()
    }

    pub fn startup_setting(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        Arc::make_mut(&mut self.settings).set_initial(name, value)
    }

    /// `-c name=value` and `--name=value`, as in libpq's `options`.
    pub fn startup_options(&mut self, options: &str) -> Result<(), SqlError> {
        let mut words = split_options(options).into_iter();
        while let Some(word) = words.next() {
            let pair = match word.strip_prefix("--") {
                Some(rest) => rest.replace('-', "_"),
                None if word == "-c" => words.next().unwrap_or_default(),
                None => match word.strip_prefix("-c") {
                    Some(rest) => rest.to_string(),
                    None => {
                        return Err(SqlError::new(
                            SqlState::SYNTAX_ERROR,
                            format!("invalid command-line argument for server process: {word}"),
                        ));
                    }
                },
            };
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            Arc::make_mut(&mut self.settings).set_initial(name, value)?;
        }
        Ok(())
    }

    /// How long the client may idle now, and what it is told then.
    pub fn idle_timeout(&self) -> Option<(Duration, SqlError)> {
        let (in_transaction, session) = self.settings.idle_timeouts();
        let (limit, state, what) = match self.status() {
            // Between the messages of one pipeline it does not idle.
            Status::Idle if !self.at_rest => return None,
            Status::Idle => (session, SqlState("57P05"), "idle-session"),
            _ => (in_transaction, SqlState("25P03"), "idle-in-transaction"),
        };
        let text = format!("terminating connection due to {what} timeout");
        (!limit.is_zero()).then(|| (limit, SqlError::new(state, text)))
    }

    /// Tells the client of an error, and takes its consequences.
    pub fn report(&mut self, error: &SqlError, out: &mut Outbox) {
        metrics::counter!("quorate_sql_errors_total", "sqlstate" => error.sqlstate.0).increment(1);
        errors::count_conflict(error, "client");
        backend::error(&mut out.buffer, Severity::Error, error);
        self.tx.fail(&self.shared.catalog);
    }

    /// Tells the client that a statement is done.
    fn complete(&mut self, tag: &str, out: &mut Outbox) {
        self.completed = Some(out.position());
        backend::command_complete(&mut out.buffer, tag);
    }

    fn notice(&self, out: &mut Outbox, severity: Severity, error: &SqlError) {
        let name = if severity == Severity::Warning { "warning" } else { "notice" };
        if self.settings.wants(name) {
            backend::error(&mut out.buffer, severity, error);
        }
    }

    fn notify(&self, notices: &[SqlError], out: &mut Outbox) {
        for notice in notices {
            self.notice(out, Severity::Notice, notice);
        }
    }

    fn warn(&self, out: &mut Outbox, state: SqlState, message: impl Into<String>) {
        self.notice(out, Severity::Warning, &SqlError::new(state, message));
    }

    fn open(&self) -> Result<&OpenTx, SqlError> {
        match &self.tx {
            Tx::Open(open) => Ok(open),
            Tx::Idle => Err(SqlError::internal("a statement runs outside of any transaction")),
        }
    }

    fn open_mut(&mut self) -> Result<&mut OpenTx, SqlError> {
        match &mut self.tx {
            Tx::Open(open) => Ok(open),
            Tx::Idle => Err(SqlError::internal("a statement runs outside of any transaction")),
        }
    }

    /// The client has left or is being sent away.
    pub async fn close(&mut self) {
        self.portals.clear();
        self.abort().await;
        let freed = self.locks.unlock_all();
        self.await_release(freed).await;
    }
}

fn split_options(options: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), String::new(), false);
    for c in options.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
