//! Details of errors that are about keys.

use crate::{
    session::{one, run},
    standin::Node,
};
use std::time::Duration;
use tokio_postgres::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_shown_as_columns_and_values() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(
        &a,
        "create table t (k text, id int, v int, primary key (k, id)); insert into t values ('it''s', -5, 0)",
    )
    .await;
    run(&a, "begin; select v from t where id = -5 and k = 'it''s' for update").await;
    let error = b.batch_execute("select v from t where id = -5 and k = 'it''s' for update nowait").await;
    let error = error.expect_err("the row is locked");
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P03");
    assert_eq!(error.message(), "could not obtain lock on row in relation \"t\"");
    let holder = holder(&a).await;
    let key = "Key (k, id)=(it's, -5) of index \"t_pkey\" of table public.t";
    assert_eq!(error.detail(), Some(format!("{key} is locked by {holder}.").as_str()));
    run(&b, "set lock_timeout = '50ms'").await;
    let error = b.batch_execute("delete from t").await.expect_err("the row is locked");
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P03");
    assert_eq!(error.detail(), Some(format!("{key} is locked by {holder}.").as_str()));
    run(&a, "rollback; create table h (v int); insert into h values (1)").await;
    run(&a, "begin; select v from h for update").await;
    let error = b.batch_execute("select v from h for update nowait").await.expect_err("the row is locked");
    let detail = error.as_db_error().unwrap().detail().unwrap();
    assert!(detail.starts_with("A key of index \"h_pkey\" of table public.h is locked by "), "{detail}");
    run(&a, "rollback").await;
}

/// The open transaction of this session, as errors name it, and as it can be looked up.
async fn holder(client: &Client) -> String {
    let sql = "select transaction_id, pid, node_id from quorate.transactions where pid = pg_backend_pid()";
    let row = client.query_one(sql, &[]).await.unwrap();
    let (id, pid, node): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
    format!("transaction {id} (session {pid} on node {node})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_an_advisory_lock_is_told() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(&a, "select pg_advisory_lock(-42), pg_advisory_lock_shared(1, 2)").await;
    let pid = one(&a, "select pg_backend_pid()").await;
    run(&b, "set lock_timeout = '300ms'").await;
    for (call, lock) in [("pg_advisory_lock(-42)", "-42"), ("pg_advisory_xact_lock(1, 2)", "(1, 2)")] {
        let error = b.batch_execute(&format!("select {call}")).await.expect_err(call);
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "55P03", "{error:?}");
        let detail = format!("Advisory lock {lock} is held by session {pid} on node 1.");
        assert_eq!(error.detail(), Some(detail.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_waiters_is_told_whole() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(&a, "begin; select pg_advisory_lock(7)").await;
    run(&b, "begin; select pg_advisory_xact_lock(1, 2)").await;
    let (first, second) = (holder(&a).await, holder(&b).await);
    let session = |holder: &str| holder.split_once('(').unwrap().1.trim_end_matches(')').to_string();
    let (of_a, of_b) = (session(&first), session(&second));
    let (got, refused) = tokio::join!(async { run(&a, "select pg_advisory_lock(1, 2)").await }, async {
        let refused = b.batch_execute("select pg_advisory_lock(7)").await;
        run(&b, "rollback").await;
        refused
    },);
    let () = got;
    let error = refused.expect_err("the younger one gives way");
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "40P01", "{error:?}");
    let expected = [
        format!("T{} waits for advisory lock 7; blocked by {of_a}.", &second[1..]),
        format!("T{} waits for advisory lock (1, 2); blocked by {of_b}.", &first[1..]),
        format!("S{} runs: select pg_advisory_lock(7)", &of_b[1..]),
        format!("S{} runs: select pg_advisory_lock(1, 2)", &of_a[1..]),
    ];
    assert_eq!(error.detail(), Some(expected.join("\n").as_str()));
    assert!(error.hint().is_some_and(|hint| !hint.contains("rows")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_to_give_way_is_told_for_whom() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(&a, "create table t (id int primary key, v int); insert into t values (1, 0), (2, 0)").await;
    for level in ["serializable", "repeatable read"] {
        run(&a, &format!("begin isolation level {level}; select v from t")).await;
        run(&b, "begin; update t set v = v + 1 where id = 1").await;
        let writer =
            one(&b, "select transaction_id from quorate.transactions where pid = pg_backend_pid()").await;
        run(&b, "commit").await;
        let error = a.batch_execute("update t set v = v + 1 where id = 1; commit").await.expect_err(level);
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "40001", "{level}: {error:?}");
        let detail = error.detail().expect(level);
        let start = "Key (id)=(1) of index \"t_pkey\" of table public.t was changed by transaction ";
        assert!(detail.starts_with(&format!("{start}{writer} at 20")), "{level}: {detail}");
        assert!(detail.contains("+00 (") && detail.contains("had read at 20"), "{level}: {detail}");
        assert!(error.hint().is_some_and(|hint| hint.contains("FOR UPDATE")), "{level}: {error:?}");
        run(&a, "rollback").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_over_a_value_that_is_too_long_is_refused() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v text); insert into t values (1, repeat('x', 1000000))")
        .await;
    let error = c.batch_execute("create index t_v on t (v)").await.expect_err("it cannot be a key");
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "54000", "{error:?}");
    // It is taken back behind the answer.
    while one(&c, "select count(*) from pg_class where relname = 't_v'").await != "0" {
        node.env.sleep(Duration::from_millis(20)).await;
    }
    run(&c, "insert into t values (2, repeat('y', 1000000))").await;
}
