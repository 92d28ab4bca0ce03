//! What keeps functions within bounds while they go through a batch of rows: they ask every few calls whether their statement
//! must end, and make no more than fits. A batch is computed in one go, with nothing that could be cancelled in between; a
//! thousand calls of a costly function take seconds, and a thousand large texts take gigabytes.

use crate::{
    Result,
    error::{SqlError, SqlState},
};
use std::{future::Future, sync::Arc};

/// Tells by an error that the statement must end.
pub(crate) type Ask = Arc<dyn Fn() -> Result<()> + Send + Sync>;

tokio::task_local! {
    static ASK: Ask;
}

/// Calls between two questions.
const CALLS: u32 = 16;

/// Bytes that a function may make of one batch.
const BATCH_BYTES: usize = 128 << 20;

/// What computes in this future asks `ask`.
pub(crate) async fn within<T>(ask: Ask, future: impl Future<Output = T>) -> T {
    ASK.scope(ask, future).await
}

/// What computes in this function asks `ask`.
pub(crate) fn within_now<T>(ask: Ask, body: impl FnOnce() -> T) -> T {
    ASK.sync_scope(ask, body)
}

/// Fails if the statement must end. Where none is known, nothing ends.
pub(crate) fn give_way() -> Result<()> {
    ASK.try_with(|ask| ask()).unwrap_or(Ok(()))
}

/// One function's way through one batch.
#[derive(Default)]
pub(crate) struct Pace {
    calls: u32,
    bytes: usize,
}

impl Pace {
    /// A value of so many bytes was made.
    pub(crate) fn made(&mut self, bytes: usize) -> Result<()> {
        self.calls += 1;
        if self.calls.is_multiple_of(CALLS) {
            give_way()?;
        }
        self.bytes += bytes;
        if self.bytes > BATCH_BYTES {
            return Err(too_much());
        }
        Ok(())
    }
}

fn too_much() -> SqlError {
    SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
        .detail(format!("A function makes more than {} MiB of one batch of rows.", BATCH_BYTES >> 20))
        .hint("Make less of each row, or take fewer rows at a time.")
}
