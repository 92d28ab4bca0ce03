//! `json`: text that was checked, and how values of other types look in it.

use super::datetime::{self, calendar::MICROS_PER_SEC};
use super::{Category, Datum, PgType, TimeZone};
use crate::{Result, SqlError, SqlState};
use std::fmt::Write;

/// 22P02 unless it is JSON. The text stays as it was written.
pub(super) fn checked(text: &str) -> Result<String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let read: serde_json::Result<serde::de::IgnoredAny> = serde::Deserialize::deserialize(&mut reader);
    match read.and_then(|_| reader.end()) {
        Ok(()) => Ok(text.to_string()),
        Err(error) if error.to_string().starts_with("recursion limit") => {
            Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"))
        }
        Err(error) => {
            Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
                .detail(format!("{error}.")))
        }
    }
}

/// Appends a value as `to_json` gives it.
pub(crate) fn write(value: &Datum, ty: PgType, zone: &TimeZone, out: &mut String) {
    match value {
        Datum::Null => out.push_str("null"),
        Datum::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
        Datum::Text(text) if ty == PgType::Json => out.push_str(text),
        Datum::Array(items) => {
            let element = ty.element().unwrap_or(PgType::Text);
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, element, zone, out);
            }
            out.push(']');
        }
        Datum::Timestamp(micros) => write_string(&iso(*micros, None), out),
        Datum::Timestamptz(micros) => write_string(&iso(*micros, Some(zone)), out),
        other => {
            let text = other.to_text(ty, zone);
            // NaN and the infinities are no numbers there.
            let number = ty.category() == Category::Numeric && text.ends_with(|c: char| c.is_ascii_digit());
            if number && is_plain_number(ty) { out.push_str(&text) } else { write_string(&text, out) }
        }
    }
}

/// Numbers of objects are shown by the objects' names.
fn is_plain_number(ty: PgType) -> bool {
    !matches!(ty, PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc)
}

/// As ISO 8601 writes it.
fn iso(micros: i64, zone: Option<&TimeZone>) -> String {
    let mut out = String::new();
    let Some(zone) = zone.filter(|_| !matches!(micros, i64::MIN | i64::MAX)) else {
        datetime::write_timestamp(micros, None, &mut out);
        return out.replacen(' ', "T", 1);
    };
    let offset = zone.offset_at(micros);
    datetime::write_timestamp(micros.saturating_add(i64::from(offset) * MICROS_PER_SEC), None, &mut out);
    let (time, era) = out.split_once(" BC").map_or((out.as_str(), ""), |(time, _)| (time, " BC"));
    let mut shown = time.replacen(' ', "T", 1);
    datetime::write_offset(offset, &mut shown);
    if offset % 3600 == 0 {
        shown.push_str(":00");
    }
    shown + era
}

/// In quotes, with what must be escaped.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
