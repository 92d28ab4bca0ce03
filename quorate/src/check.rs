//! `quorate check`: whether a live cluster is as isolated as it says, also while faults strike it.

use crate::{
    cli::{DemoDir, duration},
    demo::{self, Cluster},
    fault::{self, Issuer, Kind, Phase, Say, Seen, Series, series},
    progress,
};
use anyhow::Result;
use clap::{Args, Subcommand};
use quorate_check::{IsolationArgs, Mark, Report};
use quorate_env::time;
use std::{path::PathBuf, time::Duration};
use tokio::sync::Notify;

#[derive(Args, Debug)]
pub struct CheckArgs {
    #[command(subcommand)]
    command: CheckCommand,
}

#[derive(Subcommand, Debug)]
enum CheckCommand {
    /// Random transactions from several clients, and whether what they saw is what the isolation level allows
    Isolation {
        #[command(flatten)]
        check: IsolationArgs,
        /// The demo in this directory, through all its nodes
        #[arg(long, value_name = "DIR", conflicts_with = "url")]
        data: Option<PathBuf>,
        /// Faults strike it meanwhile, as `quorate fault run` draws them: of these sorts, or of all that it can suffer
        #[arg(long, value_name = "SORTS", value_delimiter = ',', num_args = 0.., requires = "data")]
        faults: Option<Vec<Kind>>,
        /// From the beginning of one fault to that of the next
        #[arg(long, default_value = "10s", value_parser = duration, requires = "faults")]
        every: Duration,
    },
}

pub async fn run(args: CheckArgs) -> Result<()> {
    let CheckCommand::Isolation { mut check, data, faults, every } = args.command;
    if check.json {
        progress::mute();
    }
    let cluster = data.map(|data| demo::load(&DemoDir { data })).transpose()?;
    if let Some(cluster) = &cluster {
        check.url = cluster.nodes.iter().map(demo::Node::url).collect();
    }
    let (report, struck) = match (cluster, faults) {
        (Some(cluster), Some(kinds)) => troubled(&check, &cluster, kinds, every).await?,
        _ => (quorate_check::isolation(&check, progress::held, || ()).await?, Ok(())),
    };
    // What was seen is told before what has kept the faults from going on.
    let concluded = quorate_check::conclude(&check, &report);
    struck.and(concluded)
}

/// The check, with faults from when its tables are there until its time is over; and how these went.
async fn troubled(
    check: &IsolationArgs,
    cluster: &Cluster,
    kinds: Vec<Kind>,
    every: Duration,
) -> Result<(Report, Result<()>)> {
    // One seed for both, so that the report tells it.
    let seed = check.seed.unwrap_or_else(fault::unique);
    let check = IsolationArgs { seed: Some(seed), ..check.clone() };
    let (began, ready) = (time::now(), Notify::new());
    let issuer = Issuer::new(if check.json { Say::Nothing } else { Say::Plain })?;
    let seen = issuer.seen();
    let series = Series { lasts: check.duration, every, kinds, seed };
    let checking = quorate_check::isolation(&check, progress::held, || ready.notify_one());
    let striking = async {
        ready.notified().await;
        Ok(series::run(cluster, series, issuer).await)
    };
    let (mut report, struck) = tokio::try_join!(checking, striking)?;
    report.marks = marks(&seen, began);
    Ok((report, struck))
}

fn marks(seen: &Seen, began: Duration) -> Vec<Mark> {
    let mut marks: Vec<(String, Mark)> = Vec::new();
    for (at, line) in seen.lines() {
        let at = at.saturating_sub(began).as_millis() as u64;
        match line.phase {
            Phase::Begins => {
                marks.push((line.id.clone(), Mark { what: line.what(), from_ms: at, to_ms: at }))
            }
            Phase::Ends => {
                marks.iter_mut().filter(|(id, _)| *id == line.id).for_each(|(_, mark)| mark.to_ms = at);
            }
        }
    }
    marks.into_iter().map(|(_, mark)| mark).collect()
}
