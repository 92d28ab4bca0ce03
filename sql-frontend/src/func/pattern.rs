//! LIKE, SIMILAR TO and regular expressions on columns.

use super::catalog::{Catalog, Options};
use super::kind::*;
use super::like::{Like, with_escape};
use super::regex::{Regex, similar_to};
use crate::types::PgType;
use crate::{Result, SqlError, SqlState};
use std::sync::Arc;

/// Lifts a test of a text against a prepared pattern; the pattern is prepared again only when it changes.
fn matching<P: 'static>(
    prepare: impl Fn(&str) -> Result<P> + Send + Sync + 'static,
    test: impl Fn(&P, &str) -> Result<bool> + Send + Sync + 'static,
) -> Body {
    Arc::new(move |args, rows| {
        let (texts, patterns) = (Text::view(args[0].array.as_ref())?, Text::view(args[1].array.as_ref())?);
        let mut ready: Option<(&str, P)> = None;
        column::<Bool>(rows, |row| {
            if args[0].is_null(row) || args[1].is_null(row) {
                return Ok(None);
            }
            let pattern = patterns.value(args[1].row(row));
            if ready.as_ref().is_none_or(|(old, _)| *old != pattern) {
                ready = Some((pattern, prepare(pattern)?));
            }
            let (_, prepared) = ready.as_ref().expect("prepared just above");
            Ok(Some(test(prepared, texts.value(args[0].row(row)))?))
        })
    })
}

pub(super) fn register(c: &mut Catalog) {
    // (operator, function of the same meaning)
    let like = matching(|p| Ok(Like::new(p, false)), Like::matches);
    let ilike = matching(|p| Ok(Like::new(p, true)), Like::matches);
    let regex = matching(|p| Regex::new(p, ""), |r, s| Ok(r.is_match(s)));
    let iregex = matching(|p| Regex::new(p, "i"), |r, s| Ok(r.is_match(s)));
    let similar = matching(|p| Regex::new(&similar_to(p, Some('\\'))?, ""), |r, s| Ok(r.is_match(s)));
    for (name, body) in [("~~", like), ("~~*", ilike), ("~", regex), ("~*", iregex), ("SIMILAR TO", similar)]
    {
        // bpchar is matched with its blanks.
        for left in [PgType::Text, PgType::Bpchar, PgType::Name] {
            c.operator(name, &[left, PgType::Text], PgType::Bool, Options::default(), body.clone());
        }
        if name == "~~" {
            c.function("like", &[PgType::Text, PgType::Text], PgType::Bool, Options::default(), body);
        }
    }
    c.fn2::<Text, Text, Text>("like_escape", |p, escape| Ok(Some(with_escape(p, escape)?)));
    c.fn1::<Text, Text>("similar_to_escape", |p| Ok(Some(similar_to(p, Some('\\'))?)));
    c.fn2::<Text, Text, Text>("similar_to_escape", |p, escape| {
        let mut marks = escape.chars();
        match (marks.next(), marks.next()) {
            (mark, None) => Ok(Some(similar_to(p, mark)?)),
            _ => Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                .hint("Escape string must be empty or one character.")),
        }
    });
    c.fn2::<Text, Text, Text>("substring", |s, p| Regex::new(p, "")?.substring(s, 1));
    c.fn2::<Text, Text, Text>("regexp_substr", |s, p| Regex::new(p, "")?.nth(s, 1, 1));
    c.fn2::<Text, Text, Bool>("regexp_like", |s, p| Ok(Some(Regex::new(p, "")?.is_match(s))));
    c.fn3::<Text, Text, Text, Bool>("regexp_like", |s, p, flags| Ok(Some(Regex::new(p, flags)?.is_match(s))));
    c.fn2::<Text, Text, Int4>("regexp_count", |s, p| Ok(Some(Regex::new(p, "")?.count(s)?)));
    c.fn2::<Text, Text, Int4>("regexp_instr", |s, p| Ok(Some(Regex::new(p, "")?.position(s)?)));
    c.fn3::<Text, Text, Text, Text>("regexp_replace", |s, p, new| {
        Ok(Some(Regex::new(p, "")?.replace(s, new, Some(1))?))
    });
    c.fn4::<Text, Text, Text, Text, Text>("regexp_replace", |s, p, new, flags| {
        let all = flags.contains('g');
        let rest: String = flags.chars().filter(|f| *f != 'g').collect();
        Ok(Some(Regex::new(p, &rest)?.replace(s, new, if all { None } else { Some(1) })?))
    });
}
