//! `FOR UPDATE OF a, b LIMIT 1`: PostgreSQL takes the locking clauses and the limit in either order, the parser only one of them;
//! and a clause may name several tables, for the parser only one.

use super::place::Lines;
use crate::error::{SqlError, SqlState};
use sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan},
};

/// The same tokens with every limit before the locking clauses it stands behind.
pub(super) fn limits_first(tokens: &mut [TokenWithSpan]) {
    for at in 0..tokens.len() {
        let Some(limit) = behind_locks(tokens, at) else { continue };
        if matches!(keyword(tokens, limit), Some(Keyword::LIMIT | Keyword::OFFSET | Keyword::FETCH)) {
            let end = end_of_query(tokens, limit);
            tokens[at..end].rotate_left(limit - at);
        }
    }
}

/// `FOR UPDATE OF a, b NOWAIT` as a clause for each of them.
pub(super) fn one_name_each(
    tokens: Vec<TokenWithSpan>,
    lines: &Lines<'_>,
) -> Result<Vec<TokenWithSpan>, SqlError> {
    if !(0..tokens.len()).any(|at| keyword(&tokens, at) == Some(Keyword::OF)) {
        return Ok(tokens);
    }
    let (mut out, mut at) = (Vec::with_capacity(tokens.len()), 0);
    while at < tokens.len() {
        let named = |clause: &Clause| clause.names.last().is_some_and(|name| *name < tokens.len());
        let Some(clause) = clause(&tokens, at).filter(named) else {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        };
        for name in &clause.names {
            if tokens.get(next(&tokens, *name)).is_some_and(|t| t.token == Token::Period) {
                return Err(qualified(&tokens[*name], clause.mode, lines));
            }
            out.extend_from_slice(&tokens[at..clause.names[0]]);
            out.push(tokens[*name].clone());
            out.extend_from_slice(&tokens[clause.wait..clause.end]);
        }
        at = clause.end;
    }
    Ok(out)
}

fn qualified(name: &TokenWithSpan, mode: Keyword, lines: &Lines<'_>) -> SqlError {
    let text = format!("FOR {mode:?} must specify unqualified relation names");
    let start = name.span.start;
    SqlError::new(SqlState::SYNTAX_ERROR, text).at(lines.char_at(start.line, start.column))
}

/// The place behind the locking clauses that begin at `at`, if some do.
fn behind_locks(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut end = clause(tokens, at)?.end;
    while let Some(next) = clause(tokens, end) {
        end = next.end;
    }
    Some(end)
}

/// Places within a locking clause.
struct Clause {
    mode: Keyword,
    /// Where each name begins.
    names: Vec<usize>,
    /// Behind the names.
    wait: usize,
    end: usize,
}

/// `FOR UPDATE|SHARE [OF name, …] [NOWAIT|SKIP LOCKED]`.
fn clause(tokens: &[TokenWithSpan], at: usize) -> Option<Clause> {
    let eat = |at: usize, word: Keyword| (keyword(tokens, at) == Some(word)).then(|| next(tokens, at));
    let is = |at: usize, token: Token| tokens.get(at).is_some_and(|t| t.token == token);
    let at = eat(at, Keyword::FOR)?;
    let mode = keyword(tokens, at).filter(|word| matches!(word, Keyword::UPDATE | Keyword::SHARE))?;
    let (mut wait, mut names) = (next(tokens, at), Vec::new());
    if let Some(first) = eat(wait, Keyword::OF) {
        names.push(first);
        wait = next(tokens, first);
        while is(wait, Token::Comma) || is(wait, Token::Period) {
            let part = next(tokens, wait);
            if is(wait, Token::Comma) {
                names.push(part);
            }
            wait = next(tokens, part);
        }
    }
    let skip = || eat(wait, Keyword::SKIP).and_then(|at| eat(at, Keyword::LOCKED));
    let end = eat(wait, Keyword::NOWAIT).or_else(skip).unwrap_or(wait);
    Some(Clause { mode, names, wait, end: end.min(tokens.len()) })
}

/// Where the innermost query around `at` ends.
fn end_of_query(tokens: &[TokenWithSpan], at: usize) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return place,
            Token::RParen => depth -= 1,
            Token::EOF | Token::SemiColon => return place,
            _ => {}
        }
    }
    tokens.len()
}

/// The next token that is not white space.
pub(super) fn next(tokens: &[TokenWithSpan], at: usize) -> usize {
    let mut at = at + 1;
    while matches!(tokens.get(at).map(|t| &t.token), Some(Token::Whitespace(_))) {
        at += 1;
    }
    at
}

pub(super) fn keyword(tokens: &[TokenWithSpan], at: usize) -> Option<Keyword> {
    match &tokens.get(at)?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}
