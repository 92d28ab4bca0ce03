//! One lock: who holds it and who stands in line for it, first come first served as in PostgreSQL. A pure core; the row of the
//! lock holds it, and each change of it is a transaction of its own ([`super::keeper`]).

use super::keys::LeaseId;
use minicbor::{Decode, Encode};
use quorate_proto::TxnId;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Mode {
    #[n(0)]
    Shared,
    #[n(1)]
    Exclusive,
}

impl Mode {
    fn clashes(self, other: Mode) -> bool {
        self == Mode::Exclusive || other == Mode::Exclusive
    }

    /// As PostgreSQL calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Shared => "ShareLock",
            Mode::Exclusive => "ExclusiveLock",
        }
    }
}

/// Names one place in one line; never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Ticket {
    /// The place counts as long as this lease runs.
    #[n(0)]
    pub lease: LeaseId,
    #[n(1)]
    pub number: u64,
}

/// One that holds the lock or waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    #[n(0)]
    pub ticket: Ticket,
    /// The session, as the deadlock detector knows it. Its places do not stand in each other's way.
    #[n(1)]
    pub session: TxnId,
    /// The session, as clients know it.
    #[n(2)]
    pub pid: u32,
    #[n(3)]
    pub mode: Mode,
    #[n(4)]
    pub granted: bool,
}

/// Invariants: what is granted to different sessions does not clash; whoever waits has somebody in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Line {
    /// Those who wait stand in their order; where the others stand does not matter.
    #[n(0)]
    places: Vec<Place>,
}

impl Line {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn find(&self, ticket: Ticket) -> Option<&Place> {
        self.places.iter().find(|place| place.ticket == ticket)
    }

    /// The leases on which its places rest.
    pub fn leases(&self) -> BTreeSet<LeaseId> {
        self.places.iter().map(|place| place.ticket.lease).collect()
    }

    /// Takes a place in; whether it gets the lock at once.
    pub fn enter(&mut self, place: Place) -> bool {
        let (at, ticket) = (self.stand(&place), place.ticket);
        self.places.insert(at, Place { granted: false, ..place });
        self.advance();
        self.is_granted(ticket)
    }

    /// At the end; but one who holds the lock and wants more stands before those who wait for him.
    fn stand(&self, place: &Place) -> usize {
        let held = self.places.iter().filter(|other| other.session == place.session && other.granted);
        let Some(held) = held.map(|other| other.mode).max() else { return self.places.len() };
        let waits_for_him =
            |other: &Place| other.session != place.session && !other.granted && other.mode.clashes(held);
        self.places.iter().position(waits_for_him).unwrap_or(self.places.len())
    }

    /// The place is given up, if it is there.
    pub fn leave(&mut self, ticket: Ticket) {
        self.places.retain(|place| place.ticket != ticket);
        self.advance();
    }

    /// The leases are over, and with them all places that rest on them.
    pub fn bury(&mut self, over: &BTreeSet<LeaseId>) {
        self.places.retain(|place| !over.contains(&place.ticket.lease));
        self.advance();
    }

    pub fn is_granted(&self, ticket: Ticket) -> bool {
        self.find(ticket).is_some_and(|place| place.granted)
    }

    /// The places for which this one waits.
    pub fn blockers(&self, ticket: Ticket) -> Vec<Place> {
        let Some(at) = self.places.iter().position(|place| place.ticket == ticket) else { return Vec::new() };
        self.in_the_way(at).cloned().collect()
    }

    /// Nobody passes one whom he would keep waiting.
    fn in_the_way(&self, at: usize) -> impl Iterator<Item = &Place> {
        let own = &self.places[at];
        let others = self.places.iter().enumerate().filter(move |(i, other)| {
            (other.granted || *i < at) && other.session != own.session && other.mode.clashes(own.mode)
        });
        others.map(|(_, other)| other)
    }

