//! EXTRACT, date_part and date_trunc.

use super::casts::{to_instant, to_local};
use super::catalog::{Catalog, Options};
use super::context::ContextValue;
use super::datetime::{infinite, zoned2};
use super::kind::*;
use crate::types::datetime::calendar::{self, *};
use crate::types::{Interval as Span, Numeric, PgType, TimeZone};
use crate::{Result, SqlError, SqlState};

/// Canonical name of a field, from any of its spellings.
fn field(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "microseconds" | "microsecond" | "us" | "usec" | "usecs" | "useconds" => "microseconds",
        "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" | "mseconds" => "milliseconds",
        "second" | "seconds" | "s" | "sec" | "secs" => "second",
        "minute" | "minutes" | "m" | "min" | "mins" => "minute",
        "hour" | "hours" | "h" | "hr" | "hrs" => "hour",
        "day" | "days" | "d" => "day",
        "week" | "weeks" | "w" => "week",
        "month" | "months" | "mon" | "mons" => "month",
        "quarter" | "qtr" => "quarter",
        "year" | "years" | "y" | "yr" | "yrs" => "year",
        "decade" | "decades" | "dec" | "decs" => "decade",
        "century" | "centuries" | "c" | "cent" => "century",
        "millennium" | "millennia" | "mil" | "mils" => "millennium",
        "isoyear" => "isoyear",
        "dow" => "dow",
        "isodow" => "isodow",
        "doy" => "doy",
        "epoch" => "epoch",
        "julian" => "julian",
        "timezone" => "timezone",
        "timezone_hour" => "timezone_hour",
        "timezone_minute" => "timezone_minute",
        _ => return None,
    })
}

/// date_trunc knows only the units of intervals.
fn trunc_field(name: &str) -> Option<&'static str> {
    field(name).filter(|f| !matches!(*f, "dow" | "isodow" | "doy" | "isoyear" | "epoch" | "julian"))
}

fn unrecognized(name: &str, ty: PgType) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{}\" not recognized for type {ty}", name.to_ascii_lowercase()),
    )
}

fn not_supported(name: &str, ty: PgType) -> SqlError {
    SqlError::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("unit \"{}\" not supported for type {ty}", name.to_ascii_lowercase()),
    )
}

fn whole(v: i64) -> Numeric {
    v.into()
}

fn century_of(year: i64, length: i64) -> i64 {
    // Years count from 1; before it they count backwards.
    if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) }
}

/// A field of the day, if it is one.
fn day_field(name: &str, day: i64) -> Option<i64> {
    let (year, month, dom) = civil(day);
    Some(match name {
        "day" => dom.into(),
        "month" => month.into(),
        "quarter" => i64::from((month - 1) / 3 + 1),
        // There is no year 0: 1 BC is −1.
        "year" => year - i64::from(year <= 0),
        "decade" => year.div_euclid(10),
        "century" => century_of(year, 100),
        "millennium" => century_of(year, 1000),
        "week" => iso_week(day).1.into(),
        "isoyear" => {
            let y = iso_week(day).0;
            y - i64::from(y <= 0)
        }
        "dow" => day_of_week(day).into(),
        "isodow" => match day_of_week(day) {
            0 => 7,
            d => d.into(),
        },
        "doy" => day_of_year(day).into(),
        _ => return None,
    })
}

/// A field of the time of day, if it is one.
fn clock_field(name: &str, micros: i64) -> Option<Numeric> {
    let in_minute = micros % MICROS_PER_MINUTE;
    Some(match name {
        "microseconds" => whole(in_minute),
        "milliseconds" => Numeric::new(in_minute, 3),
        "second" => Numeric::new(in_minute, 6),
        "minute" => whole(micros % MICROS_PER_HOUR / MICROS_PER_MINUTE),
        "hour" => whole(micros / MICROS_PER_HOUR),
        _ => return None,
    })
}

/// Fields of an infinite time: null, or the infinity where the field only grows.
fn endless(name: &str, positive: bool) -> Option<Numeric> {
    matches!(name, "year" | "decade" | "century" | "millennium" | "isoyear" | "epoch" | "julian")
        .then_some(if positive { Numeric::Infinity } else { Numeric::NegInfinity })
}

