//! Functions on byte strings, and between bytes and text.

use super::catalog::Catalog;
use super::kind::*;
use super::string::hex;
use crate::{Result, SqlError, SqlState};
use md5::{Digest, Md5};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

pub(super) fn register(c: &mut Catalog) {
    c.op2::<Bytea, Bytea, Bytea>("||", |a, b| Ok(Some([a, b].concat())));
    for name in ["length", "octet_length"] {
        c.fn1::<Bytea, Int4>(name, |b| Ok(Some(b.len() as i32)));
    }
    c.fn1::<Bytea, Int4>("bit_length", |b| Ok(Some(b.len() as i32 * 8)));
    c.fn1::<Bytea, Text>("md5", |b| Ok(Some(hex(&Md5::digest(b)))));
    c.fn1::<Bytea, Bytea>("sha224", |b| Ok(Some(Sha224::digest(b).to_vec())));
    c.fn1::<Bytea, Bytea>("sha256", |b| Ok(Some(Sha256::digest(b).to_vec())));
    c.fn1::<Bytea, Bytea>("sha384", |b| Ok(Some(Sha384::digest(b).to_vec())));
    c.fn1::<Bytea, Bytea>("sha512", |b| Ok(Some(Sha512::digest(b).to_vec())));
    for name in ["substr", "substring"] {
        c.fn2::<Bytea, Int4, Bytea>(name, |b, start| Ok(Some(part(b, start, None)?)));
        c.fn3::<Bytea, Int4, Int4, Bytea>(name, |b, start, n| Ok(Some(part(b, start, Some(n))?)));
    }
    c.fn2::<Bytea, Bytea, Int4>("position", |b, sub| Ok(Some(find(b, sub))));
    c.fn2::<Bytea, Bytea, Bytea>("btrim", |b, set| {
        let first = b.iter().position(|x| !set.contains(x)).unwrap_or(b.len());
        let last = b.iter().rposition(|x| !set.contains(x)).map_or(first, |at| at + 1);
        Ok(Some(b[first..last].to_vec()))
    });
    c.fn2::<Bytea, Text, Text>("encode", |b, format| match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(Some(hex(b))),
        "base64" => Ok(Some(to_base64(b))),
        "escape" => Ok(Some(escape(b))),
        _ => Err(bad(format!("unrecognized encoding: \"{format}\""))),
    });
    c.fn2::<Text, Text, Bytea>("decode", |s, format| match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(Some(from_hex(s)?)),
        "base64" => Ok(Some(from_base64(s)?)),
        "escape" => Ok(Some(unescape(s)?)),
        _ => Err(bad(format!("unrecognized encoding: \"{format}\""))),
    });
    c.fn2::<Bytea, Int4, Int4>("get_byte", |b, n| match usize::try_from(n).ok().and_then(|n| b.get(n)) {
        Some(byte) => Ok(Some((*byte).into())),
        None => Err(out_of_bounds(n, b.len())),
    });
    c.fn3::<Bytea, Int4, Int4, Bytea>("set_byte", |b, n, value| {
        let mut out = b.to_vec();
        match usize::try_from(n).ok().and_then(|n| out.get_mut(n)) {
            Some(byte) => *byte = value as u8,
            None => return Err(out_of_bounds(n, b.len())),
        }
        Ok(Some(out))
    });
    c.fn2::<Text, Text, Bytea>("convert_to", |s, encoding| {
        utf8_only(encoding)?;
        Ok(Some(s.as_bytes().to_vec()))
    });
    c.fn2::<Bytea, Text, Text>("convert_from", |b, encoding| {
        utf8_only(encoding)?;
        match std::str::from_utf8(b) {
            Ok(s) if !s.contains('\0') => Ok(Some(s.to_string())),
            Ok(_) => Err(not_utf8(0)),
            Err(e) => Err(not_utf8(b[e.valid_up_to()])),
        }
    });
}

