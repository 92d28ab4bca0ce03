//! The functions of advisory locks, and what a session's transactions do to them.

use super::{
    Session,
    functions::{Function, function, wait},
    view::SessionView,
};
use crate::{
    advisory::{
        keys::LockId,
        line::Mode,
        session::{Released, Scope, Waiter},
    },
    error::{SqlError, SqlState},
    types::{Datum, PgType},
};
use Mode::{Exclusive, Shared};
use PgType::{Bool, Int4, Int8, Void};
use std::{future::Future, time::Duration};

/// How long the end of a transaction or a session waits until its locks are free.
const RELEASE: Duration = Duration::from_secs(1);

/// How long a lock is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Span {
    Session,
    Transaction,
}

use Span::{Session as Own, Transaction};

pub(super) static FUNCTIONS: &[Function] = &[
    function("pg_advisory_lock", &[Int8], Void, |v, a| lock(v, a, Exclusive, Own)),
    function("pg_advisory_lock", &[Int4, Int4], Void, |v, a| lock(v, a, Exclusive, Own)),
    function("pg_advisory_lock_shared", &[Int8], Void, |v, a| lock(v, a, Shared, Own)),
    function("pg_advisory_lock_shared", &[Int4, Int4], Void, |v, a| lock(v, a, Shared, Own)),
    function("pg_try_advisory_lock", &[Int8], Bool, |v, a| try_lock(v, a, Exclusive, Own)),
    function("pg_try_advisory_lock", &[Int4, Int4], Bool, |v, a| try_lock(v, a, Exclusive, Own)),
    function("pg_try_advisory_lock_shared", &[Int8], Bool, |v, a| try_lock(v, a, Shared, Own)),
    function("pg_try_advisory_lock_shared", &[Int4, Int4], Bool, |v, a| try_lock(v, a, Shared, Own)),
    function("pg_advisory_xact_lock", &[Int8], Void, |v, a| lock(v, a, Exclusive, Transaction)),
    function("pg_advisory_xact_lock", &[Int4, Int4], Void, |v, a| lock(v, a, Exclusive, Transaction)),
    function("pg_advisory_xact_lock_shared", &[Int8], Void, |v, a| lock(v, a, Shared, Transaction)),
    function("pg_advisory_xact_lock_shared", &[Int4, Int4], Void, |v, a| lock(v, a, Shared, Transaction)),
    function("pg_try_advisory_xact_lock", &[Int8], Bool, |v, a| try_lock(v, a, Exclusive, Transaction)),
    function("pg_try_advisory_xact_lock", &[Int4, Int4], Bool, |v, a| try_lock(v, a, Exclusive, Transaction)),
    function("pg_try_advisory_xact_lock_shared", &[Int8], Bool, |v, a| try_lock(v, a, Shared, Transaction)),
    function("pg_try_advisory_xact_lock_shared", &[Int4, Int4], Bool, |v, a| {
        try_lock(v, a, Shared, Transaction)
    }),
    function("pg_advisory_unlock", &[Int8], Bool, |v, a| unlock(v, a, Exclusive)),
    function("pg_advisory_unlock", &[Int4, Int4], Bool, |v, a| unlock(v, a, Exclusive)),
    function("pg_advisory_unlock_shared", &[Int8], Bool, |v, a| unlock(v, a, Shared)),
    function("pg_advisory_unlock_shared", &[Int4, Int4], Bool, |v, a| unlock(v, a, Shared)),
    function("pg_advisory_unlock_all", &[], Void, |view, _| {
        released(view, view.locks.unlock_all())?;
        Ok(nothing())
    }),
];

/// What a function returns that returns nothing.
fn nothing() -> Datum {
    Datum::Text(String::new())
}

fn named(args: &[Datum]) -> Result<LockId, SqlError> {
    match args {
        [Datum::Int8(number)] => Ok(LockId::of_bigint(*number)),
        [Datum::Int4(class), Datum::Int4(object)] => Ok(LockId::of_ints(*class, *object)),
        _ => Err(SqlError::internal("an advisory lock without a number")),
    }
}

fn lock(view: &SessionView, args: &[Datum], mode: Mode, span: Span) -> Result<Datum, SqlError> {
    let waiter = Waiter { txn: &view.txn, lock_timeout: view.settings.now().lock_timeout() };
    acquire(view, args, mode, span, Some(waiter))?;
    Ok(nothing())
}

fn try_lock(view: &SessionView, args: &[Datum], mode: Mode, span: Span) -> Result<Datum, SqlError> {
    acquire(view, args, mode, span, None).map(Datum::Bool)
}

fn acquire(
    view: &SessionView,
    args: &[Datum],
    mode: Mode,
    span: Span,
    waiter: Option<Waiter<'_>>,
) -> Result<bool, SqlError> {
    let scope = match span {
        Own => {
            refuse_under_key(view)?;
            Scope::Session
        }
        Transaction => Scope::Transaction(view.subtransactions),
    };
    wait(until_stopped(view, view.locks.acquire(named(args)?, mode, scope, waiter)))
}

fn unlock(view: &SessionView, args: &[Datum], mode: Mode) -> Result<Datum, SqlError> {
    refuse_under_key(view)?;
    let Some(freed) = view.locks.unlock(named(args)?, mode) else {
        let text = format!("you don't own a lock of type {}", mode.name());
        view.warnings.lock().push(SqlError::new(SqlState::WARNING, text));
        return Ok(Datum::Bool(false));
    };
    released(view, freed)?;
    Ok(Datum::Bool(true))
}

/// Ends when the statement is to end.
async fn until_stopped<T>(
    view: &SessionView,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    tokio::select! {
        biased;
        error = view.stop.reached() => Err(error),
        result = work => result,
    }
}

fn released(view: &SessionView, freed: Released) -> Result<(), SqlError> {
    let done = async {
        freed.done().await;
        Ok(())
    };
    wait(until_stopped(view, done))
}

fn refuse_under_key(view: &SessionView) -> Result<(), SqlError> {
    view.refuse_under_key("session-level advisory locks")
        .map_err(|error| error.hint("Locks of the transaction (pg_advisory_xact_lock) can be taken."))
}

impl Session {
    /// Others can have these locks now, or soon.
    pub(super) async fn await_release(&self, freed: Released) {
        if freed.is_empty() {
            return;
        }
        // What takes longer goes on behind.
        let _ = self.shared.env.timeout(RELEASE, freed.done()).await;
    }

    /// Returns when the session cannot say any more that it holds its advisory locks.
    pub async fn lost_locks(&self) -> SqlError {
        self.locks.lost().await
    }
}
