//! What is demanded once all is healed: clients are answered again, and every shard takes a write.

use crate::{
    cluster::Cluster,
    work::{
        Work,
        ground::{insist, put_nothing},
    },
};
use quorate_proto::{Key, ShardDescriptor};
use quorate_txn::TxnOptions;
use std::time::Duration;

/// Before anything is demanded: leaders are elected, nodes that strayed are back.
const RECOVERY: Duration = Duration::from_secs(3);
/// Within this, clients are answered,
const ANSWERED: Duration = Duration::from_secs(5);
/// and within this behind it every shard has taken a write: one may be sealed for its left neighbour meanwhile.
const WRITTEN: Duration = Duration::from_secs(10);

/// How many transactions were acknowledged, and what did not get on.
pub async fn progress(cluster: &Cluster, work: &Work) -> (u64, Vec<String>) {
    cluster.world.sleep(RECOVERY).await;
    let before = work.acknowledged();
    cluster.world.sleep(ANSWERED).await;
    let acknowledged = work.acknowledged() - before;
    let mut problems = shards_that_take_no_write(cluster).await;
    if acknowledged == 0 {
        problems.push(format!("nothing was acknowledged in the {ANSWERED:?} after healing"));
    }
    (acknowledged, problems)
}

async fn shards_that_take_no_write(cluster: &Cluster) -> Vec<String> {
    let deadline = cluster.world.elapsed() + WRITTEN;
    let mut problems = Vec::new();
    for shard in cluster.descriptors() {
        let write = put_nothing(nobodys(&shard));
        if let Err(why) = insist(cluster, deadline, TxnOptions::default(), write).await {
            problems.push(format!("shard {} takes no write after healing: {why}", shard.id));
        }
    }
    problems
}

/// A key in the shard that no workload has a row at.
fn nobodys(shard: &ShardDescriptor) -> Key {
    [&shard.span.start[..], &[0]].concat().into()
}
