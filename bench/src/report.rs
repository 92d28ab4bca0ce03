//! The table for people and the JSON for programs. A figure that is not known is `-` in the one and null in the other.

use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// One side's figures.
#[derive(Serialize, Default, Clone, Debug)]
pub struct Side {
    pub transactions: u64,
    pub retries: u64,
    pub tps: f64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub server_cpu_us_per_txn: Option<f64>,
    /// Absent for peers, which do not count these things.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub counted: Option<Counted>,
}

/// What our nodes count, per transaction, over all nodes.
#[derive(Serialize, Default, Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    pub consensus_rounds_per_txn: Option<f64>,
    pub raft_entries_per_txn: Option<f64>,
    pub calls_per_txn: Option<f64>,
    pub fsyncs_per_txn: Option<f64>,
    pub bytes_per_txn: Option<f64>,
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
        row("p50 ms", &|s| s.p50_ms);
        row("p95 ms", &|s| s.p95_ms);
        row("p99 ms", &|s| s.p99_ms);
        row("server CPU µs per txn", &|s| s.server_cpu_us_per_txn);
        row("client retries", &|s| Some(s.retries as f64));
        row("consensus rounds per txn", &|s| s.counted?.consensus_rounds_per_txn);
        row("raft entries per txn", &|s| s.counted?.raft_entries_per_txn);
        row("calls per txn", &|s| s.counted?.calls_per_txn);
        row("fsyncs per txn", &|s| s.counted?.fsyncs_per_txn);
        row("bytes sent per txn", &|s| s.counted?.bytes_per_txn);
        if let Some(postgres) = self.postgres.as_ref().filter(|p| p.tps > 0.0) {
            out += &format!("\nthroughput, quorate / postgres: {:.2}", self.quorate.tps / postgres.tps);
        }
        out + "\n"
    }
}

/// Writes the figures as JSON into a file, or to standard output where that is `-`.
pub fn write(figures: &impl Serialize, to: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(figures)? + "\n";
    if to.as_os_str() == "-" {
        print!("{json}");
    } else {
        std::fs::write(to, json).with_context(|| format!("cannot write {}", to.display()))?;
        eprintln!("the figures are in {}", to.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let counted = Counted { consensus_rounds_per_txn: Some(1.5), ..Counted::default() };
        let quorate = Side { tps: 50.0, p50_ms: Some(2.0), counted: Some(counted), ..Side::default() };
        let postgres = Side { tps: 200.0, server_cpu_us_per_txn: Some(7.0), ..Side::default() };
        Report { quorate, postgres: Some(postgres) }
    }

    #[test]
    fn unknown_figures_are_dashes() {
        let table = report().table();
        let row = |name: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(row("server CPU µs per txn"), ["-", "7.00"]);
        assert_eq!(row("p50 ms"), ["2.00", "-"]);
        assert_eq!(row("consensus rounds per txn"), ["1.50", "-"]);
        assert_eq!(row("fsyncs per txn"), ["-", "-"]);
        assert_eq!(row("throughput, quorate / postgres:"), ["0.25"]);
    }

    #[test]
    fn unknown_figures_are_null() {
        let json = serde_json::to_value(report()).unwrap();
        assert!(json["quorate"].as_object().unwrap()["server_cpu_us_per_txn"].is_null());
        assert!(json["quorate"].as_object().unwrap()["fsyncs_per_txn"].is_null());
        assert_eq!(json["quorate"]["consensus_rounds_per_txn"], 1.5);
        assert!(!json["postgres"].as_object().unwrap().contains_key("fsyncs_per_txn"));
    }
}
