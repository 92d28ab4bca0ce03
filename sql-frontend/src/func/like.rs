//! LIKE: `%` is any text, `_` one character.

use super::string::lower;
use crate::{Result, SqlError, SqlState};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Any,
    One,
    Literal(char),
}

/// A pattern ready to match.
pub(super) struct Like {
    parts: Vec<Part>,
    fold: bool,
}

impl Like {
    /// Reads a pattern with `\` as the escape. 22025 when the pattern ends with it and the text gets that far is PostgreSQL's rule; here
    /// the pattern is refused at once.
    pub(super) fn new(pattern: &str, fold: bool) -> Result<Like> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(ch) = chars.next() {
            parts.push(match ch {
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => match chars.next() {
                    Some(escaped) => Part::Literal(if fold { lower(escaped) } else { escaped }),
                    None => {
                        return Err(SqlError::new(
                            SqlState::INVALID_ESCAPE_SEQUENCE,
                            "LIKE pattern must not end with escape character",
                        ));
                    }
                },
                ch => Part::Literal(if fold { lower(ch) } else { ch }),
            });
        }
        // Two in a row are as one, and would cost time.
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Ok(Like { parts, fold })
    }

    /// Greedy with one point to come back to, which is enough: linear for most, quadratic at worst.
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let (mut at, mut back) = (0, None::<(usize, std::str::Chars<'_>)>);
        loop {
            let mut ahead = rest.clone();
            match (self.parts.get(at), ahead.next()) {
                (Some(Part::Any), _) => {
                    at += 1;
                    back = Some((at, rest.clone()));
                    if at == self.parts.len() {
                        return true;
                    }
                    continue;
                }
                (Some(Part::One), Some(_)) => {
                    at += 1;
                    rest = ahead;
                    continue;
                }
                (Some(Part::Literal(want)), Some(ch)) if *want == if self.fold { lower(ch) } else { ch } => {
                    at += 1;
                    rest = ahead;
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            // Let the last `%` take one character more.
            let Some((after, start)) = &mut back else { return false };
            if start.next().is_none() {
                return false;
            }
            at = *after;
            rest = start.clone();
        }
    }
}

/// `pattern ESCAPE escape` as a pattern with `\`.
pub(super) fn with_escape(pattern: &str, escape: &str) -> Result<String> {
    let mut escapes = escape.chars();
    let mark = match (escapes.next(), escapes.next()) {
        (None, _) => None,
        (Some(mark), None) => Some(mark),
        _ => {
            return Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                .hint("Escape string must be empty or one character."));
        }
    };
    let mut out = String::new();
    let mut escaped = false;
    for ch in pattern.chars() {
        if Some(ch) == mark && !escaped {
            out.push('\\');
            escaped = true;
            continue;
        }
        if ch == '\\' && !escaped && mark != Some('\\') {
            out.push('\\');
        } else if ch == '\\' && escaped && mark != Some('\\') {
            // The mark escaped a backslash: one backslash is written already.
        }
        out.push(ch);
        escaped = false;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        Like::new(pattern, false).unwrap().matches(text)
    }

    #[test]
    fn patterns_match_as_in_postgresql() {
        assert!(like("abc", "a%"));
        assert!(like("abc", "%b%"));
        assert!(like("abc", "_b_"));
        assert!(!like("abc", "b%"));
        assert!(like("", "%"));
        assert!(!like("", "_"));
        assert!(like("a%c", "a\\%c"));
        assert!(!like("abc", "a\\%c"));
        assert!(like("aXbXc", "a%X%c"));
        assert!(like("äö", "_ö"));
        assert!(Like::new("ABC%", true).unwrap().matches("abcd"));
        assert!(Like::new("a\\", false).is_err());
        assert!(like(&"a".repeat(5000), &"%a".repeat(50)));
        assert_eq!(with_escape("a#%b\\", "#").unwrap(), "a\\%b\\\\");
    }
}
