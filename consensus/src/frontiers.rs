//! The frontiers of one replica and the lattice that holds between them (DESIGN §2, PROTOCOL 6):
//! `T ≤ F ≤ A ≤ C ≤ E`, `A ≤ D ≤ E`. Every move is checked; a move that would break it stops the replica.
//!
//! A is kept below D by waiting in apply, so that F ≤ D needs no further care.

use crate::Fatal;
use quorate_env::planted;
use quorate_proto::LogPosition;
use quorate_proto::placement::Frontiers;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tracker {
    appended: LogPosition,
    durable: LogPosition,
    committed: LogPosition,
    applied: LogPosition,
    trimmed: LogPosition,
    /// Raised by every truncation, so that a late report of durability for what was cut off counts for nothing.
    cut: u64,
}

/// Ties a report of durability to the log it was ordered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut(u64);

impl Tracker {
    /// As found at open: everything in the log is durable, and so is what the state machine holds.
    pub fn open(
        last: LogPosition,
        committed: LogPosition,
        applied: LogPosition,
        trimmed: LogPosition,
    ) -> Self {
        let end = last.max(applied);
        Tracker {
            appended: end,
            durable: end,
            committed: committed.max(applied).min(end),
            applied,
            trimmed,
            cut: 0,
        }
    }

    pub fn cut(&self) -> Cut {
        Cut(self.cut)
    }

    pub fn append(&mut self, last: LogPosition) -> Result<(), Fatal> {
        self.check(last.index > self.appended.index && last.term >= self.appended.term, "append", last)?;
        self.appended = last;
        Ok(())
    }

    /// Returns the new D if it moved.
    pub fn durable(&mut self, last: LogPosition, cut: Cut) -> Option<LogPosition> {
        let cut_off = cut.0 != self.cut && !planted!("consensus.cut_off_counts_as_durable");
        if cut_off || last <= self.durable {
            return None;
        }
        self.durable = last.min(self.appended);
        Some(self.durable)
    }

    /// E and D fall to `after`, never below C.
    pub fn truncate(&mut self, after: LogPosition) -> Result<(), Fatal> {
        self.check(after.index >= self.committed.index, "truncate", after)?;
        self.cut += 1;
        self.appended = self.appended.min(after);
        self.durable = self.durable.min(after);
        Ok(())
    }

    pub fn commit(&mut self, to: LogPosition) -> Result<(), Fatal> {
        self.check(to.index <= self.appended.index, "commit", to)?;
        self.committed = self.committed.max(to);
        Ok(())
    }

    pub fn apply(&mut self, to: LogPosition) -> Result<(), Fatal> {
        let fits = to > self.applied && to.index <= self.durable.index;
        self.check(fits, "apply", to)?;
        self.applied = to;
        self.committed = self.committed.max(to);
        Ok(())
    }

    /// A snapshot sets all in one step.
    pub fn restore(&mut self, to: LogPosition) -> Result<(), Fatal> {
        self.check(to > self.applied, "restore", to)?;
        self.appended = self.appended.max(to);
        self.durable = self.durable.max(to);
        self.committed = self.committed.max(to);
        self.applied = to;
        Ok(())
    }

    pub fn trim(&mut self, to: LogPosition, flushed: LogPosition) -> Result<(), Fatal> {
        self.check(to.index <= flushed.index && flushed <= self.applied, "trim", to)?;
        self.trimmed = self.trimmed.max(to);
        Ok(())
    }

    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    pub fn durable_position(&self) -> LogPosition {
        self.durable
    }

    pub fn appended(&self) -> LogPosition {
        self.appended
    }

    pub fn committed(&self) -> LogPosition {
        self.committed
    }

    pub fn view(&self, flushed: LogPosition) -> Frontiers {
        Frontiers {
            appended: self.appended,
            durable: self.durable,
            committed: self.committed,
            applied: self.applied,
            flushed,
            trimmed: self.trimmed,
        }
    }

    fn check(&self, holds: bool, what: &str, to: LogPosition) -> Result<(), Fatal> {
        if holds { Ok(()) } else { Err(Fatal(format!("frontier violated by {what} to {to}: {self:?}"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term, index }
    }

    #[test]
    fn the_usual_way() {
        let mut t = Tracker::open(at(1, 10), at(1, 10), at(1, 10), at(1, 10));
        t.append(at(2, 12)).unwrap();
        assert!(t.commit(at(2, 13)).is_err());
        t.commit(at(2, 12)).unwrap();
        assert!(t.apply(at(2, 12)).is_err(), "not durable here yet");
        assert_eq!(t.durable(at(2, 12), t.cut()), Some(at(2, 12)));
        t.apply(at(2, 12)).unwrap();
        assert!(t.apply(at(2, 12)).is_err(), "A only rises");
        assert!(t.trim(at(2, 12), at(1, 10)).is_err(), "T stays at or below F");
        t.trim(at(2, 11), at(2, 12)).unwrap();
        assert!(t.truncate(at(2, 11)).is_err(), "E never falls below C");
    }

    #[test]
    fn durability_of_what_was_cut_off_counts_for_nothing() {
        let mut t = Tracker::open(at(1, 10), at(1, 10), at(1, 10), at(1, 10));
        t.append(at(1, 15)).unwrap();
        let old = t.cut();
        t.truncate(at(1, 10)).unwrap();
        t.append(at(2, 12)).unwrap();
        assert_eq!(t.durable(at(1, 15), old), None);
        assert_eq!(t.durable_position(), at(1, 10));
        assert_eq!(t.durable(at(2, 12), t.cut()), Some(at(2, 12)));
    }

    #[test]
    fn a_snapshot_moves_all() {
        let mut t = Tracker::open(at(1, 3), at(1, 2), at(1, 2), at(1, 1));
        t.restore(at(4, 90)).unwrap();
        assert_eq!(t.view(at(4, 90)).durable, at(4, 90));
        t.trim(at(4, 90), at(4, 90)).unwrap();
    }
}
