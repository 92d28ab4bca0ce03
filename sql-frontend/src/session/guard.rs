//! What may end a statement before its time: a cancel request, its timeout, the client's departure, a panic.

use super::stop::Stop;
use crate::{
    error::SqlError,
    func::{Ask, within, within_now},
    wire::{connection::gone, io::Inbox},
};
use futures::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};
use tokio::task::coop::unconstrained;

/// Runs a statement's future. With an inbox the client's departure ends it as well; a COPY reads that itself.
pub async fn guarded<T>(
    stop: &Stop,
    inbox: Option<&mut Inbox>,
    future: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let departure = async {
        match inbox {
            Some(inbox) => inbox.gone().await,
            None => std::future::pending().await,
        }
    };
    let future = within(asking(stop), future);
    // A statement that computes gives way when it has used up its task's budget. Without one of their own, these would then
    // find it used up as well, and never look.
    let (reached, departure) = (unconstrained(stop.reached()), unconstrained(departure));
    tokio::select! {
        biased;
        result = AssertUnwindSafe(future).catch_unwind() => result.unwrap_or_else(|panic| Err(panicked(&*panic))),
        error = reached => Err(error),
        () = departure => Err(gone()),
    }
}

/// The same for what runs without waiting, and asks for itself whether it is to end.
pub fn guarded_now<T>(stop: &Stop, body: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    within_now(asking(stop), || catch(body))
}

fn asking(stop: &Stop) -> Ask {
    let stop = stop.clone();
    Arc::new(move || stop.ask())
}

/// Makes a panic an error.
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
