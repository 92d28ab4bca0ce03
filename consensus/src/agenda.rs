//! Which groups of a node its driver looks at next. Groups in which nothing happens are looked at rarely, and ten thousand of
//! them cost hardly anything. Pure.

use quorate_proto::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Times are on `Env::boottime`; zero is "at the next step".
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    queue: BTreeSet<(Duration, ShardId)>,
    at: BTreeMap<ShardId, Duration>,
}

impl Agenda {
    /// The group is looked at then, and not at the time that stood there before.
    pub fn put(&mut self, shard: ShardId, at: Duration) {
        if let Some(before) = self.at.insert(shard, at) {
            self.queue.remove(&(before, shard));
        }
        self.queue.insert((at, shard));
    }

    pub fn remove(&mut self, shard: ShardId) {
        if let Some(at) = self.at.remove(&shard) {
            self.queue.remove(&(at, shard));
        }
    }

    /// How many are due by then.
    #[cfg(test)]
    pub fn due_by(&self, at: Duration) -> usize {
        self.queue.iter().take_while(|(due, _)| *due <= at).count()
    }

    /// Those whose time has come; whoever looks at them puts them back.
    pub fn take_due(&mut self, now: Duration) -> Vec<ShardId> {
        let mut due = Vec::new();
        while let Some(&(at, shard)) = self.queue.first()
            && at <= now
        {
            self.queue.pop_first();
            self.at.remove(&shard);
            due.push(shard);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_group_is_taken_once_and_at_the_time_that_was_put_last() {
        let mut agenda = Agenda::default();
        let [a, b, c] = [1, 2, 3].map(ShardId);
        agenda.put(a, 5 * S);
        agenda.put(b, 2 * S);
        agenda.put(c, 3 * S);
        agenda.put(a, Duration::ZERO);
        agenda.put(b, 4 * S);
        assert_eq!(agenda.take_due(S), [a]);
        assert_eq!(agenda.take_due(2 * S), []);
        assert_eq!(agenda.take_due(4 * S), [c, b]);
        agenda.put(a, S);
        agenda.remove(a);
        assert_eq!(agenda.take_due(9 * S), []);
    }
}
