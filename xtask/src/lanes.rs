//! The tests, in two lanes. Those that run in real time, with real processes and connections, mostly wait: they run two at a
//! time. What only computes, in virtual time, goes on beside them, gently, so that it does not make them late.

use crate::{built::Built, run};
use anyhow::{Context, Result, bail};
use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

/// Executables whose tests wait, beside each other.
const WAITING: usize = 2;

/// # Errors
/// If a test fails, or cannot be started.
pub fn in_real_time() -> Result<()> {
    let built = Built::new()?;
    each(built.all().filter(|(name, _)| is_in_real_time(name)), WAITING)
}

/// All other tests, and those in docstrings.
///
/// # Errors
/// If a test fails, or cannot be started.
pub fn others() -> Result<()> {
    let built = Built::new()?;
    let others = built.all().filter(|(name, _)| !is_in_real_time(name));
    let docstrings = ("docstrings", run::cargo(&["test", "--doc", "--workspace", "--locked"]));
    each(others.chain([docstrings]).map(|(name, command)| (name, run::gently(&command))), 1)
}

fn is_in_real_time(target: &str) -> bool {
    ["quorate", "sql-frontend", "env", "bench", "check"]
        .contains(&target.split('/').next().unwrap_or_default())
}

/// Runs them all, also behind one that fails, `at_once` beside each other. What each prints comes in one piece.
fn each<'a>(commands: impl Iterator<Item = (&'a str, Command)> + Send, at_once: usize) -> Result<()> {
    let outcomes = run::beside(commands, at_once, |(name, command)| Ok((name, passes(name, command)?)))?;
    let failed: Vec<_> = outcomes.into_iter().filter(|(_, passed)| !passed).map(|(name, _)| name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn passes(name: &str, mut command: Command) -> Result<bool> {
    println!("--- {name} begins");
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let passed = output.status.success();
    let outcome = if passed { "ok" } else { "FAILED" };
    let mut text =
        format!("\n--- {name}: {outcome} in {:.1} s\n", began.elapsed().as_secs_f64()).into_bytes();
    text.extend(output.stdout);
    text.extend(output.stderr);
    std::io::stdout().lock().write_all(&text)?;
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::each;
    use std::process::Command;

    #[test]
    fn all_that_fail_are_named_and_none_ends_the_others() {
        let commands = [("a", "false"), ("b", "true"), ("c", "false"), ("d", "true"), ("e", "false")];
        let failed = |at_once| {
            let error = each(commands.map(|(name, is)| (name, Command::new(is))).into_iter(), at_once);
            let mut said = error.unwrap_err().to_string().replace("failed: ", "");
            said.retain(char::is_alphabetic);
            said
        };
        assert_eq!(failed(1), "ace");
        for at_once in 2..=6 {
            let mut names: Vec<char> = failed(at_once).chars().collect();
            names.sort_unstable();
            assert_eq!(names, ['a', 'c', 'e']);
        }
        each([("b", Command::new("true"))].into_iter(), 2).unwrap();
        assert!(each([("x", Command::new("/nowhere"))].into_iter(), 2).is_err());
    }
}
