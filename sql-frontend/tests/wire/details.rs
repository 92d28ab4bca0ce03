//! Details of errors that are about keys.

use crate::{
    session::{one, run},
    standin::Node,
};
use std::time::Duration;

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
    assert_eq!(error.detail(), Some("Key (k, id)=(it's, -5) of index \"t_pkey\" of table public.t"));
    run(&a, "rollback; create table h (v int); insert into h values (1)").await;
    run(&a, "begin; select v from h for update").await;
    let error = b.batch_execute("select v from h for update nowait").await.expect_err("the row is locked");
    assert_eq!(error.as_db_error().unwrap().detail(), Some("A key of index \"h_pkey\" of table public.h"));
    run(&a, "rollback").await;
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
