//! One-command developer tasks: `cargo xtask demo | test | sim | planted | bench | dist`.

#![expect(clippy::disallowed_methods, reason = "tools for developers, in real time")]

mod bench;
mod built;
mod edges;
mod lanes;
mod packages;
mod planted;
mod run;
mod steps;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <task> [options]

  demo  [--fresh] [options of `quorate demo`]  build, start three nodes on this machine, open a SQL shell
  test  [--only NAME]                 everything that CI runs, each step timed
  sim   [--seeds N] [--from S] [--seed S] [--shrink]  simulated clusters; a failing seed prints how to replay it, and is
                                      shrunk to the least that fails (`sim --help` tells the rest); `--optimised`
                                      first, for many: longer to build, and several times faster
  planted [--list] [--only NAME] [--tests|--seeds|--live]  our own rules are switched off, one at a time: tests, or the
                                      simulation, must find each
  bench [transfer] [options of `quorate bench`]  benchmarks, beside PostgreSQL where it is installed; the figures go into
                                      target/bench-NAME.json
  dist                                what is shipped, target/dist/quorate and quorate-sim; building it takes long
  edges                               which crate may use which (also a step of `test`)
";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match task.as_str() {
        "demo" => steps::demo(&rest),
        "test" => steps::test(&rest),
        "sim" => steps::sim(&rest),
        "planted" => planted::planted(&rest),
        "bench" => bench::bench(&rest),
        "dist" => steps::dist(),
        "edges" => edges::check(),
        "" | "-h" | "--help" | "help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown task `{other}`\n\n{USAGE}"),
    }
}
