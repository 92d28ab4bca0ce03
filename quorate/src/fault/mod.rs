//! `quorate fault`: troubles for the real processes of a demo, each of which ends by itself.
//!
//! A process of its own, the [`healer`], does and undoes a fault; this one tells it what ([`issue`]) and is its sign of life.
//! What is begun and not ended stands in a [`journal`], from which it can also be undone by hand.

mod action;
mod args;
mod disk;
mod draw;
mod healer;
mod inside;
mod issue;
mod journal;
mod network;
mod processes;
pub mod series;
mod target;

use crate::{
    cli::DemoDir,
    demo::{self, Cluster},
};
use action::{Action, Fault};
use anyhow::{Result, bail};
pub use args::FaultArgs;
use args::FaultCommand;
pub use draw::Kind;
use futures::FutureExt;
pub use issue::{Issuer, Say, Seen};
use journal::Journal;
pub use journal::Phase;
pub use series::Series;
use std::time::Duration;
pub use target::unique;

pub async fn run(args: FaultArgs) -> Result<()> {
    let cluster = demo::load(&DemoDir { data: args.data })?;
    let say = if args.json { Say::Json } else { Say::Plain };
    match args.command {
        FaultCommand::Kill { node, lasts } => {
            let node = target::find(&cluster, &node).await?;
            Issuer::new(say)?.run(&cluster, &Fault::new(Action::Kill { node }, lasts.time())).await
        }
        FaultCommand::Pause { node, lasts } => {
            let node = target::find(&cluster, &node).await?;
            Issuer::new(say)?.run(&cluster, &Fault::new(Action::Pause { node }, Some(lasts))).await
        }
        FaultCommand::Restart { node } => {
            let node = target::find(&cluster, &node).await?;
            restart(&cluster, node, &mut Issuer::new(say)?).await
        }
        FaultCommand::RollingRestart { pause } => {
            rolling_restart(&cluster, pause, &mut Issuer::new(say)?).await
        }
        FaultCommand::Partition { nodes, from, one_way, lasts } => {
            let cut = target::find_some(&cluster, &nodes).await?;
            let from = other_side(&cluster, &cut, from)?;
            let action = Action::Partition { cut, from, one_way };
            Issuer::new(say)?.run(&cluster, &Fault::new(action, Some(lasts))).await
        }
        FaultCommand::Loss { node, percent, lasts } => {
            let node = target::find(&cluster, &node).await?;
            let action = Action::Loss { node, others: other_side(&cluster, &[node], vec![])?, percent };
            Issuer::new(say)?.run(&cluster, &Fault::new(action, Some(lasts))).await
        }
        FaultCommand::Latency { node, delay, jitter, lasts } => {
            let node = target::find(&cluster, &node).await?;
            let (delay_ms, jitter_ms) = (delay.as_millis() as u64, jitter.as_millis() as u64);
            let action = Action::Latency { node, delay_ms, jitter_ms };
            Issuer::new(say)?.run(&cluster, &Fault::new(action, Some(lasts))).await
        }
        FaultCommand::SlowDisk { node, fsync, lasts } => {
            let node = target::find(&cluster, &node).await?;
            let action = Action::SlowDisk { node, fsync_ms: fsync.as_millis() as u64 };
            Issuer::new(say)?.run(&cluster, &Fault::new(action, Some(lasts))).await
        }
        FaultCommand::Clock { node, offset, rate, lasts } => {
            let node = target::find(&cluster, &node).await?;
            if offset.is_none() && rate.is_none() {
                bail!("say --offset or --rate");
            }
            let (offset_us, rate) = (offset.unwrap_or(0), rate.unwrap_or(1.0));
            let action = Action::Clock { node, offset_us, rate };
            Issuer::new(say)?.run(&cluster, &Fault::new(action, Some(lasts))).await
        }
        FaultCommand::FillDisk { node, lasts } => {
            let node = target::find(&cluster, &node).await?;
            Issuer::new(say)?.run(&cluster, &Fault::new(Action::FillDisk { node }, Some(lasts))).await
        }
        FaultCommand::Run { lasts, every, kinds, seed } => {
            let seed = seed.unwrap_or_else(unique);
            eprintln!("seed {seed}");
            series::run(&cluster, Series { lasts, every, kinds, seed }, Issuer::new(say)?).await
        }
        FaultCommand::Heal => heal(&cluster, say).await,
        FaultCommand::Healer => healer::run(&cluster).await,
    }
}

/// Those from whom some are cut off: the ones that are named, or all others.
fn other_side(cluster: &Cluster, cut: &[u64], named: Vec<u64>) -> Result<Vec<u64>> {
    if let Some(both) = named.iter().find(|node| cut.contains(node)) {
        bail!("node {both} cannot be cut off from itself");
    }
    named.iter().try_for_each(|node| cluster.node(*node).map(drop))?;
    let others = || cluster.nodes.iter().map(|node| node.id).filter(|id| !cut.contains(id)).collect();
    Ok(if named.is_empty() { others() } else { named })
}

/// Drained and started again; returns when the node answers SQL.
async fn restart(cluster: &Cluster, node: u64, issuer: &mut Issuer) -> Result<()> {
    issuer.run(cluster, &Fault::new(Action::Restart { node }, Some(Duration::ZERO))).await?;
    issuer.wait_for(demo::until_it_answers(cluster, cluster.node(node)?)).await
}

async fn rolling_restart(cluster: &Cluster, pause: Duration, issuer: &mut Issuer) -> Result<()> {
    for (nth, node) in cluster.nodes.iter().enumerate() {
        if nth > 0 {
            issuer.wait_for(demo::pause(pause).map(Ok)).await?;
        }
        restart(cluster, node.id, issuer).await?;
    }
    Ok(())
}

/// Undoes all that is written down as begun and not ended.
async fn heal(cluster: &Cluster, say: Say) -> Result<()> {
    let open = Journal::lock(&cluster.dir)?.open()?;
    let mut failed = 0;
    for fault in open {
        if let Some(line) = healer::end(cluster, &fault).await? {
            failed += usize::from(!line.is_good());
            say.line(&line);
        }
    }
    if failed > 0 {
        bail!("{failed} faults could not be undone");
    }
    Ok(())
}

/// Before the nodes are stopped for good: troubles that would hinder this, or survive it, are undone, and nobody starts a node
/// again later.
pub async fn before_stop(cluster: &Cluster) -> Result<()> {
    let open = Journal::lock(&cluster.dir)?.open()?;
    for fault in open {
        healer::give_up(cluster, &fault).await?;
    }
    Ok(())
}
