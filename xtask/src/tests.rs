//! The tests, in two lanes. Those that run in real time, with real processes and connections, mostly wait: they run one after
//! another. What only computes, in virtual time, goes on beside them, gently, so that it does not make them late.

use crate::{built::Built, run};
use anyhow::{Context, Result, bail};
use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

/// # Errors
/// If a test fails, or cannot be started.
pub fn in_real_time() -> Result<()> {
    each(Built::new()?.all().filter(|(name, _)| is_in_real_time(name)))
}

/// All other tests, and those in docstrings.
///
/// # Errors
/// If a test fails, or cannot be started.
pub fn others() -> Result<()> {
    let built = Built::new()?;
    let others = built.all().filter(|(name, _)| !is_in_real_time(name));
    let docstrings = ("docstrings", run::cargo(&["test", "--doc", "--workspace", "--locked"]));
    each(others.chain([docstrings]).map(|(name, command)| (name, run::gently(&command))))
}

fn is_in_real_time(target: &str) -> bool {
    ["quorate", "sql-frontend", "env", "bench", "check"]
        .contains(&target.split('/').next().unwrap_or_default())
}

/// Runs them all, also behind one that fails. What each prints comes in one piece.
fn each<'a>(commands: impl Iterator<Item = (&'a str, Command)>) -> Result<()> {
    let mut failed = Vec::new();
    for (name, mut command) in commands {
        println!("--- {name} begins");
        let began = Instant::now();
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
        let outcome = if output.status.success() { "ok" } else { "FAILED" };
        let mut text =
            format!("\n--- {name}: {outcome} in {:.1} s\n", began.elapsed().as_secs_f64()).into_bytes();
        text.extend(output.stdout);
        text.extend(output.stderr);
        std::io::stdout().lock().write_all(&text)?;
        if !output.status.success() {
            failed.push(name.to_owned());
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => bail!("failed: {}", failed.join(", ")),
    }
}
