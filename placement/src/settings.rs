//! Cluster settings: which there are, what they may hold, and their defaults.

use std::{ops::RangeInclusive, time::Duration};

/// A setting that the driver knows.
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub about: &'static str,
    valid: RangeInclusive<Duration>,
    /// The range in words.
    range: &'static str,
}

/// How long a node must be silent before its replicas are replaced.
pub const REPAIR_AFTER: Setting = Setting {
    name: "placement.repair_after",
    default: "5min",
    about: "silence of a node after which its replicas are replaced",
    valid: SILENCE,
    range: "1s to 720h",
};

/// How long a node must be silent before it is shown as suspect.
pub const SUSPECT_AFTER: Setting = Setting {
    name: "placement.suspect_after",
    default: "5s",
    about: "silence of a node after which it is suspected to be dead",
    valid: SILENCE,
    range: "1s to 720h",
};

/// How far behind the present timestamps are closed (PROTOCOL 22).
pub const CLOSING_TARGET: Setting = Setting {
    name: "closing_target",
    default: "200ms",
    about: "age from which on followers answer reads; at least four times the clock bound",
    valid: Duration::from_millis(1)..=Duration::from_secs(600),
    range: "1ms to 10min",
};

/// How long versions are kept that newer ones have replaced (PROTOCOL 24).
pub const GC_TTL: Setting = Setting {
    name: "gc_ttl",
    default: "4h",
    about: "age up to which the past can be read; older versions are removed once nobody reads them",
    valid: Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600),
    range: "1s to 8760h",
};

/// How long it is known what happened under an idempotency key (PROTOCOL 17).
pub const IDEMPOTENCY_TTL: Setting = Setting {
    name: "idempotency_ttl",
    default: "24h",
    about: "age up to which transactions under idempotency keys count; older keys are as ones never used",
    valid: Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600),
    range: "1s to 8760h",
};

pub const ALL: [&Setting; 5] = [&CLOSING_TARGET, &GC_TTL, &IDEMPOTENCY_TTL, &REPAIR_AFTER, &SUSPECT_AFTER];

/// Checks a value for a setting.
///
/// # Errors
/// Says what is wrong, for the operator.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(setting) = ALL.iter().find(|setting| setting.name == name) else {
        let names: Vec<&str> = ALL.iter().map(|setting| setting.name).collect();
        return Err(format!("there is no cluster setting {name:?}; there are {}", names.join(", ")));
    };
    let given =
        duration(value).ok_or_else(|| format!("{value:?} is no duration such as 500ms, 30s, 5min or 1h"))?;
    if setting.valid.contains(&given) {
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
}
