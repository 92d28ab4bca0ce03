//! What each isolation level allows, by scripts of several sessions.
#![allow(clippy::disallowed_methods, reason = "PostgreSQL is a real server, outside of any node")]

use crate::{
    session::{fails, one, run},
    sessions::{Stage, play, scripts},
    standin::Node,
};
use std::{sync::atomic::Ordering, time::Duration};
use tokio_postgres::{Client, NoTls};

impl Stage for Node {
    async fn connect(&self, _: usize) -> Client {
        Node::connect(self).await
    }

    async fn until_waiting(&self, statements: usize) {
        let advisory = &self.server.shared().advisory;
        while self.shard.waiting() + (advisory.waiting() as u64) < statements as u64 {
            self.env.sleep(Duration::from_millis(2)).await;
        }
    }
}

/// PostgreSQL, for what is expected.
pub struct Oracle(pub String);

impl Stage for Oracle {
    async fn connect(&self, _: usize) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.0, NoTls).await.unwrap();
        drop(tokio::spawn(connection));
        client
    }

    async fn until_waiting(&self, statements: usize) {
        let client = self.connect(0).await;
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
        while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < statements as i64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_level_shows_what_it_may() {
    let mut wrong = Vec::new();
    for path in &scripts(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/isolation")) {
        wrong.extend(match std::env::var("QUORATE_ORACLE") {
            Ok(conninfo) => play(path, &Oracle(conninfo), true).await,
            Err(_) => play(path, &Node::start().await, false).await,
        });
    }
    assert!(wrong.is_empty(), "{} scripts differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The lock on the free place is lost with its leader, and another session inserts there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_place_that_is_lost_meanwhile_is_a_conflict_and_no_violation() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int)").await;
    for level in ["serializable", "repeatable read", "read committed"] {
        run(&c, &format!("set default_transaction_isolation = '{level}'")).await;
        run(&c, "insert into t values (2, 5)").await;
        run(&c, "delete from t").await;
        node.shard.losses.store(1, Ordering::SeqCst);
        run(&c, "insert into t values (2, 7) on conflict (id) do update set v = t.v + excluded.v").await;
        assert_eq!(one(&c, "select v from t").await, "12", "{level}");
        run(&c, "delete from t").await;
        node.shard.losses.store(1, Ordering::SeqCst);
        run(&c, "insert into t values (2, 7) on conflict do nothing").await;
        assert_eq!(one(&c, "select v from t").await, "12", "{level}");
        run(&c, "delete from t").await;
        node.shard.losses.store(1, Ordering::SeqCst);
        assert_eq!(fails(&c, "insert into t values (2, 7)").await, "23505", "{level}");
        run(&c, "delete from t").await;
    }
}

/// The client has seen results, so that the transaction cannot run again unseen; one of its statements can, if each has a
/// snapshot of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_read_committed_that_meets_a_conflict_runs_again_by_itself() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 0), (2, 0)").await;
    let conflicts = |count| node.shard.conflicts.store(count, Ordering::SeqCst);
    run(&c, "begin isolation level read committed").await;
    assert_eq!(one(&c, "update t set v = v + 1 where id = 1 returning v").await, "1");
    conflicts(1);
    run(&c, "update t set v = v + 10").await;
    assert_eq!(node.shard.conflicts.load(Ordering::SeqCst), 0);
    conflicts(2);
    run(&c, "insert into t values (3, 0)").await;
    run(&c, "commit").await;
    assert_eq!(one(&c, "select string_agg(v::text, ',' order by id) from t").await, "11,10,0");
    // Somebody who gets in the way each time is told of in the end.
    run(&c, "begin isolation level read committed").await;
    assert_eq!(one(&c, "select v from t where id = 1").await, "11");
    conflicts(u64::MAX);
    assert_eq!(fails(&c, "update t set v = v + 1 where id = 1").await, "40001");
    run(&c, "rollback").await;
    // Where all statements share one snapshot, there is nothing that would be different the next time.
    conflicts(1);
    run(&c, "begin isolation level repeatable read").await;
    assert_eq!(one(&c, "select v from t where id = 1").await, "11");
    assert_eq!(fails(&c, "update t set v = v + 1 where id = 1").await, "40001");
    run(&c, "rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_labelled_with_its_level() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    let levels = [
        ("serializable", "SER"),
        ("repeatable read", "RR"),
        ("read committed", "RC"),
        ("read uncommitted", "RC"),
    ];
    for (level, label) in levels {
        run(&c, &format!("begin isolation level {level}; select * from t")).await;
        let within = one(&c, "show guarantee").await;
        assert!(within.contains(&format!(", {label}, ")), "{level}: {within}");
        run(&c, "commit").await;
        let after = one(&c, "show guarantee").await;
        assert!(after.contains(&format!(", {label}, ")), "{level}: {after}");
    }
}
