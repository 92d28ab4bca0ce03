//! Waits for locks end: by the holder, by a timeout, by a cancel request; the SQLSTATE says which.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::time::Duration;
use support::{Demo, pause, raw};
use tokio_postgres::{Client, NoTls, error::SqlState};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_locks_end() {
    let demo = Demo::start();
    let (holder, waiter) = (demo.client(1).await, demo.client(2).await);
    holder
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)")
        .await
        .unwrap();
    holder.batch_execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1").await.unwrap();

    let update = "UPDATE t SET v = v + 10 WHERE id = 1";
    for statement in [update, "TRUNCATE t"] {
        waiter.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
        let error = waiter.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{statement}");
        waiter.batch_execute("SET lock_timeout = 0; SET statement_timeout = '300ms'").await.unwrap();
        let error = waiter.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{statement}");
        waiter.batch_execute("SET statement_timeout = 0").await.unwrap();
    }

    let token = waiter.cancel_token();
    let waiting = tokio::spawn(async move { (waiter.batch_execute(update).await, waiter) });
    pause(Duration::from_millis(300)).await;
    token.cancel_query(NoTls).await.unwrap();
    let (cancelled, waiter) = waiting.await.unwrap();
    assert_eq!(cancelled.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));

    let waiting = tokio::spawn(async move { waiter.batch_execute(update).await });
    pause(Duration::from_millis(300)).await;
    holder.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    let v: i32 = holder.query_one("SELECT v FROM t WHERE id = 1", &[]).await.unwrap().get(0);
    assert_eq!(v, 11);
}

/// A driver behind a balancer reaches any node with its cancel request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_request_that_comes_to_another_node_is_passed_on() {
    let demo = Demo::start();
    let (holder, mut waiter) = (demo.client(1).await, raw::Session::open(demo.sql_port(2)).await);
    holder
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)")
        .await
        .unwrap();
    let update = "UPDATE t SET v = v + 1 WHERE id = 1";
    let (pid, secret) = (waiter.pid, waiter.secret);

    holder.batch_execute(&format!("BEGIN; {update}")).await.unwrap();
    waiter.send(update).await;
    pause(Duration::from_millis(500)).await;
    raw::cancel(demo.sql_port(3), pid, secret.wrapping_add(1)).await;
    raw::cancel(demo.sql_port(3), pid.wrapping_add(1), secret).await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiter.outcome().await, None, "somebody else's request has ended the statement");

    holder.batch_execute(&format!("BEGIN; {update}")).await.unwrap();
    waiter.send(update).await;
    let port = demo.sql_port(3);
    // One that comes before the statement has begun is for nothing.
    let asking = tokio::spawn(async move {
        for _ in 0..50 {
            pause(Duration::from_millis(200)).await;
            raw::cancel(port, pid, secret).await;
        }
    });
    let outcome = tokio::time::timeout(Duration::from_secs(10), waiter.outcome()).await;
    asking.abort();
    assert_eq!(outcome.expect("the statement goes on").as_deref(), Some("57014"));
    holder.batch_execute("COMMIT").await.unwrap();
    let v: i32 = holder.query_one("SELECT v FROM t WHERE id = 1", &[]).await.unwrap().get(0);
    assert_eq!(v, 3);
    demo.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_transaction_held_is_free_when_it_has_ended() {
    let demo = Demo::start();
    let clients = [demo.client(1).await, demo.client(2).await, demo.client(3).await];
    clients[0]
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT generate_series(1, 6), 0",
        )
        .await
        .unwrap();
    clients[0].batch_execute("ALTER TABLE t SPLIT AT VALUES (3), (5); ALTER TABLE t SCATTER").await.unwrap();
    // Commits over several shards are acknowledged before their intents are resolved.
    let works = [
        "SELECT * FROM t FOR UPDATE",
        "UPDATE t SET v = v + 1 WHERE id % 2 = 1",
        "DELETE FROM t WHERE id IN (1, 3); INSERT INTO t VALUES (3, 0), (1, 0)",
        "SELECT * FROM t WHERE id < 3 FOR UPDATE; UPDATE t SET v = v + 1 WHERE id IN (3, 5)",
    ];
    let asked = [
        "SELECT id FROM t FOR UPDATE SKIP LOCKED",
        "SELECT id FROM t ORDER BY v, id FOR UPDATE SKIP LOCKED",
        "SELECT id FROM t FOR UPDATE NOWAIT",
        "SELECT id FROM t WHERE id IN (1, 2, 3, 4, 5, 6) FOR UPDATE NOWAIT",
    ];
    for round in 0..240 {
        let (holder, next) = (&clients[round % 3], &clients[round / 3 % 3]);
        let (work, ask) = (works[round / 9 % 4], asked[round / 36 % 4]);
        let end = if round % 2 == 0 { "ROLLBACK" } else { "COMMIT" };
        holder.batch_execute(&format!("BEGIN; {work}")).await.unwrap();
        holder.batch_execute(end).await.unwrap();
        let free = next.query(ask, &[]).await;
        let free =
            free.unwrap_or_else(|error| panic!("round {round}, {ask} after {work} and {end}: {error:?}"));
        assert_eq!(free.len(), 6, "round {round}, {ask} after {work} and {end}");
    }
}

