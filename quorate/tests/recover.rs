//! Shards whose quorum is lost for good are brought back from the copy that is left, and what may be missing is told.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use support::{Demo, pause, tools::Ran};
use tokio_postgres::Client;

/// Tries of a fifth of a second that anything may take.
const PATIENCE: u32 = 600;

/// Payments that were acknowledged, and when that was, in microseconds since 1970.
type Acknowledged = BTreeMap<i64, i64>;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// Five nodes carry the driver, and the first three of them the shards.
async fn ledger() -> (Demo, Acknowledged) {
    let demo = Demo::start_with(&["--nodes", "5"]);
    let client = demo.client(5).await;
    client.batch_execute("CREATE TABLE ledger (id int8 PRIMARY KEY, amount int8)").await.unwrap();
    client.batch_execute("ALTER TABLE ledger SPLIT AT VALUES (1000)").await.unwrap();
    demo.lead("ledger", 2).await;
    let mut paid = Acknowledged::new();
    for id in 1..=20 {
        pay(&client, id, &mut paid).await;
    }
    (demo, paid)
}

/// In two shards at once.
async fn pay(client: &Client, id: i64, paid: &mut Acknowledged) {
    let both = format!("INSERT INTO ledger VALUES ({id}, 5), ({}, -5)", 1000 + id);
    client.batch_execute(&both).await.unwrap();
    paid.insert(id, now());
}

/// Asks until all shards without a quorum can be recovered.
async fn plans(demo: &Demo) -> Vec<serde_json::Value> {
    let mut last = None;
    for _ in 0..PATIENCE {
        let ran: Ran = demo.ask(5, &["shard", "recover", "--json"]).await;
        if ran.code == Some(0) {
            let all = ran.json().as_array().unwrap().clone();
            if !all.is_empty() && all.iter().all(|survey| survey["plan"].is_object()) {
                return all;
            }
        }
        last = Some(ran);
        pause(Duration::from_millis(200)).await;
    }
    panic!("no plan: {last:?}");
}

/// All rows that are there, once they can be read.
async fn rows(demo: &Demo, node: u16) -> BTreeMap<i64, i64> {
    for _ in 0..PATIENCE {
        if let Ok(client) = demo.try_client(node).await
            && let Ok(rows) = client.query("SELECT id, amount FROM ledger", &[]).await
        {
            return rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        }
        pause(Duration::from_millis(200)).await;
    }
    panic!("nothing can be read");
}

/// The certificates: shard, how much may be missing, and from when until when, in microseconds since 1970.
async fn certificates(demo: &Demo) -> Vec<(i64, String, Option<i64>, Option<i64>)> {
    let asked = "SELECT shard_id, loss || ' ' || outcome, (extract(epoch from at_risk_from) * 1000000)::int8, \
                 (extract(epoch from at_risk_until) * 1000000)::int8 FROM quorate.recoveries";
    let rows = demo.client(5).await.query(asked, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

async fn recover(demo: &Demo) {
    let shown = plans(demo).await;
    assert!(shown.len() >= 2, "{shown:?}");
    for survey in &shown {
        let plan = &survey["plan"];
        assert_eq!(plan["taken"]["node"], 1, "{survey}");
        assert_eq!(plan["loss"]["verdict"], "at risk", "two of three voters can acknowledge alone: {survey}");
    }
    let asked = demo.ask(5, &["shard", "recover"]).await;
    asked.fails(1, "--yes");
    assert!(asked.out.contains("AT RISK") && asked.out.contains("on node 1 goes on alone"), "{asked:?}");
    let done = demo.ask(5, &["shard", "recover", "--yes"]).await.done();
    assert!(done.contains("recovered by operation"), "{done}");
}

/// Every node that serves says the same, and the lost ones, which are back, hold nothing of what was.
async fn all_agree(demo: &Demo, kept: &BTreeMap<i64, i64>) {
    demo.ask(5, &["setting", "set", "placement.look_every", "1s"]).await.done();
    demo.ask(5, &["setting", "set", "placement.moves", "2"]).await.done();
    for node in [2, 3] {
        demo.restart(node);
    }
    let client = demo.client(5).await;
    let grown = "SELECT count(*) FROM quorate.shards WHERE replica_node_ids NOT LIKE '{%,%,%}'";
    let old = "SELECT count(*) FROM quorate.replicas r JOIN quorate.recoveries c ON r.shard_id = c.shard_id \
               WHERE r.replica_id < c.taken_replica_id";
    let mut open = Vec::new();
    for _ in 0..PATIENCE {
        open.clear();
        for query in [grown, old] {
            open.push(client.query_one(query, &[]).await.map_or(-1, |row| row.get::<_, i64>(0)));
        }
        if open == [0, 0] {
            break;
        }
        pause(Duration::from_millis(200)).await;
    }
    assert_eq!(open, [0, 0], "all shards have three copies again, and none is an old one");
    client.batch_execute("INSERT INTO ledger VALUES (999, 1)").await.unwrap();
    let mut with = kept.clone();
    with.insert(999, 1);
    for node in 1..=5 {
        assert_eq!(rows(demo, node).await, with, "by node {node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_the_interval_is_kept() {
    let (demo, mut paid) = ledger().await;
    let client = demo.client(5).await;
    for id in 21..=60 {
        pay(&client, id, &mut paid).await;
    }
    demo.kill(2);
    demo.kill(3);
    recover(&demo).await;

    let kept = rows(&demo, 5).await;
    let told = certificates(&demo).await;
    assert!(told.len() >= 2 && told.iter().all(|(_, loss, ..)| loss == "possible done"), "{told:?}");
    let from = told.iter().map(|(.., from, _)| from.expect("it was there all the time")).min().unwrap();
    let until = told.iter().map(|(.., until)| until.unwrap()).max().unwrap();
    assert!(from > paid[&20], "the closed timestamps had come so far: {told:?}");
    for (id, at) in &paid {
        let there = kept.contains_key(id) && kept.contains_key(&(1000 + id));
        assert!(there || (from..=until).contains(at), "{id} of {at} is missing: {told:?}");
    }
    let notices =
        "SELECT count(*) FROM quorate.shards WHERE notice LIKE 'acknowledged writes may be missing%'";
    let noticed: i64 = client.query_one(notices, &[]).await.unwrap().get(0);
    assert_eq!(noticed, told.len() as i64);
    all_agree(&demo, &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_copy_that_is_left_has_missed_is_lost_for_good() {
    let (demo, mut paid) = ledger().await;
    let client = demo.client(5).await;
    demo.kill(1);
    for id in 21..=40 {
        pay(&client, id, &mut paid).await;
    }
    demo.kill(2);
    demo.kill(3);
    // It cannot serve SQL before the shards are back.
    demo.spawn(1);
    recover(&demo).await;

    let kept = rows(&demo, 5).await;
    for id in 1..=20 {
        assert!(kept.contains_key(&id) && kept.contains_key(&(1000 + id)), "{id} was on all nodes: {kept:?}");
    }
    assert!(!kept.contains_key(&40), "{kept:?}");
    for (shard, loss, from, until) in certificates(&demo).await {
        assert_eq!(loss, "possible done", "shard {shard}");
        assert!(
            from < Some(paid[&21]) && until.unwrap() >= paid[&40],
            "shard {shard}: {from:?} to {until:?}"
        );
    }
    all_agree(&demo, &kept).await;
}
