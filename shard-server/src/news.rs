//! What the node's heartbeats tell of its replicas. Those that something has happened to are looked at with the next heartbeat,
//! and some of the others in turn, for what nobody notes: nodes that come into reach, estimates of sizes.

use crate::{Context, replica::Replica};
use parking_lot::Mutex;
use quorate_proto::{ShardId, placement::ReplicaReport};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, atomic::Ordering},
};

/// Replicas whose turn it is with one heartbeat.
const IN_TURN: usize = 100;

#[derive(Default)]
pub(crate) struct News(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    stirred: BTreeSet<ShardId>,
    /// Whose turn it was last.
    last: Option<ShardId>,
}

impl News {
    pub fn add(&self, shard: ShardId) {
        self.0.lock().stirred.insert(shard);
    }

    /// Those that are to be looked at now.
    fn take(&self, context: &Context) -> Vec<Arc<Replica>> {
        let replicas = context.replicas.read();
        let shards = self.0.lock().take(&replicas);
        shards.iter().filter_map(|shard| replicas.get(shard).cloned()).collect()
    }
}

impl Waiting {
    fn take<T>(&mut self, held: &BTreeMap<ShardId, T>) -> BTreeSet<ShardId> {
        let after = self.last.map_or(Unbounded, Excluded);
        let turn = held.range((after, Unbounded)).map(|(shard, _)| *shard).take(IN_TURN);
        let turn: Vec<ShardId> = turn.collect();
        self.last = turn.last().copied().filter(|_| turn.len() == IN_TURN);
        let mut shards = std::mem::take(&mut self.stirred);
        shards.extend(turn);
        shards
    }
}

impl Replica {
    /// Something has happened that the next heartbeat may have to tell.
    pub(crate) fn stir(&self) {
        if !self.stirred.swap(true, Ordering::Relaxed) {
            self.context.news.add(self.shard);
        }
    }
}

/// What all replicas have to say of which something may be new.
pub(crate) fn reports(context: &Context) -> Vec<ReplicaReport> {
    let report = |replica: Arc<Replica>| {
        replica.stirred.store(false, Ordering::Relaxed);
        let report = replica.report();
        // Rates fade although nothing happens.
        if report.load.requests() > 0 {
            replica.stir();
        }
        report
    };
    context.news.take(context).into_iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_stirred_comes_at_once_and_the_others_in_turn() {
        let held: BTreeMap<ShardId, ()> = (1..=240).map(|shard| (ShardId(shard), ())).collect();
        let mut waiting = Waiting::default();
        waiting.stirred.extend([ShardId(220), ShardId(7)]);
        let first = waiting.take(&held);
        assert_eq!(first.len(), IN_TURN + 1);
        assert!(first.contains(&ShardId(220)) && first.contains(&ShardId(100)));
        let (second, third) = (waiting.take(&held), waiting.take(&held));
        assert_eq!((second.len(), third.len()), (IN_TURN, 40), "each once a round");
        assert_eq!(waiting.take(&held), (1..=100).map(ShardId).collect(), "and from the start again");
    }

    #[test]
    fn a_few_are_looked_at_each_time() {
        let held: BTreeMap<ShardId, ()> = (1..=90).map(|shard| (ShardId(shard), ())).collect();
        let mut waiting = Waiting::default();
        assert!((0..3).all(|_| waiting.take(&held).len() == 90));
    }
}
