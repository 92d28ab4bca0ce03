//! `CREATE SEQUENCE`, whose options may stand in any order, and `ALTER SEQUENCE`.

use super::command::{AlterSequence, Command};
use super::place::out_of_range;
use super::reader::{Parse, Reader};
use sqlparser::{
    ast::{Expr, SequenceOptions, Statement, Value},
    keywords::Keyword,
    parser::ParserError,
    tokenizer::Token,
};

impl Reader<'_, '_> {
    /// Whether `CREATE [TEMPORARY] SEQUENCE` follows.
    pub(super) fn creates_sequence(&self) -> bool {
        let keyword = |at| match self.parser.peek_nth_token(at).token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        let temporary = matches!(keyword(1), Keyword::TEMP | Keyword::TEMPORARY);
        keyword(1 + usize::from(temporary)) == Keyword::SEQUENCE
    }

    pub(super) fn create_sequence(&mut self) -> Parse<Command> {
        self.skip();
        let temporary = self.eat("temp") || self.eat("temporary");
        self.skip();
        let if_not_exists = self.eat("if");
        if if_not_exists {
            self.expect("not")?;
            self.expect("exists")?;
        }
        let name = self.parser.parse_object_name(false)?;
        let (mut data_type, mut owned_by) = (None, None);
        let mut sequence_options = Vec::new();
        let mut seen = Vec::new();
        while !self.at_end() {
            let at = self.parser.peek_token();
            let what = if self.eat("as") {
                data_type = Some(self.parser.parse_data_type()?);
                "as"
            } else if self.eat("owned") {
                self.expect("by")?;
                if !self.eat("none") {
                    owned_by = Some(self.parser.parse_object_name(false)?);
                }
                "owned"
            } else {
                let (what, option) = self.sequence_option()?;
                sequence_options.push(option);
                what
            };
            if seen.contains(&what) {
                // PostgreSQL says so of the repeated option.
                return self.parser.expected("each option once", at);
            }
            seen.push(what);
        }
        Ok(Command::Statement(Box::new(Statement::CreateSequence {
            temporary,
            if_not_exists,
            name,
            data_type,
            sequence_options,
            owned_by,
        })))
    }

    fn sequence_option(&mut self) -> Parse<(&'static str, SequenceOptions)> {
        if self.eat("increment") {
            let by = self.eat("by");
            return Ok(("increment", SequenceOptions::IncrementBy(self.bound()?, by)));
        }
        if self.eat("start") {
            let with = self.eat("with");
            return Ok(("start", SequenceOptions::StartWith(self.bound()?, with)));
        }
        if self.eat("cache") {
            return Ok(("cache", SequenceOptions::Cache(self.bound()?)));
        }
        let no = self.eat("no");
        if self.eat("cycle") {
            return Ok(("cycle", SequenceOptions::Cycle(no)));
        }
        if self.eat("minvalue") {
            let value = if no { None } else { Some(self.bound()?) };
            return Ok(("minvalue", SequenceOptions::MinValue(value)));
        }
        if self.eat("maxvalue") {
            let value = if no { None } else { Some(self.bound()?) };
            return Ok(("maxvalue", SequenceOptions::MaxValue(value)));
        }
        self.unexpected("an option of a sequence")
    }

    fn bound(&mut self) -> Parse<Expr> {
        let value = self.whole()?;
        Ok(Expr::value(Value::Number(value.to_string(), false)))
    }

    /// A whole number.
    fn whole(&mut self) -> Parse<i64> {
        let at = self.parser.peek_token();
        let text = self.value()?;
        match text.parse() {
            Ok(value) => Ok(value),
            Err(_) if text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) => {
                Err(ParserError::ParserError(out_of_range(&text, "bigint")))
            }
            Err(_) => self.parser.expected("a whole number", at),
        }
    }

    /// Behind `ALTER`.
    pub(super) fn alter_sequence(&mut self) -> Parse<Command> {
        self.skip();
        let if_exists = self.eat("if");
        if if_exists {
            self.expect("exists")?;
        }
        let name = self.parser.parse_object_name(false)?;
        if !self.eat("restart") {
            for word in [
                "as",
                "increment",
                "minvalue",
                "maxvalue",
                "no",
                "start",
                "cache",
                "cycle",
                "owned",
                "owner",
                "rename",
                "set",
            ] {
                if self.peeks(word) {
                    return self.refuse(format!("ALTER SEQUENCE … {}", word.to_uppercase()));
                }
            }
            return self.unexpected("RESTART");
        }
        self.eat("with");
        let mut restart = None;
        if !matches!(self.parser.peek_token().token, Token::EOF | Token::SemiColon) {
            restart = Some(self.whole()?);
        }
        Ok(Command::AlterSequence(AlterSequence { name, if_exists, restart }))
    }
}
