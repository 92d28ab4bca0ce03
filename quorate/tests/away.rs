//! A node that was away for longer than the log is kept comes back by snapshot, and its copy counts again.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{sync::Arc, time::Duration};
use support::{
    Demo,
    frontiers::{caught_up, frontiers},
    pause,
};
use tokio_postgres::Client;

/// `column` of the first shard's copy on a node, as the node that is asked learns it.
async fn frontier(client: &Client, node: u16, column: &str) -> Option<u64> {
    frontiers(client, node, column).await?.get(&1).copied()
}

async fn leader(client: &Client) -> u16 {
    for _ in 0..100 {
        let query = "SELECT node_id FROM quorate.replicas WHERE shard_id = 1 AND leader";
        if let Ok(Some(row)) = client.query_opt(query, &[]).await {
            return row.get::<_, i64>(0) as u16;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("nobody leads the first shard");
}

/// Writes until the leader's log begins after `behind`.
async fn outrun(demo: &Arc<Demo>, node: u16, behind: u64) {
    let watch = demo.client(node).await;
    for round in 0..60i64 {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let demo = demo.clone();
                tokio::spawn(async move {
                    let client = demo.client(node).await;
                    for n in 0..150 {
                        let id = round * 1000 + writer * 500 + n;
                        client.execute("INSERT INTO t VALUES ($1)", &[&id]).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        if frontier(&watch, node, "trimmed").await.is_some_and(|trimmed| trimmed > behind) {
            return;
        }
    }
    panic!("the log is never trimmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_long_counts_again() {
    let demo = Arc::new(Demo::start());
    demo.client(1).await.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY)").await.unwrap();
    let leader = leader(&demo.client(1).await).await;
    let [away, other] = [1 + leader % 3, 1 + (leader + 1) % 3];
    let client = demo.client(leader).await;
    let behind = frontier(&client, away, "appended").await.expect("the node is up");
    demo.kill(away);
    outrun(&demo, leader, behind).await;

    demo.restart(away);
    caught_up(&demo, away).await;
    // Without the third node its copy is needed for every quorum.
    demo.kill(other);
    client.execute("INSERT INTO t VALUES (-1)", &[]).await.unwrap();
    let rows: i64 = demo.client(away).await.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert!(rows > 300);
}
