//! Dates and times from text, in the forms PostgreSQL reads with `DateStyle = ISO, MDY`.
//!
//! The text is cut into tokens, each token sets fields, and the fields become a value. What is ambiguous or not
//! understood is refused with PostgreSQL's codes: 22007 for the syntax, 22008 for a value outside of its field.

use super::calendar::*;
use super::zone::{TimeZone, parse_offset};
use crate::types::PgType;
use crate::{Result, SqlError, SqlState};

/// What input may depend on: the session's zone, and for `now`, `today` and their like the transaction's time.
#[derive(Clone, Copy, Debug)]
pub struct InputContext {
    pub zone: TimeZone,
    /// Microseconds since 1970; `None` refuses words that need it.
    pub now: Option<i64>,
}

#[derive(Debug, Default)]
struct Fields {
    year: Option<i64>,
    year_digits: usize,
    month: Option<u32>,
    day: Option<u32>,
    /// Microseconds of the day, up to 24:00:00.
    time: Option<i64>,
    zone: Option<Zone>,
    pm: Option<bool>,
    bc: bool,
    day_number: Option<i64>,
    special: Option<Special>,
}

#[derive(Clone, Copy, Debug)]
enum Zone {
    Offset(i32),
    Named(TimeZone),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Special {
    Infinity,
    NegInfinity,
    Epoch,
    Now,
    /// Days from today, midnight.
    Day(i64),
}

struct Parser<'a> {
    text: &'a str,
    ty: PgType,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Parser<'_> {
    fn syntax(&self) -> SqlError {
        SqlError::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type {}: \"{}\"", self.ty.sql_name(), self.text),
        )
    }

    fn field_range(&self) -> SqlError {
        SqlError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{}\"", self.text),
        )
    }

    fn order_range(&self) -> SqlError {
        self.field_range().hint("Perhaps you need a different \"datestyle\" setting.")
    }

    fn value_range(&self) -> SqlError {
        let what = match self.ty {
            PgType::Date => "date",
            _ => "timestamp",
        };
        SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range: \"{}\"", self.text))
    }

    fn parse(&self) -> Result<Fields> {
        let mut fields = Fields::default();
        let mut rest = self.text.trim();
        if rest.is_empty() {
            return Err(self.syntax());
        }
        while let Some(first) = rest.chars().next() {
            let used = match first {
                ' ' | '\t' | '\n' | '\r' | ',' => 1,
                '0'..='9' => self.number_like(rest, &mut fields)?,
                'a'..='z' | 'A'..='Z' => self.word(rest, &mut fields)?,
                '+' | '-' => self.signed(rest, &mut fields)?,
                _ => return Err(self.syntax()),
            };
            rest = &rest[used..];
        }
        Ok(fields)
    }

    fn number_like(&self, rest: &str, fields: &mut Fields) -> Result<usize> {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let next = rest.as_bytes().get(digits).copied();
        match next {
            Some(b':') => {
                let used =
                    rest.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.')).count();
                self.set_time(self.clock(&rest[..used])?, fields)?;
                Ok(used)
            }
            Some(sep @ (b'-' | b'/' | b'.')) => {
                let used = rest
                    .bytes()
                    .take_while(|b| b.is_ascii_alphanumeric() && !matches!(b, b'T' | b't') || *b == sep)
                    .count();
                let token = &rest[..used];
                // `20240131.5` and `120102.5` are compact forms; `hhmmss.fff` comes after a date.
                if sep == b'.' && token.matches('.').count() == 1 {
                    if fields.day.is_some() && digits == 6 {
                        let clock = format!("{}:{}:{}", &token[..2], &token[2..4], &token[4..]);
                        self.set_time(self.clock(&clock)?, fields)?;
                        return Ok(used);
                    }
                    // `1999.008` is a year and its day; a plain decimal is nothing.
                    if digits < 3 || token.len() != digits + 4 {
                        return Err(self.syntax());
                    }
                }
                self.set_date(token, sep as char, fields)?;
                Ok(used)
            }
            _ => {
                self.plain_number(&rest[..digits], fields)?;
                Ok(digits)
            }
        }
    }

    fn plain_number(&self, digits: &str, fields: &mut Fields) -> Result<()> {
        let number = |s: &str| s.parse::<i64>().map_err(|_| self.syntax());
        let dated = fields.year.is_some() && fields.month.is_some() && fields.day.is_some();
        match digits.len() {
            6 if self.ty == PgType::Time && fields.time.is_none() => {
                let clock =
                    number(&digits[..2])? * 3600 + number(&digits[2..4])? * 60 + number(&digits[4..])?;
                self.set_time(clock * MICROS_PER_SEC, fields)?;
            }
            8 if !dated && fields.month.is_none() && fields.year.is_none() => {
                (fields.year, fields.year_digits) = (Some(number(&digits[..4])?), 4);
                fields.month = Some(number(&digits[4..6])? as u32);
                fields.day = Some(number(&digits[6..])? as u32);
            }
            6 if !dated && fields.month.is_none() && fields.year.is_none() => {
                (fields.year, fields.year_digits) = (Some(number(&digits[..2])?), 2);
                fields.month = Some(number(&digits[2..4])? as u32);
                fields.day = Some(number(&digits[4..])? as u32);
            }
            4 | 6 if (dated || self.ty == PgType::Time) && fields.time.is_none() => {
                let seconds = if digits.len() == 6 { number(&digits[4..])? } else { 0 };
                let clock = number(&digits[..2])? * 3600 + number(&digits[2..4])? * 60 + seconds;
                self.set_time(clock * MICROS_PER_SEC, fields)?;
            }
            1 | 2 if dated && fields.time.is_none() => {
                // An hour, if AM or PM follows.
                self.set_time(number(digits)? * MICROS_PER_HOUR, fields)?;
            }
            n if n >= 3 && fields.year.is_none() => {
                (fields.year, fields.year_digits) = (Some(number(digits)?), n);
            }
            1 | 2 if fields.month.is_some() && fields.day.is_none() => {
                fields.day = Some(number(digits)? as u32)
            }
            1 | 2 if fields.month.is_none() && fields.year.is_some() => {
                fields.month = Some(number(digits)? as u32);
            }
            1 | 2 if fields.month.is_none() && fields.day.is_none() => {
                fields.day = Some(number(digits)? as u32)
            }
            1 | 2 if fields.year.is_none() => {
                (fields.year, fields.year_digits) = (Some(number(digits)?), digits.len());
            }
            _ => return Err(self.syntax()),
        }
        Ok(())
    }

    fn set_time(&self, micros: i64, fields: &mut Fields) -> Result<()> {
        if fields.time.replace(micros).is_some() { Err(self.syntax()) } else { Ok(()) }
    }

    /// `hh:mm[:ss[.fraction]]`.
    fn clock(&self, token: &str) -> Result<i64> {
        let parts: Vec<&str> = token.split(':').collect();
        let number = |s: &str| -> Result<i64> {
            if s.is_empty() || s.len() > 4 || !s.bytes().all(|b| b.is_ascii_digit()) {
                return Err(self.syntax());
            }
            s.parse().map_err(|_| self.syntax())
        };
        let (hours, minutes, seconds) = match parts[..] {
            [h, m] if m.contains('.') => (0, number(h)?, Some(m)),
            [h, m] => (number(h)?, number(m)?, None),
            [h, m, s] => (number(h)?, number(m)?, Some(s)),
            _ => return Err(self.syntax()),
        };
        let (whole, micros) = match seconds {
            None => (0, 0),
            Some(s) => {
                let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
                (number(whole)?, fraction_micros(fraction).ok_or_else(|| self.syntax())?)
            }
        };
        if minutes > 59 || whole > 60 || hours > 24 {
            return Err(self.field_range());
        }
        let total = (hours * 3600 + minutes * 60 + whole) * MICROS_PER_SEC + micros;
        if total > MICROS_PER_DAY { Err(self.field_range()) } else { Ok(total) }
    }

    fn set_date(&self, token: &str, sep: char, fields: &mut Fields) -> Result<()> {
        if fields.year.is_some() || fields.day.is_some() {
            return Err(self.syntax());
        }
        let parts: Vec<&str> = token.split(sep).collect();
        let number = |s: &str| -> Result<i64> {
            if s.is_empty() || s.len() > 7 {
                Err(self.syntax())
            } else {
                s.parse().map_err(|_| self.syntax())
            }
        };
        let month_name = parts.iter().position(|p| month_of(p).is_some());
        if let Some(at) = month_name {
            if fields.month.replace(month_of(parts[at]).unwrap_or(0)).is_some() {
                return Err(self.syntax());
            }
            let others: Vec<&str> =
                parts.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, p)| *p).collect();
            let (day, year) = match others[..] {
                [a, b] if a.len() >= 3 => (b, a),
                [a, b] => (a, b),
                _ => return Err(self.syntax()),
            };
            (fields.year, fields.year_digits) = (Some(number(year)?), year.len());
            fields.day = Some(number(day)? as u32);
            return Ok(());
        }
        match parts[..] {
            [y, m, d] if y.len() >= 3 => {
                (fields.year, fields.year_digits) = (Some(number(y)?), y.len());
                fields.month = Some(number(m)? as u32);
                fields.day = Some(number(d)? as u32);
            }
            [y, doy] if y.len() >= 3 && doy.len() == 3 => {
                let (y, doy) = (number(y)?, number(doy)?);
                if !(1..=365 + i64::from(is_leap(y))).contains(&doy) {
                    return Err(self.field_range());
                }
                fields.day_number = Some(days(y, 1, 1) + doy - 1);
                let (y, m, d) = civil(days(y, 1, 1) + doy - 1);
                (fields.year, fields.year_digits, fields.month, fields.day) = (Some(y), 4, Some(m), Some(d));
            }
            [m, d, y] => {
                let (m, d) = (number(m)?, number(d)?);
                if !(1..=12).contains(&m) || !(1..=31).contains(&d) {
                    return Err(self.order_range());
                }
                (fields.year, fields.year_digits) = (Some(number(y)?), y.len());
                fields.month = Some(m as u32);
                fields.day = Some(d as u32);
            }
            _ => return Err(self.syntax()),
        }
        Ok(())
    }

    fn word(&self, rest: &str, fields: &mut Fields) -> Result<usize> {
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let word = rest[..letters].to_ascii_lowercase();
        let next = rest.as_bytes().get(letters).copied();
        if let Some(month) = month_of(&word) {
            // `Jan-08-1999`: PostgreSQL reads the whole as one date.
            let mut used = letters;
            if next == Some(b'-') || next == Some(b'/') || next == Some(b'.') {
                used += 1;
                let sep = next.map(char::from).unwrap_or('-');
                let tail: &str = &rest[used..];
                let len = tail.bytes().take_while(|b| b.is_ascii_digit() || *b == sep as u8).count();
                if let Some((d, y)) = tail[..len].split_once(sep) {
                    self.plain_month(month, fields)?;
                    fields.day = Some(d.parse().map_err(|_| self.syntax())?);
                    (fields.year, fields.year_digits) =
                        (Some(y.parse().map_err(|_| self.syntax())?), y.len());
                    return Ok(used + len);
                }
            }
            self.plain_month(month, fields)?;
            return Ok(used);
        }
        if word.len() >= 3
            && DAYS.iter().any(|d| d.starts_with(word.as_str()))
            && next.is_none_or(|b| !b.is_ascii_alphanumeric())
        {
            return Ok(letters + usize::from(next == Some(b'.')));
        }
        match word.as_str() {
            "t" if matches!(next, Some(b'0'..=b'9')) => return Ok(letters),
            "j" if matches!(next, Some(b'0'..=b'9')) => {
                let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                let julian: i64 = rest[1..1 + digits].parse().map_err(|_| self.value_range())?;
                let (y, m, d) = civil(julian + i64::from(MIN_DATE));
                (fields.year, fields.month, fields.day, fields.year_digits) = (Some(y), Some(m), Some(d), 4);
                return Ok(1 + digits);
            }
            "at" | "on" => return Ok(letters),
            "am" => fields.pm = Some(false),
            "pm" => fields.pm = Some(true),
            "ad" => {}
            "bc" => fields.bc = true,
            "infinity" => fields.special = Some(Special::Infinity),
            "epoch" => fields.special = Some(Special::Epoch),
            "now" => fields.special = Some(Special::Now),
            "today" => fields.special = Some(Special::Day(0)),
            "tomorrow" => fields.special = Some(Special::Day(1)),
            "yesterday" => fields.special = Some(Special::Day(-1)),
            "allballs" => {
                fields.time = Some(0);
                fields.zone = Some(Zone::Offset(0));
            }
            _ => return self.zone_name(rest, fields),
        }
        if next.is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.syntax());
        }
        Ok(letters)
    }

    fn plain_month(&self, month: u32, fields: &mut Fields) -> Result<()> {
        // `8 Jan`: a number seen before was the day.
        if fields.month.replace(month).is_some() { Err(self.syntax()) } else { Ok(()) }
    }

    fn zone_name(&self, rest: &str, fields: &mut Fields) -> Result<usize> {
        let len = rest
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'))
            .count();
        let name = &rest[..len];
        let zone = match abbreviation(name) {
            Some(seconds) => Zone::Offset(seconds),
            None => match TimeZone::parse(name) {
                Ok(zone) => Zone::Named(zone),
                Err(mut unknown) if name.contains('/') => {
                    unknown.message = format!("time zone \"{}\" not recognized", name.to_lowercase());
                    return Err(unknown);
                }
                Err(_) => return Err(self.syntax()),
            },
        };
        if fields.zone.replace(zone).is_some() {
            return Err(self.syntax());
        }
        Ok(len)
    }

    fn signed(&self, rest: &str, fields: &mut Fields) -> Result<usize> {
        let tail = rest[1..].to_ascii_lowercase();
        if tail.starts_with("infinity") {
            fields.special =
                Some(if rest.starts_with('-') { Special::NegInfinity } else { Special::Infinity });
            return Ok(1 + "infinity".len());
        }
        let len = 1 + rest[1..].bytes().take_while(|b| b.is_ascii_digit() || *b == b':').count();
        if fields.time.is_none() && fields.year.is_none() && fields.special.is_none() {
            return Err(self.syntax());
        }
        let Some(seconds) = parse_offset(&rest[..len]) else {
            return if len > 1 && rest[1..len].bytes().all(|b| b.is_ascii_digit() || b == b':') {
                Err(SqlError::new(
                    SqlState::INVALID_TIME_ZONE_DISPLACEMENT,
                    format!("time zone displacement out of range: \"{}\"", self.text),
                ))
            } else {
                Err(self.syntax())
            };
        };
        if fields.zone.replace(Zone::Offset(seconds)).is_some() {
            return Err(self.syntax());
        }
        Ok(len)
    }

    /// Day since 1970 of the fields.
    fn day(&self, fields: &Fields) -> Result<i64> {
        let (Some(mut year), Some(month), Some(day)) = (fields.year, fields.month, fields.day) else {
            return Err(self.syntax());
        };
        if fields.bc {
            if year <= 0 {
                return Err(self.field_range());
            }
            year = 1 - year;
        } else if fields.year_digits <= 2 {
            year += if year < 70 { 2000 } else { 1900 };
        } else if year == 0 && fields.day_number.is_none() {
            return Err(self.field_range());
        }
        if !(1..=12).contains(&month) {
            return Err(self.order_range());
        }
        if !(1..=31).contains(&day) {
            return Err(self.order_range());
        }
        if day > days_in_month(year, month) {
            return Err(self.field_range());
        }
        if year.abs() > 6_000_000 {
            return Err(self.value_range());
        }
        Ok(days(year, month, day))
    }

    fn time(&self, fields: &Fields) -> Result<i64> {
        let micros = fields.time.unwrap_or(0);
        let Some(pm) = fields.pm else { return Ok(micros) };
        let hour = micros / MICROS_PER_HOUR;
        if fields.time.is_none() {
            return Err(self.syntax());
        }
        if hour > 12 {
            return Err(self.field_range());
        }
        Ok(match (pm, hour) {
            (true, 12) | (false, 0..=11) => micros,
            (true, _) => micros + 12 * MICROS_PER_HOUR,
            (false, _) => micros - 12 * MICROS_PER_HOUR,
        })
    }

    fn now(&self, context: &InputContext) -> Result<i64> {
        context.now.ok_or_else(|| SqlError::unsupported(format!("\"{}\" in this place", self.text.trim())))
    }

    fn local_now(&self, context: &InputContext) -> Result<i64> {
        let now = self.now(context)?;
        Ok(now + i64::from(context.zone.offset_at(now)) * MICROS_PER_SEC)
    }
}

