//! The node's clock: physical time, the hybrid logical clock over it (DESIGN §4), and the fence (PROTOCOL 21).

use crate::{
    offsets::{Fence, Interval, Offsets},
    sim::SimClock,
    time, troubles,
};
use parking_lot::Mutex;
use quorate_proto::{NodeId, Timestamp, hlc::EPOCH_UNIX_MICROS};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Up to this bound commits wait the uncertainty out (DESIGN §4).
const COMMIT_WAIT_BOUND: Duration = Duration::from_millis(10);

pub struct Clock {
    source: Source,
    bound: Duration,
    /// The last timestamp given out or observed.
    last: AtomicU64,
    offsets: Mutex<Offsets>,
    /// Copies of what `offsets` said last, for readers in a hurry.
    offset_micros: AtomicI64,
    fenced: AtomicBool,
    /// Set by hand; see [`Clock::set_fenced`].
    forced: AtomicBool,
    /// See [`Clock::retire`].
    retired: AtomicBool,
}

enum Source {
    Real,
    Simulated(Arc<SimClock>),
}

/// A peer's clock reading lies further ahead than the bound allows; it was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clock reading is {ahead:?} ahead of the own physical clock")]
pub struct ClockAhead {
    pub ahead: Duration,
}

impl Clock {
    pub(crate) fn real(bound: Duration) -> Self {
        Self::new(Source::Real, bound)
    }

    pub(crate) fn simulated(clock: Arc<SimClock>, bound: Duration) -> Self {
        Self::new(Source::Simulated(clock), bound)
    }

    fn new(source: Source, bound: Duration) -> Self {
        Clock {
            source,
            bound,
            last: AtomicU64::new(0),
            offsets: Mutex::new(Offsets::new(bound)),
            offset_micros: AtomicI64::new(0),
            fenced: AtomicBool::new(false),
            forced: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// The physical clock; logical part 0. It may be set back by whoever keeps the machine's time.
    pub fn physical(&self) -> Timestamp {
        match &self.source {
            Source::Real => {
                let unix = troubles::clock(time::clock_gettime(libc::CLOCK_REALTIME).as_micros() as u64);
                Timestamp::from_micros(unix.saturating_sub(EPOCH_UNIX_MICROS))
            }
            Source::Simulated(clock) => Timestamp::from_micros(clock.physical_micros()),
        }
    }

    /// The hybrid logical clock: not below the physical one, and above all that was given out or observed before.
    pub fn now(&self) -> Timestamp {
        let physical = self.physical();
        let advance = |last: u64| Some(physical.0.max(last + 1));
        match self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance) {
            Ok(last) | Err(last) => Timestamp(physical.0.max(last + 1)),
        }
    }

    /// Takes a peer's *clock reading* over (never a transaction's timestamp; PROTOCOL 11).
    ///
    /// # Errors
    /// If it is more than the bound ahead of the own physical clock: refused and counted.
    pub fn observe(&self, reading: Timestamp) -> Result<(), ClockAhead> {
        let physical = self.physical();
        if reading > physical.plus(self.bound) && !crate::planted!("env.leaping_clock_followed") {
            crate::count!("quorate_env_clock_readings_refused_total");
            return Err(ClockAhead { ahead: reading.since(physical) });
        }
        self.last.fetch_max(reading.0, Ordering::AcqRel);
        Ok(())
    }

    /// ε: the distance that any two nodes' clocks are promised to keep.
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Whether commits wait the bound out; otherwise reads have an uncertainty interval.
    pub fn commit_wait(&self) -> bool {
        self.bound <= COMMIT_WAIT_BOUND
    }

    /// Returns when the physical clock has passed `ts`.
    pub async fn wait_until_past(&self, ts: Timestamp) {
        loop {
            let physical = self.physical();
            if physical > ts {
                return;
            }
            time::sleep_precisely(ts.since(physical) + Duration::from_micros(1)).await;
        }
    }

    /// How far the own clock is ahead of the majority's median, in microseconds, by the best estimate. 0 when alone.
    pub fn offset_micros(&self) -> i64 {
        self.offset_micros.load(Ordering::Relaxed)
    }

    /// Whether the node must lead nothing, open, acknowledge and read nothing (PROTOCOL 21). [`Clock::fence`] has the reason.
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire) || self.forced.load(Ordering::Acquire) || self.is_retired()
    }

    /// Why the node is fenced. With [`Fence::Unmeasured`] a majority of the nodes is out of reach, and a missing quorum
    /// is the better explanation to give to clients.
    pub fn fence(&self) -> Option<Fence> {
        if self.is_retired() {
            return Some(Fence::Retired);
        }
        if self.forced.load(Ordering::Acquire) {
            return Some(Fence::ByHand);
        }
        self.offsets.lock().fence()
    }

    /// The node has left its cluster for good: it is fenced, and tells nobody its time any more. The others do not count it among
    /// those of whom they have to measure a majority, so nobody may take it for one of a majority.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Fences the node by hand, whatever its clock does; for tests and operators.
    pub fn set_fenced(&self, fenced: bool) {
        self.forced.store(fenced, Ordering::Release);
    }

    /// What is known of a peer's clock: by how many microseconds it is ahead of the own one, at least and at most.
    pub fn peer_offset(&self, peer: NodeId) -> Option<Interval> {
        self.offsets.lock().peer(peer, time::now())
    }

    pub(crate) fn measured(&self, peer: NodeId, offset: Interval) {
        self.offsets.lock().add(peer, offset, time::now());
    }

    /// Judges the own clock by what was measured. `peers` are all known ones; `member` says that the node belongs to a
    /// cluster (before that nothing can be wrong).
    pub(crate) fn judge(&self, peers: &[NodeId], member: bool) {
        let mut offsets = self.offsets.lock();
        let boot = time::now();
        let physical = self.physical();
        offsets.own_step(physical.micros(), boot);
        let before = offsets.fence();
        let estimate = offsets.judge(peers, member, boot);
        let fence = offsets.fence();
        self.offset_micros.store(estimate, Ordering::Relaxed);
        self.fenced.store(fence.is_some(), Ordering::Release);
        drop(offsets);
        metrics::gauge!("quorate_env_clock_offset_microseconds").set(estimate as f64);
        metrics::gauge!("quorate_env_clock_fenced").set(if self.is_fenced() { 1.0 } else { 0.0 });
        match (before, fence) {
            (None, Some(fence)) => {
                crate::probe!("clock.fenced");
                tracing::warn!("fenced: {fence}");
            }
            (Some(_), None) => {
                crate::probe!("clock.unfenced");
                tracing::info!("no longer fenced");
            }
            _ => {}
        }
    }
}
