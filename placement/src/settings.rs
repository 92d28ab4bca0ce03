//! Cluster settings: which there are, what they may hold, and their defaults.

use std::{ops::RangeInclusive, time::Duration};

/// A setting that the driver knows.
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub about: &'static str,
}

/// How long a node must be silent before its replicas are replaced.
pub const REPAIR_AFTER: Setting = Setting {
    name: "placement.repair_after",
    default: "5min",
    about: "silence of a node after which its replicas are replaced",
};

/// How long a node must be silent before it is shown as suspect.
pub const SUSPECT_AFTER: Setting = Setting {
    name: "placement.suspect_after",
    default: "5s",
    about: "silence of a node after which it is suspected to be dead",
};

pub const ALL: [&Setting; 2] = [&REPAIR_AFTER, &SUSPECT_AFTER];

/// Checks a value for a setting.
///
/// # Errors
/// Says what is wrong, for the operator.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    if ALL.iter().all(|setting| setting.name != name) {
        let names: Vec<&str> = ALL.iter().map(|setting| setting.name).collect();
        return Err(format!("there is no cluster setting {name:?}; there are {}", names.join(", ")));
    }
    let silence =
        duration(value).ok_or_else(|| format!("{value:?} is no duration such as 500ms, 30s, 5min or 1h"))?;
    if SILENCE.contains(&silence) {
        return Ok(());
    }
    Err(format!("{value:?} is outside of the valid range of {name}, 1s to 720h"))
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
    }
}
