//! Troubles that a real node makes itself when it is told to: its frames leave late, its disk is slow, its clock is wrong.
//!
//! They are the process's, as a real node has one for itself; nothing sets them in a simulation, which has its own. While there are
//! none, each place looks at a number or two and goes on.

use crate::{random::Random, time};
use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Troubles {
    /// Each frame to another node is held back for so long, and by chance for up to `jitter` longer.
    pub delay: Duration,
    pub jitter: Duration,
    /// The log's writer pauses before each fsync.
    pub fsync: Duration,
    /// By how much the physical clock is wrong from the start.
    pub clock_offset_micros: i64,
    /// And by how much more with every second, in nanoseconds.
    pub clock_drift_ppb: i64,
}

static DELAY_MICROS: AtomicU64 = AtomicU64::new(0);
static JITTER_MICROS: AtomicU64 = AtomicU64::new(0);
static FSYNC_MICROS: AtomicU64 = AtomicU64::new(0);
static CLOCK_OFFSET_MICROS: AtomicI64 = AtomicI64::new(0);
static CLOCK_DRIFT_PPB: AtomicI64 = AtomicI64::new(0);
/// When the clock began to drift, since boot.
static DRIFTS_SINCE_MICROS: AtomicU64 = AtomicU64::new(0);

/// From now on there are these, and no others.
pub fn set(troubles: Troubles) {
    let micros = |time: Duration| time.as_micros() as u64;
    DELAY_MICROS.store(micros(troubles.delay), Relaxed);
    JITTER_MICROS.store(micros(troubles.jitter), Relaxed);
    FSYNC_MICROS.store(micros(troubles.fsync), Relaxed);
    CLOCK_OFFSET_MICROS.store(troubles.clock_offset_micros, Relaxed);
    if CLOCK_DRIFT_PPB.swap(troubles.clock_drift_ppb, Relaxed) != troubles.clock_drift_ppb {
        DRIFTS_SINCE_MICROS.store(micros(time::now()), Relaxed);
    }
}

/// Until when a frame that is queued now is held back.
pub(crate) fn frame_due(random: &Random) -> Option<Duration> {
    let (delay, jitter) = (DELAY_MICROS.load(Relaxed), JITTER_MICROS.load(Relaxed));
    if delay == 0 && jitter == 0 {
        return None;
    }
    Some(time::now() + Duration::from_micros(delay + random.range(0..jitter + 1)))
}

/// Called by the thread that is about to wait for the disk.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, which waits for a real disk")]
pub fn before_fsync() {
    let micros = FSYNC_MICROS.load(Relaxed);
    if micros > 0 {
        std::thread::sleep(Duration::from_micros(micros));
    }
}

/// What the node's clock says when it is truly this time.
pub(crate) fn clock(unix_micros: u64) -> u64 {
    let (offset, ppb) = (CLOCK_OFFSET_MICROS.load(Relaxed), CLOCK_DRIFT_PPB.load(Relaxed));
    if ppb == 0 {
        return unix_micros.saturating_add_signed(offset);
    }
    let lasted = (time::now().as_micros() as u64).saturating_sub(DRIFTS_SINCE_MICROS.load(Relaxed));
    unix_micros.saturating_add_signed(offset).saturating_add_signed(drift(lasted, ppb))
}

fn drift(lasted_micros: u64, ppb: i64) -> i64 {
    (i128::from(lasted_micros) * i128::from(ppb) / 1_000_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_fast_or_slow() {
        assert_eq!(drift(10_000_000, 1_000_000), 10_000);
        assert_eq!(drift(10_000_000, -500_000), -5_000);
        assert_eq!(drift(u64::MAX / 2, 0), 0);
    }
}
