//! The scripts of several sessions over a real cluster, each session at another gateway.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

#[path = "../../sql-frontend/tests/wire/sessions.rs"]
mod sessions;
mod support;

use sessions::{Stage, play, scripts};
use std::time::Duration;
use support::{Demo, pause};
use tokio_postgres::{Client, error::SqlState};

impl Stage for Demo {
    async fn connect(&self, session: usize) -> Client {
        self.client((session as u16 - 1) % 3 + 1).await
    }

    /// Nobody tells who waits. What does not wait yet would see more than the script says, and fail it.
    async fn until_waiting(&self, _: usize) {
        pause(Duration::from_millis(400)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_level_shows_what_it_may_at_mixed_gateways() {
    let demo = Demo::start();
    let mut wrong = Vec::new();
    for path in &scripts(concat!(env!("CARGO_MANIFEST_DIR"), "/../sql-frontend/testdata/isolation")) {
        wrong.extend(play(path, &demo, false).await);
    }
    assert!(wrong.is_empty(), "{} scripts differ:\n{}", wrong.len(), wrong.join("\n"));
    contention_is_no_error_under_read_committed(&demo).await;
    a_deadlock_behind_a_savepoint_ends_with_it(&demo).await;
    a_lock_that_is_lost_costs_its_transaction(&demo).await;
    demo.assert_healthy().await;
}

/// Everybody changes the same rows, in transactions whose results the client sees on the way, so that the server can run
/// none of them again: nobody gets an error, and nothing is lost.
async fn contention_is_no_error_under_read_committed(demo: &Demo) {
    const CLIENTS: i64 = 6;
    const ROUNDS: i64 = 20;
    let client = demo.client(1).await;
    let tables = "CREATE TABLE hot (id int PRIMARY KEY, k int, v bigint);
        CREATE INDEX ON hot (k);
        INSERT INTO hot SELECT i, 1, 0 FROM generate_series(1, 4) i;
        ALTER TABLE hot SPLIT AT VALUES (2), (3)";
    client.batch_execute(tables).await.unwrap();
    let clients = (0..CLIENTS).map(|i| async move {
        let client = demo.client(i as u16 % 3 + 1).await;
        for _ in 0..ROUNDS {
            for sql in [
                "BEGIN ISOLATION LEVEL READ COMMITTED",
                "SELECT sum(v) FROM hot",
                "UPDATE hot SET v = v + 1 WHERE id = 1",
                "UPDATE hot SET v = v + 1 WHERE k = 1 AND id = 2",
                "SELECT v FROM hot WHERE id = 3 FOR UPDATE",
                "UPDATE hot SET v = v + 1 WHERE id IN (3, 4)",
                "COMMIT",
            ] {
                client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
        }
    });
    futures::future::join_all(clients).await;
    for row in client.query("SELECT v FROM hot", &[]).await.unwrap() {
        assert_eq!(row.get::<_, i64>(0), CLIENTS * ROUNDS);
    }
}

/// The younger of two in a circle, over two shards, gives way. The other one goes on while it does so itself from its savepoint.
async fn a_deadlock_behind_a_savepoint_ends_with_it(demo: &Demo) {
    let (older, younger) = (demo.client(1).await, demo.client(2).await);
    let tables =
        "CREATE TABLE pair (id int PRIMARY KEY, v int); INSERT INTO pair VALUES (1, 0), (2, 0), (3, 0);
        ALTER TABLE pair SPLIT AT VALUES (2), (3)";
    older.batch_execute(tables).await.unwrap();
    for level in ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"] {
        let change = |id: i32| format!("UPDATE pair SET v = v + 1 WHERE id = {id}");
        older.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; {}", change(1))).await.unwrap();
        let begin = format!("BEGIN ISOLATION LEVEL {level}; {}; SAVEPOINT s; {}", change(3), change(2));
        younger.batch_execute(&begin).await.unwrap();
        let (waits, closes) = (change(2), change(1));
        let closing = async {
            pause(Duration::from_millis(400)).await;
            younger.batch_execute(&closes).await
        };
        let (waited, closed) = tokio::join!(older.batch_execute(&waits), closing);
        waited.unwrap_or_else(|error| panic!("{level}: {error:?}"));
        assert_eq!(closed.unwrap_err().code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{level}");
        younger.batch_execute("ROLLBACK TO s; COMMIT").await.unwrap();
        older.batch_execute("COMMIT").await.unwrap();
    }
    let rows = older.query("SELECT v FROM pair", &[]).await.unwrap();
    assert!(rows.iter().all(|row| row.get::<_, i32>(0) == 3), "{rows:?}");
}

/// The node that knew of a lock dies, and somebody else changes the row: the commit finds that out.
async fn a_lock_that_is_lost_costs_its_transaction(demo: &Demo) {
    let (one, two) = (demo.client(1).await, demo.client(2).await);
    one.batch_execute("CREATE TABLE held (id int PRIMARY KEY, v int); INSERT INTO held VALUES (1, 0)")
        .await
        .unwrap();
    let mut expected = 0;
    for level in ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"] {
        demo.lead("held", 3).await;
        let lock = format!("BEGIN ISOLATION LEVEL {level}; SELECT v FROM held WHERE id = 1 FOR UPDATE");
        one.batch_execute(&lock).await.unwrap();
        demo.kill(3);
        two.batch_execute("SET lock_timeout = '3s'").await.unwrap();
        let lost = changed(&two).await;
        let end = match one.batch_execute("UPDATE held SET v = v + 1 WHERE id = 1").await {
            Ok(()) => one.batch_execute("COMMIT").await,
            Err(error) => {
                one.batch_execute("ROLLBACK").await.unwrap();
                Err(error)
            }
        };
        match end {
            Ok(()) => assert!(!lost, "{level}: the row was changed under the lock"),
            Err(error) => {
                assert!(lost, "{level}: {error:?}");
                assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{level}");
                let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
                assert!(detail.contains("The lock was lost, and transaction "), "{level}: {error:?}");
            }
        }
        expected += if lost { 10 } else { 1 };
        let v: i32 = two.query_one("SELECT v FROM held WHERE id = 1", &[]).await.unwrap().get(0);
        assert_eq!(v, expected, "{level}");
        demo.up();
    }
}

/// Whether the row could be changed, which is told when somebody leads again.
async fn changed(client: &Client) -> bool {
    for _ in 0..100 {
        match client.batch_execute("UPDATE held SET v = v + 10 WHERE id = 1").await {
            Ok(()) => return true,
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => return false,
            Err(_) => pause(Duration::from_millis(100)).await,
        }
    }
    panic!("nobody leads");
}
