//! The operators' tools on one cluster, in the order in which an operator meets them: each command's effect, exit code and
//! errors, the nodes' pages, and what becomes of the clients of a node that is told to stop.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    future::Future,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{
    Demo, pause, terminate,
    tools::{command, metric, page, quorate},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use tokio_postgres::{Client, NoTls, error::SqlState};

/// Until `look` finds something.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    for _ in 0..300 {
        if let Some(found) = look().await {
            return found;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("this never comes: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_tools() {
    let demo = Arc::new(Demo::start());
    let client = demo.client(1).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int8 PRIMARY KEY); INSERT INTO t SELECT g FROM generate_series(1, 90) g;
             ALTER TABLE t SPLIT AT VALUES (30), (60)",
        )
        .await
        .unwrap();
    what_is_mistyped_is_refused().await;
    a_node_without_a_cluster(&demo).await;
    pages(&demo).await;
    cluster_and_nodes(&demo).await;
    sessions(&demo).await;
    settings(&demo).await;
    splits(&demo).await;
    leaders(&demo).await;
    a_new_node_takes_copies(&demo).await;
    a_node_is_restarted(&demo).await;
    a_frozen_node(&demo).await;
    a_node_that_is_told_to_stop(&demo).await;
    demo.assert_healthy().await;
    the_end(&demo).await;
}

async fn what_is_mistyped_is_refused() {
    let mistakes: [(&[&str], &str); 7] = [
        (&["nonsense"], "unrecognized subcommand"),
        (&["shard", "move", "1"], "--from"),
        (&["shard", "move", "one", "--from", "1", "--to", "2"], "invalid value"),
        (&["node", "ls", "--jason"], "--jason"),
        (&["demo", "restart"], "<NODE>"),
        (&["setting", "set", "a"], "<VALUE>"),
        (&["start", "--node-id", "0"], "--node-id"),
    ];
    for (arguments, why) in mistakes {
        quorate(arguments).await.fails(2, why);
    }
    quorate(&["node", "ls", "--host", "127.0.0.1:1"]).await.fails(1, "cannot reach 127.0.0.1:1");
    quorate(&["node", "ls", "--host", "no where"]).await.fails(1, "is not HOST:PORT");
    let nowhere = "/nonexistent/demo";
    for command in [&["status"][..], &["stop"], &["restart", "1"], &["add-node"]] {
        let arguments = [&["demo"][..], command, &["--data", nowhere]].concat();
        quorate(&arguments).await.fails(1, "there is no demo in");
    }
}

