//! How long a shard has been without anybody who serves it.

use parking_lot::Mutex;
use quorate_proto::{NodeId, ShardId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Per shard: since when all requests have failed, and at which nodes. Shared by all requests, so that the second one to a
/// dead shard need not wait as long as the first.
#[derive(Default)]
pub(super) struct Tracker(Mutex<BTreeMap<ShardId, Trouble>>);

struct Trouble {
    since: Duration,
    last: Duration,
    missing: BTreeSet<NodeId>,
}

/// Failures further apart than this are not the same trouble.
const GAP: Duration = Duration::from_secs(3);

impl Tracker {
    pub(super) fn served(&self, shard: ShardId) {
        let mut all = self.0.lock();
        if !all.is_empty() {
            all.remove(&shard);
        }
    }

    /// Notes a failure and says for how long the shard has failed by now, and which nodes were not reached.
    pub(super) fn failed(
        &self,
        shard: ShardId,
        unreached: impl IntoIterator<Item = NodeId>,
        now: Duration,
    ) -> (Duration, Vec<NodeId>) {
        let mut all = self.0.lock();
        let fresh = || Trouble { since: now, last: now, missing: BTreeSet::new() };
        let trouble = all.entry(shard).or_insert_with(fresh);
        if now.saturating_sub(trouble.last) > GAP {
            *trouble = fresh();
        }
        trouble.last = now;
        trouble.missing.extend(unreached);
        (now.saturating_sub(trouble.since), trouble.missing.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_adds_up_until_somebody_serves() {
        let tracker = Tracker::default();
        let at = Duration::from_secs;
        tracker.failed(ShardId(1), [NodeId(2)], at(10));
        assert_eq!(tracker.failed(ShardId(1), [NodeId(3)], at(12)), (at(2), vec![NodeId(2), NodeId(3)]));
        tracker.served(ShardId(1));
        assert_eq!(tracker.failed(ShardId(1), [], at(13)), (at(0), vec![]));
        assert_eq!(tracker.failed(ShardId(1), [], at(20)).0, at(0), "an old trouble is not this one");
    }
}
