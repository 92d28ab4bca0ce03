//! K of one replica: up to when its own state is complete.

use minicbor::{Decode, Encode};
use quorate_proto::{LogPosition, Timestamp};
use std::collections::VecDeque;

/// The state for which something was closed: all that the leader had applied, in this range version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    #[n(0)]
    pub position: LogPosition,
    #[n(1)]
    pub version: u64,
}

/// "Whoever has applied this has every version at or below `closed`." True for ever once it is true: a later term of the
/// log begins with all that was applied in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub place: Place,
    pub closed: Timestamp,
}

impl Fact {
    fn usable(&self, here: Place) -> bool {
        let applied = here.position.index >= self.place.position.index;
        (applied || quorate_env::planted!("shard.closed_before_applied"))
            && here.version == self.place.version
    }
}

/// A follower that lags hears of new facts before it has applied what the older ones ask for. So many wait; of more, the
/// oldest, which come true first, and the newest.
const MAX_WAITING: usize = 8;

#[derive(Debug, Default)]
pub struct Frontier {
    taken: Timestamp,
    waiting: VecDeque<Fact>,
}

impl Frontier {
    /// Of a state that was complete up to `closed` when it came here.
    pub fn inherited(closed: Timestamp) -> Self {
        Frontier { taken: closed, ..Frontier::default() }
    }

    /// The state here is complete up to `closed`.
    pub fn raise(&mut self, closed: Timestamp) {
        self.taken = self.taken.max(closed);
    }

    pub fn offer(&mut self, fact: Fact) {
        if fact.closed <= self.taken || self.waiting.contains(&fact) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_back();
        }
        self.waiting.push_back(fact);
    }

    /// K as of the state `here`, with `more` that is known beside what was offered.
    pub fn take(&mut self, here: Place, more: impl IntoIterator<Item = Fact>) -> Timestamp {
        let usable = self.waiting.iter().copied().chain(more).filter(|fact| fact.usable(here));
        self.taken = usable.map(|fact| fact.closed).fold(self.taken, Timestamp::max);
        let (taken, version) = (self.taken, here.version);
        // What was closed for an earlier range is told again for the present one.
        self.waiting.retain(|fact| fact.closed > taken && fact.place.version >= version);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: u64, version: u64) -> Place {
        Place { position: LogPosition { term: 1, index }, version }
    }

    fn fact(index: u64, version: u64, closed: u64) -> Fact {
        Fact { place: place(index, version), closed: Timestamp(closed) }
    }

    #[test]
    fn nothing_is_taken_before_its_entry_in_its_range() {
        let mut k = Frontier::inherited(Timestamp(3));
        k.offer(fact(10, 1, 100));
        k.offer(fact(12, 2, 120));
        assert_eq!(k.take(place(9, 1), []), Timestamp(3));
        assert_eq!(k.take(place(10, 1), []), Timestamp(100));
        assert_eq!(k.take(place(12, 1), []), Timestamp(100), "the range is still the old one");
        assert_eq!(k.take(place(12, 2), [fact(13, 2, 130)]), Timestamp(120));
        assert_eq!(k.take(place(13, 2), [fact(13, 2, 130)]), Timestamp(130));
        assert_eq!(k.take(place(1, 2), []), Timestamp(130), "it only rises");
    }

    #[test]
    fn one_that_lags_gets_somewhere() {
        let mut k = Frontier::default();
        (1..=50).for_each(|n| k.offer(fact(n, 1, 10 * n)));
        assert_eq!(k.waiting.len(), MAX_WAITING);
        assert_eq!(k.take(place(3, 1), []), Timestamp(30));
        assert_eq!(k.take(place(50, 1), []), Timestamp(500));
    }
}
