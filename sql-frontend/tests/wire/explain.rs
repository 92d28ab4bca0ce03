//! `EXPLAIN`: plans in SQL's words, and what a statement has cost.

use crate::{
    session::{fails, one, rows, run},
    standin::Node,
};
use tokio_postgres::Client;

async fn plan(client: &Client, sql: &str) -> Vec<String> {
    rows(client, &format!("explain {sql}")).await.into_iter().filter_map(|mut row| row.remove(0)).collect()
}

/// The line with the shards and rounds of a statement that has run.
async fn spent(client: &Client, sql: &str) -> String {
    let lines = plan(client, &format!("analyze {sql}")).await;
    let found =
        lines.iter().find(|line| line.starts_with("Shards: ")).unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(lines.last().is_some_and(|line| line.starts_with("Execution Time: ")), "{lines:#?}");
    found.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_and_rounds_are_told_with_the_commit() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 0)").await;
    assert_eq!(spent(&c, "select 1").await, "Shards: 0  Consensus rounds: 0");
    assert_eq!(spent(&c, "select v from t where id = 1").await, "Shards: 1  Consensus rounds: 0");
    assert_eq!(spent(&c, "select count(*) from t").await, "Shards: 1  Consensus rounds: 0");
    for sql in [
        "update t set v = v + 1 where id = 1",
        "update t set v = v + 1",
        "insert into t values (2, 0)",
        "insert into t select 3, 0",
        "delete from t where id = 3",
    ] {
        assert_eq!(spent(&c, sql).await, "Shards: 1  Consensus rounds: 1", "{sql}");
    }
    assert_eq!(rows(&other, "select id, v from t order by id").await.len(), 2);
    assert_eq!(one(&other, "select v from t where id = 1").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_explained_among_others_is_committed_with_them() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int)").await;
    run(&c, "begin").await;
    let told = spent(&c, "insert into t values (1, 0)").await;
    assert_eq!(told, "Shards: 1  Consensus rounds: 0 (before the commit)");
    run(&c, "rollback").await;
    assert_eq!(fails(&c, "explain analyze insert into t values (1, 0); select 1/0").await, "22012");
    assert_eq!(one(&c, "select count(*) from t").await, "0");
    let rows = c.query("explain analyze insert into t values (2, 0)", &[]).await.unwrap();
    assert!(rows.iter().any(|row| row.get::<_, &str>(0).ends_with("(before the commit)")), "{rows:?}");
    assert_eq!(one(&c, "select count(*) from t").await, "1");
    // An error of the commit is the statement's.
    assert_eq!(fails(&c, "explain analyze insert into t values (2, 0)").await, "23505");
    assert_eq!(one(&c, "select 1").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_run_again_is_told_once() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key); insert into t values (0)").await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let client = node.connect().await;
        tasks.push(node.env.spawn("test.client", async move {
            for _ in 0..10 {
                let lines = plan(&client, "analyze insert into t select max(id) + 1 from t").await;
                let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
                assert_eq!((count("Insert on t"), count("Shards: "), count("Execution Time")), (1, 1, 1));
            }
        }));
    }
    for task in tasks {
        task.join().await.unwrap();
    }
    assert_eq!(one(&c, "select max(id) from t").await, "40");
}

/// Statements, each with its plan.
const PLANS: &str = "
select id from t where v + 1 > 5 and not (v = 3 or v is null)
  Full Scan on t
    Filter: (NOT (v = 3 OR (v IS NULL))) AND (v + 1) > 5
select id, v * 2 as double from t where id > 3 order by v desc, s limit 5 offset 2
  Limit: 5 Offset: 2
    ->  Sort: v DESC, s
          Limit: 7
          ->  Project: id, v * 2, v, s
                ->  Range Scan on t
                      Key: id > 3
select s, count(*), max(n) filter (where v > 3) from t group by s having count(*) > 2 order by 2 desc
  Sort: count(*) DESC
    ->  Filter: count(*) > 2
          ->  Aggregate: count(*), max(n) FILTER (WHERE v > 3)
                Group Key: s
                ->  Full Scan on t
select n, count(distinct v) from t group by n
  Aggregate: count(DISTINCT v)
    Group Key: n
    ->  Full Scan on t
select t.s, u.w from t left join u on t.v = u.t_id and t.id < u.id
  Hash Left Join
    Hash Cond: v = t_id
    Join Filter: id < id
    ->  Full Scan on t
    ->  Full Scan on u
          Keys from Join: t_id
select * from t, u where t.v < u.t_id
  Nested Loop Join
    Join Filter: v < t_id
    ->  Full Scan on t
    ->  Full Scan on u
