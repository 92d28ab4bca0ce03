//! What may end a statement before its time, for those who cannot be dropped while they wait or compute.

use super::cancel::Cancel;
use crate::error::{SqlError, SqlState};
use quorate_env::Env;
use std::{future, sync::Arc, time::Duration};

/// A statement's timeout and its session's cancel requests.
#[derive(Clone)]
pub struct Stop {
    env: Env,
    cancel: Arc<Cancel>,
    /// By the time since boot.
    deadline: Option<Duration>,
}

impl Stop {
    /// For a statement that begins now; a `limit` of zero is none.
    pub fn new(env: &Env, cancel: &Arc<Cancel>, limit: Duration) -> Stop {
        let deadline = (!limit.is_zero()).then(|| env.boottime() + limit);
        Stop { env: env.clone(), cancel: cancel.clone(), deadline }
    }

    /// Comes when the statement is to end, and says how.
    pub async fn reached(&self) -> SqlError {
        let timeout = async {
            match self.deadline {
                Some(deadline) => self.env.sleep(deadline.saturating_sub(self.env.boottime())).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.requested() => self.telling(self.cancel.error()),
            () = timeout => self.telling(late()),
        }
    }

    /// For who computes: looks, and leaves a request for the others to see.
    pub fn ask(&self) -> Result<(), SqlError> {
        if self.cancel.is_requested() {
            return Err(self.telling(self.cancel.error()));
        }
        match self.deadline {
            Some(deadline) if self.env.boottime() >= deadline => Err(self.telling(late())),
            _ => Ok(()),
        }
    }

    fn telling(&self, error: SqlError) -> SqlError {
        match self.cancel.behind() {
            Some(behind) => error.detail(behind),
            None => error,
        }
    }
}

fn late() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}