/// It waits for another one that is not there.
async fn a_node_without_a_cluster(demo: &Demo) {
    const ID: u16 = 7;
    let (rpc, sql, http) = (demo.rpc(ID), format!("127.0.0.1:{}", demo.sql_port(ID)), demo.http(ID));
    let data = format!("{}/stranger", demo.data());
    let mut arguments = vec!["start", "--node-id", "7", "--data", &data, "--join", "127.0.0.1:1"];
    arguments.extend(["--rpc", &rpc, "--sql", &sql, "--http", &http]);
    let mut node = command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    for path in ["/health", "/ready"] {
        let (status, why) = eventually(path, || page(&http, path)).await;
        assert!(status == 503 && why.contains("no cluster"), "{status} {why}");
    }
    eventually("an answer about the missing cluster", || async {
        let ran = demo.ask(ID, &["node", "ls"]).await;
        (ran.code == Some(1) && ran.err.contains("run `quorate init")).then_some(())
    })
    .await;
    let mut founding = command(&["init", "--host", &rpc]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(founding.stderr.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(30), said.next_line()).await.expect("progress").unwrap().unwrap();
    assert!(line.contains(&rpc) && line.contains("founding the cluster"), "{line}");
    founding.kill().await.unwrap();
    terminate(node.id().unwrap());
    let ended = timeout(Duration::from_secs(30), node.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
}

async fn pages(demo: &Demo) {
    let mut led = 0.0;
    for node in demo.nodes() {
        let address = demo.http(node);
        assert_eq!(page(&address, "/health").await, Some((200, "ok\n".into())));
        eventually("a node that knows all leaders", || async {
            page(&address, "/ready").await.filter(|(status, _)| *status == 200)
        })
        .await;
        let (status, console) = page(&address, "/").await.unwrap();
        assert!(status == 200 && console.contains("replicas here"), "{console}");
        assert_eq!(page(&address, "/nothing").await.unwrap().0, 404);
        // Every node holds all shards here, and the driver's group.
        let groups = eventually("the number of groups", || async {
            metric(&address, "quorate_consensus_groups").await.filter(|groups| *groups >= 4.0)
        })
        .await;
        assert!(groups < 50.0, "{groups} groups");
        assert!(metric(&address, "quorate_storage_log_fsyncs_total").await.is_some_and(|n| n >= 3.0));
        let (status, body) = page(&address, "/metrics").await.unwrap();
        let told = |series: &str| {
            let line = body.lines().find_map(|line| line.strip_prefix(series)).expect(series);
            line.trim().parse::<f64>().unwrap()
        };
        assert_eq!(status, 200);
        assert_eq!(told("quorate_shard_replicas{mode=\"degraded\"}"), 0.0);
        assert!((3.0..50.0).contains(&told("quorate_shard_replicas{mode=\"target\"}")), "{body}");
        let lag = |between: &str| told(&format!("quorate_shard_lag_sum_entries{{between=\"{between}\"}}"));
        let kept = lag("applied_flushed") + lag("flushed_trimmed");
        assert!((1.0..100_000.0).contains(&kept), "entries that are applied and still in the log: {kept}");
        assert!(told("quorate_shard_lag_max_entries{between=\"committed_applied\"}") < 1000.0);
        led += metric(&address, "quorate_consensus_groups_led").await.unwrap();
    }
    assert!(led >= 3.0, "of all groups the three nodes lead {led}");
    let statements = metric(&demo.http(1), "quorate_sql_statements_total").await.unwrap();
    assert!((3.0..1000.0).contains(&statements), "{statements} statements");
}

async fn cluster_and_nodes(demo: &Demo) {
    let id = demo.ask(1, &["init", "--json"]).await.json()["cluster_id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(demo.ask(3, &["init"]).await.done().trim(), format!("cluster {id}"), "it is founded once");

    let status = demo.manage(&["status", "--json"]).await.json();
    for (node, shown) in demo.nodes().zip(status["nodes"].as_array().unwrap()) {
        assert_eq!(shown["pid"], demo.pid(node));
        assert_eq!((&shown["running"], &shown["sql"]), (&true.into(), &true.into()));
    }
    assert_eq!(demo.manage(&["status"]).await.done().matches("serves SQL").count(), 3);

    let nodes = demo.ask(2, &["node", "ls", "--json"]).await.json();
    assert_eq!(nodes.as_array().unwrap().len(), 3);
    assert_eq!(nodes[2]["node"], "3");
    assert_eq!(nodes[2]["sql"], format!("127.0.0.1:{}", demo.sql_port(3)));
    assert!(demo.ask(2, &["node", "ls"]).await.done().contains("clock offset"));
    let one = demo.ask(3, &["node", "status", "2", "--json"]).await.json();
    assert_eq!((&one[0]["node"], &one[0]["state"]), (&"2".into(), &"live".into()));
    demo.ask(3, &["node", "status", "9"]).await.fails(1, "no node 9");
}

/// Those of all nodes are seen from each, and ended from each.
async fn sessions(demo: &Demo) {
    let (operator, other) = (demo.client(1).await, demo.client(2).await);
    other.batch_execute("SET application_name = 'the other'").await.unwrap();
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let shown = "SELECT pid, state, query FROM pg_stat_activity WHERE application_name = 'the other'";
    let seen = async || operator.query(shown, &[]).await.unwrap();
    let idle = seen().await.remove(0);
    assert_eq!((idle.get::<_, i32>(0), idle.get::<_, &str>(1)), (pid, "idle"));
    let sleeps = async { other.batch_execute("SELECT pg_sleep(1000)").await.expect_err("it is cancelled") };
    let cancels = async {
        while seen().await[0].get::<_, &str>("state") != "active" {
            pause(Duration::from_millis(10)).await;
        }
        operator.query_one("SELECT pg_cancel_backend($1)", &[&pid]).await.unwrap().get::<_, bool>(0)
    };
    let (error, told) = tokio::join!(sleeps, cancels);
    assert!(told && error.code() == Some(&SqlState::QUERY_CANCELED), "{error:?}");
    let ended = operator.query_one("SELECT pg_terminate_backend($1, 10000)", &[&pid]).await.unwrap();
    assert!(ended.get::<_, bool>(0) && seen().await.is_empty());
    assert!(other.batch_execute("SELECT 1").await.is_err());
}

async fn settings(demo: &Demo) {
    const NAME: &str = "placement.repair_after";
    let shown = || async { demo.ask(1, &["setting", "ls", "--json"]).await.json() };
    let value = |all: Value| {
        let mut all = all.as_array().unwrap().clone().into_iter();
        all.find(|setting| setting["name"] == NAME).unwrap()["value"].clone()
    };
    assert_eq!(value(shown().await), "5min");
    demo.ask(3, &["setting", "set", NAME, "1h"]).await.done();
    assert_eq!(value(shown().await), "1h");
    demo.ask(1, &["setting", "set", NAME, "soon"]).await.fails(1, "no duration");
    demo.ask(1, &["setting", "set", "closing_target", "1ms"]).await.fails(1, "four times the clock bound");
    demo.ask(1, &["setting", "set", "nonsense", "1h"]).await.fails(1, "no cluster setting");
    assert_eq!(value(shown().await), "1h");
    assert!(demo.ask(2, &["setting", "ls"]).await.done().contains(NAME));
}

async fn shards(demo: &Demo) -> Vec<Value> {
    demo.ask(1, &["shard", "ls", "--json"]).await.json().as_array().unwrap().clone()
}

fn id(shard: &Value) -> &str {
    shard["shard"].as_str().unwrap()
}

async fn splits(demo: &Demo) {
    let before = shards(demo).await;
    // A key of the table, as the SQL above has split it.
    let start = before.iter().map(|shard| shard["start"].as_str().unwrap()).max().unwrap();
    let next = format!("{start}00");
    let answer = demo.ask(2, &["shard", "split", &next, "--json"]).await.json();
    assert!(answer["operation"].is_u64(), "{answer}");
    let after = shards(demo).await;
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.iter().any(|shard| shard["start"] == next.as_str()));
    // Once more changes nothing.
    assert!(demo.ask(3, &["shard", "split", &next]).await.done().contains("done"));
    assert_eq!(shards(demo).await.len(), after.len());
    demo.ask(1, &["shard", "split", "xyz"]).await.fails(1, "not hexadecimal");
    demo.ask(1, &["shard", "split", ""]).await.fails(1, "inside the key space");
    // And back: the left one takes the keys of the one behind it over.
    let left = after.iter().find(|shard| shard["end"] == next.as_str()).unwrap();
    let answer = demo.ask(2, &["shard", "merge", id(left), "--json"]).await.json();
    assert!(answer["operation"].is_u64(), "{answer}");
    let merged = shards(demo).await;
    assert_eq!(merged.len(), before.len());
    assert!(merged.iter().any(|shard| id(shard) == id(left) && shard["start"] == start), "{merged:?}");
    demo.ask(1, &["shard", "merge", id(left)]).await.fails(1, "the last one");
    demo.ask(1, &["shard", "merge", "77777"]).await.fails(1, "no shard");
    let rows: i64 = demo.client(2).await.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows, 90);
}

/// Gives node 2 the lead of all shards.
async fn leaders(demo: &Demo) {
    for shard in shards(demo).await {
        demo.ask(1, &["shard", "transfer-leader", id(&shard), "--to", "2"]).await.done();
    }
    eventually("node 2 leads all", || async {
        shards(demo).await.iter().all(|shard| shard["leader"] == "2").then_some(())
    })
    .await;
    demo.ask(2, &["shard", "transfer-leader", "1", "--to", "9"]).await.fails(1, "no node 9");
    demo.ask(2, &["shard", "transfer-leader", "77777", "--to", "1"]).await.fails(1, "no shard");
    assert!(demo.ask(3, &["shard", "ls"]).await.done().contains("config epoch"));
}

async fn a_new_node_takes_copies(demo: &Demo) {
    let added = demo.manage(&["add-node"]).await.done();
    assert!(added.contains("n4") && added.contains(&demo.sql_port(4).to_string()), "{added}");
    eventually("the fourth node among the nodes", || async {
        let nodes = demo.ask(1, &["node", "ls", "--json"]).await.json();
        (nodes.as_array().unwrap().len() == 4 && nodes[3]["state"] == "live").then_some(())
    })
    .await;
    let rows: i64 = demo.client(4).await.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows, 90);
    let last = shards(demo).await.pop().unwrap();
    assert_eq!(last["nodes"], "1,2,3");
    let shard = id(&last);
    demo.ask(3, &["shard", "move", shard, "--from", "3", "--to", "4"]).await.done();
    let moved = shards(demo).await.into_iter().find(|s| id(s) == shard).unwrap();
    let holders: BTreeSet<&str> = moved["nodes"].as_str().unwrap().split(',').collect();
    assert_eq!(holders, BTreeSet::from(["1", "2", "4"]));
    demo.ask(3, &["shard", "move", shard, "--from", "1", "--to", "4"]).await.fails(1, "already");
    demo.ask(3, &["shard", "move", shard, "--from", "1", "--to", "9"]).await.fails(1, "no node 9");
    demo.ask(1, &["shard", "move", shard, "--from", "4", "--to", "3"]).await.done();
}

