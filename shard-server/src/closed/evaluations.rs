//! At which timestamps a leader may still write: the evaluations under way, and K above which all later ones go.

use crate::latch::LatchId;
use quorate_proto::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Of one term. An evaluation is under way from the choice of its timestamp until its entry is applied here or certainly
/// never will be: as long as its latches are held.
#[derive(Debug, Default)]
pub struct Evaluations {
    closed: Timestamp,
    /// No timestamp that is still to be written at lies below these.
    floors: BTreeSet<(Timestamp, LatchId)>,
    floor_of: BTreeMap<LatchId, Timestamp>,
    stopped: bool,
}

impl Evaluations {
    /// Nothing is written at or below `closed`.
    pub fn above(closed: Timestamp) -> Self {
        Evaluations { closed, ..Evaluations::default() }
    }

    /// Returns where the evaluation may write: not below `floor`, and above K.
    pub fn begin(&mut self, id: LatchId, floor: Timestamp) -> Timestamp {
        self.end(id);
        let floor = if quorate_env::planted!("shard.written_below_closed") {
            floor
        } else {
            floor.max(self.closed.next())
        };
        self.floors.insert((floor, id));
        self.floor_of.insert(id, floor);
        floor
    }

    pub fn end(&mut self, id: LatchId) {
        if let Some(floor) = self.floor_of.remove(&id) {
            self.floors.remove(&(floor, id));
        }
    }

    /// An entry may still come of an evaluation that is counted no longer: nothing more is closed in this term.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// K, and more may be closed at any time.
    pub fn closed(&self) -> Timestamp {
        self.closed
    }

    /// Closes up to `limit`, or below the earliest evaluation under way. K only rises.
    pub fn close(&mut self, limit: Timestamp) -> Timestamp {
        let earliest = self.floors.first().map_or(Timestamp::MAX, |(floor, _)| floor.prev());
        let earliest =
            if quorate_env::planted!("shard.evaluations_not_counted") { Timestamp::MAX } else { earliest };
        if !self.stopped {
            self.closed = self.closed.max(limit.min(earliest));
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(n: u64) -> Timestamp {
        Timestamp(n)
    }

    #[test]
    fn what_is_under_way_holds_it_back_and_what_comes_later_goes_above() {
        let mut of = Evaluations::above(ts(5));
        assert_eq!(of.begin(LatchId(1), ts(3)), ts(6), "not where a predecessor has closed");
        assert_eq!(of.begin(LatchId(2), ts(20)), ts(20));
        assert_eq!(of.close(ts(15)), ts(5));
        of.end(LatchId(1));
        assert_eq!(of.close(ts(15)), ts(15));
        assert_eq!(of.close(ts(30)), ts(19));
        assert_eq!(of.begin(LatchId(3), ts(1)), ts(20));
        of.end(LatchId(2));
        assert_eq!(of.close(ts(30)), ts(19), "the third has taken its place");
        of.end(LatchId(3));
        assert_eq!(of.close(ts(30)), ts(30));
        assert_eq!(of.close(ts(10)), ts(30), "it only rises");
        of.stop();
        assert_eq!(of.close(ts(40)), ts(30));
    }
}