fn month_of(word: &str) -> Option<u32> {
    let word = word.to_ascii_lowercase();
    if word == "sept" {
        return Some(9);
    }
    let at = MONTHS.iter().position(|m| *m == word || (word.len() == 3 && m.starts_with(word.as_str())))?;
    Some(at as u32 + 1)
}

/// The common abbreviations of PostgreSQL's default set, in seconds east.
fn abbreviation(name: &str) -> Option<i32> {
    let hours = |h: f64| Some((h * 3600.0) as i32);
    match name.to_ascii_uppercase().as_str() {
        "Z" | "UTC" | "GMT" | "UCT" | "WET" | "ZULU" => Some(0),
        "CET" | "BST" | "MEZ" => hours(1.0),
        "CEST" | "EET" | "MESZ" => hours(2.0),
        "EEST" | "MSK" => hours(3.0),
        "JST" | "KST" => hours(9.0),
        "AEST" => hours(10.0),
        "EST" => hours(-5.0),
        "EDT" => hours(-4.0),
        "CST" => hours(-6.0),
        "CDT" => hours(-5.0),
        "MST" => hours(-7.0),
        "MDT" => hours(-6.0),
        "PST" => hours(-8.0),
        "PDT" => hours(-7.0),
        _ => None,
    }
}

/// Up to six digits exactly, the rest rounded.
pub fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    // PostgreSQL goes through a double here too.
    Some((format!("0.{digits}").parse::<f64>().ok()? * 1e6).round_ties_even() as i64)
}

