//! `AS OF SYSTEM TIME` and `read_staleness`.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use std::time::Duration;

async fn pause(millis: u64) {
    quorate_env::time::sleep(Duration::from_millis(millis)).await;
}

async fn message(client: &tokio_postgres::Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}")).message().to_string()
}

/// How old, in seconds, an answer of a serializable transaction is told to be.
fn age(guarantee: &str) -> f64 {
    let told = guarantee.strip_prefix("⟨global, serial, SER, bounded(").and_then(|rest| rest.split_once('s'));
    told.and_then(|(seconds, _)| seconds.parse().ok()).unwrap_or_else(|| panic!("{guarantee} tells no age"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_and_transactions_read_the_past() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int); create table u (id int primary key)").await;
    run(&c, "insert into t values (1, 10); insert into u values (1)").await;
    pause(20).await;
    let before = one(&c, "select clock_timestamp()").await;
    pause(20).await;
    run(&c, "update t set v = 20").await;
    pause(300).await;

    let sql = format!("select v from t as of system time '{before}' where id = 1");
    assert_eq!(one(&c, &sql).await, "10", "straight to the key");
    assert_eq!(one(&c, &sql).await, "10", "by the kept plan");
    assert_eq!(one(&c, "select v from t where id = 1").await, "20");
    let join = format!("select sum(v) from t join u using (id) as of system time '{before}'");
    assert_eq!(one(&c, &join).await, "10");
    assert_eq!(one(&c, "select v from t as of system time '-100ms'").await, "20");
    let guarantee = one(&c, "show guarantee").await;
    assert!(age(&guarantee) >= 0.1, "{guarantee}");

    // The parameter may be the only one, and have any of the types.
    let rows = c.query("select v from t as of system time $1", &[&before]).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 10);
    let rows =
        c.query("select v from t as of system time $2 where id = $1", &[&1i32, &"-0.1s"]).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 20);

    run(&c, &format!("begin as of system time '{before}'")).await;
    assert_eq!(one(&c, "select v from t").await, "10");
    assert_eq!(one(&c, &format!("select v from t as of system time '{before}'")).await, "10");
    assert_eq!(one(&c, "show transaction_read_only").await, "on");
    assert_eq!(fails(&c, "insert into u values (2)").await, "25006");
    run(&c, "rollback").await;
    run(&c, &format!("begin; set transaction as of system time '{before}'")).await;
    assert_eq!(one(&c, "select v from t").await, "10");
    assert_eq!(fails(&c, "select v from t as of system time '-1ms'").await, "25001");
    run(&c, "rollback; begin; select 1").await;
    assert_eq!(fails(&c, &format!("set transaction as of system time '{before}'")).await, "25001");
    run(&c, "rollback").await;
    assert_eq!(fails(&c, "begin as of system time '-1s' read write").await, "25001");
    assert_eq!(one(&c, "select v from t").await, "20");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_as_of_then_is_refused() {
    let node = Node::start().await;
    let c = node.connect().await;
    let before = one(&c, "select clock_timestamp()").await;
    pause(20).await;
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 10)").await;
    pause(20).await;
    let old = one(&c, "select clock_timestamp()").await;
    pause(20).await;

    assert_eq!(fails(&c, "select v from t as of system time '2100-01-01'").await, "22023");
    assert_eq!(fails(&c, "select v from t as of system time '5s'").await, "22023");
    assert_eq!(fails(&c, "begin as of system time '1 hour'").await, "22023");
    assert_eq!(one(&c, "select count(*) from t").await, "1", "that began nothing");
    let sql = format!("select v from t as of system time '{before}'");
    assert_eq!(fails(&c, &sql).await, "42P01");
    let text = message(&c, &sql).await;
    assert!(text.starts_with("table \"t\" did not exist at 20"), "{text}");

    assert_eq!(one(&c, &format!("select v from t as of system time '{old}'")).await, "10");
    run(&c, "alter table t add column w int").await;
    assert_eq!(fails(&c, &format!("select v from t as of system time '{old}'")).await, "0A000");
    pause(20).await;
    assert_eq!(one(&c, "select v from t as of system time '-1ms'").await, "10");

    // What shares a transaction with it would silently read the past, or it would miss what came before.
    assert_eq!(fails(&c, "select v from t as of system time '-1ms'; select v from t").await, "25001");
    assert_eq!(
        fails(&c, "insert into t values (2); select v from t as of system time '-1ms'").await,
        "25001"
    );
    assert_eq!(one(&c, "select count(*) from t").await, "1");
    assert_eq!(fails(&c, "select v from t as of system time '-1ms' for update").await, "25006");
    assert_eq!(fails(&c, "insert into t select 5 as of system time '-1ms'").await, "0A000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_allows_it_reads_what_is_closed_here() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 10)").await;
    pause(50).await;
    run(&c, "set read_staleness = '5s'").await;
    assert_eq!(one(&c, "show read_staleness").await, "5s");
    assert_eq!(one(&c, "select sum(a.v) from t a join t b using (id)").await, "10");
    let guarantee = one(&c, "show guarantee").await;
    assert!(age(&guarantee) <= 5.0, "{guarantee}");
    // Whatever writes is of now, and so is what comes behind it in its transaction.
    run(&c, "update t set v = v + 1").await;
    run(&c, "begin; update t set v = v + 1; select v from t; commit").await;
    pause(50).await;
    assert_eq!(one(&c, "select v from t").await, "12");
    run(&c, "begin read only").await;
    assert_eq!(one(&c, "select v from t").await, "12");
    let guarantee = one(&c, "show guarantee").await;
    assert!(guarantee.contains("bounded("), "{guarantee}");
    run(&c, "commit").await;
    // In a text of several statements each is by itself as old as it may be.
    run(&c, "select v from t; update t set v = v + 1; select v from t").await;
    pause(50).await;
    assert_eq!(one(&c, "select v from t").await, "13");
    // One time for the whole transaction, or for each statement.
    let other = node.connect().await;
    for (level, sees) in [("serializable", "13"), ("read committed", "14")] {
        run(&c, &format!("begin isolation level {level} read only; select v from t")).await;
        run(&other, "update t set v = 14").await;
        pause(50).await;
        assert_eq!(one(&c, "select v from t").await, sees, "{level}");
        run(&c, "commit").await;
        run(&other, "update t set v = 13").await;
        pause(50).await;
    }
    // Once it has seen something, the session sees nothing older, whatever has been closed here.
    run(&other, "update t set v = 15").await;
    pause(50).await;
    assert_eq!(one(&c, "select v from t").await, "15");
    node.world.fall_behind(Duration::from_secs(4));
    assert_eq!(one(&c, "select v from t").await, "15");
    run(&other, "update t set v = 13").await;
    run(&c, "reset read_staleness").await;
    assert_eq!(one(&c, "select v from t").await, "13");
    let guarantee = one(&c, "show guarantee").await;
    assert!(guarantee.contains("fresh(lease)"), "{guarantee}");
}

