//! Copies that are gone with a node or its disk are made anew, by real processes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{collections::BTreeSet, time::Duration};
use support::{Demo, pause};
use tokio_postgres::Client;

/// Steps of a tenth of a second that repairs may take.
const PATIENCE: u32 = 1200;

/// A demo of four nodes with a table; `cuts` are the keys that begin its further shards.
async fn grown(cuts: &str) -> (Demo, Client) {
    let demo = Demo::start();
    demo.manage(&["add-node"]).await.done();
    let client = demo.client(1).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, v int8)").await.unwrap();
    for id in 1..=30i64 {
        client.execute("INSERT INTO t VALUES ($1, $1)", &[&id]).await.unwrap();
    }
    if !cuts.is_empty() {
        client.batch_execute(&format!("ALTER TABLE t SPLIT AT VALUES {cuts}")).await.unwrap();
    }
    (demo, client)
}

/// On which nodes each shard has copies; nothing while the placement driver does not answer.
async fn homes(demo: &Demo) -> Vec<BTreeSet<u16>> {
    let ran = demo.ask(1, &["shard", "ls", "--json"]).await;
    if ran.code != Some(0) {
        return Vec::new();
    }
    let nodes = |row: &serde_json::Value| {
        row["nodes"].as_str().unwrap().split(',').map(|node| node.parse().unwrap()).collect()
    };
    ran.json().as_array().unwrap().iter().map(nodes).collect()
}

/// Moves the first shard's copy.
async fn move_first(demo: &Demo, from: &str, to: &str) {
    demo.ask(1, &["shard", "move", "1", "--from", from, "--to", to]).await.done();
}

async fn sum(client: &Client) -> (i64, i64) {
    let row = client.query_one("SELECT count(*), sum(v)::int8 FROM t", &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copies_of_a_dead_node_are_made_anew_on_the_living() {
    let (demo, client) = grown("(10), (20)").await;
    move_first(&demo, "3", "4").await;
    let moved = homes(&demo).await;
    assert!(moved.contains(&BTreeSet::from([1, 2, 4])), "{moved:?}");
    demo.ask(1, &["setting", "set", "placement.repair_after", "3s"]).await.done();
    let settings = demo.ask(1, &["setting", "ls", "--json"]).await.done();
    assert!(settings.contains("\"3s\""), "{settings}");

    demo.kill(2);
    let living = BTreeSet::from([1, 3, 4]);
    let repaired = |homes: &[BTreeSet<u16>]| !homes.is_empty() && homes.iter().all(|nodes| *nodes == living);
    let mut now = homes(&demo).await;
    for _ in 0..PATIENCE {
        if repaired(&now) {
            break;
        }
        pause(Duration::from_millis(100)).await;
        now = homes(&demo).await;
    }
    assert!(now.len() >= 3 && repaired(&now), "{now:?}");
    assert_eq!(sum(&client).await, (30, 465));
    for id in [-1i64, 15, 31] {
        let upsert = "INSERT INTO t VALUES ($1, 1000) ON CONFLICT (id) DO UPDATE SET v = 1000";
        client.execute(upsert, &[&id]).await.unwrap();
    }
    assert_eq!(sum(&demo.client(4).await).await, (32, 465 - 15 + 3000));
    assert_eq!(repairs(&client).await, now.len());
}

/// Repairs that are done, without the one of the placement driver's own group.
async fn repairs(client: &Client) -> usize {
    let told = "SELECT decision_id FROM quorate.placement_decisions WHERE scheduler = 'repair' AND outcome = 'done' \
         AND shard_id > 0";
    client.query(told, &[]).await.map_or(0, |rows| rows.len())
}

/// The replica of the first shard on a node, later than another: the node tells of it with one of its next heartbeats.
async fn replica_after(client: &Client, node: i64, old: i64) -> i64 {
    let query =
        "SELECT replica_id FROM quorate.replicas WHERE shard_id = 1 AND node_id = $1 AND replica_id > $2";
    for _ in 0..PATIENCE {
        // The driver's leader may have been on the node that was just killed.
        if let Ok(Some(row)) = client.query_opt(query, &[&node, &old]).await {
            return row.get(0);
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("node {node} shows no replica after {old}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_without_its_disk_gets_copies_under_new_ids() {
    let (demo, client) = grown("").await;
    move_first(&demo, "3", "4").await;
    let lost = replica_after(&client, 4, 0).await;
    demo.kill(4);
    demo.wipe(4);
    demo.restart(4);
    for _ in 0..PATIENCE {
        if repairs(&client).await == 1 {
            break;
        }
        pause(Duration::from_millis(100)).await;
    }
    assert_eq!(repairs(&client).await, 1);
    replica_after(&client, 4, lost).await;
    // Now the new copy is needed for every quorum.
    demo.kill(2);
    client.execute("INSERT INTO t VALUES (31, 1000)", &[]).await.unwrap();
    assert_eq!(sum(&client).await, (31, 1465));
}
