//! Schema changes and transactions on other nodes: no change is acknowledged while somebody may still write by the old
//! state, and none waits for those who are through (PROTOCOL 20).

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::time::Duration;
use support::{Demo, pause};
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_takes_no_more_writes() {
    let demo = Demo::start();
    demo.client(1).await.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    for round in 0..3 {
        let (changer, reader) = (demo.client(1).await, demo.client(2).await);
        reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
        let drop = tokio::spawn(async move {
            changer.batch_execute("DROP TABLE t").await.unwrap();
            changer.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
        });
        pause(Duration::from_secs(6)).await;
        assert!(!drop.is_finished(), "the reader still has the table, and might write to it");
        reader.batch_execute("COMMIT").await.unwrap();
        drop.await.unwrap();
        demo.client(2).await.execute("INSERT INTO t VALUES ($1)", &[&round]).await.unwrap();
        for node in 1..=3 {
            let rows = demo.client(node).await.query("SELECT id FROM t", &[]).await.unwrap();
            assert_eq!(rows.len(), 1, "node {node} reads another table than node 2 has written to");
        }
    }
}

/// The drop waits for a minute, and then for nobody but commits under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_does_not_end_is_shut_out_of_a_dropped_table() {
    let demo = Demo::start();
    let changer = demo.client(1).await;
    changer.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let (writer, reader) = (demo.client(2).await, demo.client(3).await);
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
    changer.batch_execute("DROP TABLE t").await.unwrap();
    writer.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let refused = writer.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("40001"), "{refused:?}");
    reader.batch_execute("SELECT * FROM t; COMMIT").await.unwrap();
    demo.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_through_holds_nothing_up() {
    let demo = Demo::start();
    let changer = demo.client(1).await;
    changer.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let (stays, leaves) = (demo.client(2).await, demo.client(3).await);
    stays.batch_execute("BEGIN; SELECT count(*) FROM t; COMMIT").await.unwrap();
    leaves.batch_execute("BEGIN; SELECT * FROM t WHERE id = 1; COMMIT").await.unwrap();
    drop(leaves);
    changer.batch_execute("SET statement_timeout = '30s'").await.unwrap();
    changer.batch_execute("ALTER TABLE t ADD x int DEFAULT 7").await.unwrap();
    stays.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    let x: i32 = changer.query_one("SELECT x FROM t", &[]).await.unwrap().get(0);
    assert_eq!(x, 7);
    stays.batch_execute("DROP TABLE t").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_holds_up_no_changes_of_other_tables() {
    let demo = Demo::start();
    let (changer, busy) = (demo.client(1).await, demo.client(2).await);
    let tables =
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
    changer.batch_execute(tables).await.unwrap();
    let token = busy.cancel_token();
    let long = busy.batch_execute("SELECT id FROM t WHERE pg_sleep(1000) IS NOT NULL");
    let changes = async {
        let active =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(1000)%'";
        while changer.query_one(active, &[]).await.unwrap().get::<_, i64>(0) < 2 {
            pause(Duration::from_millis(20)).await;
        }
        changer.batch_execute("ALTER TABLE u ADD x int DEFAULT 7; DROP TABLE u").await.unwrap();
        // Its own it does.
        changer.batch_execute("SET statement_timeout = '2s'").await.unwrap();
        let waits = changer.batch_execute("ALTER TABLE t ADD x int").await.expect_err("the table is in use");
        assert_eq!(waits.code().map(|code| code.code()), Some("57014"), "{waits:?}");
        token.cancel_query(NoTls).await.unwrap();
    };
    let (ended, ()) = tokio::join!(long, changes);
    assert_eq!(ended.unwrap_err().code().map(|code| code.code()), Some("57014"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_has_made_is_there_on_the_others() {
    let demo = Demo::start();
    let (here, there) = (demo.client(1).await, demo.client(3).await);
    // Each on an object of its own, so that nothing else has made the other node look.
    let uses = [
        "SELECT nextval('{}_s')",
        "ALTER SEQUENCE {}_s RESTART WITH 10",
        "ALTER TABLE {} ADD COLUMN more text",
        "ALTER TABLE {} RENAME TO {}_renamed",
        "CREATE INDEX ON {} (n)",
        "TRUNCATE {}",
        "ANALYZE {}",
        "ALTER TABLE {} SPLIT AT VALUES (100)",
        "CREATE TABLE {}_x.t (id int PRIMARY KEY)",
        "SELECT 1 / count(*) FROM pg_class WHERE relname = '{}'",
        "SELECT 1 / count(*) FROM information_schema.tables WHERE table_name = '{}'",
        "SELECT 1 / count(*) FROM information_schema.schemata WHERE schema_name = '{}_x'",
        "SELECT 1 / count(to_regclass('{}')) ",
        "DROP SCHEMA {}_x",
        "DROP SEQUENCE {}_s",
    ];
    for (n, using) in uses.iter().enumerate() {
        let name = format!("made{n}");
        let make = "CREATE TABLE {} (id int PRIMARY KEY, n int); CREATE SEQUENCE {}_s; CREATE SCHEMA {}_x";
        here.batch_execute(&make.replace("{}", &name)).await.unwrap();
        let sql = using.replace("{}", &name);
        there.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}
