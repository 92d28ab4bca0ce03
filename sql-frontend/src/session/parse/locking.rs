//! `FOR UPDATE LIMIT 1`: PostgreSQL takes the locking clauses and the limit in either order, the parser only one of them.

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

/// The place behind the locking clauses that begin at `at`, if some do.
fn behind_locks(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut end = behind_lock(tokens, at)?;
    while let Some(next) = behind_lock(tokens, end) {
        end = next;
    }
    Some(end)
}

/// `FOR UPDATE|SHARE [OF name, …] [NOWAIT|SKIP LOCKED]`.
fn behind_lock(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let eat = |at: usize, word: Keyword| (keyword(tokens, at) == Some(word)).then(|| next(tokens, at));
    let at = eat(at, Keyword::FOR)?;
    let mut at = eat(at, Keyword::UPDATE).or_else(|| eat(at, Keyword::SHARE))?;
    if let Some(mut name) = eat(at, Keyword::OF) {
        at = next(tokens, name);
        while matches!(tokens.get(at).map(|t| &t.token), Some(Token::Comma | Token::Period)) {
            name = next(tokens, at);
            at = next(tokens, name);
        }
    }
    let skip = || eat(at, Keyword::SKIP).and_then(|at| eat(at, Keyword::LOCKED));
    Some(eat(at, Keyword::NOWAIT).or_else(skip).unwrap_or(at))
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
fn next(tokens: &[TokenWithSpan], at: usize) -> usize {
    let mut at = at + 1;
    while matches!(tokens.get(at).map(|t| &t.token), Some(Token::Whitespace(_))) {
        at += 1;
    }
    at
}

fn keyword(tokens: &[TokenWithSpan], at: usize) -> Option<Keyword> {
    match &tokens.get(at)?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}
