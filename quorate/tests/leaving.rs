//! Nodes that drain and leave, as their operators and clients see it, by real processes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use support::{
    Demo, eventually,
    tools::{metric, page},
};
use tokio_postgres::{Client, error::SqlState};

/// What operators are shown of a node, once it is so.
async fn until_shown(demo: &Demo, from: u16, node: u16, state: &str) {
    eventually(&format!("node {node} {state}"), || async {
        let ran = demo.ask(from, &["node", "status", &node.to_string(), "--json"]).await;
        (ran.code == Some(0) && ran.json()[0]["state"] == state).then_some(())
    })
    .await;
}

async fn leads_nothing(demo: &Demo, node: u16) {
    let address = demo.http(node);
    eventually("a node that leads nothing", || async {
        metric(&address, "quorate_consensus_groups_led").await.filter(|led| *led == 0.0)
    })
    .await;
}

async fn is_turned_away(demo: &Demo, node: u16) {
    let Err(error) = demo.try_client(node).await else { panic!("it takes new clients") };
    assert_eq!(error.code(), Some(&SqlState::CANNOT_CONNECT_NOW), "{error:?}");
}

async fn table(demo: &Demo) -> Client {
    let client = demo.client(1).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int8 PRIMARY KEY, v int8);
             INSERT INTO t SELECT g, g FROM generate_series(1, 90) g;
             ALTER TABLE t SPLIT AT VALUES (30), (60)",
        )
        .await
        .unwrap();
    client
}

