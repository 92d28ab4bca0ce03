//! Without a quorum a write is refused, soon and with what is missing; nothing of it is left when the quorum is back.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::time::Duration;
use support::{Demo, pause};
use tokio_postgres::{Client, error::DbError};

/// Every answer comes within this, whatever it is.
const BOUND: Duration = Duration::from_secs(60);

async fn refused(client: &Client, id: i64) -> DbError {
    let insert = format!("INSERT INTO t VALUES ({id})");
    let answer = tokio::time::timeout(BOUND, client.batch_execute(&insert)).await;
    let error = answer.expect("an answer in bounded time").expect_err("nobody else can have it");
    error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_a_quorum_is_refused_until_it_is_back() {
    let demo = Demo::start();
    let client = demo.client(3).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY); INSERT INTO t VALUES (0)").await.unwrap();
    let shard: i64 =
        client.query_one("SELECT shard_id FROM quorate.shards LIMIT 1", &[]).await.unwrap().get(0);
    demo.kill(1);
    demo.kill(2);

    // What the shard had taken in when its nodes died is of unknown outcome; what comes later is refused.
    let mut next = 1;
    while refused(&client, next).await.code().code() == "40003" {
        next += 1;
        assert!(next < 10, "no write is ever refused");
    }
    // Also beyond the leases that the node had from the others.
    for id in 100..104 {
        let error = refused(&client, id).await;
        assert_eq!(error.code().code(), "57Q01", "{error:?}");
        assert_eq!(error.message(), format!("shard {shard} has no quorum"));
        assert!(error.detail().is_some_and(|detail| detail.contains("nodes 1, 2")), "{error:?}");
        assert!(error.hint().is_some());
        pause(Duration::from_secs(3)).await;
    }

    // The driver is on the same nodes.
    demo.ask(3, &["shard", "recover"]).await.fails(1, "bring back a majority of the nodes that carry it");

    demo.restart(1);
    let mut served = false;
    for _ in 0..100 {
        served = client.batch_execute("INSERT INTO t VALUES (200)").await.is_ok();
        if served {
            break;
        }
        pause(Duration::from_millis(200)).await;
    }
    assert!(served, "two of three nodes are a quorum");
    demo.restart(2);
    let rows = demo.client(2).await.query("SELECT id FROM t WHERE id >= 100", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [200]);
    demo.assert_healthy().await;
}
