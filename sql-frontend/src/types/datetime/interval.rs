//! Intervals: reading, comparing, and arithmetic with dates and timestamps.

use super::calendar::*;
use super::parse::fraction_micros;
use super::zone::TimeZone;
use crate::types::Interval;
use crate::{Result, SqlError, SqlState};
use std::cmp::Ordering;

/// Days that count as a month when intervals are compared or cut.
pub const DAYS_PER_MONTH: i64 = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Micro,
    Milli,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
            Unit::Micro
        }
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
            Unit::Milli
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        _ => return None,
    })
}

/// Sums of parts, wide enough not to overflow while reading.
#[derive(Default)]
struct Parts {
    months: i128,
    days: i128,
    micros: i128,
}

impl Parts {
    /// `whole` units and `fraction` of one (same sign), carried downwards as PostgreSQL does.
    fn add(&mut self, whole: i128, fraction: f64, unit: Unit) {
        let micros = |per: i64| (fraction * per as f64).round_ties_even() as i128;
        match unit {
            Unit::Micro => self.micros += whole + fraction.round_ties_even() as i128,
            Unit::Milli => self.micros += whole * 1000 + micros(1000),
            Unit::Second => self.micros += whole * i128::from(MICROS_PER_SEC) + micros(MICROS_PER_SEC),
            Unit::Minute => self.micros += whole * i128::from(MICROS_PER_MINUTE) + micros(MICROS_PER_MINUTE),
            Unit::Hour => self.micros += whole * i128::from(MICROS_PER_HOUR) + micros(MICROS_PER_HOUR),
            Unit::Day => {
                self.days += whole;
                self.micros += micros(MICROS_PER_DAY);
            }
            Unit::Week => {
                self.days += whole * 7;
                self.fraction_of_days(fraction * 7.0);
            }
            Unit::Month => {
                self.months += whole;
                self.fraction_of_days(fraction * DAYS_PER_MONTH as f64);
            }
            Unit::Year => self.months += whole * 12 + (fraction * 12.0).round_ties_even() as i128,
            Unit::Decade => self.months += whole * 120 + (fraction * 120.0).round_ties_even() as i128,
            Unit::Century => self.months += whole * 1200 + (fraction * 1200.0).round_ties_even() as i128,
            Unit::Millennium => {
                self.months += whole * 12_000 + (fraction * 12_000.0).round_ties_even() as i128
            }
        }
    }

    fn fraction_of_days(&mut self, days: f64) {
        let whole = days.trunc();
        self.days += whole as i128;
        self.micros += ((days - whole) * MICROS_PER_DAY as f64).round_ties_even() as i128;
    }

    fn negate(&mut self) {
        (self.months, self.days, self.micros) = (-self.months, -self.days, -self.micros);
    }

    fn finish(self, text: &str) -> Result<Interval> {
        let field_range = || {
            SqlError::new(
                SqlState::INTERVAL_FIELD_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            )
        };
        checked(self.months, self.days, self.micros).map_err(|_| field_range())
    }
}

