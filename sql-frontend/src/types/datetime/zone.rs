//! Time zones: UTC, fixed offsets, and the IANA names.

use crate::{Result, SqlError, SqlState};
use chrono::{Offset, TimeZone as _};
use chrono_tz::{OffsetComponents, OffsetName};
use std::fmt;
use std::str::FromStr;

/// A session's or an expression's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeZone {
    /// Seconds east of Greenwich.
    Fixed(i32),
    Iana(chrono_tz::Tz),
}

/// A zone of the IANA database at an instant.
pub struct NamedZone {
    pub name: &'static str,
    pub abbreviation: String,
    /// Seconds east of Greenwich.
    pub offset: i32,
    /// Whether it is daylight-saving time there.
    pub summer: bool,
}

/// All named zones as they are at an instant (microseconds since 1970 UTC).
pub fn zones_at(micros: i64) -> impl Iterator<Item = NamedZone> {
    let at = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
    chrono_tz::TZ_VARIANTS.iter().map(move |zone| {
        let offset = zone.offset_from_utc_datetime(&at);
        NamedZone {
            name: zone.name(),
            abbreviation: offset.abbreviation().unwrap_or_default().to_string(),
            offset: offset.fix().local_minus_utc(),
            summer: !offset.dst_offset().is_zero(),
        }
    })
}

const MICROS: i64 = 1_000_000;

impl TimeZone {
    pub const UTC: TimeZone = TimeZone::Iana(chrono_tz::Tz::UTC);

    /// A name as `AT TIME ZONE` takes it: an IANA name in any case, or an offset as POSIX has it, *west* of Greenwich when
    /// positive, with or without a name before it (`+03:00`, `UTC+3`, `<+03>-03`). `SET TimeZone` reads bare numbers otherwise.
    pub fn parse(name: &str) -> Result<TimeZone> {
        let unknown = || {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
        };
        let trimmed = name.trim();
        if trimmed.eq_ignore_ascii_case("utc") || trimmed.eq_ignore_ascii_case("z") {
            return Ok(TimeZone::UTC);
        }
        if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|z| z.name().eq_ignore_ascii_case(trimmed)) {
            return Ok(TimeZone::Iana(*zone));
        }
        parse_offset(trimmed)
            .or_else(|| parse_offset(after_name(trimmed)?))
            .map(|west| TimeZone::Fixed(-west))
            .ok_or_else(unknown)
    }

    /// Seconds east of Greenwich at an instant (microseconds since 1970 UTC).
    pub fn offset_at(&self, utc_micros: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => *seconds,
            TimeZone::Iana(chrono_tz::Tz::UTC) => 0,
            TimeZone::Iana(zone) => {
                match chrono::DateTime::from_timestamp(utc_micros.div_euclid(MICROS), 0) {
                    Some(at) => zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc(),
                    None => 0,
                }
            }
        }
    }

    /// Seconds east of Greenwich for a local time. In a gap or an overlap PostgreSQL takes the offset before the change.
    pub fn offset_of_local(&self, local_micros: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => *seconds,
            TimeZone::Iana(chrono_tz::Tz::UTC) => 0,
            TimeZone::Iana(_) => {
                // The offsets a day before and after bracket any single change.
                let before = self.offset_at(local_micros.saturating_sub(86_400 * MICROS));
                let after = self.offset_at(local_micros.saturating_add(86_400 * MICROS));
                if before == after {
                    return before;
                }
                let fits = |offset: i32| {
                    self.offset_at(local_micros.saturating_sub(i64::from(offset) * MICROS)) == offset
                };
                match (fits(before), fits(after)) {
                    // Both (an overlap): PostgreSQL takes standard time, the later reading.
                    (true, true) => after,
                    (true, false) => before,
                    (false, true) => after,
                    // A gap.
                    (false, false) => before,
                }
            }
        }
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeZone::Iana(zone) => f.write_str(zone.name()),
            TimeZone::Fixed(seconds) => {
                let (sign, s) = if *seconds < 0 { ('-', -seconds) } else { ('+', *seconds) };
                write!(f, "<{sign}{:02}", s / 3600)?;
                if s % 3600 != 0 {
                    write!(f, ":{:02}", s / 60 % 60)?;
                }
                // POSIX counts westward behind the name.
                let back = if sign == '-' { '+' } else { '-' };
                write!(f, ">{back}{:02}", s / 3600)?;
                if s % 3600 != 0 {
                    write!(f, ":{:02}", s / 60 % 60)?;
                }
                Ok(())
            }
        }
    }
}

/// What follows the name of a POSIX zone: three letters or more, or anything in angle brackets.
fn after_name(zone: &str) -> Option<&str> {
    if let Some(quoted) = zone.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, offset)| offset);
    }
    let letters = zone.find(|c: char| !c.is_ascii_alphabetic())?;
    (letters >= 3).then(|| &zone[letters..])
}

/// `[+-]hh[[:]mm[[:]ss]]` as seconds.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        b'0'..=b'9' => (1, text),
        _ => return None,
    };
    let mut parts = [0i32; 3];
    if rest.contains(':') {
        for (n, piece) in rest.split(':').enumerate() {
            if n == 3 || piece.is_empty() || piece.len() > 2 || !piece.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            parts[n] = i32::from_str(piece).ok()?;
        }
    } else {
        if !rest.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        #[expect(clippy::single_range_in_vec_init, reason = "one part is meant")]
        let cuts: &[std::ops::Range<usize>] = match rest.len() {
            1 => &[0..1],
            2 => &[0..2],
            3 => &[0..1, 1..3],
            4 => &[0..2, 2..4],
            6 => &[0..2, 2..4, 4..6],
            _ => return None,
        };
        for (part, cut) in parts.iter_mut().zip(cuts) {
            *part = i32::from_str(&rest[cut.clone()]).ok()?;
        }
    }
    if parts[0] > 15 || parts[1] > 59 || parts[2] > 59 {
        return None;
    }
    Some(sign * (parts[0] * 3600 + parts[1] * 60 + parts[2]))
}
