//! Functions on text.

use super::catalog::{Catalog, Options};
use super::kind::*;
use super::scalar::Variadic;
use crate::types::PgType;
use crate::{Result, SqlError, SqlState};
use md5::{Digest, Md5};
use std::sync::Arc;

/// Keywords that an identifier may not look like unquoted.
const KEYWORDS: &str = "\
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean \
     both case cast char character check coalesce collate collation column concurrently constraint \
     create cross current_catalog current_date current_role current_schema current_time \
     current_timestamp current_user dec decimal default deferrable desc distinct do else end except \
     exists extract false fetch float for foreign freeze from full grant greatest group grouping having \
     ilike in initially inner inout int integer intersect interval into is isnull join lateral leading \
     least left like limit localtime localtimestamp national natural nchar none normalize not notnull \
     null nullif numeric offset on only or order out outer overlaps overlay placing position precision \
     primary real references returning right row select session_user setof similar smallint some \
     substring symmetric table tablesample then time timestamp to trailing treat trim true union unique \
     user using values varchar variadic verbose when where window with xmlattributes xmlconcat \
     xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

/// Bytes a text value can have at most.
const MAX_TEXT: usize = 0x3fff_ffff;

pub(super) fn register(c: &mut Catalog) {
    lengths(c);
    cases(c);
    parts(c);
    padding(c);
    building(c);
    quoting(c);
}

fn count(s: &str) -> i32 {
    s.chars().count() as i32
}

fn lengths(c: &mut Catalog) {
    for name in ["length", "char_length", "character_length"] {
        c.fn1::<Text, Int4>(name, |s| Ok(Some(count(s))));
        c.fn1::<Bpchar, Int4>(name, |s| Ok(Some(count(s.trim_end_matches(' ')))));
    }
    c.fn1::<Text, Int4>("octet_length", |s| Ok(Some(s.len() as i32)));
    c.fn1::<Bpchar, Int4>("octet_length", |s| Ok(Some(s.len() as i32)));
    c.fn1::<Text, Int4>("bit_length", |s| Ok(Some(s.len() as i32 * 8)));
    c.fn1::<Text, Int4>("ascii", |s| Ok(Some(s.chars().next().map_or(0, |ch| ch as i32))));
    c.fn1::<Int4, Text>("chr", |n| {
        let error = |message: String| Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        match n {
            0 => error("null character not permitted".into()),
            n if n < 0 => {
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive"))
            }
            n => match char::from_u32(n as u32) {
                Some(ch) => Ok(Some(ch.to_string())),
                None if n > 0x10_ffff => error(format!("requested character too large for encoding: {n}")),
                None => error(format!("requested character not valid for encoding: {n}")),
            },
        }
    });
}

/// One character for one, as the C library maps case: what would become several stays.
pub(super) fn upper(ch: char) -> char {
    let mut mapped = ch.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => ch,
    }
}

pub(super) fn lower(ch: char) -> char {
    let mut mapped = ch.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => ch,
    }
}

fn cases(c: &mut Catalog) {
    c.fn1::<Text, Text>("lower", |s| Ok(Some(s.chars().map(lower).collect())));
    c.fn1::<Text, Text>("upper", |s| Ok(Some(s.chars().map(upper).collect())));
    c.fn1::<Text, Text>("initcap", |s| {
        let mut inside = false;
        Ok(Some(
            s.chars()
                .map(|ch| {
                    let mapped = if inside { lower(ch) } else { upper(ch) };
                    inside = ch.is_alphanumeric();
                    mapped
                })
                .collect(),
        ))
    });
    c.fn1::<Text, Text>("reverse", |s| Ok(Some(s.chars().rev().collect())));
}

/// Characters `start` (from 1, possibly outside) for `length`.
fn substring(s: &str, start: i32, length: Option<i32>) -> Result<String> {
    let end = match length {
        None => i64::MAX,
        Some(n) if n < 0 => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(n) => i64::from(start) + i64::from(n),
    };
    let first = i64::from(start).max(1);
    if end <= first {
        return Ok(String::new());
    }
    Ok(s.chars()
        .skip((first - 1) as usize)
        .take(usize::try_from(end - first).unwrap_or(usize::MAX))
        .collect())
}

fn position(haystack: &str, needle: &str) -> i32 {
    haystack.find(needle).map_or(0, |at| count(&haystack[..at]) + 1)
}

