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
        self.eat("with");
        let list = self.parser.consume_token(&Token::LParen);
        let mut options = Vec::new();
        while list || !self.at_end() && !self.peeks("where") {
            for word in ["binary", "force_quote", "force_null", "force_not_null", "force"] {
                if self.peeks(word) {
                    return Ok(Err(SqlError::unsupported(format!("COPY with {}", word.to_uppercase()))));
                }
            }
            let place = self.parser.peek_token().span.start;
            let (name, value) = if list { self.listed_option()? } else { self.plain_option()? };
            options.push(Written { name, value, at: self.lines.char_at(place.line, place.column) });
            if list && !self.parser.consume_token(&Token::Comma) {
                self.parser.expect_token(&Token::RParen)?;
                break;
            }
        }
        Ok(carried_out(options))
    }

    /// `name [value]`
    fn listed_option(&mut self) -> Parse<(String, Option<String>)> {
        let name = self.name()?;
        let ends = matches!(self.parser.peek_token().token, Token::Comma | Token::RParen);
        Ok((name, if ends { None } else { Some(self.value()?) }))
    }

    /// An option of the older form, without parentheses and commas.
    fn plain_option(&mut self) -> Parse<(String, Option<String>)> {
        if self.eat("csv") {
            return Ok(("format".into(), Some("csv".into())));
        }
        for word in ["freeze", "header"] {
            if self.eat(word) {
                return Ok((word.into(), None));
            }
        }
        for word in ["delimiter", "null", "quote", "escape", "encoding"] {
            if self.eat(word) {
                if word != "encoding" {
                    self.eat("as");
                }
                return Ok((word.into(), Some(self.text()?)));
            }
        }
        self.unexpected("an option of COPY")
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

/// An option as it is written, and where.
struct Written {
    name: String,
    value: Option<String>,
    at: u32,
}

impl Written {
    fn text(self) -> Result<String, SqlError> {
        self.value.ok_or_else(|| syntax(format!("{} requires a parameter", self.name)))
    }

    /// Without a value it is on; `or` is what else the error names.
    fn switch(&self, or: &str) -> Result<bool, SqlError> {
        match self.value.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("on" | "true" | "1") => Ok(true),
            Some("off" | "false" | "0") => Ok(false),
            _ => Err(syntax(format!("{} requires a Boolean value{or}", self.name))),
        }
    }
}

/// What these options ask for, if they agree with each other.
fn carried_out(written: Vec<Written>) -> Result<CopyOptions, SqlError> {
    let (mut csv, mut header, mut freeze) = (false, false, false);
    let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
    let mut seen = Vec::new();
    for option in written {
        if seen.contains(&option.name) {
            return Err(syntax("conflicting or redundant options".into()).at(option.at));
        }
        seen.push(option.name.clone());
        match option.name.as_str() {
            "format" => csv = is_csv(option)?,
            "freeze" => freeze = option.switch("")?,
            "header" if option.value.as_ref().is_some_and(|value| value.eq_ignore_ascii_case("match")) => {
                return Err(SqlError::unsupported("COPY with HEADER MATCH"));
            }
            "header" => header = option.switch(" or \"match\"")?,
            "delimiter" => delimiter = Some(option.text()?),
            "null" => null = Some(option.text()?),
            "quote" => quote = Some(option.text()?),
            "escape" => escape = Some(option.text()?),
            "encoding" => utf8(&option.text()?)?,
            name => return Err(syntax(format!("option \"{name}\" not recognized")).at(option.at)),
        }
    }
    if !csv && let Some(option) = [("quote", &quote), ("escape", &escape)].iter().find(|o| o.1.is_some()) {
        return Err(unsupported(format!("COPY {} available only in CSV mode", option.0)));
    }
    let byte = |option, given: Option<String>, otherwise| {
        given.map_or(Ok(otherwise), |text| one_byte(option, &text))
    };
    let delimiter = byte("delimiter", delimiter, if csv { b',' } else { b'\t' })?;
    let quote = byte("quote", quote, b'"')?;
    let escape = byte("escape", escape, quote)?;
    let null = null.unwrap_or_else(|| if csv { String::new() } else { "\\N".into() });
    let options = CopyOptions { csv, delimiter, null, header, quote, escape, freeze };
    unambiguous(&options).map(|()| options)
}

fn is_csv(format: Written) -> Result<bool, SqlError> {
    let at = format.at;
    match format.text()?.as_str() {
        "csv" => Ok(true),
        "text" => Ok(false),
        "binary" => Err(SqlError::unsupported("COPY in binary form")),
        other => Err(invalid(format!("COPY format \"{other}\" not recognized")).at(at)),
    }
}

fn utf8(encoding: &str) -> Result<(), SqlError> {
    match encoding.to_lowercase().as_str() {
        "utf8" | "utf-8" => Ok(()),
        _ => Err(SqlError::unsupported(format!("COPY with encoding {encoding}"))),
    }
}

/// Refuses what could not be read back.
fn unambiguous(options: &CopyOptions) -> Result<(), SqlError> {
    let (delimiter, null) = (options.delimiter, &options.null);
    let special = b"\\.abcdefghijklmnopqrstuvwxyz0123456789";
    if null.contains(['\n', '\r']) {
        return Err(invalid("COPY null representation cannot use newline or carriage return".into()));
    }
    if !options.csv && special.contains(&delimiter) {
        return Err(invalid(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
    }
    if options.csv && delimiter == options.quote {
        return Err(invalid("COPY delimiter and quote must be different".into()));
    }
    if null.contains(char::from(delimiter)) {
        return Err(unsupported("COPY delimiter must not appear in the NULL specification".into()));
    }
    if options.csv && null.contains(char::from(options.quote)) {
        return Err(unsupported("CSV quote character must not appear in the NULL specification".into()));
    }
    Ok(())
}

fn syntax(text: String) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, text)
}

fn invalid(text: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, text)
}

fn unsupported(text: String) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, text)
}

/// 0A000 unless it is one byte, 22023 if it ends lines.
fn one_byte(option: &str, text: &str) -> Result<u8, SqlError> {
    match text.as_bytes() {
        [b'\n' | b'\r'] => Err(invalid(format!("COPY {option} cannot be newline or carriage return"))),
        [byte] if *byte != 0 => Ok(*byte),
        _ => Err(unsupported(format!("COPY {option} must be a single one-byte character"))),
    }
}
