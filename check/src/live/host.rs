//! What the checker takes from the machine directly: it runs in real time, beside the cluster that it checks.
#![expect(
    clippy::disallowed_methods,
    reason = "a live cluster is checked in real time, over real connections"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub fn now() -> Instant {
    Instant::now()
}

pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// `None` if it takes longer.
pub async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(time, future).await.ok()
}

/// Another number at every call, also in processes that start together.
pub fn unique() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (time.as_nanos() as u64) ^ (u64::from(std::process::id()) << 48)
}
