//! What a statement that takes long waits for, told to its client at once and not with the statement's end.

use crate::{
    error::{SqlError, SqlState},
    server::Shared,
    session::{Session, cancel::Cancel},
    wire::{
        backend::{self, Severity},
        io::Outbox,
    },
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{future::Future, pin::pin, time::Duration};

/// A statement that takes no longer says nothing.
const FIRST: Duration = Duration::from_secs(1);
/// Between two notices of one statement.
const AGAIN: Duration = Duration::from_secs(10);

/// What a statement says it is doing, for whoever accompanies it.
#[derive(Default)]
pub struct Notes(Mutex<Option<String>>);

impl Notes {
    pub fn now(&self, what: impl Into<String>) {
        *self.0.lock() = Some(what.into());
    }

    pub fn clear(&self) {
        *self.0.lock() = None;
    }
}

impl Session {
    /// Runs what may wait for others; once it lasts longer than a second the client is told for whom, as far as anybody knows,
    /// and then every ten seconds. Boxed: what it keeps would weigh on the stack of every statement.
    pub(super) fn in_company<'a, T: 'a>(
        &'a self,
        out: &'a mut Outbox,
        work: impl Future<Output = T> + Send + 'a,
    ) -> BoxFuture<'a, T> {
        Box::pin(self.accompany(out, work))
    }

    async fn accompany<T>(&self, out: &mut Outbox, work: impl Future<Output = T>) -> T {
        if !self.settings.wants("notice") {
            return work.await;
        }
        self.notes.clear();
        let cancel = &self.admission.entry.cancel;
        Company { shared: &self.shared, notes: &self.notes, cancel }.during(out, work).await
    }
}

/// Those who may know what a statement waits for.
struct Company<'a> {
    shared: &'a Shared,
    notes: &'a Notes,
    cancel: &'a Cancel,
}

impl Company<'_> {
    async fn during<T>(self, out: &mut Outbox, work: impl Future<Output = T>) -> T {
        let env = &self.shared.env;
        let mut work = pin!(work);
        let mut look = env.boottime() + FIRST;
        loop {
            let looking = async {
                env.sleep_until_boottime(look).await;
                self.notice().await
            };
            tokio::select! {
                biased;
                result = &mut work => return result,
                notice = looking => {
                    look = env.boottime() + if notice.is_some() { AGAIN } else { FIRST };
                    if let Some(notice) = notice {
                        out.ahead(|buffer| backend::error(buffer, Severity::Notice, &notice));
                    }
                }
                // A client that has gone ends the statement by other means.
                _ = out.send_ahead(), if out.has_ahead() => {}
            }
        }
    }

    async fn notice(&self) -> Option<SqlError> {
        let noted = self.notes.0.lock().clone();
        let what = match noted {
            Some(what) => what,
            None => match self.shared.catalog.held_up_by().await {
                Some(what) => what,
                None => {
                    // A job that computes.
                    let behind = self.cancel.behind()?;
                    return Some(notice("the schema change is under way").detail(behind));
                }
            },
        };
        Some(notice(what))
    }
}

fn notice(what: impl Into<String>) -> SqlError {
    SqlError::new(SqlState("00000"), what)
}
