//! From the parser's line and column to PostgreSQL's error position: characters from the start of the text, from 1.

use crate::error::SqlError;
use sqlparser::ast::Spanned;
use sqlparser::tokenizer::{Location, Span};

/// Lines of one statement's text.
#[derive(Clone, Debug)]
pub struct Positions {
    chars: Vec<char>,
    /// Index in `chars` of the start of each line.
    lines: Vec<usize>,
}

impl Positions {
    pub fn new(sql: &str) -> Self {
        let chars: Vec<char> = sql.chars().collect();
        let starts = chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Positions { chars, lines }
    }

    /// Position of a place; `None` for the empty spans of nodes that the parser gave none.
    pub fn of_location(&self, at: Location) -> Option<u32> {
        let line = (at.line as usize).checked_sub(1)?;
        let start = *self.lines.get(line)?;
        u32::try_from(start + at.column.max(1) as usize).ok()
    }

    pub fn of_span(&self, span: Span) -> Option<u32> {
        self.of_location(span.start)
    }

    /// Where a node begins.
    pub fn of(&self, node: &impl Spanned) -> Option<u32> {
        self.of_span(node.span())
    }

    /// The opening parenthesis before a place.
    pub fn paren_before(&self, pos: Option<u32>) -> Option<u32> {
        let before = self.chars.get(..(pos? as usize).saturating_sub(1))?;
        let at = before.iter().rposition(|c| !c.is_whitespace())?;
        if before[at] == '(' { u32::try_from(at + 1).ok() } else { pos }
    }

    /// The opening parenthesis behind a place.
    pub fn paren_after(&self, pos: Option<u32>) -> Option<u32> {
        let pos = pos? as usize;
        let skipped = self.chars.get(pos - 1..)?.iter().position(|c| *c == '(')?;
        u32::try_from(pos + skipped).ok()
    }

    /// The first thing after a node that is not white space or a closing bracket: the operator behind its left operand.
    pub fn after(&self, node: &impl Spanned) -> Option<u32> {
        let end = self.of_location(node.span().end)? as usize;
        let rest = self.chars.get(end.saturating_sub(1)..)?;
        let skipped = rest.iter().position(|c| !c.is_whitespace() && !matches!(c, ')' | ']'))?;
        u32::try_from(end + skipped).ok()
    }
}

/// Adds a position to an error that has none.
pub(crate) trait At<T> {
    fn at(self, position: Option<u32>) -> Result<T, SqlError>;
}

impl<T> At<T> for Result<T, SqlError> {
    fn at(self, position: Option<u32>) -> Result<T, SqlError> {
        self.map_err(|e| match position {
            Some(p) => e.at(p),
            None => e,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_over_lines() {
        let p = Positions::new("SELECT 'é',\n  x + y");
        assert_eq!(p.of_location(Location { line: 2, column: 3 }), Some(15));
        assert_eq!(p.of_location(Location { line: 0, column: 0 }), None);
    }
}
