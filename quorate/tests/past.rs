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

/// Of an answer from the replicas here, in seconds.
fn age(guarantee: &str) -> f64 {
    let told = guarantee.split_once("bounded(").and_then(|(_, told)| told.split_once("s)")?.0.parse().ok());
    told.unwrap_or_else(|| panic!("{guarantee}"))
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
    let client = demo.client(1).await;
    let replicas = "SELECT count(*), count(closed_timestamp) FROM quorate.replicas";
    let row = client.query_one(replicas, &[]).await.unwrap();
    let (all, closed): (i64, i64) = (row.get(0), row.get(1));
    assert!(all >= 9 && closed == all, "{closed} of {all} replicas say what they have closed");
    // The leader of a shard stops answering without a farewell.
    let rows = client.query("SHOW SHARDS FROM TABLE orders", &[]).await.unwrap();
    let leader = rows[0].get::<_, i64>("leader_node_id") as u16;
    let other = leader % 3 + 1;
    let client = demo.client(other).await;
    client.batch_execute("SET read_staleness = '10s'").await.unwrap();
    assert_eq!(joined(&client).await, (300, 300));
    demo.freeze(leader, true);
    let (mut slowest, mut oldest) = (Duration::ZERO, 0.0);
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(joined(&client).await, (300, 300));
        slowest = slowest.max(start.elapsed());
        oldest = age(&guarantee(&client).await).max(oldest);
        pause(Duration::from_millis(100)).await;
    }
    println!("slowest join beside a frozen leader: {slowest:?}; the oldest as of {oldest} s before");
    assert!(oldest <= 10.0, "{oldest}");
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

async fn value(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// The row of `quorate.transactions` about the session that calls itself so, asked of a node: where it is, what it does, and
/// whether it holds the horizon.
async fn shown(client: &Client, application: &str) -> Option<(i64, String, bool)> {
    let sql = "SELECT node_id, state, holds_horizon FROM quorate.transactions WHERE application_name = $1";
    let rows = client.query(sql, &[&application]).await.unwrap();
    rows.first().map(|row| (row.get(0), row.get(1), row.get(2)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_versions_go_when_nobody_reads_them_any_more() {
    let demo = Demo::start();
    let writer = demo.client(1).await;
    writer
        .batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, v int8); INSERT INTO t VALUES (1, 0)")
        .await
        .unwrap();
    demo.ask(1, &["setting", "set", "gc_ttl", "8s"]).await.done();
    pause(Duration::from_secs(2)).await;
    let reader = demo.client(2).await;
    reader.batch_execute("SET application_name = 'report'; BEGIN AS OF SYSTEM TIME '-500ms'").await.unwrap();
    assert_eq!(value(&reader, "SELECT v FROM t").await, 0);
    let at: String = value_text(&reader, "SHOW guarantee").await;
    assert!(at.contains("bounded("), "{at}");
    let sql = "SELECT read_timestamp FROM quorate.transactions WHERE application_name = 'report'";
    let at: String = value_text(&demo.client(3).await, sql).await;

    // Long enough for the first versions to be older than they need to be kept.
    let began = Instant::now();
    let mut last = 0;
    while began.elapsed() < Duration::from_secs(14) {
        last += 1;
        writer.execute("UPDATE t SET v = $1", &[&last]).await.unwrap();
        pause(Duration::from_millis(200)).await;
    }
    let told = shown(&demo.client(3).await, "report").await.expect("it is under way");
    assert_eq!(told, (2, "idle in transaction".to_string(), true), "every node knows who holds the horizon");
    assert_eq!(value(&reader, "SELECT v FROM t").await, 0, "what it reads was kept for it");
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(shown(&writer, "report").await, None);

    let old = format!("SELECT v FROM t AS OF SYSTEM TIME '{at}'");
    for _ in 0..300 {
        pause(Duration::from_millis(200)).await;
        let Err(error) = writer.query(&old, &[]).await else { continue };
        let error = error.as_db_error().expect("an answer");
        assert_eq!(error.code().code(), "72000", "{error:?}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("the oldest time that can be read is 20")),
            "{error:?}"
        );
        for node in demo.nodes() {
            assert_eq!(value(&demo.client(node).await, "SELECT v FROM t").await, last);
        }
        return;
    }
    panic!("old versions are still there");
}

async fn value_text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}
