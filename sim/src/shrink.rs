//! The least of a failing seed that still fails: it is run again and again, with less each time.

use crate::{
    called,
    child::{self, Ended, Run},
    smaller::{Parts, smaller},
};
use anyhow::{Result, anyhow};
use quorate_sim::{Drawn, Facts, LeftOut};
use std::{collections::BTreeMap, process::ExitCode};

pub struct Bounds {
    /// Processes that are run at most.
    pub tries: u64,
    /// Under so many courses of chance something smaller must pass before it counts as passing: whatever is left out, all that is
    /// drawn while the run goes on comes out otherwise, and a rare failure may stay away for that reason alone.
    pub chances: u64,
    /// Whatever goes wrong counts as the same failure.
    pub any: bool,
}

/// Shrinks a seed.
pub fn run(seed: u64, from: &LeftOut, bounds: &Bounds) -> Result<ExitCode> {
    let whole = Run::start(seed, from)?.end()?;
    if whole.problems.is_empty() {
        println!("seed {seed} passes: there is nothing to shrink");
        return Ok(ExitCode::SUCCESS);
    }
    let drawn = Drawn::new(seed, from).map_err(|why| anyhow!(why))?;
    let parts = Parts {
        points: Facts::read(&whole.text).points,
        steps: drawn.steps(),
        knobs: drawn.knobs(),
        clients: drawn.clients(),
    };
    let sort = (!bounds.any).then(|| sorts(&whole.problems)).and_then(|sorts| sorts.into_iter().next());
    println!("seed {seed}: {}", whole.problems[0]);
    println!(
        "whole: {}; looking for less that fails: {}",
        parts.count(from),
        sort.as_deref().unwrap_or("anyhow")
    );
    let mut start = |left_out: &LeftOut| Run::start(seed, left_out)?.end();
    let mut search = Search {
        start: &mut start,
        parts: &parts,
        sort,
        bounds,
        tries: 0,
        tried: BTreeMap::new(),
        least: (from.clone(), whole),
        broken: None,
    };
    smaller(&parts, from, |left_out| search.fails(left_out));
    if let Some(error) = search.broken {
        return Err(error);
    }
    println!("\nleft after {} tries: {}\n", search.tries, parts.count(&search.least.0));
    tell(seed, &search.least.0, &search.least.1);
    Ok(ExitCode::FAILURE)
}

/// What a run printed, with the one command that replays it.
fn tell(seed: u64, left_out: &LeftOut, ended: &Ended) {
    ended.text.lines().filter(|line| !line.starts_with("probes: ")).for_each(|line| println!("{line}"));
    // A process that died has not said how to have it again.
    if !ended.text.contains("replay: ") {
        ended.problems.iter().for_each(|line| println!("{line}"));
        println!("{}", called::replay(&child::arguments(seed, left_out)));
    }
}

struct Search<'a> {
    /// Runs the seed in a process of its own.
    start: &'a mut dyn FnMut(&LeftOut) -> Result<Ended>,
    parts: &'a Parts,
    /// What must go wrong; absent: anything.
    sort: Option<String>,
    bounds: &'a Bounds,
    /// Made so far.
    tries: u64,
    /// By its arguments, whether something failed in the same manner.
    tried: BTreeMap<String, bool>,
    /// The smallest that failed, and how it ended.
    least: (LeftOut, Ended),
    /// Why no process could be started.
    broken: Option<anyhow::Error>,
}

impl Search<'_> {
    fn fails(&mut self, left_out: &LeftOut) -> bool {
        let name = left_out.arguments().join(" ");
        if let Some(failed) = self.tried.get(&name) {
            return *failed;
        }
        // The course that has failed last is the likeliest to fail again.
        let last = self.least.0.chance;
        let others = (0..self.bounds.chances).filter(|chance| *chance != last);
        let chances: Vec<u64> =
            std::iter::once(last).chain(others).take(self.bounds.chances.max(1) as usize).collect();
        let failed = chances.into_iter().any(|chance| self.fails_by(LeftOut { chance, ..left_out.clone() }));
        self.tried.insert(name, failed);
        failed
    }

    /// Under one course of chance.
    fn fails_by(&mut self, left_out: LeftOut) -> bool {
        if self.tries >= self.bounds.tries || self.broken.is_some() {
            return false;
        }
        self.tries += 1;
        let ended = match (self.start)(&left_out) {
            Ok(ended) => ended,
            Err(error) => {
                self.broken = Some(error);
                return false;
            }
        };
        let failed = is_same(self.sort.as_deref(), &ended.problems);
        let how = match ended.problems.first() {
            None => "passes".to_owned(),
            Some(problem) if failed => format!("fails: {}", short(problem)),
            Some(problem) => format!("fails in another manner: {}", short(problem)),
        };
        println!("try {} of {}: {}: {how}", self.tries, self.bounds.tries, self.parts.count(&left_out));
        if failed {
            self.least = (left_out, ended);
        }
        failed
    }
}

