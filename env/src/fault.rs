//! Fault points: places in the code where a run may go wrong on purpose (after FoundationDB's BUGGIFY).
//!
//! In a real node a point fires only if armed by name (`QUORATE_FAULTS=name,name=0.1`); in simulation the seed decides
//! which points are armed in this run, and when they fire.

use crate::random::Random;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) enum Faults {
    Off,
    /// Probability by name.
    Named(BTreeMap<String, f64>),
    /// Drawn on first use: a quarter of the points is armed. None fires while the world has them off.
    Drawn {
        on: Arc<AtomicBool>,
        points: Mutex<BTreeMap<&'static str, f64>>,
    },
}

impl Faults {
    /// Reads `name,name=probability,…`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut named = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, probability) = match part.split_once('=') {
                Some((name, raw)) => {
                    let p = raw.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
                    (name, p.ok_or_else(|| format!("fault {name}: {raw:?} is not a probability"))?)
                }
                None => (part, 1.0),
            };
            named.insert(name.to_owned(), probability);
        }
        Ok(if named.is_empty() { Faults::Off } else { Faults::Named(named) })
    }

    pub(crate) fn fires(&self, point: &'static str, random: &Random) -> bool {
        let probability = match self {
            Faults::Off => return false,
            Faults::Named(named) => named.get(point).copied().unwrap_or(0.0),
            Faults::Drawn { on, .. } if !on.load(Ordering::Relaxed) => return false,
            Faults::Drawn { points, .. } => *points.lock().entry(point).or_insert_with(|| {
                if random.chance(0.25) { 0.01 + 0.01 * random.range(0..25) as f64 } else { 0.0 }
            }),
        };
        let fires = random.chance(probability);
        if fires {
            tracing::info!(point, "fault fires");
            metrics::counter!("quorate_env_faults_total", "point" => point).increment(1);
        }
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_probabilities() {
        let random = Random::from_seed(1);
        let faults = Faults::parse("a, b=0,c=0.5").unwrap();
        assert!(faults.fires("a", &random));
        assert!(!faults.fires("b", &random));
        assert!(!faults.fires("unknown", &random));
        let fired = (0..1000).filter(|_| faults.fires("c", &random)).count();
        assert!((400..600).contains(&fired), "{fired}");
        assert!(Faults::parse("a=2").is_err());
    }
}
