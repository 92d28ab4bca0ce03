//! What a node knows about the other nodes' clocks, and what that says about its own (PROTOCOL 21). Pure.
//!
//! One exchange bounds a peer's offset by an interval: its reading was taken somewhere between our sending and our
//! receiving. The intervals of recent exchanges intersect (after Marzullo, "Maintaining the Time in a Distributed
//! System", 1984); one that misses the others means that a clock has stepped, and starts afresh. A node is fenced only
//! when its *whole* interval lies outside, so that slow exchanges on a busy machine never fence anyone.

use crate::planted;
use quorate_proto::NodeId;
use std::{collections::BTreeMap, fmt, time::Duration};

/// A measurement counts for this long.
const FRESH: Duration = Duration::from_secs(5);
/// Without fresh measurements from a majority for this long, a node that had them is fenced.
const LOST_CONTACT: Duration = Duration::from_secs(5);
/// How fast two clocks may drift apart: 100 µs a second widens every interval as it ages.
const DRIFT_MICROS_PER_SECOND: i64 = 100;
/// Steps of the own clock against the monotonic one below this are noise of reading the two.
const STEP_MICROS: i64 = 200;

/// By how many microseconds a peer's clock is ahead of the own one: at least `low`, at most `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub low: i64,
    pub high: i64,
}

impl Interval {
    fn widened(self, micros: i64) -> Self {
        Interval { low: self.low - micros, high: self.high + micros }
    }

    fn shifted(self, micros: i64) -> Self {
        Interval { low: self.low + micros, high: self.high + micros }
    }

    fn intersection(self, other: Self) -> Option<Self> {
        let both = Interval { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    fn width(self) -> i64 {
        self.high - self.low
    }

    fn middle(self) -> i64 {
        self.low + self.width() / 2
    }
}

/// Why a node is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The own clock is certainly further than 0.4 ε from the majority's median; positive: ahead.
    Strayed { offset_micros: i64 },
    /// No fresh measurement of a majority, for this long (since the start, if there never was one).
    Unmeasured { since: Duration },
    /// [`crate::Clock::set_fenced`].
    ByHand,
    /// [`crate::Clock::retire`].
    Retired,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fence::Strayed { offset_micros } => {
                write!(f, "its clock is {offset_micros} µs away from the majority's median")
            }
            Fence::Unmeasured { .. } => f.write_str("the clocks of a majority of nodes cannot be measured"),
            Fence::ByHand => f.write_str("by hand"),
            Fence::Retired => f.write_str("the node was decommissioned"),
        }
    }
}

pub(crate) struct Offsets {
    /// 0.4 ε in microseconds.
    limit: i64,
    peers: BTreeMap<NodeId, Estimate>,
    /// Physical minus monotonic time at the last look, in microseconds.
    own: Option<i64>,
    /// When a majority was last measured; the first look counts as "not yet".
    majority_at: Option<Duration>,
    first_look: Option<Duration>,
    fence: Option<Fence>,
}

struct Estimate {
    /// As of `at`.
    interval: Interval,
    at: Duration,
    /// When the last exchange happened; `interval` may be narrower than what that one said.
    seen: Duration,
}

impl Estimate {
    fn at(&self, now: Duration) -> Interval {
        let age = now.saturating_sub(self.at);
        self.interval.widened((age.as_micros() as i64 * DRIFT_MICROS_PER_SECOND) / 1_000_000)
    }
}

impl Offsets {
    pub(crate) fn new(bound: Duration) -> Self {
        Offsets {
            limit: (bound.as_micros() as i64 * if planted!("env.fenced_too_late") { 8 } else { 4 }) / 10,
            peers: BTreeMap::new(),
            own: None,
            majority_at: None,
            first_look: None,
            fence: None,
        }
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        self.fence
    }

    pub(crate) fn peer(&self, peer: NodeId, now: Duration) -> Option<Interval> {
        let estimate = self.peers.get(&peer)?;
        let fresh = now.saturating_sub(estimate.seen) <= FRESH || planted!("env.stale_measurements_count");
        fresh.then(|| estimate.at(now))
    }

    /// Takes in one exchange, made just now.
    pub(crate) fn add(&mut self, peer: NodeId, measured: Interval, now: Duration) {
        let kept = self.peer(peer, now).and_then(|old| old.intersection(measured));
        let interval = kept.unwrap_or(measured);
        self.peers.insert(peer, Estimate { interval, at: now, seen: now });
    }

    /// Finds out whether the own physical clock has been set since the last look, and moves the estimates accordingly.
    pub(crate) fn own_step(&mut self, physical_micros: u64, boot: Duration) {
        let own = physical_micros as i64 - boot.as_micros() as i64;
        let step = own - self.own.unwrap_or(own);
        if step.abs() >= STEP_MICROS && !planted!("env.own_step_unnoticed") {
            for estimate in self.peers.values_mut() {
                estimate.interval = estimate.interval.shifted(-step).widened(STEP_MICROS);
            }
        }
        if step.abs() >= STEP_MICROS || self.own.is_none() {
            self.own = Some(own);
        }
    }

