//! Support from node to node (PROTOCOL 2, 3): who promises whom, until when, not to elect against them. Pure; the driver
//! feeds it messages and times.
//!
//! Each grant has an *epoch*. A grant that has run out, or whose holder has restarted, only ever comes back under a new
//! epoch. So "still supported under epoch e" means "supported without a gap since e was first seen", and that is what a
//! lease needs: a voter that acknowledged its leader under e has not been free to vote for anybody else since.
//! (After the store liveness of CockroachDB's leader leases.)

use minicbor::{Decode, Encode};
use quorate_env::planted;
use quorate_proto::{NodeId, Room, Space, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Names one uninterrupted grant; unique to the granting node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Epoch {
    /// Of the granting node's process: promises are kept in memory, and a restarted node starts anew.
    #[n(0)]
    pub incarnation: u64,
    #[n(1)]
    pub number: u64,
}

impl Epoch {
    /// Whether this one was granted before `other`, as far as that can be told.
    pub fn is_older_than(&self, other: &Epoch) -> bool {
        self.incarnation == other.incarnation && self.number < other.number
    }
}

/// "I live": asks for support. Sent every liveness interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Ping {
    #[n(0)]
    pub incarnation: u64,
    /// The sender's boottime in microseconds; echoed.
    #[n(1)]
    pub sent: u64,
    /// The sender's physical clock; echoed.
    #[n(2)]
    pub physical: Timestamp,
    /// The sender's HLC; see [`Granted::clock`].
    #[n(3)]
    pub clock: Timestamp,
    /// What is left of the sender's disk.
    #[n(4)]
    #[cbor(default)]
    pub space: Space,
    /// The sender had better not lead.
    #[n(5)]
    #[cbor(default)]
    pub drains: bool,
}

/// Answer to a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Pong {
    /// Whom the promise is made to.
    #[n(0)]
    pub to_incarnation: u64,
    #[n(1)]
    pub sent: u64,
    #[n(2)]
    pub physical: Timestamp,
    #[n(3)]
    pub epoch: Epoch,
    /// Microseconds for which support was granted, from the receipt of the ping on.
    #[n(4)]
    pub support: u64,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    /// Of the process that holds it.
    incarnation: u64,
    number: u64,
    until: Duration,
    clock: Timestamp,
    space: Space,
    drains: bool,
}

/// What this node has promised others.
#[derive(Debug)]
pub(crate) struct Granted {
    incarnation: u64,
    support: Duration,
    peers: BTreeMap<NodeId, Grant>,
}

impl Granted {
    pub fn new(incarnation: u64, support: Duration) -> Self {
        Granted { incarnation, support, peers: BTreeMap::new() }
    }

    /// Grants or extends support. `now` is read after the ping arrived.
    pub fn heard(&mut self, from: NodeId, ping: &Ping, now: Duration) -> Pong {
        let Ping { incarnation, clock, space, drains, .. } = *ping;
        let fresh = Grant { incarnation, number: 1, until: now, clock, space, drains };
        let grant = self.peers.entry(from).or_insert(fresh);
        if grant.incarnation != ping.incarnation || grant.until < now {
            grant.number += 1;
        }
        grant.incarnation = ping.incarnation;
        grant.until = now + self.support;
        grant.clock = grant.clock.max(clock);
        grant.space = space;
        grant.drains = drains;
        Pong {
            to_incarnation: ping.incarnation,
            sent: ping.sent,
            physical: ping.physical,
            epoch: Epoch { incarnation: self.incarnation, number: grant.number },
            support: self.support.as_micros() as u64,
        }
    }

    /// Whether the promise to this process of the node still binds.
    pub fn supports(&self, node: NodeId, incarnation: u64, now: Duration) -> bool {
        self.peers.get(&node).is_some_and(|grant| grant.incarnation == incarnation && now <= grant.until)
    }

    /// The epoch under which the node's process is supported now.
    pub fn epoch(&self, node: NodeId, incarnation: u64, now: Duration) -> Option<Epoch> {
        let grant = self.peers.get(&node)?;
        let binds = grant.incarnation == incarnation && now <= grant.until;
        binds.then_some(Epoch { incarnation: self.incarnation, number: grant.number })
    }

    /// The largest clock reading heard of the node: a bound for what its leaderships have answered at (PROTOCOL 21).
    pub fn clock(&self, node: NodeId) -> Timestamp {
        self.peers.get(&node).map_or(Timestamp::ZERO, |grant| grant.clock)
    }

    /// What is left of the node's disk, as it last said.
    pub fn space(&self, node: NodeId) -> Space {
        self.peers.get(&node).map_or(Space::default(), |grant| grant.space)
    }

    /// Whether the node may be handed leaderships, by what it last said.
    pub fn is_fit_to_lead(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_none_or(|grant| grant.space.room == Room::Plenty && !grant.drains)
    }

    /// Whether a promise that bound at `last` binds no more.
    pub fn has_run_out(&self, last: Duration, now: Duration) -> bool {
        self.peers.values().any(|grant| last <= grant.until && grant.until < now)
    }

    /// Whether the node was heard of within the support period.
    pub fn hears(&self, node: NodeId, now: Duration) -> bool {
        self.peers.get(&node).is_some_and(|grant| now <= grant.until)
    }
}

