//! Fault points: places in the code where a run may go wrong on purpose (after FoundationDB's BUGGIFY).
//!
//! In a real node a point fires only if armed by name (`QUORATE_FAULTS=name,name=0.1`); in simulation the seed decides
//! which points are armed in this run, and how often each fires.

use crate::{random::Random, sim::hash_bytes};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) enum Faults {
    Off,
    /// Probability by name.
    Named(BTreeMap<String, f64>),
    Drawn(Drawn),
}

/// The points of a node in a simulated world, armed on all its nodes alike. None fires while the world has them off.
pub(crate) struct Drawn {
    on: Arc<AtomicBool>,
    seed: u64,
    /// Those that are left out.
    without: BTreeSet<String>,
    points: Mutex<BTreeMap<&'static str, f64>>,
}

impl Drawn {
    pub(crate) fn new(on: Arc<AtomicBool>, seed: u64, without: BTreeSet<String>) -> Self {
        Drawn { on, seed, without, points: Mutex::default() }
    }

    fn probability(&self, point: &'static str) -> f64 {
        if !self.on.load(Ordering::Relaxed) {
            return 0.0;
        }
        *self.points.lock().entry(point).or_insert_with(|| {
            let probability = if self.without.contains(point) { 0.0 } else { drawn(self.seed, point) };
            if probability > 0.0 {
                ARMED.lock().entry(point).or_insert((probability, 0));
            }
            probability
        })
    }
}

/// How often a point fires under a seed; half of them never do. The name and the seed alone say it, so that one point can be
/// left out, or come in with new code, without a change to the others.
fn drawn(seed: u64, point: &str) -> f64 {
    let random = Random::from_seed(seed ^ hash_bytes(point.as_bytes()));
    if random.chance(0.5) { 0.01 + 0.01 * random.range(0..25) as f64 } else { 0.0 }
}

/// The drawn points that this process has come by and that were armed: how often each may fire, and how often it did.
static ARMED: Mutex<BTreeMap<&'static str, (f64, u64)>> = Mutex::new(BTreeMap::new());

/// The fault points that were armed in this process's simulated worlds, by name: how often each fires, and how often it has.
pub fn armed() -> Vec<(&'static str, f64, u64)> {
    ARMED.lock().iter().map(|(name, (probability, fired))| (*name, *probability, *fired)).collect()
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
            Faults::Drawn(drawn) => drawn.probability(point),
        };
        let fires = random.chance(probability);
        if fires {
            tracing::info!(point, "fault fires");
            metrics::counter!("quorate_env_faults_total", "point" => point).increment(1);
            if let Some((_, fired)) = ARMED.lock().get_mut(point) {
                *fired += 1;
            }
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

    #[test]
    fn the_seed_arms_points_each_by_its_name() {
        let on = Arc::new(AtomicBool::new(true));
        let points = ["env.test_a", "env.test_b", "env.test_c"];
        let armed = |seed, without: &[&str]| {
            let without = without.iter().map(|name| (*name).to_owned()).collect();
            let drawn = Drawn::new(on.clone(), seed, without);
            points.map(|point| drawn.probability(point))
        };
        let of_seeds: Vec<_> = (0..200).map(|seed| armed(seed, &[])).collect();
        for (seed, whole) in of_seeds.iter().enumerate() {
            assert_eq!(armed(seed as u64, &["env.test_b"]), [whole[0], 0.0, whole[2]]);
        }
        for point in 0..points.len() {
            let seeds = of_seeds.iter().filter(|armed| armed[point] > 0.0).count();
            assert!((60..140).contains(&seeds), "{seeds}");
        }
        on.store(false, Ordering::Relaxed);
        assert!((0..200).all(|seed| armed(seed, &[]) == [0.0; 3]));
    }
}
