//! Probes (`env/src/probe.rs`) that no seed reaches: paths through the code of which the simulation says nothing.
//!
//! A probe that was never reached is not known to its process; all that there are are looked up in the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// The crates that simulated nodes are made of, by their directories.
const CRATES: [&str; 6] = ["env", "storage", "consensus", "placement", "shard-server", "txn-coordinator"];

/// Probes that fewer seeds have reached are told besides.
const FEW: u64 = 3;

/// How many seeds have reached each probe.
#[derive(Default)]
pub struct Reach {
    seeds: u64,
    probes: BTreeMap<String, u64>,
}

impl Reach {
    pub fn count(&mut self, reached: &[String]) {
        self.seeds += 1;
        for probe in reached {
            *self.probes.entry(probe.clone()).or_default() += 1;
        }
    }

    /// What is to be told of it.
    pub fn lines(&self) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        match known(&root) {
            Ok(known) => self.of(&known),
            Err(why) => {
                vec![format!("no telling which probes were not reached: the sources cannot be read: {why}")]
            }
        }
    }

    fn of(&self, known: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
        let mut lines = Vec::new();
        let mut tell = |what: &str, wanted: &dyn Fn(u64) -> bool| {
            let mut crates = Vec::new();
            for (name, probes) in known {
                let seeds = |probe: &String| self.probes.get(probe).copied().unwrap_or_default();
                let these: Vec<&str> =
                    probes.iter().filter(|probe| wanted(seeds(probe))).map(String::as_str).collect();
                if !these.is_empty() {
                    crates.push(format!("  {name}: {}", these.join(", ")));
                }
            }
            if !crates.is_empty() {
                lines.push(format!("{what}:"));
                lines.append(&mut crates);
            }
        };
        tell("probes that no seed has reached", &|seeds| seeds == 0);
        // Of so few seeds it says nothing.
        if self.seeds >= FEW {
            tell(&format!("probes that fewer than {FEW} seeds have reached"), &|seeds| {
                (1..FEW).contains(&seeds)
            });
        }
        lines
    }
}

/// All probes in the sources, by the directory of their crate.
fn known(root: &Path) -> io::Result<BTreeMap<&'static str, BTreeSet<String>>> {
    let mut known = BTreeMap::new();
    for name in CRATES {
        let mut probes = BTreeSet::new();
        probes_in(&root.join(name).join("src"), &mut probes)?;
        known.insert(name, probes);
    }
    Ok(known)
}

fn probes_in(directory: &Path, probes: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            probes_in(&path, probes)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            // Unit tests stand at the end of a file.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let quoted = lines.flat_map(|line| line.split("probe!(\"").skip(1));
            probes.extend(quoted.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_found_in_the_sources() {
        let known = known(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        for (name, probe) in [
            ("env", "clock.fenced"),
            ("consensus", "consensus.released"),
            ("shard-server", "shard.split_applied"),
            ("txn-coordinator", "txn.staged"),
        ] {
            assert!(known[name].contains(probe), "{probe} is not among {:?}", known[name]);
        }
        assert!(!known["env"].contains("env.test_probe"));
    }

    #[test]
    fn what_few_or_none_have_reached_is_told_by_crate() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known = BTreeMap::from([
            ("env", names(&["a", "b"]).into_iter().collect()),
            ("storage", names(&["c", "d"]).into_iter().collect::<BTreeSet<String>>()),
        ]);
        let mut reach = Reach::default();
        reach.count(&names(&["a", "c"]));
        let none = ["probes that no seed has reached:", "  env: b", "  storage: d"];
        assert_eq!(reach.of(&known), none);
        reach.count(&names(&["a", "c"]));
        reach.count(&names(&["a", "b", "d"]));
        let few = ["probes that fewer than 3 seeds have reached:", "  env: b", "  storage: c, d"];
        assert_eq!(reach.of(&known), few);
    }
}