fn parts(c: &mut Catalog) {
    for name in ["substr", "substring"] {
        c.fn2::<Text, Int4, Text>(name, |s, start| Ok(Some(substring(s, start, None)?)));
        c.fn3::<Text, Int4, Int4, Text>(name, |s, start, n| Ok(Some(substring(s, start, Some(n))?)));
    }
    c.fn2::<Text, Text, Int4>("strpos", |s, sub| Ok(Some(position(s, sub))));
    // POSITION(sub IN s) puts the string first.
    c.fn2::<Text, Text, Int4>("position", |s, sub| Ok(Some(position(s, sub))));
    c.fn2::<Text, Text, Bool>("starts_with", |s, prefix| Ok(Some(s.starts_with(prefix))));
    c.op2::<Text, Text, Bool>("^@", |s, prefix| Ok(Some(s.starts_with(prefix))));
    c.fn2::<Text, Int4, Text>("left", |s, n| {
        let keep = if n >= 0 { n as usize } else { (i64::from(count(s)) + i64::from(n)).max(0) as usize };
        Ok(Some(s.chars().take(keep).collect()))
    });
    c.fn2::<Text, Int4, Text>("right", |s, n| {
        let total = i64::from(count(s));
        let drop = if n >= 0 { (total - i64::from(n)).max(0) } else { -i64::from(n) };
        Ok(Some(s.chars().skip(drop as usize).collect()))
    });
    c.fn3::<Text, Text, Int4, Text>("split_part", |s, delimiter, n| {
        if n == 0 {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
        }
        if s.is_empty() {
            return Ok(Some(String::new()));
        }
        if delimiter.is_empty() {
            return Ok(Some(if n.abs() == 1 { s.to_string() } else { String::new() }));
        }
        let fields: Vec<&str> = s.split(delimiter).collect();
        let at = if n > 0 { n as usize - 1 } else { fields.len().wrapping_sub(n.unsigned_abs() as usize) };
        Ok(Some(fields.get(at).copied().unwrap_or_default().to_string()))
    });
    let trims: [(&'static str, fn(&str, &str) -> String); 3] = [
        ("btrim", |s, set| s.trim_matches(|ch| set.contains(ch)).to_string()),
        ("ltrim", |s, set| s.trim_start_matches(|ch| set.contains(ch)).to_string()),
        ("rtrim", |s, set| s.trim_end_matches(|ch| set.contains(ch)).to_string()),
    ];
    for (name, trim) in trims {
        let body = |with_set: bool| -> Body {
            Arc::new(move |args, rows| {
                let text = Text::view(args[0].array.as_ref())?;
                let set = args.get(1).map(|a| Text::view(a.array.as_ref())).transpose()?;
                column::<Text>(rows, |row| {
                    if args.iter().any(|a| a.is_null(row)) {
                        return Ok(None);
                    }
                    let set = match set {
                        Some(view) if with_set => view.value(args[1].row(row)),
                        _ => " ",
                    };
                    Ok(Some(trim(text.value(args[0].row(row)), set)))
                })
            })
        };
        c.function(name, &[PgType::Text], PgType::Text, Options::default(), body(false));
        c.function(name, &[PgType::Text, PgType::Text], PgType::Text, Options::default(), body(true));
    }
    c.fn3::<Text, Text, Text, Text>("replace", |s, from, to| {
        Ok(Some(if from.is_empty() { s.to_string() } else { s.replace(from, to) }))
    });
    c.fn3::<Text, Text, Text, Text>("translate", |s, from, to| {
        Ok(Some(
            s.chars()
                .filter_map(|ch| match from.chars().position(|f| f == ch) {
                    Some(at) => to.chars().nth(at),
                    None => Some(ch),
                })
                .collect(),
        ))
    });
    c.fn3::<Text, Text, Int4, Text>("overlay", |s, new, start| overlay(s, new, start, count(new)));
    c.fn4::<Text, Text, Int4, Int4, Text>("overlay", overlay);
}

fn overlay(s: &str, new: &str, start: i32, length: i32) -> Result<Option<String>> {
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| SqlError::out_of_range("integer"))?;
    Ok(Some(substring(s, 1, Some(start - 1))? + new + &substring(s, after, None)?))
}

fn too_long() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

