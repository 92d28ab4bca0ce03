//! Scenarios of one group on simulated nodes: elections, replication, leases, members.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod elections;
mod hand_over;
mod leases;
mod members;
mod quiet;
mod revive;
mod snapshots;

use bytes::Bytes;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn others_than(node: u64) -> Vec<u64> {
    (1..=3).filter(|n| *n != node).collect()
}
