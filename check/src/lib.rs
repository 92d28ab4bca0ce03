//! `quorate check isolation`: is a live cluster as isolated as it says? Clients run random transactions through its SQL ports and
//! note what they were told; pure functions judge these histories ([`append`], [`bank`], [`register`]). `docs/checking.md`
//! tells what that shows and what not.

pub mod append;
pub mod attempt;
pub mod bank;
pub mod finding;
pub mod graph;
pub mod level;
mod live;
mod page;
pub mod register;
mod report;

use anyhow::{Context, Result, bail};
use clap::Args;
use level::Level;
pub use live::isolation;
use report::Workload;
pub use report::{Mark, Report};
use std::{fs, path::PathBuf, time::Duration};

#[derive(Args, Debug, Clone)]
pub struct IsolationArgs {
    /// Nodes to work through, best all of them
    #[arg(
        long,
        env = "QUORATE_URL",
        value_delimiter = ',',
        default_value = "postgresql://root@127.0.0.1:5451/quorate"
    )]
    pub url: Vec<String>,
    /// How long it runs, in all
    #[arg(long, default_value = "60s", value_parser = seconds)]
    pub duration: Duration,
    /// Isolation levels, one after the other; all without it
    #[arg(long, value_enum, value_delimiter = ',')]
    pub level: Vec<Level>,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=256))]
    pub clients: u32,
    /// `list-append`, `bank`, `register` (at serializable only) or `all`
    #[arg(long, value_delimiter = ',', default_value = "all", value_parser = workload)]
    pub workload: Vec<Asked>,
    /// What the clients do is drawn from it; what they meet is not
    #[arg(long)]
    pub seed: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page with a picture here, and the same as JSON beside it
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// A workload, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(Option<Workload>);

fn workload(text: &str) -> Result<Asked, String> {
    if text == "all" {
        return Ok(Asked(None));
    }
    let found = Workload::ALL.into_iter().find(|workload| workload.name() == text);
    found.map(|workload| Asked(Some(workload))).ok_or_else(|| {
        let names = Workload::ALL.map(Workload::name).join(", ");
        format!("there is {names}, and all")
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let (number, scale) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    let number = number.filter(|number| (1..=86_400).contains(number));
    number
        .map(Duration::from_secs)
        .ok_or_else(|| format!("`{text}` is not a time such as 60s or 5m, of a day at most"))
}

impl IsolationArgs {
    /// Workloads at levels, in turn.
    fn runs(&self) -> Vec<(Workload, Level)> {
        let asked = |workload| self.workload.iter().any(|asked| asked.0.is_none_or(|one| one == workload));
        let mut runs = Vec::new();
        for level in
            Level::ALL.into_iter().filter(|level| self.level.is_empty() || self.level.contains(level))
        {
            let fits = |workload: &Workload| *workload != Workload::Register || level == Level::Serializable;
            let workloads = Workload::ALL.into_iter().filter(|workload| asked(*workload)).filter(fits);
            runs.extend(workloads.map(|workload| (workload, level)));
        }
        runs
    }
}

/// Called with what is waited for; the wait is over when that which it returns is dropped.
pub type Progress = fn(String) -> Box<dyn Send>;

/// Tells what was found, where it was asked for.
///
/// # Errors
/// When an anomaly was found, when nothing was committed, and when the report cannot be written.
pub fn conclude(args: &IsolationArgs, report: &Report) -> Result<()> {
    if let Some(file) = &args.report {
        let write = |file: &PathBuf, text: String| {
            fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write(file, page::page(report))?;
        write(&file.with_extension("json"), serde_json::to_string_pretty(report)?)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{}", report.summary());
    }
    if report.anomalies() > 0 {
        bail!("{} anomalies found", report.anomalies());
    }
    let empty = report.empty();
    if report.sections.is_empty() || !empty.is_empty() {
        bail!("nothing was committed, so nothing is shown: {}", empty.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: IsolationArgs,
    }

    fn runs(line: &[&str]) -> Vec<(Workload, Level)> {
        Line::parse_from([&["check"], line].concat()).args.runs()
    }

    #[test]
    fn all_levels_and_workloads_that_fit() {
        let all = runs(&[]);
        assert_eq!(all.len(), 7);
        assert_eq!(all.iter().filter(|(workload, _)| *workload == Workload::Register).count(), 1);
        let some = runs(&["--level", "read-committed", "--workload", "bank,register"]);
        assert_eq!(some, [(Workload::Bank, Level::ReadCommitted)]);
        assert!(Line::try_parse_from(["check", "--workload", "x"]).is_err());
    }

    #[test]
    fn times() {
        assert_eq!(seconds("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(seconds("7"), Ok(Duration::from_secs(7)));
        assert!(seconds("0s").is_err() && seconds("s").is_err() && seconds("2h").is_err());
    }
}
