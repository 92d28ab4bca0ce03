//! `SET`, `SHOW`, and the modes of transactions.

use super::command::{Command, Level, Modes};
use super::reader::{Parse, Reader};
use sqlparser::tokenizer::Token;

impl Reader<'_, '_> {
    pub(super) fn modes(&mut self) -> Parse<Modes> {
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
            } else if self.eat("as") {
                modes.as_of = Some(self.as_of()?);
            } else if self.eat("idempotency") {
                self.expect("key")?;
                modes.idempotency_key = Some(self.parser.parse_literal_string()?);
            } else if self.eat("not") {
                self.expect("deferrable")?;
                modes.deferrable = Some(false);
            } else if self.eat("deferrable") {
                modes.deferrable = Some(true);
            } else {
                return Ok(modes);
            }
            let _ = self.parser.consume_token(&Token::Comma);
        }
    }

    /// A setting's name, with its prefix if it has one.
    pub(super) fn setting(&mut self) -> Parse<String> {
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

    pub(super) fn set(&mut self) -> Parse<Command> {
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
            if self.eat("snapshot") {
                let _ = self.parser.parse_literal_string()?;
                return Ok(Command::Refused("SET TRANSACTION SNAPSHOT".into()));
            }
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

    pub(super) fn set_to(&mut self, name: String, local: bool) -> Parse<Command> {
        if self.eat("default") || (name == "timezone" && self.eat("local")) {
            return Ok(Command::Set { local, name, value: None });
        }
        if name == "timezone" && self.eat("interval") {
            let value = Some(vec![self.zone_interval()?]);
            return Ok(Command::Set { local, name, value });
        }
        let mut values = vec![self.value()?];
        while self.parser.consume_token(&Token::Comma) {
            values.push(self.value()?);
        }
        Ok(Command::Set { local, name, value: Some(values) })
    }

    /// `'+02:30' HOUR TO MINUTE`, behind `INTERVAL`.
    fn zone_interval(&mut self) -> Parse<String> {
        let text = self.parser.parse_literal_string()?;
        let unit = if self.eat("hour") {
            if self.eat("to") {
                self.expect("minute")?;
            }
            " hour"
        } else {
            ""
        };
        // The unit is that of a number which has none.
        let unit = if text.trim().parse::<f64>().is_ok() { unit } else { "" };
        Ok(format!("INTERVAL '{text}{unit}'"))
    }

    pub(super) fn value(&mut self) -> Parse<String> {
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

    pub(super) fn show(&mut self) -> Parse<Command> {
        self.skip();
        if self.eat("all") {
            return Ok(Command::ShowAll);
        }
        if self.eat("shards") {
            self.expect("from")?;
            self.expect("table")?;
            return Ok(Command::ShowShards(self.parser.parse_object_name(false)?));
        }
        if self.eat("placement") {
            return self.show_placement();
        }
        if self.eat("evidence") {
            self.expect("for")?;
            self.expect("transaction")?;
            return Ok(Command::ShowEvidence(self.parser.parse_literal_string()?));
        }
        Ok(Command::Show(self.setting()?))
    }
}
