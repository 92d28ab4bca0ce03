//! From the client's text to commands. Statements on data and schema are sqlparser's; what only concerns the session, and our
//! own statements, are read here, strictly.

use crate::error::{SqlError, SqlState};
use sqlparser::{
    ast::{self, Expr, Ident, ObjectName},
    dialect::PostgreSqlDialect,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace},
};
use std::ops::Range;

/// Nesting of parentheses, subqueries and the like.
const MAX_NESTING: usize = 128;
/// Operators in one expression: chains of them become trees just as deep.
const MAX_CHAIN: usize = 1000;

/// One statement of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub command: Command,
    /// Where it stands in the text, in bytes.
    pub range: Range<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    pub isolation: Option<Level>,
    pub read_only: Option<bool>,
}

/// Isolation levels as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// A statement, sorted by who carries it out.
#[derive(Clone, Debug)]
pub enum Command {
    Statement(Box<ast::Statement>),
    Begin(Modes),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    SetTransaction(Modes),
    SetCharacteristics(Modes),
    /// No value: `DEFAULT`.
    Set {
        local: bool,
        name: String,
        value: Option<Vec<String>>,
    },
    Reset(String),
    ResetAll,
    Show(String),
    ShowAll,
    ShowShards(ObjectName),
    ShowEvidence(String),
    SplitAt {
        table: ObjectName,
        rows: Vec<Vec<Expr>>,
    },
    Scatter(ObjectName),
    Discard(Discard),
    /// None: all of them.
    Deallocate(Option<String>),
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Box<ast::Statement>,
        body: Range<usize>,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// `VACUUM` or `ANALYZE`, with the tables named.
    Maintenance {
        vacuum: bool,
        tables: Vec<ObjectName>,
    },
    Checkpoint,
    Copy(Box<Copy>),
}

/// `COPY`.
#[derive(Clone, Debug)]
pub struct Copy {
    pub source: CopySource,
    /// FROM STDIN, or else TO STDOUT.
    pub from: bool,
    pub options: CopyOptions,
}

#[derive(Clone, Debug)]
pub enum CopySource {
    /// No columns named: all.
    Table(ObjectName, Vec<String>),
    Query(Box<ast::Query>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    pub csv: bool,
    pub delimiter: u8,
    pub null: String,
    pub header: bool,
    pub quote: u8,
    pub escape: u8,
    pub freeze: bool,
}

/// Parses a whole text; an error anywhere means that nothing of it runs, as in PostgreSQL.
pub fn parse(sql: &str) -> Result<Vec<Parsed>, SqlError> {
    let dialect = PostgreSqlDialect {};
    let lines = Lines::new(sql);
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| {
        let position = lines.char_at(error.location.line, error.location.column);
        SqlError::new(SqlState::SYNTAX_ERROR, lower_first(&error.message)).at(position)
    })?;
    limit_chains(&tokens, &lines)?;
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(MAX_NESTING).with_tokens_with_locations(tokens);
    let mut all = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        let first = parser.peek_token();
        if first.token == Token::EOF {
            return Ok(all);
        }
        let start = lines.byte_at(first.span.start.line, first.span.start.column);
        let mut reader = Reader { parser: &mut parser, sql, lines: &lines };
        let command = reader.command().map_err(|error| syntax_error(error, sql, &lines))?;
        let next = parser.peek_token();
        let end = match next.token {
            Token::EOF => sql.len(),
            Token::SemiColon => lines.byte_at(next.span.start.line, next.span.start.column),
            _ => return Err(near(&next, sql, &lines)),
        };
        all.push(Parsed { command, range: start..end });
    }
}

/// Parses one expression from the catalog (a default, a condition).
pub fn parse_expression(sql: &str) -> Result<Expr, SqlError> {
    let dialect = PostgreSqlDialect {};
    let parsed = Parser::new(&dialect)
        .with_recursion_limit(MAX_NESTING)
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|error| SqlError::internal(format!("malformed expression in the catalog: {sql}: {error}")))
}

