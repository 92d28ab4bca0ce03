//! `set_config` and `current_setting`: settings that a statement reads and changes while it runs.

use super::{
    Session,
    functions::{Function, function, lenient, string},
    settings::{IDEMPOTENCY_KEY, Settings},
    view::SessionView,
};
use crate::{
    error::{SqlError, SqlState},
    types::{Datum, PgType},
    wire::{backend::Severity, io::Outbox},
};
use PgType::{Bool, Text};
use parking_lot::Mutex;
use std::sync::Arc;

/// A call of `set_config`; no value: back to the default.
struct Change {
    local: bool,
    name: String,
    value: Option<String>,
}

impl Change {
    fn apply(&self, settings: &mut Settings) -> Result<(), SqlError> {
        match &self.value {
            Some(value) => settings.set_text(&self.name, value),
            None => settings.reset(&self.name).map(drop),
        }
    }
}

/// The session's settings as one statement sees them. What it changes the session takes over when the statement has run,
/// so that one that is run again begins with the settings it began with.
pub struct Live {
    state: Mutex<(Arc<Settings>, Vec<Change>)>,
}

impl Live {
    pub fn new(settings: Arc<Settings>) -> Self {
        Live { state: Mutex::new((settings, Vec::new())) }
    }

    pub fn now(&self) -> Arc<Settings> {
        self.state.lock().0.clone()
    }

    fn change(&self, change: Change) -> Result<(), SqlError> {
        let mut state = self.state.lock();
        change.apply(Arc::make_mut(&mut state.0))?;
        state.1.push(change);
        Ok(())
    }

    fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.state.lock().1)
    }
}

impl Session {
    /// Keeps what the functions of the statement that has just run have set, and tells what they warn of.
    pub(super) fn take_over(&mut self, out: &mut Outbox) -> Result<(), SqlError> {
        let Ok(view) = self.link.get() else { return Ok(()) };
        for warning in std::mem::take(&mut *view.warnings.lock()) {
            self.notice(out, Severity::Warning, &warning);
        }
        for change in view.settings.take() {
            self.change_settings(change.local, out, |settings| change.apply(settings))?;
        }
        Ok(())
    }
}

pub(super) static FUNCTIONS: &[Function] = &[
    lenient("set_config", &[Text, Text, Bool], Text, set_config),
    function("current_setting", &[Text], Text, |view, args| current(view, &string(&args[0]))),
    function("current_setting", &[Text, Bool], Text, |view, args| {
        let missing_ok = args[1] == Datum::Bool(true);
        match current(view, &string(&args[0])) {
            Err(error) if missing_ok && error.sqlstate == SqlState::UNDEFINED_OBJECT => Ok(Datum::Null),
            result => result,
        }
    }),
];

fn current(view: &SessionView, name: &str) -> Result<Datum, SqlError> {
    view.settings.now().get(name).map(|value| Datum::Text(value.into()))
}

fn set_config(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let Datum::Text(name) = &args[0] else {
        return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "SET requires parameter name"));
    };
    if args[2] == Datum::Bool(true) && name.eq_ignore_ascii_case(IDEMPOTENCY_KEY) {
        // It would be gone again with the transaction, whose first statement this is at best.
        return Err(SqlError::new(
            SqlState::ACTIVE_TRANSACTION,
            "quorate.idempotency_key must be set before the transaction's first statement",
        ));
    }
    if args[2] != Datum::Bool(true) {
        let refused = view.refuse_under_key("set_config for the session");
        refused
            .map_err(|error| error.hint("SET does it, also where the transaction has happened before."))?;
    }
    let value = match &args[1] {
        Datum::Text(value) => Some(value.clone()),
        _ => None,
    };
    view.settings.change(Change { local: args[2] == Datum::Bool(true), name: name.clone(), value })?;
    current(view, name)
}
