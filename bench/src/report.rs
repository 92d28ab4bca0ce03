//! The table for people and the JSON for programs.

use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// One side's figures. The last five are counted by our nodes and absent for peers.
#[derive(Serialize, Default, Clone, Debug)]
pub struct Side {
    pub transactions: u64,
    pub retries: u64,
    pub tps: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub server_cpu_us_per_txn: f64,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub counted: Option<Counted>,
}

/// Per transaction, over all nodes.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct Counted {
    pub consensus_rounds_per_txn: f64,
    pub raft_entries_per_txn: f64,
    pub calls_per_txn: f64,
    pub fsyncs_per_txn: f64,
    pub bytes_per_txn: f64,
}

#[derive(Serialize, Default)]
pub struct Report {
    pub quorate: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Side>,
}

impl Report {
    pub fn table(&self) -> String {
        let sides = [Some(("quorate", &self.quorate)), self.postgres.as_ref().map(|p| ("postgres", p))];
        let sides: Vec<(&str, &Side)> = sides.into_iter().flatten().collect();
        let mut out = format!("{:<26}", "");
        sides.iter().for_each(|(name, _)| out += &format!("{name:>12}"));
        let mut row = |name: &str, value: &dyn Fn(&Side) -> Option<f64>| {
            out += &format!("\n{name:<26}");
            for (_, side) in &sides {
                out += &value(side).map_or(format!("{:>12}", "-"), |v| format!("{v:>12.2}"));
            }
        };
        row("transactions/s", &|s| Some(s.tps));
        row("p50 ms", &|s| Some(s.p50_ms));
        row("p95 ms", &|s| Some(s.p95_ms));
        row("p99 ms", &|s| Some(s.p99_ms));
        row("server CPU µs per txn", &|s| Some(s.server_cpu_us_per_txn));
        row("client retries", &|s| Some(s.retries as f64));
        row("consensus rounds per txn", &|s| s.counted.map(|c| c.consensus_rounds_per_txn));
        row("raft entries per txn", &|s| s.counted.map(|c| c.raft_entries_per_txn));
        row("calls per txn", &|s| s.counted.map(|c| c.calls_per_txn));
        row("fsyncs per txn", &|s| s.counted.map(|c| c.fsyncs_per_txn));
        row("bytes sent per txn", &|s| s.counted.map(|c| c.bytes_per_txn));
        if let Some(postgres) = &self.postgres {
            out += &format!(
                "\nthroughput, quorate / postgres: {:.2}",
                self.quorate.tps / postgres.tps.max(0.01)
            );
        }
        out + "\n"
    }

    pub fn write(&self, to: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        if to.as_os_str() == "-" {
            print!("{json}");
        } else {
            std::fs::write(to, json)?;
        }
        Ok(())
    }
}
