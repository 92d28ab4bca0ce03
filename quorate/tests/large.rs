//! Transactions that change more than belongs into memory: within bounds, and without a trace when they do not commit.
//! `QUORATE_TEST_ROWS` says of how many rows (in a release build a million take half a minute).

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use futures::SinkExt;
use std::{fs, path::PathBuf, time::Duration};
use support::{Demo, eventually, pause, raw};
use tokio_postgres::{Client, error::SqlState};

fn rows() -> i64 {
    std::env::var("QUORATE_TEST_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(60_000)
}

/// What a node may have held in memory at its fullest.
const MOST: u64 = 512 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_in_one_statement_stay_within_the_nodes_memory() {
    let (demo, rows) = (Demo::start(), rows());
    let client = demo.client(1).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, v int8, filler text)").await.unwrap();
    client
        .batch_execute("ALTER TABLE t SPLIT AT VALUES (10000), (30000); ALTER TABLE t SCATTER")
        .await
        .unwrap();
    let source = format!("SELECT g, 1, repeat('x', 84) FROM generate_series(1, {rows}) g");

    // What has failed or been rolled back is gone; a statement that reads what its transaction has written sees it.
    let error = client
        .batch_execute(&format!("INSERT INTO t {source} UNION ALL SELECT {rows}, 2, 'again'"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    client.batch_execute(&format!("BEGIN; INSERT INTO t {source}")).await.unwrap();
    assert!(!stores(&demo, 1).is_empty(), "so many rows stay in memory");
    assert_eq!(sum(&client).await, (rows, rows));
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(sum(&client).await, (0, 0));

    client.batch_execute(&format!("INSERT INTO t {source}")).await.unwrap();
    assert_eq!(sum(&client).await, (rows, rows));
    client.batch_execute("UPDATE t SET v = v + 1").await.unwrap();
    assert_eq!(sum(&client).await, (rows, 2 * rows));

    let copy = demo.client(2).await;
    let mut sink = Box::pin(copy.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap());
    for id in rows + 1..=2 * rows {
        sink.send(format!("{id}\t1\t{}\n", "y".repeat(84)).into()).await.unwrap();
    }
    assert_eq!(sink.as_mut().finish().await.unwrap(), rows as u64);
    assert_eq!(sum(&client).await, (2 * rows, 3 * rows));

    for node in demo.nodes() {
        let most = peak(demo.pid(node));
        println!("node {node}: {} MiB at most", most >> 20);
        assert!(most < MOST, "node {node} has held {most} bytes");
        nothing_left(&demo, node).await;
    }
    demo.assert_healthy().await;
}

/// In the middle of a statement, and of a transaction: what it had written, locked and put aside goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let demo = Demo::start();
    let client = demo.client(1).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, v int8, filler text)").await.unwrap();
    let large = "INSERT INTO t SELECT g, 1, repeat('x', 84) FROM generate_series(1, 60000) g; SELECT 1";
    for (begin, goes_within) in [("BEGIN", false), ("BEGIN", true), ("SELECT 0", true)] {
        let mut session = raw::Session::open(demo.sql_port(2)).await;
        session.send_bytes(&raw::query(begin)).await.unwrap();
        session.try_outcome().await.unwrap();
        session.send_bytes(&raw::query(large)).await.unwrap();
        if !goes_within {
            session.try_outcome().await.unwrap();
        }
        until_something_is_put_aside(&demo, 2).await;
        session.cut();
        nothing_left(&demo, 2).await;
        assert_eq!(sum(&client).await, (0, 0));
        client.batch_execute("INSERT INTO t VALUES (7, 1, ''); DELETE FROM t").await.unwrap();
    }
    demo.assert_healthy().await;
}

async fn until_something_is_put_aside(demo: &Demo, node: u16) {
    let aside = async || (!stores(demo, node).is_empty()).then_some(());
    eventually("the transaction outgrows its memory", aside).await;
}

async fn sum(client: &Client) -> (i64, i64) {
    let row = client.query_one("SELECT count(*), coalesce(sum(v), 0)::int8 FROM t", &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// The most memory that the process has had resident, in bytes.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// What transactions keep on the node's disk.
fn stores(demo: &Demo, node: u16) -> Vec<PathBuf> {
    let scratch = PathBuf::from(demo.data()).join(format!("n{node}/scratch"));
    fs::read_dir(scratch).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The last intents are being resolved behind the answer.
async fn nothing_left(demo: &Demo, node: u16) {
    for _ in 0..600 {
        if stores(demo, node).is_empty() {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("node {node} keeps {:?}", stores(demo, node));
}
