//! Cluster settings: which there are, what they may hold, and their defaults.

mod schedulers;

pub use schedulers::*;

use std::{ops::RangeInclusive, time::Duration};

/// A setting that the driver knows.
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub about: &'static str,
    valid: Valid,
    /// What it may hold, in words.
    range: &'static str,
}

/// What a setting may hold.
enum Valid {
    Time(RangeInclusive<Duration>),
    Bytes(RangeInclusive<u64>),
    Number(RangeInclusive<u64>),
    Switch,
}

impl Valid {
    /// `Err`: what the value should have been.
    fn holds(&self, value: &str) -> Result<bool, &'static str> {
        match self {
            Valid::Time(range) => {
                let given = duration(value).ok_or("no duration such as 500ms, 30s, 5min or 1h")?;
                Ok(range.contains(&given))
            }
            Valid::Bytes(range) => {
                let given = bytes(value).ok_or("no size such as 64KiB, 256MiB or 1GiB")?;
                Ok(range.contains(&given))
            }
            Valid::Number(range) => {
                let given = value.trim().parse::<u64>().map_err(|_| "no whole number")?;
                Ok(range.contains(&given))
            }
            Valid::Switch => switch(value).map(|_| true).ok_or("neither on nor off"),
        }
    }
}

/// How long a node must be silent before its replicas are replaced.
pub const REPAIR_AFTER: Setting = Setting {
    name: "placement.repair_after",
    default: "5min",
    about: "silence of a node after which its replicas are replaced",
    valid: Valid::Time(SILENCE),
    range: "1s to 720h",
};

/// How long a node must be silent before it is shown as suspect.
pub const SUSPECT_AFTER: Setting = Setting {
    name: "placement.suspect_after",
    default: "5s",
    about: "silence of a node after which it is suspected to be dead",
    valid: Valid::Time(SILENCE),
    range: "1s to 720h",
};

/// How long the disk, or the network, of a node may take before the node can count as slow.
pub const SLOW_NODE: Setting = Setting {
    name: "placement.slow_node",
    default: "100ms",
    about: "delay of a node's disk or network from which on it leads nothing, if the others' are a fifth of that at most",
    valid: Valid::Time(Duration::from_millis(1)..=Duration::from_secs(3600)),
    range: "1ms to 1h",
};

/// How far behind the present timestamps are closed (PROTOCOL 22).
pub const CLOSING_TARGET: Setting = Setting {
    name: "closing_target",
    default: "200ms",
    about: "age from which on followers answer reads; at least four times the clock bound",
    valid: Valid::Time(Duration::from_millis(1)..=Duration::from_secs(600)),
    range: "1ms to 10min",
};

/// How long versions are kept that newer ones have replaced (PROTOCOL 24).
pub const GC_TTL: Setting = Setting {
    name: "gc_ttl",
    default: "4h",
    about: "age up to which the past can be read; older versions are removed once nobody reads them",
    valid: Valid::Time(Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600)),
    range: "1s to 8760h",
};

/// How long it is known what happened under an idempotency key (PROTOCOL 17).
pub const IDEMPOTENCY_TTL: Setting = Setting {
    name: "idempotency_ttl",
    default: "24h",
    about: "age up to which transactions under idempotency keys count; older keys are as ones never used",
    valid: Valid::Time(Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600)),
    range: "1s to 8760h",
};

pub const ALL: [&Setting; 21] = [
    &CLOSING_TARGET,
    &GC_TTL,
    &IDEMPOTENCY_TTL,
    &BALANCE_LEADERS,
    &BALANCE_REPLICAS,
    &CONSTRAINTS,
    &LOOK_EVERY,
    &MERGE,
    &MERGE_AFTER,
    &MERGE_LOAD,
    &MERGE_SIZE,
    &MOVES,
    &REPAIR_AFTER,
    &SLOW_NODE,
    &SPLIT_BY_LOAD,
    &SPLIT_BY_SIZE,
    &SPLIT_FLOOR,
    &SPLIT_LOAD,
    &SPLIT_SIZE,
    &SPREAD,
    &SUSPECT_AFTER,
];

/// Checks a value for a setting.
///
/// # Errors
/// Says what is wrong, for the operator.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(setting) = ALL.iter().find(|setting| setting.name == name) else {
        let names: Vec<&str> = ALL.iter().map(|setting| setting.name).collect();
        return Err(format!("there is no cluster setting {name:?}; there are {}", names.join(", ")));
    };
    if setting.valid.holds(value).map_err(|what| format!("{value:?} is {what}"))? {
        return Ok(());
    }
    Err(format!("{value:?} is outside of the valid range of {name}, {}", setting.range))
}

/// Below, a node would be given up between two heartbeats; above, never.
const SILENCE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Reads `500ms`, `30s`, `5min`, `1h`; without a unit: seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match text[digits..].trim() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// Reads `64KiB`, `256MiB`, `1GiB` (also `MB` and the like, which are the same); without a unit: bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim() {
        "" | "B" => 0,
        "KiB" | "KB" | "kB" => 10,
        "MiB" | "MB" => 20,
        "GiB" | "GB" => 30,
        "TiB" | "TB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Reads `on` and `off`.
pub fn switch(text: &str) -> Option<bool> {
    match text.trim() {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("5min"), Some(Duration::from_secs(300)));
        assert_eq!(duration(" 30 s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("7"), Some(Duration::from_secs(7)));
        assert_eq!(duration("-1s"), None);
        assert_eq!(duration("1 week"), None);
        assert!(ALL.iter().all(|setting| check(setting.name, setting.default).is_ok()));
        assert!(check("nonsense", "1s").is_err());
        for outside in ["0", "500ms", "100000000h"] {
            assert!(check("placement.suspect_after", outside).is_err(), "{outside}");
        }
        assert!(check("gc_ttl", "999ms").is_err() && check("gc_ttl", "1s").is_ok());
        assert!(check("closing_target", "50ms").is_ok() && check("closing_target", "0").is_err());
    }
    #[test]
    fn sizes_numbers_and_switches() {
        assert_eq!(bytes("256MiB"), Some(256 << 20));
        assert_eq!((bytes("7"), bytes("1 GB"), bytes("many")), (Some(7), Some(1 << 30), None));
        assert_eq!((switch("on"), switch("off"), switch("maybe")), (Some(true), Some(false), None));
        assert!(check("placement.merge", "off").is_ok() && check("placement.merge", "5").is_err());
        assert!(check("placement.moves", "0").is_ok() && check("placement.moves", "-1").is_err());
        assert!(check("placement.split_size", "1GiB").is_ok() && check("placement.split_size", "1").is_err());
    }
}
