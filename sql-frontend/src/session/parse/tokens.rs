//! What the parser does not know, said in tokens that it knows. Places in the text stay what they were.

use crate::{
    error::{SqlError, SqlState},
    types::text::truncate_name,
};
use sqlparser::{
    keywords::Keyword,
    tokenizer::{Span, Token, TokenWithSpan, Whitespace},
};

/// Rewrites a text's tokens; what the client should be told of goes to `notices`.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>, notices: &mut Vec<SqlError>) -> Vec<TokenWithSpan> {
    let mut rewriter = Rewriter { out: Vec::with_capacity(tokens.len()), first: None, last: None };
    let mut at = 0;
    while at < tokens.len() {
        at += rewriter.take(&tokens[at..], notices);
    }
    rewriter.out
}

struct Rewriter {
    out: Vec<TokenWithSpan>,
    /// The first word of the statement.
    first: Option<Keyword>,
    /// The token before this one, without white space.
    last: Option<Token>,
}

impl Rewriter {
    /// Takes the first of these tokens, and as many more as belong to it.
    fn take(&mut self, tokens: &[TokenWithSpan], notices: &mut Vec<SqlError>) -> usize {
        let (token, span) = (&tokens[0].token, tokens[0].span);
        let mut taken = 1;
        match token {
            Token::Whitespace(space) => {
                self.out.push(tokens[0].clone());
                // The comment's own line end counts where strings on two lines are one.
                if let Whitespace::SingleLineComment { comment, .. } = space
                    && comment.ends_with('\n')
                {
                    self.put(Token::Whitespace(Whitespace::Newline), span);
                }
                return taken;
            }
            Token::Word(word) => match word.keyword {
                Keyword::TABLE if self.begins_query(&tokens[1..]) => {
                    for part in [keyword("SELECT"), Token::Mul, keyword("FROM")] {
                        self.put(part, span);
                    }
                }
                Keyword::SELECT if ends_list(follow(&tokens[1..], 0)) => {
                    self.out.push(tokens[0].clone());
                    self.one_row(span);
                }
                Keyword::ONLY if word.quote_style.is_none() && self.before_relation(&tokens[1..]) => {
                    return taken;
                }
                Keyword::ARRAY if word.quote_style.is_none() && self.ends_type() => {
                    if follow(&tokens[1..], 0) != Some(&Token::LBracket) {
                        self.put(Token::LBracket, span);
                        self.put(Token::RBracket, span);
                    }
                }
                Keyword::FETCH if counts_rows(&tokens[1..]) => {
                    self.put(keyword("LIMIT"), span);
                    taken += behind(&tokens[1..], 0);
                }
                Keyword::ROW | Keyword::ROWS if self.ends_count(&tokens[1..]) => {
                    return taken + behind(&tokens[1..], 0);
                }
                Keyword::FOR => {
                    self.out.push(tokens[0].clone());
                    taken += lock_words(&tokens[1..]);
                }
                _ if word.value.len() > truncate_name(&word.value).len() => {
                    let mut short = word.clone();
                    short.value = truncate_name(&word.value).to_string();
                    notices.push(truncated(&word.value, &short.value));
                    self.put(Token::Word(short), span);
                }
                _ => self.out.push(tokens[0].clone()),
            },
            _ => self.out.push(tokens[0].clone()),
        }
        if self.last.is_none() || self.last == Some(Token::SemiColon) {
            self.first = word(token);
        }
        self.last = Some(token.clone());
        taken
    }

    fn put(&mut self, token: Token, span: Span) {
        self.out.push(TokenWithSpan { token, span });
    }

    /// `TABLE t` where a query may stand.
    fn begins_query(&self, rest: &[TokenWithSpan]) -> bool {
        if !matches!(follow(rest, 0), Some(Token::Word(_))) {
            return false;
        }
        match &self.last {
            None | Some(Token::SemiColon | Token::LParen | Token::RParen) => true,
            Some(Token::Word(before)) => match before.keyword {
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::AS => true,
                Keyword::ALL | Keyword::DISTINCT => self.first != Some(Keyword::GRANT),
                Keyword::FOR => self.first == Some(Keyword::DECLARE),
                Keyword::EXPLAIN | Keyword::ANALYZE | Keyword::VERBOSE => {
                    self.first == Some(Keyword::EXPLAIN)
                }
                _ => self.first == Some(Keyword::INSERT),
            },
            _ => false,
        }
    }

    /// Whether a type's name may end here. `ARRAY` behind it makes it an array's; it is no name, so that it can stand behind no
    /// other name.
    fn ends_type(&self) -> bool {
        match &self.last {
            // Behind a value it is an error, and no name for it.
            Some(Token::RParen | Token::RBracket | Token::Number(..) | Token::SingleQuotedString(_)) => true,
            Some(Token::Word(before)) => before.quote_style.is_some() || names_type(before.keyword),
            _ => false,
        }
    }