async fn a_node_is_restarted(demo: &Demo) {
    let before = demo.pid(3);
    demo.manage(&["restart", "3"]).await.done();
    assert_ne!(demo.pid(3), before);
    let rows: i64 = demo.client(3).await.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows, 90);
    demo.manage(&["restart", "9"]).await.fails(1, "no node 9");
}

async fn a_frozen_node(demo: &Demo) {
    demo.freeze(2, true);
    demo.ask(2, &["node", "ls"]).await.fails(1, &demo.rpc(2));
    let status = demo.manage(&["status"]).await.done();
    demo.freeze(2, false);
    assert!(status.contains("n2  runs, does not answer SQL"), "{status}");
    assert!(status.contains("n1  serves SQL"), "{status}");
    eventually("node 2 answers again", async || {
        let status = demo.manage(&["status"]).await.done();
        status.contains("n2  serves SQL").then_some(())
    })
    .await;
}

/// What one client was told.
struct Writer {
    acknowledged: Vec<i64>,
    /// Why it could not go on: the SQLSTATE, or none if the connection broke without a word.
    last_word: Option<SqlState>,
}

/// Inserts until told to stop, or sent away.
async fn write(url: String, first: i64, stop: Arc<AtomicBool>) -> Writer {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let link = tokio::spawn(connection);
    let mut writer = Writer { acknowledged: Vec::new(), last_word: None };
    let insert = client.prepare("INSERT INTO t VALUES ($1)").await.unwrap();
    for id in first.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        match client.execute(&insert, &[&id]).await {
            Ok(_) => writer.acknowledged.push(id),
            Err(error) => {
                writer.last_word = error.code().cloned();
                break;
            }
        }
    }
    drop(client);
    if let Err(error) = link.await.unwrap() {
        writer.last_word = writer.last_word.or(error.code().cloned());
    }
    writer
}

