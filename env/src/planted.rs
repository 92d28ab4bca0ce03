//! Planted faults: rules of ours that can be switched off, so that tests and checkers are proven by what they find
//! (mutation analysis: DeMillo, Lipton, Sayward, "Hints on Test Data Selection", 1978).
//!
//! `QUORATE_PLANTED=name,name` plants faults in this process; `cargo xtask planted` knows them all and who must find each.
//! Only builds with debug assertions can do that: in a release, [`planted!`](crate::planted!) is `false`.

use std::sync::LazyLock;

static PLANTED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = std::env::var("QUORATE_PLANTED").unwrap_or_default();
    let names: Vec<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if !names.is_empty() {
        tracing::warn!(?names, "faults are planted in this process: it breaks its promises");
    }
    names
});

/// Whether the fault of this name is planted in this process. Use [`planted!`](crate::planted!), which costs a release nothing.
pub fn is_planted(name: &str) -> bool {
    PLANTED.iter().any(|planted| planted == name)
}

/// Whether this rule is switched off: `if !planted!("txn.unproven_locks") { …the rule… }`. Named for what goes wrong.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        cfg!(debug_assertions) && {
            static PLANTED: std::sync::LazyLock<bool> =
                std::sync::LazyLock::new(|| $crate::planted::is_planted($name));
            *PLANTED
        }
    };
}
