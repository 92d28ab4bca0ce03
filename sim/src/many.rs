//! Many seeds, each in a process of its own.

use crate::{
    called,
    child::{self, Ended, Run},
    progress::{Progress, Stopwatch},
    reach::Reach,
};
use anyhow::Result;
use quorate_sim::{Facts, LeftOut};
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub struct Campaign {
    pub from: u64,
    pub seeds: u64,
    /// So many seeds at a time.
    pub jobs: usize,
    /// Each in two processes.
    pub twice: bool,
}

/// How the seeds went that have ended.
#[derive(Default)]
struct Tally {
    passed: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn ended(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    fn of(&self, seeds: u64) -> String {
        let (passed, failed) = self.ended();
        format!("{} of {seeds} seeds, {failed} failed", passed + failed)
    }
}

/// One process, or two that must agree.
struct Trial {
    seed: u64,
    first: Run,
    second: Option<Run>,
}

impl Trial {
    fn start(seed: u64, left_out: &LeftOut, twice: bool) -> Result<Trial> {
        let second = twice.then(|| Run::start(seed, left_out)).transpose()?;
        Ok(Trial { seed, first: Run::start(seed, left_out)?, second })
    }

    fn end(self) -> Result<Ended> {
        let mut ended = self.first.end()?;
        if let Some(second) = self.second {
            let other = second.end()?.text;
            if other != ended.text {
                ended.problems.push(format!("two runs of it differ:\n{}\n{other}", ended.text));
            }
        }
        Ok(ended)
    }
}

pub fn run(campaign: &Campaign, left_out: &LeftOut) -> Result<ExitCode> {
    let seeds = campaign.seeds;
    let mut left = (campaign.from..campaign.from.saturating_add(seeds)).collect::<VecDeque<_>>();
    let mut running = VecDeque::new();
    let (tally, watch) = (Arc::new(Tally::default()), Stopwatch::start());
    let (mut reach, mut virtual_seconds) = (Reach::default(), 0.0);
    let shown = tally.clone();
    let progress = Progress::show(move || shown.of(seeds))?;
    while !left.is_empty() || !running.is_empty() {
        while running.len() < campaign.jobs.max(1)
            && let Some(seed) = left.pop_front()
        {
            running.push_back(Trial::start(seed, left_out, campaign.twice)?);
        }
        let Some(trial) = running.pop_front() else { break };
        let seed = trial.seed;
        let ended = trial.end()?;
        let facts = Facts::read(&ended.text);
        reach.count(&facts.probes);
        virtual_seconds += facts.virtual_seconds;
        if ended.problems.is_empty() {
            tally.passed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        tally.failed.fetch_add(1, Ordering::Relaxed);
        progress.clear();
        println!("seed {seed} failed; {}", called::replay(&child::arguments(seed, left_out)));
        ended.problems.iter().for_each(|line| println!("  {line}"));
    }
    drop(progress);
    reach.lines().iter().for_each(|line| println!("{line}"));
    let (passed, failed) = tally.ended();
    println!("{}", speed(seeds, virtual_seconds, watch.seconds()));
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn speed(seeds: u64, virtual_seconds: f64, seconds: f64) -> String {
    let seconds = seconds.max(0.001);
    let (pace, ratio) = (seeds as f64 * 60.0 / seconds, virtual_seconds / seconds);
    format!("{pace:.1} seeds a minute, {ratio:.1} simulated seconds a second")
}

#[cfg(test)]
mod tests {
    #[test]
    fn speed_is_told_of_seeds_and_of_virtual_time() {
        let told = super::speed(10, 600.0, 120.0);
        assert_eq!(told, "5.0 seeds a minute, 5.0 simulated seconds a second");
    }
}
