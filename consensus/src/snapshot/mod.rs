//! Sending a state to a replica that the log can no longer bring up to date, and taking one in.
//!
//! The sender opens a consistent view, calls `Begin`, one `Part` after the other, and `Finish`; the receiver answers each.
//! Nothing changes there before `Finish`, which hands the whole to openraft: it truncates a conflicting log, has the state
//! machine replace its state, and purges the log (PROTOCOL 8).
//!
//! The receiver grants what may come ([`Credit`](crate::wire::Credit)): how large the next part may be, and after what time. It takes
//! in only so many states at a time, whoever sends them. A part whose answer is lost is asked after, and the transfer goes on
//! with what the receiver lacks. One whose sender is gone is begun anew by the next leader, whose state is another one.

mod receive;
mod send;

use quorate_env::Env;
use std::time::Duration;

pub(crate) use receive::{SnapshotService, Transfers};
pub(crate) use send::send;

/// Spreads the bytes of all transfers of a node over time. One for what it sends, and one for what it takes in.
pub(crate) struct Pace {
    bytes_per_second: u64,
    next: parking_lot::Mutex<Duration>,
}

impl Pace {
    pub fn new(bytes_per_second: u64) -> Self {
        Pace { bytes_per_second: bytes_per_second.max(1), next: parking_lot::Mutex::default() }
    }

    /// Counts so many bytes, and tells for how long those before them take up the time from now on.
    fn turn(&self, env: &Env, bytes: usize) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let now = env.boottime();
        let mut next = self.next.lock();
        let at = (*next).max(now);
        *next = at + cost;
        at - now
    }
}