fn of_timestamp(asked: &str, local: i64, ty: PgType, instant: Option<(i64, i32)>) -> Result<Option<Numeric>> {
    let Some(name) = field(asked) else { return Err(unrecognized(asked, ty)) };
    let zone_field = name.starts_with("timezone");
    if zone_field && instant.is_none() {
        return Err(not_supported(asked, ty));
    }
    if infinite(local) {
        return Ok(endless(name, local > 0));
    }
    let (day, time) = split(local);
    if let Some(value) = day_field(name, day) {
        return Ok(Some(whole(value)));
    }
    if let Some(value) = clock_field(name, time) {
        return Ok(Some(value));
    }
    Ok(Some(match (name, instant) {
        ("epoch", instant) => Numeric::new(instant.map_or(local, |(utc, _)| utc), 6),
        ("julian", _) => {
            let days = whole(day - i64::from(MIN_DATE));
            days.add(&whole(time).div(&whole(MICROS_PER_DAY))?)?
        }
        ("timezone", Some((_, offset))) => whole(offset.into()),
        ("timezone_hour", Some((_, offset))) => whole((offset / 3600).into()),
        ("timezone_minute", Some((_, offset))) => whole((offset / 60 % 60).into()),
        _ => return Err(not_supported(asked, ty)),
    }))
}

fn of_timestamptz(name: &str, t: i64, zone: &TimeZone) -> Result<Option<Numeric>> {
    let offset = if infinite(t) { 0 } else { zone.offset_at(t) };
    of_timestamp(name, to_local(t, zone)?, PgType::Timestamptz, Some((t, offset)))
}

fn of_date(asked: &str, d: i32) -> Result<Option<Numeric>> {
    let Some(name) = field(asked) else { return Err(unrecognized(asked, PgType::Date)) };
    if clock_field(name, 0).is_some() || name.starts_with("timezone") {
        return Err(not_supported(asked, PgType::Date));
    }
    if matches!(d, i32::MIN | i32::MAX) {
        return Ok(endless(name, d > 0));
    }
    let day = i64::from(d);
    Ok(Some(match name {
        "epoch" => whole(day * 86_400),
        "julian" => whole(day - i64::from(MIN_DATE)),
        name => match day_field(name, day) {
            Some(value) => whole(value),
            None => return Err(not_supported(asked, PgType::Date)),
        },
    }))
}

fn of_time(asked: &str, t: i64) -> Result<Option<Numeric>> {
    let Some(name) = field(asked) else { return Err(unrecognized(asked, PgType::Time)) };
    match (name, clock_field(name, t)) {
        (_, Some(value)) => Ok(Some(value)),
        ("epoch", None) => Ok(Some(Numeric::new(t, 6))),
        _ => Err(not_supported(asked, PgType::Time)),
    }
}

fn of_interval(asked: &str, i: Span) -> Result<Option<Numeric>> {
    let Some(name) = field(asked) else { return Err(unrecognized(asked, PgType::Interval)) };
    let years = i64::from(i.months / 12);
    Ok(Some(match name {
        "day" => whole(i.days.into()),
        "month" => whole((i.months % 12).into()),
        "quarter" => whole(i64::from(i.months % 12 / 3 + 1)),
        "year" => whole(years),
        "decade" => whole(years / 10),
        "century" => whole(years / 100),
        "millennium" => whole(years / 1000),
        "epoch" => {
            // A year counts 365.25 days here, a month 30.
            let seconds =
                years * 31_557_600 + i64::from(i.months % 12) * 2_592_000 + i64::from(i.days) * 86_400;
            Numeric::new(i128::from(seconds) * 1_000_000 + i128::from(i.micros), 6)
        }
        name => match clock_field(name, i.micros) {
            Some(value) => value,
            None => return Err(not_supported(asked, PgType::Interval)),
        },
    }))
}

fn as_float(value: Option<Numeric>) -> Option<f64> {
    value.map(|n| n.to_f64())
}

