//! Bounds on the depth of a statement, which all that walk its tree rely on.

use super::place::Lines;
use crate::error::{SqlError, SqlState};
use sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan},
};

/// Nesting of parentheses, subqueries and the like.
pub(super) const MAX_NESTING: usize = 128;
/// Operators in one expression: chains of them become trees just as deep.
const MAX_CHAIN: usize = 1000;

/// Set operations in one statement: their tree is as deep as the chain is long, and each level is planned on its own.
const MAX_SETS: usize = 200;

/// Calls within one another of functions with a syntax of their own. Where such a call cannot be read, the parser reads it once
/// more as a call of any function, and all that is in it: each level doubles the time until an error is told.
const MAX_SPECIAL: usize = 10;

/// 54001 for special calls that nest too deep.
pub(super) fn limit_special(tokens: &[TokenWithSpan], lines: &Lines<'_>) -> Result<(), SqlError> {
    let (mut special, mut open, mut deep) = (false, Vec::new(), 0);
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen => {
                open.push(special);
                deep += usize::from(special);
            }
            Token::RParen => deep -= usize::from(open.pop().unwrap_or(false)),
            Token::SemiColon => (open, deep) = (Vec::new(), 0),
            _ => {}
        }
        if deep > MAX_SPECIAL {
            let at = lines.char_at(token.span.start.line, token.span.start.column);
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .detail(format!(
                    "Calls of ceil, convert, extract, floor, overlay, position and substring may nest {MAX_SPECIAL} deep."
                ))
                .at(at));
        }
        special = matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && is_special(word.keyword));
    }
    Ok(())
}

fn is_special(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::CEIL
            | Keyword::CONVERT
            | Keyword::EXTRACT
            | Keyword::FLOOR
            | Keyword::OVERLAY
            | Keyword::POSITION
            | Keyword::SUBSTR
            | Keyword::SUBSTRING
    )
}

/// 54001 for a chain of operators that is too long.
pub(super) fn limit_chains(tokens: &[TokenWithSpan], lines: &Lines<'_>) -> Result<(), SqlError> {
    let mut run = 0;
    let mut sets = 0;
    for token in tokens {
        match &token.token {
            Token::Comma => run = 0,
            Token::SemiColon => (run, sets) = (0, 0),
            Token::Word(word) => match word.keyword {
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::VALUES | Keyword::SET => run = 0,
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::JOIN
                | Keyword::COLLATE => run += 1,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => sets += 1,
                _ => {}
            },
            Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen => {}
            _ => run += 1,
        }
        // An `AND` of comparisons counts each of them twice.
        if run > 2 * MAX_CHAIN || sets > MAX_SETS {
            return Err(too_complex().at(lines.char_at(token.span.start.line, token.span.start.column)));
        }
    }
    Ok(())
}

pub(super) fn too_complex() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .detail(format!(
            "Expressions may nest {MAX_NESTING} deep and chain {MAX_CHAIN} operators; a statement may combine \
             {MAX_SETS} queries."
        ))
        .hint("Use IN (…) or VALUES for long lists.")
}
