//! Whole sessions over the wire, from `tokio-postgres` down to a stand-in shard.

use crate::standin::Node;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};

pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(ToString::to_string)).collect())
            }
            _ => None,
        })
        .collect()
}

pub async fn one(client: &Client, sql: &str) -> String {
    let rows = rows(client, sql).await;
    assert_eq!(rows.len(), 1, "{sql}");
    rows[0][0].clone().unwrap_or("NULL".into())
}

pub async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

pub async fn fails(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}")).code().code().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_rows_and_constraints() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, name text not null, v int default 7, unique (name))").await;
    run(&c, "insert into t values (1, 'a', 10), (2, 'b', 20)").await;
    run(&c, "insert into t (id, name) values (3, 'c')").await;
    assert_eq!(one(&c, "select v from t where id = 3").await, "7");
    assert_eq!(fails(&c, "insert into t values (1, 'x')").await, "23505");
    assert_eq!(fails(&c, "insert into t values (9, 'a')").await, "23505");
    assert_eq!(fails(&c, "insert into t values (9, null)").await, "23502");
    assert_eq!(fails(&c, "create table t (a int)").await, "42P07");
    assert_eq!(fails(&c, "select * from nothing").await, "42P01");
    run(&c, "update t set v = v + 1 where id = 1").await;
    assert_eq!(one(&c, "select v from t where id = 1").await, "11");
    run(&c, "update t set v = v + 1").await;
    assert_eq!(one(&c, "select sum(v) from t").await, "41");
    assert_eq!(one(&c, "delete from t where name = 'b' returning id").await, "2");
    assert_eq!(one(&c, "select count(*) from t").await, "2");
    run(&c, "insert into t values (1, 'z', 1) on conflict (id) do update set v = excluded.v + t.v").await;
    assert_eq!(one(&c, "select v from t where id = 1").await, "13");
    run(&c, "insert into t values (1, 'z', 1) on conflict do nothing").await;
    run(&c, "drop table t").await;
    assert_eq!(fails(&c, "select * from t").await, "42P01");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(&a, "create table t (id int primary key, v int)").await;
    run(
        &a,
        "begin; insert into t values (1, 1); savepoint s; insert into t values (2, 2); rollback to s; commit",
    )
    .await;
    assert_eq!(rows(&b, "select id, v from t").await, vec![vec![Some("1".into()), Some("1".into())]]);
    run(&a, "begin; update t set v = 5 where id = 1").await;
    assert_eq!(one(&b, "select v from t where id = 1").await, "1");
    run(&a, "rollback").await;
    assert_eq!(one(&b, "select v from t where id = 1").await, "1");
    run(&a, "begin").await;
    assert_eq!(fails(&a, "select 1/0").await, "22012");
    assert_eq!(fails(&a, "select 1").await, "25P02");
    run(&a, "rollback").await;
    run(&a, "begin read only").await;
    assert_eq!(fails(&a, "insert into t values (7, 7)").await, "25006");
    run(&a, "rollback").await;
    // A batch is one transaction.
    assert_eq!(fails(&a, "insert into t values (8, 8); select 1/0").await, "22012");
    assert_eq!(one(&b, "select count(*) from t").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_increments_are_all_there() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 0)").await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let client = node.connect().await;
        tasks.push(node.env.spawn("test.adder", async move {
            let add = client.prepare("update t set v = v + $1 where id = $2").await.unwrap();
            for _ in 0..20 {
                assert_eq!(client.execute(&add, &[&1i32, &1i32]).await.unwrap(), 1);
            }
        }));
    }
    for task in tasks {
        task.join().await.unwrap();
    }
    assert_eq!(one(&c, "select v from t").await, "160");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extended_protocol() {
    let node = Node::start().await;
    let mut c = node.connect().await;
    run(&c, "create table t (id int8 primary key, name text, b bool, f float8)").await;
    for i in 0..50i64 {
        let n = c
            .execute(
                "insert into t values ($1, $2, $3, $4)",
                &[&i, &format!("n{i}"), &(i % 2 == 0), &(i as f64 / 4.0)],
            )
            .await
            .unwrap();
        assert_eq!(n, 1);
    }
    let row = c.query_one("select name, b, f from t where id = $1", &[&6i64]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, bool>(1), row.get::<_, f64>(2)), ("n6", true, 1.5));
    let rows =
        c.query("select id from t where b and f > $1 order by id desc limit 3", &[&2.0f64]).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.get::<_, i64>(0)).collect::<Vec<_>>(), vec![48, 46, 44]);
    // A portal in pieces.
    let tx = c.transaction().await.unwrap();
    let statement = tx.prepare("select id from t order by id").await.unwrap();
    let portal = tx.bind(&statement, &[]).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let part = tx.query_portal(&portal, 7).await.unwrap();
        if part.is_empty() {
            break;
        }
        seen.extend(part.iter().map(|r| r.get::<_, i64>(0)));
    }
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
    tx.commit().await.unwrap();
    let error = c.query("select $1::int + 1", &[&"x"]).await;
    assert!(error.is_err());
    let error = c.execute("insert into t (id) values ($1)", &[&1i64]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, name text, s serial)").await;
    let sink = c.copy_in("copy t (id, name) from stdin").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for i in 0..3000 {
        sink.send(bytes::Bytes::from(format!("{i}\tn\\t{i}\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 3000);
    assert_eq!(one(&c, "select count(*) from t").await, "3000");
    assert_eq!(one(&c, "select max(s) from t").await, "3000");
    assert_eq!(one(&c, "select name from t where id = 7").await, "n\t7");
    let out: Vec<bytes::Bytes> = c
        .copy_out("copy (select id, name from t where id < 2 order by id) to stdout csv")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(out.concat(), b"0,n\t0\n1,n\t1\n");
    let sink = c.copy_in("copy t (id, name) from stdin csv").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from_static(b"9001,x\nnot a number,y\n")).await.unwrap();
    assert!(sink.finish().await.is_err());
    assert_eq!(one(&c, "select count(*) from t").await, "3000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_and_keys_on_tables_with_rows() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int not null, b int, c text)").await;
    for part in 0..3 {
        let values: Vec<String> =
            (0..700).map(|i| format!("({}, {}, 'x')", part * 700 + i, i % 10)).collect();
        run(&c, &format!("insert into t values {}", values.join(","))).await;
    }
    run(&c, "create index on t (b)").await;
    assert_eq!(one(&c, "select count(*) from t where b = 3").await, "210");
    let plan = rows(&c, "explain select a from t where b = 3").await;
    assert!(plan.iter().any(|line| line[0].as_deref().is_some_and(|l| l.contains("t_b_idx"))), "{plan:?}");
    assert_eq!(fails(&c, "create unique index on t (b)").await, "23505");
    run(&c, "alter table t add primary key (a)").await;
    assert_eq!(one(&c, "select count(*) from t").await, "2100");
    assert_eq!(one(&c, "select b from t where a = 1234").await, "4");
    assert_eq!(one(&c, "select count(*) from t where b = 3").await, "210");
    assert_eq!(fails(&c, "insert into t values (5, 1, 'y')").await, "23505");
    run(&c, "drop index t_b_idx").await;
    run(&c, "alter table t add column d int default 5").await;
    assert_eq!(one(&c, "select d from t where a = 1").await, "5");
    run(&c, "truncate t").await;
    assert_eq!(one(&c, "select count(*) from t").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pgbench_does() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers")
        .await;
    run(
        &c,
        "create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22))",
    )
    .await;
    run(&c, "create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100)").await;
    run(&c, "create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)").await;
    run(
        &c,
        "create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100)",
    )
    .await;
    run(&c, "begin").await;
    run(&c, "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers").await;
    run(&c, "insert into pgbench_branches(bid,bbalance) values(1,0)").await;
    run(&c, "insert into pgbench_tellers(tid,bid,tbalance) values (1,1,0)").await;
    let sink = c.copy_in("copy pgbench_accounts from stdin with (freeze on)").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for i in 1..=2000 {
        sink.send(bytes::Bytes::from(format!("{i}\t1\t0\t\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 2000);
    run(&c, "commit").await;
    run(&c, "vacuum analyze pgbench_branches").await;
    run(&c, "alter table pgbench_branches add primary key (bid)").await;
    run(&c, "alter table pgbench_tellers add primary key (tid)").await;
    run(&c, "alter table pgbench_accounts add primary key (aid)").await;
    assert_eq!(one(&c, "select count(*) from pgbench_accounts").await, "2000");
    for aid in [7, 8] {
        run(&c, &format!(
            "BEGIN;
             UPDATE pgbench_accounts SET abalance = abalance + -15 WHERE aid = {aid};
             SELECT abalance FROM pgbench_accounts WHERE aid = {aid};
             UPDATE pgbench_tellers SET tbalance = tbalance + -15 WHERE tid = 1;
             UPDATE pgbench_branches SET bbalance = bbalance + -15 WHERE bid = 1;
             INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, {aid}, -15, CURRENT_TIMESTAMP);
             END;"
        )).await;
    }
    assert_eq!(one(&c, "select sum(abalance) from pgbench_accounts").await, "-30");
    assert_eq!(one(&c, "select bbalance from pgbench_branches").await, "-30");
    assert_eq!(one(&c, "select sum(delta) from pgbench_history").await, "-30");
    assert!(
        rows(&c, "explain update pgbench_accounts set abalance = abalance + 1 where aid = 5").await[0][0]
            .clone()
            .unwrap()
            .contains("Fast path")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_catalogs() {
    let node = Node::start().await;
    let c = node.connect().await;
    assert!(one(&c, "show server_version").await.starts_with("15"));
    assert_eq!(one(&c, "show transaction_isolation").await, "serializable");
    assert_eq!(fails(&c, "set no_such_thing = 1").await, "42704");
    run(&c, "begin; set local statement_timeout = '5s'; commit").await;
    assert_eq!(one(&c, "show statement_timeout").await, "0");
    run(&c, "set statement_timeout = '3s'").await;
    assert_eq!(one(&c, "select current_setting('statement_timeout')").await, "3s");
    run(&c, "create table t (id serial primary key, name varchar(10) not null, check (id > 0))").await;
    assert_eq!(fails(&c, "insert into t values (-1, 'x')").await, "23514");
    run(&c, "insert into t (name) values ('x')").await;
    assert_eq!(one(&c, "select currval('t_id_seq')").await, "1");
    assert_eq!(one(&c, "select relname from pg_class where relname = 't'").await, "t");
    assert_eq!(
        rows(&c, "select column_name, data_type from information_schema.columns where table_name = 't' order by ordinal_position").await,
        vec![
            vec![Some("id".into()), Some("integer".into())],
            vec![Some("name".into()), Some("character varying".into())]
        ]
    );
    assert_eq!(one(&c, "select value from quorate.settings").await, "b");
    assert_eq!(rows(&c, "show shards from table t").await.len(), 1);
    run(&c, "alter table t split at values (10), (20)").await;
    run(&c, "alter table t unsplit at values (10)").await;
    run(&c, "alter table t unsplit all").await;
    run(&c, "alter table t scatter").await;
    assert!(one(&c, "show guarantee").await.contains("SER"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_changes_in_transactions() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "begin; create table t (id int primary key, v int); create index on t (v); insert into t values (1, 2); commit").await;
    assert_eq!(one(&c, "select id from t where v = 2").await, "1");
    run(&c, "begin; create table u (a int); insert into u values (1); rollback").await;
    assert_eq!(fails(&c, "select * from u").await, "42P01");
    run(&c, "begin; drop table t").await;
    assert_eq!(fails(&c, "select * from t").await, "42P01");
    run(&c, "rollback").await;
    assert_eq!(one(&c, "select count(*) from t").await, "1");
    run(&c, "begin").await;
    assert_eq!(fails(&c, "create index on t (v)").await, "25001");
    run(&c, "rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_misread_is_not() {
    let node = Node::start().await;
    let c = node.connect().await;
    assert_eq!(one(&c, "select 'a' \n 'b'").await, "ab");
    assert_eq!(fails(&c, "select 'a' 'b'").await, "42601");
    assert_eq!(rows(&c, "select;").await, vec![vec![]]);
    assert_eq!(rows(&c, "select from generate_series(1, 3)").await.len(), 3);
    assert_eq!(fails(&c, "create table t (a int unique deferrable initially deferred)").await, "0A000");
    assert_eq!(fails(&c, "create table t (a int primary key deferrable)").await, "0A000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_planned_anew_when_its_tables_have_changed() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, a text); insert into t values (1, 'x')").await;
    for sql in ["select * from t", "select * from t where id = 1"] {
        assert_eq!(rows(&c, sql).await[0].len(), 2);
        run(&c, "alter table t add column b int").await;
        assert_eq!(rows(&c, sql).await[0].len(), 3);
        run(&c, "drop table t; create table t (id int primary key, a int); insert into t values (1, 1)")
            .await;
        assert_eq!(one(&c, "select a + 1 from t").await, "2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_under_way_are_shown_with_their_sessions() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key); insert into t values (1)").await;
    run(&c, "set application_name = 'here'").await;
    run(&c, "begin isolation level repeatable read; select * from t").await;
    let of = "from quorate.transactions where application_name = 'here'";
    let shown =
        format!("select state || ', ' || isolation || ', ' || holds_horizon || ', ' || user_name {of}");
    assert_eq!(one(&other, &shown).await, "idle in transaction, repeatable read, true, root");
    run(&c, "savepoint s").await;
    assert_eq!(fails(&c, "select 1/0").await, "22012");
    assert_eq!(one(&other, &format!("select state {of}")).await, "idle in transaction (aborted)");
    run(&c, "rollback").await;
    assert_eq!(one(&other, &format!("select count(*) {of}")).await, "0");
    // Between the statements of READ COMMITTED nothing is held.
    run(&c, "begin isolation level read committed; select * from t").await;
    let active = format!("select state {of} and pid <> 0");
    assert_eq!(one(&other, &active).await, "idle in transaction");
    run(&c, "commit").await;
    let own = "select state from quorate.transactions where application_name = 'mine'";
    run(&other, "set application_name = 'mine'").await;
    assert_eq!(one(&other, own).await, "active");
}
