//! The side of whoever orders a fault: starts its healer, and stays as the sign of life.

use super::{
    action::Fault,
    journal::{Line, Phase},
};
use crate::demo::Cluster;
use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use quorate_env::time;
use std::{fs, io::Write, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    signal::unix::{Signal, SignalKind, signal},
};

/// How what happens is printed.
#[derive(Clone, Copy)]
pub enum Say {
    Plain,
    Json,
    Nothing,
}

impl Say {
    pub fn line(self, line: &Line) {
        let text = match self {
            Say::Plain => plain(line),
            Say::Json => serde_json::to_string(line).unwrap_or_default(),
            Say::Nothing => return,
        };
        // Whoever reads along may be gone; that must not stop what is under way.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

fn plain(line: &Line) -> String {
    let phase = match line.phase {
        Phase::Begins => "begins",
        Phase::Ends => "ends",
    };
    let outcome = if line.is_good() { String::new() } else { format!(": {}", line.outcome) };
    format!("{} {} {phase}{outcome}", line.time, line.what())
}

/// What has begun and ended so far, with the time since boot.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(Duration, Line)>>>);

impl Seen {
    pub fn lines(&self) -> Vec<(Duration, Line)> {
        self.0.lock().clone()
    }
}

/// Whoever orders faults. Ctrl-C is heard from its making on, so it must not be missed between one wait and the next.
pub struct Issuer {
    say: Say,
    interrupts: Signal,
    seen: Seen,
}

impl Issuer {
    pub fn new(say: Say) -> Result<Self> {
        Ok(Issuer { say, interrupts: signal(SignalKind::interrupt())?, seen: Seen::default() })
    }

    /// All that this one orders, as it goes on.
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// What is to be done between faults, unless Ctrl-C comes first.
    pub async fn wait_for(&mut self, what: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            done = what => done,
            _ = self.interrupts.recv() => bail!("interrupted"),
        }
    }

    /// Lets a fault happen, and returns when it has ended; one without end, when it has begun. Ctrl-C ends it early.
    pub async fn run(&mut self, cluster: &Cluster, fault: &Fault) -> Result<()> {
        let mut healer = start(cluster)?;
        let mut order = healer.stdin.take().context("a healer without an ear")?;
        let mut lines = BufReader::new(healer.stdout.take().context("a healer without a voice")?).lines();
        order.write_all((serde_json::to_string(fault)? + "\n").as_bytes()).await?;
        let mut order = Some(order);
        let mut failure = None;
        loop {
            tokio::select! {
                line = next(&mut lines) => {
                    let Some(line) = line? else { break };
                    self.say.line(&line);
                    self.seen.0.lock().push((time::now(), line.clone()));
                    failure = failure.or((!line.is_good()).then_some(line.outcome));
                }
                // The healer hears it by the pipe; whoever cannot wait for it presses a second time.
                _ = self.interrupts.recv() => {
                    if order.take().is_none() {
                        bail!("interrupted; what has begun is being undone");
                    }
                }
            }
        }
        let status = healer.wait().await?;
        match failure {
            Some(why) => bail!("{why}"),
            None if !status.success() => {
                bail!("the healer ended with {status}; see {}", log(cluster).display())
            }
            None if order.is_none() => bail!("interrupted; the fault was undone"),
            None => Ok(()),
        }
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Option<Line>> {
    let line = lines.next_line().await?;
    line.map(|line| serde_json::from_str(&line).context("the healer speaks in tongues")).transpose()
}

fn log(cluster: &Cluster) -> std::path::PathBuf {
    cluster.dir.join("healer.log")
}

fn start(cluster: &Cluster) -> Result<Child> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let errors = fs::OpenOptions::new().create(true).append(true).open(log(cluster))?;
    let mut command = Command::new(program);
    command
        .args(["fault", "healer", "--data"])
        .arg(&cluster.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors);
    // SAFETY: setsid(2) may be called between fork and exec, and touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    command.spawn().context("cannot start the healer")
}