/// Byte and character offsets of the tokenizer's lines and columns.
struct Lines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(sql: &'a str) -> Self {
        let starts = std::iter::once(0).chain(sql.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { sql, starts }
    }

    fn byte_at(&self, line: u64, column: u64) -> usize {
        let Some(&start) = (line as usize).checked_sub(1).and_then(|line| self.starts.get(line)) else {
            return self.sql.len();
        };
        let rest = &self.sql[start..];
        let offset = rest.char_indices().nth((column as usize).saturating_sub(1)).map(|(at, _)| at);
        start + offset.unwrap_or(rest.len())
    }

    /// From 1, in characters, as error positions are counted.
    fn char_at(&self, line: u64, column: u64) -> u32 {
        self.sql[..self.byte_at(line, column)].chars().count() as u32 + 1
    }
}

/// 54001 for a chain of operators that is too long.
fn limit_chains(tokens: &[TokenWithSpan], lines: &Lines<'_>) -> Result<(), SqlError> {
    let mut run = 0;
    for token in tokens {
        match &token.token {
            Token::Comma | Token::SemiColon => run = 0,
            Token::Word(word) => match word.keyword {
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::VALUES | Keyword::SET => run = 0,
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::JOIN
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::COLLATE => run += 1,
                _ => {}
            },
            Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen => {}
            _ => run += 1,
        }
        // An `AND` of comparisons counts each of them twice.
        if run > 2 * MAX_CHAIN {
            return Err(too_complex().at(lines.char_at(token.span.start.line, token.span.start.column)));
        }
    }
    Ok(())
}

fn too_complex() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .detail(format!("Expressions may nest {MAX_NESTING} deep and chain {MAX_CHAIN} operators."))
        .hint("Use IN (…) or VALUES for long lists.")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn near(token: &TokenWithSpan, sql: &str, lines: &Lines<'_>) -> SqlError {
    if token.token == Token::EOF {
        return SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
            .at(sql.chars().count() as u32 + 1);
    }
    let start = lines.byte_at(token.span.start.line, token.span.start.column);
    let end = lines.byte_at(token.span.end.line, token.span.end.column).max(start);
    SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{}\"", &sql[start..end]))
        .at(lines.char_at(token.span.start.line, token.span.start.column))
}

/// sqlparser says `Expected: …, found: X at Line: 1, Column: 8`; PostgreSQL says `syntax error at or near "X"`.
fn syntax_error(error: ParserError, sql: &str, lines: &Lines<'_>) -> SqlError {
    let text = match error {
        ParserError::RecursionLimitExceeded => return too_complex(),
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    let place = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((message, line.trim().parse::<u64>().ok()?, column.trim().parse::<u64>().ok()?))
    });
    match place {
        Some((message, line, column)) if message.contains("found: ") => {
            let dialect = PostgreSqlDialect {};
            let at = lines.byte_at(line, column);
            let token = Tokenizer::new(&dialect, &sql[at..]).tokenize_with_location().ok();
            let word = token.and_then(|tokens| {
                tokens.into_iter().find(|t| !matches!(t.token, Token::Whitespace(Whitespace::Space)))
            });
            match word {
                Some(word) if word.token != Token::EOF => {
                    let rest = Lines::new(&sql[at..]);
                    let end = rest.byte_at(word.span.end.line, word.span.end.column);
                    SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("syntax error at or near \"{}\"", &sql[at..at + end]),
                    )
                    .at(lines.char_at(line, column))
                }
                _ => SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(sql
                    .chars()
                    .count()
                    as u32
                    + 1),
            }
        }
        _ if text.contains("found: EOF") => {
            SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
                .at(sql.chars().count() as u32 + 1)
        }
        _ => SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error: {}", lower_first(&text))),
    }
}

struct Reader<'a, 'p> {
    parser: &'a mut Parser<'p>,
    sql: &'a str,
    lines: &'a Lines<'a>,
}

type Parse<T> = Result<T, ParserError>;

