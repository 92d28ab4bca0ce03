//! Dates, times and intervals as PostgreSQL prints them with `DateStyle = ISO` and `IntervalStyle = postgres`.

use super::calendar::*;
use super::zone::TimeZone;
use crate::types::Interval;
use std::fmt::Write;

/// `hh:mm:ss[.ffffff]`.
fn write_clock(micros: i64, out: &mut String) {
    let (h, m, s) = (micros / MICROS_PER_HOUR, micros / MICROS_PER_MINUTE % 60, micros / MICROS_PER_SEC % 60);
    let _ = write!(out, "{h:02}:{m:02}:{s:02}");
    write_fraction(micros % MICROS_PER_SEC, out);
}

fn write_fraction(micros: i64, out: &mut String) {
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
        let kept = out.trim_end_matches('0').len();
        out.truncate(kept);
    }
}

fn write_ymd(days: i64, out: &mut String) -> bool {
    let (year, month, day) = civil(days);
    let shown = if year > 0 { year } else { 1 - year };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
    year <= 0
}

pub fn write_date(days: i32, out: &mut String) {
    match days {
        i32::MIN => out.push_str("-infinity"),
        i32::MAX => out.push_str("infinity"),
        _ => {
            if write_ymd(i64::from(days), out) {
                out.push_str(" BC");
            }
        }
    }
}

pub fn write_time(micros: i64, out: &mut String) {
    write_clock(micros, out);
}

/// A timestamp, or with a zone a timestamptz shown there.
pub fn write_timestamp(micros: i64, zone: Option<&TimeZone>, out: &mut String) {
    match micros {
        i64::MIN => return out.push_str("-infinity"),
        i64::MAX => return out.push_str("infinity"),
        _ => {}
    }
    let offset = zone.map(|z| z.offset_at(micros));
    // Near the end of the range the local time may lie outside of i64.
    let local = i128::from(micros) + i128::from(offset.unwrap_or(0)) * i128::from(MICROS_PER_SEC);
    let days = local.div_euclid(i128::from(MICROS_PER_DAY)) as i64;
    let bc = write_ymd(days, out);
    out.push(' ');
    write_clock(local.rem_euclid(i128::from(MICROS_PER_DAY)) as i64, out);
    if let Some(offset) = offset {
        write_offset(offset, out);
    }
    if bc {
        out.push_str(" BC");
    }
}

/// `+hh[:mm[:ss]]`.
pub fn write_offset(seconds: i32, out: &mut String) {
    let s = seconds.abs();
    let _ = write!(out, "{}{:02}", if seconds < 0 { '-' } else { '+' }, s / 3600);
    if s % 3600 != 0 {
        let _ = write!(out, ":{:02}", s / 60 % 60);
        if s % 60 != 0 {
            let _ = write!(out, ":{:02}", s % 60);
        }
    }
}

pub fn write_interval(value: &Interval, out: &mut String) {
    let start = out.len();
    let mut before = false;
    for (amount, unit) in [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")] {
        if amount == 0 {
            continue;
        }
        if out.len() > start {
            out.push(' ');
        }
        let plus = if before && amount > 0 { "+" } else { "" };
        let _ = write!(out, "{plus}{amount} {unit}{}", if amount == 1 { "" } else { "s" });
        before = amount < 0;
    }
    if out.len() == start || value.micros != 0 {
        if out.len() > start {
            out.push(' ');
        }
        if value.micros < 0 {
            out.push('-');
        } else if before {
            out.push('+');
        }
        let micros = value.micros.unsigned_abs();
        let (h, rest) = (micros / MICROS_PER_HOUR as u64, (micros % MICROS_PER_HOUR as u64) as i64);
        let _ = write!(out, "{h:02}:{:02}:{:02}", rest / MICROS_PER_MINUTE, rest / MICROS_PER_SEC % 60);
        write_fraction(rest % MICROS_PER_SEC, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(months: i32, days: i32, micros: i64) -> String {
        let mut out = String::new();
        write_interval(&Interval { months, days, micros }, &mut out);
        out
    }

    #[test]
    fn intervals_carry_their_signs() {
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(14, 3, 14_706_789_000), "1 year 2 mons 3 days 04:05:06.789");
        assert_eq!(interval(-14, 3, -1), "-1 years -2 mons +3 days -00:00:00.000001");
        assert_eq!(interval(0, -1, 3_600_000_000), "-1 days +01:00:00");
    }

    #[test]
    fn timestamps_show_their_zone() {
        let show = |t, z: &TimeZone| {
            let mut out = String::new();
            write_timestamp(t, Some(z), &mut out);
            out
        };
        assert_eq!(show(0, &TimeZone::UTC), "1970-01-01 00:00:00+00");
        assert_eq!(show(1_500_000, &TimeZone::parse("Asia/Kolkata").unwrap()), "1970-01-01 05:30:01.5+05:30");
        assert_eq!(show(i64::MAX, &TimeZone::UTC), "infinity");
        assert_eq!(show(MIN_TIMESTAMP, &TimeZone::UTC), "4714-11-24 00:00:00+00 BC");
    }
}
