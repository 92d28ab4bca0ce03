//! PostgreSQL's regular expressions on the `regex` engines.
//!
//! Two things differ and are taken care of here. The syntax: a pattern is translated, and what the engines cannot do (back references,
//! lookaround) is refused. And the choice among matches: PostgreSQL takes the longest at the leftmost place, the engine the first
//! that its alternatives allow. So where the extent matters, it is found by an automaton that knows all matches.
//! Where only a deeper difference could remain (groups inside a match that the engine would not have chosen,
//! greedy and reluctant quantifiers in one pattern), the call is refused with 0A000.

use crate::{Result, SqlError, SqlState};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input, MatchKind};
use std::ops::Range;

pub(super) struct Regex {
    engine: regex::Regex,
    pattern: String,
    reluctant: bool,
}

fn invalid(what: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {what}"))
}

impl Regex {
    /// `flags` as the functions take them, without `g`.
    pub(super) fn new(pattern: &str, flags: &str) -> Result<Regex> {
        let (mut fold, mut multi, mut dot_all, mut literal, mut expanded) =
            (false, false, true, false, false);
        let mut body = pattern;
        let mut all_flags = flags.to_string();
        if let Some(rest) = pattern.strip_prefix("***=") {
            (body, literal) = (rest, true);
        } else if let Some(rest) = pattern.strip_prefix("***:") {
            body = rest;
        }
        // Embedded options, only at the start.
        if let Some((options, rest)) = body.strip_prefix("(?").and_then(|r| r.split_once(')'))
            && !options.is_empty()
            && options.bytes().all(|b| b.is_ascii_alphabetic())
        {
            all_flags.push_str(options);
            body = rest;
        }
        for flag in all_flags.chars() {
            match flag {
                'i' => fold = true,
                'c' => fold = false,
                'n' | 'm' => (multi, dot_all) = (true, false),
                's' => (multi, dot_all) = (false, true),
                'p' => dot_all = false,
                'w' => multi = true,
                'q' => literal = true,
                'x' => expanded = true,
                't' | 'e' => {}
                'b' => return Err(SqlError::unsupported("the regular expression option \"b\"")),
                'g' => {
                    return Err(SqlError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        "regexp function does not support the \"global\" option",
                    ));
                }
                other => {
                    return Err(SqlError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("invalid regular expression option: \"{other}\""),
                    ));
                }
            }
        }
        let (translated, reluctant) =
            if literal { (regex::escape(body), false) } else { translate(body, dot_all)? };
        let prefix = format!(
            "(?{}{}{}{})",
            if fold { "i" } else { "" },
            if multi { "m" } else { "" },
            if dot_all { "s" } else { "" },
            if expanded { "x" } else { "" },
        );
        let pattern = if prefix == "(?)" { translated } else { prefix + &translated };
        let engine =
            regex::RegexBuilder::new(&pattern).size_limit(10 << 20).build().map_err(|e| explain(&e))?;
        Ok(Regex { engine, pattern, reluctant })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.engine.is_match(text)
    }

    /// The leftmost and there longest match from a byte on.
    fn find_at(&self, text: &str, from: usize) -> Result<Option<Range<usize>>> {
        let Some(first) = self.engine.find_at(text, from) else { return Ok(None) };
        if self.reluctant || !self.pattern.contains(['|', '*', '+', '?', '{']) {
            return Ok(Some(first.range()));
        }
        let failed = |_| SqlError::unsupported("this regular expression on this text");
        let dfa = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::All).unicode_word_boundary(true))
            .build(&self.pattern)
            .map_err(|_| SqlError::unsupported("this regular expression"))?;
        let input = Input::new(text).range(first.start()..).anchored(Anchored::Yes);
        let longest = dfa.try_search_fwd(&mut Cache::new(&dfa), &input).map_err(failed)?;
        Ok(Some(first.start()..longest.map_or(first.end(), |m| m.offset())))
    }

    /// Match and groups; refused where the engine's groups belong to another match than PostgreSQL's.
    fn captures_at<'t>(&self, text: &'t str, from: usize) -> Result<Option<regex::Captures<'t>>> {
        let Some(extent) = self.find_at(text, from)? else { return Ok(None) };
        let captures = self.engine.captures_at(text, from);
        match &captures {
            Some(found) if found.get(0).is_some_and(|m| m.range() == extent) => Ok(captures),
            _ => Err(SqlError::unsupported(
                "groups in a regular expression whose alternatives differ in length",
            )),
        }
    }

    /// `substring(text from pattern)`: the first group if there is one, else the match, searched from a character on.
    pub(super) fn substring(&self, text: &str, _from: usize) -> Result<Option<String>> {
        if self.engine.captures_len() > 1 {
            let found = self.captures_at(text, 0)?;
            return Ok(found.and_then(|c| c.get(1).map(|m| m.as_str().to_string())));
        }
        Ok(self.find_at(text, 0)?.map(|r| text[r].to_string()))
    }

    /// The n-th match (from 1) and its position in characters.
    fn all(&self, text: &str) -> Result<Vec<Range<usize>>> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at <= text.len() {
            let Some(found) = self.find_at(text, at)? else { break };
            // After an empty match, one character on.
            at = if found.is_empty() {
                found.end + text[found.end..].chars().next().map_or(1, char::len_utf8)
            } else {
                found.end
            };
            out.push(found);
        }
        Ok(out)
    }

    pub(super) fn nth(&self, text: &str, _from: usize, n: usize) -> Result<Option<String>> {
        Ok(self.all(text)?.into_iter().nth(n - 1).map(|r| text[r].to_string()))
    }

    pub(super) fn count(&self, text: &str) -> Result<i32> {
        Ok(self.all(text)?.len() as i32)
    }

    /// Character position of the first match, 0 without one.
    pub(super) fn position(&self, text: &str) -> Result<i32> {
        Ok(self.find_at(text, 0)?.map_or(0, |r| text[..r.start].chars().count() as i32 + 1))
    }

    /// Replaces the first `limit` matches, or all; `\1` and `\&` in `new` stand for groups and match.
    pub(super) fn replace(&self, text: &str, new: &str, limit: Option<usize>) -> Result<String> {
        let groups = has_group_references(new);
        let (mut out, mut done, mut at, mut n) = (String::new(), 0, 0, 0);
        while at <= text.len() && limit.is_none_or(|l| n < l) {
            let found = if groups {
                let Some(captures) = self.captures_at(text, at)? else { break };
                let whole = captures.get(0).map_or(at..at, |m| m.range());
                out.push_str(&text[done..whole.start]);
                expand(new, &captures, &mut out);
                whole
            } else {
                let Some(found) = self.find_at(text, at)? else { break };
                out.push_str(&text[done..found.start]);
                expand_plain(new, &text[found.clone()], &mut out);
                found
            };
            n += 1;
            done = found.end;
            at = if found.is_empty() {
                found.end + text[found.end..].chars().next().map_or(1, char::len_utf8)
            } else {
                found.end
            };
        }
        out.push_str(&text[done..]);
        Ok(out)
    }
}

