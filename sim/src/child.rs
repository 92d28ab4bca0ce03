//! A seed that runs in a process of its own.

use anyhow::Result;
use quorate_sim::LeftOut;
use std::process::{Child, Command, Stdio};

pub struct Run(Child);

/// Seconds of real time after which a run has failed; usual ones take ten.
const LIMIT: &str = "900";
/// What `timeout` ends with when it has ended something.
const TOO_LONG: i32 = 124;

/// How it ended.
pub struct Ended {
    /// What it printed.
    pub text: String,
    /// What is wrong with it, in lines; none: it passed.
    pub problems: Vec<String>,
}

/// The arguments that ask for a seed without what is left out.
pub fn arguments(seed: u64, left_out: &LeftOut) -> Vec<String> {
    let mut all = vec!["--seed".to_owned(), seed.to_string()];
    all.extend(left_out.arguments());
    all
}

impl Run {
    pub fn start(seed: u64, left_out: &LeftOut) -> Result<Run> {
        let mut command = Command::new("timeout");
        command
            .arg(LIMIT)
            .arg(std::env::current_exe()?)
            .args(arguments(seed, left_out))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Run(command.spawn()?))
    }

    pub fn end(self) -> Result<Ended> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(Ended { text, problems: Vec::new() });
        }
        let log = String::from_utf8_lossy(&output.stderr);
        let found = text.lines().filter(|line| line.starts_with("PROBLEM")).take(5);
        let panics = log.lines().filter(|line| line.contains("panicked")).take(3);
        let mut problems: Vec<String> = found.chain(panics).map(str::to_owned).collect();
        problems.push(match output.status.code() {
            Some(TOO_LONG) => format!("it was running still after {LIMIT} s"),
            _ => output.status.to_string(),
        });
        Ok(Ended { text, problems })
    }
}
