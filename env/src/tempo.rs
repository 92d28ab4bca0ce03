//! How fast a node's disk and network are of late. Who writes the log and who measures clocks say what they have seen; the node's
//! heartbeats tell the placement driver.

use parking_lot::Mutex;
use quorate_proto::{NodeId, Tempo};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Measurements that count, at most,
const KEPT: usize = 32;
/// and at least: fewer say nothing.
const ENOUGH: usize = 5;
/// What is older says nothing of now.
const OF_LATE: Duration = Duration::from_secs(15);

#[derive(Default)]
pub struct TempoWatch(Mutex<Measured>);

#[derive(Default)]
struct Measured {
    syncs: Recent,
    peers: BTreeMap<NodeId, Trips>,
}

/// Microseconds, and when they were measured; the latest last.
#[derive(Default)]
struct Recent(VecDeque<(Duration, u64)>);

struct Trips {
    recent: Recent,
    /// Ever.
    fastest: u64,
}

impl TempoWatch {
    /// The log's writer has made something durable after so long. Times are of `Env::boottime`.
    pub fn synced(&self, now: Duration, took: Duration) {
        self.0.lock().syncs.add(now, micros(took));
    }

    /// A peer has answered after so long.
    pub(crate) fn answered(&self, peer: NodeId, now: Duration, took: Duration) {
        let took = micros(took);
        let mut measured = self.0.lock();
        let trips =
            measured.peers.entry(peer).or_insert(Trips { recent: Recent::default(), fastest: u64::MAX });
        trips.fastest = trips.fastest.min(took);
        trips.recent.add(now, took);
    }

    pub fn get(&self, now: Duration) -> Tempo {
        let measured = self.0.lock();
        let delay = |trips: &Trips| Some(trips.recent.middle(now)? - trips.fastest);
        let delays = measured.peers.values().filter_map(delay).collect();
        Tempo {
            sync_micros: measured.syncs.middle(now).unwrap_or_default(),
            delay_micros: lower_middle(delays).unwrap_or_default(),
        }
    }
}

impl Recent {
    fn add(&mut self, now: Duration, micros: u64) {
        self.0.push_back((now, micros));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    fn middle(&self, now: Duration) -> Option<u64> {
        let late = self.0.iter().filter(|(at, _)| *at + OF_LATE >= now);
        let late: Vec<u64> = late.map(|(_, micros)| *micros).collect();
        (late.len() >= ENOUGH).then(|| lower_middle(late)).flatten()
    }
}

/// The middle one; of an even number, the smaller of the two.
pub fn lower_middle(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    all.get(all.len().checked_sub(1)? / 2).copied()
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_middle_of_the_latest_counts_while_there_are_enough() {
        let watch = TempoWatch::default();
        for second in 0..4 {
            watch.synced(Duration::from_secs(second), 100 * MILLI);
        }
        assert_eq!(watch.get(Duration::from_secs(4)).sync_micros, 0);
        watch.synced(Duration::from_secs(4), 7 * MILLI);
        assert_eq!(
            watch.get(Duration::from_secs(4)).sync_micros,
            100_000,
            "one that was fast does not count"
        );
        (0..KEPT).for_each(|_| watch.synced(Duration::from_secs(5), 3 * MILLI));
        assert_eq!(watch.get(Duration::from_secs(6)).sync_micros, 3000);
        assert_eq!(watch.get(Duration::from_secs(60)).sync_micros, 0, "it is long ago");
    }

    /// One peer is far away, another one has become slow: of two, that is the peer's own matter.
    #[test]
    fn distance_is_no_delay_nor_is_one_slow_peer() {
        let watch = TempoWatch::default();
        let tell = |from: u64, far: u32, near: u32| {
            for second in from..from + 32 {
                watch.answered(NodeId(2), Duration::from_secs(second), far * MILLI);
                watch.answered(NodeId(3), Duration::from_secs(second), near * MILLI);
            }
            watch.get(Duration::from_secs(from + 32)).delay_micros
        };
        assert_eq!(tell(0, 80, 1), 0);
        assert_eq!(tell(100, 80, 301), 0);
        assert_eq!(tell(200, 280, 301), 200_000);
    }
}
