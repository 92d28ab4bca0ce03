//! Places in the text, and syntax errors as PostgreSQL words them.

use super::dialect::Dialect;
use super::limits::too_complex;
use crate::error::{SqlError, SqlState};
use sqlparser::{
    parser::ParserError,
    tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace},
};

/// Byte and character offsets of the tokenizer's lines and columns.
pub(super) struct Lines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(sql: &'a str) -> Self {
        let starts = std::iter::once(0).chain(sql.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { sql, starts }
    }

    pub fn byte_at(&self, line: u64, column: u64) -> usize {
        let Some(&start) = (line as usize).checked_sub(1).and_then(|line| self.starts.get(line)) else {
            return self.sql.len();
        };
        let rest = &self.sql[start..];
        let offset = rest.char_indices().nth((column as usize).saturating_sub(1)).map(|(at, _)| at);
        start + offset.unwrap_or(rest.len())
    }

    /// From 1, in characters, as error positions are counted.
    pub fn char_at(&self, line: u64, column: u64) -> u32 {
        self.sql[..self.byte_at(line, column)].chars().count() as u32 + 1
    }
}

/// A sentence as the rest of another; a word in capitals stays one.
pub(in crate::session) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    if chars.clone().next().is_some_and(char::is_uppercase) {
        return text.to_string();
    }
    first.to_lowercase().chain(chars).collect()
}

pub(super) fn near(token: &TokenWithSpan, sql: &str, lines: &Lines<'_>) -> SqlError {
    if token.token == Token::EOF {
        return SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
            .at(sql.chars().count() as u32 + 1);
    }
    let start = lines.byte_at(token.span.start.line, token.span.start.column);
    let end = lines.byte_at(token.span.end.line, token.span.end.column).max(start);
    SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{}\"", &sql[start..end]))
        .at(lines.char_at(token.span.start.line, token.span.start.column))
}

/// Marks the text of an error about a number that is too large.
const TOO_LARGE: &str = "too large: ";

/// The text of an error about a number that a type cannot hold, for [`syntax_error`].
pub(super) fn out_of_range(number: &str, ty: &str) -> String {
    format!("{TOO_LARGE}value \"{number}\" is out of range for type {ty}")
}

/// PostgreSQL takes a number that is too large for none, but behind `NUMERIC`, where it reads expressions.
fn too_large(text: &str, sql: &str, lines: &Lines<'_>) -> Option<SqlError> {
    let out_of_range = |message: &str| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message);
    if let Some(message) = text.strip_prefix(TOO_LARGE) {
        return Some(out_of_range(message));
    }
    let (message, line, column) = place(text)?;
    let (number, _) = message.strip_prefix("Could not parse '")?.split_once('\'')?;
    let before = &sql[..lines.byte_at(line, column)];
    let before = before.rsplit_once('(').map_or(before, |(before, _)| before).trim_end();
    let ty = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if ["numeric", "decimal", "dec"].contains(&ty.to_lowercase().as_str()) {
        let error = out_of_range(&format!("value \"{number}\" is out of range for type integer"));
        return Some(error.at(before[..before.len() - ty.len()].chars().count() as u32 + 1));
    }
    let text = format!("syntax error at or near \"{number}\"");
    Some(SqlError::new(SqlState::SYNTAX_ERROR, text).at(lines.char_at(line, column)))
}

/// The parser's message, and its line and column.
fn place(text: &str) -> Option<(&str, u64, u64)> {
    let (message, place) = text.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((message, line.trim().parse().ok()?, column.trim().parse().ok()?))
}

/// sqlparser says `Expected: …, found: X at Line: 1, Column: 8`; PostgreSQL says `syntax error at or near "X"`.
pub(super) fn syntax_error(error: ParserError, sql: &str, lines: &Lines<'_>) -> SqlError {
    let text = match error {
        ParserError::RecursionLimitExceeded => return too_complex(),
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    if let Some(error) = too_large(&text, sql, lines) {
        return error;
    }
    match place(&text) {
        Some((message, line, column)) if message.contains("found: ") => {
            let dialect = Dialect;
            let at = lines.byte_at(line, column);
            let token = Tokenizer::new(&dialect, &sql[at..]).tokenize_with_location().ok();
            let word = token.and_then(|tokens| {
                tokens.into_iter().find(|t| !matches!(t.token, Token::Whitespace(Whitespace::Space)))
            });
            match word {
                Some(word) if word.token != Token::EOF => {
                    let rest = Lines::new(&sql[at..]);
                    let end = rest.byte_at(word.span.end.line, word.span.end.column);
                    SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("syntax error at or near \"{}\"", &sql[at..at + end]),
                    )
                    .at(lines.char_at(line, column))
                }
                _ => SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(sql
                    .chars()
                    .count()
                    as u32
                    + 1),
            }
        }
        _ if text.contains("found: EOF") => {
            SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
                .at(sql.chars().count() as u32 + 1)
        }
        _ => SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error: {}", lower_first(&text))),
    }
}
