//! pgbench's TPC-B in each of its modes: no failed transaction, and the four sums agree.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::process::Command;
use support::{Demo, seconds};

/// pgbench itself; Debian's wrapper is not on every machine.
const PGBENCH: &str = "/usr/lib/postgresql/15/bin/pgbench";

fn pgbench(demo: &Demo, arguments: &[&str]) -> String {
    let port = demo.sql_port(1).to_string();
    let output = Command::new(PGBENCH)
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "root"])
        .args(arguments)
        .arg("quorate")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "pgbench {}: {text}", arguments.join(" "));
    text
}

#[tokio::test]
async fn tpc_b_in_every_mode() {
    let demo = Demo::start();
    let scale = std::env::var("QUORATE_PGBENCH_SCALE").unwrap_or_else(|_| "1".into());
    pgbench(&demo, &["-i", "-q", "-s", &scale]);
    let time = seconds(5).as_secs().to_string();
    for mode in ["simple", "extended", "prepared"] {
        let text = pgbench(&demo, &["-M", mode, "-c", "16", "-j", "2", "-T", &time, "-n"]);
        assert!(text.contains("number of failed transactions: 0 (0.000%)"), "{text}");
        eprintln!(
            "{mode}: {}",
            text.lines()
                .filter(|l| l.contains("tps") || l.contains("latency"))
                .collect::<Vec<_>>()
                .join("; ")
        );
    }
    let client = demo.client(3).await;
    let sums = client
        .query_one(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                    (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)",
            &[],
        )
        .await
        .unwrap();
    let sums: Vec<i64> = (0..4).map(|n| sums.get(n)).collect();
    assert!(sums.iter().all(|s| *s == sums[0]), "the sums differ: {sums:?}");
    demo.assert_healthy().await;
}
