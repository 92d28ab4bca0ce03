//! What the node's heartbeats tell of its replicas. Those that something has happened to are looked at with the next heartbeat,
//! and some of the others in turn, for what nobody notes: nodes that come into reach, estimates of sizes.

use crate::{Context, replica::Replica};
use parking_lot::Mutex;
use quorate_proto::{ShardId, placement::ReplicaReport};
use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, atomic::Ordering},
};

/// Replicas whose turn it is with one heartbeat.
const IN_TURN: usize = 500;

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
        let mut waiting = self.0.lock();
        let mut shards = std::mem::take(&mut waiting.stirred);
        let after = waiting.last.map_or(Unbounded, Excluded);
        let turn = replicas.range((after, Unbounded)).map(|(shard, _)| *shard).take(IN_TURN);
        let turn: Vec<ShardId> = turn.collect();
        waiting.last = turn.last().copied().filter(|_| turn.len() == IN_TURN);
        shards.extend(turn);
        shards.iter().filter_map(|shard| replicas.get(shard).cloned()).collect()
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
