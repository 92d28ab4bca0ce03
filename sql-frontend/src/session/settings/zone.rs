//! `SET TimeZone`: names, hours east of Greenwich, and intervals.

use super::invalid;
use crate::{
    error::SqlError,
    types::{Datum, Interval, PgType, TimeZone},
};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The zone, and the text that `SHOW` answers.
pub fn parse(value: &str) -> Result<(TimeZone, String), SqlError> {
    let trimmed = value.trim();
    let east = match interval(trimmed) {
        Some(text) => Some(seconds_of(value, text)?),
        // A number is hours east; with a colon it would be POSIX's, west.
        None => trimmed.parse::<f64>().ok().map(|hours| (hours * 3600.0).round()),
    };
    let Some(east) = east else {
        let zone = TimeZone::parse(trimmed).map_err(|_| invalid("TimeZone", value))?;
        let shown = match zone {
            TimeZone::Iana(_) => zone.to_string(),
            TimeZone::Fixed(_) => trimmed.to_string(),
        };
        return Ok((zone, shown));
    };
    if !east.is_finite() || east.abs() >= 16.0 * 3600.0 {
        return Err(invalid("TimeZone", value).detail("UTC timezone offset is out of range."));
    }
    let zone = TimeZone::Fixed(east as i32);
    Ok((zone, zone.to_string()))
}

/// The text in `INTERVAL '…'`.
fn interval(value: &str) -> Option<&str> {
    let rest = value.get(..8).filter(|word| word.eq_ignore_ascii_case("interval")).map(|_| &value[8..])?;
    rest.trim().strip_prefix('\'')?.strip_suffix('\'')
}

fn seconds_of(value: &str, text: &str) -> Result<f64, SqlError> {
    let read = Datum::from_text(PgType::Interval, text, -1, &TimeZone::UTC);
    let Ok(Datum::Interval(span)) = read else {
        return Err(invalid("TimeZone", value));
    };
    let Interval { months, days, micros } = span;
    let refuse = |unit: &str| {
        let shown = Datum::Interval(span).to_text(PgType::Interval, &TimeZone::UTC);
        Err(invalid("TimeZone", &format!("INTERVAL '{shown}'"))
            .detail(format!("Cannot specify {unit} in time zone interval.")))
    };
    match (months, days) {
        (0, 0) => Ok((micros / MICROS_PER_SECOND) as f64),
        (0, _) => refuse("days"),
        _ => refuse("months"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_means_the_same() {
        for (given, seconds, shown) in [
            ("+3", 10_800, "<+03>-03"),
            ("-3.5", -12_600, "<-03:30>+03:30"),
            ("+03:00", -10_800, "+03:00"),
            ("UTC+3", -10_800, "UTC+3"),
            ("interval '+02:30'", 9000, "<+02:30>-02:30"),
        ] {
            let (zone, text) = parse(given).unwrap();
            assert_eq!((zone, text.as_str()), (TimeZone::Fixed(seconds), shown), "{given}");
            assert_eq!(parse(&text).unwrap().0, zone, "{text}");
        }
        assert_eq!(parse("europe/berlin").unwrap().1, "Europe/Berlin");
        for bad in ["+0300", "200", "interval '1 mon'", "interval '1 day'", "nope", "inf", ""] {
            assert_eq!(parse(bad).unwrap_err().sqlstate.0, "22023", "{bad}");
        }
    }
}