/// There are two strengths: the weaker ones of PostgreSQL exclude as much as the next stronger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_locks_have_two_strengths() {
    let demo = Demo::start();
    let (holder, other) = (demo.client(1).await, demo.client(2).await);
    holder.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let strengths = ["KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"];
    for (held, one) in strengths.iter().enumerate() {
        holder.batch_execute(&format!("BEGIN; SELECT * FROM t FOR {one}")).await.unwrap();
        for (asked, two) in strengths.iter().enumerate() {
            let answer = other.query(&format!("SELECT * FROM t FOR {two} NOWAIT"), &[]).await;
            let refused = answer.map_err(|error| error.code().cloned()).err();
            let expected = (held >= 2 || asked >= 2).then_some(Some(SqlState::LOCK_NOT_AVAILABLE));
            assert_eq!(refused, expected, "{two} beside {one}");
        }
        holder.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// What a session has asked for is its own while shards change their leaders and split.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_go_along_with_hand_overs_and_splits() {
    let demo = Demo::start();
    let (holder, waiter, other) = (demo.client(1).await, demo.client(2).await, demo.client(3).await);
    holder
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)",
        )
        .await
        .unwrap();
    demo.lead("t", 1).await;
    for (level, share) in
        [("SERIALIZABLE", "UPDATE"), ("REPEATABLE READ", "SHARE"), ("READ COMMITTED", "UPDATE")]
    {
        holder.batch_execute("UPDATE t SET v = 0").await.unwrap();
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT * FROM t WHERE id IN (1, 3) FOR {share}");
        holder.batch_execute(&begin).await.unwrap();
        let waiting = async { waiter.batch_execute("UPDATE t SET v = v + 10 WHERE id = 3").await };
        let moving = async {
            for node in [2, 3, 1] {
                demo.lead("t", node).await;
                held(&other).await;
            }
            // Once: the halves stay halves.
            if level == "SERIALIZABLE" {
                other.batch_execute("ALTER TABLE t SPLIT AT VALUES (2)").await.unwrap();
                held(&other).await;
                demo.lead("t", 2).await;
                held(&other).await;
            }
            holder.batch_execute("UPDATE t SET v = v + 1 WHERE id IN (1, 3)").await.unwrap();
            holder.batch_execute("COMMIT").await.unwrap_or_else(|error| panic!("{level}: {error:?}"));
        };
        let (waited, ()) = tokio::join!(waiting, moving);
        waited.unwrap_or_else(|error| panic!("{level}: {error:?}"));
        let rows = other.query("SELECT v FROM t ORDER BY id", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 0, 11], "{level}");
    }
    demo.assert_healthy().await;
}

/// So are they while shards are merged and divided over and over; and an advisory lock, in the same session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_go_along_with_merges() {
    let demo = Demo::start();
    let (holder, waiter, other) = (demo.client(1).await, demo.client(2).await, demo.client(3).await);
    holder
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0), (3, 0);
             ALTER TABLE t SPLIT AT VALUES (2), (3); SELECT pg_advisory_lock(7)",
        )
        .await
        .unwrap();
    // On a machine that is busy a leader may be late, so that another one is elected, which has no locks.
    let (mut kept, mut lost, mut late) = (0, 0, 0);
    while kept < 3 {
        let begin = "BEGIN; SELECT * FROM t WHERE id IN (1, 3) FOR UPDATE";
        holder.batch_execute(begin).await.unwrap();
        let waiting = async { waiter.batch_execute("UPDATE t SET v = v + 10 WHERE id = 3").await };
        let merging = merged_under(&demo, &holder, &other, kept + late);
        let (waited, (held, committed)) = tokio::join!(waiting, merging);
        waited.unwrap_or_else(|error| panic!("after {kept} rounds: {error:?}"));
        if held && committed {
            kept += 1
        } else {
            late += 1
        }
        lost += i32::from(!committed);
        assert!(late < 3, "the locks are lost");
        let rows = other.query("SELECT v FROM t ORDER BY id", &[]).await.unwrap();
        let values: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let done = kept + late - lost;
        assert_eq!(values, [done, 0, 11 * done + 10 * lost]);
    }
    demo.assert_healthy().await;
}

