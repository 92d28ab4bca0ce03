//! Statements about the places of shards, which are ours.

use super::{
    command::{Command, PlacementOption},
    fold,
    reader::{Parse, Reader},
};
use quorate_proto::{NodeId, ShardId, placement::ExplainPlacement};
use sqlparser::{
    ast::ObjectName,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

impl Reader<'_, '_> {
    /// `EXPLAIN PLACEMENT FOR SHARD n [WHY NOT NODE m]` comes.
    pub(super) fn explains_placement(&self) -> bool {
        is(&self.parser.peek_nth_token(1).token, "placement")
            && is(&self.parser.peek_nth_token(2).token, "for")
    }

    pub(super) fn explain_placement(&mut self) -> Parse<Command> {
        for word in ["explain", "placement", "for", "shard"] {
            self.expect(word)?;
        }
        let shard = ShardId(self.parser.parse_literal_uint()?);
        let why_not = if self.eat("why") {
            self.expect("not")?;
            self.expect("node")?;
            Some(NodeId(self.parser.parse_literal_uint()?))
        } else {
            None
        };
        Ok(Command::ExplainPlacement(ExplainPlacement { shard, why_not }))
    }

    /// Behind `SHOW`: `PLACEMENT FOR TABLE t`.
    pub(super) fn show_placement(&mut self) -> Parse<Command> {
        self.expect("for")?;
        self.expect("table")?;
        Ok(Command::ShowPlacement(self.parser.parse_object_name(false)?))
    }
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Behind `ALTER TABLE t`: `CONFIGURE PLACEMENT (name = value, …)` or `RESET PLACEMENT`, of which the first word is read.
pub(super) fn configure(
    parser: &mut Parser<'_>,
    table: ObjectName,
    reset: bool,
) -> Result<Command, ParserError> {
    let word = parser.next_token();
    if !is(&word.token, "placement") {
        return parser.expected("PLACEMENT", word);
    }
    if reset {
        return Ok(Command::ConfigurePlacement { table, options: None });
    }
    parser.expect_token(&Token::LParen)?;
    let options = parser.parse_comma_separated(option)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Command::ConfigurePlacement { table, options: Some(options) })
}

fn option(parser: &mut Parser<'_>) -> Result<PlacementOption, ParserError> {
    let name = fold(&parser.parse_identifier()?);
    parser.expect_token(&Token::Eq)?;
    if parser.parse_keyword(Keyword::DEFAULT) {
        return Ok(PlacementOption { name, value: None });
    }
    let value = match parser.peek_token().token {
        Token::Number(..) => parser.parse_literal_uint()?.to_string(),
        _ => parser.parse_literal_string()?,
    };
    Ok(PlacementOption { name, value: Some(value) })
}
