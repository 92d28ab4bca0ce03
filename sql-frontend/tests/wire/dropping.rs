//! `DROP TABLE` and transactions that do not end.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use quorate_proto::Timestamp;
use quorate_sql::server::SqlConfig;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_to_a_dropped_table_is_not_acknowledged() {
    let schema_patience = Duration::from_millis(300);
    let node = Node::start_with(SqlConfig { schema_patience, ..Default::default() }).await;
    let [writer, reader, other, changer] =
        [node.connect().await, node.connect().await, node.connect().await, node.connect().await];
    run(&changer, "create table t (id int primary key); create table u (id int primary key)").await;
    run(&changer, "insert into t values (1)").await;
    run(&writer, "begin; insert into t values (2); insert into u values (2)").await;
    run(&reader, "begin; select * from t").await;
    run(&other, "begin; insert into u values (3)").await;
    run(&changer, "drop table t").await;
    assert_eq!(fails(&writer, "insert into t values (3); commit").await, "40001");
    run(&writer, "rollback").await;
    assert_eq!(one(&reader, "select id from t").await, "1", "who only reads stays where it is");
    run(&reader, "commit").await;
    run(&other, "commit").await;
    assert_eq!(one(&changer, "select string_agg(id::text, ',') from u").await, "3");
    assert_eq!(fails(&writer, "insert into t values (4)").await, "42P01");
    run(&changer, "create table t (id int primary key)").await;
    assert_eq!(one(&writer, "select count(*) from t").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_waits_for_who_has_used_the_table() {
    let node = Node::start().await;
    let [reader, changer] = [node.connect().await, node.connect().await];
    run(&changer, "create table t (id int primary key)").await;
    run(&reader, "begin; select * from t").await;
    // Everybody has heard of it, and one goes on with the table all the same.
    run(&changer, "set statement_timeout = '500ms'").await;
    assert_eq!(fails(&changer, "drop table t").await, "57014");
    run(&reader, "commit").await;
}

/// The version that it was bound by may be unknown to all others by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_committed_beyond_the_lease_on_the_schema() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key); insert into t values (1)").await;
    run(&c, "begin; insert into t values (2)").await;
    node.world.set_lease(node.env.clock().physical());
    assert_eq!(fails(&c, "commit").await, "40001");
    node.world.set_lease(Timestamp::MAX);
    assert_eq!(one(&c, "select count(*) from t").await, "1");
    run(&c, "insert into t values (2)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_raised_before_a_change_does_not_count_for_it() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    // Another node's change: who has reported this version has not read the next one for that.
    node.world.raise_unheard();
    let before = node.world.version();
    // Nothing of it goes on in the background, where versions would be raised, too.
    run(&c, "alter table t rename to u").await;
    assert!(node.world.version() >= before + 2, "from {before} to {}", node.world.version());
}
