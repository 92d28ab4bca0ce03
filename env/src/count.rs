//! Counters that are looked up once.

use metrics::Counter;
use std::sync::LazyLock;

/// A counter of the process. Looking it up by its name costs more than what is counted on a hot path, so it is done once; the
/// recorder must be installed before anything is counted: a node does so before it makes its `Env`.
pub type Named = LazyLock<Counter>;

/// Adds to the counter of that name: `count!("quorate_env_calls_total")`, `count!("quorate_env_sent_bytes_total", bytes)`.
/// Counters with labels go to `metrics` directly.
#[macro_export]
macro_rules! count {
    ($name:literal) => {
        $crate::count!($name, 1u64)
    };
    ($name:literal, $by:expr) => {{
        static COUNTER: $crate::count::Named =
            $crate::count::Named::new(|| $crate::count::metrics::counter!($name));
        COUNTER.increment($by);
    }};
}

#[doc(hidden)]
pub use metrics;