async fn found(client: &Client, first: i64) -> Vec<i64> {
    let query = format!("SELECT id FROM t WHERE id BETWEEN {first} AND {} ORDER BY id", first + 999_999);
    client.query(&query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Its statements end, its clients are told, its leaderships go to others before it does, and nobody misses anything.
async fn a_node_that_is_told_to_stop(demo: &Arc<Demo>) {
    leaders(demo).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for n in 0..6u16 {
        let (gateway, first) = (1 + n % 3, 1_000_000 * i64::from(n + 1));
        writers.push((gateway, first, tokio::spawn(write(demo.url(gateway), first, stop.clone()))));
    }
    // What is under way is let end, and so keeps the process there to be looked at.
    let sleeper = demo.client(2).await;
    let sleeping = tokio::spawn(async move { sleeper.batch_execute("SELECT pg_sleep(5)").await });
    pause(Duration::from_secs(1)).await;
    let pid = demo.pid(2);
    demo.terminate(2);

    let address = demo.http(2);
    eventually("a node that says that it drains", || async {
        page(&address, "/ready").await.filter(|(status, why)| *status == 503 && why.contains("draining"))
    })
    .await;
    assert_eq!(page(&address, "/health").await.unwrap().0, 503);
    eventually("a node that leads nothing", || async {
        metric(&address, "quorate_consensus_groups_led").await.filter(|led| *led == 0.0)
    })
    .await;
    assert!(!sleeping.is_finished(), "leaderships go while statements run");
    sleeping.await.unwrap().expect("a statement that was under way");
    eventually("the end of the process", || async {
        (!std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()).then_some(())
    })
    .await;
    let log = demo.log(2);
    let farewell = log.lines().find(|line| line.contains("\"drained\"")).expect("a farewell");
    assert!(farewell.contains("\"leaderships\":0") && farewell.contains("\"sessions\":0"), "{farewell}");
    assert!(demo.manage(&["status"]).await.done().contains("n2  stopped"));

    stop.store(true, Ordering::SeqCst);
    let client = demo.client(1).await;
    for (gateway, first, writer) in writers {
        let Writer { acknowledged, last_word } = writer.await.unwrap();
        let expected = (gateway == 2).then_some(SqlState::ADMIN_SHUTDOWN);
        assert_eq!(last_word, expected, "what the client of node {gateway} was told");
        assert!(!acknowledged.is_empty());
        assert_eq!(found(&client, first).await, acknowledged, "what was written through node {gateway}");
    }
    demo.manage(&["restart", "2"]).await.done();
}

async fn the_end(demo: &Demo) {
    demo.manage(&["stop"]).await.done();
    let status = demo.manage(&["status", "--json"]).await.json();
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4);
    assert!(nodes.iter().all(|node| node["running"] == false && node["sql"] == false), "{status}");
    assert!(page(&demo.http(1), "/health").await.is_none());
    demo.ask(1, &["node", "ls"]).await.fails(1, "cannot reach");
    demo.manage(&["stop"]).await.done();
}
