//! Columns that are added and dropped while all gateways write, and when the gateway that changes them dies.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{Demo, below, eventually, pause};
use tokio_postgres::Client;

/// Adds up acknowledged increments until told to stop; what runs into the change of a table is run again.
async fn increment(client: Client, seed: u64, over: Arc<AtomicBool>) -> i64 {
    let (mut state, mut done) = (seed, 0);
    while !over.load(Ordering::Relaxed) {
        let row = below(&mut state, 20);
        match client.batch_execute(&format!("UPDATE t SET v = v + 1 WHERE id = {row}")).await {
            Ok(()) => done += 1,
            Err(error) => assert_eq!(error.code().map(|code| code.code()), Some("40001"), "{error:?}"),
        }
        let insert = format!("INSERT INTO t (id, v) VALUES ({}, 0)", 1000 * seed + done as u64);
        client.batch_execute(&insert).await.unwrap();
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_is_lost_while_columns_come_and_go() {
    let demo = Demo::start();
    let changer = demo.client(1).await;
    changer.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, v int8 NOT NULL)").await.unwrap();
    changer.batch_execute("INSERT INTO t SELECT g, 0 FROM generate_series(0, 19) g").await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for node in demo.nodes() {
        let client = demo.client(node).await;
        writers.push(tokio::spawn(increment(client, u64::from(node), over.clone())));
    }
    for round in 0..3 {
        let add = format!("ALTER TABLE t ADD c int NOT NULL DEFAULT {round}");
        changer.batch_execute(&add).await.unwrap();
        changer.batch_execute("CREATE INDEX i ON t (c, v)").await.unwrap();
        for node in demo.nodes() {
            let query = format!("SELECT count(*) FROM t WHERE c IS DISTINCT FROM {round}");
            let wrong: i64 = demo.client(node).await.query_one(&query, &[]).await.unwrap().get(0);
            assert_eq!(wrong, 0, "values of a column that was dropped before");
        }
        changer.batch_execute("ALTER TABLE t DROP c").await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let mut done = 0;
    for writer in writers {
        done += writer.await.unwrap();
    }
    let row = changer.query_one("SELECT sum(v)::int8, count(*) FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), done);
    demo.assert_healthy().await;
}

async fn value(client: &Client, sql: &str) -> Option<i64> {
    client.query_one(sql, &[]).await.ok().map(|row| row.get(0))
}

/// Until so many schema changes are under way.
async fn jobs(client: &Client, wanted: i64) {
    let counted = async || {
        let counted = value(client, "SELECT count(*) FROM quorate.jobs").await;
        counted.filter(|counted| *counted == wanted)
    };
    eventually(&format!("{wanted} jobs"), counted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_node_dies_is_finished_by_another() {
    let demo = Demo::start();
    let (changer, other) = (demo.client(1).await, demo.client(3).await);
    changer.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    for (change, after) in [
        ("ALTER TABLE t ADD x int8 NOT NULL DEFAULT 7", "SELECT x FROM t"),
        ("ALTER TABLE t DROP x", "SELECT count(*) FROM (SELECT * FROM t) AS s (id) WHERE id = 1"),
    ] {
        let (changer, reader) = (demo.client(1).await, demo.client(2).await);
        reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
        let lost = tokio::spawn(async move { changer.batch_execute(change).await });
        jobs(&other, 1).await;
        demo.kill(1);
        assert!(lost.await.unwrap().is_err());
        while reader.batch_execute("COMMIT").await.is_err() {
            pause(Duration::from_millis(50)).await;
        }
        jobs(&other, 0).await;
        assert!(value(&other, after).await.is_some(), "{after}");
        demo.restart(1);
    }
    let names = "SELECT count(*) FROM information_schema.columns WHERE table_name = 't'";
    assert_eq!(value(&other, names).await, Some(1));
    other.batch_execute("ALTER TABLE t ADD x int8").await.unwrap();
    assert_eq!(value(&other, "SELECT count(*) FROM t WHERE x IS NULL").await, Some(1));
}