fn not_utf8(byte: u8) -> SqlError {
    SqlError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
    )
}

fn utf8_only(encoding: &str) -> Result<()> {
    match encoding.to_ascii_lowercase().replace('-', "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(SqlError::unsupported(format!("encoding \"{encoding}\""))),
    }
}

fn out_of_bounds(n: i32, len: usize) -> SqlError {
    SqlError::new(SqlState("2202E"), format!("index {n} out of valid range, 0..{}", len as i64 - 1))
}

fn part(b: &[u8], start: i32, length: Option<i32>) -> Result<Vec<u8>> {
    let end = match length {
        None => i64::MAX,
        Some(n) if n < 0 => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(n) => i64::from(start) + i64::from(n),
    };
    let clamp = |at: i64| (at - 1).clamp(0, b.len() as i64) as usize;
    let (from, to) = (clamp(start.into()), clamp(end.max(1)));
    Ok(if from < to { b[from..to].to_vec() } else { Vec::new() })
}

fn find(b: &[u8], sub: &[u8]) -> i32 {
    if sub.is_empty() {
        return 1;
    }
    b.windows(sub.len()).position(|w| w == sub).map_or(0, |at| at as i32 + 1)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With a line break after every 76 characters, as PostgreSQL's.
fn to_base64(b: &[u8]) -> String {
    let mut out = String::new();
    let mut line = 0;
    for chunk in b.chunks(3) {
        if line == 76 {
            out.push('\n');
            line = 0;
        }
        let word = chunk.iter().fold(0u32, |w, x| w << 8 | u32::from(*x)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            out.push(if i <= chunk.len() {
                char::from(ALPHABET[(word >> (18 - 6 * i) & 63) as usize])
            } else {
                '='
            });
        }
        line += 4;
    }
    out
}

fn from_base64(s: &str) -> Result<Vec<u8>> {
    let (mut out, mut word, mut bits, mut padding) = (Vec::new(), 0u32, 0u32, 0u32);
    let invalid_end = || {
        bad("invalid base64 end sequence")
            .hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
    };
    for ch in s.chars() {
        if matches!(ch, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        if ch == '=' {
            padding += 1;
            if padding > 2 || bits == 0 {
                return Err(bad("unexpected \"=\" while decoding base64 sequence"));
            }
            continue;
        }
        let Some(value) = ALPHABET.iter().position(|a| char::from(*a) == ch) else {
            return Err(bad(format!("invalid symbol \"{ch}\" found while decoding base64 sequence")));
        };
        if padding > 0 {
            return Err(invalid_end());
        }
        word = word << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    let complete = match bits {
        0 => padding == 0,
        4 => padding == 2,
        2 => padding == 1,
        _ => false,
    };
    if complete { Ok(out) } else { Err(invalid_end()) }
}

fn from_hex(s: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(s.len() / 2);
    let mut chars = s.chars();
    let digit = |ch: char| ch.to_digit(16).ok_or_else(|| bad(format!("invalid hexadecimal digit: \"{ch}\"")));
    while let Some(ch) = chars.next() {
        if matches!(ch, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(ch)?;
        let low = chars.next().ok_or_else(|| bad("invalid hexadecimal data: odd number of digits"))?;
        out.push((high << 4 | digit(low)?) as u8);
    }
    Ok(out)
}

fn escape(b: &[u8]) -> String {
    let mut out = String::new();
    for &byte in b {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

fn unescape(s: &str) -> Result<Vec<u8>> {
    let invalid =
        || SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
    let bytes = s.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            let octal = bytes.get(at + 1..at + 4).ok_or_else(invalid)?;
            if !(b'0'..=b'3').contains(&octal[0]) || !octal.iter().all(|b| (b'0'..=b'7').contains(b)) {
                return Err(invalid());
            }
            out.push(octal.iter().fold(0, |n, b| n << 3 | (b - b'0')));
            at += 4;
        }
    }
    Ok(out)
}
