//! What is demanded once all is healed: clients are answered again, and every shard takes a write.

use crate::{
    cluster::Cluster,
    node::on_node,
    work::{Work, ground::put_nothing},
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
const AGAIN: Duration = Duration::from_millis(200);

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
        if let Err(why) = write_to(cluster, &shard, deadline).await {
            problems.push(format!("shard {} takes no write after healing: {why}", shard.id));
        }
    }
    problems
}

async fn write_to(cluster: &Cluster, shard: &ShardDescriptor, deadline: Duration) -> Result<(), String> {
    let key = nobodys(shard);
    loop {
        let node = cluster.running.any(&cluster.world).ok_or("no node is up")?;
        let body = put_nothing(key.clone());
        let write =
            on_node(&node, |node| async move { node.coordinator.run(TxnOptions::default(), body).await });
        let why = match write.await {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => error.to_string(),
            None => "no answer".into(),
        };
        if cluster.world.elapsed() > deadline {
            return Err(why);
        }
        cluster.world.sleep(AGAIN).await;
    }
}

/// A key in the shard that no workload has a row at.
fn nobodys(shard: &ShardDescriptor) -> Key {
    [&shard.span.start[..], &[0]].concat().into()
}