async fn rows(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_drains_through_restarts_until_it_is_undrained() {
    let demo = Demo::start();
    let client = table(&demo).await;
    demo.lead("t", 2).await;
    let old = demo.client(2).await;
    old.batch_execute("BEGIN; INSERT INTO t VALUES (-1, 0)").await.unwrap();

    let told = demo.ask(1, &["node", "drain", "2"]).await.done();
    assert!(told.contains("node 2: draining; it leads 0 shards"), "{told}");
    leads_nothing(&demo, 2).await;
    let shown = client.query_one("SELECT state FROM quorate.nodes WHERE node_id = 2", &[]).await.unwrap();
    assert_eq!(shown.get::<_, &str>(0), "draining");
    is_turned_away(&demo, 2).await;
    let (status, why) = page(&demo.http(2), "/ready").await.unwrap();
    assert!(status == 503 && why.contains("draining"), "{status} {why}");
    demo.ask(3, &["shard", "transfer-leader", "1", "--to", "2"]).await.fails(1, "node 2 is draining");
    // Who was there before goes on.
    old.batch_execute("COMMIT").await.unwrap();
    assert_eq!(rows(&old).await, 91);

    // Whoever of them leads the placement driver.
    for node in [2, 1, 3] {
        demo.manage(&["restart", &node.to_string()]).await.done();
        until_shown(&demo, node, 2, "draining").await;
    }
    leads_nothing(&demo, 2).await;
    eventually("a node that knows that it drains", || async {
        page(&demo.http(2), "/health").await.filter(|(_, why)| why.contains("draining"))
    })
    .await;
    is_turned_away(&demo, 2).await;
    assert_eq!(rows(&demo.client(3).await).await, 91);

    demo.ask(3, &["node", "decommission", "2", "--cancel"]).await.fails(1, "not being decommissioned");
    demo.ask(3, &["node", "undrain", "9"]).await.fails(1, "no node 9");
    let told = demo.ask(3, &["node", "undrain", "2"]).await.done();
    assert!(told.contains("node 2: live"), "{told}");
    let client =
        eventually("a node that takes clients again", || async { demo.try_client(2).await.ok() }).await;
    assert_eq!(rows(&client).await, 91);
    demo.ask(3, &["shard", "transfer-leader", "1", "--to", "2"]).await.done();
}

/// Writes until told to stop; no statement may fail.
async fn write(demo: Arc<Demo>, gateway: u16, stop: Arc<AtomicBool>) -> i64 {
    let client = demo.client(gateway).await;
    let first = 1_000_000 * i64::from(gateway);
    let mut next = first;
    while !stop.load(Ordering::SeqCst) {
        client.execute("INSERT INTO t VALUES ($1, 0)", &[&next]).await.unwrap();
        client
            .execute("UPDATE t SET v = v + 1 WHERE id = $1", &[&((next * 3 + i64::from(gateway)) % 90 + 1)])
            .await
            .unwrap();
        next += 1;
    }
    next - first
}

/// Gives node 4 a copy of every shard, and returns how many these are.
async fn move_to_the_fourth(demo: &Demo) -> usize {
    let shards = demo.ask(1, &["shard", "ls", "--json"]).await.json();
    let ids: BTreeSet<&str> =
        shards.as_array().unwrap().iter().map(|s| s["shard"].as_str().unwrap()).collect();
    for id in &ids {
        demo.ask(1, &["shard", "move", id, "--from", "3", "--to", "4"]).await.done();
    }
    ids.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_under_load_and_nobody_misses_anything() {
    let demo = Arc::new(Demo::start());
    let client = table(&demo).await;
    demo.ask(1, &["node", "decommission", "1"]).await.fails(1, "no node can take its copy");
    demo.manage(&["add-node"]).await.done();
    let copies = move_to_the_fourth(&demo).await;
    demo.lead("t", 4).await;
    demo.ask(1, &["node", "decommission", "9"]).await.fails(1, "no node 9");

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        demo.nodes().map(|gateway| tokio::spawn(write(demo.clone(), gateway, stop.clone()))).collect();
    let (idle, busy) = (demo.client(4).await, demo.client(4).await);
    busy.batch_execute("BEGIN; INSERT INTO t VALUES (-1, 0)").await.unwrap();
    let operator = demo.clone();
    let leaving = tokio::spawn(async move { operator.ask(1, &["node", "decommission", "4"]).await });
    eventually("the idle client is sent away", || async { idle.is_closed().then_some(()) }).await;
    is_turned_away(&demo, 4).await;
    busy.batch_execute("INSERT INTO t VALUES (-2, 0); COMMIT")
        .await
        .expect("it brings its transaction to its end");
    let told = leaving.await.unwrap().done();
    assert!(told.contains("done"), "{told}");
    stop.store(true, Ordering::SeqCst);
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("no statement fails");
    }
    assert_eq!(rows(&client).await, 92 + written);

    let decided =
        "SELECT seen FROM quorate.placement_decisions WHERE scheduler = 'decommission' AND outcome = 'done'";
    let steps = client.query(decided, &[]).await.unwrap();
    assert_eq!(steps.len(), copies);
    assert!(steps.iter().all(|step| step.get::<_, &str>(0).contains("node 4 is to leave")), "{steps:?}");
    until_shown(&demo, 2, 4, "decommissioned").await;
    let shown = demo.ask(2, &["node", "status", "4", "--json"]).await.json();
    assert_eq!(shown[0]["replicas"], "0", "{shown}");
    let (_, console) = page(&demo.http(4), "/").await.unwrap();
    assert!(console.contains("replicas here</th><td>0<"), "{console}");
    eventually("a node that knows that it has left", || async {
        page(&demo.http(4), "/health").await.filter(|(_, why)| why.contains("was decommissioned"))
    })
    .await;
    demo.ask(3, &["node", "undrain", "4"]).await.fails(1, "new --node-id");

    // It has left already; what is left to do is to stop and to remove it.
    let told = demo.manage(&["remove-node", "4"]).await.done();
    assert!(told.contains("n4 has left the cluster"), "{told}");
    assert!(!std::path::Path::new(demo.data()).join("n4").exists());
    assert_eq!(demo.manage(&["status"]).await.done().matches("serves SQL").count(), 3);
    assert_eq!(rows(&demo.client(2).await).await, 92 + written);
    demo.assert_healthy().await;
}

/// The node that goes carries the placement driver, and leads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_leaves_under_load_and_the_driver_goes_on_without_it() {
    let demo = Arc::new(Demo::start());
    table(&demo).await;
    demo.ask(2, &["node", "decommission", "1"]).await.fails(1, "the placement driver: no node can take");
    demo.manage(&["add-node"]).await.done();
    demo.ask(2, &["shard", "transfer-leader", "0", "--to", "1"]).await.done();
    demo.lead("t", 1).await;

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (2..=4).map(|gateway| tokio::spawn(write(demo.clone(), gateway, stop.clone()))).collect();
    let told = demo.manage(&["remove-node", "1"]).await.done();
    assert!(told.contains("n1 has left the cluster"), "{told}");
    assert!(!std::path::Path::new(demo.data()).join("n1").exists());
    stop.store(true, Ordering::SeqCst);
    let mut written = 90;
    for writer in writers {
        written += writer.await.expect("no statement fails");
    }
    let client = demo.client(3).await;
    assert_eq!(rows(&client).await, written);
    let members = "SELECT node_id FROM quorate.nodes WHERE carries_driver ORDER BY 1";
    let members: Vec<i64> = client.query(members, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(members, [2, 3, 4]);

    // Until then its clock counts among those of which a majority is measured.
    eventually("the others forget it", || async {
        (2..=4).all(|node| demo.log(node).contains("is forgotten")).then_some(())
    })
    .await;
    demo.kill(2);
    eventually("the driver goes on without another founder", || async {
        let ran = demo.ask(3, &["setting", "set", "placement.repair_after", "77min"]).await;
        (ran.code == Some(0)).then_some(())
    })
    .await;
    eventually("and so does SQL", || async {
        client.execute("INSERT INTO t VALUES (-1, 0)", &[]).await.ok()
    })
    .await;
    // Whoever starts again remembers who carries the driver, and a new node hears of it from whomever it asks.
    demo.manage(&["restart", "2"]).await.done();
    demo.manage(&["restart", "3"]).await.done();
    demo.manage(&["restart", "4"]).await.done();
    demo.manage(&["add-node"]).await.done();
    until_shown(&demo, 5, 5, "live").await;
    assert_eq!(rows(&demo.client(5).await).await, written + 1);
    for node in 2..=5 {
        let log = demo.log(node);
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
        assert!(errors.is_empty(), "node {node}: {errors:?}");
    }
}
