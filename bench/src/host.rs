//! What the benchmarks take from the machine directly: they run in real time, outside of any simulation.
#![expect(clippy::disallowed_methods, reason = "benchmarks measure real time")]

use std::time::{Duration, Instant};

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

/// A number below `bound` from a xorshift generator (Marsaglia, 2003): the same transfers on every side.
pub fn below(state: &mut u64, bound: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % bound
}
