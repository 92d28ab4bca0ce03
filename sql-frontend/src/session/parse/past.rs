//! `AS OF SYSTEM TIME`, which the parser does not know: taken out of a statement's tokens before it reads them, and read by
//! itself where it stands in `BEGIN` and `SET TRANSACTION`.

use super::{
    command::{AsOf, Command},
    dialect::Dialect,
    place::{Lines, syntax_error},
    reader::{Parse, Reader},
};
use crate::error::SqlError;
use sqlparser::{
    ast::{Expr, UnaryOperator, Value},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Token, TokenWithSpan},
};

/// A clause that stood in a statement.
pub(super) struct Clause {
    /// Where, in bytes.
    pub at: usize,
    pub time: AsOf,
}

const CLAUSE: [&str; 4] = ["as", "of", "system", "time"];

/// Takes the clauses out. Those of `BEGIN`, `START` and `SET` stay; within parentheses there can be none.
pub(super) fn take_clauses(
    tokens: Vec<TokenWithSpan>,
    sql: &str,
    lines: &Lines<'_>,
) -> Result<(Vec<TokenWithSpan>, Vec<Clause>), SqlError> {
    if !tokens.iter().any(|token| is_word(&token.token, "system")) {
        return Ok((tokens, Vec::new()));
    }
    let (mut out, mut clauses) = (Vec::with_capacity(tokens.len()), Vec::new());
    let (mut depth, mut first, mut at) = (0usize, None, 0);
    while at < tokens.len() {
        let token = &tokens[at].token;
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::SemiColon if depth == 0 => first = None,
            Token::Word(word) if first.is_none() => first = Some(word.keyword),
            _ => {}
        }
        let modes = matches!(first, Some(Keyword::BEGIN | Keyword::START | Keyword::SET));
        let Some(behind) = (!modes).then(|| behind_clause(&tokens[at..])).flatten() else {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let start = tokens[at].span.start;
        if depth > 0 {
            return Err(within_parentheses().at(lines.char_at(start.line, start.column)));
        }
        let dialect = Dialect;
        let rest = tokens[at + behind..].to_vec();
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(rest);
        let time = read(&mut parser).map_err(|error| syntax_error(error, sql, lines))?;
        clauses.push(Clause { at: lines.byte_at(start.line, start.column), time });
        at += behind + parser.index();
    }
    Ok((out, clauses))
}

fn within_parentheses() -> SqlError {
    SqlError::unsupported("AS OF SYSTEM TIME within parentheses").hint(
        "A statement has one time for all its tables: AS OF SYSTEM TIME stands behind the tables of the outermost query, or \
         at its end.",
    )
}

fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// How many tokens the words of the clause take, if it begins here.
fn behind_clause(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut at = 0;
    for word in CLAUSE {
        while at > 0 && matches!(tokens.get(at)?.token, Token::Whitespace(_)) {
            at += 1;
        }
        if !is_word(&tokens.get(at)?.token, word) {
            return None;
        }
        at += 1;
    }
    Some(at)
}

fn read(parser: &mut Parser<'_>) -> Parse<AsOf> {
    let expr = parser.parse_expr()?;
    constant(&expr).ok_or_else(|| {
        let what = "AS OF SYSTEM TIME takes a timestamp, a negative interval or a parameter";
        ParserError::ParserError(what.into())
    })
}

fn constant(expr: &Expr) -> Option<AsOf> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Some(AsOf::Text(text.clone()))
            }
            Value::Number(number, _) => Some(AsOf::Text(number.to_string())),
            Value::Placeholder(name) => {
                name.strip_prefix('$')?.parse().ok().filter(|n| *n > 0).map(AsOf::Parameter)
            }
            _ => None,
        },
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => Some(AsOf::Text(text.clone())),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
            Expr::Interval(interval) => negated(constant(&interval.value)?),
            _ => None,
        },
        Expr::Interval(interval) if interval.leading_field.is_none() => constant(&interval.value),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => constant(expr),
        _ => None,
    }
}

/// `- INTERVAL '5s'`.
fn negated(time: AsOf) -> Option<AsOf> {
    match time {
        AsOf::Text(text) if !text.trim_start().starts_with('-') => Some(AsOf::Text(format!("-{text}"))),
        _ => None,
    }
}

