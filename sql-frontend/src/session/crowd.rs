//! Before a transaction begins on a node that has more to do than it bears, it stands in line; those of higher priority go first.

use super::{Session, tx::Tx};
use crate::{
    error::{SqlError, SqlState},
    exec::Engine,
};
use quorate_env::{
    Env,
    gate::{Crowded, Gate},
};
use std::{sync::Arc, thread, time::Duration};

/// A session whose turn comes later than this is one of too many.
const LATE: Duration = Duration::from_millis(25);
/// Transactions that are always let in, for each processor: most of them wait for shards.
const LEAST: usize = 16;
/// Longest time in line.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Of all sessions of a node. There is strain where their threads come late, or most of the memory for queries is in use.
pub fn gate(env: &Env, engine: Arc<Engine>) -> Arc<Gate> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Gate::new(env.clone(), LEAST * processors, move |late| late > LATE || engine.is_short_of_memory())
}

impl Session {
    /// The client's turn begins something. Who is in a transaction, or holds advisory locks, goes on: others may wait for it.
    pub(super) async fn enter(&mut self) -> Result<(), SqlError> {
        if !matches!(self.tx, Tx::Idle) || self.locks.holds_any() {
            return Ok(());
        }
        let gate = &self.shared.gate;
        let stop = self.stop();
        let pass = tokio::select! {
            biased;
            pass = gate.enter(self.settings.priority(), PATIENCE) => pass,
            error = stop.reached() => return Err(error),
        };
        self.pass = Some(pass.map_err(|crowded| self.refused(crowded))?);
        Ok(())
    }

    fn refused(&self, Crowded(waited): Crowded) -> SqlError {
        let (inside, waiting) = self.shared.gate.crowd();
        SqlError::new(SqlState::INSUFFICIENT_RESOURCES, "the node has more to do than it bears")
            .detail(format!(
                "Nothing was done. {inside} transactions of clients run on node {}, {waiting} stand in line, and this one has for {} s.",
                self.shared.env.node(),
                waited.as_secs()
            ))
            .hint("Try again later, or through another node. What is urgent goes first after SET quorate.priority = 'high'.")
    }
}
