//! One seed, in this process.

use crate::{called, entropy, progress::Progress};
use anyhow::{Result, anyhow};
use quorate_sim::{Errors, Report};
use std::{io::IsTerminal, process::ExitCode};

/// Runs it and tells how it went; `replay` are the arguments that ask for it again.
pub fn run(
    seed: u64,
    replay: &[String],
    verbose: bool,
    scenario: impl FnOnce(&Errors) -> Report + Send + 'static,
) -> Result<ExitCode> {
    let watched = std::io::stderr().is_terminal() && !verbose;
    let progress = watched.then(|| Progress::show(move || format!("seed {seed}"))).transpose()?;
    // Whatever used entropy before (reading arguments, setting up the log) must not change the run: a thread of its own
    // draws afresh what std keeps per thread.
    let errors = quorate_sim::collect_errors(verbose);
    entropy::seed(seed);
    let again = called::replay(replay);
    let told = again.clone();
    let run = move || {
        let report = scenario(&errors);
        drop(progress);
        tell(&told, &report)
    };
    #[expect(clippy::disallowed_methods, reason = "the one thread of the simulated world")]
    let run = std::thread::Builder::new().name("simulation".into()).spawn(run)?;
    run.join().map_err(|_| anyhow!("seed {seed} panicked; {again}"))
}

fn tell(again: &str, report: &Report) -> ExitCode {
    for line in &report.facts {
        println!("{line}");
    }
    for problem in &report.problems {
        println!("PROBLEM: {problem}");
    }
    println!("trace hash: {:016x}", report.trace_hash);
    if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("{again}");
        ExitCode::FAILURE
    }
}