/// An interval we can keep: the time part must fit Arrow's nanoseconds (292 years; PostgreSQL reaches 292 thousand).
pub fn checked(months: i128, days: i128, micros: i128) -> Result<Interval> {
    let fits = i64::try_from(micros).ok().filter(|m| m.checked_mul(1000).is_some());
    match (i32::try_from(months), i32::try_from(days), fits) {
        (Ok(months), Ok(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(interval_out_of_range()),
    }
}

fn syntax(text: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!("invalid input syntax for type interval: \"{text}\""),
    )
}

/// `1 year 2 mons 3 days 04:05:06`, `1-2`, `3 4:05`, `P1Y2M3DT4H5M6S`, `@ 1 hour ago`, a bare number of `default_unit` (seconds).
pub fn parse_interval(text: &str) -> Result<Interval> {
    let trimmed = text.trim();
    if let Some(iso) = trimmed.strip_prefix('P') {
        return parse_iso(iso, text);
    }
    let lower = trimmed.to_ascii_lowercase();
    let mut rest = lower.strip_prefix('@').unwrap_or(&lower).trim_start();
    let mut parts = Parts::default();
    let mut any = false;
    // A number that still waits for its unit.
    let mut waiting: Option<(i128, f64, bool)> = None;
    while !rest.is_empty() {
        let first = rest.as_bytes()[0];
        let len = if first.is_ascii_alphabetic() {
            rest.bytes().take_while(u8::is_ascii_alphabetic).count()
        } else if first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.') {
            1 + rest[1..]
                .bytes()
                .take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'-'))
                .count()
        } else {
            return Err(syntax(text));
        };
        let (token, tail) = rest.split_at(len);
        rest = tail.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        if first.is_ascii_alphabetic() {
            if token == "ago" {
                if !rest.is_empty() || !any && waiting.is_none() {
                    return Err(syntax(text));
                }
                flush(&mut parts, &mut waiting, Unit::Second);
                parts.negate();
                return parts.finish(text);
            }
            let (Some((whole, fraction, _)), Some(unit)) = (waiting.take(), unit(token)) else {
                return Err(syntax(text));
            };
            parts.add(whole, fraction, unit);
            any = true;
            continue;
        }
        // `3 4:05:06` and `3 4` : a number before a time or another number counts days.
        if waiting.is_some() {
            if !token.contains(':') {
                return Err(syntax(text));
            }
            flush(&mut parts, &mut waiting, Unit::Day);
        }
        any = true;
        let negative = first == b'-';
        let body = token.strip_prefix(['+', '-']).unwrap_or(token);
        if body.contains(':') {
            let micros = clock(body).ok_or_else(|| syntax(text))?;
            parts.micros += if negative { -micros } else { micros };
        } else if let Some((years, months)) = body.split_once('-') {
            let (Ok(years), Ok(months)) = (years.parse::<i128>(), months.parse::<i128>()) else {
                return Err(syntax(text));
            };
            if months > 11 {
                return Err(SqlError::new(
                    SqlState::INTERVAL_FIELD_OVERFLOW,
                    format!("interval field value out of range: \"{text}\""),
                ));
            }
            let total = years * 12 + months;
            parts.months += if negative { -total } else { total };
        } else {
            waiting = Some(number(body, negative).ok_or_else(|| syntax(text))?);
        }
    }
    flush(&mut parts, &mut waiting, Unit::Second);
    if any { parts.finish(text) } else { Err(syntax(text)) }
}

fn flush(parts: &mut Parts, waiting: &mut Option<(i128, f64, bool)>, unit: Unit) {
    if let Some((whole, fraction, _)) = waiting.take() {
        parts.add(whole, fraction, unit);
    }
}

