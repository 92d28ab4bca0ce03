//! A node with more to do than it bears: transactions begin one after the other, the urgent ones first.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use quorate_sql::SqlConfig;
use std::time::Duration;

const MEMORY: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_begins_first_and_who_has_begun_goes_on() {
    let node = Node::start_with(SqlConfig { query_memory: MEMORY, ..Default::default() }).await;
    let shared = node.server.shared();
    let (inside, urgent, hasty) = (node.connect().await, node.connect().await, node.connect().await);
    run(&inside, "begin; select 1").await;
    run(&urgent, "set quorate.priority = 'high'").await;
    run(&hasty, "set quorate.priority = low; set statement_timeout = '100ms'").await;
    assert_eq!(fails(&urgent, "set quorate.priority = 'soon'").await, "22023");
    let held = shared.engine.hold("the test");
    held.grow(MEMORY / 8 * 7).unwrap();
    let mut sleepers = Vec::new();
    // More than are let in at any time; those behind them wait for one after the other.
    while shared.gate.crowd().1 < 30 {
        let sleeper = node.connect().await;
        let sleeps = async move { one(&sleeper, "select pg_sleep(1.5)").await };
        sleepers.push(node.env.spawn("test.sleeper", sleeps));
        node.env.sleep(Duration::from_millis(2)).await;
        assert!(sleepers.len() < 500, "{:?}", shared.gate);
    }
    assert_eq!(fails(&hasty, "select 1").await, "57014");
    assert_eq!(one(&inside, "select 2").await, "2");
    run(&inside, "commit").await;
    assert_eq!(one(&urgent, "select 3").await, "3");
    assert!(shared.gate.crowd().1 > 0, "{:?}", shared.gate);
    drop(held);
    for sleeper in sleepers {
        sleeper.join().await.unwrap();
    }
    assert_eq!(one(&hasty, "show quorate.priority").await, "low");
    assert_eq!(shared.gate.crowd(), (0, 0));
}
