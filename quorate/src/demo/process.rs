//! Starting, finding and ending the processes of a demo's nodes.

use super::cluster::{Cluster, Node};
use crate::progress;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    net::TcpStream,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Process id of the node, if it runs. A pid file that is left over from a dead process, whose number another program
/// may have by now, does not count.
pub fn running(cluster: &Cluster, node: &Node) -> Option<i32> {
    let text = fs::read_to_string(cluster.dir.join(&node.pid_file)).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = command.split(|b| *b == 0).collect();
    let ours = words.contains(&&b"start"[..]) && words.contains(&node.rpc().as_bytes());
    ours.then_some(pid)
}

/// How long a process may take to open its data. One that takes longer, and lives, is let alone.
const BIRTH_PATIENCE: Duration = Duration::from_secs(30);

/// Starts the node's process in a session of its own, so that it outlives this one and its terminal, and waits until it listens:
/// data that cannot be opened ends it before that. From then on [`running`] tells whether it lives.
pub async fn start(cluster: &Cluster, node: &Node) -> Result<()> {
    let log = fs::OpenOptions::new().create(true).append(true).open(cluster.dir.join(&node.log))?;
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("exec {}", node.start))
        .current_dir(cluster.dir.join(&node.cwd))
        .envs(&node.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", node.name))?;
    let _waiting = progress::waiting(format!("{}: waiting for its process", node.name));
    let step = Duration::from_millis(10);
    for _ in 0..(BIRTH_PATIENCE.as_millis() / step.as_millis()) {
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}; its log ends with\n{}", node.name, log_tail(&cluster.dir, node));
        }
        if running(cluster, node).is_some() && listens(node) {
            return Ok(());
        }
        pause(step).await;
    }
    if running(cluster, node).is_some() {
        return Ok(());
    }
    bail!("{} wrote no pid file; its log ends with\n{}", node.name, log_tail(&cluster.dir, node));
}

#[expect(clippy::disallowed_methods, reason = "a tool around the cluster, never simulated")]
fn listens(node: &Node) -> bool {
    TcpStream::connect((node.ip.as_str(), node.ports.http)).is_ok()
}

/// Sends the node's stop signal, and after `patience` a second one, which ends it at once.
pub async fn stop(cluster: &Cluster, node: &Node, patience: Duration) -> Result<()> {
    let Some(pid) = running(cluster, node) else { return Ok(()) };
    let waiting = progress::waiting(format!("{}: waiting for the end of process {pid}", node.name));
    for wait in [patience, Duration::from_secs(5)] {
        signal(pid, libc::SIGTERM)?;
        if gone(cluster, node, wait).await {
            return Ok(());
        }
        waiting.now(format!("{}: asking process {pid} once more to end", node.name));
    }
    signal(pid, libc::SIGKILL)?;
    if !gone(cluster, node, Duration::from_secs(5)).await {
        bail!("{} (pid {pid}) does not end", node.name);
    }
    Ok(())
}

pub async fn gone(cluster: &Cluster, node: &Node, patience: Duration) -> bool {
    let step = Duration::from_millis(25);
    for _ in 0..(patience.as_millis() / step.as_millis()) {
        if running(cluster, node).is_none() {
            return true;
        }
        pause(step).await;
    }
    false
}

/// The last lines of a node's log, to show beside an error.
pub fn log_tail(dir: &Path, node: &Node) -> String {
    let text = fs::read_to_string(dir.join(&node.log)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[expect(clippy::disallowed_methods, reason = "a tool around the cluster, never simulated")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

pub fn signal(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    let status = unsafe { libc::kill(pid, signal) };
    if status != 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) {
        return Err(std::io::Error::last_os_error()).context(format!("cannot signal process {pid}"));
    }
    Ok(())
}