fn has_group_references(new: &str) -> bool {
    let bytes = new.as_bytes();
    bytes.windows(2).any(|w| w[0] == b'\\' && w[1].is_ascii_digit() && w[1] != b'0')
}

fn expand(new: &str, captures: &regex::Captures<'_>, out: &mut String) {
    let mut chars = new.chars();
    while let Some(ch) = chars.next() {
        if ch != '\\' {
            out.push(ch);
            continue;
        }
        match chars.next() {
            Some(digit @ '1'..='9') => {
                let group = digit as usize - '0' as usize;
                out.push_str(captures.get(group).map_or("", |m| m.as_str()));
            }
            Some('&') => out.push_str(captures.get(0).map_or("", |m| m.as_str())),
            Some('\\') => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
}

fn expand_plain(new: &str, whole: &str, out: &mut String) {
    let mut chars = new.chars();
    while let Some(ch) = chars.next() {
        if ch != '\\' {
            out.push(ch);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(whole),
            Some('\\') => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
}

/// PostgreSQL's words for a syntax error.
fn explain(error: &regex::Error) -> SqlError {
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return invalid("regular expression is too complex");
    }
    let text = error.to_string();
    for (ours, theirs) in [
        ("unclosed group", "parentheses () not balanced"),
        ("unopened group", "parentheses () not balanced"),
        ("unclosed character class", "brackets [] not balanced"),
        ("repetition operator missing expression", "quantifier operand invalid"),
        ("unclosed counted repetition", "braces {} not balanced"),
        ("invalid repetition count range", "invalid repetition count(s)"),
        ("unrecognized escape sequence", "invalid escape \\ sequence"),
        ("incomplete escape sequence", "invalid escape \\ sequence"),
        ("invalid character class range", "invalid character range"),
    ] {
        if text.contains(ours) {
            return invalid(theirs);
        }
    }
    SqlError::unsupported("this regular expression")
}

/// Rewrites an advanced regular expression for the engine; tells whether its quantifiers are reluctant.
fn translate(pattern: &str, dot_all: bool) -> Result<(String, bool)> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let (mut greedy, mut reluctant) = (false, false);
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => match chars.next() {
                None => return Err(invalid("invalid escape \\ sequence")),
                Some('y') => out.push_str("\\b"),
                Some('Y') => out.push_str("\\B"),
                Some('m') => out.push_str("\\b{start}"),
                Some('M') => out.push_str("\\b{end}"),
                Some('A') => out.push_str("\\A"),
                Some('Z') => out.push_str("\\z"),
                Some('1'..='9') => {
                    return Err(SqlError::unsupported("a back reference in a regular expression"));
                }
                Some(class @ ('d' | 'D' | 'w' | 'W' | 's' | 'S')) => out.extend(['\\', class]),
                Some(control @ ('a' | 'f' | 'n' | 'r' | 't' | 'v')) => out.extend(['\\', control]),
                Some('b') => out.push_str("\\x08"),
                Some('e') => out.push_str("\\x1B"),
                Some('B') => out.push_str("\\\\"),
                Some(other) if other.is_ascii_alphanumeric() => {
                    return Err(SqlError::unsupported(format!("\\{other} in a regular expression")));
                }
                Some(other) => out.push_str(&regex::escape(&other.to_string())),
            },
            '[' => bracket(&mut chars, &mut out, dot_all)?,
            '(' => {
                if chars.peek() == Some(&'?') {
                    chars.next();
                    match chars.next() {
                        Some(':') => out.push_str("(?:"),
                        Some('=' | '!' | '<') => {
                            return Err(SqlError::unsupported("lookaround in a regular expression"));
                        }
                        _ => return Err(invalid("quantifier operand invalid")),
                    }
                } else {
                    out.push('(');
                }
            }
            '*' | '+' | '?' => {
                out.push(ch);
                quantified(&mut chars, &mut out, &mut greedy, &mut reluctant);
            }
            '{' if chars.peek().is_some_and(char::is_ascii_digit) => {
                out.push('{');
                for inner in chars.by_ref() {
                    out.push(inner);
                    if inner == '}' {
                        break;
                    }
                }
                quantified(&mut chars, &mut out, &mut greedy, &mut reluctant);
            }
            '{' => out.push_str("\\{"),
            '}' => out.push_str("\\}"),
            ']' => out.push_str("\\]"),
            other => out.push(other),
        }
    }
    if greedy && reluctant {
        return Err(SqlError::unsupported("greedy and non-greedy quantifiers in one regular expression"));
    }
    Ok((out, reluctant))
}

