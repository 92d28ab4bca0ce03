//! `ADD COLUMN` and `DROP COLUMN`: their rules, and what becomes of them when nobody waits for their end.

use crate::{
    session::{fails, one, rows, run},
    standin::Node,
};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

/// Until no schema change is under way.
async fn quiet(node: &Node, client: &Client) {
    while one(client, "select count(*) from quorate.jobs").await != "0" {
        node.env.sleep(Duration::from_millis(20)).await;
    }
}

/// Until the table's change has begun: somebody else's transaction holds up the rest of it.
async fn begun(node: &Node, client: &Client) {
    while one(client, "select count(*) from quorate.jobs").await == "0" {
        node.env.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_add_column_is_finished_and_leaves_nothing_half_done() {
    let node = Node::start().await;
    let (reader, changer, other) = (node.connect().await, node.connect().await, node.connect().await);
    run(&reader, "create table t (id int primary key); insert into t values (1)").await;
    run(&reader, "begin; select * from t").await;
    let token = changer.cancel_token();
    let cancel = async {
        begun(&node, &other).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (result, ()) =
        tokio::join!(changer.batch_execute("alter table t add column x int not null default 7"), cancel);
    let error = result.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "57014");
    assert!(error.detail().is_some_and(|detail| detail.contains("goes on")), "{error:?}");
    assert_eq!(fails(&other, "select x from t").await, "42703", "it is not there for some only");
    run(&reader, "commit").await;
    quiet(&node, &other).await;
    assert_eq!(one(&other, "select x from t").await, "7");
    run(&other, "alter table t drop column x").await;
    assert_eq!(fails(&other, "select x from t").await, "42703");
    run(&other, "alter table t add column x text").await;
    assert_eq!(one(&other, "select x from t").await, "NULL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_column_takes_with_it_what_rests_on_it() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(
        &c,
        "create table t (id int primary key, a int not null, b int, s serial, d int default 4, unique (a, b), \
         check (a < b), constraint rest check (b > 0)); create index i on t (a); create index j on t (b)",
    )
    .await;
    run(&c, "insert into t (id, a, b) values (1, 2, 3), (2, 3, 4)").await;
    assert_eq!(fails(&c, "alter table t drop column nothing").await, "42703");
    run(&c, "alter table t drop column if exists nothing").await;
    assert_eq!(fails(&c, "alter table t drop column id").await, "0A000");
    run(&c, "alter table t drop a").await;
    assert_eq!(fails(&c, "select a from t").await, "42703");
    assert_eq!(fails(&c, "select t.a from t").await, "42703");
    assert_eq!(fails(&c, "update t set a = 1").await, "42703");
    assert_eq!(fails(&c, "insert into t (a) values (1)").await, "42703");
    assert_eq!(one(&c, "select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 't'::regclass and attnum > 0").await, "id,b,s,d");
    // No uniqueness of (a, b), no NOT NULL, no check that a < b any more; the others hold.
    run(&c, "insert into t (id, b) values (3, 3), (4, 3)").await;
    assert_eq!(fails(&c, "insert into t (id, b) values (5, -1)").await, "23514");
    assert_eq!(one(&c, "select count(*) from pg_indexes where tablename = 't'").await, "2");
    assert_eq!(rows(&c, "select * from t where b = 3").await.len(), 3);
    run(&c, "alter table t drop column if exists s cascade").await;
    assert_eq!(fails(&c, "select nextval('t_s_seq')").await, "42P01");
    run(&c, "alter table t drop d restrict").await;
    // The names are free, and what was stored under them is forgotten.
    run(&c, "alter table t add a int").await;
    run(&c, "create index i on t (a)").await;
    assert_eq!(one(&c, "select count(a) from t").await, "0");
    run(&c, "create table u (x int, y int); insert into u values (1, 2)").await;
    run(&c, "alter table u drop column y").await;
    run(&c, "alter table u drop column x").await;
    assert_eq!(one(&c, "select count(*) from u").await, "1");
    // Within the transaction that made the table everything goes at once.
    run(
        &c,
        "begin; create table n (id int primary key, a int unique, s serial); insert into n values (1, 1)",
    )
    .await;
    run(&c, "alter table n drop column a; alter table n drop column s; insert into n values (2)").await;
    run(&c, "alter table n add column a text default 'z'; commit").await;
    assert_eq!(one(&c, "select string_agg(a, ',') from n").await, "z,z");
    run(&c, "begin").await;
    assert_eq!(fails(&c, "alter table t drop column a").await, "25001");
    run(&c, "rollback").await;
}

/// Transactions that began before the change stand for gateways that are one step behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_whole_for_those_who_still_use_a_column_that_is_dropped() {
    let node = Node::start().await;
    let (old, changer, new) = (node.connect().await, node.connect().await, node.connect().await);
    let next = node.connect().await;
    run(&old, "create table t (id int primary key, v int, c int not null check (c > v), unique (c))").await;
    run(&old, "insert into t values (1, 1, 10), (2, 2, 20), (3, 3, 30)").await;
    run(&old, "begin; select * from t where id = 2").await;
    let drop = node.env.spawn("test.drop", async move {
        run(&changer, "alter table t drop column c").await;
    });
    begun(&node, &new).await;
    // By the old state c is never missing: the one after it must not write such a row, nor lose a value.
    assert_eq!(fails(&new, "insert into t (id, v) values (4, 4)").await, "23502");
    assert_eq!(fails(&new, "insert into t values (4, 4, -1)").await, "23514");
    assert_eq!(fails(&new, "insert into t values (4, 4, 10)").await, "23505");
    assert_eq!(fails(&new, "update t set c = null where id = 1").await, "23502");
    run(&new, "update t set v = 5 where id = 1; insert into t values (4, 4, 40)").await;
    run(&next, "begin; select * from t where id = 3").await;
    assert_eq!(one(&old, "select c from t where id = 2").await, "20");
    run(&old, "update t set v = 6 where id = 2; commit").await;
    // The next step: the column is out of sight, but stays in the rows of those who still see it.
    while new.batch_execute("select c from t").await.is_ok() {
        node.env.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fails(&new, "insert into t values (5, 5, 50)").await, "42601");
    run(&new, "insert into t values (5, 5), (6, 10); update t set v = 100 where id = 1").await;
    assert_eq!(one(&next, "select c from t where id = 3").await, "30");
    // What the row never had is not asked of it.
    assert_eq!(one(&next, "update t set v = 9 where id = 5 returning c").await, "NULL");
    run(&next, "update t set v = 7 where id = 3; commit").await;
    drop.join().await.unwrap();
    quiet(&node, &new).await;
    assert_eq!(one(&new, "select string_agg(v::text, ',' order by id) from t").await, "100,6,7,4,9,10");
    assert_eq!(rows(&new, "select * from t").await[0].len(), 2);
}

/// As PostgreSQL 15 names them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_without_an_alias_have_postgresqls_names() {
    let node = Node::start().await;
    let client = node.connect().await;
    let sql = "select array[1, 2], (array[1, 2])[2], substr('a', 1), substring('a' from 1), '{1}'::int[], \
               true, 1::int8, '1'::int8, 1 + 1";
    let statement = client.prepare(sql).await.unwrap();
    let names: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
    let expected = ["array", "array", "substr", "substring", "int4", "?column?", "int8", "int8", "?column?"];
    assert_eq!(names, expected);
}
