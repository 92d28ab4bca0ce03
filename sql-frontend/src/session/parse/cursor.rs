//! `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.

use super::command::{Command, Declare, Direction, Fetch};
use super::reader::{Parse, Reader};
use sqlparser::tokenizer::Token;

impl Reader<'_, '_> {
    pub(super) fn declare(&mut self) -> Parse<Command> {
        self.skip();
        let name = self.name()?;
        let (mut binary, mut scroll, mut hold) = (false, false, false);
        loop {
            if self.eat("binary") {
                binary = true;
            } else if self.eat("scroll") {
                scroll = true;
            } else if self.eat("no") {
                self.expect("scroll")?;
            } else if !self.eat("insensitive") && !self.eat("asensitive") {
                break;
            }
        }
        self.expect("cursor")?;
        if self.eat("with") {
            self.expect("hold")?;
            hold = true;
        } else if self.eat("without") {
            self.expect("hold")?;
        }
        self.expect("for")?;
        let (statement, body) = self.body()?;
        Ok(Command::Declare(Declare { name, binary, scroll, hold, statement, body }))
    }

    /// `FETCH` or `MOVE`.
    pub(super) fn fetch(&mut self, moves: bool) -> Parse<Command> {
        self.skip();
        let direction = self.direction()?;
        let _ = self.eat("from") || self.eat("in");
        Ok(Command::Fetch(Fetch { moves, direction, name: self.name()? }))
    }

    fn direction(&mut self) -> Parse<Direction> {
        // A cursor may be called like a direction: then nothing follows its name.
        let last = matches!(self.parser.peek_nth_token(1).token, Token::EOF | Token::SemiColon);
        if last {
            return Ok(Direction::Forward(1));
        }
        if self.eat("next") {
            return Ok(Direction::Forward(1));
        }
        if self.eat("all") {
            return Ok(Direction::All);
        }
        for word in ["prior", "first", "last", "backward"] {
            if self.eat(word) {
                let _ = self.eat("all") || self.count()?.is_some();
                return Ok(Direction::Back);
            }
        }
        if self.eat("absolute") || self.eat("relative") {
            self.count()?;
            return Ok(Direction::Back);
        }
        self.eat("forward");
        if self.eat("all") {
            return Ok(Direction::All);
        }
        Ok(match self.count()?.unwrap_or(1) {
            count if count < 0 => Direction::Back,
            count => Direction::Forward(count as u64),
        })
    }

    fn count(&mut self) -> Parse<Option<i64>> {
        let minus = self.parser.consume_token(&Token::Minus);
        if !minus && !matches!(self.parser.peek_token().token, Token::Number(..)) {
            return Ok(None);
        }
        let count = self.parser.parse_literal_uint()? as i64;
        Ok(Some(if minus { -count } else { count }))
    }

    pub(super) fn close(&mut self) -> Parse<Command> {
        self.skip();
        if self.eat("all") { Ok(Command::Close(None)) } else { Ok(Command::Close(Some(self.name()?))) }
    }
}
