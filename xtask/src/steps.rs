//! The tasks themselves.

use crate::{edges, packages, planted, run};
use anyhow::{Context, Result, bail};
use std::{
    process::Command,
    time::{Duration, Instant},
};

pub fn demo(args: &[String]) -> Result<()> {
    packages::for_build()?;
    build("release")?;
    run::check(quorate("release", "demo").args(args))
}

/// The binary to ship, `target/dist/quorate`.
pub fn dist() -> Result<()> {
    packages::for_build()?;
    build("dist")
}

/// With `--optimised` the simulator is built with the profile `sim`: longer to build, some times faster, equal in what it finds.
pub fn sim(args: &[String]) -> Result<()> {
    packages::for_build()?;
    let (optimised, args): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| *arg == "--optimised");
    let (profile, directory) = if optimised.is_empty() { ("dev", "debug") } else { ("sim", "sim") };
    run::check(&mut run::cargo(&["build", "--profile", profile, "--locked", "-p", "quorate-sim"]))?;
    run::check(simulator(directory).args(args))
}

/// By the directory of its profile.
fn simulator(directory: &str) -> Command {
    Command::new(run::target_dir().join(directory).join("quorate-sim"))
}

pub fn build(profile: &str) -> Result<()> {
    run::check(&mut run::cargo(&["build", "--profile", profile, "--locked", "-p", "quorate"]))
}

pub fn quorate(profile: &str, subcommand: &str) -> Command {
    let mut command = Command::new(run::target_dir().join(profile).join("quorate"));
    command.arg(subcommand);
    command
}

/// A named part of `cargo xtask test`.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("packages", packages::for_tests),
    ("format", || run::check(&mut run::cargo(&["fmt", "--all", "--check"]))),
    ("edges", edges::check),
    ("lints", lints),
    ("build", || run::check(&mut run::cargo(&["build", "--workspace", "--all-targets", "--locked"]))),
    ("tests", || run::check(&mut run::cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]))),
    ("simulation", simulation),
    ("planted", planted::by_tests),
];

/// No warning, of the compiler or of clippy: `clippy.toml` says what the code must not call. Its artefacts are cargo's for
/// checking, which no other step makes.
fn lints() -> Result<()> {
    let (what, strictly) = (["clippy", "--workspace", "--all-targets", "--locked"], ["--", "-D", "warnings"]);
    run::check(run::cargo(&what).args(strictly))
}

/// The seeds of the simulation that every test run tries, a minute or two: how many, from which. These have three nodes
/// and more, both ways to commit, splits, moves and a clock that jumps. Those that are known to fail stand in docs/simulation.md.
const SEEDS: [&str; 2] = ["6", "24"];

/// Whole clusters under seeds, each twice in processes of their own: nothing may go wrong, and the two must not differ.
fn simulation() -> Result<()> {
    run::check(simulator("debug").args(["--seeds", SEEDS[0], "--from", SEEDS[1], "--twice", "--jobs", "2"]))
}

/// Everything that CI runs. The first failing step ends it.
pub fn test(args: &[String]) -> Result<()> {
    let only = match args {
        [] => None,
        [flag, name] if flag == "--only" => Some(name.as_str()),
        _ => bail!("usage: cargo xtask test [--only {}]", names().join("|")),
    };
    if only.is_some_and(|name| !names().contains(&name)) {
        bail!("no step of that name; there are: {}", names().join(" "));
    }
    let began = Instant::now();
    let mut times = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_none_or(|o| o == *name)) {
        println!("\n=== {name}");
        let at = Instant::now();
        let result = step();
        times.push((*name, at.elapsed()));
        if let Err(error) = result {
            report(&times, began.elapsed());
            return Err(error).context(format!("step `{name}` failed"));
        }
    }
    report(&times, began.elapsed());
    Ok(())
}

fn names() -> Vec<&'static str> {
    STEPS.iter().map(|(name, _)| *name).collect()
}

fn report(times: &[(&str, Duration)], total: Duration) {
    println!("\n=== time");
    for (name, time) in times {
        println!("{name:>12} {:7.1} s", time.as_secs_f64());
    }
    println!("{:>12} {:7.1} s", "all", total.as_secs_f64());
}
