//! `COPY`.

use super::command::{Command, Copy, CopyOptions, CopySource};
use super::fold;
use super::reader::{Parse, Reader};
use crate::error::{SqlError, SqlState};
use sqlparser::tokenizer::Token;

impl Reader<'_, '_> {
    pub(super) fn copy(&mut self) -> Parse<Command> {
        self.skip();
        if self.peeks("binary") {
            return self.refuse("COPY in binary form".into());
        }
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
        if !self.eat(if from { "stdin" } else { "stdout" }) {
            let file = matches!(self.parser.peek_token().token, Token::SingleQuotedString(_));
            if file || self.peeks("program") {
                return self.refuse("COPY with a file of the server or a program".into());
            }
            return self.unexpected(if from { "STDIN" } else { "STDOUT" });
        }
        let options = match self.copy_options()? {
            Ok(options) => options,
            Err(error) => return self.wrong(error),
        };
        if from && self.peeks("where") {
            return self.refuse("COPY FROM with WHERE".into());
        }
        if let (CopySource::Query(_), true) = (&source, from) {
            return self.unexpected("TO STDOUT");
        }
        Ok(Command::Copy(Box::new(Copy { source, from, options })))
    }

    /// The inner error is about an option that is not carried out, or that cannot be.
    fn copy_options(&mut self) -> Parse<Result<CopyOptions, SqlError>> {
        let mut csv = false;
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        let (mut header, mut freeze) = (false, false);
        self.eat("with");
        let list = self.parser.consume_token(&Token::LParen);
        while !self.at_end() && self.parser.peek_token().token != Token::RParen && !self.peeks("where") {
            for word in ["binary", "force_quote", "force_null", "force_not_null", "force"] {
                if self.peeks(word) {
                    return Ok(Err(SqlError::unsupported(format!("COPY with {}", word.to_uppercase()))));
                }
            }
            if list && self.eat("format") {
                csv = match self.value()?.to_lowercase().as_str() {
                    "csv" => true,
                    "text" => false,
                    "binary" => return Ok(Err(SqlError::unsupported("COPY in binary form"))),
                    _ => return self.unexpected("format text or csv"),
                };
            } else if self.eat("csv") {
                csv = true;
            } else if self.eat("freeze") {
                freeze = !list || self.switch()?;
            } else if self.eat("header") {
                if list && self.peeks("match") {
                    return Ok(Err(SqlError::unsupported("COPY with HEADER MATCH")));
                }
                header = !list || self.switch()?;
            } else if self.eat("delimiter") {
                self.eat("as");
                delimiter = match one_byte("delimiter", &self.text()?) {
                    Ok(byte) => Some(byte),
                    Err(error) => return Ok(Err(error)),
                };
            } else if self.eat("null") {
                self.eat("as");
                null = Some(self.parser.parse_literal_string()?);
            } else if self.eat("quote") {
                self.eat("as");
                quote = match one_byte("quote", &self.text()?) {
                    Ok(byte) => Some(byte),
                    Err(error) => return Ok(Err(error)),
                };
            } else if self.eat("escape") {
                self.eat("as");
                escape = match one_byte("escape", &self.text()?) {
                    Ok(byte) => Some(byte),
                    Err(error) => return Ok(Err(error)),
                };
            } else if self.eat("encoding") {
                let name = self.parser.parse_literal_string()?;
                if !matches!(name.to_lowercase().as_str(), "utf8" | "utf-8") {
                    return Ok(Err(SqlError::unsupported(format!("COPY with encoding {name}"))));
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
        Ok(Ok(CopyOptions {
            csv,
            delimiter: delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".into() }),
            header,
            quote,
            escape: escape.unwrap_or(quote),
            freeze,
        }))
    }

    pub(super) fn switch(&mut self) -> Parse<bool> {
        if matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
            return Ok(true);
        }
        Ok(matches!(self.value()?.to_lowercase().as_str(), "on" | "true" | "1"))
    }

    fn text(&mut self) -> Parse<String> {
        match self.parser.peek_token().token {
            // E'\t'
            Token::EscapedStringLiteral(text) => {
                self.skip();
                Ok(text)
            }
            _ => self.parser.parse_literal_string(),
        }
    }
}

/// 0A000 unless it is one byte, 22023 if it ends lines.
fn one_byte(option: &str, text: &str) -> Result<u8, SqlError> {
    match text.as_bytes() {
        [b'\n' | b'\r'] => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("COPY {option} cannot be newline or carriage return"),
        )),
        [byte] if *byte != 0 => Ok(*byte),
        _ => Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("COPY {option} must be a single one-byte character"),
        )),
    }
}
