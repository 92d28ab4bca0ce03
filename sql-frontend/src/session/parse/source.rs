//! `INSERT INTO t (VALUES …)`: for the parser a parenthesis behind the table opens a list of columns unless `SELECT` follows.

use super::locking::{keyword, next};
use sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Whitespace},
};

/// The same tokens with every source in parentheses in a form that the parser takes for one.
pub(super) fn plain_sources(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let inserts: Vec<usize> = (0..tokens.len()).filter_map(|at| source(&tokens, at)).collect();
    if inserts.is_empty() {
        return tokens;
    }
    let ends = ends(&tokens);
    let headed: Vec<usize> = inserts.into_iter().filter_map(|at| open(&mut tokens, &ends, at)).collect();
    let mut headed = headed.into_iter().peekable();
    let mut out = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.into_iter().enumerate() {
        if headed.next_if_eq(&at).is_some() {
            out.extend(head().map(|part| TokenWithSpan { token: part, span: token.span }));
        }
        out.push(token);
    }
    out
}

/// The parenthesis behind `INSERT INTO name [AS alias]`, if it opens a query that the parser would not see.
fn source(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    if keyword(tokens, at) != Some(Keyword::INSERT)
        || keyword(tokens, next(tokens, at)) != Some(Keyword::INTO)
    {
        return None;
    }
    let mut at = next(tokens, next(tokens, at));
    while tokens.get(next(tokens, at)).is_some_and(|t| t.token == Token::Period) {
        at = next(tokens, next(tokens, at));
    }
    at = next(tokens, at);
    if keyword(tokens, at) == Some(Keyword::AS) {
        at = next(tokens, next(tokens, at));
    }
    hides_query(tokens, at).then_some(at)
}

fn hides_query(tokens: &[TokenWithSpan], at: usize) -> bool {
    let opens = |at: usize| tokens.get(at).is_some_and(|t| t.token == Token::LParen);
    let inner = next(tokens, at);
    let query = match keyword(tokens, inner) {
        Some(Keyword::WITH) => true,
        Some(Keyword::VALUES) => opens(next(tokens, inner)),
        _ => opens(inner),
    };
    opens(at) && query
}

/// Takes parentheses around the whole source away, as long as the parser needs that; the place of what needs a head is left.
fn open(tokens: &mut [TokenWithSpan], ends: &[usize], mut at: usize) -> Option<usize> {
    while hides_query(tokens, at) {
        let end = ends[at];
        if end == tokens.len() {
            return None;
        }
        let whole = match tokens.get(next(tokens, end)).map(|t| &t.token) {
            None | Some(Token::EOF | Token::SemiColon | Token::RParen) => true,
            _ => matches!(keyword(tokens, next(tokens, end)), Some(Keyword::ON | Keyword::RETURNING)),
        };
        if !whole {
            return Some(at);
        }
        for place in [at, end] {
            tokens[place].token = Token::Whitespace(Whitespace::Space);
        }
        at = next(tokens, at);
    }
    None
}

/// For each parenthesis that opens, where its statement closes it.
fn ends(tokens: &[TokenWithSpan]) -> Vec<usize> {
    let (mut ends, mut open) = (vec![tokens.len(); tokens.len()], Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => open.push(at),
            Token::SemiColon => open.clear(),
            Token::RParen => {
                if let Some(start) = open.pop() {
                    ends[start] = at;
                }
            }
            _ => {}
        }
    }
    ends
}

/// `WITH "?" AS (VALUES (NULL))`, a query that no statement can name: behind `WITH` the parser expects no columns.
fn head() -> [Token; 9] {
    let word = |text| Token::make_word(text, None);
    [
        word("WITH"),
        Token::make_word("?", Some('"')),
        word("AS"),
        Token::LParen,
        word("VALUES"),
        Token::LParen,
        word("NULL"),
        Token::RParen,
        Token::RParen,
    ]
}
