//! Statements that take long: how they end, and what they say meanwhile.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use futures::{StreamExt, stream};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, NoTls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_statement_is_ended() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "set statement_timeout = '200ms'").await;
    assert_eq!(fails(&c, "select pg_sleep(600)").await, "57014");
    assert_eq!(one(&c, "select 1").await, "1");
    run(&c, "set statement_timeout = 0").await;
    // Alone, and where the guard of the statement has waited before: behind rows that were read from the shard.
    run(&c, "create table t (a int)").await;
    run(&c, "insert into t values (1), (2)").await;
    for sql in [
        "select pg_sleep(600)",
        "select a, pg_sleep(600) from t",
        "insert into t select 1 where pg_sleep(600) is null",
    ] {
        let token = c.cancel_token();
        let cancel = async {
            node.env.sleep(Duration::from_millis(200)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (state, ()) = tokio::join!(fails(&c, sql), cancel);
        assert_eq!(state, "57014", "{sql}");
    }
    assert_eq!(one(&c, "select count(*) from t").await, "2");
}

/// A node that goes does not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_runs_when_the_node_goes_is_ended_and_told_why() {
    let node = Node::start().await;
    let (c, waiter, holder) = (node.connect().await, node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 1)").await;
    run(&holder, "begin; update t set v = 2").await;
    let end = async {
        node.env.sleep(Duration::from_millis(300)).await;
        node.server.end_statements();
    };
    let update = "update t set v = v + 1; select 1";
    let (sleeping, waiting, ()) =
        tokio::join!(fails(&c, "select pg_sleep(600)"), fails(&waiter, update), end);
    assert_eq!((sleeping.as_str(), waiting.as_str()), ("57P01", "57P01"));
    // And with them their sessions.
    for ended in [&c, &waiter] {
        assert!(ended.simple_query("select 1").await.is_err());
    }
}

/// A client and the notices that it gets.
pub async fn listening(node: &Node) -> (Client, UnboundedReceiver<String>) {
    let config = format!("host=127.0.0.1 port={} user=root dbname=quorate", node.server.address().port());
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let (tell, notices) = unbounded_channel();
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let listen = async move {
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message {
                let _ = tell.send(notice.message().to_owned());
            }
        }
    };
    node.env.spawn("test.listener", listen).detach();
    (client, notices)
}

/// The next notice; the statement that it is about has not ended yet.
pub async fn heard(node: &Node, notices: &mut UnboundedReceiver<String>) -> String {
    let next = node.env.timeout(Duration::from_secs(20), notices.recv()).await;
    next.expect("nothing is said").expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_change_says_whom_it_waits_for() {
    let node = Node::start().await;
    let reader = node.connect().await;
    run(&reader, "create table t (id int primary key); insert into t values (1)").await;
    let (changer, mut notices) = listening(&node).await;
    for change in ["alter table t add column x int", "create index i on t (x)", "drop table t"] {
        run(&reader, "begin; select * from t").await;
        let waiting = async {
            let notice = heard(&node, &mut notices).await;
            assert!(notice.contains("transactions on node 1"), "{change}: {notice}");
            run(&reader, "commit").await;
        };
        tokio::join!(run(&changer, change), waiting);
    }
    // Those who do not want to hear it do not.
    run(&reader, "create table t (id int primary key)").await;
    run(&reader, "begin; select * from t").await;
    run(&changer, "set client_min_messages = warning").await;
    let waiting = async {
        node.env.sleep(Duration::from_millis(1500)).await;
        run(&reader, "commit").await;
    };
    tokio::join!(run(&changer, "drop table t"), waiting);
    assert!(notices.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placement_operation_says_how_far_it_is() {
    let node = Node::start().await;
    let (c, mut notices) = listening(&node).await;
    run(&c, "create table t (id int primary key)").await;
    for (change, what) in [
        ("alter table t split at values (1), (2)", "0 of 2 splits done; operation 1: moving house"),
        ("alter table t unsplit at values (1), (2)", "0 of 2 merges done; operation 1: moving house"),
        ("alter table t scatter", "scattering; operation 1: moving house"),
    ] {
        node.world.hold_operations(true);
        let waiting = async {
            assert_eq!(heard(&node, &mut notices).await, what);
            node.world.hold_operations(false);
        };
        tokio::join!(run(&c, change), waiting);
    }
    assert!(notices.try_recv().is_err(), "one a second would disturb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_says_who_removes_old_versions() {
    let node = Node::start().await;
    let (c, mut notices) = listening(&node).await;
    run(&c, "vacuum").await;
    let notice = heard(&node, &mut notices).await;
    assert!(notice.contains("in the background") && notice.contains("gc_ttl"), "{notice}");
}
