//! Waits for locks end: by the holder, by a timeout, by a cancel request; the SQLSTATE says which.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::time::Duration;
use support::{Demo, pause, raw};
use tokio_postgres::{NoTls, error::SqlState};

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
    waiter.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
    let error = waiter.batch_execute(update).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    waiter.batch_execute("SET lock_timeout = 0; SET statement_timeout = '300ms'").await.unwrap();
    let error = waiter.batch_execute(update).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));

    waiter.batch_execute("SET statement_timeout = 0").await.unwrap();
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
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 6)")
        .await
        .unwrap();
    clients[0].batch_execute("ALTER TABLE t SPLIT AT VALUES (3), (5); ALTER TABLE t SCATTER").await.unwrap();
    for round in 0..90 {
        let (holder, next) = (&clients[round % 3], &clients[round / 3 % 3]);
        let end = if round % 2 == 0 { "ROLLBACK" } else { "COMMIT" };
        holder.batch_execute("BEGIN; SELECT * FROM t FOR UPDATE").await.unwrap();
        holder.batch_execute(end).await.unwrap();
        let free = next.query("SELECT id FROM t FOR UPDATE SKIP LOCKED", &[]).await.unwrap();
        assert_eq!(free.len(), 6, "round {round}, after {end}");
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

/// Rows 1 and 3 are held, row 2 is not.
async fn held(client: &tokio_postgres::Client) {
    for id in [1, 3] {
        let error = client.query(&format!("SELECT * FROM t WHERE id = {id} FOR UPDATE NOWAIT"), &[]).await;
        let error = error.expect_err("it is held");
        assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "row {id}: {error:?}");
    }
    client.query("SELECT * FROM t WHERE id = 2 FOR UPDATE NOWAIT", &[]).await.expect("it is free");
}
