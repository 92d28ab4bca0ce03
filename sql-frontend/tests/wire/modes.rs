//! Modes of transactions and settings of sessions: what savepoints undo, and what idling costs.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use futures::{StreamExt, stream};
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_below_a_savepoint_ends_with_it() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    for (end, id) in [("rollback to s", 1), ("release s", 2)] {
        run(&c, "begin; savepoint s; set transaction read only").await;
        assert_eq!(one(&c, "show transaction_read_only").await, "on", "{end}");
        run(&c, &format!("select 1; {end}")).await;
        assert_eq!(one(&c, "show transaction_read_only").await, "off", "{end}");
        run(&c, &format!("insert into t values ({id}); commit")).await;
    }
    // After an error, and in a savepoint within another.
    run(&c, "begin; savepoint s; savepoint s2; set transaction_read_only = on").await;
    assert_eq!(fails(&c, "insert into t values (3)").await, "25006");
    run(&c, "rollback to s; insert into t values (3); commit").await;
    assert_eq!(one(&c, "select count(*) from t").await, "3");
    // A read-only transaction stays one.
    run(&c, "begin read only; savepoint s").await;
    assert_eq!(fails(&c, "set transaction read write").await, "25001");
    run(&c, "rollback to s; release s").await;
    assert_eq!(one(&c, "show transaction_read_only").await, "on");
    run(&c, "rollback; begin; savepoint s").await;
    assert_eq!(fails(&c, "set transaction deferrable").await, "25001");
    run(&c, "rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_return_to_what_they_were_at_the_savepoint() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "set lock_timeout = '1s'; begin; set lock_timeout = '2s'; set local statement_timeout = '7s'")
        .await;
    run(&c, "savepoint s; set lock_timeout = '3s'; set local statement_timeout = '8s'; set a.b = 'x'").await;
    run(&c, "rollback to s").await;
    assert_eq!(one(&c, "show lock_timeout").await, "2s");
    assert_eq!(one(&c, "show statement_timeout").await, "7s");
    assert_eq!(fails(&c, "show a.b").await, "42704");
    run(&c, "rollback to s; set lock_timeout = '4s'; release s; commit").await;
    assert_eq!(one(&c, "show lock_timeout").await, "4s");
    assert_eq!(one(&c, "show statement_timeout").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_read_only_transaction_refuses_is_named() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    for (sql, what) in [
        ("select * from t for update", "SELECT FOR UPDATE"),
        ("select * from t limit 1 for share nowait", "SELECT FOR SHARE"),
        ("insert into t values (1)", "INSERT"),
        ("drop table t", "DROP TABLE"),
    ] {
        run(&c, "begin read only").await;
        let error = c.batch_execute(sql).await.expect_err(sql);
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "25006", "{sql}");
        assert_eq!(error.message(), format!("cannot execute {what} in a read-only transaction"));
        run(&c, "rollback").await;
    }
}

/// The code of the error that ends the session by itself.
async fn ended_by(node: &Node, sql: &str) -> String {
    let config = format!("host=127.0.0.1 port={} user=root dbname=quorate", node.server.address().port());
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let mut messages = stream::poll_fn(|context| connection.poll_message(context));
    let waiting = async {
        loop {
            match messages.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.code().map(|code| code.code().to_string()),
                None => return None,
            }
        }
    };
    let (ended, set) = tokio::join!(waiting, client.batch_execute(sql));
    set.unwrap();
    ended.expect("an error that says why")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_idles_too_long_is_sent_away() {
    let node = Node::start().await;
    assert_eq!(ended_by(&node, "set idle_session_timeout = '100ms'").await, "57P05");
    let both = "set idle_session_timeout = '10min'; set idle_in_transaction_session_timeout = '100ms'; begin";
    assert_eq!(ended_by(&node, both).await, "25P03");
    // A transaction is no idle session, nor is a statement.
    let c = node.connect().await;
    run(&c, "begin; set idle_session_timeout = '100ms'; select pg_sleep(0.3)").await;
    assert_eq!(one(&c, "select 1").await, "1");
    run(&c, "set idle_session_timeout = 0; commit").await;
    assert_eq!(one(&c, "show idle_session_timeout").await, "0");
}
