//! `quorate demo`: a cluster of real processes with persistent data on this machine.

mod cluster;
pub mod disk;
pub mod network;
pub mod process;

use crate::{
    admin,
    cli::{DemoArgs, DemoCommand, DemoDir, DemoUp, HostArgs, Locality, SqlArgs},
    fault, progress, shell,
};
use anyhow::{Context, Result, anyhow, bail};
use cluster::Wanted;
pub use cluster::{Cluster, Node};
pub use process::pause;
use quorate_proto::NodeId;
use std::{io::IsTerminal, path::Path, time::Duration};

/// A node that does not answer within this is reported with the end of its log.
const START_PATIENCE: Duration = Duration::from_secs(90);
pub const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// For one question; a node that waits for a quorum gives no answer for a while.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(args: DemoArgs) -> Result<()> {
    match args.command {
        None => up(args.up).await,
        Some(DemoCommand::Status { dir, json }) => status(&dir, json).await,
        Some(DemoCommand::Stop { dir }) => stop_all(&load(&dir)?).await,
        Some(DemoCommand::Remove { dir }) => {
            load(&dir)?;
            remove(&dir.data).await
        }
        Some(DemoCommand::Restart { node, dir }) => restart(&load(&dir)?, node).await,
        Some(DemoCommand::AddNode { dir, locality }) => add_node(load(&dir)?, locality.as_ref()).await,
        Some(DemoCommand::RemoveNode { node, dir }) => remove_node(load(&dir)?, node).await,
    }
}

async fn up(args: DemoUp) -> Result<()> {
    let dir = &args.dir.data;
    if args.fresh {
        remove(dir).await?;
    }
    let (cluster, known) = match Cluster::load(dir)? {
        Some(cluster) => (cluster, true),
        None => (create(&args)?, false),
    };
    if known {
        if args.isolated && cluster.network.is_none() {
            bail!("the demo in {} was made without --isolated; --fresh makes a new one", dir.display());
        }
        if args.disk_size.is_some() && args.disk_size != cluster.disk_size {
            bail!("the demo in {} has other disks; --fresh makes a new one", dir.display());
        }
        if args.faults && cluster.nodes.iter().any(|node| node.fault_file().is_none()) {
            bail!("the demo in {} was made without --faults; --fresh makes a new one", dir.display());
        }
        if !args.localities.is_empty() {
            bail!("the demo in {} stands where it stands; --fresh makes a new one", dir.display());
        }
        eprintln!("demo in {} goes on with its {} nodes", dir.display(), cluster.nodes.len());
    }
    prepare(&cluster)?;
    for node in &cluster.nodes {
        if process::running(&cluster, node).is_none() {
            process::start(&cluster, node).await?;
        }
    }
    let started = found_and_wait(&cluster).await;
    if started.is_err() && !args.background {
        stop_all(&cluster).await?;
    }
    started?;
    greet(&cluster);
    if args.background {
        return Ok(());
    }
    let left = if std::io::stdin().is_terminal() {
        shell::run(SqlArgs { url: cluster.nodes[0].url(), commands: vec![], file: None }).await
    } else {
        eprintln!("press Ctrl-C to stop");
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
    };
    stop_all(&cluster).await?;
    left
}

fn create(args: &DemoUp) -> Result<Cluster> {
    if args.disk_size.is_some() {
        network::refuse_without_means("--disk-size", &[("mount", "mount")])?;
    }
    let wanted = Wanted {
        nodes: args.nodes,
        offset: args.base_port_offset,
        clock_bound: &args.clock_bound,
        isolated: args.isolated,
        faults: args.faults,
        disk_size: args.disk_size,
        localities: &args.localities,
    };
    Cluster::create(&args.dir.data, &wanted)
}

/// Makes what the nodes' processes stand on, as far as it is not there.
fn prepare(cluster: &Cluster) -> Result<()> {
    if let Some(network) = &cluster.network {
        network.up(cluster.nodes.iter().map(|node| node.id))?;
    }
    if let Some(bytes) = cluster.disk_size {
        for node in &cluster.nodes {
            disk::mount(&cluster.dir.join(&node.data_dir), bytes)?;
        }
    }
    Ok(())
}

async fn found_and_wait(cluster: &Cluster) -> Result<()> {
    let first = cluster.nodes.first().context("a demo without nodes")?;
    let host = HostArgs { host: first.rpc(), json: false };
    patiently(cluster, first, "founding the cluster", || admin::found(&host)).await?;
    for node in &cluster.nodes {
        until_it_answers(cluster, node).await?;
    }
    Ok(())
}

/// Repeats `attempt` until it succeeds, telling what it waits for.
async fn patiently<F: Future<Output = Result<()>>>(
    cluster: &Cluster,
    node: &Node,
    what: &str,
    attempt: impl Fn() -> F,
) -> Result<()> {
    let _waiting = progress::waiting(format!("{}: {what}", node.name));
    let step = Duration::from_millis(100);
    let rounds = START_PATIENCE.as_millis() / step.as_millis();
    for round in 0..rounds {
        let error = match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if process::running(cluster, node).is_none() {
            bail!(
                "{} ended while {what}; its log ends with\n{}",
                node.name,
                process::log_tail(&cluster.dir, node)
            );
        }
        if round == rounds - 1 {
            let tail = process::log_tail(&cluster.dir, node);
            return Err(error.context(format!("{}: {what} failed; its log ends with\n{tail}", node.name)));
        }
        pause(step).await;
    }
    Ok(())
}

