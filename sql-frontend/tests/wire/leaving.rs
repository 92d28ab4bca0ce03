//! What clients of a node notice that drains, leaves or stops.

use crate::{
    session::{one, run},
    standin::Node,
};
use quorate_proto::placement::Leaving;
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

async fn until_closed(node: &Node, client: &Client) {
    for _ in 0..1000 {
        if client.is_closed() {
            return;
        }
        node.env.sleep(Duration::from_millis(10)).await;
    }
    panic!("it stays connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_keeps_its_clients_and_takes_no_new_ones() {
    let node = Node::start().await;
    let c = node.connect().await;
    node.world.leaving.send_replace(Leaving::Draining);
    let config = format!("host=127.0.0.1 port={} user=root dbname=quorate", node.server.address().port());
    let refused = tokio_postgres::connect(&config, NoTls).await.err().unwrap();
    assert_eq!(refused.code().unwrap().code(), "57P03", "{refused:?}");
    assert_eq!(one(&c, "select 1").await, "1");
    node.world.leaving.send_replace(Leaving::No);
    assert_eq!(one(&node.connect().await, "select 1").await, "1");
    assert_eq!(one(&c, "select 2").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_or_stops_sends_its_clients_away_between_transactions() {
    for stops in [false, true] {
        let node = Node::start().await;
        let (idle, busy) = (node.connect().await, node.connect().await);
        run(&busy, "create table t (a int primary key)").await;
        let insert = busy.prepare("insert into t values ($1)").await.unwrap();
        run(&busy, "begin").await;
        match stops {
            true => node.env.shutdown().begin(),
            false => {
                node.world.leaving.send_replace(Leaving::Decommissioning);
            }
        }
        until_closed(&node, &idle).await;
        for a in 1..=3 {
            busy.execute(&insert, &[&a]).await.unwrap();
        }
        assert_eq!(one(&busy, "select count(*) from t").await, "3");
        run(&busy, "commit").await;
        until_closed(&node, &busy).await;
    }
}
