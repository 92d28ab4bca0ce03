//! Benchmarks that a reader can repeat: `quorate bench transfer` runs the same transfers against this database and
//! against PostgreSQL with one primary and two synchronous standbys, in turns on one machine; `quorate bench shards` makes many
//! shards, and tells what they cost and how they fail over.

mod counters;
mod cpu;
mod grow;
mod host;
mod hot;
mod latency;
mod ours;
mod postgres;
mod report;
mod shards;
mod transfer;

use anyhow::Result;
use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Money moved between two accounts that lie in different shards, two updates and a commit
    Transfer(TransferArgs),
    /// A table that grows while single rows of it are read and changed: how long these take while it is split
    Grow(GrowArgs),
    /// One row that everybody changes: how much gets through, and whether all get their turn
    Hot(HotArgs),
    /// Many shards: what they cost while nothing happens, and how long they are without a leader after a kill
    Shards(ShardsArgs),
}

#[derive(Args, Debug, Clone)]
pub struct HotArgs {
    /// A running cluster's nodes; without it a cluster is started and removed again
    #[arg(long, value_delimiter = ',')]
    pub url: Vec<String>,
    /// `postgres`: one primary, two synchronous standbys (ANY 1); left out where it is not installed
    #[arg(long, value_delimiter = ',')]
    pub peers: Vec<String>,
    /// The most clients; one alone, and the square root of these, come first
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub clients: u32,
    /// How long each number of clients runs
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// Write the figures here; `-` for standard output
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub struct ShardsArgs {
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub shards: u32,
    /// For how long the idle cluster is watched
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub idle: Duration,
    /// How often the node that leads most shards is killed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub kills: u32,
    /// Write the figures here; `-` for standard output
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub struct TransferArgs {
    /// A running cluster's nodes; without it a cluster is started and removed again. Figures that the named cluster's nodes do
    /// not tell stay unknown, and what others do there is counted too
    #[arg(long, value_delimiter = ',')]
    pub url: Vec<String>,
    /// `postgres`: one primary, two synchronous standbys (ANY 1); left out where it is not installed
    #[arg(long, value_delimiter = ',')]
    pub peers: Vec<String>,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub clients: u32,
    /// How long each side runs, in all
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub duration: Duration,
    /// Turns into which each side's time is cut
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub turns: u32,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(2..=10_000_000))]
    pub accounts: i64,
    /// The accounts' shards; three are one for each node of the cluster that is started here
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub shards: u32,
    /// Write the figures here; `-` for standard output
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub struct GrowArgs {
    /// A running cluster's nodes; without it a cluster is started and removed again
    #[arg(long, value_delimiter = ',')]
    pub url: Vec<String>,
    /// What is put into the table, in MB
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub megabytes: u64,
    /// Clients that put rows in
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub loaders: u32,
    /// Clients that read and change single rows meanwhile, each a hundred times a second
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub clients: u32,
    /// Write the figures here; `-` for standard output
    #[arg(long)]
    pub json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches('s');
    number
        .parse::<u64>()
        .ok()
        .filter(|n| (1..=86_400).contains(n))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("`{text}` is not a number of seconds such as 30s"))
}

/// Called with what is waited for; the wait is over when that which it returns is dropped.
pub type Progress = fn(String) -> Box<dyn Send>;

pub async fn run(args: BenchArgs, progress: Progress) -> Result<()> {
    match args.command {
        BenchCommand::Transfer(args) => transfer::run(args, progress).await,
        BenchCommand::Grow(args) => grow::run(args, progress).await,
        BenchCommand::Hot(args) => hot::run(args, progress).await,
        BenchCommand::Shards(args) => shards::run(args, progress).await,
    }
}
