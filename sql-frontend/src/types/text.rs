//! Text input and output of every type.

use super::datetime::{
    self, InputContext, parse_date, parse_interval, parse_time, parse_timestamp, parse_timestamptz,
};
use super::{Datum, Interval, Numeric, PgType, TimeZone, array, float, length};
use crate::{Result, SqlError, SqlState};
use std::fmt::Write;

/// Bytes of a name, less the closing zero.
pub(crate) const NAME_LEN: usize = 63;

pub(super) fn input(ty: PgType, text: &str, typmod: i32, context: &InputContext) -> Result<Datum> {
    let value = match ty {
        PgType::Bool => Datum::Bool(parse_bool(text)?),
        PgType::Int2 => Datum::Int2(parse_int(text, ty)?),
        PgType::Int4 => Datum::Int4(parse_int(text, ty)?),
        PgType::Int8 => Datum::Int8(parse_int(text, ty)?),
        PgType::Float4 => Datum::Float4(float::parse_f32(text)?),
        PgType::Float8 => Datum::Float8(float::parse_f64(text)?),
        PgType::Numeric => Datum::Numeric(text.parse::<Numeric>()?),
        PgType::Text | PgType::Varchar | PgType::Bpchar | PgType::Unknown => Datum::Text(checked(text)?),
        PgType::Name => Datum::Text(truncate_name(&checked(text)?).to_string()),
        PgType::Char => Datum::Text(checked(text)?.chars().next().map(String::from).unwrap_or_default()),
        PgType::Json => Datum::Text(super::json::checked(text)?),
        PgType::Bytea => Datum::Bytea(parse_bytea(text)?),
        PgType::Uuid => Datum::Uuid(parse_uuid(text)?),
        PgType::Date => Datum::Date(parse_date(text, context)?),
        PgType::Time => Datum::Time(parse_time(text, context)?),
        PgType::Timestamp => Datum::Timestamp(parse_timestamp(text, context)?),
        PgType::Timestamptz => Datum::Timestamptz(parse_timestamptz(text, context)?),
        PgType::Interval => Datum::Interval(parse_interval(text)?),
        PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => {
            let element = ty.element().unwrap_or(PgType::Text);
            Datum::Array(array::parse(element, text, ty.is_vector(), context)?)
        }
        PgType::Oid => Datum::Oid(parse_oid(text, ty)?),
        PgType::Regclass | PgType::Regtype | PgType::Regproc => {
            if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
                Datum::Oid(parse_oid(text, PgType::Oid)?)
            } else if text == "-" {
                Datum::Oid(0)
            } else if ty == PgType::Regtype {
                let name = text.trim().strip_prefix("pg_catalog.").unwrap_or(text.trim());
                let found = PgType::from_name(name).ok_or_else(|| {
                    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist"))
                })?;
                Datum::Oid(found.oid())
            } else {
                return Err(SqlError::unsupported(format!("a name as {ty} in this place")));
            }
        }
        PgType::Void => Datum::Text(String::new()),
    };
    length::coerce(value, ty, typmod, false)
}

pub(super) fn output(value: &Datum, ty: PgType, zone: &TimeZone, out: &mut String) {
    match value {
        Datum::Null => {}
        Datum::Bool(v) => out.push(if *v { 't' } else { 'f' }),
        Datum::Int2(v) => drop(write!(out, "{v}")),
        Datum::Int4(v) => drop(write!(out, "{v}")),
        Datum::Int8(v) => drop(write!(out, "{v}")),
        Datum::Float4(v) => float::write_f32(*v, out),
        Datum::Float8(v) => float::write_f64(*v, out),
        Datum::Numeric(v) => drop(write!(out, "{v}")),
        Datum::Text(v) => out.push_str(v),
        Datum::Bytea(v) => write_bytea(v, out),
        Datum::Uuid(v) => write_uuid(v, out),
        Datum::Date(v) => datetime::write_date(*v, out),
        Datum::Time(v) => datetime::write_time(*v, out),
        Datum::Timestamp(v) => datetime::write_timestamp(*v, None, out),
        Datum::Timestamptz(v) => datetime::write_timestamp(*v, Some(zone), out),
        Datum::Interval(v) => datetime::write_interval(v, out),
        Datum::Oid(v) => write_oid(*v, ty, out),
        Datum::Array(items) => array::write_text(items, ty, zone, out),
    }
}

/// Object names need the catalog: those types show the number, except regtype, whose names are known here.
pub(super) fn write_oid(oid: u32, ty: PgType, out: &mut String) {
    match (ty, PgType::from_oid(oid)) {
        (PgType::Regtype, Some(named)) => out.push_str(named.sql_name()),
        (PgType::Regclass | PgType::Regtype | PgType::Regproc, _) if oid == 0 => out.push('-'),
        _ => drop(write!(out, "{oid}")),
    }
}

/// PostgreSQL has no zero byte in text.
fn checked(text: &str) -> Result<String> {
    if text.contains('\0') {
        return Err(SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text.to_string())
}

/// Cut to 63 bytes at a character's border.
pub(crate) fn truncate_name(text: &str) -> &str {
    if text.len() <= NAME_LEN {
        return text;
    }
    let end = (0..=NAME_LEN).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

fn parse_bool(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    let is = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if is("true", 1) || is("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if is("false", 1) || is("no", 1) || is("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(SqlError::invalid_text("boolean", text))
    }
}

fn parse_int<T: TryFrom<i64>>(text: &str, ty: PgType) -> Result<T> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SqlError::invalid_text(ty.sql_name(), text));
    }
    let value = trimmed.parse::<i64>().ok().and_then(|v| T::try_from(v).ok());
    value.ok_or_else(|| {
        SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {}", ty.sql_name()),
        )
    })
}