/// Merges all shards and divides them again while `holder` holds locks, and has it change what it has locked. Whether the locks
/// were there all the time, and whether it committed; if not, it was told that they were lost.
async fn merged_under(demo: &Demo, holder: &Client, other: &Client, round: i32) -> (bool, bool) {
    // The right one is led elsewhere than the left.
    let shards = other.query("SHOW SHARDS FROM TABLE t", &[]).await.unwrap();
    let last = shards.last().unwrap().get::<_, i64>("shard_id").to_string();
    let node = ((round + 1) % 3 + 1).to_string();
    demo.quorate(&["shard", "transfer-leader", &last, "--to", &node, "--host", &demo.rpc(1)]);
    let mut kept = true;
    for change in ["UNSPLIT AT VALUES (3)", "UNSPLIT ALL", "SPLIT AT VALUES (3), (2)"] {
        other.batch_execute(&format!("ALTER TABLE t {change}")).await.unwrap();
        kept &= are_held(other).await;
    }
    let free: bool = other.query_one("SELECT pg_try_advisory_lock(7)", &[]).await.unwrap().get(0);
    assert!(!free, "the advisory lock is lost in round {round}");
    holder.batch_execute("UPDATE t SET v = v + 1 WHERE id IN (1, 3)").await.unwrap();
    let Err(error) = holder.batch_execute("COMMIT").await else { return (kept, true) };
    let told = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
    assert!(told.contains("The lock was lost"), "{error:?}");
    (kept, false)
}

async fn held(client: &Client) {
    assert!(are_held(client).await, "rows 1 and 3 are held");
}

/// Rows 1 and 3; row 2 is not.
async fn are_held(client: &Client) -> bool {
    let mut held = true;
    for id in [1, 3] {
        let asked = format!("SELECT * FROM t WHERE id = {id} FOR UPDATE NOWAIT");
        match client.query(&asked, &[]).await {
            Ok(_) => held = false,
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "row {id}: {error:?}")
            }
        }
    }
    client.query("SELECT * FROM t WHERE id = 2 FOR UPDATE NOWAIT", &[]).await.expect("it is free");
    held
}

/// Two gateways and two shards: the one that gives way is told of both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_row_locks_is_told_with_rows_transactions_and_sessions() {
    let demo = Demo::start();
    let (a, b) = (demo.client(1).await, demo.client(2).await);
    a.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (9, 0)")
        .await
        .unwrap();
    for split in ["", "ALTER TABLE t SPLIT AT VALUES (5); ALTER TABLE t SCATTER"] {
        a.batch_execute(split).await.unwrap();
        a.batch_execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1").await.unwrap();
        b.batch_execute("BEGIN; UPDATE t SET v = 2 WHERE id = 9").await.unwrap();
        let (first, second) = (party(&a).await, party(&b).await);
        let (won, lost) =
            tokio::join!(async { a.batch_execute("UPDATE t SET v = 1 WHERE id = 9").await }, async {
                let lost = b.batch_execute("UPDATE t SET v = 2 WHERE id = 1").await;
                b.batch_execute("ROLLBACK").await.unwrap();
                lost
            },);
        won.unwrap();
        a.batch_execute("COMMIT").await.unwrap();
        let error = lost.expect_err("the younger one gives way");
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::T_R_DEADLOCK_DETECTED, "{error:?}");
        let line = |who: &str, id: u8, by: &str| {
            let row = format!("key (id)=({id}) of index \"t_pkey\" of table public.t");
            format!("T{} waits for the lock on {row}; blocked by {by}.", &who[1..])
        };
        let detail = error.detail().unwrap();
        let expected = [line(&second, 1, &first), line(&first, 9, &second)].join("\n");
        assert!(detail.starts_with(&expected), "{detail}\nand not\n{expected}");
        assert!(detail.ends_with("on node 2 runs: UPDATE t SET v = 2 WHERE id = 1"), "{detail}");
        assert!(error.hint().is_some_and(|hint| hint.contains("lock rows")), "{error:?}");
    }
    who_changed_a_row_is_told_in_each_shard(&demo).await;
    demo.assert_healthy().await;
}

/// Also where the writer's record is not: there its intent became a version, which does not tell who wrote it.
async fn who_changed_a_row_is_told_in_each_shard(demo: &Demo) {
    let (reader, writer) = (demo.client(1).await, demo.client(3).await);
    for level in ["SERIALIZABLE", "REPEATABLE READ"] {
        for id in [1, 9] {
            let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT * FROM t WHERE id = {id}");
            reader.batch_execute(&begin).await.unwrap();
            writer.batch_execute("BEGIN; UPDATE t SET v = v + 1").await.unwrap();
            let by = party(&writer).await;
            writer.batch_execute("COMMIT").await.unwrap();
            let update = format!("UPDATE t SET v = 0 WHERE id = {id}");
            let error = reader.batch_execute(&update).await.expect_err("the row has changed");
            assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{level}: {error:?}");
            let detail = error.as_db_error().unwrap().detail().unwrap();
            let (by, _) = by.split_once(" (").unwrap();
            assert!(detail.contains(&format!("(id)=({id}) ")), "{level}: {detail}");
            assert!(detail.contains(&format!(" was changed by {by} at ")), "{level}: {detail} and not {by}");
            reader.batch_execute("ROLLBACK").await.unwrap();
        }
    }
}

/// The open transaction of this session, as errors name it.
async fn party(client: &Client) -> String {
    let sql = "SELECT transaction_id, pid, node_id FROM quorate.transactions WHERE pid = pg_backend_pid()";
    let row = client.query_one(sql, &[]).await.unwrap();
    let (id, pid, node): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
    format!("transaction {id} (session {pid} on node {node})")
}
