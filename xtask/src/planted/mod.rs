//! `cargo xtask planted`: our own rules are switched off, one at a time (`env/src/planted.rs`), and somebody must find it.
//!
//! What the finders print stays in `target/planted/`.

mod finder;
mod seeds;
mod table;
mod trial;

use crate::{built::Built, run};
use anyhow::{Context, Result, bail};
use finder::{Finder, Found, Kind};
use std::path::PathBuf;
use table::Planted;

const USAGE: &str = "usage: cargo xtask planted [--list] [--only NAME] [--tests|--seeds|--live]";

#[derive(Default)]
struct Args {
    list: bool,
    /// Faults whose names contain it.
    only: String,
    /// The finders to try: all without it. Seeds of the simulation and live clusters take long.
    kind: Option<Kind>,
}

impl Args {
    fn parse(given: &[String]) -> Result<Self> {
        let (mut args, mut given) = (Args::default(), given.iter());
        while let Some(arg) = given.next() {
            match arg.as_str() {
                "--list" => args.list = true,
                "--tests" => args.kind = Some(Kind::Test),
                "--seeds" => args.kind = Some(Kind::Seeds),
                "--live" => args.kind = Some(Kind::Live),
                "--only" => args.only = given.next().context(USAGE)?.clone(),
                _ => bail!("what is {arg}?\n{USAGE}"),
            }
        }
        Ok(args)
    }

    fn wants(&self, finder: &Finder) -> bool {
        self.kind.is_none_or(|kind| kind == finder.kind())
    }

    /// Of tests, one for each processor; the others have the machine to themselves.
    fn at_once(&self) -> usize {
        if self.kind == Some(Kind::Test) { run::processors() } else { 1 }
    }

    fn chosen(&self) -> Result<Vec<&'static Planted>> {
        let chosen: Vec<_> = table::all().filter(|fault| fault.names.contains(&self.only)).collect();
        if chosen.is_empty() {
            bail!("no planted fault is called {}", self.only);
        }
        Ok(chosen)
    }
}

/// Plants each fault, or those whose names contain the text given.
///
/// # Errors
/// If a fault is not found by whoever must find it, or cannot be tried.
pub fn planted(given: &[String]) -> Result<()> {
    let args = Args::parse(given)?;
    let chosen = args.chosen()?;
    if args.list {
        chosen.iter().for_each(|fault| list(fault));
        return Ok(());
    }
    let (built, outputs) = (Built::new()?, run::target_dir().join("planted"));
    std::fs::create_dir_all(&outputs)?;
    let wanted = chosen.into_iter().flat_map(|fault| {
        let finders = fault.found_by.iter().enumerate().filter(|(_, finder)| args.wants(finder));
        finders.map(move |(at, finder)| (fault, at, finder))
    });
    let wanted: Vec<_> = wanted.collect();
    let tried = wanted.len();
    let trials = run::beside(wanted, args.at_once(), |(fault, at, finder)| {
        let output = outputs.join(format!("{}-{at}.txt", fault.names));
        let held = holds(fault, finder, &built, output)?;
        Ok((!held).then(|| format!("{} by {finder}", fault.names)))
    })?;
    let missed: Vec<_> = trials.into_iter().flatten().collect();
    if !missed.is_empty() {
        bail!("{} of {tried} not found:\n  {}", missed.len(), missed.join("\n  "));
    }
    println!("\nall {tried} found");
    Ok(())
}

/// Every one that can be found by tests alone: a step of `cargo xtask test`.
///
/// # Errors
/// As [`planted`].
pub fn by_tests() -> Result<()> {
    planted(&["--tests".to_owned()])
}

fn holds(fault: &Planted, finder: &Finder, built: &Built, output: PathBuf) -> Result<bool> {
    let found = finder.search(fault.names, built, &output);
    let found =
        found.with_context(|| format!("{} cannot be tried: see {}", fault.names, output.display()))?;
    println!("\n{}: {}\n  {finder}\n    {found}", fault.names, fault.what);
    Ok(matches!(found, Found::Yes(_)))
}

fn list(fault: &Planted) {
    println!("{}: {}", fault.names, fault.what);
    fault.found_by.iter().for_each(|finder| println!("  {finder}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    fn names_in(dir: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                names_in(&entry, names);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let quoted = code.flat_map(|line| line.split("planted!(\"").skip(1));
                names.extend(quoted.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_fault_in_the_code_is_in_the_table_and_has_a_finder() {
        let mut planted = BTreeSet::new();
        for entry in fs::read_dir(run::root()).unwrap().map(|entry| entry.unwrap().path()) {
            let sources = entry.join("src");
            if sources.is_dir() && !entry.ends_with("xtask") {
                names_in(&sources, &mut planted);
            }
        }
        let split = |fault: &Planted| fault.names.split(',').map(str::to_owned).collect::<Vec<_>>();
        let told: BTreeSet<String> = table::all().flat_map(split).collect();
        assert_eq!(told, planted);
        let rules = fs::read_to_string(run::root().join("docs/rules.md")).unwrap();
        let untold: Vec<_> = told.iter().filter(|name| !rules.contains(*name)).collect();
        assert!(untold.is_empty(), "docs/rules.md does not say whose rule is switched off: {untold:?}");
        assert!(table::all().all(|fault| !fault.found_by.is_empty()));
    }

    #[test]
    fn arguments_are_understood() {
        let parse = |given: &str| Args::parse(&given.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(parse("--list --only txn").is_ok_and(|args| args.list && args.only == "txn"));
        assert!(parse("--tests").is_ok_and(|args| !args.wants(&Finder::Seeds(1))));
        assert!(parse("--seeds").is_ok_and(|args| args.wants(&Finder::Seeds(1))));
        assert!(parse("--only").is_err());
        assert!(parse("txn").is_err());
    }
}