fn quantified(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
    greedy: &mut bool,
    reluctant: &mut bool,
) {
    if chars.peek() == Some(&'?') {
        chars.next();
        out.push('?');
        *reluctant = true;
    } else {
        *greedy = true;
    }
}

/// A bracket expression: what is special only to the engine is escaped.
fn bracket(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
    dot_all: bool,
) -> Result<()> {
    out.push('[');
    if chars.peek() == Some(&'^') {
        chars.next();
        out.push('^');
        if !dot_all {
            // Newline-sensitive: a complement does not match a newline.
            out.push_str("\\n");
        }
    }
    if chars.peek() == Some(&']') {
        chars.next();
        out.push_str("\\]");
    }
    while let Some(ch) = chars.next() {
        match ch {
            ']' => {
                out.push(']');
                return Ok(());
            }
            '[' if chars.peek() == Some(&':') => {
                let mut name = String::from("[");
                for inner in chars.by_ref() {
                    name.push(inner);
                    if name.ends_with(":]") && name.len() > 3 {
                        break;
                    }
                }
                if name == "[:<:]" || name == "[:>:]" {
                    return Err(SqlError::unsupported("[[:<:]] in a regular expression"));
                }
                out.push_str(&name);
            }
            '[' if matches!(chars.peek(), Some('.' | '=')) => {
                return Err(SqlError::unsupported("collating elements in a regular expression"));
            }
            '[' | '&' | '~' => out.extend(['\\', ch]),
            '-' if chars.peek() == Some(&'-') => out.push_str("\\-"),
            '\\' => match chars.next() {
                Some(class @ ('d' | 'w' | 's' | 'n' | 't' | 'r' | 'f' | 'v' | 'a')) => {
                    out.extend(['\\', class]);
                }
                Some(other) if other.is_ascii_alphanumeric() => {
                    return Err(SqlError::unsupported(format!("\\{other} in a bracket expression")));
                }
                Some(other) => out.extend(['\\', other]),
                None => break,
            },
            other => out.push(other),
        }
    }
    Err(invalid("brackets [] not balanced"))
}

