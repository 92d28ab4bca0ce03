//! The dialect: sqlparser's of PostgreSQL, but for what would make parsing exponential, and for what PostgreSQL reads
//! otherwise (see `grammar`).
//!
//! sqlparser reads each argument of a function twice when names of arguments may be expressions, so calls nested `n` deep
//! take 2^n steps. PostgreSQL's names of arguments are identifiers.

use super::grammar;
use sqlparser::{
    ast::Expr,
    dialect::{self, PostgreSqlDialect, Precedence},
    keywords::Keyword,
    parser::{Parser, ParserError},
};
use std::any::TypeId;

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// See the module.
#[derive(Debug)]
pub struct Dialect;

macro_rules! as_postgres {
    ($($name:ident)*) => {
        $(fn $name(&self) -> bool {
            POSTGRES.$name()
        })*
    };
}

impl dialect::Dialect for Dialect {
    /// The parser asks in places which dialect it is.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }

    as_postgres! {
        supports_unicode_string_literal
        supports_filter_during_aggregation
        supports_group_by_expr
        allow_extract_custom
        allow_extract_single_quotes
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_listen_notify
        supports_factorial_operator
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_colon_operator
        supports_empty_projections
        supports_nested_comments
        supports_string_escape_constant
        supports_numeric_literal_underscores
        supports_array_typedef_with_brackets
        supports_geometric_types
        supports_set_names
        supports_alter_column_type_using
        supports_notnull_operator
        supports_interval_options
        supports_insert_table_alias
        supports_create_table_like_parenthesized
        supports_select_wildcard_with_alias
        supports_comma_separated_trim
        supports_xml_expressions
        supports_comment_optimizer_hint
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    /// What cannot be read as the expression that the word begins is no column of that name either, and the reason is told.
    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        matches!(kw, Keyword::CASE | Keyword::CAST | Keyword::NOT | Keyword::ARRAY)
            || POSTGRES.is_reserved_for_identifier(kw)
    }

    /// `SELECT v FOR UPDATE` has no column of the name `for`, and `SELECT v ON CONFLICT` none of the name `on`.
    fn is_column_alias(&self, kw: &Keyword, parser: &mut Parser) -> bool {
        !matches!(kw, Keyword::FOR | Keyword::ON) && POSTGRES.is_column_alias(kw, parser)
    }

    /// Behind the first character of an operator. `a>-1` is `a > -1`, and `a>/*…*/b` has a comment: what an operator may have
    /// of these signs, the tokenizer knows by itself.
    fn is_custom_operator_part(&self, ch: char) -> bool {
        !matches!(ch, '+' | '-' | '*' | '/') && POSTGRES.is_custom_operator_part(ch)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        grammar::prefix(self, parser)
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        grammar::infix(self, parser, left)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        grammar::next_precedence(self, parser).map(Ok).or_else(|| POSTGRES.get_next_precedence(parser))
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        POSTGRES.prec_value(prec)
    }
}
