//! `quorate-sim --seed S` runs one seed and prints its plan and its trace hash; with `--deaths` a gateway dies at each await point
//! of a commit instead. `--seeds N --from S` runs N of them, each in a process of its own, and counts; with `--twice` each in two,
//! whose outputs must not differ. `--seed S --shrink` looks for the least of a seed that still fails. How far it is stands on
//! standard error; with `--timeline` each thing that happens to whom is told on standard output.

mod alone;
mod called;
mod child;
mod ddmin;
mod entropy;
mod many;
mod progress;
mod reach;
mod shrink;
mod smaller;
mod timeline;

use anyhow::{Result, anyhow};
use clap::{CommandFactory, FromArgMatches, Parser};
use quorate_env::witness;
use quorate_sim::{Drawn, LeftOut};
use std::process::ExitCode;
use timeline::Timeline;

/// Whole clusters in one process, each under a seed.
#[derive(Parser)]
#[command(about)]
struct Args {
    /// Run this seed
    #[arg(long, value_name = "S", required_unless_present = "seeds", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Write the log (by `RUST_LOG`) to standard error, with virtual times
    #[arg(long, conflicts_with = "seeds")]
    verbose: bool,
    #[command(flatten)]
    timeline: Timeline,
    /// Print the seed's plan, and run nothing
    #[arg(long, conflicts_with = "seeds")]
    plan: bool,
    /// Have a gateway die at each await point of a commit instead
    #[arg(long, conflicts_with_all = ["seeds", "plan", "shrink"])]
    deaths: bool,
    /// Look for the least of a failing seed that still fails
    #[arg(long, conflicts_with_all = ["seeds", "plan"])]
    shrink: bool,
    /// So often a smaller run is tried
    #[arg(long, value_name = "N", default_value_t = 200, requires = "shrink")]
    tries: u64,
    /// Each smaller run under so many courses of chance, until one fails: for what fails rarely
    #[arg(long, value_name = "R", default_value_t = 1, requires = "shrink")]
    chances: u64,
    /// Any problem counts as the same
    #[arg(long, requires = "shrink")]
    any: bool,
    /// Run so many seeds, each in a process of its own
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 1, conflicts_with = "seed")]
    from: u64,
    /// So many at a time
    #[arg(long, value_name = "J", default_value_t = 1, conflicts_with = "seed")]
    jobs: usize,
    /// Each in two processes, whose outputs must not differ
    #[arg(long, conflicts_with = "seed")]
    twice: bool,
    #[command(flatten)]
    left_out: LeftOut,
}

fn main() -> Result<ExitCode> {
    let asked = Args::command().bin_name(called::name()).get_matches();
    let args = Args::from_arg_matches(&asked)?;
    args.timeline.listen();
    let Some(seed) = args.seed else {
        let campaign = many::Campaign {
            from: args.from,
            seeds: args.seeds.unwrap_or(1),
            jobs: args.jobs,
            twice: args.twice,
        };
        return many::run(&campaign, &args.left_out);
    };
    if args.deaths {
        let scenario = move |errors: &_| quorate_sim::deaths(seed, errors);
        return alone::run(
            seed,
            &["--seed".into(), seed.to_string(), "--deaths".into()],
            args.verbose,
            scenario,
        );
    }
    let drawn = Drawn::new(seed, &args.left_out).map_err(|why| anyhow!(why))?;
    if args.plan {
        drawn.lines().iter().for_each(|line| timeline::say(line));
        return Ok(ExitCode::SUCCESS);
    }
    if args.shrink {
        let bounds = shrink::Bounds { tries: args.tries, chances: args.chances, any: args.any };
        return shrink::run(seed, &args.left_out, &bounds);
    }
    let replay = child::arguments(seed, &args.left_out);
    let scenario = move |errors: &_| {
        witness::watch();
        quorate_sim::run(drawn, errors)
    };
    alone::run(seed, &replay, args.verbose, scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood() {
        let parse = |line: &str| Args::try_parse_from(std::iter::once("sim").chain(line.split_whitespace()));
        assert!(parse("--seed 7 --without 3,5-7 --usual nodes --clients 2").is_ok());
        assert!(parse("--seed 7 --shrink --tries 50 --chances 3 --any").is_ok());
        assert!(parse("--seeds 6 --from 15 --twice --jobs 2 --without-points").is_ok());
        assert!(parse("--seed 7 --deaths --verbose").is_ok());
        assert!(parse("--seed 7 --timeline --key 4003,41 --txn 0af --shard 3 --node 2").is_ok());
        for wrong in [
            "",
            "--seed 7 --seeds 3",
            "--seeds 3 --deaths",
            "--seeds 3 --shrink",
            "--seed 7 --tries 3",
            "--seed 7 --key 4003",
            "--seeds 7 --timeline",
            "--seed 7 --timeline --key 4x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
