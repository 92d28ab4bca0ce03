//! The proleptic Gregorian calendar in days, and time of day in microseconds.

use crate::{Result, SqlError, SqlState};

pub const MICROS_PER_SEC: i64 = 1_000_000;
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SEC;
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// 2000-01-01, from where PostgreSQL counts on the wire.
pub const PG_EPOCH_DAYS: i32 = 10_957;
pub const PG_EPOCH_MICROS: i64 = PG_EPOCH_DAYS as i64 * MICROS_PER_DAY;

/// First day that a date can be: 4714-11-24 BC (Julian day 0).
pub const MIN_DATE: i32 = -2_440_588;
/// Last day that a date can be: 5874897-12-31.
pub const MAX_DATE: i32 = 2_145_042_905;
pub const MIN_TIMESTAMP: i64 = MIN_DATE as i64 * MICROS_PER_DAY;
/// Our microseconds count from 1970, PostgreSQL's from 2000, so ours end 30 years before PostgreSQL's 294276 AD: what is later is
/// refused, never wrapped.
pub const MAX_TIMESTAMP: i64 = i64::MAX - 1;

/// Year (0 is 1 BC), month and day of a day counted from 1970-01-01. (Howard Hinnant's algorithm.)
pub fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date, counted from 1970-01-01; the date must exist.
pub fn days(year: i64, month: u32, day: u32) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0 is Sunday.
pub fn day_of_week(days: i64) -> u32 {
    (days + 4).rem_euclid(7) as u32
}

/// From 1.
pub fn day_of_year(days_: i64) -> u32 {
    (days_ - days(civil(days_).0, 1, 1)) as u32 + 1
}

/// ISO 8601 year and week.
pub fn iso_week(days_: i64) -> (i64, u32) {
    let thursday = days_ - (days_ + 3).rem_euclid(7) + 3;
    let year = civil(thursday).0;
    (year, ((thursday - days(year, 1, 1)) / 7) as u32 + 1)
}

/// The Monday on which an ISO week begins.
pub fn iso_week_start(year: i64, week: i64) -> i64 {
    let fourth = days(year, 1, 4);
    fourth - (fourth + 3).rem_euclid(7) + (week - 1) * 7
}

pub fn date_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")
}

pub fn timestamp_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

pub fn interval_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// Refuses days that no finite date has.
pub fn check_date(days: i64) -> Result<i32> {
    match i32::try_from(days) {
        Ok(d) if (MIN_DATE..=MAX_DATE).contains(&d) => Ok(d),
        _ => Err(date_out_of_range()),
    }
}

/// Refuses microseconds that no finite timestamp has.
pub fn check_timestamp(micros: i128) -> Result<i64> {
    match i64::try_from(micros) {
        Ok(t) if (MIN_TIMESTAMP..=MAX_TIMESTAMP).contains(&t) => Ok(t),
        _ => Err(timestamp_out_of_range()),
    }
}

/// Whole days and microseconds of the day.
pub fn split(micros: i64) -> (i64, i64) {
    (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        for d in (-2_500_000..3_000_000).step_by(997) {
            let (y, m, dd) = civil(d);
            assert_eq!(days(y, m, dd), d);
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(days(-4713, 11, 24), i64::from(MIN_DATE));
        assert_eq!(days(5_874_897, 12, 31), i64::from(MAX_DATE));
        assert_eq!(days(2000, 1, 1), i64::from(PG_EPOCH_DAYS));
        assert_eq!(iso_week(days(2021, 1, 3)), (2020, 53));
        assert_eq!(day_of_week(days(2024, 2, 29)), 4);
    }
}
