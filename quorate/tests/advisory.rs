//! Advisory locks over real processes: they exclude across gateways, stay with leaders that come and go, and fall with the node
//! whose session holds them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

#[path = "../../sql-frontend/tests/wire/sessions.rs"]
mod sessions;
mod support;

use sessions::{Stage, play, scripts};
use std::{process::Command, time::Duration};
use support::{Demo, binary, pause};
use tokio_postgres::{Client, error::SqlState};

impl Stage for Demo {
    async fn connect(&self, session: usize) -> Client {
        self.client((session as u16 - 1) % 3 + 1).await
    }

    /// Nobody tells who waits.
    async fn until_waiting(&self, _: usize) {
        pause(Duration::from_millis(400)).await;
    }
}

/// From now on the shard in which the locks lie is led by this node. The driver of a cluster that has just begun may not know it yet.
async fn lead(demo: &Demo, node: u16) {
    let (node, host) = (node.to_string(), demo.rpc(1));
    let arguments = ["shard", "transfer-leader", "1", "--to", &node, "--host", &host];
    for _ in 0..300 {
        if Command::new(binary()).args(arguments).output().unwrap().status.success() {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("node {node} does not lead");
}

/// Whether the client gets the lock; what is asked while nobody leads is asked again.
async fn gets(client: &Client, lock: i64) -> bool {
    for _ in 0..300 {
        match client.query_one("SELECT pg_try_advisory_lock($1)", &[&lock]).await {
            Ok(row) => return row.get(0),
            Err(error) => assert!(error.code().is_some(), "{error:?}"),
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("nobody leads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_each_other_out_across_gateways() {
    let demo = Demo::start();
    let mut wrong = Vec::new();
    for path in &scripts(concat!(env!("CARGO_MANIFEST_DIR"), "/../sql-frontend/testdata/advisory")) {
        wrong.extend(play(path, &demo, false).await);
    }
    assert!(wrong.is_empty(), "{} scripts differ:\n{}", wrong.len(), wrong.join("\n"));
    nothing_is_lost_under_a_lock(&demo).await;
    a_circle_of_advisory_and_row_locks_is_broken(&demo).await;
    demo.assert_healthy().await;
}

/// Everybody reads and writes the same row, which only the lock guards: there is no other lock, and no snapshot that proves
/// anything. Meanwhile the locks change their leader.
async fn nothing_is_lost_under_a_lock(demo: &Demo) {
    const CLIENTS: i64 = 6;
    const ROUNDS: i64 = 10;
    let client = demo.client(1).await;
    client
        .batch_execute("CREATE TABLE kept (id int PRIMARY KEY, v bigint); INSERT INTO kept VALUES (1, 0)")
        .await
        .unwrap();
    let clients = (0..CLIENTS).map(|i| async move {
        let client = demo.client(i as u16 % 3 + 1).await;
        for round in 0..ROUNDS {
            let (begin, end) = match (i + round) % 2 {
                0 => ("SELECT pg_advisory_lock(301)", "SELECT pg_advisory_unlock(301)"),
                _ => ("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(301)", "COMMIT"),
            };
            client.batch_execute(begin).await.unwrap();
            let v: i64 = client.query_one("SELECT v FROM kept", &[]).await.unwrap().get(0);
            client.execute("UPDATE kept SET v = $1", &[&(v + 1)]).await.unwrap();
            client.batch_execute(end).await.unwrap();
        }
    });
    let moving = async {
        for node in [2, 3, 1, 2] {
            pause(Duration::from_millis(700)).await;
            lead(demo, node).await;
        }
    };
    tokio::join!(futures::future::join_all(clients), moving);
    let v: i64 = client.query_one("SELECT v FROM kept", &[]).await.unwrap().get(0);
    assert_eq!(v, CLIENTS * ROUNDS);
}

/// One waits for a row that the other has changed, who waits for its advisory lock.
async fn a_circle_of_advisory_and_row_locks_is_broken(demo: &Demo) {
    let (one, two) = (demo.client(2).await, demo.client(3).await);
    for lock in ["pg_advisory_lock", "pg_advisory_xact_lock"] {
        one.batch_execute(&format!("BEGIN; SELECT {lock}(302)")).await.unwrap();
        two.batch_execute("BEGIN; UPDATE kept SET v = 0").await.unwrap();
        let (row, advisory) = tokio::join!(
            async { one.batch_execute("UPDATE kept SET v = 1").await.map(|()| "COMMIT") },
            async { two.batch_execute(&format!("SELECT {lock}(302)")).await.map(|()| "COMMIT") },
        );
        let refused: Vec<_> = [&row, &advisory].into_iter().filter_map(|end| end.as_ref().err()).collect();
        assert_eq!(refused.len(), 1, "{lock}: {refused:?}");
        assert_eq!(refused[0].code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{lock}");
        for (client, end) in [(&one, row), (&two, advisory)] {
            client.batch_execute(end.unwrap_or("ROLLBACK")).await.unwrap();
            client.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_though_its_leader_dies() {
    let demo = Demo::start();
    let (holder, other) = (demo.client(1).await, demo.client(2).await);
    lead(&demo, 3).await;
    holder.batch_execute("SELECT pg_advisory_lock(1); BEGIN; SELECT pg_advisory_xact_lock(2)").await.unwrap();
    demo.kill(3);
    for lock in [1, 2, 1, 2] {
        assert!(!gets(&other, lock).await, "lock {lock} is held twice");
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(gets(&other, 2).await);
    assert!(!gets(&other, 1).await);
    let unlocked: bool = holder.query_one("SELECT pg_advisory_unlock(1)", &[]).await.unwrap().get(0);
    assert!(unlocked);
    assert!(gets(&other, 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_nodes_sessions_held_comes_free() {
    let demo = Demo::start();
    let (holder, waiter) = (demo.client(3).await, demo.client(3).await);
    let other = demo.client(1).await;
    lead(&demo, 2).await;
    holder.batch_execute("SELECT pg_advisory_lock(1); BEGIN; SELECT pg_advisory_xact_lock(2)").await.unwrap();
    let waiting = tokio::spawn(async move { waiter.batch_execute("SELECT pg_advisory_lock(1)").await });
    pause(Duration::from_millis(500)).await;
    demo.kill(3);
    assert!(!gets(&other, 1).await, "nobody can know yet that the node is dead");
    // Both its holder and the one that stood in line are gone.
    other
        .batch_execute("SET statement_timeout = '60s'; SELECT pg_advisory_lock(1), pg_advisory_lock(2)")
        .await
        .unwrap();
    waiting.await.unwrap().unwrap_err();
    demo.up();
    let back = demo.client(3).await;
    assert!(!gets(&back, 1).await);
    other.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert!(gets(&back, 1).await);
    demo.assert_healthy().await;
}

/// A node stands still for so long that others take its sessions' locks: when it goes on, nothing is committed under them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_for_too_long_commits_nothing_under_his_lock() {
    let demo = Demo::start();
    let (session, transaction) = (demo.client(3).await, demo.client(3).await);
    let other = demo.client(1).await;
    other.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    session.batch_execute("SELECT pg_advisory_lock(1); BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    transaction
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(2); INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    demo.freeze(3, true);
    other
        .batch_execute("SET statement_timeout = '60s'; SELECT pg_advisory_lock(1), pg_advisory_lock(2)")
        .await
        .unwrap();
    let committing = [session, transaction]
        .map(|client| tokio::spawn(async move { client.batch_execute("COMMIT").await }));
    demo.freeze(3, false);
    for commit in committing {
        commit.await.unwrap().expect_err("somebody else has the lock");
    }
    let rows: i64 = other.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);
}
