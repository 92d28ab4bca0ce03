//! Full disks under real processes: who has space goes on, the others refuse in time, and all goes on when there is space
//! again, in the same processes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use support::{
    Demo,
    faults::{begin, refused},
    pause,
    tools::metric,
};
use tokio::process::Child;
use tokio_postgres::Client;

/// A refusal that takes longer is none.
const IN_TIME: Duration = Duration::from_secs(10);

/// A fault that lasts until it is healed.
async fn fill(demo: &Demo, node: &str) -> Child {
    begin(demo, &["fill-disk", node, "--for", "1h"]).await
}

/// Rows that were acknowledged.
#[derive(Default)]
struct Ledger {
    next: i64,
    written: BTreeSet<i64>,
}

impl Ledger {
    /// A new row; the error is that of the database.
    async fn write(&mut self, client: &Client) -> Result<(), String> {
        self.next += 1;
        let row = "INSERT INTO t VALUES ($1, repeat('x', 200000))";
        match client.execute(row, &[&self.next]).await {
            Ok(_) => {
                self.written.insert(self.next);
                Ok(())
            }
            Err(error) => Err(error.code().map_or_else(|| error.to_string(), |code| code.code().into())),
        }
    }

    /// Writes until one is taken.
    async fn written(&mut self, client: &Client) {
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.write(client).await {
            assert!(Instant::now() < until, "nothing can be written: {error}");
            pause(Duration::from_millis(100)).await;
        }
    }

    /// Writes until all are refused for want of space.
    async fn refused(&mut self, client: &Client) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let began = Instant::now();
            let outcome = self.write(client).await;
            if outcome == Err("53100".into()) {
                assert!(began.elapsed() < IN_TIME, "a refusal after {:?}", began.elapsed());
                return;
            }
            assert!(Instant::now() < until, "not refused: {outcome:?}");
        }
    }

    /// All that was acknowledged is there.
    async fn check(&self, client: &Client) {
        let rows = client.query("SELECT id FROM t", &[]).await.unwrap();
        let found: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let lost: Vec<_> = self.written.difference(&found).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

async fn disks(client: &Client) -> Vec<String> {
    let rows = client.query("SELECT disk FROM quorate.nodes ORDER BY node_id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn until_disks(client: &Client, expected: [&str; 3]) {
    for _ in 0..300 {
        if disks(client).await == expected {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("{:?} instead of {expected:?}", disks(client).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_are_survived() {
    if refused(&["--disk-size", "1MB"]) {
        return;
    }
    let demo = Demo::start_with(&["--disk-size", "512MB"]);
    let pids: Vec<i32> = demo.nodes().map(|node| demo.pid(node)).collect();
    let client = demo.client(2).await;
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, pad text)").await.unwrap();
    let mut ledger = Ledger::default();
    one_is_full(&demo, &client, &mut ledger).await;
    all_are_full(&demo, &client, &mut ledger).await;
    // Each is of use again: with another one away, it makes the quorum.
    demo.freeze(3, true);
    ledger.written(&client).await;
    demo.freeze(3, false);
    ledger.written(&demo.client(3).await).await;
    ledger.check(&demo.client(1).await).await;
    assert_eq!(demo.nodes().map(|node| demo.pid(node)).collect::<Vec<_>>(), pids);
    demo.assert_healthy().await;
}

/// It leads nothing, keeps up for as long as its log has space, and then waits; the others go on all the while.
async fn one_is_full(demo: &Demo, client: &Client, ledger: &mut Ledger) {
    ledger.written(client).await;
    demo.lead("t", 1).await;
    let mut issuer = fill(demo, "1").await;
    until_disks(client, ["full", "ok", "ok"]).await;
    // Until its log and its engine would need more than they have.
    for name in ["quorate_storage_log_no_space_total", "quorate_shard_flushes_without_space_total"] {
        while metric(&demo.http(1), name).await.is_none_or(|times| times == 0.0) {
            assert!(ledger.written.len() < 2000, "node 1 never tells of {name}");
            ledger.written(client).await;
        }
    }
    demo.fault(&["heal"]).await.done();
    assert!(issuer.wait().await.unwrap().success());
    until_disks(client, ["ok", "ok", "ok"]).await;
}

async fn all_are_full(demo: &Demo, client: &Client, ledger: &mut Ledger) {
    let mut issuers = Vec::new();
    for node in ["1", "2", "3"] {
        issuers.push(fill(demo, node).await);
    }
    for _ in 0..50 {
        ledger.refused(client).await;
    }
    let page = support::tools::page(&demo.http(1), "/health").await.unwrap();
    assert!(page.0 == 200 && page.1.contains("disk full"), "{page:?}");
    demo.fault(&["heal"]).await.done();
    for issuer in &mut issuers {
        assert!(issuer.wait().await.unwrap().success());
    }
    ledger.written(client).await;
    until_disks(client, ["ok", "ok", "ok"]).await;
}
