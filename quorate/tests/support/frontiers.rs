//! How far the copies of shards are, as `quorate.replicas` tells it.

use super::{Demo, eventually};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// The index of `column` for the copy of each shard on a node, as the node that is asked learns it.
pub async fn frontiers(client: &Client, node: u16, column: &str) -> Option<BTreeMap<i64, u64>> {
    highest(client, column, &format!("node_id = {node}")).await
}

/// Of each shard the highest index. Positions are printed as `term.index`.
async fn highest(client: &Client, column: &str, which: &str) -> Option<BTreeMap<i64, u64>> {
    let query =
        format!("SELECT shard_id, {column} FROM quorate.replicas WHERE {which} AND {column} IS NOT NULL");
    let mut highest = BTreeMap::new();
    for row in client.query(&query, &[]).await.ok()? {
        let (shard, position): (i64, &str) = (row.get(0), row.get(1));
        let index: u64 = position.split_once('.').expect("term.index").1.parse().expect("an index");
        let entry = highest.entry(shard).or_insert(index);
        *entry = index.max(*entry);
    }
    Some(highest)
}

/// Waits until the node has applied, of each shard, all that another node had applied before.
pub async fn caught_up(demo: &Demo, node: u16) {
    let client = demo.client(1 + node % 3).await;
    let others = format!("node_id <> {node}");
    let look = || async { highest(&client, "applied", &others).await.filter(|found| !found.is_empty()) };
    let goal = eventually("what the others have applied", look).await;
    let look = || async {
        let here = frontiers(&client, node, "applied").await?;
        goal.iter().all(|(shard, goal)| here.get(shard).is_some_and(|here| here >= goal)).then_some(())
    };
    eventually(&format!("node {node} has caught up"), look).await;
}
