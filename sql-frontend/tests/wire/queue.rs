//! Rows found by a subquery's answer: only they are read and locked.

use crate::{
    session::{fails, one, rows, run},
    standin::Node,
};
use std::sync::atomic::Ordering;

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

/// Workers that begin with `take`, which gives ids, find these in turn, and each commits.
async fn shared_out(node: &Node, level: &str, take: &str, expected: &[&[i32]]) {
    let mut workers = Vec::new();
    for expected in expected {
        let worker = node.connect().await;
        run(&worker, &format!("set lock_timeout = '2s'; begin isolation level {level}")).await;
        let found = rows(&worker, take).await;
        let found: Vec<i32> = found.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
        assert_eq!(found, *expected, "{level}: {take}");
        workers.push(worker);
    }
    for worker in &workers {
        run(worker, "commit").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_an_order_and_a_limit_leave_is_locked() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table jobs (id int primary key, queue int, due int, state text default 'new', v int default 0)")
        .await;
    run(&c, "create index on jobs (state)").await;
    run(&c, "create table queues (id int primary key, open bool)").await;
    run(&c, "insert into queues values (1, true), (2, false)").await;
    // The first are due last; every third belongs to a queue that is closed.
    run(&c, "insert into jobs select g, 1 + (g % 3 = 0)::int, 100 - g from generate_series(1, 20) g").await;
    let first = [&[20][..], &[19], &[17]];
    for level in ["read committed", "repeatable read", "serializable"] {
        let all = [&[20][..], &[19], &[18]];
        for take in [
            "select id from jobs where state = 'new' order by due limit 1 for update skip locked",
            "select id, due - id from jobs order by 2 limit 1 for update skip locked",
            "with j as (select id from jobs where state = 'new' order by due limit 1 for update skip locked) \
             select id from j",
            "select id from (select id from jobs order by due limit 1 for update skip locked) j",
            "select id from (select * from jobs where state = 'new') j order by due limit 1 for update skip locked",
            "select j.id from (select id, due * 2 as twice from jobs) j join (select id from jobs) k on k.id = j.id \
             order by twice limit 1 for update of j skip locked",
            "update jobs set v = v + 1 where id = \
             (select id from jobs where v < 100 order by due limit 1 for update skip locked) returning id",
            "with j as (select id from jobs where v < 100 order by due limit 1 for update skip locked) \
             update jobs set v = v + 1 from j where jobs.id = j.id returning jobs.id",
            "select id from jobs order by (select max(open::int) from queues) * due limit 1 for update skip locked",
            "select id, (select open from queues q where q.id = jobs.queue) from jobs order by due limit 1 \
             for update skip locked",
        ] {
            shared_out(&node, level, take, &all).await;
        }
        for take in [
            "select j.id from jobs j join queues q on q.id = j.queue where q.open order by due limit 1 \
             for update of j skip locked",
            "select id from jobs j where exists (select from queues q where q.id = j.queue and open) \
             order by due limit 1 for update skip locked",
            "select id from jobs where queue in (select id from queues where open) order by due limit 1 \
             for update skip locked",
            "select j.id from queues q, lateral (select * from jobs where queue = q.id order by due limit 1 \
             for update skip locked) j where q.open",
            "select id from jobs where queue = 1 and state = 'new' order by id desc limit 1 for update skip locked",
        ] {
            shared_out(&node, level, take, &first).await;
        }
        shared_out(
            &node,
            level,
            "select id from jobs order by due offset 1 limit 2 for update skip locked",
            &[&[19, 18], &[16, 15], &[13, 12]],
        )
        .await;
    }
}

/// What is done with locked rows later neither takes nor gives locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_above_locks_is_none_of_their_business() {
    let node = Node::start().await;
    let (c, holder) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key, v int); insert into t select g, 10 - g from generate_series(1, 6) g")
        .await;
    for (take, rows_expected, free_expected) in [
        ("select id from (select * from t order by id limit 2 for update) j order by v", "2,1", "3,4,5,6"),
        (
            "with j as (select * from t order by id limit 2 for update) select id from j order by v",
            "2,1",
            "3,4,5,6",
        ),
        (
            "select id from (select * from t order by v limit 2 offset 1 for update) j order by id",
            "4,5",
            "1,2,3",
        ),
        ("with j as (select * from t order by id for update) select id from j where v > 7", "1,2", ""),
        (
            "select id from (select * from t order by id limit 1 for update) j union all \
             select id from (select * from t order by v limit 1 for update) k order by 1 desc",
            "6,1",
            "2,3,4,5",
        ),
    ] {
        run(&holder, "begin").await;
        let found: Vec<String> =
            rows(&holder, take).await.into_iter().map(|row| row[0].clone().unwrap()).collect();
        assert_eq!(found.join(","), rows_expected, "{take}");
        let free = "select coalesce(string_agg(id::text, ',' order by id), '') \
                    from (select id from t for update skip locked) t";
        assert_eq!(one(&c, free).await, free_expected, "{take}");
        run(&holder, "rollback").await;
    }
    let twice =
        "with j as (select id from t limit 1 for update) select (select id from j), (select id from j)";
    assert_eq!(fails(&c, twice).await, "0A000", "each reference would lock anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_conditions_turn_away_is_not_locked() {
    let node = Node::start().await;
    let (c, holder) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key, v int, w int)").await;
    run(&c, "create table u (id int primary key, d int)").await;
    run(&c, "insert into t select g, g * 10, g % 2 from generate_series(1, 6) g").await;
    run(&c, "insert into u values (1, 1), (2, 2), (7, 7)").await;
    run(&c, "set lock_timeout = '2s'").await;
    for take in [
        "select * from t where w = 1 and v < 30 for update",
        "select * from t join u on t.id = u.id where d = 1 for update",
        "select * from t left join u on t.id = u.id where t.id = 1 for update",
        "select * from t where v = (select min(v) from t) for update",
        "select * from t where id = 1 and v in (select d * 10 from u) for update",
        "update t set v = v from u where t.id = u.id and u.d = 1",
        "delete from t where exists (select from u where u.id = t.id and d = 1)",
        "delete from t using u where u.id = t.id and d = 1",
    ] {
        run(&holder, "begin").await;
        run(&holder, take).await;
        let free =
            "select string_agg(id::text, ',' order by id) from (select id from t for update skip locked) t";
        assert_eq!(one(&c, free).await, "2,3,4,5,6", "{take}");
        let tables = if take.starts_with("select * from t join") || take.contains("left join") {
            "2,7"
        } else {
            "1,2,7"
        };
        let free =
            "select string_agg(id::text, ',' order by id) from (select id from u for update skip locked) t";
        assert_eq!(one(&c, free).await, tables, "{take}");
        run(&holder, "rollback").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locking_clauses_mean_something_or_are_refused() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int)").await;
    for (sql, state) in [
        ("select * from t for update of u", "42P01"),
        ("select * from generate_series(1, 2) g for update of g", "0A000"),
        ("with c as (select * from t) select * from c for update of c", "0A000"),
        ("select count(*) from t for update", "0A000"),
        ("select * from (select count(*) from t) s for update", "0A000"),
        ("select row_number() over () from t for update", "0A000"),
        ("select generate_series(1, 2) from t for update", "0A000"),
        ("select distinct v from t for update", "0A000"),
        ("select v from t union select v from t for update", "0A000"),
    ] {
        assert_eq!(fails(&c, sql).await, state, "{sql}");
    }
    run(&c, "create table u (id int primary key, v int)").await;
    for sql in ["for update of public.t", "for update of u, public.t", "for update of t,", "for update of"] {
        assert_eq!(fails(&c, &format!("select * from t, u {sql}")).await, "42601", "{sql}");
    }
    // Only what stands in FROM is meant.
    run(&c, "select * from t where v = (select max(v) from t) for update").await;
    run(&c, "with c as (select count(*) from t) select * from t, c for update").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_taken_from_a_queue_without_reading_the_queue() {
    let node = Node::start().await;
    let c = node.connect().await;
    // Of these types, some have values that are equal and not the same.
    for (ty, new, done) in [("text", "new", "done"), ("char(4)", "new", "done"), ("numeric", "1", "2")] {
        run(&c, &format!("create table jobs (id int primary key, state {ty}, prio int not null)")).await;
        run(&c, "create index on jobs (state, prio)").await;
        let state = format!("(case g % 10 when 0 then '{done}' else '{new}' end)::{ty}");
        run(&c, &format!("insert into jobs select g, {state}, 3000 - g from generate_series(1, 3000) g"))
            .await;
        for lock in ["", " for update skip locked"] {
            let take =
                format!("select id, state from jobs where state = '{new}' order by prio limit 3{lock}");
            let lines = rows(&c, &format!("explain analyze {take}")).await;
            let lines: Vec<String> = lines.into_iter().filter_map(|mut row| row.remove(0)).collect();
            assert!(!lines.iter().any(|line| line.contains("Sort")), "{lines:#?}");
            let read = lines.iter().find_map(|line| line.split("rows read=").nth(1)?.split(' ').next());
            let read: usize = read.and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
            assert!(read <= 64, "{lines:#?}");
            let found: Vec<_> =
                rows(&c, &take).await.into_iter().filter_map(|mut row| row.remove(0)).collect();
            assert_eq!(found, ["2999", "2998", "2997"], "{ty}{lock}");
        }
        run(&c, "drop table jobs").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locking_clause_names_several_tables() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    for table in ["a", "b", "c"] {
        run(&c, &format!("create table {table} (id int primary key); insert into {table} values (1), (2)"))
            .await;
    }
    for (clause, free) in [
        ("for update of a, b", "0 0 1"),
        ("for update of a , c skip locked", "0 1 0"),
        ("for update of \"a\",b nowait for update of c", "0 0 0"),
    ] {
        run(&c, "begin").await;
        let found =
            one(&c, &format!("select a.id from a, b, c where a.id = 1 and b.id = 1 and c.id = 1 {clause}"))
                .await;
        assert_eq!(found, "1", "{clause}");
        let mut free_now = Vec::new();
        for table in ["a", "b", "c"] {
            let sql = format!("select id from {table} where id = 1 for update skip locked");
            free_now.push(rows(&other, &sql).await.len().to_string());
        }
        assert_eq!(free_now.join(" "), free, "{clause}");
        run(&c, "rollback").await;
    }
}

/// What a statement asks for is held or refused; what it locks by itself goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_that_there_is_no_room_for_are_refused() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table jobs (id int primary key, v int)").await;
    run(&c, "insert into jobs select g, 0 from generate_series(1, 20) g").await;
    node.shard.full.store(true, Ordering::SeqCst);
    for rows in ["where id = 1", "where id in (1, 2)", "where v = 0 order by id desc limit 3", ""] {
        for lock in ["update", "no key update", "share", "key share"] {
            for wait in ["", "nowait", "skip locked"] {
                let sql = format!("select id from jobs {rows} for {lock} {wait}");
                assert_eq!(fails(&c, &sql).await, "53200", "{sql}");
            }
        }
    }
    let some = "select id from jobs order by id limit 3 for update skip locked";
    assert_eq!(fails(&c, &format!("delete from jobs where id in ({some})")).await, "53200");
    // A savepoint saves the rest of the transaction.
    run(&c, "begin; update jobs set v = 1 where id = 1; savepoint s").await;
    assert_eq!(fails(&c, "select v from jobs where id = 2 for update").await, "53200");
    run(&c, "rollback to s; update jobs set v = 2 where v = 0; delete from jobs where id > 10; commit").await;
    run(&c, "insert into jobs values (1, 0) on conflict (id) do update set v = 3").await;
    assert_eq!(one(&c, "select string_agg(v::text, '' order by id) from jobs").await, "3222222222");
}
