//! Rows found by a subquery's answer: only they are read and locked.

use crate::{
    session::{fails, one, rows, run},
    standin::Node,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_take_different_jobs() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table jobs (id int primary key, v int)").await;
    run(&c, "insert into jobs select g, 0 from generate_series(1, 20) g").await;
    let take = "delete from jobs where id = (select id from jobs order by id limit 1 for update skip locked) returning id";
    let mut workers = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..3 {
        let worker = node.connect().await;
        run(&worker, "set lock_timeout = '2s'; begin").await;
        let mut found: Vec<i32> =
            rows(&worker, take).await.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
        found.sort();
        taken.push(found);
        workers.push(worker);
    }
    assert_eq!(taken, [[1], [2], [3]]);
    for worker in &workers {
        run(worker, "commit").await;
    }
    assert_eq!(one(&c, "select min(id) from jobs").await, "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_take_several_jobs_each() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table jobs (id int primary key, v int)").await;
    let some = "select id from jobs order by id limit 3 for update skip locked";
    for take in [
        format!("delete from jobs where id in ({some}) returning id"),
        format!("delete from jobs where id = any(array({some})) returning id"),
        format!("update jobs set v = v + 1 where id in ({some}) returning id"),
    ] {
        run(&c, "insert into jobs select g, 0 from generate_series(1, 20) g on conflict do nothing").await;
        let mut workers = Vec::new();
        let mut taken = Vec::new();
        for _ in 0..3 {
            let worker = node.connect().await;
            run(&worker, "set lock_timeout = '2s'; begin").await;
            let mut found: Vec<i32> = rows(&worker, &take)
                .await
                .iter()
                .map(|row| row[0].as_ref().unwrap().parse().unwrap())
                .collect();
            found.sort();
            taken.push(found);
            workers.push(worker);
        }
        assert_eq!(taken, [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "{take}");
        // Each commits, whatever the others have done to the rows that it skipped.
        for worker in &workers {
            run(worker, "commit").await;
        }
    }
    assert_eq!(one(&c, "select count(*) from jobs where v = 1").await, "9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subquery_names_is_all_that_is_locked() {
    let node = Node::start().await;
    let (c, holder) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key, v int, w int); create index on t (w)").await;
    run(&c, "insert into t values (1, 0, 10), (7, 0, 70), (8, 0, null)").await;
    run(&holder, "begin; update t set v = 9 where id = 1").await;
    run(&c, "set lock_timeout = '2s'").await;
    for sql in [
        "update t set v = v + 1 where id = (select 7)",
        "update t set v = v + 1 where id in (select 7 union all select null)",
        "update t set v = v + 1 where id = (select max(id) from t)",
        "update t set v = v + 1 where w in (select w from t where id = 7) and v < (select 100)",
        "update t set v = v + 1 where id = (select id from t where false)",
        "update t set v = v + 1 where id in (select id from t where id > 100)",
        "delete from t where id = (select 8) and v = (select 0)",
    ] {
        run(&c, sql).await;
    }
    assert_eq!(one(&c, "select id from t where id = (select 7) for update").await, "7");
    assert_eq!(fails(&c, "update t set v = 1 where id = (select id from t)").await, "21000");
    assert_eq!(
        fails(&c, "update t set v = 1 where id not in (select 7)").await,
        "55P03",
        "the others are meant"
    );
    run(&holder, "rollback").await;
    assert_eq!(one(&c, "select string_agg(id || ':' || v, ' ' order by id) from t").await, "1:0 7:3 8:1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_transaction_held_is_free_when_it_has_ended() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key); insert into t select generate_series(1, 10)").await;
    for end in ["rollback", "commit"] {
        for _ in 0..100 {
            run(&c, "begin; select * from t for update").await;
            run(&c, end).await;
            assert_eq!(
                one(&c, "select count(*) from (select * from t for update skip locked) t").await,
                "10"
            );
            assert_eq!(
                one(&other, "select count(*) from (select * from t for update skip locked) t").await,
                "10"
            );
        }
    }
}
