//! `ALTER SEQUENCE`.

use super::command::{AlterSequence, Command};
use super::reader::{Parse, Reader};
use sqlparser::tokenizer::Token;

impl Reader<'_, '_> {
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
            let value = self.value()?;
            restart = Some(match value.parse() {
                Ok(value) => value,
                Err(_) => return self.unexpected("a number"),
            });
        }
        Ok(Command::AlterSequence(AlterSequence { name, if_exists, restart }))
    }
}
