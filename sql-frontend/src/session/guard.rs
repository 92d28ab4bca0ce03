//! What may end a statement before its time: a cancel request, its timeout, the client's departure, a panic.

use super::cancel::Cancel;
use crate::{
    error::{SqlError, SqlState},
    wire::{connection::gone, io::Inbox},
};
use futures::FutureExt;
use quorate_env::Env;
use std::{future::Future, panic::AssertUnwindSafe, time::Duration};
use tokio::task::coop::unconstrained;

/// Runs a statement's future. With an inbox the client's departure ends it as well; a COPY reads that itself.
pub async fn guarded<T>(
    env: &Env,
    cancel: &Cancel,
    inbox: Option<&mut Inbox>,
    limit: Duration,
    future: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let timeout = async {
        if limit.is_zero() {
            std::future::pending::<()>().await;
        }
        env.sleep(limit).await;
    };
    let departure = async {
        match inbox {
            Some(inbox) => inbox.gone().await,
            None => std::future::pending().await,
        }
    };
    let telling = |error: SqlError| match cancel.behind() {
        Some(behind) => error.detail(behind),
        None => error,
    };
    let late = || SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout");
    // A statement that computes gives way when it has used up its task's budget. Without one of their own, these would then
    // find it used up as well, and never look.
    let (requested, timeout, departure) =
        (unconstrained(cancel.requested()), unconstrained(timeout), unconstrained(departure));
    tokio::select! {
        biased;
        result = AssertUnwindSafe(future).catch_unwind() => result.unwrap_or_else(|panic| Err(panicked(&*panic))),
        () = requested => Err(telling(cancel.error())),
        () = timeout => Err(telling(late())),
        () = departure => Err(gone()),
    }
}

/// The same for what runs without waiting.
pub fn catch<T>(body: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> SqlError {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = %text, "a statement panicked");
    quorate_env::count!("quorate_sql_panics_total");
    SqlError::internal("the statement met a bug of the server").detail(text)
}
