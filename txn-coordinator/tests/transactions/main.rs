//! Transactions over fake shards: what they read, what they cost, and what becomes of them when things go wrong.

#![expect(clippy::unwrap_used, reason = "a test")]

mod bounds;
mod commits;
mod costs;
mod locks;
mod reads;
#[path = "../support/mod.rs"]
mod support;

use futures::TryStreamExt;
use quorate_env::sim::SimConfig;
use quorate_proto::Span;
use quorate_txn::{ScanOptions, Txn, TxnError, TxnOptions};
use std::time::Duration;
use support::{FakeShards, key, value};

fn quiet(seed: u64) -> SimConfig {
    SimConfig { shake: 0.0, ..SimConfig::new(seed) }
}

async fn put_all(shards: &FakeShards, rows: &[(&str, &str)]) {
    let txn = shards.coordinator(1).begin(TxnOptions::default());
    rows.iter().for_each(|(k, v)| txn.put(key(k), value(v)));
    txn.commit().await.expect("nothing stands in the way");
    shards.world.sleep(Duration::from_millis(50)).await;
    shards.seen();
}

async fn rows(txn: &Txn, span: Span, options: ScanOptions) -> Result<Vec<String>, TxnError> {
    let pages: Vec<_> = txn.scan(span, options).try_collect().await?;
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    Ok(pages.into_iter().flatten().map(|(k, v)| format!("{}={}", text(&k), text(&v))).collect())
}
