//! Arrays of one dimension, counted from 1: their text, wire and Arrow forms.
//!
//! In Arrow an array is Binary: the number of elements, then each as a length and its binary form (−1 for null).

use super::datetime::InputContext;
use super::{Datum, Numeric, PgType, TimeZone};
use crate::{Result, SqlError, SqlState};

const NULL: i32 = -1;

/// More elements than any message or row can hold.
const MAX_ELEMENTS: usize = 1 << 27;

fn malformed(text: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
        .detail(detail)
}

fn multidimensional() -> SqlError {
    SqlError::unsupported("an array of more than one dimension")
}

/// `array_in`, or the input of a vector of the catalogs.
pub(super) fn parse(element: PgType, text: &str, vector: bool, context: &InputContext) -> Result<Vec<Datum>> {
    if vector {
        return text.split_ascii_whitespace().map(|item| Datum::input(element, item, -1, context)).collect();
    }
    let mut reader = Reader { text, rest: text.trim() };
    let mut items = Vec::new();
    if reader.rest.starts_with('[') {
        return Err(SqlError::unsupported("an array with bounds of its own"));
    }
    if !reader.take('{') {
        return Err(malformed(text, "Array value must start with \"{\" or dimension information."));
    }
    reader.blanks();
    if !reader.take('}') {
        loop {
            items.push(match reader.item()? {
                Some(item) => Datum::input(element, &item, -1, context)?,
                None => Datum::Null,
            });
            reader.blanks();
            if reader.take('}') {
                break;
            }
            if !reader.take(',') {
                return Err(malformed(text, "Unexpected array element."));
            }
        }
    }
    if !reader.rest.is_empty() {
        return Err(malformed(text, "Junk after closing right brace."));
    }
    Ok(items)
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The text of an element; `None` for an unquoted NULL.
    fn item(&mut self) -> Result<Option<String>> {
        self.blanks();
        if self.rest.starts_with('{') {
            return Err(multidimensional());
        }
        if self.take('"') {
            return self.quoted().map(Some);
        }
        let mut out = String::new();
        // Blanks at the end are not part of it, unless escaped.
        let mut kept = 0;
        let mut chars = self.rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, ',' | '}')) => break at,
                Some((_, '"' | '{')) => return Err(malformed(self.text, "Unexpected array element.")),
                Some((_, '\\')) => {
                    let (_, c) = chars.next().ok_or_else(|| self.unfinished())?;
                    out.push(c);
                    kept = out.len();
                }
                Some((_, c)) => {
                    out.push(c);
                    if !c.is_ascii_whitespace() {
                        kept = out.len();
                    }
                }
                None => return Err(self.unfinished()),
            }
        };
        let raw = self.rest[..end].trim();
        self.rest = &self.rest[end..];
        if raw.is_empty() {
            let next = self.rest.chars().next().unwrap_or('}');
            return Err(malformed(self.text, &format!("Unexpected \"{next}\" character.")));
        }
        out.truncate(kept);
        Ok((!raw.eq_ignore_ascii_case("null")).then_some(out))
    }

    fn quoted(&mut self) -> Result<String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        loop {
            match chars.next() {
                Some((at, '"')) => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(out);
                }
                Some((_, '\\')) => out.push(chars.next().ok_or_else(|| self.unfinished())?.1),
                Some((_, c)) => out.push(c),
                None => return Err(self.unfinished()),
            }
        }
    }

    fn unfinished(&self) -> SqlError {
        malformed(self.text, "Unexpected end of input.")
    }
}

/// `array_out`; a vector's elements stand between blanks.
pub(super) fn write_text(items: &[Datum], ty: PgType, zone: &TimeZone, out: &mut String) {
    let element = ty.element().unwrap_or(PgType::Text);
    let vector = ty.is_vector();
    if !vector {
        out.push('{');
    }
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(if vector { ' ' } else { ',' });
        }
        if item.is_null() {
            out.push_str("NULL");
            continue;
        }
        let start = out.len();
        item.write_text(element, zone, out);
        if !vector && needs_quotes(&out[start..]) {
            let plain = out.split_off(start);
            out.push('"');
            for c in plain.chars() {
                if matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
        }
    }
    if !vector {
        out.push('}');
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text
            .bytes()
            .any(|b| b.is_ascii_whitespace() || b == 0x0b || matches!(b, b'{' | b'}' | b',' | b'"' | b'\\'))
}