/// Whether the node answers SQL, in bounded time: one that is frozen takes connections all the same.
pub async fn answers(node: &Node) -> Result<()> {
    let ask = async {
        let client = shell::connect(&node.url()).await?;
        client.simple_query("SELECT 1").await?;
        Ok(())
    };
    in_time(node, ask).await
}

/// What the node answers, unless it takes its time.
#[expect(clippy::disallowed_methods, reason = "a tool around the cluster, never simulated")]
pub async fn in_time<T>(node: &Node, ask: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER_PATIENCE, ask).await.map_err(|_| anyhow!("{} does not answer", node.name))?
}

/// The node runs, and takes no clients because an operator has said so.
fn drains(error: &anyhow::Error) -> bool {
    let mut told = error.chain().filter_map(|cause| cause.downcast_ref::<tokio_postgres::error::DbError>());
    told.any(|told| told.message().contains("is draining and takes no new clients"))
}

pub async fn until_it_answers(cluster: &Cluster, node: &Node) -> Result<()> {
    patiently(cluster, node, "waiting for SQL", || async {
        match answers(node).await {
            // It has said so itself.
            Err(error) if drains(&error) => Ok(()),
            other => other,
        }
    })
    .await
}

fn greet(cluster: &Cluster) {
    eprintln!("{} nodes run:", cluster.nodes.len());
    for node in &cluster.nodes {
        eprintln!("  {}  psql {}   console http://{}:{}/", node.name, node.url(), node.ip, node.ports.http);
    }
}

async fn status(dir: &DemoDir, json: bool) -> Result<()> {
    let cluster = load(dir)?;
    let rows = futures::future::join_all(cluster.nodes.iter().map(async |node| {
        let pid = process::running(&cluster, node);
        let sql = pid.is_some() && answers(node).await.is_ok();
        serde_json::json!({
            "name": node.name, "id": node.id, "pid": pid, "running": pid.is_some(), "sql": sql, "url": node.url(),
        })
    }))
    .await;
    if json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "nodes": rows }))?);
        return Ok(());
    }
    for (node, row) in cluster.nodes.iter().zip(&rows) {
        let state = match (row["running"].as_bool(), row["sql"].as_bool()) {
            (Some(true), Some(true)) => "serves SQL",
            (Some(true), _) => "runs, does not answer SQL",
            _ => "stopped",
        };
        println!("{}  {state}  {}", node.name, node.url());
    }
    Ok(())
}

async fn stop_all(cluster: &Cluster) -> Result<()> {
    fault::before_stop(cluster).await?;
    let stops = cluster.nodes.iter().map(|node| process::stop(cluster, node, STOP_PATIENCE));
    futures::future::try_join_all(stops).await?;
    if let Some(network) = &cluster.network {
        network.down();
    }
    eprintln!("stopped; the data stays in {}", cluster.dir.display());
    Ok(())
}

async fn restart(cluster: &Cluster, id: u64) -> Result<()> {
    let node = cluster.node(id)?;
    prepare(cluster)?;
    process::stop(cluster, node, STOP_PATIENCE).await?;
    process::start(cluster, node).await?;
    until_it_answers(cluster, node).await
}

async fn add_node(mut cluster: Cluster, locality: Option<&Locality>) -> Result<()> {
    let node = cluster.add(locality)?;
    prepare(&cluster)?;
    process::start(&cluster, &node).await?;
    until_it_answers(&cluster, &node).await?;
    println!("{}  {}", node.name, node.url());
    Ok(())
}

/// Asks another node, so that the one that leaves need not run.
async fn remove_node(mut cluster: Cluster, id: u64) -> Result<()> {
    let node = cluster.node(id)?.clone();
    let runs = |other: &&Node| other.id != id && process::running(&cluster, other).is_some();
    let other = cluster.nodes.iter().find(runs).context("no other node of the demo runs")?;
    let host = HostArgs { host: other.rpc(), json: false };
    admin::decommission(&host, NodeId(id)).await?;
    process::stop(&cluster, &node, STOP_PATIENCE).await?;
    let data = cluster.dir.join(&node.data_dir);
    disk::unmount(&data).await?;
    std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    cluster.forget(id)?;
    println!("{} has left the cluster; its data is removed", node.name);
    Ok(())
}

async fn remove(dir: &Path) -> Result<()> {
    if let Some(cluster) = Cluster::load(dir)? {
        stop_all(&cluster).await?;
        for node in &cluster.nodes {
            disk::unmount(&dir.join(&node.data_dir)).await?;
        }
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

pub fn load(dir: &DemoDir) -> Result<Cluster> {
    Cluster::load(&dir.data)?.with_context(|| format!("there is no demo in {}", dir.data.display()))
}
