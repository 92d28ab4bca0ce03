//! Expressions that PostgreSQL reads otherwise than sqlparser, or that only PostgreSQL knows.

use super::inner;
use sqlparser::{
    ast::{BinaryOperator, Expr, Ident, TrimWhereField, UnaryOperator},
    dialect::{Dialect, Precedence},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

/// What marks the lower bound of `BETWEEN SYMMETRIC`, for which the tree has no place of its own.
pub const SYMMETRIC: &str = "symmetric";

/// As `||` binds, and all operators that have no place of their own.
const OPERATOR: Precedence = Precedence::PgOther;

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
        token @ (Token::Tilde | Token::AtSign | Token::PGSquareRoot | Token::PGCubeRoot) => {
            let op = match token {
                Token::Tilde => UnaryOperator::BitwiseNot,
                Token::AtSign => UnaryOperator::PGAbs,
                Token::PGSquareRoot => UnaryOperator::PGSquareRoot,
                _ => UnaryOperator::PGCubeRoot,
            };
            parser.next_token();
            Some(unary(parser, op, dialect.prec_value(OPERATOR)))
        }
        Token::LParen => inner::subquery(parser),
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

/// `a ISNULL`, the other word for `a IS NULL`: sqlparser knows `NOTNULL` only, and would take it for an alias.
fn is_isnull(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("isnull"))
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
    if !associates(left, &next.token) {
        return Some(parser.expected("the expression's end", next));
    }
    if is(&next.token, Keyword::IS) {
        return distinct(dialect, parser, left);
    }
    if is_isnull(&next.token) {
        parser.next_token();
        return Some(Ok(Expr::IsNull(Box::new(left.clone()))));
    }
    // Behind `::text`; behind a plain value it is sqlparser's.
    if parser.parse_keyword(Keyword::COLLATE) {
        let expr = Box::new(left.clone());
        return Some(parser.parse_object_name(false).map(|collation| Expr::Collate { expr, collation }));
    }
    if let Some(any) = any_pattern(parser, left) {
        return Some(any);
    }
    let negated = is(&next.token, Keyword::NOT);
    let at = usize::from(negated);
    if is(&parser.peek_nth_token(at).token, Keyword::IN) {
        return Some(is_in(parser, left, negated));
    }
    if !is(&parser.peek_nth_token(at).token, Keyword::BETWEEN) {
        return None;
    }
    let (symmetric, words) = match parser.peek_nth_token(at + 1).token {
        Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_lowercase().as_str() {
            "symmetric" => (true, 2),
            "asymmetric" => (false, 2),
            _ => (false, 1),
        },
        _ => (false, 1),
    };
    for _ in 0..at + words {
        parser.next_token();
    }
    Some(between(dialect, parser, left, negated, symmetric))
}

/// `[NOT] IN` a list or a query.
fn is_in(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    for _ in 0..1 + usize::from(negated) {
        parser.next_token();
    }
    let expr = Box::new(left.clone());
    let query = inner::begins_query(parser);
    parser.expect_token(&Token::LParen)?;
    let found = if query {
        Expr::InSubquery { expr, subquery: parser.parse_query()?, negated }
    } else {
        Expr::InList { expr, list: parser.parse_comma_separated(Parser::parse_expr)?, negated }
    };
    parser.expect_token(&Token::RParen)?;
    Ok(found)
}

/// Whether what is read so far may be followed so: `1 < 2 = true` is wrong, and `1 IS DISTINCT FROM 2 IS NULL`.
fn associates(left: &Expr, next: &Token) -> bool {
    match left {
        Expr::BinaryOp { op, .. } if compares(op) => !is_comparison(next),
        Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => {
            ![Keyword::IS, Keyword::NOTNULL].iter().any(|word| is(next, *word)) && !is_isnull(next)
        }
        Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => true,
        Expr::Between { .. } | Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } => {
            use Keyword::{BETWEEN, ILIKE, IN, LIKE, NOT, SIMILAR};
            ![BETWEEN, ILIKE, IN, LIKE, NOT, SIMILAR].iter().any(|word| is(next, *word))
        }
        _ => true,
    }
}

/// `IS [NOT] DISTINCT FROM`: what stands behind it ends where `AND` begins. Other forms of `IS` are sqlparser's.
fn distinct(dialect: &impl Dialect, parser: &mut Parser, left: &Expr) -> Option<Result<Expr, ParserError>> {
    let negated = is(&parser.peek_nth_token(1).token, Keyword::NOT);
    let words: &[Keyword] = match negated {
        true => &[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM],
        false => &[Keyword::IS, Keyword::DISTINCT, Keyword::FROM],
    };
    if !parser.parse_keywords(words) {
        return None;
    }
    let left = Box::new(left.clone());
    let right = parser.parse_subexpr(dialect.prec_value(Precedence::Is)).map(Box::new);
    let of = if negated { Expr::IsNotDistinctFrom } else { Expr::IsDistinctFrom };
    Some(right.map(|right| of(left, right)))
}

