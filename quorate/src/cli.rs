//! The command line. One name for each option: `--clock-bound`, `QUORATE_CLOCK_BOUND`, `clock-bound = …` in the
//! `--config` file, in this order of precedence.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use quorate_proto::placement::{Tier, read_tiers};
use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, time::Duration};

#[derive(Parser, Debug)]
#[command(name = "quorate", version, about = "A distributed SQL database that can prove what it tells you")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run one node in the foreground
    Start(StartArgs),
    /// Found a cluster, once, from any of its nodes
    Init(HostArgs),
    /// A cluster of real processes on this machine
    Demo(DemoArgs),
    /// SQL shell
    Sql(SqlArgs),
    /// Nodes of a cluster
    Node(NodeArgs),
    /// Shards of a cluster
    Shard(ShardArgs),
    /// Cluster settings
    Setting(SettingArgs),
    /// Benchmarks
    Bench(quorate_bench::BenchArgs),
    /// Whether a cluster keeps its promises
    Check(crate::check::CheckArgs),
    /// Troubles for the nodes of a demo
    Fault(crate::fault::FaultArgs),
    /// Whole clusters in one process, under seeds
    Sim(crate::simulate::SimArgs),
}

#[derive(Args, Debug, Clone)]
pub struct StartArgs {
    /// Unique number of this node, from 1
    #[arg(long, env = "QUORATE_NODE_ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub node_id: u64,
    /// Directory that holds all of the node's data
    #[arg(long, env = "QUORATE_DATA")]
    pub data: PathBuf,
    /// Address for other nodes
    #[arg(long, env = "QUORATE_RPC", value_name = "HOST:PORT")]
    pub rpc: String,
    /// Address for SQL clients
    #[arg(long, env = "QUORATE_SQL", value_name = "HOST:PORT")]
    pub sql: String,
    /// Address for console, metrics and health
    #[arg(long, env = "QUORATE_HTTP", value_name = "HOST:PORT")]
    pub http: String,
    /// RPC addresses of nodes to find the cluster by
    #[arg(long, env = "QUORATE_JOIN", value_delimiter = ',', value_name = "HOST:PORT,…")]
    pub join: Vec<String>,
    /// Which parts this node carries
    #[arg(long, env = "QUORATE_ROLES", value_delimiter = ',', default_value = "placement,shard,sql")]
    pub roles: Vec<Role>,
    /// Where the node stands, from the widest to the narrowest
    #[arg(long, env = "QUORATE_LOCALITY", value_parser = locality, value_name = "region=…,zone=…")]
    pub locality: Option<Locality>,
    /// ε: no two nodes' clocks are further apart
    #[arg(long, env = "QUORATE_CLOCK_BOUND", default_value = "250ms", value_parser = duration)]
    pub clock_bound: Duration,
    /// Space that the node keeps free on the disk of its data: below it, new rows are refused. An eighth of the disk, and
    /// at most 256MB, unless said otherwise
    #[arg(long, env = "QUORATE_DISK_RESERVE", value_parser = bytes)]
    pub disk_reserve: Option<u64>,
    /// Serve without TLS and passwords on addresses other than loopback
    #[arg(long, env = "QUORATE_INSECURE")]
    pub insecure: bool,
    /// Write the process id here once the node serves RPC
    #[arg(long, env = "QUORATE_PID_FILE")]
    pub pid_file: Option<PathBuf>,
    /// Write logs here instead of standard error
    #[arg(long, env = "QUORATE_LOG_FILE")]
    pub log_file: Option<PathBuf>,
    /// Filter of log lines, such as `info` or `quorate_consensus=debug`
    #[arg(long, env = "QUORATE_LOG", default_value = "info")]
    pub log: String,
    /// Troubles that the node makes itself when this file says so, for `quorate fault`
    #[arg(long, env = "QUORATE_FAULT_FILE")]
    pub fault_file: Option<PathBuf>,
    /// TOML file with any of these options
    #[arg(long, env = "QUORATE_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Placement,
    Shard,
    Sql,
}

#[derive(Args, Debug, Clone)]
pub struct HostArgs {
    /// RPC address of any node
    #[arg(long, env = "QUORATE_HOST", default_value = "127.0.0.1:7451", value_name = "HOST:PORT")]
    pub host: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(subcommand)]
    pub command: Option<DemoCommand>,
    #[command(flatten)]
    pub up: DemoUp,
}

