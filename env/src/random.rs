//! Random numbers: from the operating system's entropy in a real node, from the seed in a simulated one.

use parking_lot::Mutex;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use std::ops::Range;

/// A cryptographically strong generator (ChaCha), shared by a node's tasks.
pub struct Random(Mutex<StdRng>);

impl Random {
    #[expect(clippy::disallowed_methods, reason = "the real entropy")]
    pub(crate) fn from_os() -> Self {
        Random(Mutex::new(StdRng::from_os_rng()))
    }

    pub(crate) fn from_seed(seed: u64) -> Self {
        Random(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    pub fn u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    pub fn u128(&self) -> u128 {
        self.0.lock().random()
    }

    /// Uniform in `range`; its start if it is empty.
    pub fn range(&self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { self.0.lock().random_range(range) }
    }

    /// True with this probability (cut to 0…1).
    pub fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.0.lock().random_bool(probability.min(1.0))
    }

    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}