/// How tightly the next operator binds, where that is not as sqlparser has it: what is no comparison by its name (`~`, `!~~*`,
/// `OPERATOR(…)`) binds as all other operators.
pub(super) fn next_precedence(dialect: &impl Dialect, parser: &Parser) -> Option<u8> {
    let next = parser.peek_token().token;
    if is_isnull(&next) {
        return Some(dialect.prec_value(Precedence::Is));
    }
    let binds = pattern_operator(&next).is_some() || is(&next, Keyword::OPERATOR);
    binds.then(|| dialect.prec_value(OPERATOR))
}

fn pattern_operator(token: &Token) -> Option<BinaryOperator> {
    Some(match token {
        Token::Tilde => BinaryOperator::PGRegexMatch,
        Token::TildeAsterisk => BinaryOperator::PGRegexIMatch,
        Token::ExclamationMarkTilde => BinaryOperator::PGRegexNotMatch,
        Token::ExclamationMarkTildeAsterisk => BinaryOperator::PGRegexNotIMatch,
        Token::DoubleTilde => BinaryOperator::PGLikeMatch,
        Token::DoubleTildeAsterisk => BinaryOperator::PGILikeMatch,
        Token::ExclamationMarkDoubleTilde => BinaryOperator::PGNotLikeMatch,
        Token::ExclamationMarkDoubleTildeAsterisk => BinaryOperator::PGNotILikeMatch,
        _ => return None,
    })
}

/// What `LIKE` is called as an operator.
fn like_operator(ignoring_case: bool, negated: bool) -> BinaryOperator {
    match (ignoring_case, negated) {
        (false, false) => BinaryOperator::PGLikeMatch,
        (false, true) => BinaryOperator::PGNotLikeMatch,
        (true, false) => BinaryOperator::PGILikeMatch,
        (true, true) => BinaryOperator::PGNotILikeMatch,
    }
}

/// `~ ANY (…)`, `LIKE ANY (…)` (or `SOME`, or `ALL`) and `= ANY (VALUES …)`, which end with their parentheses.
fn any_pattern(parser: &mut Parser, left: &Expr) -> Option<Result<Expr, ParserError>> {
    use Keyword::{ALL, ANY, ILIKE, LIKE, NOT, SOME};
    let negated = is(&parser.peek_token().token, NOT);
    let at = usize::from(negated);
    let (first, word) = (parser.peek_nth_token(at).token, parser.peek_nth_token(at + 1).token);
    let quantified = [ANY, ALL, SOME].iter().any(|keyword| is(&word, *keyword));
    if !quantified || parser.peek_nth_token(at + 2).token != Token::LParen {
        return None;
    }
    let like = is(&first, LIKE) || is(&first, ILIKE);
    let all = (like && is(&word, ALL)).then(|| like_operator(is(&first, ILIKE), negated));
    let values = || inner::begins_values(parser, at + 2).then(|| comparison(&first)).flatten();
    let compare_op = pattern_operator(&first).or_else(values).filter(|_| !negated).or(all);
    if !like && compare_op.is_none() {
        return None;
    }
    for _ in 0..at + 2 {
        parser.next_token();
    }
    let right = match parser.parse_prefix() {
        Ok(Expr::Nested(inner)) => inner,
        Ok(right) => Box::new(right),
        Err(error) => return Some(Err(error)),
    };
    let (expr, any, escape_char) = (Box::new(left.clone()), true, None);
    Some(Ok(match compare_op {
        Some(compare_op) if is(&word, ALL) => Expr::AllOp { left: expr, compare_op, right },
        Some(compare_op) => Expr::AnyOp { left: expr, compare_op, right, is_some: is(&word, SOME) },
        None if is(&first, LIKE) => Expr::Like { negated, any, expr, pattern: right, escape_char },
        None => Expr::ILike { negated, any, expr, pattern: right, escape_char },
    }))
}

fn between(
    dialect: &impl Dialect,
    parser: &mut Parser,
    expr: &Expr,
    negated: bool,
    symmetric: bool,
) -> Result<Expr, ParserError> {
    // The lower bound ends at its `AND`, so comparisons may stand in it; the upper one ends as any operand.
    let mut low = Box::new(parser.parse_subexpr(dialect.prec_value(Precedence::UnaryNot))?);
    parser.expect_keyword(Keyword::AND)?;
    let high = Box::new(parser.parse_subexpr(dialect.prec_value(Precedence::Between))?);
    if symmetric {
        low = Box::new(Expr::Prefixed { prefix: Ident::new(SYMMETRIC), value: low });
    }
    Ok(Expr::Between { expr: Box::new(expr.clone()), negated, low, high })
}

fn is_comparison(token: &Token) -> bool {
    comparison(token).is_some()
}

fn comparison(token: &Token) -> Option<BinaryOperator> {
    Some(match token {
        Token::Eq => BinaryOperator::Eq,
        Token::Neq => BinaryOperator::NotEq,
        Token::Lt => BinaryOperator::Lt,
        Token::LtEq => BinaryOperator::LtEq,
        Token::Gt => BinaryOperator::Gt,
        Token::GtEq => BinaryOperator::GtEq,
        _ => return None,
    })
}

fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}