fn number(body: &str, negative: bool) -> Option<(i128, f64, bool)> {
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 20 {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
    Some(if negative { (-whole, -fraction, true) } else { (whole, fraction, false) })
}

/// `h:m[:s[.f]]`, hours unbounded.
fn clock(body: &str) -> Option<i128> {
    let parts: Vec<&str> = body.split(':').collect();
    let int = |s: &str| -> Option<i128> {
        (!s.is_empty() && s.len() < 16 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?
    };
    let (h, m, s) = match parts[..] {
        [m, s] if s.contains('.') => (0, int(m)?, s),
        [h, m] => (int(h)?, int(m)?, "0"),
        [h, m, s] => (int(h)?, int(m)?, s),
        _ => return None,
    };
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let whole = int(whole)?;
    if m > 59 || whole > 59 {
        return None;
    }
    let seconds = h * 3600 + m * 60 + whole;
    Some(seconds * i128::from(MICROS_PER_SEC) + i128::from(fraction_micros(fraction)?))
}

/// What follows the `P`: designators, `T` before the time part.
fn parse_iso(iso: &str, text: &str) -> Result<Interval> {
    let mut parts = Parts::default();
    let mut rest = iso;
    let mut in_time = false;
    let mut any = false;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('T') {
            if in_time {
                return Err(syntax(text));
            }
            (in_time, rest) = (true, tail);
            continue;
        }
        let negative = rest.starts_with('-');
        let body = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let len = body.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (whole, fraction, _) = number(&body[..len], negative).ok_or_else(|| syntax(text))?;
        let unit = match (body.as_bytes().get(len), in_time) {
            (Some(b'Y'), false) => Unit::Year,
            (Some(b'M'), false) => Unit::Month,
            (Some(b'W'), false) => Unit::Week,
            (Some(b'D'), false) => Unit::Day,
            (Some(b'H'), true) => Unit::Hour,
            (Some(b'M'), true) => Unit::Minute,
            (Some(b'S'), true) => Unit::Second,
            _ => return Err(syntax(text)),
        };
        parts.add(whole, fraction, unit);
        any = true;
        rest = &body[len + 1..];
    }
    if any { parts.finish(text) } else { Err(syntax(text)) }
}

impl Interval {
    /// Total microseconds with months of 30 days: what intervals compare by.
    pub fn comparison_value(&self) -> i128 {
        (i128::from(self.months) * i128::from(DAYS_PER_MONTH) + i128::from(self.days))
            * i128::from(MICROS_PER_DAY)
            + i128::from(self.micros)
    }

    pub fn compare(&self, other: &Interval) -> Ordering {
        self.comparison_value().cmp(&other.comparison_value())
    }

    pub fn neg(&self) -> Result<Interval> {
        checked(-i128::from(self.months), -i128::from(self.days), -i128::from(self.micros))
    }

    pub fn add(&self, other: &Interval) -> Result<Interval> {
        checked(
            i128::from(self.months) + i128::from(other.months),
            i128::from(self.days) + i128::from(other.days),
            i128::from(self.micros) + i128::from(other.micros),
        )
    }

    pub fn sub(&self, other: &Interval) -> Result<Interval> {
        checked(
            i128::from(self.months) - i128::from(other.months),
            i128::from(self.days) - i128::from(other.days),
            i128::from(self.micros) - i128::from(other.micros),
        )
    }

    /// PostgreSQL's `interval_mul`: fractions of months become days of 30, fractions of days become time.
    pub fn mul(&self, factor: f64) -> Result<Interval> {
        self.scale(|part| part * factor)
    }

    pub fn div(&self, divisor: f64) -> Result<Interval> {
        if divisor == 0.0 {
            return Err(SqlError::division_by_zero());
        }
        self.scale(|part| part / divisor)
    }

    fn scale(&self, by: impl Fn(f64) -> f64) -> Result<Interval> {
        let whole = |value: f64| -> Result<i32> {
            if value.is_nan() || value > f64::from(i32::MAX) || value < f64::from(i32::MIN) {
                return Err(interval_out_of_range());
            }
            Ok(value as i32)
        };
        let micro_round = |value: f64| (value * 1e6).round_ties_even() / 1e6;
        let months_exact = by(f64::from(self.months));
        let mut days_exact = by(f64::from(self.days));
        let months = whole(months_exact)?;
        let mut days = whole(days_exact)?;
        days_exact -= f64::from(days);
        let from_months = micro_round((months_exact - f64::from(months)) * DAYS_PER_MONTH as f64);
        let mut seconds = (days_exact + from_months - from_months.trunc()) * 86_400.0;
        seconds = micro_round(seconds);
        // A carry that rounding made whole days of.
        if seconds.abs() >= 86_400.0 {
            let carry = (seconds / 86_400.0) as i32;
            days = days.checked_add(carry).ok_or_else(interval_out_of_range)?;
            seconds -= f64::from(carry) * 86_400.0;
        }
        days = days.checked_add(from_months as i32).ok_or_else(interval_out_of_range)?;
        let micros = (by(self.micros as f64) + seconds * 1e6).round_ties_even();
        if micros.is_nan() || micros.abs() >= 9.3e18 {
            return Err(interval_out_of_range());
        }
        checked(i128::from(months), i128::from(days), micros as i128)
    }

    /// Whole days of time become days, whole 30 days become months: `justify_interval`.
    pub fn justify(&self) -> Result<Interval> {
        let days = i128::from(self.days) + i128::from(self.micros / MICROS_PER_DAY);
        let mut micros = i128::from(self.micros % MICROS_PER_DAY);
        let mut months = i128::from(self.months) + days / i128::from(DAYS_PER_MONTH);
        let mut days = days % i128::from(DAYS_PER_MONTH);
        if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            days += i128::from(DAYS_PER_MONTH);
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            days -= i128::from(DAYS_PER_MONTH);
            months += 1;
        }
        if days > 0 && micros < 0 {
            micros += i128::from(MICROS_PER_DAY);
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= i128::from(MICROS_PER_DAY);
            days += 1;
        }
        checked(months, days, micros)
    }

    pub fn justify_hours(&self) -> Result<Interval> {
        let mut days = i128::from(self.days) + i128::from(self.micros / MICROS_PER_DAY);
        let mut micros = i128::from(self.micros % MICROS_PER_DAY);
        if days > 0 && micros < 0 {
            micros += i128::from(MICROS_PER_DAY);
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= i128::from(MICROS_PER_DAY);
            days += 1;
        }
        checked(i128::from(self.months), days, micros)
    }

    pub fn justify_days(&self) -> Result<Interval> {
        let mut months = i128::from(self.months) + i128::from(self.days) / i128::from(DAYS_PER_MONTH);
        let mut days = i128::from(self.days) % i128::from(DAYS_PER_MONTH);
        if months > 0 && days < 0 {
            days += i128::from(DAYS_PER_MONTH);
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= i128::from(DAYS_PER_MONTH);
            months += 1;
        }
        checked(months, days, i128::from(self.micros))
    }

    /// Rounded to `digits` digits of seconds.
    pub fn with_precision(&self, digits: u32) -> Interval {
        Interval { micros: round_micros(self.micros, digits), ..*self }
    }
}

