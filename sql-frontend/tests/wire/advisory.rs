//! Advisory locks over the wire: scripts of several sessions, with PostgreSQL's answers, and what these cannot show.
#![allow(clippy::disallowed_methods, reason = "clients are outside of any node")]

use crate::{
    isolation::Oracle,
    session::{fails, one, rows, run},
    sessions::{play, scripts},
    standin::Node,
    waiting::{heard, listening},
};
use quorate_sql::server::SqlConfig;
use std::{sync::atomic::Ordering, time::Duration};
use tokio_postgres::{Client, NoTls, error::SqlState};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_each_other_out_as_in_postgresql() {
    let mut wrong = Vec::new();
    for path in &scripts(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/advisory")) {
        wrong.extend(match std::env::var("QUORATE_ORACLE") {
            Ok(conninfo) => play(path, &Oracle(conninfo), true).await,
            Err(_) => play(path, &Node::start().await, false).await,
        });
    }
    assert!(wrong.is_empty(), "{} scripts differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns when the client gets the lock.
async fn until_free(node: &Node, client: &Client, lock: i64) {
    while one(client, &format!("select pg_try_advisory_lock({lock})")).await == "f" {
        node.env.sleep(Duration::from_millis(5)).await;
    }
}

async fn until_waiting(node: &Node, sessions: usize) {
    while node.server.shared().advisory.waiting() < sessions {
        node.env.sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_holds_falls_when_it_ends() {
    let node = Node::start().await;
    let other = node.connect().await;
    for end in ["leaves", "is cut off in a transaction", "is cut off while it waits"] {
        let config = format!("host=127.0.0.1 port={} user=root dbname=quorate", node.server.address().port());
        let (holder, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        run(&holder, "select pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock_shared(2)").await;
        run(&other, "select pg_advisory_lock(3)").await;
        match end {
            "leaves" => drop(holder),
            "is cut off in a transaction" => {
                run(&holder, "begin; select pg_advisory_xact_lock(4), pg_advisory_lock(5)").await;
                connection.abort();
            }
            _ => {
                let waiting = tokio::spawn(async move { run(&holder, "select pg_advisory_lock(3)").await });
                until_waiting(&node, 1).await;
                connection.abort();
                waiting.abort();
                run(&other, "select pg_advisory_unlock(3)").await;
            }
        }
        for lock in 1..=5 {
            until_free(&node, &other, lock).await;
        }
        run(&other, "select pg_advisory_unlock_all()").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_back_what_he_does_not_hold_is_warned() {
    let node = Node::start().await;
    let (c, mut notices) = listening(&node).await;
    assert_eq!(one(&c, "select pg_advisory_unlock(1)").await, "f");
    assert_eq!(heard(&node, &mut notices).await, "you don't own a lock of type ExclusiveLock");
    run(&c, "select pg_advisory_lock(1)").await;
    let given: Vec<String> = c
        .query("select pg_advisory_unlock_shared($1)::text", &[&1i64])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(given, ["false"]);
    assert_eq!(heard(&node, &mut notices).await, "you don't own a lock of type ShareLock");
    assert_eq!(one(&c, "select pg_advisory_unlock(1)").await, "t");
    run(&c, "set client_min_messages = error; select pg_advisory_unlock(1)").await;
    assert!(notices.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_cancelled_keeps_nobody_waiting() {
    let node = Node::start().await;
    let (holder, sharer, waiter) = (node.connect().await, node.connect().await, node.connect().await);
    run(&holder, "select pg_advisory_lock_shared(1)").await;
    let token = waiter.cancel_token();
    let cancel = async {
        until_waiting(&node, 1).await;
        // It would pass the one who waits.
        assert_eq!(one(&sharer, "select pg_try_advisory_lock_shared(1)").await, "f");
        token.cancel_query(NoTls).await.unwrap();
    };
    let (state, ()) = tokio::join!(fails(&waiter, "select pg_advisory_lock(1)"), cancel);
    assert_eq!(state, "57014");
    while one(&sharer, "select pg_try_advisory_lock_shared(1)").await == "f" {
        node.env.sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(one(&waiter, "select pg_advisory_unlock(1)").await, "f");
}

/// In a transaction and without: where the session keeps what the others wait for, there is no use in running the statement again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sessions_that_wait_for_one_another_one_gives_way() {
    let node = Node::start().await;
    for (begin, end) in [("begin", "rollback"), ("select 1", "select 2")] {
        let clients = [node.connect().await, node.connect().await, node.connect().await];
        for (at, client) in clients.iter().enumerate() {
            // Nobody gives way for this: it ends a test that has failed.
            run(client, "set lock_timeout = '20s'").await;
            run(client, &format!("select pg_advisory_lock({at})")).await;
            run(client, begin).await;
        }
        let waiting = clients.into_iter().enumerate().map(|(at, client)| async move {
            let wait = format!("select pg_advisory_xact_lock({})", (at + 1) % 3);
            let state = client.batch_execute(&wait).await.err().map(|error| error.code().unwrap().clone());
            run(&client, end).await;
            // The one who gave way has lost its transaction, and not what the session holds.
            assert_eq!(one(&client, &format!("select pg_advisory_unlock({at})")).await, "t");
            state
        });
        let states: Vec<SqlState> = futures::future::join_all(waiting).await.into_iter().flatten().collect();
        assert_eq!(states, [SqlState::T_R_DEADLOCK_DETECTED], "{begin}");
    }
}

/// The server runs a transaction again that could not be serialized and of which its client has seen nothing. What the session
/// locks it would lock twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_has_locked_for_its_session_is_not_run_again() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    run(&a, "create table t (id int primary key, v int); insert into t values (1, 0)").await;
    for (level, lock, state) in [
        ("serializable", "pg_advisory_lock(1)", Some("40001")),
        ("repeatable read", "pg_try_advisory_lock(1)", Some("40001")),
        ("serializable", "pg_advisory_unlock(2)", Some("40001")),
        ("serializable", "pg_advisory_unlock(1)", None),
        ("serializable", "pg_advisory_xact_lock(1)", None),
        ("repeatable read", "pg_try_advisory_xact_lock_shared(1)", None),
    ] {
        run(&a, "select pg_advisory_lock(2)").await;
        run(&b, "begin; update t set v = 10").await;
        let text = format!(
            "begin isolation level {level}; select v from t; select {lock}; update t set v = v + 1; commit"
        );
        let change = async {
            while node.shard.waiting() == 0 {
                node.env.sleep(Duration::from_millis(2)).await;
            }
            run(&b, "commit").await;
        };
        let (answer, ()) = tokio::join!(a.batch_execute(&text), change);
        let got = answer.as_ref().err().and_then(|error| error.code()).map(|code| code.code());
        assert_eq!(got, state, "{lock}");
        run(&a, "rollback").await;
        assert_eq!(one(&b, "select v from t").await, if state.is_none() { "11" } else { "10" }, "{lock}");
        let held = lock.starts_with("pg_advisory_lock") || lock.starts_with("pg_try_advisory_lock");
        for expected in [if held { "t" } else { "f" }, "f"] {
            assert_eq!(one(&a, "select pg_advisory_unlock(1)").await, expected, "{lock}");
        }
        run(&a, "select pg_advisory_unlock_all()").await;
        assert_eq!(one(&b, "select pg_try_advisory_xact_lock(1)").await, "t", "{lock}");
    }
}

/// Under READ COMMITTED a statement runs again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_has_locked_for_its_session_is_not_run_again() {
    let node = Node::start().await;
    let a = node.connect().await;
    run(&a, "create table t (id int primary key)").await;
    for (lock, state) in [("pg_advisory_lock(1)", Some("40001")), ("pg_advisory_xact_lock(1)", None)] {
        assert_eq!(one(&a, "begin isolation level read committed; select count(*) from t").await, "0");
        node.shard.conflicts.store(1, Ordering::SeqCst);
        let insert = format!("insert into t select 1 where {lock} is not null");
        let answer = a.batch_execute(&insert).await;
        assert_eq!(node.shard.conflicts.load(Ordering::SeqCst), 0);
        let got = answer.as_ref().err().and_then(|error| error.code()).map(|code| code.code());
        assert_eq!(got, state, "{lock}");
        run(&a, "rollback").await;
        for expected in [if state.is_some() { "t" } else { "f" }, "f"] {
            assert_eq!(one(&a, "select pg_advisory_unlock(1)").await, expected, "{lock}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_name_locks() {
    let node = Node::start().await;
    let (a, b) = (node.connect().await, node.connect().await);
    let lock = a.prepare("select pg_try_advisory_lock($1)").await.unwrap();
    let pair = a.prepare("select pg_advisory_lock($1, $2)").await.unwrap();
    for _ in 0..3 {
        assert!(a.query_one(&lock, &[&7i64]).await.unwrap().get::<_, bool>(0));
        a.execute(&pair, &[&1i32, &2i32]).await.unwrap();
    }
    assert!(!b.query_one("select pg_try_advisory_lock($1)", &[&7i64]).await.unwrap().get::<_, bool>(0));
    for expected in ["t|t", "t|t", "t|t", "f|f"] {
        let given = rows(&a, "select pg_advisory_unlock(7), pg_advisory_unlock(1, 2)").await;
        let given: Vec<&str> = given[0].iter().flatten().map(String::as_str).collect();
        assert_eq!(given.join("|"), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_an_idempotency_key_only_the_transaction_locks() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    run(&c, "set quorate.idempotency_key = 'k'").await;
    for call in ["pg_advisory_lock(1)", "pg_try_advisory_lock_shared(1)", "pg_advisory_unlock(1)"] {
        assert_eq!(fails(&c, &format!("select {call}")).await, "0A000", "{call}");
    }
    for _ in 0..2 {
        let text = "begin; select pg_try_advisory_xact_lock(1); insert into t values (1); commit";
        assert_eq!(one(&c, text).await, "t");
    }
    assert_eq!(one(&node.connect().await, "select pg_try_advisory_lock(1)").await, "t");
}

/// Migration tools lock, and then change the schema in many transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_while_the_schema_changes() {
    let node = Node::start().await;
    let (migrator, other) = (node.connect().await, node.connect().await);
    assert_eq!(
        one(&migrator, "select pg_try_advisory_lock(7241865325823964) as \"lockObtained\"").await,
        "t"
    );
    for sql in [
        "create table t (id int primary key)",
        "begin; create table u (id int primary key); insert into u values (1); commit",
        "alter table t add column v int default 7",
        "create index on t (v)",
        "drop table u",
    ] {
        run(&migrator, sql).await;
        assert_eq!(one(&other, "select pg_try_advisory_lock(7241865325823964)").await, "f", "{sql}");
    }
    assert_eq!(one(&migrator, "select pg_advisory_unlock(7241865325823964)").await, "t");
    assert_eq!(one(&other, "select pg_try_advisory_lock(7241865325823964)").await, "t");
}

/// The node's lease runs out while it cannot commit: its sessions end, others get their locks, and nothing that was begun
/// under them is committed any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_whose_lease_has_run_out_are_lost() {
    let advisory_lease = Duration::from_secs(3);
    let node = Node::start_with(SqlConfig { advisory_lease, ..Default::default() }).await;
    let (idle, busy, other) = (node.connect().await, node.connect().await, node.connect().await);
    run(&other, "create table t (id int primary key)").await;
    run(&idle, "select pg_advisory_lock(1)").await;
    run(&busy, "select pg_advisory_lock(2)").await;
    let cut_off = async {
        node.shard.refuses.store(true, Ordering::Relaxed);
        node.env.sleep(2 * advisory_lease).await;
        node.shard.refuses.store(false, Ordering::Relaxed);
    };
    let insert = "insert into t select 1 where pg_sleep(7) is not null";
    let (state, ()) = tokio::join!(fails(&busy, insert), cut_off);
    assert_eq!(state, "40001", "somebody else may have the lock");
    for client in [&idle, &busy] {
        let error = client.batch_execute("select 1").await.expect_err("the session has ended");
        assert!(error.is_closed() || error.code().is_some_and(|code| code.code() == "57P01"), "{error:?}");
    }
    run(&other, "select pg_advisory_lock(1), pg_advisory_lock(2)").await;
    assert_eq!(one(&other, "select count(*) from t").await, "0");
}
