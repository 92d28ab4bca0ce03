//! Statements that only concern the session, and our own.

use super::command::{Command, Discard};
use super::fold;
use super::place::Lines;
use super::placement;
use crate::error::{SqlError, SqlState};
use sqlparser::{
    ast::{Expr, Statement},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};
use std::ops::Range;

pub(super) struct Reader<'a, 'p> {
    pub parser: &'a mut Parser<'p>,
    pub sql: &'a str,
    pub lines: &'a Lines<'a>,
}

pub(super) type Parse<T> = Result<T, ParserError>;

impl Reader<'_, '_> {
    pub(super) fn command(&mut self) -> Parse<Command> {
        let Token::Word(word) = self.parser.peek_token().token else { return self.statement() };
        if word.quote_style.is_some() {
            return self.statement();
        }
        match word.value.to_ascii_lowercase().as_str() {
            "begin" => {
                self.skip();
                let _ = self.eat("work") || self.eat("transaction");
                Ok(Command::Begin(self.modes()?, "BEGIN"))
            }
            "start" => {
                self.skip();
                self.expect("transaction")?;
                Ok(Command::Begin(self.modes()?, "START TRANSACTION"))
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
            "unlisten" => {
                self.skip();
                if !self.parser.consume_token(&Token::Mul) {
                    self.name()?;
                }
                Ok(Command::Unlisten)
            }
            "checkpoint" => {
                self.skip();
                Ok(Command::Checkpoint)
            }
            "alter" => self.alter(),
            "explain" if self.explains_placement() => self.explain_placement(),
            "create" if self.creates_sequence() => self.create_sequence(),
            "copy" => self.copy(),
            "declare" => self.declare(),
            "fetch" => self.fetch(false),
            "move" => self.fetch(true),
            "close" => self.close(),
            _ => self.statement(),
        }
    }

    pub(super) fn statement(&mut self) -> Parse<Command> {
        Ok(Command::Statement(Box::new(self.parser.parse_statement()?)))
    }

    pub(super) fn skip(&mut self) {
        self.parser.next_token();
    }

    pub(super) fn peeks(&self, word: &str) -> bool {
        matches!(self.parser.peek_token().token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    pub(super) fn eat(&mut self, word: &str) -> bool {
        let found = self.peeks(word);
        if found {
            self.skip();
        }
        found
    }

    pub(super) fn expect(&mut self, word: &str) -> Parse<()> {
        if self.eat(word) { Ok(()) } else { self.unexpected(word) }
    }

    pub(super) fn unexpected<T>(&mut self, what: &str) -> Parse<T> {
        let token = self.parser.peek_token();
        self.parser.expected(what, token)
    }

    pub(super) fn name(&mut self) -> Parse<String> {
        self.parser.parse_identifier().map(|ident| fold(&ident))
    }

    pub(super) fn chain(&mut self) -> Parse<bool> {
        let _ = self.eat("work") || self.eat("transaction");
        if !self.eat("and") {
            return Ok(false);
        }
        let no = self.eat("no");
        self.expect("chain")?;
        Ok(!no)
    }

    pub(super) fn not_prepared(&mut self) -> Parse<()> {
        if self.peeks("prepared") { self.unexpected("end of statement") } else { Ok(()) }
    }

    pub(super) fn prepare(&mut self) -> Parse<Command> {
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
        let (statement, body) = self.body()?;
        Ok(Command::Prepare { name, types, statement, body })
    }

    /// A statement inside another, and where it stands in the text.
    pub(super) fn body(&mut self) -> Parse<(Box<Statement>, Range<usize>)> {
        let first = self.parser.peek_token().span.start;
        let statement = Box::new(self.parser.parse_statement()?);
        let next = self.parser.peek_token();
        let end = if next.token == Token::EOF {
            self.sql.len()
        } else {
            self.lines.byte_at(next.span.start.line, next.span.start.column)
        };
        Ok((statement, self.lines.byte_at(first.line, first.column)..end))
    }

    /// Passes the rest of a statement over that is not carried out.
    pub(super) fn refuse(&mut self, what: String) -> Parse<Command> {
        self.pass_over();
        Ok(Command::Refused(what))
    }

    /// The same for one that is wrong.
    pub(super) fn wrong(&mut self, error: SqlError) -> Parse<Command> {
        self.pass_over();
        Ok(Command::Wrong(Box::new(error)))
    }

    fn pass_over(&mut self) {
        while !self.at_end() {
            self.skip();
        }
    }

    pub(super) fn at_end(&self) -> bool {
        matches!(self.parser.peek_token().token, Token::EOF | Token::SemiColon)
    }

    pub(super) fn maintenance(&mut self, vacuum: bool) -> Parse<Command> {
        self.skip();
        if self.parser.consume_token(&Token::LParen) {
            // Options say how to do what need not be done here.
            loop {
                let option = self.parser.peek_token();
                let name = self.name()?;
                if !is_option(vacuum, &name) {
                    let verb = if vacuum { "VACUUM" } else { "ANALYZE" };
                    let text = format!("unrecognized {verb} option \"{name}\"");
                    let at = self.lines.char_at(option.span.start.line, option.span.start.column);
                    return self.wrong(SqlError::new(SqlState::SYNTAX_ERROR, text).at(at));
                }
                if !matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
                    self.value()?;
                }
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
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

    /// `ALTER TABLE t SPLIT AT VALUES (…), …`, `… UNSPLIT AT VALUES (…), …`, `… UNSPLIT ALL`, `ALTER TABLE t SCATTER`,
    /// `… CONFIGURE PLACEMENT (…)` and `… RESET PLACEMENT` are ours, all else is sqlparser's.
    pub(super) fn alter(&mut self) -> Parse<Command> {
        if matches!(self.parser.peek_nth_token(1).token, Token::Word(w) if w.keyword == Keyword::SEQUENCE) {
            self.skip();
            return self.alter_sequence();
        }
        let ours = self.parser.maybe_parse(|parser| {
            parser.next_token();
            parser.expect_keyword(Keyword::TABLE)?;
            let table = parser.parse_object_name(false)?;
            let word = parser.parse_identifier()?;
            match word.value.to_ascii_lowercase().as_str() {
                "scatter" => Ok(Command::Scatter(table)),
                "configure" => placement::configure(parser, table, false),
                "reset" => placement::configure(parser, table, true),
                "split" => Ok(Command::SplitAt { table, rows: at_values(parser)? }),
                "unsplit" if parser.parse_keyword(Keyword::ALL) => Ok(Command::Unsplit { table, rows: None }),
                "unsplit" => Ok(Command::Unsplit { table, rows: Some(at_values(parser)?) }),
                _ => Err(ParserError::ParserError("not ours".into())),
            }
        })?;
        match ours {
            Some(command) => Ok(command),
            None => self.statement(),
        }
    }
}

/// Whether `VACUUM` or `ANALYZE` has an option of this name.
fn is_option(vacuum: bool, name: &str) -> bool {
    let vacuums = [
        "analyze",
        "freeze",
        "full",
        "disable_page_skipping",
        "index_cleanup",
        "process_toast",
        "truncate",
        "parallel",
    ];
    matches!(name, "verbose" | "skip_locked") || vacuum && vacuums.contains(&name)
}

/// `AT VALUES (…), …`
fn at_values(parser: &mut Parser<'_>) -> Result<Vec<Vec<Expr>>, ParserError> {
    parser.expect_keyword(Keyword::AT)?;
    parser.expect_keyword(Keyword::VALUES)?;
    parser.parse_comma_separated(|parser| {
        parser.expect_token(&Token::LParen)?;
        let row = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RParen)?;
        Ok(row)
    })
}
