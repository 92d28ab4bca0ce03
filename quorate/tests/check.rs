//! `quorate check isolation` against real processes: it finds nothing while a node is killed and comes back, and it finds what
//! somebody changes behind its clients' backs.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{process::Stdio, time::Duration};
use support::{
    Demo, pause, seconds,
    tools::{Ran, command},
};
use tokio::process::Child;
use tokio_postgres::Client;

fn urls(demo: &Demo) -> String {
    demo.nodes().map(|node| demo.url(node)).collect::<Vec<_>>().join(",")
}

fn start(demo: &Demo, clients: u32, arguments: &[&str]) -> Child {
    let (urls, clients) = (urls(demo), clients.to_string());
    let all = [&["check", "isolation", "--clients", &clients, "--url", &urls], arguments].concat();
    command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn end(check: Child) -> Ran {
    let output = check.wait_with_output().await.unwrap();
    let text = |raw| String::from_utf8(raw).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// As Ctrl-C does: it judges what was seen so far.
async fn interrupt(check: Child) -> Ran {
    let pid = check.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    end(check).await
}

/// Waits until a table of the check has rows; returns its name.
async fn in_use(client: &Client, table: &str) -> String {
    for _ in 0..1200 {
        let found = format!("SELECT schemaname::text FROM pg_tables WHERE tablename = '{table}'");
        if let Ok(Some(row)) = client.query_opt(&found, &[]).await {
            let name = format!("{}.{table}", row.get::<_, String>(0));
            let filled = client.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await;
            if filled.is_ok_and(|row| row.get::<_, i64>(0) > 0) {
                return name;
            }
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("nothing comes into {table}");
}

async fn nothing_stays(client: &Client) {
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'quorate_check%'";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0, "its tables are dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_causes_no_anomaly_and_a_changed_row_does() {
    let demo = Demo::start();
    let client = demo.client(1).await;
    let check = start(&demo, 6, &["--duration", "21s", "--json"]);
    // The second run's table, so that the node dies under transactions of all sorts.
    in_use(&client, "ledger_1").await;
    demo.kill(2);
    pause(Duration::from_secs(5)).await;
    demo.restart(2);
    let report = end(check).await.json();
    let sections = report["sections"].as_array().unwrap();
    assert_eq!((report["strict"].as_bool(), sections.len()), (Some(true), 7), "{report:#}");
    let mut lost = 0;
    for section in sections {
        assert!(section["findings"].as_array().unwrap().is_empty(), "{section:#}");
        assert!(section["committed"].as_u64().unwrap() > 0, "{section:#}");
        lost += section["refusals"][""].as_u64().unwrap_or(0);
    }
    assert!(lost > 0, "clients were connected to the node that was killed: {report:#}");
    nothing_stays(&client).await;
    what_is_changed_behind_their_backs_is_found(&demo, &client).await;
    demo.assert_healthy().await;
}

/// One command: faults strike, the history is judged, and a page shows both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_and_what_came_of_them_are_on_one_page() {
    let demo = Demo::start_with(&["--faults"]);
    let page = format!("{}/report.html", demo.data());
    let levels =
        ["--level", "serializable", "--workload", "list-append,bank", "--duration", "12s", "--clients", "6"];
    let faults =
        ["--data", demo.data(), "--faults", "kill,pause,clock", "--every", "4s", "--report", &page, "--json"];
    let mut check = command(&[&["check", "isolation"][..], &levels, &faults].concat());
    let check = check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let report = end(check).await.json();
    let sections = report["sections"].as_array().unwrap();
    assert!(sections.iter().all(|section| section["findings"].as_array().unwrap().is_empty()), "{report:#}");
    let marks = report["marks"].as_array().unwrap();
    assert!((3..=6).contains(&marks.len()), "{report:#}");
    let time = |mark: &serde_json::Value, name: &str| mark[name].as_u64().unwrap();
    assert!(marks.iter().all(|mark| time(mark, "from_ms") < time(mark, "to_ms")), "{marks:#?}");
    for section in sections {
        let pace = section["pace"].as_array().unwrap();
        let committed: u64 = pace.iter().map(|second| second["committed"].as_u64().unwrap()).sum();
        assert_eq!(Some(committed), section["committed"].as_u64());
    }
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("Isolation: <span class=\"good\">no anomaly</span>"), "{html}");
    assert_eq!(html.matches("class=\"mark\"").count(), marks.len());
    let beside = std::fs::read_to_string(page.replace(".html", ".json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&beside).unwrap(), report);
    demo.assert_healthy().await;
}

/// Leadership is handed around and shards are split in the midst of transactions, and gateways die amid commits; for as long as
/// `QUORATE_TEST_SECONDS` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_splits_and_dying_gateways_cause_no_anomaly() {
    let demo = Demo::start();
    let client = demo.client(1).await;
    // So that transactions that have lasted for long still commit where they have read, in the midst of what others have done.
    let late = ["setting", "set", "closing_target", "30s"];
    let mut tries = 0;
    while demo.ask(1, &late).await.code != Some(0) {
        tries += 1;
        assert!(tries < 100, "the setting cannot be changed");
        pause(Duration::from_millis(100)).await;
    }
    let duration = format!("{}s", seconds(16).as_secs());
    let workload =
        ["--level", "serializable", "--workload", "list-append", "--duration", &duration, "--json"];
    let check = start(&demo, 16, &workload);
    let lists = in_use(&client, "lists_0").await;
    let report = tokio::select! {
        report = end(check) => report,
        () = stir(&demo, &lists) => unreachable!("it has no end"),
    };
    let report = report.json();
    let section = &report["sections"][0];
    println!("{} committed, refused: {}", section["committed"], section["refusals"]);
    assert!(section["findings"].as_array().unwrap().is_empty(), "{section:#}");
    demo.up();
    nothing_stays(&client).await;
    demo.assert_healthy().await;
}

/// Troubles the shards of the table, again and again. What cannot be done just then is left out.
async fn stir(demo: &Demo, table: &str) {
    let client = demo.client(1).await;
    for round in 1u64.. {
        pause(Duration::from_millis(100)).await;
        match round % 8 {
            // The first node stays, as whoever looks on is its client.
            0 if round % 16 == 0 => {
                let node = if round % 32 == 0 { 2 } else { 3 };
                demo.kill(node);
                pause(Duration::from_millis(500)).await;
                drop(demo.manage(&["restart", &node.to_string()]).await);
            }
            1 | 5 => {
                // Through one of the stretches of keys that the lists lie in.
                let at = round / 4 % 8 * 1_000_000 + round / 32 + 1;
                drop(client.batch_execute(&format!("ALTER TABLE {table} SPLIT AT VALUES ({at})")).await);
            }
            _ => {
                let shards = client.query(&format!("SHOW SHARDS FROM TABLE {table}"), &[]).await;
                let shards: Vec<i64> = shards.iter().flatten().map(|row| row.get("shard_id")).collect();
                let Some(shard) = shards.get(round as usize % shards.len().max(1)) else { continue };
                let (shard, to) = (shard.to_string(), (round / 3 % 3 + 1).to_string());
                drop(demo.ask(1, &["shard", "transfer-leader", &shard, "--to", &to]).await);
            }
        }
    }
}

async fn what_is_changed_behind_their_backs_is_found(demo: &Demo, client: &Client) {
    let arguments = ["--duration", "600s", "--level", "read-committed", "--workload"];
    let check = start(demo, 6, &[&arguments[..], &["list-append"]].concat());
    let lists = in_use(client, "lists_0").await;
    change(client, &format!("DELETE FROM {lists} WHERE k = (SELECT min(k) FROM {lists})")).await;
    anomaly(&interrupt(check).await, "an acknowledged write is lost");
    nothing_stays(client).await;

    let check = start(demo, 6, &[&arguments[..], &["bank"]].concat());
    let ledger = in_use(client, "ledger_0").await;
    let accounts = ledger.replace("ledger_0", "accounts_0");
    change(client, &format!("UPDATE {accounts} SET balance = balance + 1 WHERE id = 3")).await;
    anomaly(&interrupt(check).await, "a balance that the ledger does not explain");
    nothing_stays(client).await;
}

fn anomaly(ran: &Ran, name: &str) {
    ran.fails(1, "anomalies found");
    assert!(ran.out.contains(&format!("ANOMALY {name}")), "{name}: {ran:?}");
}

/// Changes a row, once others let it.
async fn change(client: &Client, sql: &str) {
    for _ in 0..200 {
        match client.execute(sql, &[]).await {
            Ok(1) => return,
            Ok(_) => {}
            Err(error) => {
                assert!(error.code().is_some_and(|state| state.code().starts_with("40")), "{error:?}");
            }
        }
    }
    panic!("{sql} changes nothing");
}