/// Rounds microseconds to `digits` digits of a second, halves away from zero.
pub fn round_micros(micros: i64, digits: u32) -> i64 {
    let unit = 10i64.pow(6 - digits.min(6));
    if unit == 1 {
        return micros;
    }
    let rest = micros % unit;
    let cut = micros - rest;
    if rest.abs() * 2 >= unit { cut.saturating_add(unit * micros.signum()) } else { cut }
}

/// `timestamp + interval`: months (the day cut to the month's length), then days, then time.
pub fn add_to_timestamp(micros: i64, by: &Interval) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let (day, time) = split(micros);
    let day = add_months(day, by.months)? + i64::from(by.days);
    if day.abs() > 200_000_000 {
        return Err(timestamp_out_of_range());
    }
    check_timestamp(i128::from(day) * i128::from(MICROS_PER_DAY) + i128::from(time) + i128::from(by.micros))
}

/// `timestamptz + interval`: months and days by the zone's calendar, then time.
pub fn add_to_timestamptz(micros: i64, by: &Interval, zone: &TimeZone) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let mut at = micros;
    if by.months != 0 || by.days != 0 {
        let local = at.saturating_add(i64::from(zone.offset_at(at)) * MICROS_PER_SEC);
        let moved = add_to_timestamp(local, &Interval { micros: 0, ..*by })?;
        at = moved.saturating_sub(i64::from(zone.offset_of_local(moved)) * MICROS_PER_SEC);
    }
    check_timestamp(i128::from(at) + i128::from(by.micros))
}

fn add_months(day: i64, months: i32) -> Result<i64> {
    if months == 0 {
        return Ok(day);
    }
    let (year, month, dom) = civil(day);
    let total = year * 12 + i64::from(month) - 1 + i64::from(months);
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    if year.abs() > 6_000_000 {
        return Err(timestamp_out_of_range());
    }
    Ok(days(year, month, dom.min(days_in_month(year, month))))
}

/// `age(a, b)`: years, months, days and time between two timestamps by the calendar.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    if matches!(a, i64::MIN | i64::MAX) || matches!(b, i64::MIN | i64::MAX) {
        return Err(interval_out_of_range());
    }
    let negative = a < b;
    let (later, earlier) = if negative { (b, a) } else { (a, b) };
    let ((d1, t1), (d2, t2)) = (split(later), split(earlier));
    let ((y1, m1, dd1), (y2, m2, dd2)) = (civil(d1), civil(d2));
    let mut micros = t1 - t2;
    let mut days = i64::from(dd1) - i64::from(dd2);
    let mut months = (y1 - y2) * 12 + i64::from(m1) - i64::from(m2);
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    // Borrow the length of the earlier date's month, as timestamp_age does.
    while days < 0 {
        days += i64::from(days_in_month(y2, m2));
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    checked(i128::from(months * sign), i128::from(days * sign), i128::from(micros * sign))
}
