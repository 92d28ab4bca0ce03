//! Arithmetic of dates, times, timestamps and intervals.

use super::casts::{to_instant, to_local, zone_arg, zoned};
use super::catalog::{Catalog, Options};
use super::context::ContextValue;
use super::kind::*;
use crate::types::datetime::calendar::{self, MICROS_PER_DAY, MICROS_PER_SEC, check_date, check_timestamp};
use crate::types::datetime::{add_to_timestamp, add_to_timestamptz, age, checked_interval};
use crate::types::{Interval as Span, PgType, TimeZone};
use crate::{Result, SqlError, SqlState};
use std::sync::Arc;

/// Lifts a function of two values and the session's zone.
pub(super) fn zoned2<A: Kind, B: Kind, R: Kind>(
    f: for<'a> fn(A::Ref<'a>, B::Ref<'a>, &TimeZone) -> Result<Option<R::Owned>>,
) -> Body {
    Arc::new(move |args, rows| {
        let (a, b) = (A::view(args[0].array.as_ref())?, B::view(args[1].array.as_ref())?);
        let zone = zone_arg(&args[2])?;
        column::<R>(rows, |row| {
            if args[0].is_null(row) || args[1].is_null(row) {
                return Ok(None);
            }
            f(A::get(&a, args[0].row(row))?, B::get(&b, args[1].row(row))?, &zone)
        })
    })
}

pub(super) fn infinite(t: i64) -> bool {
    matches!(t, i64::MIN | i64::MAX)
}

fn difference(a: i64, b: i64) -> Result<Option<Span>> {
    if infinite(a) || infinite(b) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    // Whole days apart from the time, as interval_justify_hours leaves it.
    let micros = i128::from(a) - i128::from(b);
    let (day, time) = (micros / i128::from(MICROS_PER_DAY), micros % i128::from(MICROS_PER_DAY));
    checked_interval(0, day, time).map(Some)
}

fn date_plus(d: i32, n: i64) -> Result<Option<i32>> {
    if matches!(d, i32::MIN | i32::MAX) { Ok(Some(d)) } else { check_date(i64::from(d) + n).map(Some) }
}

fn date_to_timestamp(d: i32) -> Result<i64> {
    match d {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        _ => check_timestamp(i128::from(d) * i128::from(MICROS_PER_DAY)),
    }
}

pub(super) fn register(c: &mut Catalog) {
    dates(c);
    timestamps(c);
    intervals(c);
    zones(c);
    makers(c);
}

fn dates(c: &mut Catalog) {
    c.op2::<Date, Int4, Date>("+", |d, n| date_plus(d, n.into()));
    c.op2::<Int4, Date, Date>("+", |n, d| date_plus(d, n.into()));
    c.op2::<Date, Int4, Date>("-", |d, n| date_plus(d, -i64::from(n)));
    c.op2::<Date, Date, Int4>("-", |a, b| {
        let endless = |d| matches!(d, i32::MIN | i32::MAX);
        if endless(a) || endless(b) {
            return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite dates"));
        }
        Ok(Some(a.wrapping_sub(b)))
    });
    c.op2::<Date, Interval, Timestamp>("+", |d, i| Ok(Some(add_to_timestamp(date_to_timestamp(d)?, &i)?)));
    c.op2::<Interval, Date, Timestamp>("+", |i, d| Ok(Some(add_to_timestamp(date_to_timestamp(d)?, &i)?)));
    c.op2::<Date, Interval, Timestamp>("-", |d, i| {
        Ok(Some(add_to_timestamp(date_to_timestamp(d)?, &i.neg()?)?))
    });
    c.op2::<Date, Time, Timestamp>("+", |d, t| {
        let day = date_to_timestamp(d)?;
        if infinite(day) { Ok(Some(day)) } else { check_timestamp(i128::from(day) + i128::from(t)).map(Some) }
    });
    c.op2::<Time, Time, Interval>("-", |a, b| Ok(Some(Span { months: 0, days: 0, micros: a - b })));
    c.op2::<Time, Interval, Time>("+", |t, i| {
        Ok(Some((t + i.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY)))
    });
    c.op2::<Interval, Time, Time>("+", |i, t| {
        Ok(Some((t + i.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY)))
    });
    c.op2::<Time, Interval, Time>("-", |t, i| {
        Ok(Some((t - i.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY)))
    });
}

