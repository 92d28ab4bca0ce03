//! The command line of `quorate fault`.

use crate::cli::duration;
use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

#[derive(Args, Debug)]
pub struct FaultArgs {
    #[command(subcommand)]
    pub command: FaultCommand,
    /// Directory of the demo
    #[arg(long, global = true, default_value = "./quorate-demo")]
    pub data: PathBuf,
    /// Print what begins and ends as JSON lines
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum FaultCommand {
    /// Kill a node with SIGKILL and start it again
    Kill {
        #[command(flatten)]
        node: Target,
        /// How long it stays away; `forever` leaves that to `heal`
        #[arg(long = "for", default_value = "0s", value_parser = lasting)]
        lasts: Lasting,
    },
    /// Stop a node with SIGSTOP, its connections open, and let it go on
    Pause {
        #[command(flatten)]
        node: Target,
        #[arg(long = "for", default_value = "5s", value_parser = duration)]
        lasts: Duration,
    },
    /// Drain a node and start it again
    Restart {
        #[command(flatten)]
        node: Target,
    },
    /// Restart all nodes, one after the other, each once the one before answers SQL
    RollingRestart {
        #[arg(long, default_value = "2s", value_parser = duration)]
        pause: Duration,
    },
    /// Cut nodes off from the others (in a demo made with --isolated)
    Partition {
        /// Nodes' numbers, with commas, `any`, or `leader-of TABLE`
        #[arg(required = true, num_args = 1..=2, value_name = "NODE")]
        nodes: Vec<String>,
        /// From these only
        #[arg(long, value_delimiter = ',')]
        from: Vec<u64>,
        /// They are heard, and hear nothing
        #[arg(long)]
        one_way: bool,
        #[arg(long = "for", default_value = "5s", value_parser = duration)]
        lasts: Duration,
    },
    /// Lose packets between a node and the others (in a demo made with --isolated)
    Loss {
        #[command(flatten)]
        node: Target,
        #[arg(long, default_value = "5", value_parser = percent)]
        percent: f64,
        #[arg(long = "for", default_value = "10s", value_parser = duration)]
        lasts: Duration,
    },
    /// Undo all that has begun and not ended
    Heal,
    #[command(hide = true)]
    Healer,
}

/// Which node.
#[derive(Args, Debug)]
pub struct Target {
    /// A node's number, `any`, or `leader-of TABLE`
    #[arg(required = true, num_args = 1..=2, value_name = "NODE")]
    pub words: Vec<String>,
}

/// A time, or for good.
#[derive(Clone, Copy, Debug)]
pub enum Lasting {
    For(Duration),
    Forever,
}

impl Lasting {
    pub fn time(self) -> Option<Duration> {
        match self {
            Lasting::For(time) => Some(time),
            Lasting::Forever => None,
        }
    }
}

fn lasting(text: &str) -> Result<Lasting, String> {
    if text == "forever" { Ok(Lasting::Forever) } else { duration(text).map(Lasting::For) }
}

fn percent(text: &str) -> Result<f64, String> {
    let share = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|p| *p > 0.0 && *p <= 100.0);
    share.ok_or_else(|| format!("`{text}` is not a share in percent, such as 5"))
}
