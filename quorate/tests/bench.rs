//! `quorate bench` against a cluster that it did not start: what the nodes count arrives in its figures, what nobody can tell
//! is said to be unknown, and no money is made or lost.

mod support;

use support::Demo;

const ACCOUNTS: i64 = 60;
/// What every account begins with.
const OPENING: i64 = 1000;

#[tokio::test]
async fn transfers_are_counted_and_the_totals_agree() {
    let demo = Demo::start();
    let urls: Vec<String> = demo.nodes().map(|node| demo.url(node)).collect();
    let (urls, accounts) = (urls.join(","), ACCOUNTS.to_string());
    let arguments = ["bench", "transfer", "--url", &urls, "--accounts", &accounts, "--json", "-"];
    let limits = ["--clients", "3", "--duration", "4s", "--turns", "2"];
    let figures = demo.quorate(&[&arguments[..], &limits].concat());
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("nothing but the figures");

    let ours = figures["quorate"].as_object().unwrap();
    assert!(ours["transactions"].as_u64().unwrap() > 0);
    let counted = ["consensus_rounds", "raft_entries", "calls", "fsyncs", "bytes"].map(|what| {
        let each = ours[&format!("{what}_per_txn")].as_f64();
        each.unwrap_or_else(|| panic!("{what} was not counted: {ours:?}"))
    });
    assert!(counted.iter().all(|each| *each > 0.0), "{ours:?}");
    assert!(ours["consensus_rounds_per_txn"].as_f64().unwrap() < 2.0, "{ours:?}");
    assert!(ours["p50_ms"].is_number() && ours["p99_ms"].is_number(), "{ours:?}");
    assert!(ours["server_cpu_us_per_txn"].is_null(), "nobody has said where the nodes run: {ours:?}");
    assert!(!figures.as_object().unwrap().contains_key("postgres"), "it was not asked for");

    let client = demo.client(2).await;
    let sums =
        "SELECT count(*), sum(balance)::int8, count(*) FILTER (WHERE balance <> $1) FROM bench_accounts";
    let row = client.query_one(sums, &[&OPENING]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (ACCOUNTS, ACCOUNTS * OPENING));
    assert!(row.get::<_, i64>(2) > 0, "the transfers have reached the accounts");
    demo.assert_healthy().await;
}

/// Whoever waits for a row gets it in turn.
#[tokio::test]
async fn clients_that_all_change_one_row_get_their_turns() {
    let demo = Demo::start();
    let urls: Vec<String> = demo.nodes().map(|node| demo.url(node)).collect();
    let arguments = ["bench", "hot", "--url", &urls.join(","), "--clients", "64", "--duration", "4s"];
    let figures = demo.quorate(&[&arguments[..], &["--json", "-"]].concat());
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("nothing but the figures");
    let runs = figures["quorate"].as_array().unwrap();
    let clients: Vec<u64> = runs.iter().map(|run| run["clients"].as_u64().unwrap()).collect();
    assert_eq!(clients, [1, 8, 64]);
    for run in runs {
        let (least, most) = (run["least"].as_u64().unwrap(), run["most"].as_u64().unwrap());
        assert!(least > 0 && most <= 2 * least + 2, "not in turn: {run}");
    }
    demo.assert_healthy().await;
}