fn timestamps(c: &mut Catalog) {
    use PgType as T;
    let zone = || Options::hidden([ContextValue::TimeZone]);
    c.op2::<Timestamp, Interval, Timestamp>("+", |t, i| Ok(Some(add_to_timestamp(t, &i)?)));
    c.op2::<Interval, Timestamp, Timestamp>("+", |i, t| Ok(Some(add_to_timestamp(t, &i)?)));
    c.op2::<Timestamp, Interval, Timestamp>("-", |t, i| Ok(Some(add_to_timestamp(t, &i.neg()?)?)));
    c.op2::<Timestamp, Timestamp, Interval>("-", difference);
    c.op2::<Timestamptz, Timestamptz, Interval>("-", difference);
    let plus =
        zoned2::<Timestamptz, Interval, Timestamptz>(|t, i, z| Ok(Some(add_to_timestamptz(t, &i, z)?)));
    c.operator("+", &[T::Timestamptz, T::Interval], T::Timestamptz, zone(), plus);
    let plus =
        zoned2::<Interval, Timestamptz, Timestamptz>(|i, t, z| Ok(Some(add_to_timestamptz(t, &i, z)?)));
    c.operator("+", &[T::Interval, T::Timestamptz], T::Timestamptz, zone(), plus);
    let minus = zoned2::<Timestamptz, Interval, Timestamptz>(|t, i, z| {
        Ok(Some(add_to_timestamptz(t, &i.neg()?, z)?))
    });
    c.operator("-", &[T::Timestamptz, T::Interval], T::Timestamptz, zone(), minus);
    c.fn2::<Timestamp, Timestamp, Interval>("age", |a, b| Ok(Some(age(a, b)?)));
    let ages = zoned2::<Timestamptz, Timestamptz, Interval>(|a, b, z| {
        Ok(Some(age(to_local(a, z)?, to_local(b, z)?)?))
    });
    c.function("age", &[T::Timestamptz, T::Timestamptz], T::Interval, zone(), ages);
    c.fn1::<Timestamp, Bool>("isfinite", |t| Ok(Some(!infinite(t))));
    c.fn1::<Timestamptz, Bool>("isfinite", |t| Ok(Some(!infinite(t))));
    c.fn1::<Date, Bool>("isfinite", |d| Ok(Some(!matches!(d, i32::MIN | i32::MAX))));
}

fn intervals(c: &mut Catalog) {
    c.op2::<Interval, Interval, Interval>("+", |a, b| Ok(Some(a.add(&b)?)));
    c.op2::<Interval, Interval, Interval>("-", |a, b| Ok(Some(a.sub(&b)?)));
    c.op2::<Interval, Float8, Interval>("*", |i, f| Ok(Some(i.mul(f)?)));
    c.op2::<Float8, Interval, Interval>("*", |f, i| Ok(Some(i.mul(f)?)));
    c.op2::<Interval, Float8, Interval>("/", |i, f| Ok(Some(i.div(f)?)));
    c.op1::<Interval, Interval>("-", |i| Ok(Some(i.neg()?)));
    c.fn1::<Interval, Interval>("justify_interval", |i| Ok(Some(i.justify()?)));
    c.fn1::<Interval, Interval>("justify_hours", |i| Ok(Some(i.justify_hours()?)));
    c.fn1::<Interval, Interval>("justify_days", |i| Ok(Some(i.justify_days()?)));
}

/// `timezone(zone, value)`, which is `value AT TIME ZONE zone`.
fn zones(c: &mut Catalog) {
    c.fn2::<Text, Timestamp, Timestamptz>("timezone", |zone, t| {
        Ok(Some(to_instant(t, &TimeZone::parse(zone)?)?))
    });
    c.fn2::<Text, Timestamptz, Timestamp>("timezone", |zone, t| {
        Ok(Some(to_local(t, &TimeZone::parse(zone)?)?))
    });
    c.fn2::<Interval, Timestamp, Timestamptz>("timezone", |i, t| Ok(Some(to_instant(t, &fixed_zone(&i)?)?)));
    c.fn2::<Interval, Timestamptz, Timestamp>("timezone", |i, t| Ok(Some(to_local(t, &fixed_zone(&i)?)?)));
}

fn fixed_zone(i: &Span) -> Result<TimeZone> {
    if i.months != 0 || i.days != 0 {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "interval time zone must not include months or days",
        ));
    }
    Ok(TimeZone::Fixed((i.micros / MICROS_PER_SEC) as i32))
}

