//! The guarantee vector of a statement (DESIGN §1): what its answer may be relied upon for.

use crate::Isolation;
use quorate_proto::kv::ReadCertificate;
use std::{fmt, time::Duration};

/// Which data the answer speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One shard's.
    Shard,
    /// All shards', at one timestamp.
    Global,
}

/// How the order of transactions relates to real time. The weaker is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Some serial order that every single key's history agrees with.
    Serial,
    /// The order of real time.
    StrictSerial,
}

/// What a transaction sees of others. The weaker is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    ReadCommitted,
    Snapshot,
    Serializable,
}

/// How old the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// Nothing committed before the question is missed; the leader held a lease.
    FreshLease,
    /// Nothing committed before the question is missed; a quorum confirmed it.
    FreshReadIndex,
    /// As of so long before the question, from replicas that have closed it; or, with `leader`, from a leader at least in part,
    /// because no replica near was that far, or an intent was in its way.
    Bounded { age: Duration, leader: bool },
}

/// `idempotence` and `auth` belong to the session and are added there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantee {
    pub scope: Scope,
    pub order: Order,
    pub visibility: Visibility,
    pub recency: Recency,
}

impl Guarantee {
    /// The strongest that a transaction of this isolation can give.
    pub fn strongest(isolation: Isolation, commit_wait: bool) -> Self {
        Guarantee {
            scope: Scope::Global,
            order: if commit_wait { Order::StrictSerial } else { Order::Serial },
            visibility: match isolation {
                Isolation::Serializable => Visibility::Serializable,
                Isolation::RepeatableRead => Visibility::Snapshot,
                Isolation::ReadCommitted => Visibility::ReadCommitted,
            },
            recency: Recency::FreshLease,
        }
    }

    /// The weakest of both in each component.
    #[must_use]
    pub fn and(self, other: Guarantee) -> Guarantee {
        Guarantee {
            scope: self.scope.min(other.scope),
            order: self.order.min(other.order),
            visibility: self.visibility.min(other.visibility),
            recency: self.recency.weaker(other.recency),
        }
    }

    /// Of a transaction that reads the past.
    pub fn of_past(isolation: Isolation, age: Duration) -> Self {
        let recency = Recency::Bounded { age, leader: false };
        Guarantee { order: Order::Serial, recency, ..Guarantee::strongest(isolation, false) }
    }

    /// An answer as of the past, of this age now. Who gave it makes it no younger.
    pub(crate) fn met_past(&mut self, certificate: ReadCertificate, age: Duration) {
        let leader = !matches!(certificate, ReadCertificate::Closed(_));
        self.recency = self.recency.weaker(Recency::Bounded { age, leader });
    }

    pub(crate) fn met(&mut self, certificate: ReadCertificate) {
        let recency = match certificate {
            ReadCertificate::Lease(_) => Recency::FreshLease,
            ReadCertificate::ReadIndex(_) => Recency::FreshReadIndex,
            // Only asked for by transactions of the past.
            ReadCertificate::Closed(_) => return,
        };
        self.recency = self.recency.weaker(recency);
    }
}

impl Recency {
    fn weaker(self, other: Recency) -> Recency {
        use Recency::*;
        match (self, other) {
            (Bounded { age: a, leader: x }, Bounded { age: b, leader: y }) => {
                Bounded { age: a.max(b), leader: x || y }
            }
            (bounded @ Bounded { .. }, _) | (_, bounded @ Bounded { .. }) => bounded,
            (FreshReadIndex, _) | (_, FreshReadIndex) => FreshReadIndex,
            (FreshLease, FreshLease) => FreshLease,
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Shard => "shard",
            Scope::Global => "global",
        };
        let order = match self.order {
            Order::Serial => "serial",
            Order::StrictSerial => "strict-serial",
        };
        let visibility = match self.visibility {
            Visibility::ReadCommitted => "RC",
            Visibility::Snapshot => "RR",
            Visibility::Serializable => "SER",
        };
        write!(f, "{scope}, {order}, {visibility}, ")?;
        match self.recency {
            Recency::FreshLease => f.write_str("fresh(lease)"),
            Recency::FreshReadIndex => f.write_str("fresh(read-index)"),
            Recency::Bounded { age, leader } => {
                let by = if leader { ", leader" } else { "" };
                write!(f, "bounded({:.1}s{by})", age.as_secs_f64())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_takes_the_weakest() {
        let strong = Guarantee::strongest(Isolation::Serializable, true);
        let mut weak = Guarantee::of_past(Isolation::ReadCommitted, Duration::from_millis(1000));
        weak.met_past(ReadCertificate::Closed(Default::default()), Duration::from_millis(1200));
        let both = strong.and(weak);
        assert_eq!(both.to_string(), "global, serial, RC, bounded(1.2s)");
        weak.met_past(ReadCertificate::Lease(1), Duration::from_millis(1300));
        assert_eq!(weak.to_string(), "global, serial, RC, bounded(1.3s, leader)");
        assert_eq!(strong.to_string(), "global, strict-serial, SER, fresh(lease)");
    }
}