    /// Gives the lock to whomever it can be given to now.
    fn advance(&mut self) {
        for at in 0..self.places.len() {
            let free = self.in_the_way(at).next().is_none();
            self.places[at].granted |= free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Exclusive, Shared};
    use proptest::prelude::*;
    use quorate_proto::NodeId;

    fn place(number: u64, session: u64, mode: Mode) -> Place {
        let lease = LeaseId { node: NodeId(session % 3), number: 1 };
        let session = TxnId(u128::from(session));
        Place { ticket: Ticket { lease, number }, session, pid: 0, mode, granted: false }
    }

    /// Enters places, numbered from 0, of these sessions.
    fn line(places: &[(u64, Mode)]) -> Line {
        let mut line = Line::default();
        for (number, (session, mode)) in places.iter().enumerate() {
            line.enter(place(number as u64, *session, *mode));
        }
        line
    }

    fn granted(line: &Line) -> Vec<u64> {
        let mut all: Vec<u64> =
            line.places.iter().filter(|place| place.granted).map(|place| place.ticket.number).collect();
        all.sort();
        all
    }

    fn leave(line: &mut Line, number: u64) -> Vec<u64> {
        let ticket = line.places.iter().find(|place| place.ticket.number == number).unwrap().ticket;
        line.leave(ticket);
        granted(line)
    }

    #[test]
    fn those_who_share_hold_it_together_and_do_not_pass_one_who_waits() {
        let mut line = line(&[(1, Shared), (2, Shared), (3, Exclusive), (4, Shared), (5, Shared)]);
        assert_eq!(granted(&line), [0, 1]);
        assert_eq!(leave(&mut line, 0), [1]);
        assert_eq!(leave(&mut line, 1), [2]);
        assert_eq!(leave(&mut line, 2), [3, 4]);
    }

    #[test]
    fn who_waits_is_told_for_whom() {
        let mut line = line(&[(1, Shared), (2, Exclusive), (3, Shared)]);
        let blockers = |line: &Line, number: u64| {
            let place = line.places.iter().find(|place| place.ticket.number == number).unwrap();
            line.blockers(place.ticket).iter().map(|place| place.session.0).collect::<Vec<_>>()
        };
        assert_eq!((blockers(&line, 1), blockers(&line, 2)), (vec![1], vec![2]));
        assert_eq!(leave(&mut line, 1), [0, 2], "one who has given up is in nobody's way");
    }

    #[test]
    fn one_who_holds_it_and_wants_more_stands_before_those_who_wait_for_him() {
        let mut line = line(&[(1, Shared), (2, Exclusive), (1, Exclusive)]);
        assert_eq!(granted(&line), [0, 2], "nobody else holds it");
        assert_eq!(leave(&mut line, 2), [0]);
        assert_eq!(leave(&mut line, 0), [1]);
    }

    #[test]
    fn a_lease_takes_its_places_along() {
        let mut line = line(&[(1, Exclusive), (2, Exclusive), (4, Exclusive), (3, Shared)]);
        line.bury(&BTreeSet::from([LeaseId { node: NodeId(1), number: 1 }]));
        assert_eq!(granted(&line), [1]);
        assert_eq!(leave(&mut line, 1), [3], "the session of the third place went with its node");
    }

    proptest! {
        /// Sessions do one thing at a time, as they do.
        #[test]
        fn nobody_shares_with_one_who_excludes_and_nobody_waits_for_nothing(
            steps in prop::collection::vec((0u64..6, any::<bool>(), 0u8..10), 1..60)
        ) {
            let mut line = Line::default();
            for (number, (session, exclusive, what)) in steps.into_iter().enumerate() {
                let mode = if exclusive { Exclusive } else { Shared };
                let own = |place: &&Place| place.session.0 == u128::from(session);
                let waits = line.places.iter().filter(own).find(|place| !place.granted);
                let last = waits.or_else(|| line.places.iter().find(own)).map(|place| place.ticket);
                match what {
                    0..5 if waits.is_none() => drop(line.enter(place(number as u64, session, mode))),
                    0..9 => last.into_iter().for_each(|ticket| line.leave(ticket)),
                    _ => line.bury(&BTreeSet::from([LeaseId { node: NodeId(session % 3), number: 1 }])),
                }
                for (at, one) in line.places.iter().enumerate() {
                    let stopped = line.in_the_way(at).next().is_some();
                    prop_assert_eq!(one.granted, !stopped, "{:?}", &line);
                }
                let holds = |place: &Place| line.places.iter().any(|p| p.granted && p.session == place.session);
                let waiting = line.places.iter().filter(|place| !holds(place)).map(|place| place.ticket.number);
                prop_assert!(waiting.is_sorted(), "who came first stands first: {:?}", &line);
            }
        }
    }
}
