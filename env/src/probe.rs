//! Probes: marks in the code that count how often a rare path was taken, so that a test campaign can tell which paths
//! it never reached (after FoundationDB's CODE_PROBE).

use parking_lot::Mutex;
use std::sync::{
    Once,
    atomic::{AtomicU64, Ordering},
};

static ALL: Mutex<Vec<&'static Probe>> = Mutex::new(Vec::new());

pub struct Probe {
    name: &'static str,
    hits: AtomicU64,
    once: Once,
}

impl Probe {
    pub const fn new(name: &'static str) -> Self {
        Probe { name, hits: AtomicU64::new(0), once: Once::new() }
    }

    pub fn hit(&'static self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.once.call_once(|| ALL.lock().push(self));
    }
}

/// Counts that this line was reached: `probe!("txn.recovered")`.
#[macro_export]
macro_rules! probe {
    ($name:literal) => {{
        static PROBE: $crate::probe::Probe = $crate::probe::Probe::new($name);
        PROBE.hit();
    }};
}

/// All probes that were reached in this process, with their counts, by name.
pub fn reached() -> Vec<(&'static str, u64)> {
    let mut all = std::collections::BTreeMap::new();
    for probe in ALL.lock().iter() {
        *all.entry(probe.name).or_default() += probe.hits.load(Ordering::Relaxed);
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_by_name() {
        for _ in 0..3 {
            crate::probe!("env.test_probe");
        }
        assert!(super::reached().contains(&("env.test_probe", 3)));
    }
}
