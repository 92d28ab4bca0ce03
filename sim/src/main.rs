//! `quorate-sim --seed S` runs one seed and prints its trace hash; `--seeds N --from S` runs N of them, each in a process
//! of its own, and counts.

mod entropy;

use anyhow::{Result, bail};
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str =
    "usage: quorate-sim --seed S [--verbose]\n       quorate-sim --seeds N [--from S] [--jobs J]";

#[derive(Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: u64,
    jobs: usize,
    verbose: bool,
}

fn parse() -> Result<Args> {
    let mut args = Args { from: 1, jobs: 1, ..Args::default() };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut number = || match given.next().map(|text| text.parse::<u64>()) {
            Some(Ok(number)) => Ok(number),
            _ => bail!("{name} wants a number\n{USAGE}"),
        };
        match name.as_str() {
            "--seed" => args.seed = Some(number()?),
            "--seeds" => args.seeds = Some(number()?),
            "--from" => args.from = number()?,
            "--jobs" => args.jobs = (number()? as usize).max(1),
            "--verbose" => args.verbose = true,
            _ => bail!("what is {name}?\n{USAGE}"),
        }
    }
    if args.seed.is_some() == args.seeds.is_some() {
        bail!("{USAGE}");
    }
    Ok(args)
}

fn main() -> Result<ExitCode> {
    let args = parse()?;
    match (args.seed, args.seeds) {
        (Some(seed), _) => {
            // Whatever used entropy before (reading arguments, setting up the log) must not change the run: a thread of its
            // own draws afresh what std keeps per thread.
            let errors = quorate_sim::collect_errors(args.verbose);
            entropy::seed(seed);
            let run =
                std::thread::Builder::new().name("simulation".into()).spawn(move || one(seed, &errors))?;
            run.join()
                .map_err(|_| anyhow::anyhow!("seed {seed} panicked; replay: cargo xtask sim --seed {seed}"))
        }
        (_, seeds) => many(seeds.unwrap_or(1), args.from, args.jobs),
    }
}

fn one(seed: u64, errors: &quorate_sim::Errors) -> ExitCode {
    let report = quorate_sim::run(seed, errors);
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
        println!("replay: cargo xtask sim --seed {seed}");
        ExitCode::FAILURE
    }
}

fn many(seeds: u64, from: u64, jobs: usize) -> Result<ExitCode> {
    let program = std::env::current_exe()?;
    let mut left = (from..from.saturating_add(seeds)).collect::<std::collections::VecDeque<_>>();
    let mut running = std::collections::VecDeque::new();
    let (mut passed, mut failed) = (0u64, 0u64);
    while !left.is_empty() || !running.is_empty() {
        while running.len() < jobs
            && let Some(seed) = left.pop_front()
        {
            let child = Command::new(&program)
                .args(["--seed", &seed.to_string()])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            running.push_back((seed, child));
        }
        let Some((seed, child)) = running.pop_front() else { break };
        let output = child.wait_with_output()?;
        if output.status.success() {
            passed += 1;
            continue;
        }
        failed += 1;
        println!("seed {seed} failed ({}); replay: cargo xtask sim --seed {seed}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().filter(|line| line.starts_with("PROBLEM")).take(5).for_each(|line| println!("  {line}"));
        let panics = String::from_utf8_lossy(&output.stderr);
        panics.lines().filter(|line| line.contains("panicked")).take(3).for_each(|line| println!("  {line}"));
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