/// Blanks of `fill` for the `missing` characters.
fn filling(fill: &str, missing: usize) -> Result<String> {
    if missing.saturating_mul(4) > MAX_TEXT {
        return Err(too_long());
    }
    Ok(fill.chars().cycle().take(if fill.is_empty() { 0 } else { missing }).collect())
}

fn left_pad(s: &str, n: i32, fill: &str) -> Result<Option<String>> {
    let (have, want) = (s.chars().count(), n.max(0) as usize);
    if have >= want {
        return Ok(Some(s.chars().take(want).collect()));
    }
    Ok(Some(filling(fill, want - have)? + s))
}

fn right_pad(s: &str, n: i32, fill: &str) -> Result<Option<String>> {
    let (have, want) = (s.chars().count(), n.max(0) as usize);
    if have >= want {
        return Ok(Some(s.chars().take(want).collect()));
    }
    Ok(Some(s.to_string() + &filling(fill, want - have)?))
}

fn padding(c: &mut Catalog) {
    c.fn2::<Text, Int4, Text>("lpad", |s, n| left_pad(s, n, " "));
    c.fn3::<Text, Int4, Text, Text>("lpad", left_pad);
    c.fn2::<Text, Int4, Text>("rpad", |s, n| right_pad(s, n, " "));
    c.fn3::<Text, Int4, Text, Text>("rpad", right_pad);
    c.fn2::<Text, Int4, Text>("repeat", |s, n| {
        let times = n.max(0) as usize;
        if s.len().saturating_mul(times) > MAX_TEXT {
            return Err(too_long());
        }
        Ok(Some(s.repeat(times)))
    });
}

fn building(c: &mut Catalog) {
    c.op2::<Text, Text, Text>("||", |a, b| {
        let mut out = String::with_capacity(a.len() + b.len());
        out.push_str(a);
        out.push_str(b);
        Ok(Some(out))
    });
    c.fn2::<Text, Text, Text>("textcat", |a, b| Ok(Some(format!("{a}{b}"))));
    c.fn1::<Text, Text>("md5", |s| Ok(Some(hex(&Md5::digest(s.as_bytes())))));
    let any = || Options { variadic: Variadic::Any, ..Options::lenient() };
    // Their "any" arguments arrive as text, by the output functions.
    c.function(
        "concat",
        &[],
        PgType::Text,
        any(),
        Arc::new(|args, rows| {
            let views = args.iter().map(|a| Text::view(a.array.as_ref())).collect::<Result<Vec<_>>>()?;
            column::<Text>(rows, |row| Ok(Some(join(args, &views, row, ""))))
        }),
    );
    c.function(
        "concat_ws",
        &[PgType::Text],
        PgType::Text,
        any(),
        Arc::new(|args, rows| {
            let views = args.iter().map(|a| Text::view(a.array.as_ref())).collect::<Result<Vec<_>>>()?;
            let one = |row: usize| {
                (!args[0].is_null(row))
                    .then(|| join(&args[1..], &views[1..], row, views[0].value(args[0].row(row))))
            };
            column::<Text>(rows, |row| Ok(one(row)))
        }),
    );
    let format_body: Body = Arc::new(|args, rows| {
        let views = args.iter().map(|a| Text::view(a.array.as_ref())).collect::<Result<Vec<_>>>()?;
        column::<Text>(rows, |row| {
            let value = |i: usize| (!args[i].is_null(row)).then(|| views[i].value(args[i].row(row)));
            let Some(pattern) = value(0) else { return Ok(None) };
            format(pattern, &(1..args.len()).map(value).collect::<Vec<_>>()).map(Some)
        })
    });
    c.function("format", &[PgType::Text], PgType::Text, any(), format_body.clone());
    c.function("format", &[PgType::Text], PgType::Text, Options::lenient(), format_body);
}

type TextView<'a> = &'a datafusion::arrow::array::StringArray;