select id from t where v in (select t_id from u)
  Filter: v IN (…)
    ->  Subquery: IN
          ->  Full Scan on t
  Note: a filter's subquery is answered first; its rows are then found by key where an index serves.
select id, sum(v) over (partition by s order by id), row_number() over (partition by s order by id) from t
  Project: id, sum(v) OVER (PARTITION BY s ORDER BY id), row_number() OVER (PARTITION BY s ORDER BY id)
    ->  Window: sum(v) OVER (PARTITION BY s ORDER BY id), row_number() OVER (PARTITION BY s ORDER BY id)
          ->  Sort: s, id
                ->  Full Scan on t
select upper(s), v::text, n::numeric(10,2) from t where at > '2020-01-01' and b = v and f <> 1.5
  Project: upper(s), v::text, n::numeric
    ->  Full Scan on t
          Filter: at > '2020-01-01 00:00:00+00' AND b = v AND f <> 1.5
select id from t where s like 'a%'
  Full Scan on t
    Filter: s ~~ 'a%'
select g from generate_series(1, 10) g where g % 2 = 0
  Filter: (generate_series % 2) = 0
    ->  Function Scan on generate_series
select * from t where id in (1, 2, 3) and v is not null
  Key Lookup on t
    Key: id = any of 3 values
    Spans: 3
    Filter: v IS NOT NULL
select count(*) from (select id, pg_try_advisory_lock(id) from t) z where id > 3
  Aggregate: count(*)
    ->  Project: id, pg_try_advisory_lock(id)
          ->  Range Scan on t
                Key: id > 3
update t set v = v + 1 where v > 3
  Update on t
    ->  Project: id, v, n, s, at, b, f, v + 1
          ->  Full Scan on t
                Filter: v > 3
                Lock: Exclusive
select v from t where id = 1
  Fast path (straight to the coordinator, when its keys are known):
  Key Lookup on t
    Key: id = 1
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_run_is_shown_with_its_subqueries_answered() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 5), (2, 6)").await;
    for inner in ["id in (select 2)", "id = any(array(select 2))", "id = (select 2)"] {
        let drawn = plan(&c, &format!("analyze select v from t where {inner}")).await;
        assert!(drawn[0].starts_with("Key Lookup on t (actual rows=1"), "{drawn:#?}");
        assert_eq!(drawn[1], "  Key: id = 2", "{drawn:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_read_like_sql() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(
        &c,
        "create table t (id int primary key, v int, n numeric, s text, at timestamptz, b bigint, f float8);
         create table u (id int primary key, t_id int, w text)",
    )
    .await;
    let mut expected: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in PLANS.lines().skip(1) {
        match (line.strip_prefix("  "), expected.last_mut()) {
            (Some(line), Some((_, plan))) => plan.push(line),
            _ => expected.push((line, vec![])),
        }
    }
    let mut wrong = Vec::new();
    for (sql, lines) in expected {
        let drawn = plan(&c, sql).await;
        if drawn != lines {
            wrong.push(format!("{sql}\n{}", drawn.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_orders_nulls_as_postgresql_does() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(
        &c,
        "create table due (id int primary key, state text, at int, since int);
         create index on due (state, at); create index on due (at, since desc)",
    )
    .await;
    for (query, sorts) in [
        ("select id from due where state = 'new' order by at limit 1", false),
        ("select id from due where state = 'new' order by at desc limit 1", false),
        ("select id from due where state = 'new' order by at nulls first limit 1", true),
        ("select id from due where at = 1 order by since desc limit 1", false),
        ("select id from due where at = 1 order by since limit 1", false),
        ("select id from due where at = 1 order by since desc nulls last limit 1", true),
        // Without a condition, too, if it has all columns or a few rows are wanted.
        ("select id from due order by at, since desc", false),
        ("select id from due where since % 2 = 0 order by at desc, since limit 7", false),
        ("select id from due order by at, since", true),
        ("select * from due order by at limit 10", false),
        ("select * from due order by at desc limit 10 offset 20", false),
        ("select * from due order by at limit 10000", true),
        ("select * from due order by at", true),
        ("select * from due where state > 'a' || since order by at limit 10", true),
        ("select * from due where at > 3 order by state limit 10", true),
    ] {
        let lines = plan(&c, query).await;
        assert_eq!(lines.iter().any(|line| line.contains("Sort")), sorts, "{query}: {lines:#?}");
    }
    let lines = plan(&c, "select id from due where state is null and at = 1").await;
    assert!(lines.iter().any(|line| line.trim() == "Key: state IS NULL AND at = 1"), "{lines:#?}");
}