    /// Sets the fence anew and returns how far the own clock is ahead of the median (best estimate).
    pub(crate) fn judge(&mut self, known: &[NodeId], member: bool, now: Duration) -> i64 {
        let first_look = *self.first_look.get_or_insert(now);
        self.peers.retain(|peer, _| known.contains(peer));
        let mut intervals = vec![Interval { low: 0, high: 0 }];
        intervals.extend(known.iter().filter_map(|&peer| self.peer(peer, now)));
        let nodes = known.len() + 1;
        let majority = nodes / 2 + 1;
        if intervals.len() < majority {
            let since = self.majority_at.unwrap_or(first_look);
            let known_once = self.majority_at.is_some() || planted!("env.not_fenced_at_start");
            let patience = if known_once { LOST_CONTACT } else { Duration::ZERO };
            let silence = now.saturating_sub(since);
            // A fence for straying stays until a majority says otherwise.
            if !matches!(self.fence, Some(Fence::Strayed { .. })) {
                self.fence = (member && silence >= patience).then_some(Fence::Unmeasured { since: silence });
            }
            return 0;
        }
        self.majority_at = Some(now);
        let median = Interval {
            low: median(intervals.iter().map(|interval| interval.low)),
            high: median(intervals.iter().map(|interval| interval.high)),
        };
        let point = Interval { low: median.middle(), high: median.middle() };
        let seen = if planted!("env.offsets_are_points") { point } else { median };
        let certainly_off = seen.low > self.limit || seen.high < -self.limit;
        let offset_micros = -median.middle();
        self.fence = (member && certainly_off).then_some(Fence::Strayed { offset_micros });
        if median.low <= 0 && median.high >= 0 && median.width() > 2 * self.limit {
            // Too coarse to tell anything but that nothing is wrong.
            return 0;
        }
        offset_micros
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(values: impl Iterator<Item = i64>) -> i64 {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    let n = values.len();
    if n % 2 == 1 { values[n / 2] } else { (values[n / 2 - 1] + values[n / 2]) / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(low: i64, high: i64) -> Interval {
        Interval { low, high }
    }

    fn nodes(n: u64) -> Vec<NodeId> {
        (2..=n).map(NodeId).collect()
    }

    #[test]
    fn alone_or_not_yet_a_member_is_never_fenced() {
        let mut offsets = Offsets::new(Duration::from_millis(1));
        offsets.judge(&[], true, SECOND);
        assert_eq!(offsets.fence(), None);
        offsets.judge(&nodes(3), false, SECOND * 100);
        assert_eq!(offsets.fence(), None);
    }

    #[test]
    fn fenced_at_start_until_a_majority_is_measured() {
        let mut offsets = Offsets::new(Duration::from_millis(1));
        offsets.judge(&nodes(3), true, SECOND);
        assert!(matches!(offsets.fence(), Some(Fence::Unmeasured { .. })));
        offsets.add(NodeId(2), at(-100, 300), SECOND);
        offsets.judge(&nodes(3), true, SECOND);
        assert_eq!(offsets.fence(), None);
    }

    #[test]
    fn lost_contact_fences_after_a_while_only() {
        let mut offsets = Offsets::new(Duration::from_millis(1));
        offsets.add(NodeId(2), at(-100, 300), SECOND);
        offsets.judge(&nodes(3), true, SECOND);
        // The measurement is fresh for five seconds; five more pass in patience.
        offsets.judge(&nodes(3), true, SECOND * 6);
        offsets.judge(&nodes(3), true, SECOND * 10);
        assert_eq!(offsets.fence(), None);
        offsets.judge(&nodes(3), true, SECOND * 12);
        assert!(matches!(offsets.fence(), Some(Fence::Unmeasured { .. })));
    }

    #[test]
    fn slow_exchanges_never_fence() {
        let mut offsets = Offsets::new(Duration::from_millis(1));
        for peer in nodes(3) {
            offsets.add(peer, at(-80_000, 10), SECOND);
        }
        assert_eq!(offsets.judge(&nodes(3), true, SECOND), 0);
        assert_eq!(offsets.fence(), None);
    }

    #[test]
    fn the_one_that_strays_is_fenced_and_the_others_are_not() {
        let strayed = |intervals: [(i64, i64); 2]| {
            let mut offsets = Offsets::new(Duration::from_millis(1));
            for (peer, (low, high)) in nodes(3).into_iter().zip(intervals) {
                offsets.add(peer, at(low, high), SECOND);
            }
            offsets.judge(&nodes(3), true, SECOND);
            offsets.fence()
        };
        assert!(matches!(strayed([(450, 550), (440, 600)]), Some(Fence::Strayed { .. })));
        assert_eq!(strayed([(450, 550), (-50, 50)]), None);
        assert_eq!(strayed([(300, 550), (350, 600)]), None);
        assert!(
            matches!(strayed([(-900, -500), (-950, -600)]), Some(Fence::Strayed { offset_micros }) if offset_micros > 0)
        );
    }

    #[test]
    fn exchanges_intersect_and_a_step_starts_afresh() {
        let mut offsets = Offsets::new(Duration::from_millis(1));
        offsets.add(NodeId(2), at(-500, 100), SECOND);
        offsets.add(NodeId(2), at(-50, 900), SECOND);
        assert_eq!(offsets.peer(NodeId(2), SECOND), Some(at(-50, 100)));
        offsets.add(NodeId(2), at(5000, 5100), SECOND);
        assert_eq!(offsets.peer(NodeId(2), SECOND), Some(at(5000, 5100)));
        assert_eq!(offsets.peer(NodeId(2), SECOND * 2), Some(at(4900, 5200)));
        assert_eq!(offsets.peer(NodeId(2), SECOND * 7), None);
    }

    #[test]
    fn a_step_of_the_own_clock_is_noticed_without_an_exchange() {
        let mut offsets = Offsets::new(Duration::from_millis(1));
        offsets.own_step(1_000_000, SECOND);
        for peer in nodes(3) {
            offsets.add(peer, at(-50, 50), SECOND);
        }
        offsets.judge(&nodes(3), true, SECOND);
        assert_eq!(offsets.fence(), None);
        offsets.own_step(2_500_000, SECOND * 2);
        offsets.judge(&nodes(3), true, SECOND * 2);
        assert!(matches!(offsets.fence(), Some(Fence::Strayed { offset_micros }) if offset_micros > 400_000));
    }
}