/// An SQL pattern as a regular expression on the whole text.
pub(super) fn similar_to(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut inside = false;
    while let Some(ch) = chars.next() {
        if Some(ch) == escape {
            match chars.next() {
                Some('"') => {
                    return Err(SqlError::unsupported("escape-double-quote separators in SIMILAR TO"));
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => return Err(invalid("invalid escape \\ sequence")),
            }
        } else if inside {
            if ch == '\\' {
                out.push('\\');
            }
            out.push(ch);
            inside = ch != ']';
        } else {
            match ch {
                '[' => {
                    out.push('[');
                    inside = true;
                }
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '(' => out.push_str("(?:"),
                '\\' | '.' | '^' | '$' => {
                    out.push('\\');
                    out.push(ch);
                }
                other => out.push(other),
            }
        }
    }
    out.push_str(")$");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn re(pattern: &str) -> Regex {
        Regex::new(pattern, "").unwrap()
    }

    #[test]
    fn the_longest_match_wins() {
        assert_eq!(re("a|ab").replace("abc", "x", Some(1)).unwrap(), "xc");
        assert_eq!(re("(a)|(ab)").replace("abc", "x", Some(1)).unwrap(), "xc");
        assert_eq!(re("(a)|(ab)").replace("abc", "\\1", Some(1)).unwrap_err().sqlstate.0, "0A000");
        assert_eq!(re("<.*?>").replace("<a><b>", "x", None).unwrap(), "xx");
        assert_eq!(re("b*").replace("abc", "-", None).unwrap(), "-a--c-");
        assert_eq!(re("(.)(.)").replace("abcd", "\\2\\1[\\&]", None).unwrap(), "ba[ab]dc[cd]");
    }

    #[test]
    fn syntax_is_translated_or_refused() {
        assert!(re("^\\mfoo\\M$").is_match("foo"));
        assert!(re("[[:alpha:]]+").is_match("x"));
        assert!(re("a{").is_match("a{"));
        assert!(re("a.b").is_match("a\nb"));
        assert_eq!(Regex::new("(a", "").err().unwrap().sqlstate.0, "2201B");
        assert_eq!(Regex::new("*a", "").err().unwrap().sqlstate.0, "2201B");
        assert_eq!(Regex::new("(a)\\1", "").err().unwrap().sqlstate.0, "0A000");
        assert_eq!(Regex::new("a(?=b)", "").err().unwrap().sqlstate.0, "0A000");
        assert!(Regex::new(&similar_to("a%(b|c)", Some('\\')).unwrap(), "").unwrap().is_match("axxc"));
    }
}
