//! How many campaigns a node has under way. When a node dies, thousands of groups campaign: if all began at once, each would
//! wait for all, and be repeated before its votes are in. So a few dozen are under way at a time, and one that is decided makes
//! room for the next: they follow one another as fast as the machine decides them. Pure.

use quorate_proto::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Campaigns under way at a time.
const WINDOW: usize = 64;
/// One that is not decided by then makes room all the same: it may never be (no quorum).
const COUNTS_FOR: Duration = Duration::from_millis(250);

/// Times are on `Env::boottime`.
#[derive(Debug, Default)]
pub(crate) struct Campaigns {
    /// Since when.
    under_way: BTreeMap<ShardId, Duration>,
    /// Who would campaign, by when they wanted to.
    waiting: BTreeSet<(Duration, ShardId)>,
}

impl Campaigns {
    /// Whether one more may begin.
    pub fn has_room(&mut self, now: Duration) -> bool {
        if self.under_way.len() >= WINDOW {
            self.under_way.retain(|_, since| now < *since + COUNTS_FOR);
        }
        self.under_way.len() < WINDOW
    }

    pub fn begin(&mut self, shard: ShardId, now: Duration) {
        self.under_way.insert(shard, now);
    }

    /// The group has a leader, or is gone. True if somebody waits for the room.
    pub fn end(&mut self, shard: ShardId) -> bool {
        self.under_way.remove(&shard).is_some() && !self.waiting.is_empty()
    }

    pub fn wait(&mut self, shard: ShardId, since: Duration) {
        self.waiting.insert((since, shard));
    }

    /// Who has waited longest, if there is room. It may have a leader by now.
    pub fn next(&mut self, now: Duration) -> Option<ShardId> {
        if self.waiting.is_empty() || !self.has_room(now) {
            return None;
        }
        self.waiting.pop_first().map(|(_, shard)| shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_decided_makes_room_for_who_has_waited_longest() {
        let ms = Duration::from_millis;
        let mut campaigns = Campaigns::default();
        for shard in 0..WINDOW as u64 {
            assert!(campaigns.has_room(ms(10)));
            campaigns.begin(ShardId(shard), ms(10));
        }
        assert!(!campaigns.has_room(ms(20)));
        assert!(!campaigns.end(ShardId(500)), "it was none");
        campaigns.wait(ShardId(201), ms(15));
        campaigns.wait(ShardId(200), ms(18));
        assert_eq!(campaigns.next(ms(20)), None);
        assert!(campaigns.end(ShardId(7)), "somebody waits");
        assert_eq!(campaigns.next(ms(20)), Some(ShardId(201)));
        campaigns.begin(ShardId(201), ms(20));
        assert_eq!(campaigns.next(ms(20)), None);
        // The others are never decided.
        assert_eq!(campaigns.next(ms(260)), Some(ShardId(200)));
        assert_eq!(campaigns.next(ms(260)), None, "nobody waits any more");
    }
}
