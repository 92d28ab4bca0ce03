//! The command line of `quorate fault`.

use super::draw::Kind;
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
    /// Hold back what a node sends to others (in a demo made with --faults)
    Latency {
        #[command(flatten)]
        node: Target,
        #[arg(long, default_value = "20ms", value_parser = duration)]
        delay: Duration,
        /// By chance up to so much more
        #[arg(long, default_value = "0ms", value_parser = duration)]
        jitter: Duration,
        #[arg(long = "for", default_value = "10s", value_parser = duration)]
        lasts: Duration,
    },
    /// Pause a node's log before each fsync (in a demo made with --faults)
    SlowDisk {
        #[command(flatten)]
        node: Target,
        #[arg(long, default_value = "30ms", value_parser = duration)]
        fsync: Duration,
        #[arg(long = "for", default_value = "10s", value_parser = duration)]
        lasts: Duration,
    },
    /// Let a node's clock be wrong (in a demo made with --faults)
    Clock {
        #[command(flatten)]
        node: Target,
        /// Ahead or, with a minus, behind
        #[arg(long, allow_hyphen_values = true, value_parser = signed_micros, value_name = "±DURATION")]
        offset: Option<i64>,
        /// Its seconds in a true one
        #[arg(long, value_parser = rate)]
        rate: Option<f64>,
        #[arg(long = "for", default_value = "10s", value_parser = duration)]
        lasts: Duration,
    },
    /// Fill the disk of a node's data (in a demo made with --disk-size)
    FillDisk {
        #[command(flatten)]
        node: Target,
        #[arg(long = "for", default_value = "10s", value_parser = duration)]
        lasts: Duration,
    },
    /// One fault after the other, by chance
    Run {
        #[arg(long = "for", default_value = "10m", value_parser = duration)]
        lasts: Duration,
        /// From the beginning of one to that of the next
        #[arg(long, default_value = "10s", value_parser = duration)]
        every: Duration,
        /// Of these sorts; otherwise of all that this demo can suffer
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// What is drawn, and for how long each lasts
        #[arg(long)]
        seed: Option<u64>,
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

fn signed_micros(text: &str) -> Result<i64, String> {
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1, size),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let micros = i64::try_from(duration(size)?.as_micros()).map_err(|_| format!("`{text}` is too long"))?;
    Ok(sign * micros)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.5..=2.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a rate from 0.5 to 2, such as 1.001"))
}

fn percent(text: &str) -> Result<f64, String> {
    let share = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|p| *p > 0.0 && *p <= 100.0);
    share.ok_or_else(|| format!("`{text}` is not a share in percent, such as 5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_shares() {
        assert_eq!(signed_micros("+200ms"), Ok(200_000));
        assert_eq!(signed_micros("-3us"), Ok(-3));
        assert!(signed_micros("--3us").is_err() && signed_micros("3").is_err());
        assert_eq!((percent("5"), rate("1.001")), (Ok(5.0), Ok(1.001)));
        assert!(percent("0").is_err() && percent("101%").is_err() && rate("3").is_err());
    }
}
