//! Names that no table can have: the parser takes any word for one.

use super::command::{Command, CopySource};
use crate::session::stack::on_large_stack;
use sqlparser::{
    ast::{ObjectName, Visit, visit_relations},
    tokenizer::{Token, TokenWithSpan},
};
use std::ops::ControlFlow;

/// PostgreSQL's reserved words, in order, without those that begin a function or a query behind `FROM`, and without `ONLY`
/// (which the parser takes for a name).
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "leading",
    "limit",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "some",
    "symmetric",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

/// The first name of a table that is a reserved word. `deep`: the tree may be.
pub(super) fn reserved(command: &Command, deep: bool) -> Option<TokenWithSpan> {
    on_large_stack(deep, || match command {
        Command::Statement(statement) | Command::Past(statement, _) => of(&**statement),
        Command::Declare(declare) => of(&*declare.statement),
        Command::Prepare { statement, .. } => of(&**statement),
        Command::Copy(copy) => match &copy.source {
            CopySource::Table(name, _) => wrong(name),
            CopySource::Query(query) => of(&**query),
        },
        _ => None,
    })
}

fn of<V: Visit>(tree: &V) -> Option<TokenWithSpan> {
    let found = visit_relations(tree, |name| match wrong(name) {
        Some(token) => ControlFlow::Break(token),
        None => ControlFlow::Continue(()),
    });
    found.break_value()
}

fn wrong(name: &ObjectName) -> Option<TokenWithSpan> {
    let first = name.0.first()?.as_ident()?;
    if first.quote_style.is_some() || RESERVED.binary_search(&first.value.to_lowercase().as_str()).is_err() {
        return None;
    }
    Some(TokenWithSpan { token: Token::make_word(&first.value, None), span: first.span })
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_in_order() {
        assert!(super::RESERVED.is_sorted());
    }
}