fn parse_oid(text: &str, ty: PgType) -> Result<u32> {
    let value: i64 = parse_int(text, ty)?;
    // PostgreSQL lets a negative int4 pass as its unsigned reading.
    u32::try_from(value).or_else(|_| i32::try_from(value).map(|v| v as u32)).map_err(|_| {
        SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type oid"),
        )
    })
}

fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let bad = || SqlError::invalid_text("uuid", text);
    let body = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(bad)?,
        None => text,
    };
    let mut out = [0u8; 16];
    let mut digits = 0;
    let mut after_dash = true;
    for c in body.chars() {
        if c == '-' {
            if after_dash || digits % 4 != 0 || digits == 32 {
                return Err(bad());
            }
            after_dash = true;
            continue;
        }
        let value = c.to_digit(16).ok_or_else(bad)? as u8;
        if digits == 32 {
            return Err(bad());
        }
        out[digits / 2] |= value << (4 * (1 - digits % 2));
        digits += 1;
        after_dash = false;
    }
    if digits == 32 && !after_dash { Ok(out) } else { Err(bad()) }
}

pub(crate) fn write_uuid(value: &[u8], out: &mut String) {
    for (i, byte) in value.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
}

fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    let bad = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    if let Some(hex) = text.strip_prefix("\\x") {
        let mut out = Vec::with_capacity(hex.len() / 2);
        let mut chars = hex.chars();
        while let Some(c) = chars.next() {
            if matches!(c, ' ' | '\n' | '\t' | '\r') {
                continue;
            }
            let digit =
                |c: char| c.to_digit(16).ok_or_else(|| bad(format!("invalid hexadecimal digit: \"{c}\"")));
            let high = digit(c)?;
            let low =
                chars.next().ok_or_else(|| bad("invalid hexadecimal data: odd number of digits".into()))?;
            out.push((high << 4 | digit(low)?) as u8);
        }
        return Ok(out);
    }
    let syntax =
        || SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            let octal = bytes.get(at + 1..at + 4).ok_or_else(syntax)?;
            if !(b'0'..=b'3').contains(&octal[0]) || !octal.iter().all(|b| (b'0'..=b'7').contains(b)) {
                return Err(syntax());
            }
            out.push(octal.iter().fold(0, |n, b| n << 3 | (b - b'0')));
            at += 4;
        }
    }
    Ok(out)
}

pub(crate) fn write_bytea(value: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + value.len() * 2);
    out.push_str("\\x");
    for byte in value {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

/// The interval in Arrow's units.
pub(super) fn interval_of(months: i32, days: i32, nanos: i64) -> Interval {
    Interval { months, days, micros: nanos / 1000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ty: PgType, text: &str) -> String {
        let zone = TimeZone::UTC;
        Datum::from_text(ty, text, -1, &zone).unwrap().to_text(ty, &zone)
    }

    fn state(ty: PgType, text: &str) -> &'static str {
        Datum::from_text(ty, text, -1, &TimeZone::UTC).unwrap_err().sqlstate.0
    }

    #[test]
    fn text_forms_round_trip() {
        assert_eq!(round(PgType::Bool, " YES"), "t");
        assert_eq!(round(PgType::Int4, " -12 "), "-12");
        assert_eq!(
            round(PgType::Uuid, "{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}"),
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
        );
        assert_eq!(round(PgType::Bytea, "a\\000\\\\"), "\\x61005c");
        assert_eq!(round(PgType::Bytea, "\\xDEad"), "\\xdead");
        assert_eq!(round(PgType::Date, "Jan 8, 1999"), "1999-01-08");
        assert_eq!(round(PgType::Date, "19990108"), "1999-01-08");
        assert_eq!(round(PgType::Date, "0044-03-15 BC"), "0044-03-15 BC");
        assert_eq!(round(PgType::Timestamptz, "2024-02-29 12:00:00.5+02"), "2024-02-29 10:00:00.5+00");
        assert_eq!(round(PgType::Timestamp, "2024-02-29T12:00:00Z"), "2024-02-29 12:00:00");
        assert_eq!(round(PgType::Timestamp, "infinity"), "infinity");
        assert_eq!(round(PgType::Interval, "1 day 02:03:04"), "1 day 02:03:04");
        assert_eq!(round(PgType::Interval, "1.5 months ago"), "-1 mons -15 days");
        assert_eq!(round(PgType::Interval, "P1Y2M3DT4H5M6.7S"), "1 year 2 mons 3 days 04:05:06.7");
        assert_eq!(round(PgType::Time, "04:05 PM"), "16:05:00");
    }

    #[test]
    fn bad_input_has_postgresqls_codes() {
        assert_eq!(state(PgType::Int4, "12x"), "22P02");
        assert_eq!(state(PgType::Int2, "40000"), "22003");
        assert_eq!(state(PgType::Date, "2023-02-30"), "22008");
        assert_eq!(state(PgType::Date, "hello"), "22007");
        assert_eq!(state(PgType::Date, ""), "22007");
        assert_eq!(state(PgType::Bytea, "\\x0"), "22023");
        assert_eq!(state(PgType::Bytea, "\\9"), "22P02");
        assert_eq!(state(PgType::Text, "a\0b"), "22021");
        assert_eq!(state(PgType::Bool, "o"), "22P02");
        assert_eq!(state(PgType::Uuid, "123"), "22P02");
        assert_eq!(state(PgType::Interval, "soon"), "22007");
    }
}
