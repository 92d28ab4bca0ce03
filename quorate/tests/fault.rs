//! `quorate fault` against real processes: what it does to them, and that everything is well again, whatever becomes of the one
//! who ordered it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use serde_json::Value;
use std::time::Duration;
use support::{
    Demo,
    faults::{begin, refused},
    pause,
    tools::metric,
};
use tokio::process::Child;

/// Until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("this never comes: {what}");
}

fn signal(issuer: &Child, name: &str) {
    let pid = issuer.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
}

fn file(demo: &Demo, name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", demo.data())).unwrap_or_default()
}

fn nothing_open(demo: &Demo) -> bool {
    serde_json::from_str::<Vec<Value>>(&file(demo, "faults.json")).is_ok_and(|open| open.is_empty())
}

fn is_stopped(demo: &Demo, node: u16) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", demo.pid(node))).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

fn runs(demo: &Demo, node: u16) -> bool {
    std::fs::read(format!("/proc/{}/cmdline", demo.pid(node))).is_ok_and(|line| !line.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes() {
    let demo = Demo::start_with(&["--faults"]);
    let client = demo.client(1).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY)").await.unwrap();
    killed_and_started(&demo).await;
    one_that_does_not_come_back_is_told(&demo).await;
    what_is_no_node_is_refused(&demo).await;
    a_pause_ends_with_its_issuer(&demo).await;
    restarted(&demo).await;
    a_node_troubles_itself(&demo).await;
    the_log_tells_all(&demo);
    demo.fault(&["fill-disk", "1", "--for", "1s"]).await.fails(1, "no mount of its own");
    a_series(&demo).await;
    demo.assert_healthy().await;
    a_demo_that_is_paused_can_be_stopped(&demo).await;
}

async fn killed_and_started(demo: &Demo) {
    let before = demo.pid(2);
    let said = demo.fault(&["kill", "2"]).await.done();
    assert!(said.contains("kill n2 begins") && said.contains("kill n2 ends"), "{said}");
    assert!(demo.pid(2) != before && runs(demo, 2));
    demo.fault(&["kill", "3", "--for", "forever"]).await.done();
    assert!(!runs(demo, 3) && !nothing_open(demo));
    demo.fault(&["pause", "3"]).await.fails(1, "another fault has the process of node 3");
    demo.fault(&["heal"]).await.done();
    assert!(runs(demo, 3) && nothing_open(demo));
    assert_eq!(demo.fault(&["heal"]).await.done(), "");
}

/// It writes its pid file, and ends when it has looked at its data.
async fn one_that_does_not_come_back_is_told(demo: &Demo) {
    demo.fault(&["kill", "2", "--for", "forever"]).await.done();
    let identity = format!("{}/n2/node.json", demo.data());
    let whole = std::fs::read(&identity).unwrap();
    std::fs::write(&identity, "no identity").unwrap();
    demo.fault(&["heal"]).await.fails(1, "could not be undone");
    assert!(!runs(demo, 2) && !nothing_open(demo));
    std::fs::write(&identity, whole).unwrap();
    demo.fault(&["heal"]).await.done();
    assert!(runs(demo, 2) && nothing_open(demo));
}

async fn what_is_no_node_is_refused(demo: &Demo) {
    demo.fault(&["kill", "7"]).await.fails(1, "the demo has no node 7");
    demo.fault(&["kill", "first"]).await.fails(1, "`first` is no node");
    demo.fault(&["pause", "leader-of", "nothing"]).await.fails(1, "nothing");
    demo.fault(&["pause", "1", "--for", "forever"]).await.fails(2, "not a duration");
}

async fn a_pause_ends_with_its_issuer(demo: &Demo) {
    let issuer = begin(demo, &["pause", "2", "--for", "1h"]).await;
    until("node 2 is stopped", || is_stopped(demo, 2)).await;
    signal(&issuer, "-KILL");
    until("node 2 goes on", || !is_stopped(demo, 2) && nothing_open(demo)).await;
    let mut issuer = begin(demo, &["pause", "3", "--for", "1h"]).await;
    until("node 3 is stopped", || is_stopped(demo, 3)).await;
    signal(&issuer, "-INT");
    assert!(!issuer.wait().await.unwrap().success());
    assert!(!is_stopped(demo, 3) && nothing_open(demo));
}

async fn restarted(demo: &Demo) {
    let pids = || demo.nodes().map(|node| demo.pid(node)).collect::<Vec<_>>();
    let before = pids();
    demo.fault(&["restart", "leader-of", "t"]).await.done();
    let after = pids();
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    demo.fault(&["rolling-restart", "--pause", "0s"]).await.done();
    assert!(after.iter().zip(&pids()).all(|(before, after)| before != after));
}

async fn a_node_troubles_itself(demo: &Demo) {
    let told =
        |what: &str| demo.log(2).lines().any(|line| line.contains("make trouble") && line.contains(what));
    let mut latency =
        begin(demo, &["latency", "2", "--delay", "20ms", "--jitter", "5ms", "--for", "1h"]).await;
    let mut disk = begin(demo, &["slow-disk", "2", "--fsync", "15ms", "--for", "1h"]).await;
    until("node 2 is slow", || told("delay_ms: 20, jitter_ms: 5, fsync_ms: 15")).await;
    written(demo, 2).await;
    signal(&disk, "-KILL");
    disk.wait().await.unwrap();
    until("its disk is as ever", || told("delay_ms: 20, jitter_ms: 5, fsync_ms: 0")).await;
    demo.fault(&["clock", "2", "--for", "1h"]).await.fails(1, "say --offset or --rate");
    let mut clock =
        begin(demo, &["clock", "2", "--offset", "-200ms", "--rate", "1.001", "--for", "1h"]).await;
    until_fenced(demo, 2, true).await;
    demo.fault(&["heal"]).await.done();
    for issuer in [&mut latency, &mut clock] {
        assert!(issuer.wait().await.unwrap().success());
    }
    until_fenced(demo, 2, false).await;
    written(demo, 2).await;
}

/// Until the node finds, or finds no more, that its clock strays.
async fn until_fenced(demo: &Demo, node: u16, fenced: bool) {
    for _ in 0..600 {
        let gauge = metric(&demo.http(node), "quorate_env_clock_fenced").await;
        if gauge.is_some_and(|gauge| (gauge > 0.0) == fenced) {
            return;
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("node {node} is not as it should be: fenced is not {fenced}");
}

async fn a_series(demo: &Demo) {
    let series = ["run", "--seed", "1", "--for", "3s", "--every", "1s", "--json", "--kinds"];
    let said = demo.fault(&[&series[..], &["kill,latency,clock"]].concat()).await.done();
    assert!(said.lines().count() >= 6, "{said}");
    demo.fault(&[&series[..], &["loss"]].concat()).await.fails(1, "needs a demo made with --isolated");
}

/// Every beginning has an end.
fn the_log_tells_all(demo: &Demo) {
    let lines: Vec<Value> =
        file(demo, "faults.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |phase: &str| lines.iter().filter(|line| line["phase"] == phase && line["outcome"] == "ok").count();
    assert!(of("begins") == of("ends") && of("begins") == 12, "{lines:#?}");
    assert_eq!(lines[0]["arguments"], serde_json::json!({ "node": 2, "for_ms": 0 }));
}

async fn a_demo_that_is_paused_can_be_stopped(demo: &Demo) {
    let mut issuer = begin(demo, &["pause", "2", "--for", "1h"]).await;
    let process = format!("/proc/{}/cmdline", demo.pid(2));
    demo.quorate(&["demo", "stop", "--data", demo.data()]);
    assert!(!std::fs::read(process).is_ok_and(|line| !line.is_empty()));
    assert!(nothing_open(demo));
    assert!(issuer.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks() {
    if refused(&["--isolated"]) {
        return;
    }
    let demo = Demo::start_with(&["--isolated", "--disk-size", "256MB"]);
    let client = demo.client(1).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY)").await.unwrap();
    let issuer = begin(&demo, &["partition", "3", "--for", "1h"]).await;
    cut_off(&demo, 3).await;
    assert_eq!(rules(&demo), [1, 1, 2]);
    signal(&issuer, "-KILL");
    until("the rules are gone", || nothing_open(&demo)).await;
    assert_eq!(rules(&demo), [0, 0, 0]);
    written(&demo, 3).await;
    let mut issuer = begin(&demo, &["loss", "2", "--percent", "30", "--for", "1h"]).await;
    assert_eq!(rules(&demo), [1, 2, 1]);
    let mut second = begin(&demo, &["partition", "1,2", "--from", "3", "--one-way", "--for", "1h"]).await;
    assert_eq!(rules(&demo), [2, 3, 1]);
    demo.fault(&["heal"]).await.done();
    assert_eq!(rules(&demo), [0, 0, 0]);
    // Their issuers notice it.
    for issuer in [&mut issuer, &mut second] {
        assert!(issuer.wait().await.unwrap().success());
    }
    demo.fault(&["partition", "1", "--for", "0s"]).await.done();
    demo.fault(&["partition", "1", "--from", "1"]).await.fails(1, "from itself");
    written(&demo, 3).await;
    let namespace = namespace(&demo, 1);
    demo.quorate(&["demo", "stop", "--data", demo.data()]);
    assert!(!std::path::Path::new("/run/netns").join(namespace).exists());
    demo.up();
    a_full_disk(&demo).await;
}

/// The others go on without the node, and it comes back.
async fn a_full_disk(demo: &Demo) {
    written(demo, 2).await;
    let ballast = format!("{}/n2/ballast-of-a-fault", demo.data());
    let ballast = std::path::Path::new(&ballast);
    let issuer = begin(demo, &["fill-disk", "2", "--for", "1h"]).await;
    assert!(ballast.exists());
    written(demo, 1).await;
    signal(&issuer, "-KILL");
    until("there is space again", || nothing_open(demo)).await;
    assert!(!ballast.exists());
    written(demo, 2).await;
}

/// It answers clients, and can write nothing; the others can.
async fn cut_off(demo: &Demo, node: u16) {
    let client = demo.client(node).await;
    client.batch_execute("SELECT 1; SET statement_timeout = '2s'").await.unwrap();
    let refused = client.execute("INSERT INTO t VALUES (-1)", &[]).await;
    assert!(refused.is_err(), "node {node} writes without a quorum");
    written(demo, node % 3 + 1).await;
}

/// Waits until the node can write a new row.
async fn written(demo: &Demo, node: u16) {
    for _ in 0..300 {
        let new = "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t";
        if let Ok(client) = demo.try_client(node).await
            && client.execute(new, &[]).await.is_ok()
        {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("node {node} cannot write");
}

fn namespace(demo: &Demo, node: u16) -> String {
    let cluster: Value = serde_json::from_str(&file(demo, "cluster.json")).unwrap();
    let start = cluster["nodes"][usize::from(node - 1)]["start"].as_str().unwrap().to_owned();
    start.split(' ').nth(3).unwrap().to_owned()
}

/// How many rules each node's namespace has.
fn rules(demo: &Demo) -> Vec<usize> {
    let of = |node| {
        let namespace = namespace(demo, node);
        let listing = ["netns", "exec", &namespace, "iptables", "-S", "INPUT"];
        let output = std::process::Command::new("ip").args(listing).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("quorate-")).count()
    };
    demo.nodes().map(of).collect()
}