/// A date: days since 1970.
pub fn parse_date(text: &str, context: &InputContext) -> Result<i32> {
    let parser = Parser { text, ty: PgType::Date };
    let fields = parser.parse()?;
    match fields.special {
        Some(Special::Infinity) => return Ok(i32::MAX),
        Some(Special::NegInfinity) => return Ok(i32::MIN),
        Some(Special::Epoch) => return Ok(0),
        Some(Special::Now) => return Ok(split(parser.local_now(context)?).0 as i32),
        Some(Special::Day(n)) => return Ok((split(parser.local_now(context)?).0 + n) as i32),
        None => {}
    }
    parser.time(&fields)?;
    check_date(parser.day(&fields)?).map_err(|_| parser.value_range())
}

/// A time of day in microseconds; a date before it and a zone are ignored, as in PostgreSQL.
pub fn parse_time(text: &str, context: &InputContext) -> Result<i64> {
    let parser = Parser { text, ty: PgType::Time };
    let fields = parser.parse()?;
    match fields.special {
        Some(Special::Now) => return Ok(split(parser.local_now(context)?).1),
        Some(_) => return Err(parser.syntax()),
        None => {}
    }
    if fields.time.is_none() {
        return Err(parser.syntax());
    }
    parser.time(&fields)
}

/// A timestamp without zone: microseconds since 1970. A zone in the text is ignored, as in PostgreSQL.
pub fn parse_timestamp(text: &str, context: &InputContext) -> Result<i64> {
    timestamp(&Parser { text, ty: PgType::Timestamp }, context)
}

