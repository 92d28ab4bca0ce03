//! Queries in parentheses where expressions may stand. Which of the two it is, the tokens tell, so that nothing is read twice.

use sqlparser::{
    ast::Expr,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

/// `(VALUES …)` and `((SELECT …) UNION …)`, which the parser would not take for queries. It stands before the parenthesis.
pub(super) fn subquery(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let unclear = match parser.peek_nth_token(1).token {
        Token::LParen => true,
        token => word(&token) == Some(Keyword::VALUES),
    };
    if !unclear || !begins_query(parser) {
        return None;
    }
    parser.next_token();
    let query = parser.parse_query();
    Some(query.and_then(|query| parser.expect_token(&Token::RParen).map(|_| Expr::Subquery(query))))
}

/// Whether a query stands in the parentheses that come next: in `((SELECT …), …)` a list does.
pub(super) fn begins_query(parser: &Parser) -> bool {
    is_query(parser, behind_first(parser))
}

/// Whether `(VALUES` stands there.
pub(super) fn begins_values(parser: &Parser, nth: usize) -> bool {
    let at = |skip| parser.peek_nth_token(nth + skip).token;
    at(0) == Token::LParen && word(&at(1)) == Some(Keyword::VALUES) && at(2) == Token::LParen
}

/// The place behind the next token.
fn behind_first(parser: &Parser) -> usize {
    solid(parser, parser.index()) + 1
}

/// Whether a query begins there. `(SELECT 1), 2` and `(SELECT 1) + 1` are none.
fn is_query(parser: &Parser, at: usize) -> bool {
    let (mut at, mut open) = (solid(parser, at), 0);
    while parser.token_at(at).token == Token::LParen {
        (at, open) = (solid(parser, at + 1), open + 1);
    }
    let begins = match word(&parser.token_at(at).token) {
        Some(Keyword::SELECT | Keyword::WITH) => true,
        Some(Keyword::VALUES) => parser.token_at(solid(parser, at + 1)).token == Token::LParen,
        _ => false,
    };
    let mut inside = 0;
    while begins && open > 0 {
        match &parser.token_at(at).token {
            Token::EOF | Token::SemiColon => return true,
            Token::LParen => inside += 1,
            Token::RParen if inside > 0 => inside -= 1,
            Token::RParen if !goes_on(&parser.token_at(solid(parser, at + 1)).token) => return false,
            Token::RParen => open -= 1,
            _ => {}
        }
        at += 1;
    }
    begins
}

/// Whether what stands behind a query in parentheses leaves it one.
fn goes_on(next: &Token) -> bool {
    use Keyword::{EXCEPT, FETCH, FOR, INTERSECT, LIMIT, OFFSET, ORDER, UNION};
    *next == Token::RParen
        || matches!(word(next), Some(UNION | INTERSECT | EXCEPT | ORDER | LIMIT | OFFSET | FETCH | FOR))
}

/// The first place from there on without white space.
fn solid(parser: &Parser, mut at: usize) -> usize {
    while matches!(parser.token_at(at).token, Token::Whitespace(_)) {
        at += 1;
    }
    at
}

fn word(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}
