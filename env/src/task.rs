//! A handle to a named task.

use tokio::task::JoinHandle;

/// Dropping it lets the task run on.
#[must_use = "keep it to join or abort the task, or call `detach`"]
pub struct Task<T>(pub(crate) JoinHandle<T>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    #[error("the task was aborted, or its node stopped")]
    Aborted,
    #[error("the task panicked")]
    Panicked,
}

impl<T> Task<T> {
    /// Drops the task's future at its next await point.
    pub fn abort(&self) {
        self.0.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the task's end. Dropping this future does not stop the task.
    pub async fn join(self) -> Result<T, TaskError> {
        self.0.await.map_err(|error| if error.is_panic() { TaskError::Panicked } else { TaskError::Aborted })
    }

    pub fn detach(self) {}
}