fn short(problem: &str) -> String {
    problem.chars().take(100).collect()
}

fn is_same(sort: Option<&str>, problems: &[String]) -> bool {
    match sort {
        None => !problems.is_empty(),
        Some(sort) => sorts(problems).iter().any(|other| other == sort),
    }
}

/// What sorts of problem there are: how a process ended is none where something else is told.
fn sorts(problems: &[String]) -> Vec<String> {
    let told = problems.len().saturating_sub(1).max(1);
    problems.iter().take(told).map(|problem| sort_of(problem)).collect()
}

/// The first words of a problem without its numbers, up to its first colon, or up to the second where a word or two stand in
/// front of the first ("shard 3: nodes 1 and 2 differ: …").
fn sort_of(problem: &str) -> String {
    let problem = problem.strip_prefix("PROBLEM: ").unwrap_or(problem);
    let words = |text: &str| -> Vec<String> {
        let plain = text.split_whitespace().map(|word| word.replace(|c: char| c.is_ascii_digit(), ""));
        plain.filter(|word| !word.is_empty()).take(6).collect()
    };
    let mut parts = problem.split(": ");
    let mut sort = words(parts.next().unwrap_or_default());
    if sort.len() < 3 {
        sort.extend(parts.next().map(words).unwrap_or_default());
    }
    sort.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_one_sort_differ_by_their_numbers() {
        let sort = "shard nodes and differ";
        assert_eq!(sort_of("PROBLEM: shard 3: nodes 1 and 2 differ: [a] against [b]"), sort);
        assert_eq!(sort_of("PROBLEM: shard 12: nodes 2 and 3 differ: x"), sort);
        assert_ne!(sort_of("PROBLEM: shard 3: intents are left: []"), sort);
        let sum = |n: u64| sort_of(&format!("PROBLEM: the accounts hold {n} in the end, not 12000"));
        assert_eq!(sum(11_990), sum(12_005));
        let lost = |n: u64| sort_of(&format!("PROBLEM: transfer {n} was acknowledged at {n}.0 and is lost"));
        assert_eq!(lost(17), lost(4));
        assert_ne!(lost(17), sort_of("PROBLEM: transfer 17 was said to have failed and is there"));
        assert_eq!(sort_of("PROBLEM: no serial order: transactions [1, 2] depend"), "no serial order");
    }

    #[test]
    fn the_end_of_the_process_counts_only_alone() {
        let own = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let lost = own(&["PROBLEM: no serial order: x", "exit status: 1"]);
        assert_eq!(sorts(&lost), ["no serial order"]);
        assert!(is_same(Some("no serial order"), &lost));
        assert!(!is_same(Some("no serial order"), &own(&["signal: 6 (SIGABRT)"])));
        assert!(is_same(None, &own(&["signal: 6 (SIGABRT)"])));
        assert!(!is_same(None, &[]));
    }

    #[test]
    fn something_smaller_passes_when_it_passes_under_all_courses_of_chance() {
        let parts = Parts { points: Vec::new(), steps: vec![1, 2], knobs: Vec::new(), clients: 1 };
        let bounds = Bounds { tries: 9, chances: 3, any: true };
        let ended =
            |fails: bool| Ended { text: String::new(), problems: vec!["x".to_owned(); usize::from(fails)] };
        let mut runs = Vec::new();
        // Fails with the second step under the last course alone, and without any step never.
        let mut start = |left_out: &LeftOut| {
            runs.push((left_out.steps.to_string(), left_out.chance));
            Ok(ended(!left_out.steps.0.contains(&2) && left_out.chance == 2))
        };
        let mut search = Search {
            start: &mut start,
            parts: &parts,
            sort: None,
            bounds: &bounds,
            tries: 0,
            tried: BTreeMap::new(),
            least: (LeftOut::default(), ended(true)),
            broken: None,
        };
        smaller(&parts, &LeftOut::default(), |left_out| search.fails(left_out));
        let least = search.least.0.arguments().join(" ");
        let expected =
            [("1-2", 0), ("1-2", 1), ("1-2", 2), ("2", 0), ("2", 1), ("2", 2), ("1", 0), ("1", 1), ("1", 2)];
        assert_eq!(runs, expected.map(|(steps, chance)| (steps.to_owned(), chance)));
        assert_eq!(least, "--without 1 --chance 2");
    }
}