/// Whatever has been closed here: the session sees what it has written, as of a time that only the leader can answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_reads_the_past_sees_what_it_has_written() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 10)").await;
    pause(1200).await;
    node.world.fall_behind(Duration::from_secs(1));
    run(&c, "set read_staleness = '5s'").await;
    run(&other, "update t set v = 11").await;
    for v in [20, 30] {
        run(&c, &format!("update t set v = {v}")).await;
        assert_eq!(one(&c, "select v from t").await, v.to_string());
        let guarantee = one(&c, "show guarantee").await;
        assert!(age(&guarantee) < 1.0 && guarantee.contains("leader"), "{guarantee}");
    }
    run(&c, "begin; update t set v = 40; commit; begin read only").await;
    assert_eq!(one(&c, "select v from t").await, "40");
    run(&c, "rollback").await;
    // What others write meanwhile shows when it is closed here.
    run(&other, "update t set v = 50").await;
    assert_eq!(one(&c, "select v from t").await, "40");
    node.world.fall_behind(Duration::ZERO);
    pause(20).await;
    assert_eq!(one(&c, "select v from t").await, "50");
}

/// The time that would be chosen lies before a schema change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_schema_change_the_present_is_read() {
    let node = Node::start().await;
    let (c, other) = (node.connect().await, node.connect().await);
    run(&c, "set read_staleness = '5s'; create table t (id int primary key, v int)").await;
    run(&other, "create table u (id int primary key)").await;
    pause(1200).await;
    node.world.fall_behind(Duration::from_secs(1));
    for (change, sql) in [
        ("create table new (id int primary key); insert into new values (1)", "select count(*) from new"),
        ("alter table t add column w int; insert into t values (1, 1, 1)", "select sum(w) from t"),
    ] {
        run(&other, change).await;
        assert_eq!(one(&c, sql).await, "1", "{change}");
        let guarantee = one(&c, "show guarantee").await;
        assert!(guarantee.contains("fresh(lease)"), "{change}: {guarantee}");
        // And from then on a time that lies above it.
        assert_eq!(one(&c, sql).await, "1", "{change}");
        let guarantee = one(&c, "show guarantee").await;
        assert!(age(&guarantee) < 1.0, "{change}: {guarantee}");
    }
    run(&other, "alter table t drop column w").await;
    run(&c, "begin read only").await;
    assert_eq!(one(&c, "select v from t").await, "1");
    assert_eq!(fails(&c, "insert into t values (2, 2)").await, "25006");
    run(&c, "rollback").await;
    // A transaction has one time.
    run(&other, "alter table t add column w int").await;
    run(&c, "begin isolation level serializable read only; select * from u").await;
    assert_eq!(fails(&c, "select * from t").await, "0A000");
    run(&c, "rollback").await;
    // What names its time gets it.
    assert_eq!(fails(&c, "select * from t as of system time '-1s'").await, "0A000");
}