    /// `ONLY` before a relation: without inheritance it means nothing. It is no name, so that it can stand nowhere else
    /// behind these.
    fn before_relation(&self, rest: &[TokenWithSpan]) -> bool {
        let relation = matches!(follow(rest, 0), Some(Token::Word(_) | Token::LParen));
        relation
            && match &self.last {
                Some(Token::Comma) => true,
                Some(Token::Word(before)) => {
                    matches!(before.keyword, Keyword::UPDATE | Keyword::FROM | Keyword::JOIN)
                }
                _ => false,
            }
    }

    /// Whether this is the rest of what [`counts_rows`] begins.
    fn ends_count(&self, rest: &[TokenWithSpan]) -> bool {
        self.last == Some(Token::RParen) && follow(rest, 0).and_then(word) == Some(Keyword::ONLY)
    }

    /// `SELECT` without columns and without `FROM`: of one row that has a name no statement uses.
    fn one_row(&mut self, span: Span) {
        let name = Token::make_word("?", Some('"'));
        let values = [keyword("FROM"), Token::LParen, keyword("VALUES"), Token::LParen, keyword("NULL")];
        for token in values.into_iter().chain([Token::RParen, Token::RParen, name]) {
            self.put(token, span);
        }
    }
}

fn keyword(word: &str) -> Token {
    Token::make_word(word, None)
}

fn word(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    }
}

/// Words with which a type's name ends; others are of no meaning to the parser.
fn names_type(word: Keyword) -> bool {
    matches!(
        word,
        Keyword::NoKeyword
            | Keyword::BIGINT
            | Keyword::BOOL
            | Keyword::BOOLEAN
            | Keyword::BYTEA
            | Keyword::CHAR
            | Keyword::CHARACTER
            | Keyword::DATE
            | Keyword::DEC
            | Keyword::DECIMAL
            | Keyword::FLOAT
            | Keyword::FLOAT4
            | Keyword::FLOAT8
            | Keyword::INT
            | Keyword::INT2
            | Keyword::INT4
            | Keyword::INT8
            | Keyword::INTEGER
            | Keyword::INTERVAL
            | Keyword::JSON
            | Keyword::NUMERIC
            | Keyword::PRECISION
            | Keyword::REAL
            | Keyword::SMALLINT
            | Keyword::TEXT
            | Keyword::TIME
            | Keyword::TIMESTAMP
            | Keyword::TIMESTAMPTZ
            | Keyword::UUID
            | Keyword::VARCHAR
            | Keyword::VARYING
            | Keyword::ZONE
    )
}

/// The token after so many others, without white space.
fn follow(tokens: &[TokenWithSpan], skip: usize) -> Option<&Token> {
    tokens.iter().map(|t| &t.token).filter(|t| !matches!(t, Token::Whitespace(_))).nth(skip)
}

/// How many tokens there are up to the end of the one after so many others.
fn behind(tokens: &[TokenWithSpan], skip: usize) -> usize {
    let solid = tokens.iter().enumerate().filter(|(_, t)| !matches!(t.token, Token::Whitespace(_)));
    solid.map(|(at, _)| at + 1).nth(skip).unwrap_or(tokens.len())
}

/// `FETCH FIRST (…) ROWS ONLY`, which is `LIMIT (…)`; the parser reads plain numbers only.
fn counts_rows(rest: &[TokenWithSpan]) -> bool {
    matches!(follow(rest, 0).and_then(word), Some(Keyword::FIRST | Keyword::NEXT))
        && follow(rest, 1) == Some(&Token::LParen)
}

/// Whether a select list that is empty ends here.
fn ends_list(next: Option<&Token>) -> bool {
    match next {
        None | Some(Token::EOF | Token::SemiColon | Token::RParen) => true,
        Some(Token::Word(word)) => matches!(
            word.keyword,
            Keyword::WHERE
                | Keyword::GROUP
                | Keyword::HAVING
                | Keyword::WINDOW
                | Keyword::ORDER
                | Keyword::LIMIT
                | Keyword::OFFSET
                | Keyword::FETCH
                | Keyword::FOR
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::ON
                | Keyword::RETURNING
        ),
        _ => false,
    }
}

/// Tokens to leave out behind `FOR`: `NO KEY UPDATE` and `KEY SHARE` are carried out as `UPDATE` and `SHARE`, which exclude
/// more.
fn lock_words(rest: &[TokenWithSpan]) -> usize {
    let is = |at: usize, text: &str| match follow(rest, at) {
        Some(Token::Word(word)) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text),
        _ => false,
    };
    let words = if is(0, "no") && is(1, "key") && is(2, "update") {
        2
    } else if is(0, "key") && is(1, "share") {
        1
    } else {
        return 0;
    };
    let place = rest.iter().enumerate().filter(|(_, t)| !matches!(t.token, Token::Whitespace(_))).nth(words);
    place.map_or(0, |(at, _)| at)
}

fn truncated(long: &str, short: &str) -> SqlError {
    let text = format!("identifier \"{long}\" will be truncated to \"{short}\"");
    SqlError::new(SqlState("42622"), text)
}
