//! Seeds of the simulation with a fault planted: the first that fails has found it, if it passes without.

use super::{
    build::Built,
    finder::{Found, complaint},
    trial::Trial,
};
use anyhow::Result;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

pub fn search(planted: &str, most: u64, built: &Built, output: &Path) -> Result<Found> {
    let jobs = available_parallelism().map_or(1, usize::from);
    let (mut left, mut running) = (1..=most, VecDeque::new());
    // What fails without the fault too is another bug's affair.
    let mut failed_anyway = 0;
    let found = loop {
        while running.len() < jobs
            && let Some(seed) = left.next()
        {
            running.push_back((seed, start(seed, planted, built, file(output, seed))?));
        }
        let Some((seed, trial)) = running.pop_front() else { break None };
        let with = trial.end()?;
        let text = with.text;
        if with.status.is_some_and(|status| status.success()) {
            std::fs::remove_file(file(output, seed))?;
            continue;
        }
        let without = start(seed, "", built, output.to_path_buf())?.end()?;
        if with.status.is_some() && without.status.is_some_and(|status| status.success()) {
            break Some(format!("by seed {seed}: {}", complaint(&text)));
        }
        failed_anyway += 1;
    };
    running.iter_mut().for_each(|(_, trial)| trial.kill());
    let anyway = if failed_anyway > 0 {
        format!(" ({failed_anyway} fail without it, too, or hang)")
    } else {
        String::new()
    };
    Ok(match found {
        Some(found) => Found::Yes(format!("{found}{anyway}")),
        None => Found::No(format!("{most} seeds pass{anyway}")),
    })
}

fn start(seed: u64, planted: &str, built: &Built, output: PathBuf) -> Result<Trial> {
    Trial::start(built.simulator().args(["--seed", &seed.to_string()]), planted, output)
}

fn file(output: &Path, seed: u64) -> PathBuf {
    output.with_extension(format!("{seed}.txt"))
}
