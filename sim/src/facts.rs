//! Lines of a run's output that whoever started its process reads again.

use quorate_env::{fault, probe};
use std::time::Duration;

const PROBES: &str = "probes: ";
const POINTS: &str = "fault points: ";
const SECONDS: &str = " virtual seconds, ";

/// How often each probe was reached.
pub fn probes() -> String {
    let reached: Vec<String> = probe::reached().iter().map(|(name, hits)| format!("{name} {hits}")).collect();
    format!("{PROBES}{}", reached.join(", "))
}

/// The fault points that were armed: how often each was to fire, and how often it did.
pub fn points() -> String {
    let armed = fault::armed().into_iter();
    let armed = armed.map(|(name, probability, fired)| format!("{name} {probability:.2} fired {fired}"));
    format!("{POINTS}{}", armed.collect::<Vec<_>>().join(", "))
}

pub fn ended(elapsed: Duration, events: u64) -> String {
    format!("{:.1}{SECONDS}{events} events", elapsed.as_secs_f64())
}

/// What a run's output tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Probes that it reached.
    pub probes: Vec<String>,
    /// Fault points that were armed where it came by.
    pub points: Vec<String>,
    pub virtual_seconds: f64,
}

impl Facts {
    pub fn read(output: &str) -> Facts {
        let mut facts = Facts::default();
        for line in output.lines() {
            if let Some(list) = line.strip_prefix(PROBES) {
                facts.probes = first_words(list);
            } else if let Some(list) = line.strip_prefix(POINTS) {
                facts.points = first_words(list);
            } else if let Some((seconds, _)) = line.split_once(SECONDS) {
                facts.virtual_seconds = seconds.parse().unwrap_or_default();
            }
        }
        facts
    }
}

fn first_words(list: &str) -> Vec<String> {
    list.split(", ").filter_map(|item| item.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let output = [
            &ended(Duration::from_millis(61_500), 7),
            "probes: a.b 3, c.d 1",
            "fault points: e.f 0.05 fired 0",
        ];
        let facts = Facts::read(&output.join("\n"));
        assert_eq!(facts.virtual_seconds, 61.5);
        assert_eq!(facts.probes, ["a.b", "c.d"]);
        assert_eq!(facts.points, ["e.f"]);
        assert_eq!(Facts::read("probes: \nsomething else"), Facts::default());
    }
}