/// A timestamp with zone: microseconds since 1970 UTC; without a zone in the text it is the session's.
pub fn parse_timestamptz(text: &str, context: &InputContext) -> Result<i64> {
    timestamp(&Parser { text, ty: PgType::Timestamptz }, context)
}

fn timestamp(parser: &Parser<'_>, context: &InputContext) -> Result<i64> {
    let fields = parser.parse()?;
    let with_zone = parser.ty == PgType::Timestamptz;
    let local = match fields.special {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::NegInfinity) => return Ok(i64::MIN),
        Some(Special::Epoch) => return Ok(0),
        Some(Special::Now) if with_zone => return parser.now(context),
        Some(Special::Now) => return parser.local_now(context),
        Some(Special::Day(n)) => {
            (split(parser.local_now(context)?).0 + n) * MICROS_PER_DAY + parser.time(&fields)?
        }
        None => {
            let day = parser.day(&fields)?;
            let micros = i128::from(day) * i128::from(MICROS_PER_DAY) + i128::from(parser.time(&fields)?);
            check_timestamp(micros).map_err(|_| parser.value_range())?
        }
    };
    if !with_zone {
        return Ok(local);
    }
    let offset = match fields.zone {
        Some(Zone::Offset(seconds)) => seconds,
        Some(Zone::Named(zone)) => zone.offset_of_local(local),
        None => context.zone.offset_of_local(local),
    };
    check_timestamp(i128::from(local) - i128::from(offset) * i128::from(MICROS_PER_SEC))
        .map_err(|_| parser.value_range())
}