fn put_items(items: &[Datum], element: PgType, out: &mut Vec<u8>) {
    for item in items {
        if item.is_null() {
            out.extend_from_slice(&NULL.to_be_bytes());
            continue;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        item.write_binary(element, out);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn take_word(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

fn take_items(mut bytes: &[u8], count: usize, element: PgType) -> Result<Vec<Datum>> {
    let bad = || SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "insufficient data left in message");
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let length = take_word(&mut bytes).ok_or_else(bad)?;
        if length == NULL {
            items.push(Datum::Null);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| bad())?;
        let (body, rest) = bytes.split_at_checked(length).ok_or_else(bad)?;
        bytes = rest;
        items.push(Datum::from_binary(element, body, -1)?);
    }
    if !bytes.is_empty() {
        return Err(SqlError::new(
            SqlState::INVALID_BINARY_REPRESENTATION,
            "incorrect binary data format in array",
        ));
    }
    Ok(items)
}

/// `array_send`: dimensions, whether there are nulls, the element's type, length and lower bound, the elements.
pub(super) fn send(items: &[Datum], ty: PgType, out: &mut Vec<u8>) {
    let element = ty.element().unwrap_or(PgType::Text);
    let mut word = |w: u32| out.extend_from_slice(&w.to_be_bytes());
    let dimensions = u32::from(ty.is_vector() || !items.is_empty());
    word(dimensions);
    word(u32::from(items.iter().any(Datum::is_null)));
    word(element.oid());
    if dimensions == 1 {
        word(items.len() as u32);
        word(u32::from(!ty.is_vector()));
        put_items(items, element, out);
    }
}

/// `array_recv`.
pub(super) fn receive(ty: PgType, mut bytes: &[u8]) -> Result<Vec<Datum>> {
    let element = ty.element().unwrap_or(PgType::Text);
    let bad = |what: String| SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, what);
    let short = || bad("insufficient data left in message".into());
    let dimensions = take_word(&mut bytes).ok_or_else(short)?;
    let flags = take_word(&mut bytes).ok_or_else(short)?;
    let oid = take_word(&mut bytes).ok_or_else(short)? as u32;
    if !(0..=1).contains(&flags) {
        return Err(bad("invalid array flags".into()));
    }
    if oid != element.oid() {
        return Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("binary data has array element type {oid} instead of expected {}", element.oid()),
        ));
    }
    match dimensions {
        0 if bytes.is_empty() => Ok(Vec::new()),
        1 => {
            let count = take_word(&mut bytes).ok_or_else(short)?;
            let lower = take_word(&mut bytes).ok_or_else(short)?;
            let count = usize::try_from(count).map_err(|_| short())?;
            if count > MAX_ELEMENTS {
                return Err(SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    "array size exceeds the maximum allowed",
                ));
            }
            if lower != i32::from(!ty.is_vector()) && count > 0 {
                return Err(SqlError::unsupported("an array with bounds of its own"));
            }
            take_items(bytes, count, element)
        }
        2..=6 => Err(multidimensional()),
        _ => Err(bad(format!("invalid number of dimensions: {dimensions}"))),
    }
}

/// The form in Arrow and in rows. Numerics keep their own encoding: the wire's ends at 32767 digits.
pub(crate) fn encode(items: &[Datum]) -> Vec<u8> {
    let mut out = (items.len() as u32).to_be_bytes().to_vec();
    for item in items {
        let body = match item {
            Datum::Null => {
                out.extend_from_slice(&NULL.to_be_bytes());
                continue;
            }
            Datum::Numeric(n) => n.encode(),
            Datum::Array(_) => Vec::new(),
            other => {
                let mut body = Vec::new();
                other.write_binary(shape(other), &mut body);
                body
            }
        };
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(&body);
    }
    out
}