#[derive(Args, Debug)]
pub struct DemoUp {
    /// Number of nodes of a new demo
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: u64,
    #[command(flatten)]
    pub dir: DemoDir,
    /// Return once SQL answers on every node, and leave the nodes running
    #[arg(long)]
    pub background: bool,
    /// ε of the nodes; they share one clock here
    #[arg(long, default_value = "1ms")]
    pub clock_bound: String,
    /// Added to every port
    #[arg(long, default_value_t = 0)]
    pub base_port_offset: u16,
    /// Each node in a network namespace with an address of its own, for faults of the network (as root)
    #[arg(long)]
    pub isolated: bool,
    /// Nodes can be told to make trouble themselves: late messages, a slow disk, a wrong clock
    #[arg(long)]
    pub faults: bool,
    /// Each node's data on a disk of this size, such as 512MB, in memory (as root)
    #[arg(long, value_parser = bytes)]
    pub disk_size: Option<u64>,
    /// Where the nodes of a new demo are to stand, one after the other, again from the first when there are more nodes
    #[arg(long, value_delimiter = ';', value_parser = locality, value_name = "region=…,zone=…;…")]
    pub localities: Vec<Locality>,
    /// Remove what an earlier demo left in the directory
    #[arg(long)]
    pub fresh: bool,
}

#[derive(Args, Debug, Clone)]
pub struct DemoDir {
    /// Directory of the demo
    #[arg(long, default_value = "./quorate-demo")]
    pub data: PathBuf,
}

#[derive(Subcommand, Debug)]
pub enum DemoCommand {
    /// Which nodes run, and what they say
    Status {
        #[command(flatten)]
        dir: DemoDir,
        #[arg(long)]
        json: bool,
    },
    /// Stop all nodes; the data stays
    Stop {
        #[command(flatten)]
        dir: DemoDir,
    },
    /// Stop all nodes and remove all that they have stored
    Remove {
        #[command(flatten)]
        dir: DemoDir,
    },
    /// Stop (if it runs) and start node N
    Restart {
        node: u64,
        #[command(flatten)]
        dir: DemoDir,
    },
    /// Start one node more
    AddNode {
        /// Where it is to stand
        #[arg(long, value_parser = locality, value_name = "region=…,zone=…")]
        locality: Option<Locality>,
        #[command(flatten)]
        dir: DemoDir,
    },
    /// Decommission node N, stop it and remove its data
    RemoveNode {
        node: u64,
        #[command(flatten)]
        dir: DemoDir,
    },
}

#[derive(Args, Debug)]
pub struct SqlArgs {
    /// postgresql://user@host:port/database
    #[arg(long, env = "QUORATE_URL", default_value = "postgresql://root@127.0.0.1:5451/quorate")]
    pub url: String,
    /// Run these statements and leave
    #[arg(short = 'c', long = "command")]
    pub commands: Vec<String>,
    /// Run a file and leave; `-` for standard input
    #[arg(short = 'f', long)]
    pub file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub command: NodeCommand,
}

