//! Faults of whole processes: killed, stopped, drained.

use crate::demo::{
    Cluster, Node, STOP_PATIENCE,
    process::{self, gone, signal},
};
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// A killed process is gone at once, but for what the kernel has to clear away.
const DEATH_PATIENCE: Duration = Duration::from_secs(10);

fn pid(cluster: &Cluster, node: &Node) -> Result<i32> {
    process::running(cluster, node).with_context(|| format!("{} does not run", node.name))
}

pub async fn kill(cluster: &Cluster, node: &Node) -> Result<()> {
    let pid = pid(cluster, node)?;
    signal(pid, libc::SIGKILL)?;
    if !gone(cluster, node, DEATH_PATIENCE).await {
        bail!("{} (pid {pid}) does not end", node.name);
    }
    Ok(())
}

pub async fn stop(cluster: &Cluster, node: &Node) -> Result<()> {
    pid(cluster, node)?;
    process::stop(cluster, node, STOP_PATIENCE).await
}

pub async fn start(cluster: &Cluster, node: &Node) -> Result<()> {
    match process::running(cluster, node) {
        Some(_) => Ok(()),
        None => process::start(cluster, node).await,
    }
}

pub fn pause(cluster: &Cluster, node: &Node) -> Result<()> {
    signal(pid(cluster, node)?, libc::SIGSTOP)
}

/// One that has ended meanwhile needs no signal, and to one that runs it does nothing.
pub fn resume(cluster: &Cluster, node: &Node) -> Result<()> {
    process::running(cluster, node).map_or(Ok(()), |pid| signal(pid, libc::SIGCONT))
}
