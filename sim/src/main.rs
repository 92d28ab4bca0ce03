//! `quorate-sim --seed S` runs one seed and prints its trace hash; with `--deaths` a gateway dies at each await point of a commit
//! instead. `--seeds N --from S` runs N of them, each in a process of its own, and counts; with `--twice` each in two, whose
//! outputs must not differ. How far it is stands on standard error.

mod entropy;
mod progress;

use anyhow::{Result, bail};
use progress::Progress;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const USAGE: &str = "usage: quorate-sim --seed S [--deaths] [--verbose]
       quorate-sim --seeds N [--from S] [--jobs J] [--twice]";

#[derive(Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: u64,
    jobs: usize,
    verbose: bool,
    twice: bool,
    deaths: bool,
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
            "--twice" => args.twice = true,
            "--deaths" => args.deaths = true,
            _ => bail!("what is {name}?\n{USAGE}"),
        }
    }
    if args.seed.is_some() == args.seeds.is_some() || (args.deaths && args.seeds.is_some()) {
        bail!("{USAGE}");
    }
    Ok(args)
}

fn main() -> Result<ExitCode> {
    let args = parse()?;
    match (args.seed, args.seeds) {
        (Some(seed), _) => {
            let scenario = if args.deaths { quorate_sim::deaths } else { quorate_sim::run };
            alone(seed, scenario, args.verbose)
        }
        (_, seeds) => many(seeds.unwrap_or(1), &args),
    }
}

type Scenario = fn(u64, &quorate_sim::Errors) -> quorate_sim::Report;

/// Runs one seed in this process.
fn alone(seed: u64, scenario: Scenario, verbose: bool) -> Result<ExitCode> {
    let watched = std::io::stderr().is_terminal() && !verbose;
    let progress = watched.then(|| Progress::show(move || format!("seed {seed}"))).transpose()?;
    // Whatever used entropy before (reading arguments, setting up the log) must not change the run: a thread of its own
    // draws afresh what std keeps per thread.
    let errors = quorate_sim::collect_errors(verbose);
    entropy::seed(seed);
    let run = move || {
        let report = scenario(seed, &errors);
        drop(progress);
        tell(seed, &report)
    };
    #[expect(clippy::disallowed_methods, reason = "the one thread of the simulated world")]
    let run = std::thread::Builder::new().name("simulation".into()).spawn(run)?;
    run.join().map_err(|_| anyhow::anyhow!("seed {seed} panicked; replay: cargo xtask sim --seed {seed}"))
}

fn tell(seed: u64, report: &quorate_sim::Report) -> ExitCode {
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

/// A seed that runs in a process of its own.
struct Run {
    seed: u64,
    child: Child,
}

impl Run {
    fn start(seed: u64) -> Result<Run> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--seed", &seed.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Run { seed, child: command.spawn()? })
    }

    /// What it printed, and what is wrong with it.
    fn end(self) -> Result<(String, Vec<String>)> {
        let output = self.child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok((text, Vec::new()));
        }
        let log = String::from_utf8_lossy(&output.stderr);
        let found = text.lines().filter(|line| line.starts_with("PROBLEM")).take(5);
        let panics = log.lines().filter(|line| line.contains("panicked")).take(3);
        let mut problems: Vec<String> = found.chain(panics).map(str::to_owned).collect();
        problems.push(output.status.to_string());
        Ok((text, problems))
    }
}

/// How the seeds went that have ended.
#[derive(Default)]
struct Tally {
    passed: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn of(&self, seeds: u64) -> String {
        let (passed, failed) = (self.passed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        format!("{} of {seeds} seeds, {failed} failed", passed + failed)
    }
}

fn many(seeds: u64, args: &Args) -> Result<ExitCode> {
    let mut left = (args.from..args.from.saturating_add(seeds)).collect::<VecDeque<_>>();
    let mut running = VecDeque::new();
    let tally = Arc::new(Tally::default());
    let shown = tally.clone();
    let progress = Progress::show(move || shown.of(seeds))?;
    while !left.is_empty() || !running.is_empty() {
        while running.len() < args.jobs
            && let Some(seed) = left.pop_front()
        {
            let second = args.twice.then(|| Run::start(seed)).transpose()?;
            running.push_back((Run::start(seed)?, second));
        }
        let Some((first, second)) = running.pop_front() else { break };
        let seed = first.seed;
        let (text, mut problems) = first.end()?;
        if let Some(second) = second
            && let (other, _) = second.end()?
            && other != text
        {
            problems.push(format!("two runs of it differ:\n{text}\n{other}"));
        }
        if problems.is_empty() {
            tally.passed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        tally.failed.fetch_add(1, Ordering::Relaxed);
        progress.clear();
        println!("seed {seed} failed; replay: cargo xtask sim --seed {seed}");
        problems.iter().for_each(|line| println!("  {line}"));
    }
    drop(progress);
    let failed = tally.failed.load(Ordering::Relaxed);
    println!("{} passed, {failed} failed", tally.passed.load(Ordering::Relaxed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
