//! Seeds of the simulation with a fault planted: the first that fails has found it, if it passes without.

use super::{
    finder::{Found, complaint},
    trial::Trial,
};
use crate::{built::Built, run};
use anyhow::Result;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

pub fn search(planted: &str, most: u64, built: &Built, output: &Path) -> Result<Found> {
    let jobs = run::processors();
    let (mut left, mut running) = (1..=most, VecDeque::new());
    // Those that hang, or fail without the fault too, show nothing.
    let mut doubtful = Vec::new();
    let found = loop {
        while running.len() < jobs
            && let Some(seed) = left.next()
        {
            running.push_back((seed, start(seed, planted, built, file(output, seed))?));
        }
        let Some((seed, trial)) = running.pop_front() else { break None };
        let with = trial.end()?;
        if with.status.is_some_and(|status| status.success()) {
            std::fs::remove_file(file(output, seed))?;
            continue;
        }
        let without = start(seed, "", built, output.to_path_buf())?.end()?;
        if with.status.is_some() && without.status.is_some_and(|status| status.success()) {
            break Some(format!("by seed {seed}: {}", complaint(&with.text)));
        }
        doubtful.push(seed);
    };
    running.iter_mut().for_each(|(_, trial)| trial.kill());
    let besides = match &doubtful[..] {
        [] => String::new(),
        seeds => format!(" (seeds {seeds:?} hang, or fail without it too)"),
    };
    Ok(match found {
        Some(found) => Found::Yes(found + &besides),
        None => Found::No(format!("{most} seeds pass{besides}")),
    })
}

fn start(seed: u64, planted: &str, built: &Built, output: PathBuf) -> Result<Trial> {
    Trial::start(built.simulator().args(["--seed", &seed.to_string()]), planted, output)
}

fn file(output: &Path, seed: u64) -> PathBuf {
    output.with_extension(format!("{seed}.txt"))
}