/// A promise of another node, as far as this node may lean on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub epoch: Epoch,
    /// On boottime, and on the physical clock: whichever ends first (PROTOCOL 2).
    pub until: Duration,
    pub until_physical: Timestamp,
}

impl Promise {
    pub fn holds(&self, now: Duration, physical: Timestamp) -> bool {
        now < self.until && (physical < self.until_physical || planted!("consensus.lease_on_one_clock"))
    }
}

/// What others have promised this node.
#[derive(Debug)]
pub(crate) struct Received {
    incarnation: u64,
    peers: BTreeMap<NodeId, Promise>,
}

impl Received {
    pub fn new(incarnation: u64) -> Self {
        Received { incarnation, peers: BTreeMap::new() }
    }

    /// Takes in an answer. True if the epoch is new, i.e. whoever leans on that node has to be acknowledged anew.
    ///
    /// The promise counts from the *sending* of the ping, and for 0.8 of what was granted: the granting node started later
    /// and refuses for longer, whatever the two clocks' rates.
    pub fn answered(&mut self, from: NodeId, pong: &Pong) -> bool {
        if pong.to_incarnation != self.incarnation {
            return false;
        }
        let fifths = if planted!("consensus.lease_without_margin") { 5 } else { 4 };
        let lean = Duration::from_micros(pong.support / 5 * fifths);
        let promise = Promise {
            epoch: pong.epoch,
            until: Duration::from_micros(pong.sent) + lean,
            until_physical: pong.physical.plus(lean),
        };
        match self.peers.get_mut(&from) {
            // A late or repeated answer.
            Some(known) if promise.epoch.is_older_than(&known.epoch) => false,
            Some(known) if known.epoch == promise.epoch => {
                if promise.until > known.until {
                    *known = promise;
                }
                false
            }
            _ => {
                self.peers.insert(from, promise);
                true
            }
        }
    }

    pub fn promise(&self, node: NodeId) -> Option<&Promise> {
        self.peers.get(&node)
    }

    /// Whether the node has answered lately.
    pub fn reaches(&self, node: NodeId, now: Duration) -> bool {
        self.peers.get(&node).is_some_and(|promise| now < promise.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const A: NodeId = NodeId(1);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn ping(incarnation: u64, at: Duration) -> Ping {
        let micros = at.as_micros() as u64;
        Ping {
            incarnation,
            sent: micros,
            physical: Timestamp::from_micros(micros),
            clock: Timestamp::from_micros(micros),
            space: Space::default(),
            drains: false,
        }
    }

    #[test]
    fn support_without_a_gap_keeps_its_epoch() {
        let mut v = Granted::new(70, S);
        let first = v.heard(A, &ping(7, ms(0)), ms(10)).epoch;
        assert_eq!(v.heard(A, &ping(7, ms(500)), ms(1010)).epoch, first);
        assert!(v.supports(A, 7, ms(2010)));
        assert!(!v.supports(A, 7, ms(2011)));
        assert_ne!(v.heard(A, &ping(7, ms(2100)), ms(2100)).epoch, first);
    }

    #[test]
    fn that_a_promise_has_run_out_is_noticed_at_one_look() {
        let mut v = Granted::new(70, S);
        v.heard(A, &ping(7, ms(0)), ms(10));
        let looks = [(0, 1000), (1000, 1010), (1010, 1011), (1011, 1060), (1060, 1110)];
        assert_eq!(
            looks.map(|(last, now)| v.has_run_out(ms(last), ms(now))),
            [false, false, true, false, false]
        );
    }

    #[test]
    fn a_restarted_holder_starts_a_new_epoch() {
        let mut v = Granted::new(70, S);
        let first = v.heard(A, &ping(7, ms(0)), ms(0)).epoch;
        assert_ne!(v.heard(A, &ping(8, ms(10)), ms(10)).epoch, first);
        assert!(!v.supports(A, 7, ms(20)), "the process that was promised is gone");
    }

    #[test]
    fn the_holder_leans_on_less_than_was_granted() {
        let mut v = Granted::new(70, S);
        let mut a = Received::new(7);
        let pong = v.heard(A, &ping(7, ms(100)), ms(100));
        assert!(a.answered(NodeId(2), &pong));
        let promise = *a.promise(NodeId(2)).unwrap();
        assert_eq!(promise.until, ms(900));
        assert!(promise.holds(ms(899), Timestamp::from_micros(899_000)));
        assert!(
            !promise.holds(ms(200), Timestamp::from_micros(900_000)),
            "the physical clock may end it too"
        );
        assert!(v.supports(A, 7, ms(1100)));
    }

    #[test]
    fn answers_to_an_earlier_life_and_late_answers_count_for_nothing() {
        let mut v = Granted::new(70, S);
        let mut a = Received::new(8);
        assert!(!a.answered(NodeId(2), &v.heard(A, &ping(7, ms(0)), ms(0))));
        assert!(a.promise(NodeId(2)).is_none());
        let early = v.heard(A, &ping(8, ms(10)), ms(10));
        let later = v.heard(A, &ping(8, ms(5000)), ms(5000));
        assert!(a.answered(NodeId(2), &later));
        assert!(!a.answered(NodeId(2), &early));
        assert_eq!(a.promise(NodeId(2)).unwrap().epoch, later.epoch);
    }
}