/// The statement with its clause.
pub(super) fn attach(command: Command, mut clauses: Vec<Clause>) -> Result<Command, SqlError> {
    let Some(Clause { time, .. }) = clauses.pop() else { return Ok(command) };
    if !clauses.is_empty() {
        return Err(SqlError::unsupported("more than one AS OF SYSTEM TIME in a statement"));
    }
    use sqlparser::ast::Statement;
    let query = |statement: &Statement| match statement {
        Statement::Query(_) => true,
        Statement::Explain { statement, .. } => matches!(**statement, Statement::Query(_)),
        _ => false,
    };
    match command {
        Command::Statement(statement) if query(&statement) => Ok(Command::Past(statement, time)),
        _ => Err(SqlError::unsupported("AS OF SYSTEM TIME in a statement other than SELECT")),
    }
}

impl Reader<'_, '_> {
    /// Behind `AS`, among the modes of a transaction.
    pub(super) fn as_of(&mut self) -> Parse<AsOf> {
        for word in &CLAUSE[1..] {
            self.expect(word)?;
        }
        read(self.parser)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::error::SqlState;

    fn one(sql: &str) -> Command {
        let mut all = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(all.len(), 1, "{sql}");
        all.remove(0).command
    }

    fn past(sql: &str) -> (String, AsOf) {
        match one(sql) {
            Command::Past(statement, time) => (statement.to_string(), time),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn the_clause_stands_behind_the_tables_or_at_the_end() {
        let text = |text: &str| AsOf::Text(text.into());
        for (sql, time) in [
            ("select a from t as of system time '-5s' where a = 1", text("-5s")),
            ("select a from t where a = 1 as of system time '-5s'", text("-5s")),
            ("select a from t  As  Of\nSystem Time timestamptz '2026-01-01' where a = 1", text("2026-01-01")),
            ("select a from t as of system time '2026-01-01'::timestamptz where a = 1", text("2026-01-01")),
            ("select a from t as of system time 200000000.0012 where a = 1", text("200000000.0012")),
            ("select a from t as of system time interval '-5s' where a = 1", text("-5s")),
            ("select a from t as of system time - interval '5s' where a = 1", text("-5s")),
            ("select a from t as of system time $2 where a = 1", AsOf::Parameter(2)),
        ] {
            assert_eq!(past(sql), ("SELECT a FROM t WHERE a = 1".into(), time), "{sql}");
        }
        assert!(past("explain analyze select 1 as of system time '-1s'").0.starts_with("EXPLAIN"));
        let all = parse("select 1; select 2 as of system time '-1s'; select 3").unwrap();
        let is_past: Vec<bool> = all.iter().map(|p| matches!(p.command, Command::Past(..))).collect();
        assert_eq!(is_past, [false, true, false]);
    }

    #[test]
    fn transactions_have_it_among_their_modes() {
        let Command::Begin(modes, _) = one("begin transaction as of system time '-3s', read only") else {
            panic!()
        };
        assert_eq!((modes.as_of, modes.read_only), (Some(AsOf::Text("-3s".into())), Some(true)));
        let Command::SetTransaction(modes) = one("set transaction as of system time '-3s'") else { panic!() };
        assert_eq!(modes.as_of, Some(AsOf::Text("-3s".into())));
    }

    #[test]
    fn elsewhere_it_is_refused() {
        for sql in [
            "insert into t select 1 from u as of system time '-1s'",
            "select 1 as of system time '-1s' union select 2 as of system time '-2s'",
            "declare c cursor for select 1 as of system time '-1s'",
            "copy t to stdout as of system time '-1s'",
            "select (select 1 from t as of system time '-1s')",
            "select * from (select 1 from t as of system time '-1s') x",
            "with x as (select 1 as of system time '-1s') select * from x",
        ] {
            assert_eq!(parse(sql).unwrap_err().sqlstate, SqlState::FEATURE_NOT_SUPPORTED, "{sql}");
        }
        let error = parse("select 1 as of system time now()").unwrap_err();
        assert_eq!(error.sqlstate, SqlState::SYNTAX_ERROR);
        assert!(error.message.starts_with("syntax error: AS OF SYSTEM TIME takes"), "{error}");
        let error = parse("select * from (select 1 from t as of system time '-1s') x").unwrap_err();
        assert_eq!(error.position, Some(32));
        assert!(parse("select a as system from t").is_ok());
    }
}