pub(super) fn register(c: &mut Catalog) {
    use PgType as T;
    let zone = || Options::hidden([ContextValue::TimeZone]);
    c.fn2::<Text, Timestamp, Num>("extract", |f, t| of_timestamp(f, t, T::Timestamp, None));
    c.fn2::<Text, Timestamp, Float8>("date_part", |f, t| {
        Ok(as_float(of_timestamp(f, t, T::Timestamp, None)?))
    });
    let body = zoned2::<Text, Timestamptz, Num>(of_timestamptz);
    c.function("extract", &[T::Text, T::Timestamptz], T::Numeric, zone(), body);
    let body = zoned2::<Text, Timestamptz, Float8>(|f, t, z| Ok(as_float(of_timestamptz(f, t, z)?)));
    c.function("date_part", &[T::Text, T::Timestamptz], T::Float8, zone(), body);
    c.fn2::<Text, Date, Num>("extract", of_date);
    // date_part has no form for dates: they pass as timestamps.
    c.fn2::<Text, Date, Float8>("date_part", |f, d| {
        let t = match d {
            i32::MIN => i64::MIN,
            i32::MAX => i64::MAX,
            d => check_timestamp(i128::from(d) * i128::from(MICROS_PER_DAY))?,
        };
        Ok(as_float(of_timestamp(f, t, T::Timestamp, None)?))
    });
    c.fn2::<Text, Time, Num>("extract", of_time);
    c.fn2::<Text, Time, Float8>("date_part", |f, t| Ok(as_float(of_time(f, t)?)));
    c.fn2::<Text, Interval, Num>("extract", of_interval);
    c.fn2::<Text, Interval, Float8>("date_part", |f, i| Ok(as_float(of_interval(f, i)?)));
    c.fn2::<Text, Timestamp, Timestamp>("date_trunc", |f, t| trunc(f, t, T::Timestamp));
    let body = zoned2::<Text, Timestamptz, Timestamptz>(trunc_in_zone);
    c.function("date_trunc", &[T::Text, T::Timestamptz], T::Timestamptz, zone(), body);
    c.fn3::<Text, Timestamptz, Text, Timestamptz>("date_trunc", |f, t, zone| {
        trunc_in_zone(f, t, &TimeZone::parse(zone)?)
    });
    c.fn2::<Text, Interval, Interval>("date_trunc", trunc_interval);
}

fn trunc_in_zone(f: &str, t: i64, zone: &TimeZone) -> Result<Option<i64>> {
    let local = to_local(t, zone)?;
    let Some(cut) = trunc(f, local, PgType::Timestamptz)? else { return Ok(None) };
    if infinite(t) {
        return Ok(Some(t));
    }
    // Within a day the offset stays, so that an hour repeated in autumn is cut to itself.
    if matches!(field(f), Some("microseconds" | "milliseconds" | "second" | "minute" | "hour")) {
        return check_timestamp(i128::from(t) - (i128::from(local) - i128::from(cut))).map(Some);
    }
    to_instant(cut, zone).map(Some)
}

fn trunc(asked: &str, t: i64, ty: PgType) -> Result<Option<i64>> {
    let Some(name) = trunc_field(asked) else { return Err(unrecognized(asked, ty)) };
    if infinite(t) {
        return Ok(Some(t));
    }
    let (day, time) = split(t);
    let (year, month, _) = civil(day);
    let unit = |unit: i64| Ok(Some(t - time % unit));
    let start = match name {
        "microseconds" => return Ok(Some(t)),
        "milliseconds" => return unit(1000),
        "second" => return unit(MICROS_PER_SEC),
        "minute" => return unit(MICROS_PER_MINUTE),
        "hour" => return unit(MICROS_PER_HOUR),
        "day" => day,
        "week" => day - (day + 3).rem_euclid(7),
        "month" => days(year, month, 1),
        "quarter" => days(year, (month - 1) / 3 * 3 + 1, 1),
        "year" => days(year, 1, 1),
        "decade" => days(year.div_euclid(10) * 10, 1, 1),
        "century" => days((year - 1).div_euclid(100) * 100 + 1, 1, 1),
        "millennium" => days((year - 1).div_euclid(1000) * 1000 + 1, 1, 1),
        _ => return Err(not_supported(asked, ty)),
    };
    calendar::check_timestamp(i128::from(start) * i128::from(MICROS_PER_DAY)).map(Some)
}

fn trunc_interval(asked: &str, i: Span) -> Result<Option<Span>> {
    let Some(name) = trunc_field(asked) else { return Err(unrecognized(asked, PgType::Interval)) };
    let months = |n: i32| Span { months: i.months / n * n, days: 0, micros: 0 };
    let time = |unit: i64| Span { micros: i.micros / unit * unit, ..i };
    Ok(Some(match name {
        "microseconds" => i,
        "milliseconds" => time(1000),
        "second" => time(MICROS_PER_SEC),
        "minute" => time(MICROS_PER_MINUTE),
        "hour" => time(MICROS_PER_HOUR),
        "day" => Span { micros: 0, ..i },
        "month" => months(1),
        "quarter" => months(3),
        "year" => months(12),
        "decade" => months(120),
        "century" => months(1200),
        "millennium" => months(12_000),
        _ => {
            let error = not_supported(asked, PgType::Interval);
            return Err(if name == "week" {
                error.detail("Months usually have fractional weeks.")
            } else {
                error
            });
        }
    }))
}
