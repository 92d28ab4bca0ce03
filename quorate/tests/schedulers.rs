//! Shards of real processes split where they are asked for most, are led by all nodes, and become one again when nobody asks; a node
//! that is slow leads none.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Demo, below, faults::begin, pause};
use tokio_postgres::Client;

const ROWS: u64 = 20_000;
const CLIENTS: u16 = 6;
/// Beside the first, which is the user's.
const SETTINGS: [(&str, &str); 7] = [
    ("placement.split_load", "60"),
    ("placement.split_floor", "8KiB"),
    ("placement.merge_load", "20"),
    ("placement.merge_after", "2s"),
    ("placement.look_every", "1s"),
    ("placement.moves", "4"),
    ("placement.split_size", "1GiB"),
];

/// Shards, and nodes that lead some.
async fn spread(client: &Client) -> (i64, i64) {
    let row = client
        .query_one("SELECT count(*), count(DISTINCT leader_node_id) FROM quorate.shards", &[])
        .await
        .unwrap();
    (row.get(0), row.get(1))
}

async fn until(client: &Client, what: &str, wanted: impl Fn((i64, i64)) -> bool) -> Duration {
    let began = Instant::now();
    for _ in 0..600 {
        if wanted(spread(client).await) {
            return began.elapsed();
        }
        pause(Duration::from_millis(200)).await;
    }
    panic!("{what} never comes: {:?}", spread(client).await);
}

/// Reads and writes single rows of the first quarter, the longest of which is told.
async fn load(client: Client, mut random: u64, stop: Arc<AtomicBool>, slowest: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let id = below(&mut random, ROWS / 4) as i64;
        let began = Instant::now();
        let done = match below(&mut random, 2) {
            0 => client.execute("SELECT pad FROM t WHERE id = $1", &[&id]).await,
            _ => client.execute("UPDATE t SET n = n + 1 WHERE id = $1", &[&id]).await,
        };
        done.unwrap();
        slowest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_table_is_split_and_spread_and_merged_again_but_where_a_user_has_split() {
    let demo = Demo::start();
    let client = demo.client(1).await;
    let table = format!(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int8 NOT NULL, pad text NOT NULL);
         INSERT INTO t SELECT g, 0, repeat('x', 100) || g FROM generate_series(0, {}) g;
         ALTER TABLE t SPLIT AT VALUES ({})",
        ROWS - 1,
        ROWS / 2
    );
    client.batch_execute(&table).await.unwrap();
    for (name, value) in SETTINGS {
        demo.ask(1, &["setting", "set", name, value]).await.done();
    }
    let (stop, slowest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let client = demo.client(1 + n % 3).await;
        clients.push(tokio::spawn(load(client, 7919 * u64::from(n + 1), stop.clone(), slowest.clone())));
    }
    let split = until(&client, "a split by load", |(shards, _)| shards > 3).await;
    let spread = until(&client, "a leader on each node", |(_, nodes)| nodes == 3).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let merged = until(&client, "the end", |(shards, _)| shards == 2).await;
    println!("split {split:?}, spread {spread:?}, merged {merged:?}, slowest statement {slowest:?} ms");
    let told = "SELECT scheduler, seen, candidates, chosen, outcome FROM quorate.placement_decisions";
    let rows = client.query(told, &[]).await.unwrap();
    for scheduler in ["split", "merge", "balance leaders"] {
        let explained = |row: &tokio_postgres::Row| {
            row.get::<_, &str>(0) == scheduler && (1..5).all(|at| !row.get::<_, &str>(at).is_empty())
        };
        assert!(rows.iter().any(explained), "{scheduler}: {rows:?}");
    }
}

/// What it leads goes to the others, and the driver says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_slow_disk_leads_nothing() {
    let demo = Demo::start_with(&["--faults"]);
    let client = demo.client(1).await;
    let table = "CREATE TABLE t (id int8 PRIMARY KEY, n int8 NOT NULL);
                 INSERT INTO t SELECT g, 0 FROM generate_series(0, 5) g;
                 ALTER TABLE t SPLIT AT VALUES (1), (2), (3), (4), (5);
                 ALTER TABLE t SCATTER";
    client.batch_execute(table).await.unwrap();
    for (name, value) in [("placement.look_every", "1s"), ("placement.moves", "4")] {
        demo.ask(1, &["setting", "set", name, value]).await.done();
    }
    let led = "SELECT count(*) FROM quorate.shards WHERE leader_node_id = 2";
    assert!(client.query_one(led, &[]).await.unwrap().get::<_, i64>(0) > 0);
    let _issuer = begin(&demo, &["slow-disk", "2", "--fsync", "400ms", "--for", "1h"]).await;
    let began = Instant::now();
    while client.query_one(led, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(began.elapsed() < Duration::from_secs(120), "it leads still");
        // Who writes hardly anything has hardly measured anything.
        for id in 0..6_i64 {
            client.execute("UPDATE t SET n = n + 1 WHERE id = $1", &[&id]).await.unwrap();
        }
    }
    println!("it leads nothing after {:?}", began.elapsed());
    // If it led the driver, the next one judges anew.
    let slow =
        "SELECT count(*) FROM quorate.nodes WHERE node_id = 2 AND slow LIKE 'its log is durable after%'";
    while client.query_one(slow, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(120), "nobody says that it is slow");
        client.execute("UPDATE t SET n = n + 1", &[]).await.unwrap();
    }
    let told = "SELECT seen FROM quorate.placement_decisions WHERE scheduler = 'slow nodes'";
    let seen = client.query(told, &[]).await.unwrap();
    assert!(
        seen.iter().any(|row| row.get::<_, &str>(0).contains("node 2, which leads it, is slow")),
        "{seen:?}"
    );
}