impl Reader<'_, '_> {
    fn command(&mut self) -> Parse<Command> {
        let Token::Word(word) = self.parser.peek_token().token else { return self.statement() };
        if word.quote_style.is_some() {
            return self.statement();
        }
        match word.value.to_ascii_lowercase().as_str() {
            "begin" => {
                self.skip();
                let _ = self.eat("work") || self.eat("transaction");
                Ok(Command::Begin(self.modes()?))
            }
            "start" => {
                self.skip();
                self.expect("transaction")?;
                Ok(Command::Begin(self.modes()?))
            }
            "commit" | "end" => {
                self.skip();
                self.not_prepared()?;
                Ok(Command::Commit { chain: self.chain()? })
            }
            "abort" => {
                self.skip();
                Ok(Command::Rollback { chain: self.chain()? })
            }
            "rollback" => {
                self.skip();
                self.not_prepared()?;
                let _ = self.eat("work") || self.eat("transaction");
                if self.eat("to") {
                    self.eat("savepoint");
                    return Ok(Command::RollbackTo(self.name()?));
                }
                Ok(Command::Rollback { chain: self.chain()? })
            }
            "savepoint" => {
                self.skip();
                Ok(Command::Savepoint(self.name()?))
            }
            "release" => {
                self.skip();
                self.eat("savepoint");
                Ok(Command::Release(self.name()?))
            }
            "set" => self.set(),
            "reset" => {
                self.skip();
                if self.eat("all") { Ok(Command::ResetAll) } else { Ok(Command::Reset(self.setting()?)) }
            }
            "show" => self.show(),
            "discard" => {
                self.skip();
                for (word, what) in [
                    ("all", Discard::All),
                    ("plans", Discard::Plans),
                    ("sequences", Discard::Sequences),
                    ("temp", Discard::Temp),
                    ("temporary", Discard::Temp),
                ] {
                    if self.eat(word) {
                        return Ok(Command::Discard(what));
                    }
                }
                self.unexpected("what to discard")
            }
            "deallocate" => {
                self.skip();
                self.eat("prepare");
                if self.eat("all") {
                    Ok(Command::Deallocate(None))
                } else {
                    Ok(Command::Deallocate(Some(self.name()?)))
                }
            }
            "prepare" => self.prepare(),
            "execute" => {
                self.skip();
                let name = self.name()?;
                let mut arguments = Vec::new();
                if self.parser.consume_token(&Token::LParen) {
                    arguments = self.parser.parse_comma_separated(Parser::parse_expr)?;
                    self.parser.expect_token(&Token::RParen)?;
                }
                Ok(Command::Execute { name, arguments })
            }
            "vacuum" | "analyze" | "analyse" => self.maintenance(word.value.eq_ignore_ascii_case("vacuum")),
            "checkpoint" => {
                self.skip();
                Ok(Command::Checkpoint)
            }
            "alter" => self.alter(),
            "copy" => self.copy(),
            _ => self.statement(),
        }
    }

    fn statement(&mut self) -> Parse<Command> {
        Ok(Command::Statement(Box::new(self.parser.parse_statement()?)))
    }

    fn skip(&mut self) {
        self.parser.next_token();
    }

