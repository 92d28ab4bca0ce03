//! `cargo xtask bench`: the binary that the demo uses, beside its peers.

use crate::{packages, run, steps};
use anyhow::Result;
use std::path::Path;

const DEFAULT: &str = "transfer";
/// Those that can run on others, too.
const COMPARED: [&str; 2] = ["transfer", "hot"];

pub fn bench(given: &[String]) -> Result<()> {
    packages::for_tests()?;
    steps::build("release")?;
    let arguments = arguments(given, &run::target_dir());
    run::check(steps::quorate("release", "bench").args(arguments))
}

/// What `quorate bench` is called with: the benchmark is named, has the peers beside it and writes its figures into the target
/// directory, wherever nothing else is said.
fn arguments(given: &[String], target: &Path) -> Vec<String> {
    let (name, options) = match given.split_first() {
        Some((name, options)) if !name.starts_with('-') => (name.as_str(), options),
        _ => (DEFAULT, given),
    };
    let mut all = vec![name.to_owned()];
    if COMPARED.contains(&name) && !is_given(options, "--peers") {
        all.extend(["--peers", "postgres"].map(str::to_owned));
    }
    if !is_given(options, "--json") {
        let file = target.join(format!("bench-{name}.json"));
        all.extend(["--json".to_owned(), file.to_string_lossy().into_owned()]);
    }
    all.extend_from_slice(options);
    all
}

/// As `--name value` or `--name=value`.
fn is_given(options: &[String], name: &str) -> bool {
    options.iter().any(|option| option.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('=')))
}

#[cfg(test)]
mod tests {
    fn arguments(given: &str) -> String {
        let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        super::arguments(&given, "/t".as_ref()).join(" ")
    }

    #[test]
    fn the_table_of_peers_and_the_figures_are_what_is_usual() {
        let usual = "transfer --peers postgres --json /t/bench-transfer.json";
        assert_eq!(arguments(""), usual);
        assert_eq!(arguments("transfer"), usual);
        assert_eq!(arguments("--clients 4"), format!("{usual} --clients 4"));
        assert_eq!(arguments("transfer --clients 4"), format!("{usual} --clients 4"));
    }

    #[test]
    fn what_is_given_stands() {
        assert_eq!(arguments("transfer --json -"), "transfer --peers postgres --json -");
        assert_eq!(arguments("--peers=x"), "transfer --json /t/bench-transfer.json --peers=x");
        assert_eq!(arguments("transfer --json=a --peers x"), "transfer --json=a --peers x");
        assert_eq!(arguments("--peers-of x --json a"), "transfer --peers postgres --peers-of x --json a");
    }

    #[test]
    fn one_row_is_compared_too() {
        let usual = "hot --peers postgres --json /t/bench-hot.json --clients 8";
        assert_eq!(arguments("hot --clients 8"), usual);
    }

    #[test]
    fn another_benchmark_has_its_own_file_and_no_peers() {
        assert_eq!(arguments("ycsb --clients 4"), "ycsb --json /t/bench-ycsb.json --clients 4");
    }
}
