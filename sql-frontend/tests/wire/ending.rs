//! How statements and transactions end.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use futures::TryStreamExt;
use quorate_sql::server::SqlConfig;
use quorate_txn::TxnConfig;
use std::{sync::atomic::Ordering, time::Duration};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_only_computes_is_ended() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int); insert into t select generate_series(1, 40)").await;
    for endless in [
        "select count(*) from generate_series(1, 3000000000)",
        "select count(*) from t a, t b, t c, t d, t e, t f, t g",
        "select count(*) from t a join t b on a.a <> b.a, t c, t d, t e, t f, t g",
        "select count(*) from t a, t b, t c where (select sum(1) from t d, t e, t f where d.a <> a.a) > 0",
    ] {
        run(&c, "set statement_timeout = '300ms'").await;
        assert_eq!(fails(&c, endless).await, "57014", "{endless}");
        run(&c, "set statement_timeout = 0").await;
        let token = c.cancel_token();
        let cancel = async {
            node.env.sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (state, ()) = tokio::join!(fails(&c, endless), cancel);
        assert_eq!(state, "57014", "{endless}");
    }
}

/// The tags that are sent, and the state of the error that ends them.
async fn tags(client: &Client, sql: &str) -> (usize, Option<String>) {
    let mut messages = std::pin::pin!(client.simple_query_raw(sql).await.unwrap());
    let mut tags = 0;
    loop {
        match messages.try_next().await {
            Ok(Some(SimpleQueryMessage::CommandComplete(_))) => tags += 1,
            Ok(Some(_)) => {}
            Ok(None) => return (tags, None),
            Err(error) => return (tags, error.code().map(|code| code.code().to_string())),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_called_done_once_it_is_committed() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key)").await;
    assert_eq!(tags(&c, "insert into t values (1)").await, (1, None));
    node.shard.refuses.store(true, Ordering::Relaxed);
    for sql in ["insert into t values (2)", "insert into t values (2) returning a", "update t set a = 3"] {
        assert_eq!(tags(&c, sql).await, (0, Some("XX000".into())), "{sql}");
    }
    // As in PostgreSQL: all but the last one of a text.
    assert_eq!(tags(&c, "select 1; insert into t values (2)").await, (1, Some("XX000".into())));
    node.shard.refuses.store(false, Ordering::Relaxed);
    assert_eq!(one(&c, "select count(*) from t").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_transaction_lets_go_of_its_locks() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(&a, "create table t (a int primary key, v int); insert into t values (1, 1)").await;
    run(&b, "set lock_timeout = '200ms'").await;
    run(&a, "begin; update t set v = 2").await;
    assert_eq!(fails(&b, "update t set v = 3").await, "55P03");
    assert_eq!(fails(&a, "select 1 / 0").await, "22012");
    for sql in ["set lock_timeout = 0", "update t set v = v + 10", "alter table t add column w int"] {
        run(&b, sql).await;
    }
    assert_eq!(fails(&a, "select 1").await, "25P02");
    run(&a, "commit").await;
    assert_eq!(one(&a, "select v from t").await, "11");
    // What lies before a savepoint may still be committed.
    run(&a, "begin; update t set v = 2; savepoint s").await;
    assert_eq!(fails(&a, "select 1 / 0").await, "22012");
    run(&b, "set lock_timeout = '200ms'").await;
    assert_eq!(fails(&b, "update t set v = 3").await, "55P03");
    run(&a, "rollback to s; commit").await;
    assert_eq!(one(&b, "select v from t").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_changes_too_much_is_told_so_at_once() {
    let txns = TxnConfig { max_buffer_bytes: 64 << 10, ..TxnConfig::default() };
    let node = Node::start_under(SqlConfig::default(), txns).await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key, b text)").await;
    assert_eq!(fails(&c, "insert into t select g, 'x' from generate_series(1, 100000) g").await, "54000");
    assert_eq!(one(&c, "select count(*) from t").await, "0");
    for first in [1, 501, 1001, 1501] {
        run(&c, &format!("insert into t select g, 'x' from generate_series({first}, {first} + 499) g")).await;
    }
    run(&c, "begin").await;
    assert_eq!(fails(&c, "update t set b = repeat('y', 100)").await, "54000");
    run(&c, "rollback; begin; insert into t values (0, 'x')").await;
    assert_eq!(fails(&c, "truncate t; truncate t").await, "54000");
    run(&c, "rollback").await;
    assert_eq!(one(&c, "select count(*) from t where b = 'x'").await, "2000");
}