    fn peeks(&self, word: &str) -> bool {
        matches!(self.parser.peek_token().token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.peeks(word);
        if found {
            self.skip();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Parse<()> {
        if self.eat(word) { Ok(()) } else { self.unexpected(word) }
    }

    fn unexpected<T>(&mut self, what: &str) -> Parse<T> {
        let token = self.parser.peek_token();
        self.parser.expected(what, token)
    }

    fn name(&mut self) -> Parse<String> {
        self.parser.parse_identifier().map(|ident| fold(&ident))
    }

    fn chain(&mut self) -> Parse<bool> {
        let _ = self.eat("work") || self.eat("transaction");
        if !self.eat("and") {
            return Ok(false);
        }
        let no = self.eat("no");
        self.expect("chain")?;
        Ok(!no)
    }

    fn not_prepared(&mut self) -> Parse<()> {
        if self.peeks("prepared") { self.unexpected("end of statement") } else { Ok(()) }
    }

    fn modes(&mut self) -> Parse<Modes> {
        let mut modes = Modes::default();
        loop {
            if self.eat("isolation") {
                self.expect("level")?;
                modes.isolation = Some(if self.eat("serializable") {
                    Level::Serializable
                } else if self.eat("repeatable") {
                    self.expect("read")?;
                    Level::RepeatableRead
                } else {
                    self.expect("read")?;
                    if self.eat("uncommitted") {
                        Level::ReadUncommitted
                    } else {
                        self.expect("committed")?;
                        Level::ReadCommitted
                    }
                });
            } else if self.eat("read") {
                modes.read_only = Some(self.eat("only"));
                if modes.read_only == Some(false) {
                    self.expect("write")?;
                }
            } else if self.eat("not") {
                self.expect("deferrable")?;
            } else if !self.eat("deferrable") {
                return Ok(modes);
            }
            let _ = self.parser.consume_token(&Token::Comma);
        }
    }

    /// A setting's name, with its prefix if it has one.
    fn setting(&mut self) -> Parse<String> {
        if self.eat("time") {
            self.expect("zone")?;
            return Ok("timezone".into());
        }
        if self.peeks("transaction") {
            self.skip();
            self.expect("isolation")?;
            self.expect("level")?;
            return Ok("transaction_isolation".into());
        }
        if self.peeks("session") {
            self.skip();
            self.expect("authorization")?;
            return Ok("session_authorization".into());
        }
        let mut name = self.name()?;
        while self.parser.consume_token(&Token::Period) {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name.to_lowercase())
    }

    fn set(&mut self) -> Parse<Command> {
        self.skip();
        let local = self.eat("local");
        if !local && self.eat("session") {
            if self.eat("characteristics") {
                for word in ["as", "transaction"] {
                    self.expect(word)?;
                }
                return Ok(Command::SetCharacteristics(self.modes()?));
            }
            if self.peeks("authorization") {
                self.skip();
                return self.set_to("session_authorization".into(), local);
            }
        }
        if self.eat("transaction") {
            return Ok(Command::SetTransaction(self.modes()?));
        }
        if self.eat("time") {
            self.expect("zone")?;
            return self.set_to("timezone".into(), local);
        }
        if self.eat("names") {
            return self.set_to("client_encoding".into(), local);
        }
        if self.eat("role") {
            return self.set_to("role".into(), local);
        }
        let name = self.setting()?;
        if !self.parser.consume_token(&Token::Eq) {
            self.expect("to")?;
        }
        self.set_to(name, local)
    }

    fn set_to(&mut self, name: String, local: bool) -> Parse<Command> {
        if self.eat("default") || (name == "timezone" && self.eat("local")) {
            return Ok(Command::Set { local, name, value: None });
        }
        let mut values = vec![self.value()?];
        while self.parser.consume_token(&Token::Comma) {
            values.push(self.value()?);
        }
        Ok(Command::Set { local, name, value: Some(values) })
    }

    fn value(&mut self) -> Parse<String> {
        let minus = self.parser.consume_token(&Token::Minus);
        if !minus {
            let _ = self.parser.consume_token(&Token::Plus);
        }
        let token = self.parser.next_token();
        let value = match token.token {
            Token::Number(number, _) => number,
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if !minus => text,
            Token::Word(word) if !minus => match word.quote_style {
                Some(_) => word.value,
                None => word.value.to_lowercase(),
            },
            _ => return self.parser.expected("a value", token),
        };
        Ok(if minus { format!("-{value}") } else { value })
    }

    fn show(&mut self) -> Parse<Command> {
        self.skip();
        if self.eat("all") {
            return Ok(Command::ShowAll);
        }
        if self.eat("shards") {
            self.expect("from")?;
            self.expect("table")?;
            return Ok(Command::ShowShards(self.parser.parse_object_name(false)?));
        }
        if self.eat("evidence") {
            self.expect("for")?;
            self.expect("transaction")?;
            return Ok(Command::ShowEvidence(self.parser.parse_literal_string()?));
        }
        Ok(Command::Show(self.setting()?))
    }

    fn prepare(&mut self) -> Parse<Command> {
        self.skip();
        if self.peeks("transaction") {
            return self.unexpected("a name");
        }
        let name = self.name()?;
        let mut types = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            types = self.parser.parse_comma_separated(Parser::parse_data_type)?;
            self.parser.expect_token(&Token::RParen)?;
        }
        self.expect("as")?;
        let first = self.parser.peek_token().span.start;
        let statement = Box::new(self.parser.parse_statement()?);
        let next = self.parser.peek_token();
        let end = if next.token == Token::EOF {
            self.sql.len()
        } else {
            self.lines.byte_at(next.span.start.line, next.span.start.column)
        };
        let body = self.lines.byte_at(first.line, first.column)..end;
        Ok(Command::Prepare { name, types, statement, body })
    }

    fn maintenance(&mut self, vacuum: bool) -> Parse<Command> {
        self.skip();
        if self.parser.consume_token(&Token::LParen) {
            // Options say how to do what need not be done here.
            while !self.parser.consume_token(&Token::RParen) {
                if self.parser.next_token().token == Token::EOF {
                    return self.unexpected(")");
                }
            }
        }
        while ["full", "freeze", "verbose", "analyze", "analyse"].into_iter().any(|word| self.eat(word)) {}
        let mut tables = Vec::new();
        if !matches!(self.parser.peek_token().token, Token::EOF | Token::SemiColon) {
            tables = self.parser.parse_comma_separated(|parser| {
                let table = parser.parse_object_name(false)?;
                parser.parse_parenthesized_column_list(sqlparser::parser::IsOptional::Optional, false)?;
                Ok(table)
            })?;
        }
        Ok(Command::Maintenance { vacuum, tables })
    }

    fn copy(&mut self) -> Parse<Command> {
        self.skip();
        let source = if self.parser.consume_token(&Token::LParen) {
            let query = self.parser.parse_query()?;
            self.parser.expect_token(&Token::RParen)?;
            CopySource::Query(query)
        } else {
            let table = self.parser.parse_object_name(false)?;
            let columns = self
                .parser
                .parse_parenthesized_column_list(sqlparser::parser::IsOptional::Optional, false)?;
            CopySource::Table(table, columns.iter().map(fold).collect())
        };
        let from = !self.eat("to");
        if from {
            self.expect("from")?;
        }
        self.expect(if from { "stdin" } else { "stdout" })?;
        let options = self.copy_options()?;
        if let (CopySource::Query(_), true) = (&source, from) {
            return self.unexpected("TO STDOUT");
        }
        Ok(Command::Copy(Box::new(Copy { source, from, options })))
    }

    fn copy_options(&mut self) -> Parse<CopyOptions> {
        let mut csv = false;
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        let (mut header, mut freeze) = (false, false);
        self.eat("with");
        let list = self.parser.consume_token(&Token::LParen);
        while !matches!(self.parser.peek_token().token, Token::EOF | Token::SemiColon | Token::RParen) {
            if list && self.eat("format") {
                csv = match self.value()?.to_lowercase().as_str() {
                    "csv" => true,
                    "text" => false,
                    _ => return self.unexpected("format text or csv (binary is not supported)"),
                };
            } else if self.eat("csv") {
                csv = true;
            } else if self.eat("freeze") {
                freeze = !list || self.switch()?;
            } else if self.eat("header") {
                header = !list || self.switch()?;
            } else if self.eat("delimiter") {
                self.eat("as");
                delimiter = Some(self.byte()?);
            } else if self.eat("null") {
                self.eat("as");
                null = Some(self.parser.parse_literal_string()?);
            } else if self.eat("quote") {
                self.eat("as");
                quote = Some(self.byte()?);
            } else if self.eat("escape") {
                self.eat("as");
                escape = Some(self.byte()?);
            } else if self.eat("encoding") {
                let name = self.parser.parse_literal_string()?;
                if !matches!(name.to_lowercase().as_str(), "utf8" | "utf-8") {
                    return self.unexpected("encoding UTF8");
                }
            } else {
                return self.unexpected("an option of COPY");
            }
            if list {
                let _ = self.parser.consume_token(&Token::Comma);
            }
        }
        if list {
            self.parser.expect_token(&Token::RParen)?;
        }
        let quote = quote.unwrap_or(b'"');
        Ok(CopyOptions {
            csv,
            delimiter: delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".into() }),
            header,
            quote,
            escape: escape.unwrap_or(quote),
            freeze,
        })
    }

    fn switch(&mut self) -> Parse<bool> {
        if matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
            return Ok(true);
        }
        Ok(matches!(self.value()?.to_lowercase().as_str(), "on" | "true" | "1"))
    }

    fn byte(&mut self) -> Parse<u8> {
        let text = match self.parser.peek_token().token {
            // E'\t'
            Token::EscapedStringLiteral(text) => {
                self.skip();
                text
            }
            _ => self.parser.parse_literal_string()?,
        };
        match text.as_bytes() {
            [byte] if !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
            _ => self.unexpected("a single one-byte character"),
        }
    }

    /// `ALTER TABLE t SPLIT AT VALUES (…), …` and `ALTER TABLE t SCATTER` are ours, all else is sqlparser's.
    fn alter(&mut self) -> Parse<Command> {
        let ours = self.parser.maybe_parse(|parser| {
            parser.next_token();
            parser.expect_keyword(Keyword::TABLE)?;
            let table = parser.parse_object_name(false)?;
            let word = parser.parse_identifier()?;
            match word.value.to_ascii_lowercase().as_str() {
                "scatter" => Ok(Command::Scatter(table)),
                "split" => {
                    parser.expect_keyword(Keyword::AT)?;
                    parser.expect_keyword(Keyword::VALUES)?;
                    let rows = parser.parse_comma_separated(|parser| {
                        parser.expect_token(&Token::LParen)?;
                        let row = parser.parse_comma_separated(Parser::parse_expr)?;
                        parser.expect_token(&Token::RParen)?;
                        Ok(row)
                    })?;
                    Ok(Command::SplitAt { table, rows })
                }
                _ => Err(ParserError::ParserError("not ours".into())),
            }
        })?;
        match ours {
            Some(command) => Ok(command),
            None => self.statement(),
        }
    }
}

/// An identifier as the catalog knows it: in lower case unless quoted.
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sql: &str) -> Command {
        let mut all = parse(sql).unwrap();
        assert_eq!(all.len(), 1, "{sql}");
        all.remove(0).command
    }

    #[test]
    fn statements_are_cut_apart() {
        let sql = " select 1 ;; select 'ä;b'; ";
        let all = parse(sql).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(sql[all[0].range.clone()].trim(), "select 1");
        assert_eq!(sql[all[1].range.clone()].trim(), "select 'ä;b'");
        assert!(parse(" -- nothing\n ; ").unwrap().is_empty());
    }

    #[test]
    fn session_commands() {
        let Command::Begin(modes) = one("begin isolation level repeatable read, read only") else { panic!() };
        assert_eq!((modes.isolation, modes.read_only), (Some(Level::RepeatableRead), Some(true)));
        assert!(matches!(one("START TRANSACTION"), Command::Begin(_)));
        assert!(matches!(one("end"), Command::Commit { chain: false }));
        assert!(matches!(one("rollback to savepoint A"), Command::RollbackTo(name) if name == "a"));
        assert!(
            matches!(one("set search_path = a, \"B\""), Command::Set { value: Some(v), .. } if v == ["a", "B"])
        );
        assert!(matches!(one("SET TIME ZONE 'UTC'"), Command::Set { name, .. } if name == "timezone"));
        assert!(
            matches!(one("set extra_float_digits to -3"), Command::Set { value: Some(v), .. } if v == ["-3"])
        );
        assert!(
            matches!(one("show transaction isolation level"), Command::Show(n) if n == "transaction_isolation")
        );
        assert!(matches!(one("reset all"), Command::ResetAll));
        assert!(matches!(one("vacuum analyze pgbench_branches"), Command::Maintenance { vacuum: true, .. }));
        assert!(matches!(one("prepare p (int) as select $1"), Command::Prepare { .. }));
        assert!(
            matches!(one("alter table t split at values (1), (2)"), Command::SplitAt { rows, .. } if rows.len() == 2)
        );
        assert!(matches!(one("alter table t add primary key (a)"), Command::Statement(_)));
    }

    #[test]
    fn errors_speak_like_postgres() {
        let error = parse("select 1; selec 2").unwrap_err();
        assert_eq!(error.sqlstate, SqlState::SYNTAX_ERROR);
        assert_eq!(error.message, "syntax error at or near \"selec\"");
        assert_eq!(error.position, Some(11));
        assert_eq!(parse("select (1").unwrap_err().message, "syntax error at end of input");
        assert_eq!(parse("select 1 1").unwrap_err().message, "syntax error at or near \"1\"");
        let unterminated = parse("select 'abc").unwrap_err();
        assert_eq!(unterminated.sqlstate, SqlState::SYNTAX_ERROR);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("select {}1{}", "(".repeat(5000), ")".repeat(5000));
        assert_eq!(parse(&deep).unwrap_err().sqlstate, SqlState::STATEMENT_TOO_COMPLEX);
        let long = format!("select 1{}", "+1".repeat(100_000));
        assert_eq!(parse(&long).unwrap_err().sqlstate, SqlState::STATEMENT_TOO_COMPLEX);
        let not = format!("select {} true", "not ".repeat(100_000));
        assert_eq!(parse(&not).unwrap_err().sqlstate, SqlState::STATEMENT_TOO_COMPLEX);
        let list = format!("select 1 in ({})", vec!["1"; 20_000].join(","));
        assert!(parse(&list).is_ok());
    }
}
