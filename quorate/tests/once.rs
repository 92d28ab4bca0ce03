//! Clients whose connections break at any moment run their transactions blindly again, at any gateway, under the same key: each
//! happens once, whatever was seen of it, also when a node is killed meanwhile.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Demo, below, pause, seconds, tools};
use tokio_postgres::NoTls;

const ACCOUNTS: u64 = 40;
const WRITERS: u64 = 6;

#[derive(Default)]
struct Told {
    acknowledged: AtomicU64,
    cut: AtomicU64,
}

/// One attempt on a connection that is cut after some time; whether the commit was acknowledged.
async fn attempt(demo: &Demo, node: u16, text: &str, cut_after: Option<Duration>, told: &Told) -> bool {
    let Ok((client, connection)) = tokio_postgres::connect(&demo.url(node), NoTls).await else {
        pause(Duration::from_millis(50)).await;
        return false;
    };
    let connection = tokio::spawn(connection);
    let run = client.batch_execute(text);
    let result = match cut_after {
        None => run.await.map_err(|error| error.to_string()),
        Some(limit) => tokio::time::timeout(limit, run).await.map_or_else(
            |_| {
                told.cut.fetch_add(1, Ordering::SeqCst);
                Err("cut".into())
            },
            |result| result.map_err(|error| error.to_string()),
        ),
    };
    connection.abort();
    result.is_ok()
}

async fn writer(demo: Arc<Demo>, number: u64, until: Instant, told: Arc<Told>) {
    let mut random = 0x9e37_79b9 + number;
    for n in 0.. {
        if Instant::now() > until {
            return;
        }
        let debit = below(&mut random, ACCOUNTS);
        let credit = (debit + 1 + below(&mut random, ACCOUNTS - 1)) % ACCOUNTS;
        let text = format!(
            "SET quorate.idempotency_key = 'writer {number}, transfer {n}'; BEGIN;
             UPDATE accounts SET balance = balance - 1 WHERE id = {debit};
             UPDATE accounts SET balance = balance + 1 WHERE id = {credit};
             INSERT INTO ledger (writer, transfer) VALUES ({number}, {n}) RETURNING place; COMMIT"
        );
        // Most connections break, around the time that a transfer takes; after many the client is patient.
        for tries in 0.. {
            let micros = 500 + below(&mut random, 60_000);
            let cut = (tries < 20).then(|| Duration::from_micros(micros));
            if attempt(&demo, 1 + below(&mut random, 3) as u16, &text, cut, &told).await {
                break;
            }
            assert!(tries < 2000, "transfer {n} of writer {number} does not get through");
        }
        told.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_run_blindly_again_happens_once() {
    let demo = Arc::new(Demo::start());
    let client = demo.client(1).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
             CREATE TABLE ledger (place serial PRIMARY KEY, writer int8 NOT NULL, transfer int8 NOT NULL);
             INSERT INTO accounts SELECT g, 0 FROM generate_series(0, {}) g;
             ALTER TABLE accounts SPLIT AT VALUES (13), (26);
             ALTER TABLE accounts SCATTER",
            ACCOUNTS - 1
        ))
        .await
        .unwrap();
    let told = Arc::new(Told::default());
    let until = Instant::now() + seconds(12);
    let writers: Vec<_> =
        (0..WRITERS).map(|number| tokio::spawn(writer(demo.clone(), number, until, told.clone()))).collect();
    pause(seconds(12) / 3).await;
    demo.kill(2);
    pause(seconds(12) / 6).await;
    demo.restart(2);
    for writer in writers {
        writer.await.unwrap();
    }
    let acknowledged = told.acknowledged.load(Ordering::SeqCst) as i64;
    let row = client
        .query_one(
            "SELECT count(*), count(DISTINCT (writer * 1000000 + transfer)), \
             (SELECT sum(balance)::int8 FROM accounts) FROM ledger",
            &[],
        )
        .await
        .unwrap();
    let told_of = (row.get::<_, i64>(0), row.get::<_, i64>(1));
    assert_eq!(told_of, (acknowledged, acknowledged), "transfers in the ledger, and different ones");
    assert_eq!(row.get::<_, i64>(2), 0, "money came or went");
    let mut again = 0.0;
    for node in demo.nodes() {
        again += tools::metric(&demo.http(node), "quorate_sql_answered_again_total").await.unwrap_or(0.0);
    }
    let cut = told.cut.load(Ordering::SeqCst);
    eprintln!("{acknowledged} transfers, {cut} connections cut, {again} transactions had happened already");
    assert!(cut > 20 && again > 0.0, "the interesting case did not come up: {cut} cut, {again} again");
    let asked = "SELECT outcome FROM quorate.transaction_outcome('writer 0, transfer 0')";
    assert_eq!(client.query_one(asked, &[]).await.unwrap().get::<_, String>(0), "committed");
}
