//! Reads of the past on real nodes: answered where they are asked, also when a shard's leader is cut off.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::time::{Duration, Instant};
use support::{Demo, pause};
use tokio_postgres::Client;

async fn explained(client: &Client, sql: &str) -> String {
    let rows = client.query(&format!("EXPLAIN ANALYZE {sql}"), &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

async fn guarantee(client: &Client) -> String {
    client.query_one("SHOW guarantee", &[]).await.unwrap().get(0)
}

const JOIN: &str = "SELECT count(*), sum(o.amount)::int8 FROM customers c JOIN orders o ON o.customer = c.id";

async fn joined(client: &Client) -> (i64, i64) {
    let row = client.query_one(JOIN, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Two tables, one of them in three shards.
async fn tables(demo: &Demo) {
    let client = demo.client(1).await;
    let sql = "CREATE TABLE customers (id int8 PRIMARY KEY, name text);
        CREATE TABLE orders (id int8 PRIMARY KEY, customer int8, amount int8);";
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("ALTER TABLE orders SPLIT AT VALUES (100), (200)").await.unwrap();
    let sql = "INSERT INTO customers SELECT n, 'c' || n FROM generate_series(1, 10) n;
        INSERT INTO orders SELECT n, n % 10 + 1, 1 FROM generate_series(1, 300) n;";
    client.batch_execute(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_read_without_a_call_and_without_the_leader() {
    let demo = Demo::start();
    tables(&demo).await;
    pause(Duration::from_secs(2)).await;
    for node in demo.nodes() {
        let client = demo.client(node).await;
        let text = explained(&client, &format!("{JOIN} AS OF SYSTEM TIME '-1s'")).await;
        assert!(text.contains("Calls to other nodes: 0 "), "node {node}: {text}");
        client.batch_execute("SET read_staleness = '5s'").await.unwrap();
        let text = explained(&client, JOIN).await;
        assert!(text.contains("Calls to other nodes: 0 "), "node {node}: {text}");
        assert_eq!(joined(&client).await, (300, 300));
        let told = guarantee(&client).await;
        assert!(told.contains("serial, SER, bounded(") && !told.contains("leader"), "node {node}: {told}");
    }
    // The leader of a shard stops answering without a farewell.
    let client = demo.client(1).await;
    let rows = client.query("SHOW SHARDS FROM TABLE orders", &[]).await.unwrap();
    let leader = rows[0].get::<_, i64>("leader_node_id") as u16;
    let other = leader % 3 + 1;
    let client = demo.client(other).await;
    client.batch_execute("SET read_staleness = '10s'").await.unwrap();
    assert_eq!(joined(&client).await, (300, 300));
    demo.freeze(leader, true);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(joined(&client).await, (300, 300));
        slowest = slowest.max(start.elapsed());
        let told = guarantee(&client).await;
        assert!(told.contains("bounded("), "{told}");
        pause(Duration::from_millis(100)).await;
    }
    println!("slowest join beside a frozen leader: {slowest:?}");
    demo.freeze(leader, false);

    demo.ask(other, &["setting", "set", "closing_target", "3s"]).await.done();
    for _ in 0..100 {
        assert_eq!(joined(&client).await, (300, 300));
        if guarantee(&client).await.contains("bounded(3.") {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("the target is not heeded: {}", guarantee(&client).await);
}
