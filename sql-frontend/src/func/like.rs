//! LIKE: `%` is any text, `_` one character.

use super::string::lower;
use crate::{Result, SqlError, SqlState};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Any,
    One,
    Literal(char),
    /// An escape with nothing behind it. Who gets there is told.
    Dangling,
}

/// A pattern ready to match.
pub(super) struct Like {
    parts: Vec<Part>,
    fold: bool,
}

impl Like {
    /// Reads a pattern with `\` as the escape.
    pub(super) fn new(pattern: &str, fold: bool) -> Like {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(ch) = chars.next() {
            parts.push(match ch {
                // Two in a row are as one, and would cost time; `%_%` is `%_`.
                '%' if follows_any(&parts) => continue,
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => match chars.next() {
                    Some(escaped) => Part::Literal(if fold { lower(escaped) } else { escaped }),
                    None => Part::Dangling,
                },
                ch => Part::Literal(if fold { lower(ch) } else { ch }),
            });
        }
        Like { parts, fold }
    }

    /// Greedy with one point to come back to, which is enough: linear for most, quadratic at worst. 22025 when the pattern ends
    /// with the escape and text is left there, or was at the `%` before it.
    pub(super) fn matches(&self, text: &str) -> Result<bool> {
        let mut rest = text.chars();
        let (mut at, mut back) = (0, None::<(usize, std::str::Chars<'_>)>);
        loop {
            let mut ahead = rest.clone();
            match (self.parts.get(at), ahead.next()) {
                (Some(Part::Any), _) => {
                    at += 1;
                    back = Some((at, rest.clone()));
                    if at == self.parts.len() {
                        return Ok(true);
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
                (Some(Part::Dangling), Some(_)) => return Err(dangling()),
                (Some(Part::Dangling), None) if self.began_with_text(at, back.as_ref()) => {
                    return Err(dangling());
                }
                (None, None) => return Ok(true),
                _ => {}
            }
            // Let the last `%` take one character more.
            let Some((after, start)) = &mut back else { return Ok(false) };
            if start.next().is_none() {
                return Ok(false);
            }
            at = *after;
            rest = start.clone();
        }
    }

    /// Whether text was left at the `%` that is before this part with nothing but `_` between.
    fn began_with_text(&self, at: usize, back: Option<&(usize, std::str::Chars<'_>)>) -> bool {
        back.is_some_and(|(after, start)| {
            !start.as_str().is_empty() && self.parts[*after..at].iter().all(|part| *part == Part::One)
        })
    }
}

/// Whether a `%` here would say nothing that the one before does not.
fn follows_any(parts: &[Part]) -> bool {
    parts.iter().rev().find(|part| **part != Part::One) == Some(&Part::Any)
}

fn dangling() -> SqlError {
    SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "LIKE pattern must not end with escape character")
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
        Like::new(pattern, false).matches(text).unwrap()
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
        assert!(Like::new("ABC%", true).matches("abcd").unwrap());
        assert!(Like::new("a\\", false).matches("ab").is_err());
        assert!(!like("a", "a\\"));
        assert!(like("abc", "a%_%"));
        assert!(!like("a", "a%_%"));
        assert!(like(&"a".repeat(5000), &"%a".repeat(50)));
        assert_eq!(with_escape("a#%b\\", "#").unwrap(), "a\\%b\\\\");
    }
}
