//! What the benchmarks take from the machine directly: they run in real time, outside of any simulation.
#![expect(clippy::disallowed_methods, reason = "benchmarks measure real time, over real connections")]

use std::{
    io,
    net::TcpListener,
    time::{Duration, Instant, SystemTime},
};
use tokio::net::TcpStream;

pub fn now() -> Instant {
    Instant::now()
}

pub fn wall() -> SystemTime {
    SystemTime::now()
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

pub async fn connect(address: &str) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// Ports of this machine that nobody listens on now.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// A number below `bound` from a xorshift generator (Marsaglia, 2003): the same transfers on every side.
pub fn below(state: &mut u64, bound: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % bound
}