fn makers(c: &mut Catalog) {
    use PgType as T;
    c.fn3::<Int4, Int4, Int4, Date>("make_date", |y, m, d| Ok(Some(make_date(y, m, d)? as i32)));
    c.fn3::<Int4, Int4, Float8, Time>("make_time", |h, m, s| Ok(Some(make_time(h, m, s)?)));
    let stamp = map6::<Int4, Int4, Int4, Int4, Int4, Float8, Timestamp>(|y, mo, d, h, mi, s| {
        let day = make_date(y, mo, d)?;
        check_timestamp(i128::from(day) * i128::from(MICROS_PER_DAY) + i128::from(make_time(h, mi, s)?))
            .map(Some)
    });
    let params = [T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Float8];
    c.function("make_timestamp", &params, T::Timestamp, Options::default(), stamp);
    c.fn1::<Float8, Timestamptz>("to_timestamp", |seconds| {
        if seconds.is_nan() {
            return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp cannot be NaN"));
        }
        if seconds.is_infinite() {
            return Ok(Some(if seconds > 0.0 { i64::MAX } else { i64::MIN }));
        }
        // Counted from 2000 as PostgreSQL does, so that rounding falls alike.
        let micros = ((seconds - 946_684_800.0) * 1e6).round_ties_even();
        if micros.abs() > 9.3e18 {
            return Err(SqlError::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("timestamp out of range: \"{seconds}\""),
            ));
        }
        check_timestamp(micros as i128 + i128::from(calendar::PG_EPOCH_MICROS)).map(Some)
    });
    let options = || Options::hidden([ContextValue::TransactionTime, ContextValue::TimeZone]);
    c.function(
        "current_date",
        &[],
        T::Date,
        options(),
        zoned::<Timestamptz, Date>(|t, z| Ok(Some(calendar::split(to_local(t, z)?).0 as i32))),
    );
    c.function(
        "localtimestamp",
        &[],
        T::Timestamp,
        options(),
        zoned::<Timestamptz, Timestamp>(|t, z| Ok(Some(to_local(t, z)?))),
    );
    c.function(
        "localtime",
        &[],
        T::Time,
        options(),
        zoned::<Timestamptz, Time>(|t, z| Ok(Some(calendar::split(to_local(t, z)?).1))),
    );
    // age(t): from midnight today.
    let today = |with_zone: bool| Options {
        hidden: vec![ContextValue::TransactionTime, ContextValue::TimeZone],
        work: Some(vec![if with_zone { T::Timestamptz } else { T::Timestamp }]),
        ..Options::default()
    };
    for with_zone in [false, true] {
        let ty = if with_zone { T::Timestamptz } else { T::Timestamp };
        let body: Body = Arc::new(move |args, rows| {
            let values = Timestamp::view(args[0].array.as_ref())?;
            let zone = zone_arg(&args[2])?;
            let now = Timestamptz::view(args[1].array.as_ref())?.value(0);
            let midnight = calendar::split(to_local(now, &zone)?).0 * MICROS_PER_DAY;
            column::<Interval>(rows, |row| {
                if args[0].is_null(row) {
                    return Ok(None);
                }
                let value = values.value(args[0].row(row));
                Ok(Some(age(midnight, if with_zone { to_local(value, &zone)? } else { value })?))
            })
        });
        c.function("age", &[ty], T::Interval, today(with_zone), body);
    }
}

fn make_date(y: i32, m: i32, d: i32) -> Result<i64> {
    let bad = || {
        SqlError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date field value out of range: {y}-{m:02}-{d:02}"),
        )
    };
    // Negative years are BC.
    let year = if y < 0 { i64::from(y) + 1 } else { i64::from(y) };
    if y == 0 || !(1..=12).contains(&m) || d < 1 || d as u32 > calendar::days_in_month(year, m as u32) {
        return Err(bad());
    }
    let days = calendar::days(year, m as u32, d as u32);
    check_date(days).map(i64::from)
}

fn make_time(h: i32, m: i32, s: f64) -> Result<i64> {
    let micros = (s * 1e6).round_ties_even();
    let inside = (0..=24).contains(&h) && (0..60).contains(&m) && (0.0..=60e6).contains(&micros);
    let total =
        (i64::from(h) * 3600 + i64::from(m) * 60) * MICROS_PER_SEC + if inside { micros as i64 } else { 0 };
    if !inside || total > MICROS_PER_DAY {
        return Err(SqlError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("time field value out of range: {h}:{m:02}:{s}"),
        ));
    }
    Ok(total)
}
