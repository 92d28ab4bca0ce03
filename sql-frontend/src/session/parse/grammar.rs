//! Expressions that PostgreSQL reads otherwise than sqlparser, or that only PostgreSQL knows.

use sqlparser::{
    ast::{BinaryOperator, Expr, Ident, TrimWhereField, UnaryOperator},
    dialect::{Dialect, Precedence},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

/// What marks the lower bound of `BETWEEN SYMMETRIC`, for which the tree has no place of its own.
pub const SYMMETRIC: &str = "symmetric";

/// Binds tighter than `COLLATE`, `AT TIME ZONE` and `^`, and less tightly than subscripts and `::`.
const UNARY_MINUS: u8 = 125;

/// An expression's beginning, if it is one of these.
pub(super) fn prefix(dialect: &impl Dialect, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let second = || parser.peek_nth_token(1).token;
    match parser.peek_token().token {
        token @ (Token::Minus | Token::Plus) => {
            let op = if token == Token::Minus { UnaryOperator::Minus } else { UnaryOperator::Plus };
            parser.next_token();
            Some(unary(parser, op, UNARY_MINUS))
        }
        // `NOT EXISTS (…) IS NULL` is a `NOT` like any other.
        Token::Word(word) if word.keyword == Keyword::NOT && is(&second(), Keyword::EXISTS) => {
            parser.next_token();
            Some(unary(parser, UnaryOperator::Not, dialect.prec_value(Precedence::UnaryNot)))
        }
        Token::Word(word) if word.keyword == Keyword::TRIM && second() == Token::LParen => trim(parser),
        _ => None,
    }
}

fn unary(parser: &mut Parser, op: UnaryOperator, precedence: u8) -> Result<Expr, ParserError> {
    let expr = Box::new(parser.parse_subexpr(precedence)?);
    Ok(Expr::UnaryOp { op, expr })
}

fn is(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.keyword == keyword)
}

/// `TRIM(LEADING|TRAILING|BOTH …)` and `TRIM(FROM …)`; without these words it is sqlparser's.
fn trim(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let trim_where = match parser.peek_nth_token(2).token {
        token if is(&token, Keyword::LEADING) => Some(TrimWhereField::Leading),
        token if is(&token, Keyword::TRAILING) => Some(TrimWhereField::Trailing),
        token if is(&token, Keyword::BOTH) => Some(TrimWhereField::Both),
        token if is(&token, Keyword::FROM) => None,
        _ => return None,
    };
    for _ in 0..2 + usize::from(trim_where.is_some()) {
        parser.next_token();
    }
    Some(trimmed(parser, trim_where))
}

/// `[[characters] FROM] text [, characters])`.
fn trimmed(parser: &mut Parser, trim_where: Option<TrimWhereField>) -> Result<Expr, ParserError> {
    let (mut trim_what, mut trim_characters) = (None, None);
    if !parser.parse_keyword(Keyword::FROM) {
        trim_what = Some(Box::new(parser.parse_expr()?));
    }
    let expr = match trim_what.take_if(|_| !parser.parse_keyword(Keyword::FROM)) {
        Some(text) => text,
        None => Box::new(parser.parse_expr()?),
    };
    if parser.consume_token(&Token::Comma) {
        trim_characters = Some(parser.parse_comma_separated(Parser::parse_expr)?);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Trim { expr, trim_where, trim_what, trim_characters })
}

/// What follows an expression, if it is one of these.
pub(super) fn infix(
    dialect: &impl Dialect,
    parser: &mut Parser,
    left: &Expr,
) -> Option<Result<Expr, ParserError>> {
    let next = parser.peek_token();
    if is_comparison(&next.token) && matches!(left, Expr::BinaryOp { op, .. } if compares(op)) {
        // Comparisons do not associate: `1 < 2 = true` is wrong.
        return Some(parser.expected("the expression's end", next));
    }
    let negated = is(&next.token, Keyword::NOT);
    let at = usize::from(negated);
    if !is(&parser.peek_nth_token(at).token, Keyword::BETWEEN) {
        return None;
    }
    let symmetric = match parser.peek_nth_token(at + 1).token {
        Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_lowercase().as_str() {
            "symmetric" => true,
            "asymmetric" => false,
            _ => return None,
        },
        _ => return None,
    };
    for _ in 0..at + 2 {
        parser.next_token();
    }
    Some(between(parser, left, negated, symmetric, dialect.prec_value(Precedence::Between)))
}

fn between(
    parser: &mut Parser,
    expr: &Expr,
    negated: bool,
    symmetric: bool,
    precedence: u8,
) -> Result<Expr, ParserError> {
    let mut low = Box::new(parser.parse_subexpr(precedence)?);
    parser.expect_keyword(Keyword::AND)?;
    let high = Box::new(parser.parse_subexpr(precedence)?);
    if symmetric {
        low = Box::new(Expr::Prefixed { prefix: Ident::new(SYMMETRIC), value: low });
    }
    Ok(Expr::Between { expr: Box::new(expr.clone()), negated, low, high })
}

fn is_comparison(token: &Token) -> bool {
    matches!(token, Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq)
}

fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}
