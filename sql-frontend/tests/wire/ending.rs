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
async fn a_commit_is_not_waited_for_longer_than_the_client_says() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    run(&c, "create table t (a int primary key)").await;
    run(&c, "set statement_timeout = '300ms'").await;
    node.shard.holds.store(true, Ordering::SeqCst);
    assert_eq!(fails(&c, "insert into t values (1)").await, "40003");
    // Nothing of it is left in the session.
    assert_eq!(one(&c, "select count(*) from t").await, "0");
    node.shard.let_go();
    while one(&c, "select count(*) from t").await != "1" {}

    run(&c, "set statement_timeout = 0").await;
    run(&c, "begin; select pg_advisory_xact_lock(7); insert into t values (2)").await;
    node.shard.holds.store(true, Ordering::SeqCst);
    let token = c.cancel_token();
    let cancel = async {
        while !node.shard.is_holding() {
            node.env.sleep(Duration::from_millis(5)).await;
        }
        token.cancel_query(NoTls).await.unwrap();
    };
    let (state, ()) = tokio::join!(fails(&c, "commit"), cancel);
    assert_eq!(state, "40003");
    assert_eq!(one(&c, "select count(*) from t").await, "1");
    // The lock is the transaction's until that is over.
    assert_eq!(one(&other, "select pg_try_advisory_lock(7)").await, "f");
    node.shard.let_go();
    run(&other, "select pg_advisory_lock(7)").await;
    assert_eq!(one(&other, "select count(*) from t").await, "2");
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

/// A cancel request that comes before its statement has no effect.
async fn until_active(operator: &Client, sql: &str) {
    let shown: String = sql.chars().take(1000).collect();
    let shown = shown.replace('\'', "''");
    let active = format!(
        "select count(*) from pg_stat_activity where state = 'active' and starts_with(query, '{shown}')"
    );
    while one(operator, &active).await != "1" {}
}

/// Each is made of one batch, which nothing could interrupt from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_within_a_batch() {
    let node = Node::start().await;
    let (c, operator) = (node.connect().await, node.connect().await);
    for long in [
        "select max(length(exp(5500.5 + (g % 300)::numeric)::text)) from generate_series(1, 1000) g",
        "select max(length(array_to_string(array[exp(5500.5 + (g % 300)::numeric)], ','))) from generate_series(1, 1000) g",
        "select count(*) from generate_series(1, 1000) g where ln(4e4000 + g::numeric) > 1",
    ] {
        run(&c, "set statement_timeout = '100ms'").await;
        assert_eq!(fails(&c, long).await, "57014", "{long}");
        run(&c, "set statement_timeout = 0").await;
        let token = c.cancel_token();
        let cancel = async {
            until_active(&operator, long).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (state, ()) = tokio::join!(fails(&c, long), cancel);
        assert_eq!(state, "57014", "{long}");
    }
    assert_eq!(one(&c, "select 1").await, "1");
    // A prepared one, and once more: the request has had its effect.
    let prepared =
        "select max(length(exp(5500.5 + (g % 300)::numeric)::text)) from generate_series(1, $1::int) g";
    let statement = c.prepare(prepared).await.unwrap();
    for _ in 0..2 {
        let token = c.cancel_token();
        let cancel = async {
            until_active(&operator, prepared).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (ended, ()) = tokio::join!(c.query(&statement, &[&1000]), cancel);
        assert_eq!(ended.unwrap_err().code().unwrap().code(), "57014");
        assert_eq!(c.query(&statement, &[&1]).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_while_it_is_planned() {
    let node = Node::start().await;
    let (c, operator) = (node.connect().await, node.connect().await);
    run(&c, "create table t (a int primary key, b int)").await;
    let joins: String = (1..90).map(|i| format!(" join t t{i} on t{i}.a = t{}.b", i - 1)).collect();
    run(&c, "set statement_timeout = '30ms'").await;
    assert_eq!(fails(&c, &format!("explain select * from t t0{joins}")).await, "57014");
    run(&c, "set statement_timeout = 0").await;
    let token = c.cancel_token();
    let sql = format!("explain select * from t t0{joins} where t0.b > 1");
    let cancel = async {
        until_active(&operator, &sql).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (state, ()) = tokio::join!(fails(&c, &sql), cancel);
    assert_eq!(state, "57014");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_functions_make_of_a_batch_is_bounded() {
    let node = Node::start().await;
    let c = node.connect().await;
    for much in [
        "select sum(length(repeat('x', 400000 + g))) from generate_series(1, 1000) g",
        "select sum(length(lpad('x', 400000, 'y' || g))) from generate_series(1, 1000) g",
        "select count(string_to_array(repeat('x,', 50000 + g % 2), ',')) from generate_series(1, 1000) g",
    ] {
        assert_eq!(fails(&c, much).await, "53200", "{much}");
    }
    assert_eq!(
        one(&c, "select sum(length(repeat('x', 100000))) from generate_series(1, 1000)").await,
        "100000000"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_and_end_what_others_run() {
    let node = Node::start().await;
    let (operator, other) = (node.connect().await, node.connect().await);
    let pid = one(&other, "select pg_backend_pid()").await;
    let shown = format!("select state, query, xact_start is null from pg_stat_activity where pid = {pid}");
    let of_other = async || crate::session::rows(&operator, &shown).await.remove(0);
    let some = |texts: [&str; 3]| texts.map(|text| Some(text.to_string())).to_vec();
    assert_eq!(of_other().await, some(["idle", "select pg_backend_pid()", "t"]));
    run(&other, "begin").await;
    assert_eq!(of_other().await, some(["idle in transaction", "begin", "f"]));
    let sleeps = async { fails(&other, "select pg_sleep(1000)").await };
    let cancels = async {
        while of_other().await[0].as_deref() != Some("active") {
            node.env.sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(one(&operator, &format!("select pg_cancel_backend({pid})")).await, "t");
    };
    let (state, ()) = tokio::join!(sleeps, cancels);
    assert_eq!(state, "57014");
    let failed = "idle in transaction (aborted)";
    assert_eq!(of_other().await, some([failed, "select pg_sleep(1000)", "f"]));
    assert_eq!(one(&operator, &format!("select pg_terminate_backend({pid}, 10000)")).await, "t");
    assert!(crate::session::rows(&operator, &shown).await.is_empty());
    assert!(other.simple_query("select 1").await.is_err());
    for nobody in [pid.as_str(), "0", "-1", "2147483647"] {
        assert_eq!(one(&operator, &format!("select pg_cancel_backend({nobody})")).await, "f");
        assert_eq!(one(&operator, &format!("select pg_terminate_backend({nobody}, 10)")).await, "f");
    }
}
