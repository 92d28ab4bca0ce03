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

/// sqlparser says `Expected: …, found: X at Line: 1, Column: 8`; PostgreSQL says `syntax error at or near "X"`.
pub(super) fn syntax_error(error: ParserError, sql: &str, lines: &Lines<'_>) -> SqlError {
    let text = match error {
        ParserError::RecursionLimitExceeded => return too_complex(),
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    let place = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((message, line.trim().parse::<u64>().ok()?, column.trim().parse::<u64>().ok()?))
    });
    match place {
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
