//! The process that does a fault and undoes it: when its time is over, or at once when whoever ordered it is gone.
//!
//! It has a session of its own, so that nothing that ends its issuer ends it too. The order comes in one line on standard input,
//! which then stays open: its end is the end of the issuer. Doing and undoing in one process keeps their order, whenever the
//! issuer dies. Everything is under the journal's lock, so that `quorate fault heal` can step in at any time.

use super::{
    action::Fault,
    journal::{Journal, Line, Phase},
};
use crate::demo::{self, Cluster};
use anyhow::{Context, Result};
use std::{io::Write, os::fd::AsFd, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
};

/// How often it is tried to undo a fault, and with what pauses, until that is left to `quorate fault heal`.
const ATTEMPTS: u32 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// Whether somebody else has undone it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub async fn run(cluster: &Cluster) -> Result<()> {
    let (mut ended, mut interrupted, mut hung_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut input =
        BufReader::new(pipe::Receiver::from_owned_fd(input).context("orders come through a pipe")?);
    let mut order = String::new();
    input.read_line(&mut order).await?;
    if !order.ends_with('\n') {
        return Ok(()); // The issuer died while it spoke.
    }
    let fault: Fault = serde_json::from_str(&order)?;
    let line = begin(cluster, &fault).await?;
    tell(&line)?;
    let Some(time) = fault.lasts.filter(|_| line.is_good()) else { return Ok(()) };
    tokio::select! {
        () = demo::pause(time) => {}
        () = closed(&mut input) => {}
        () = struck_out(cluster, &fault) => return Ok(()),
        _ = ended.recv() => {}
        _ = interrupted.recv() => {}
        _ = hung_up.recv() => {}
    }
    for attempt in 1..=ATTEMPTS {
        let Some(line) = end(cluster, &fault).await? else { break };
        if line.is_good() || attempt == ATTEMPTS {
            tell(&line)?;
            break;
        }
        demo::pause(AGAIN).await;
    }
    Ok(())
}

/// Until nobody holds the other end any more.
async fn closed(input: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    while input.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

/// Until somebody else has undone it.
async fn struck_out(cluster: &Cluster, fault: &Fault) {
    while Journal::read(&cluster.dir).map_or(true, |open| open.contains(fault)) {
        demo::pause(LOOK_EVERY).await;
    }
}

/// The issuer may be gone.
fn tell(line: &Line) -> Result<()> {
    let text = serde_json::to_string(line)? + "\n";
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Enters the fault into the journal and does it. One that fails on the way is undone.
async fn begin(cluster: &Cluster, fault: &Fault) -> Result<Line> {
    let journal = Journal::lock(&cluster.dir)?;
    let mut result = journal.enter(fault);
    if result.is_ok() {
        result = fault.action.apply(cluster, &fault.id).await;
        if result.is_err() && fault.action.undo(cluster, &fault.id).await.is_ok() {
            journal.strike_out(&fault.id)?;
        }
    }
    let line = Line::new(fault, Phase::Begins, &result)?;
    journal.log(&line)?;
    Ok(line)
}

/// Undoes a fault that is still in the journal; `None` if somebody else has done it. It stays there if that fails.
pub async fn end(cluster: &Cluster, fault: &Fault) -> Result<Option<Line>> {
    let journal = Journal::lock(&cluster.dir)?;
    if !journal.open()?.contains(fault) {
        return Ok(None);
    }
    let line = Line::new(fault, Phase::Ends, &fault.action.undo(cluster, &fault.id).await)?;
    if line.is_good() {
        journal.strike_out(&fault.id)?;
    }
    journal.log(&line)?;
    Ok(Some(line))
}

/// [`end`], but no node is started for it.
pub async fn give_up(cluster: &Cluster, fault: &Fault) -> Result<()> {
    if fault.action.outlives_nodes() {
        end(cluster, fault).await?;
        return Ok(());
    }
    let journal = Journal::lock(&cluster.dir)?;
    journal.strike_out(&fault.id)?;
    journal.log(&Line::new(fault, Phase::Ends, &Ok(()))?)
}