fn join(args: &[Arg], views: &[TextView<'_>], row: usize, separator: &str) -> String {
    let mut out = String::new();
    let mut first = true;
    for (arg, view) in args.iter().zip(views) {
        if arg.is_null(row) {
            continue;
        }
        if !first {
            out.push_str(separator);
        }
        first = false;
        out.push_str(view.value(arg.row(row)));
    }
    out
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `format(pattern, …)`: `%[position$][flags][width]type` with s, I, L and %%.
fn format(pattern: &str, args: &[Option<&str>]) -> Result<String> {
    let error = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let unfinished =
        || error("unterminated format() type specifier".into()).hint("For a single \"%\" use \"%%\".");
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut next = 0usize;
    let take = |at: usize| -> Result<Option<&str>> {
        args.get(at).copied().ok_or_else(|| error("too few arguments for format()".into()))
    };
    while let Some(ch) = chars.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<i64>> {
            let mut digits = String::new();
            while let Some(d) = chars.peek().filter(|d| d.is_ascii_digit()) {
                digits.push(*d);
                chars.next();
            }
            if digits.is_empty() {
                return Ok(None);
            }
            let value = digits.parse::<i32>().map_err(|_| error("number is out of range".into()))?;
            Ok(Some(i64::from(value)))
        };
        let mut position = None;
        let mut width = number(&mut chars)?;
        if width.is_some() && chars.peek() == Some(&'$') {
            chars.next();
            if width == Some(0) {
                return Err(error("format specifies argument 0, but arguments are numbered from 1".into()));
            }
            position = width.take();
        }
        let mut left = false;
        if width.is_none() {
            while chars.peek() == Some(&'-') {
                chars.next();
                left = true;
            }
            if chars.peek() == Some(&'*') {
                chars.next();
                let at = number(&mut chars)?;
                let at = match at {
                    Some(n) => {
                        if chars.next() != Some('$') {
                            return Err(error("width argument position must be ended by \"$\"".into()));
                        }
                        n as usize - 1
                    }
                    None => {
                        next += 1;
                        next - 1
                    }
                };
                let value = take(at)?.unwrap_or("0");
                width = Some(value.trim().parse().map_err(|_| SqlError::invalid_text("integer", value))?);
            } else {
                width = number(&mut chars)?;
            }
        }
        let kind = chars.next().ok_or_else(unfinished)?;
        let at = match position {
            Some(n) => n as usize - 1,
            None => next,
        };
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(error(format!("unrecognized format() type specifier \"{kind}\""))
                .hint("For a single \"%\" use \"%%\"."));
        }
        let value = take(at)?;
        next = at + 1;
        let text = match (kind, value) {
            ('s', value) => value.unwrap_or("").to_string(),
            ('I', Some(value)) => quote_ident(value),
            ('I', None) => {
                return Err(SqlError::new(
                    SqlState::NULL_VALUE_NOT_ALLOWED,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            (_, Some(value)) => quote_literal(value),
            (_, None) => "NULL".to_string(),
        };
        let width = width.unwrap_or(0);
        let missing = (width.unsigned_abs() as usize).saturating_sub(text.chars().count());
        let blanks = filling(" ", missing)?;
        if left || width < 0 {
            out.push_str(&text);
            out.push_str(&blanks);
        } else {
            out.push_str(&blanks);
            out.push_str(&text);
        }
    }
    Ok(out)
}

/// Quoted unless it is a lower-case identifier that is no keyword.
pub fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|ch: char| ch.is_ascii_lowercase() || ch == '_')
        && name.chars().all(|ch| ch.is_ascii_lowercase() || ch.is_ascii_digit() || ch == '_');
    if plain && !KEYWORDS.split(' ').any(|word| word == name) {
        return name.to_string();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// As a string literal; with `E''` when there are backslashes.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        return format!("E'{}'", quoted.replace('\\', "\\\\"));
    }
    format!("'{quoted}'")
}

fn quoting(c: &mut Catalog) {
    c.fn1::<Text, Text>("quote_ident", |s| Ok(Some(quote_ident(s))));
    c.fn1::<Text, Text>("quote_literal", |s| Ok(Some(quote_literal(s))));
    let nullable: Body = Arc::new(|args, rows| {
        let view = Text::view(args[0].array.as_ref())?;
        let one = |row: usize| {
            Some(if args[0].is_null(row) {
                "NULL".to_string()
            } else {
                quote_literal(view.value(args[0].row(row)))
            })
        };
        column::<Text>(rows, |row| Ok(one(row)))
    });
    c.function("quote_nullable", &[PgType::Text], PgType::Text, Options::lenient(), nullable.clone());
    // What is no string is quoted by its text.
    let any = |strict| Options { variadic: Variadic::One, strict, ..Options::default() };
    c.function("quote_nullable", &[], PgType::Text, any(false), nullable);
    c.function(
        "quote_literal",
        &[],
        PgType::Text,
        any(true),
        map1::<Text, Text>(|s| Ok(Some(quote_literal(s)))),
    );
}