pub(crate) fn decode(ty: PgType, mut bytes: &[u8]) -> Result<Vec<Datum>> {
    let element = ty.element().unwrap_or(PgType::Text);
    let bad = || SqlError::internal("malformed array");
    let count = take_word(&mut bytes).ok_or_else(bad)?;
    let mut items = Vec::with_capacity((count as usize).min(bytes.len() / 4));
    for _ in 0..count {
        let length = take_word(&mut bytes).ok_or_else(bad)?;
        if length == NULL {
            items.push(Datum::Null);
            continue;
        }
        let (body, rest) = bytes.split_at_checked(length as usize).ok_or_else(bad)?;
        bytes = rest;
        items.push(match element {
            PgType::Numeric => Datum::Numeric(Numeric::decode(body)?),
            // The wire has its own form of "char".
            PgType::Char => Datum::Text(String::from_utf8(body.to_vec()).map_err(|_| bad())?),
            element => Datum::from_binary(element, body, -1)?,
        });
    }
    Ok(items)
}

/// A type whose binary form a value of this shape has.
pub(crate) fn shape(value: &Datum) -> PgType {
    match value {
        Datum::Bool(_) => PgType::Bool,
        Datum::Int2(_) => PgType::Int2,
        Datum::Int4(_) => PgType::Int4,
        Datum::Int8(_) => PgType::Int8,
        Datum::Float4(_) => PgType::Float4,
        Datum::Float8(_) => PgType::Float8,
        Datum::Numeric(_) => PgType::Numeric,
        Datum::Null | Datum::Array(_) | Datum::Text(_) => PgType::Text,
        Datum::Bytea(_) => PgType::Bytea,
        Datum::Uuid(_) => PgType::Uuid,
        Datum::Date(_) => PgType::Date,
        Datum::Time(_) => PgType::Time,
        Datum::Timestamp(_) => PgType::Timestamp,
        Datum::Timestamptz(_) => PgType::Timestamptz,
        Datum::Interval(_) => PgType::Interval,
        Datum::Oid(_) => PgType::Oid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(ty: PgType) -> PgType {
        ty.array().unwrap()
    }

    #[test]
    fn arrays_come_back_from_every_form() {
        let samples = [
            (PgType::Int4, "{1,NULL,-3}"),
            (PgType::Text, "{a,\"b c\",\"\",\"NULL\",NULL,\"q\\\"\\\\\"}"),
            (PgType::Numeric, "{1.50,NaN,12345678901234567890}"),
            (PgType::Timestamptz, "{\"2000-01-01 00:00:00+00\"}"),
            (PgType::Bool, "{}"),
        ];
        for (element, text) in samples {
            let ty = array(element);
            let value = Datum::from_text(ty, text, -1, &TimeZone::UTC).unwrap();
            assert_eq!(value.to_text(ty, &TimeZone::UTC), text);
            let mut wire = Vec::new();
            value.write_binary(ty, &mut wire);
            assert_eq!(Datum::from_binary(ty, &wire, -1).unwrap(), value);
            let Datum::Array(items) = &value else { panic!("{value:?}") };
            assert_eq!(&decode(ty, &encode(items)).unwrap(), items);
        }
        let spaced = Datum::from_text(array(PgType::Text), " { a b , \\ c } ", -1, &TimeZone::UTC).unwrap();
        assert_eq!(spaced, Datum::Array(vec!["a b".into(), " c".into()]));
    }

    #[test]
    fn malformed_literals_are_refused() {
        for text in
            ["", "1", "{1", "{1,}", "{,1}", "{1}x", "{\"a}", "{a\"b\"}", "{1 2}", "[2:3]={1,2}", "{{1}}"]
        {
            assert!(Datum::from_text(array(PgType::Int4), text, -1, &TimeZone::UTC).is_err(), "{text}");
        }
    }
}