#[derive(Subcommand, Debug)]
pub enum NodeCommand {
    /// All nodes
    Ls(HostArgs),
    /// One node, or all
    Status {
        node: Option<u64>,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Let a node lead nothing, receive nothing and take no new clients, until it is undrained
    Drain {
        node: u64,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Let a node lead, receive copies and take clients again
    Undrain {
        node: u64,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Move all copies off a node, and let it leave the cluster for good
    Decommission {
        node: u64,
        /// Call it off: the node stays, with the copies that it has by then
        #[arg(long)]
        cancel: bool,
        #[command(flatten)]
        host: HostArgs,
    },
}

#[derive(Args, Debug)]
pub struct ShardArgs {
    #[command(subcommand)]
    pub command: ShardCommand,
}

#[derive(Subcommand, Debug)]
pub enum ShardCommand {
    /// All shards with their leaders
    Ls(HostArgs),
    /// Make a key (in hexadecimal) the first of a shard
    Split {
        key: String,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Merge a shard of a table with the one behind it
    Merge {
        /// The left one; it keeps its id
        left: u64,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Move the copy on one node to another
    Move {
        shard: u64,
        #[arg(long)]
        from: u64,
        #[arg(long)]
        to: u64,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Bring shards that have lost their quorum for good back from a copy that is left: tells what may be missing, and asks first
    Recover {
        /// All that have no quorum, unless one is named
        shard: Option<u64>,
        /// Do it without asking; without this, --json only shows the plan
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Hand leadership to the copy on a node
    TransferLeader {
        shard: u64,
        #[arg(long)]
        to: u64,
        #[command(flatten)]
        host: HostArgs,
    },
}

#[derive(Args, Debug)]
pub struct SettingArgs {
    #[command(subcommand)]
    pub command: SettingCommand,
}

#[derive(Subcommand, Debug)]
pub enum SettingCommand {
    /// All cluster settings
    Ls(HostArgs),
    /// Change one
    Set {
        name: String,
        value: String,
        #[command(flatten)]
        host: HostArgs,
    },
}

/// `1ms`, `250us`, `2s`, `5m`, `24h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 =
        text[..digits].parse().map_err(|_| format!("`{text}` is not a duration such as 250ms"))?;
    let scale: u64 = match &text[digits..] {
        "us" | "µs" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        unit => return Err(format!("`{unit}` is not a unit of time; use us, ms, s, m or h")),
    };
    number.checked_mul(scale).map(Duration::from_micros).ok_or_else(|| format!("`{text}` is too long a time"))
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality(pub Vec<Tier>);

/// More tiers are not compared.
const TIERS: usize = 4;

/// `region=eu,zone=a`
fn locality(text: &str) -> Result<Locality, String> {
    let tiers = read_tiers(text)?;
    let keys: BTreeSet<&String> = tiers.iter().map(|(key, _)| key).collect();
    match (keys.len() == tiers.len(), tiers.len()) {
        (false, _) => Err(format!("`{text}` names a tier twice")),
        (_, 1..=TIERS) => Ok(Locality(tiers)),
        _ => Err(format!("between one and {TIERS} tiers, from the widest to the narrowest")),
    }
}

/// `64KB`, `512MB`, `2GB`: multiples of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = ["KB", "MB", "GB"].iter().position(|unit| *unit == &text[digits..]);
    let number: Option<u64> = text[..digits].parse().ok();
    let size = unit.zip(number).and_then(|(unit, number)| number.checked_mul(1024 << (10 * unit)));
    size.ok_or_else(|| format!("`{text}` is not a size such as 512MB"))
}

/// Appends what the `--config` file says and neither a flag nor the environment does.
pub fn arguments_with_config_file(mut arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let texts: Vec<String> = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    if texts.get(1).map(String::as_str) != Some("start") {
        return Ok(arguments);
    }
    let given = |name: &str| texts.iter().any(|t| t == name || t.starts_with(&format!("{name}=")));
    let file = texts
        .iter()
        .position(|t| t == "--config")
        .and_then(|at| texts.get(at + 1).cloned())
        .or_else(|| texts.iter().find_map(|t| t.strip_prefix("--config=").map(str::to_owned)))
        .or_else(|| std::env::var("QUORATE_CONFIG").ok());
    let Some(file) = file else { return Ok(arguments) };
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let table: toml::Table = text.parse().with_context(|| format!("{file} is not TOML"))?;
    for (key, value) in table {
        let flag = format!("--{key}");
        let variable = format!("QUORATE_{}", key.to_uppercase().replace('-', "_"));
        if given(&flag) || std::env::var_os(variable).is_some() {
            continue;
        }
        match value {
            toml::Value::Boolean(true) => arguments.push(flag.into()),
            toml::Value::Boolean(false) => {}
            toml::Value::Array(items) => {
                let items: Vec<String> = items.iter().map(plain).collect::<Result<_>>()?;
                arguments.push(format!("{flag}={}", items.join(",")).into());
            }
            other => arguments.push(format!("{flag}={}", plain(&other)?).into()),
        }
    }
    Ok(arguments)
}

fn plain(value: &toml::Value) -> Result<String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        other => bail!("`{other}` cannot be the value of an option"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(duration("5").is_err() && duration("ms").is_err() && duration("99999999999999999h").is_err());
    }

    #[test]
    fn localities() {
        let Ok(Locality(tiers)) = locality("region=eu, zone=a") else { panic!() };
        assert_eq!(tiers, [("region".to_owned(), "eu".to_owned()), ("zone".into(), "a".into())]);
        for wrong in ["", "eu", "a=1,a=2", "a=1,b=2,c=3,d=4,e=5", "a=x y"] {
            assert!(locality(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!((bytes("64KB"), bytes("2GB")), (Ok(64 << 10), Ok(2 << 30)));
        assert!(bytes("512").is_err() && bytes("MB").is_err() && bytes("99999999999GB").is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, "node-id = 7\nsql = \"a:1\"\njoin = [\"x:1\", \"y:2\"]\ninsecure = true\n")
            .unwrap();
        let arguments = ["quorate", "start", "--sql", "b:2", "--config", file.to_str().unwrap()];
        let all = arguments_with_config_file(arguments.iter().map(OsString::from).collect()).unwrap();
        let all: Vec<_> = all.iter().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(&all[6..], ["--insecure", "--join=x:1,y:2", "--node-id=7"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
