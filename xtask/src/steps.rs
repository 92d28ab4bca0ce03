//! The tasks themselves.

use crate::{edges, lanes, packages, planted, run};
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

/// What is shipped: `target/dist/quorate`, and beside it the simulator that `quorate sim` starts, with all its assertions.
pub fn dist() -> Result<()> {
    packages::for_build()?;
    build("dist")?;
    build_simulator("sim")?;
    let place = |profile: &str| run::target_dir().join(profile).join(SIMULATOR);
    std::fs::copy(place("sim"), place("dist")).context("the simulator is not laid beside")?;
    Ok(())
}

/// With `--optimised` the simulator is built with the profile `sim`: longer to build, some times faster, equal in what it finds.
pub fn sim(args: &[String]) -> Result<()> {
    packages::for_build()?;
    let (optimised, args): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| *arg == "--optimised");
    let (profile, directory) = if optimised.is_empty() { ("dev", "debug") } else { ("sim", "sim") };
    build_simulator(profile)?;
    run::check(Command::new(run::target_dir().join(directory).join(SIMULATOR)).args(args))
}

const SIMULATOR: &str = "quorate-sim";

fn build_simulator(profile: &str) -> Result<()> {
    run::check(&mut run::cargo(&["build", "--profile", profile, "--locked", "-p", SIMULATOR]))
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

/// One after another.
const STEPS: &[Step] = &[
    ("packages", packages::for_tests),
    ("format", || run::check(&mut run::cargo(&["fmt", "--all", "--check"]))),
    ("edges", edges::check),
    ("lints", lints),
    ("build", || run::check(&mut run::cargo(&["build", "--workspace", "--all-targets", "--locked"]))),
];

/// Then these, and the others beside them.
const IN_REAL_TIME: Step = ("real-time", lanes::in_real_time);
const BESIDE: &[Step] =
    &[("tests", lanes::others), ("simulation", simulation), ("planted", planted::by_tests)];

/// No warning, of the compiler or of clippy: `clippy.toml` says what the code must not call. Its artefacts are cargo's for
/// checking, which no other step makes.
fn lints() -> Result<()> {
    let (what, strictly) = (["clippy", "--workspace", "--all-targets", "--locked"], ["--", "-D", "warnings"]);
    run::check(run::cargo(&what).args(strictly))
}

/// The seeds of the simulation that every test run tries, a minute or two: how many, from which. These have three nodes
/// and more, both ways to commit, splits, moves and a clock that jumps.
const SEEDS: [&str; 2] = ["6", "24"];

/// Whole clusters under seeds, each twice in processes of their own: nothing may go wrong, and the two must not differ. Asked for as
/// users do.
fn simulation() -> Result<()> {
    let mut seeds = quorate("debug", "sim");
    seeds.args(["--seeds", SEEDS[0], "--from", SEEDS[1], "--twice", "--jobs", "2"]);
    run::check(&mut run::gently(&seeds))
}

/// Everything that CI runs. Of steps in a row the first that fails ends it.
pub fn test(args: &[String]) -> Result<()> {
    let began = Instant::now();
    let mut times = Times::default();
    let result = match args {
        [] => all(&mut times),
        [flag, name] if flag == "--only" => {
            let all = STEPS.iter().chain([&IN_REAL_TIME]).chain(BESIDE);
            let mut chosen = all.clone().filter(|(step, _)| step == name).peekable();
            if chosen.peek().is_none() {
                let names: Vec<&str> = all.map(|(name, _)| *name).collect();
                bail!("no step of that name; there are: {}", names.join(" "));
            }
            times.run(chosen)
        }
        _ => bail!("usage: cargo xtask test [--only STEP]"),
    };
    times.report(began.elapsed());
    result
}

fn all(times: &mut Times) -> Result<()> {
    times.run(STEPS)?;
    std::thread::scope(|scope| {
        let real = scope.spawn(|| {
            let mut times = Times::default();
            let result = times.run([&IN_REAL_TIME]);
            (times, result)
        });
        let beside = times.run(BESIDE);
        let (more, result) = real.join().expect("a step does not panic");
        times.0.extend(more.0);
        match (result, beside) {
            (Err(one), Err(other)) => bail!("{one:#}; {other:#}"),
            (one, other) => one.and(other),
        }
    })
}

/// What steps have taken.
#[derive(Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    fn run<'a>(&mut self, steps: impl IntoIterator<Item = &'a Step>) -> Result<()> {
        for (name, step) in steps {
            println!("\n=== {name}");
            let at = Instant::now();
            let result = step();
            self.0.push((name, at.elapsed()));
            result.with_context(|| format!("step `{name}` failed"))?;
        }
        Ok(())
    }

    fn report(&self, total: Duration) {
        println!("\n=== time");
        for (name, time) in &self.0 {
            println!("{name:>12} {:7.1} s", time.as_secs_f64());
        }
        println!("{:>12} {:7.1} s", "all", total.as_secs_f64());
    }
}
