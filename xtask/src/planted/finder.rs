//! Whoever must find a fault.

use super::{
    seeds,
    trial::{Ended, Trial},
};
use crate::built::Built;
use anyhow::{Result, bail};
use std::{fmt, path::Path};

pub enum Finder {
    /// This test of this target fails: `crate/target`, or `crate` for a library's own; by the crate's directory.
    Test(&'static str, &'static str),
    /// This script of the shards' scenarios, `shard-server/testdata`, shows something else.
    Script(&'static str),
    /// The isolation checker finds an anomaly on a live cluster whose shards are troubled, in one of so many runs.
    Live(u32),
    /// One of the first so many seeds of the simulation fails, which passes without the fault.
    Seeds(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Test,
    Live,
    Seeds,
}

pub enum Found {
    /// After what.
    Yes(String),
    No(String),
}

impl Finder {
    pub fn kind(&self) -> Kind {
        match self {
            Finder::Test(..) | Finder::Script(_) => Kind::Test,
            Finder::Live(_) => Kind::Live,
            Finder::Seeds(_) => Kind::Seeds,
        }
    }

    /// Plants the faults and looks on; what the finder prints goes into the file.
    ///
    /// # Errors
    /// If the finder cannot be run at all.
    pub fn search(&self, planted: &str, built: &Built, output: &Path) -> Result<Found> {
        match *self {
            Finder::Test(target, name) => {
                let trial = Trial::start(&mut built.test(target, name)?, planted, output.to_path_buf())?;
                judge(name, &trial.end()?)
            }
            Finder::Script(script) => {
                let mut command = built.test("shard-server/scenarios", "scripts")?;
                let command = command.env("QUORATE_SCRIPT", format!("/{script}"));
                judge("scripts", &Trial::start(command, planted, output.to_path_buf())?.end()?)
            }
            Finder::Live(runs) => live(planted, runs, built, output),
            Finder::Seeds(most) => seeds::search(planted, most, built, output),
        }
    }
}

impl fmt::Display for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finder::Test(target, name) => write!(f, "{target} {name}"),
            Finder::Script(script) => write!(f, "shard-server script {script}"),
            Finder::Live(runs) => write!(f, "{runs} runs of {}", LIVE.1),
            Finder::Seeds(most) => write!(f, "{most} seeds"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Yes(what) => write!(f, "found: {what}"),
            Found::No(why) => write!(f, "NOT FOUND: {why}"),
        }
    }
}

/// A test of the isolation checker, and for how many seconds it runs here.
const LIVE: (&str, &str, &str) =
    ("quorate/check", "hand_overs_splits_and_dying_gateways_cause_no_anomaly", "40");

fn live(planted: &str, runs: u32, built: &Built, output: &Path) -> Result<Found> {
    let (target, name, seconds) = LIVE;
    for run in 1..=runs {
        let mut command = built.test(target, name)?;
        let command = command.env("QUORATE_TEST_SECONDS", seconds);
        let ended = Trial::start(command, planted, output.to_path_buf())?.end()?;
        if let Found::Yes(what) = judge(name, &ended)? {
            return Ok(Found::Yes(format!("by run {run}: {what}")));
        }
    }
    Ok(Found::No(format!("{runs} runs pass")))
}

/// A test finds a fault by failing as a test: neither by hanging nor by dying.
fn judge(name: &str, ended: &Ended) -> Result<Found> {
    let Some(status) = ended.status else { return Ok(Found::No("it hung".into())) };
    if !ended.text.contains("\nrunning 1 test\n") {
        bail!("there is no test called {name}");
    }
    if status.success() {
        return Ok(Found::No("the test passes".into()));
    }
    if !ended.text.contains("test result: FAILED. 0 passed; 1 failed") {
        return Ok(Found::No(format!("the test does not fail, it dies: {status}")));
    }
    Ok(Found::Yes(complaint(&ended.text)))
}

/// The first line that says what is wrong: an anomaly or a problem by its name, or else what somebody panicked about.
pub fn complaint(text: &str) -> String {
    let anomaly = text.split("\\\"anomaly\\\": \\\"").nth(1).and_then(|rest| rest.split('\\').next());
    if let Some(name) = anomaly {
        return format!("anomaly {name}");
    }
    let mut lines = text.lines();
    let problem = text.lines().map(str::trim).find(|line| line.starts_with("PROBLEM: "));
    let panic = || {
        let at = lines.by_ref().find(|line| line.contains(" panicked at "))?;
        // What was said stands on the next line, if anything was.
        lines.next().filter(|line| !line.trim().is_empty()).or(Some(at))
    };
    let line = problem.or_else(panic).unwrap_or("it did not say why");
    line.trim().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    fn judged(status: i32, text: &str) -> String {
        let status = Some(ExitStatus::from_raw(status << 8));
        judge("a", &Ended { status, text: text.to_owned() }).map_or("error".into(), |found| found.to_string())
    }

    #[test]
    fn only_a_test_that_fails_has_found_something() {
        let failed = "\nrunning 1 test\n\nthread 'a' (7) panicked at x.rs:1:\nlost\n\ntest result: FAILED. 0 passed; 1 failed;";
        assert_eq!(judged(101, failed), "found: lost");
        assert_eq!(judged(0, "\nrunning 1 test\ntest a ... ok\n"), "NOT FOUND: the test passes");
        assert_eq!(judged(0, "\nrunning 0 tests\n"), "error");
        assert!(judged(134, "\nrunning 1 test\n").starts_with("NOT FOUND: the test does not fail, it dies"));
        let hung = judge("a", &Ended { status: None, text: String::new() });
        assert!(hung.is_ok_and(|found| matches!(found, Found::No(_))));
    }

    #[test]
    fn problems_of_the_simulation_come_first() {
        assert_eq!(complaint("x panicked at y\nz\nPROBLEM: a loss\nPROBLEM: b"), "PROBLEM: a loss");
        assert_eq!(complaint("nothing"), "it did not say why");
    }
}
